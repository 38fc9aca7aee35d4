r"""How far lenses are from macro-models: the prior of the refinement, measured on mocks.

``python -m lensrim.evaluation.perturbations --output FOLDER`` measures the standard validation
mocks one by one, keeps what it has in the folder, so that it can be interrupted and resumed, and
writes the prior as ``perturbations.json``; the packaged one is
``lensrim/inference/perturbations.json``. With ``--of answers`` it measures what true masses have
besides the answers of the packaged machine, which are the start of a refinement after it:
``lensrim/inference/perturbations_of_answers.json``.

A refinement leaves the macro-model's own parameters free, so its prior is that of what no macro-
model explains. To the true convergence of a mock the nearest macro-model is fitted, by the
relative error :math:`e = \kappa / \kappa_p - 1` between ``INNER`` and ``OUTER`` Einstein radii,
each ring weighted alike; that of an answer is taken without a mass sheet, as it is when it is
refined, and any sheet is taken out of its error, too. What is left, :math:`e_\perp`, is

.. math:: e_\perp = B_\perp c + \eta \, , \qquad c \sim \mathcal{N}(0, C / u) \, ,

with the functions :math:`B` of :mod:`lensrim.inference.perturbation`, both without what
derivatives of :math:`\kappa_p` explain, white :math:`\eta` of ``NOISE``, and a scale :math:`u` of
each lens, :math:`\chi^2`-distributed with ``FREEDOM`` degrees, so that single lenses with much
structure do not decide (a multivariate t distribution); that of the median lens is 1. :math:`C`
follows by expectation maximisation. Its blocks are one for every order, of the cosine and of the
sine; each is drawn toward its own diagonal as ``PSEUDO`` more lenses would, and what a macro-model
can do is taken out of it: a factor and a slope in order 0, a shift in order 1, an ellipticity in
order 2.
"""
