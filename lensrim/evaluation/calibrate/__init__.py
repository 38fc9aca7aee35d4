r"""Measures what the posterior's errors are worth on validation mocks, and calibrates them.

Every mock is reconstructed by the chain; the errors that its posterior has, before any
calibration, are compared with those that were made, of the macro-model's answer and of the last
stage's, one line of JSON per mock, so that a run can be interrupted, resumed, or divided
(``--shard``). Of all lines a calibration is fitted (:mod:`lensrim.inference.calibration`), and
printed beside what it is worth on mocks that it was not fitted to: each half of them is judged by
a fit to the other. The calibration of the package is made by::

    python -m lensrim.evaluation.calibrate --n 240 --output calibration --recipe RECIPE
    python -m lensrim.evaluation.calibrate --n 251 --output calibration

of which the first measures on lensed real galaxies, those of the validation set of the machine's
recipe, and the second on the standard mocks, and fits to both. It is then in
``calibration/calibration.json``, and takes the place of that in ``lensrim/inference``. On test
mocks the package's is judged by ``--split test --output tested``, from rows on which another can
be judged without any reconstruction. Another method, noise resampling, is set beside it by
:mod:`~lensrim.evaluation.calibrate.resampled`.
"""
