"""Errors of maps: of the model, the convergence, the deflection and the source."""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..grid import PixelGrid

Map = NDArray[np.float64]
Mask = NDArray[np.bool_]

KAPPA_FLOOR = 1e-4
"""Smallest convergence whose logarithm is taken."""


def misfit(model: ArrayLike, truth: ArrayLike, sigma: ArrayLike, mask: ArrayLike) -> float:
    r"""Noise-free misfit :math:`D = \langle ((F(\hat x) - F(x^*)) / \sigma)^2 \rangle` on a mask.

    It is 0 for a perfect model, and 1 for one that is off by the noise: a fit that follows noise
    is punished, which :math:`\chi^2` rewards.
    """
    return chi2_nu(truth, model, sigma, mask)


def chi2_nu(image: ArrayLike, model: ArrayLike, sigma: ArrayLike, mask: ArrayLike) -> float:
    r"""Reduced :math:`\chi^2`: mean :math:`((d - m) / \sigma)^2` on a mask; NaN if it is empty."""
    residual = (np.asarray(image) - np.asarray(model)) / np.asarray(sigma)
    use = _used(mask)
    return float(np.mean(residual[use] ** 2)) if use.any() else float("nan")


def chi2_excess(chi2: float, effective: float, pixels: int) -> tuple[float, float]:
    r"""What :math:`\chi^2_\nu` is above its expectation, and the scatter of that.

    .. math:: \chi^2_\nu - \left( 1 - \frac{p_\mathrm{eff}}{N} \right) , \qquad
              \frac{\sqrt{2 (N - p_\mathrm{eff})}}{N} .

    Of a linear-Gaussian fit with the hat matrix :math:`H` and a prior that is right,
    :math:`\chi^2` is :math:`\mathrm{tr} (1 - H) = N - p_\mathrm{eff}` in the mean, with a variance
    of :math:`2 \, \mathrm{tr} (1 - H)^2`, which is at most that of the scatter given here.

    Arguments:
        chi2: :math:`\chi^2_\nu`, per pixel.
        effective: Effective number of fitted parameters :math:`p_\mathrm{eff}`.
        pixels: Number of pixels :math:`N`.
    """
    free = pixels - effective
    return chi2 - free / pixels, float(np.sqrt(2 * max(free, 0.0)) / pixels)


def source_errors(source: ArrayLike, truth: ArrayLike) -> tuple[float, float]:
    r"""Errors of a source map against the truth on the same pixels.

    The truth must be in the gauge of the map: see :func:`deflection_gauge`.

    Returns:
        The relative L2 error :math:`\|s - s^*\| / \|s^*\|`, and the root mean square error in
        units of the true peak; infinite where no light of the truth is on the pixels.
    """
    source, truth = np.asarray(source), np.asarray(truth)
    rms = float(np.sqrt(np.mean((source - truth) ** 2)))
    if not truth.max() > 0:  # a grid that misses the source
        return float("inf"), float("inf")
    return rms / float(np.sqrt(np.mean(truth**2))), rms / float(truth.max())


def deflection_gauge(
    alpha: tuple[ArrayLike, ArrayLike], truth: tuple[ArrayLike, ArrayLike], weights: ArrayLike
) -> tuple[float, float]:
    r"""Constant by which a deflection differs from the truth: weighted mean of their difference.

    An image does not tell a constant deflection from a displaced source. With the constant
    :math:`c` of this function, the true source at :math:`\beta + c` is to be compared with the
    fitted one at :math:`\beta`.

    Arguments:
        alpha: Deflection along x and y [arcsec].
        truth: True deflection.
        weights: Weights, such as the arcs' mask or their brightness.

    Returns:
        The constant along x and y [arcsec].
    """
    weights = np.asarray(weights, dtype=np.float64)
    x, y = (
        float((weights * (np.asarray(a) - np.asarray(t))).sum() / weights.sum())
        for a, t in zip(alpha, truth, strict=True)
    )
    return x, y


