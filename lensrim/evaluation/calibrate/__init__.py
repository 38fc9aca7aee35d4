r"""Measures what the posterior's errors are worth on validation mocks, and calibrates them.

Every mock is reconstructed by the chain; the errors that its posterior has, before any
calibration, are compared with those that were made, one line of JSON per mock, so that a run can
be interrupted, resumed, or divided (``--shard``). Of all lines a calibration is fitted
(:mod:`lensrim.inference.calibration`), and printed beside what it is worth on mocks that it was
not fitted to: each half of them is judged by a fit to the other. The calibration of the package is
made by::

    python -m lensrim.evaluation.calibrate --n 720 --output calibration

which writes ``calibration/calibration.json``; it takes the place of that in
``lensrim/inference``. Another method, noise resampling, is set beside it by
:mod:`~lensrim.evaluation.calibrate.resampled`.
"""
