r"""Errors that are stated, beside those that were made: coverage, width, CRPS, shrinkage.

A standard deviation :math:`\sigma` says that the truth is within :math:`\pm z \sigma` of the
estimate with the probability :math:`p = 2 \Phi(z) - 1`. Whether it is, is the coverage; it can
always be reached by intervals that are wide enough, so it says nothing without their width, which
is set beside that of the errors themselves. The continuous ranked probability score (CRPS)
measures both at once, in the unit of the quantity; smaller is better.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]

LEVELS = (0.68, 0.95)
"""Probabilities of the intervals."""


def coverage(
    truth: ArrayLike, mean: ArrayLike, std: ArrayLike, *, level: float, dof: ArrayLike = np.inf
) -> float:
    """Share of truths within the central interval of a level; NaN of none.

    Arguments:
        truth, mean: Truths and estimates.
        std: Half of the intervals of 68.27 %.
        level: Probability of the interval.
        dof: Degrees of freedom of Student's t, of which the intervals are; infinite for a
            Gaussian's.
    """
    truth, mean, std, dof = _alike(truth, mean, std, dof)
    inside = np.abs(truth - mean) <= _half_width(level, dof) * std
    return float(inside.mean()) if inside.size else float("nan")


def coverage_of_samples(truth: ArrayLike, samples: ArrayLike, *, level: float) -> float:
    """Share of truths within the central interval of a level of samples; NaN of none.

    Arguments:
        truth: Truths, with any shape (*).
        samples: Samples of each, with shape (n, *).
        level: Probability of the interval.
    """
    truth, samples = np.asarray(truth, dtype=np.float64), np.asarray(samples, dtype=np.float64)
    if not truth.size:
        return float("nan")
    low, high = np.quantile(samples, [(1 - level) / 2, (1 + level) / 2], axis=0)
    return float(((low <= truth) & (truth <= high)).mean())


def half_width(level: float, *, dof: float = np.inf) -> float:
    """Half of the central interval of a level, over that of 68.27 %, as for :func:`coverage`."""
    return float(_half_width(level, np.asarray(dof, dtype=np.float64)))


def _half_width(level: float, dof: Array) -> Array:
    from scipy.special import ndtr, stdtrit

    # of infinite degrees of freedom it knows that they are a Gaussian's
    return np.asarray(stdtrit(dof, (1 + level) / 2) / stdtrit(dof, ndtr(1.0)))


def empirical_width(errors: ArrayLike, *, level: float = 0.68) -> float:
    """Standard deviation of the Gaussian about 0 that holds a share of the errors where they do.

    Outliers do not count beyond the level. NaN of no errors.
    """
    from scipy.special import ndtri

    errors = np.abs(np.asarray(errors, dtype=np.float64))
    if not errors.size:
        return float("nan")
    return float(np.quantile(errors, level) / ndtri((1 + level) / 2))


def crps_gaussian(truth: ArrayLike, mean: ArrayLike, std: ArrayLike) -> float:
    r"""Mean continuous ranked probability score of Gaussians.

    .. math:: \mathrm{CRPS} = \sigma \left[ z \, (2 \Phi(z) - 1) + 2 \varphi(z)
              - \frac{1}{\sqrt\pi} \right] , \qquad z = \frac{y - \mu}{\sigma} ;

    for :math:`\sigma = 0` it is the absolute error.

    References:
        Gneiting & Raftery 2007, JASA 102, 359, equation 21 (there with the other sign).
    """
    return float(_crps_gaussian(*_alike(truth, mean, std)).mean())


def crps_student(
    truth: ArrayLike, mean: ArrayLike, std: ArrayLike, *, dof: ArrayLike = np.inf
) -> float:
    r"""Mean continuous ranked probability score of Student's t.

    .. math:: \mathrm{CRPS} = \sigma \left[ z \, (2 F(z) - 1)
              + 2 f(z) \, \frac{\nu + z^2}{\nu - 1} - \frac{2 \sqrt\nu}{\nu - 1}
              \frac{B(1/2, \nu - 1/2)}{B(1/2, \nu/2)^2} \right] ,
              \qquad z = \frac{y - \mu}{\sigma} ,

    with the density :math:`f` and distribution :math:`F` of :math:`\nu` degrees of freedom; for
    :math:`\sigma = 0` it is the absolute error, for infinite :math:`\nu`
    :func:`crps_gaussian`.

    Arguments:
        truth, mean: Truths and estimates.
        std: Half of the intervals of 68.27 %, as for :func:`coverage`; :math:`\sigma` follows.
        dof: Degrees of freedom, above 1.

    Raises:
        ValueError: If a ``dof`` is 1 or less: such a score is infinite.

    References:
        Jordan, Krüger & Lerch 2019, JSS 90, 12, appendix A.
    """
    truth, mean, std, nu = _alike(truth, mean, std, dof)
    if not (nu > 1).all():
        raise ValueError(f"dof must be above 1, got {nu.min()}")
    score, heavy = _crps_gaussian(truth, mean, std), np.isfinite(nu) & (std > 0)
    score[heavy] = _crps_student(*(each[heavy] for each in (truth, mean, std, nu)))
    return float(score.mean())


def _alike(*values: ArrayLike) -> list[Array]:
    return list(np.broadcast_arrays(*(np.asarray(each, dtype=np.float64) for each in values)))


def _crps_gaussian(truth: Array, mean: Array, std: Array) -> Array:
    from scipy.special import ndtr

    z = np.divide(truth - mean, std, out=np.zeros_like(truth), where=std > 0)
    density = np.exp(-0.5 * z**2) / np.sqrt(2 * np.pi)
    score = std * (z * (2 * ndtr(z) - 1) + 2 * density - 1 / np.sqrt(np.pi))
    return np.where(std > 0, score, np.abs(truth - mean))


def _crps_student(truth: Array, mean: Array, std: Array, nu: Array) -> Array:
    from scipy.special import betaln, ndtr, stdtr, stdtrit
    from scipy.stats import t

    sigma = std / stdtrit(nu, ndtr(1.0))
    z = (truth - mean) / sigma
    least = np.sqrt(nu) * np.exp(betaln(0.5, nu - 0.5) - 2 * betaln(0.5, nu / 2))
    peak = t.pdf(z, nu) * (nu + z**2)
    return sigma * (z * (2 * stdtr(nu, z) - 1) + 2 * (peak - least) / (nu - 1))


def crps_samples(truth: ArrayLike, samples: ArrayLike) -> float:
    r"""Mean continuous ranked probability score of samples, without the bias of their number.

    .. math:: \mathrm{CRPS} = \frac1n \sum_i |x_i - y|
              - \frac{1}{2 n (n - 1)} \sum_{i, j} |x_i - x_j| .

    Arguments:
        truth: Truths, with any shape (*).
        samples: Samples of each, with shape (n, *), n at least 2.

    Raises:
        ValueError: If there are fewer than two samples.

    References:
        Gneiting & Raftery 2007, JASA 102, 359, equation 20; Ferro 2014, QJRMS 140, 1917 (the fair
        estimate).
    """
    truth, samples = np.asarray(truth, dtype=np.float64), np.asarray(samples, dtype=np.float64)
    n = len(samples)
    if n < 2:
        raise ValueError(f"samples must be 2 or more, got {n}")
    ranked = np.sort(samples, axis=0)
    # Half of the sum over all pairs, from the ranks alone.
    weights = (2 * np.arange(n) - n + 1).reshape(-1, *[1] * truth.ndim)
    spread = (weights * ranked).sum(0) / (n * (n - 1))
    return float((np.abs(samples - truth).mean(0) - spread).mean())


@dataclass(frozen=True)
class Calibration:
    """Holds what stated errors are worth.

    Arguments:
        n: Number of truths.
        covered: Shares of them within the intervals of 68 and 95 per cent.
        width: Median of the stated standard deviations.
        empirical: That of the errors, :func:`empirical_width`.
        crps: Mean CRPS of what they are said to be, Student's t or Gaussians.
    """

    n: int
    covered: tuple[float, float]
    width: float
    empirical: float
    crps: float

    @property
    def ratio(self) -> float:
        """The stated width over that of the errors: 1 is right, below 1 too sure."""
        return self.width / self.empirical if self.empirical > 0 else float("inf")


def calibration(
    truth: ArrayLike, mean: ArrayLike, std: ArrayLike, dof: ArrayLike = np.inf
) -> Calibration:
    """Measures stated errors on truths, all of one shape.

    Arguments:
        truth, mean, std: As for :func:`coverage`.
        dof: Degrees of freedom of Student's t that they are; infinite for Gaussians.

    Raises:
        ValueError: If a ``dof`` is 1 or less.
    """
    truth, mean, std, dof = (a.ravel() for a in _alike(truth, mean, std, dof))
    first, second = (coverage(truth, mean, std, level=level, dof=dof) for level in LEVELS)
    return Calibration(
        n=truth.size,
        covered=(first, second),
        width=float(np.median(std)) if std.size else float("nan"),
        empirical=empirical_width(mean - truth),
        crps=crps_student(truth, mean, std, dof=dof) if truth.size else float("nan"),
    )


def regression(estimate: ArrayLike, truth: ArrayLike) -> tuple[float, float]:
    r"""Coefficient of the regression of estimates on truths, and its standard error.

    .. math:: b = \frac{\mathrm{cov}(\hat x, x)}{\mathrm{var}(x)} \, .

    It is 1 where estimates follow the truth, 0 where they are the prior's mean. It depends on the
    distribution of the truths if estimates are shrunk where data are poor: that has to be stated.

    Raises:
        ValueError: If there are fewer than three, or all truths are the same.
    """
    estimate, truth = (np.asarray(a, dtype=np.float64).ravel() for a in (estimate, truth))
    n, x = truth.size, truth - truth.mean()
    if n < 3 or not (x**2).sum() > 0:
        raise ValueError(f"regression needs 3 or more truths that differ, got {truth.tolist()}")
    slope = (x * (estimate - estimate.mean())).sum() / (x**2).sum()
    rest = estimate - estimate.mean() - slope * x
    return float(slope), float(np.sqrt((rest**2).sum() / (n - 2) / (x**2).sum()))


def binomial_interval(successes: int, trials: int, *, level: float = 0.95) -> tuple[float, float]:
    """Clopper-Pearson interval of a share: it covers the true one at least at the level.

    Raises:
        ValueError: If the successes are not between 0 and the trials, or there is no trial.
    """
    if not 0 <= successes <= trials or trials < 1:
        raise ValueError(f"need 0 <= successes <= trials and a trial, got {successes} of {trials}")
    from scipy.stats import beta

    tail = (1 - level) / 2
    low = beta.ppf(tail, successes, trials - successes + 1) if successes else 0.0
    high = beta.ppf(1 - tail, successes + 1, trials - successes) if successes < trials else 1.0
    return float(low), float(high)