def deflection_scale(
    alpha: tuple[ArrayLike, ArrayLike],
    truth: tuple[ArrayLike, ArrayLike],
    weights: ArrayLike,
    grid: PixelGrid,
) -> float:
    r"""Factor by which the true rays are stretched against those of a deflection.

    .. math:: \lambda = \frac{\sum_\theta w \, \beta^* \cdot \beta}{\sum_\theta w \, \beta^2} ,

    both rays :math:`\beta = \theta - \alpha` about their weighted mean. By the mass-sheet
    degeneracy an image does not tell :math:`(1 - \kappa, s(\beta))` from
    :math:`((1 - \kappa) / \lambda, s(\lambda \beta))`: the true source at
    :math:`\lambda \beta` is to be compared with the fitted one at :math:`\beta`, where what no
    image knows shall not count.

    Arguments:
        alpha: Deflection along x and y [arcsec].
        truth: True deflection.
        weights: Weights, such as the brightness of the arcs.
        grid: The pixels.
    """
    weights = np.asarray(weights, dtype=np.float64)
    (h, w), pairs = grid.shape, []
    theta = grid.from_index(np.arange(w)[None, :], np.arange(h)[:, None])
    for position, own, true in zip(theta, alpha, truth, strict=True):
        rays = np.stack([position - np.asarray(own), position - np.asarray(true)])
        mean = (weights * rays).sum((1, 2)) / weights.sum()
        pairs.append(rays - mean[:, None, None])
    own, true = np.stack(pairs, axis=1)
    return float((weights * own * true).sum() / (weights * own**2).sum())


def deflection_error(
    alpha: tuple[ArrayLike, ArrayLike], truth: tuple[ArrayLike, ArrayLike], mask: ArrayLike
) -> float:
    """Root mean square of the deflection's error on a mask, without its mean [arcsec]."""
    use = _used(mask)
    dx, dy = (np.asarray(a)[use] - np.asarray(t)[use] for a, t in zip(alpha, truth, strict=True))
    return float(np.sqrt(np.var(dx) + np.var(dy)))


def annulus(
    grid: PixelGrid,
    *,
    theta_E: float,
    center: tuple[float, float] = (0.0, 0.0),
    inner: float = 0.3,
    outer: float = 2.0,
) -> Mask:
    """Pixels of a frame whose centres are between two radii, given in Einstein radii [arcsec]."""
    h, w = grid.shape
    x, y = grid.from_index(np.arange(w), np.arange(h)[:, None])
    radius = np.hypot(x - center[0], y - center[1])
    return (radius >= inner * theta_E) & (radius <= outer * theta_E)


def log_kappa_rmse(
    kappa: ArrayLike, truth: ArrayLike, mask: ArrayLike, *, mass_sheet: bool = False
) -> float:
    r"""Root mean square error of :math:`\log_{10} \kappa` on a mask [dex].

    Arguments:
        kappa: Mean convergence of each pixel. Values below 1e-4 count as 1e-4.
        truth: The true one.
        mask: Pixels compared, from :func:`annulus`.
        mass_sheet: Whether the best of :math:`\lambda \kappa + 1 - \lambda`, with
            :math:`1/2 \leq \lambda \leq 2`, is compared: one source plane cannot tell them apart.
    """
    use = _used(mask)
    kappa, truth = (
        np.asarray(kappa)[use],
        np.log10(np.maximum(np.asarray(truth)[use], KAPPA_FLOOR)),
    )

    def error(scale: float) -> float:
        log = np.log10(np.maximum(scale * kappa + 1 - scale, KAPPA_FLOOR))
        return float(np.sqrt(np.mean((log - truth) ** 2)))

    if not mass_sheet:
        return error(1.0)
    from scipy.optimize import minimize_scalar

    best: Any = minimize_scalar(
        error, bounds=(0.5, 2.0), method="bounded", options={"xatol": 1e-6}
    )
    return min(float(best.fun), error(1.0))


def profile_slope(kappa: ArrayLike, radius: ArrayLike, mask: ArrayLike) -> float:
    r"""Three-dimensional slope of the power law that is most like a map of the convergence.

    .. math:: \gamma = 1 - \frac{\mathrm{d} \ln \kappa}{\mathrm{d} \ln R} ,

    of the straight line through :math:`\ln \kappa` over :math:`\ln R` with the least squares. A
    convergence :math:`\propto R^{1 - \gamma}` is that of a density :math:`\propto r^{-\gamma}`.

    Arguments:
        kappa: Mean convergence of each pixel. Values below 1e-4 count as 1e-4.
        radius: Radius :math:`R` of each pixel, circular or elliptical, in any unit.
        mask: Pixels of the fit, from :func:`annulus`; all of them have a positive radius.

    Returns:
        The slope; NaN where a pixel of the map is.
    """
    use = _used(mask)
    log = np.log(np.maximum(np.asarray(kappa)[use], KAPPA_FLOOR))
    if not log.size or not np.isfinite(log).all():
        return float("nan")
    return float(1 - np.polyfit(np.log(np.asarray(radius)[use]), log, 1)[0])


def _used(mask: ArrayLike) -> Mask:
    """Returns a mask as truths: whole numbers would be taken for the numbers of rows."""
    return np.asarray(mask) != 0
