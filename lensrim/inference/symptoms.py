r"""Symptoms of a wrong answer: numbers that are small where an answer is right.

The residual on the arcs, in units of the noise of its pixels: its :math:`\chi^2` against what a
right model leaves (:meth:`.Scene.expected`), its correlation between neighbouring
pixels less that of blank sky (drizzled noise is correlated, too), and its highest peak after
smoothing by a Gaussian of the PSF's width. A wrong mass model is not told by these alone: a
flexible source follows the arcs through it. Nor does the core of the lens galaxy tell of the
mass: pixels in which its light outshines the arcs' model there (:func:`judged`) are left out. So
the answer itself is looked at: which share of the arcs it takes for images of what is seen
elsewhere, how large and how hollow its source is, how far its macro-model is from what lenses
are, and whether the search found another that is as good.

Every number is of one answer on one observation; none needs the truth. What is not guaranteed: a
wrong model of faint or one-sided arcs may have none of them.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.ndimage import correlate1d

from .answer import Answer, left_over
from .frame import Array
from .macro import NAMES, MacroPrior, MacroState
from .multiplicity import Mask, multiply_imaged
from .scene import Scene

Candidate = tuple[float, float]
"""Einstein radius [arcsec] and log-evidence of a macro-model that a search ended with."""

FAINT = 0.05
"""Brightness of a source below which it is not measured, relative to its peak."""

ANOTHER = 0.05
"""Difference of Einstein radii above which a candidate is another minimum."""

NO_RIVAL = 100.0
"""Loss of log-evidence that stands for: the search ended with no other minimum."""

CORE, OUTSHONE = 0.5, 10.0
"""Einstein radii within which, and light of the lens over that of the arcs' model above which, a
pixel belongs to the core of the lens galaxy. Of 48 validation mocks the arcs have 5 % of such
pixels at most."""

LEFT = 0.5
"""Share of the arcs that must not be core."""

SKY = 50
"""Pixels of blank sky that its own statistics need."""


@dataclass(frozen=True)
class Symptoms:
    """Holds the symptoms of an answer.

    Arguments:
        chi2: χ² per pixel of the arcs, in the noise of sky and lens galaxy or in the stated one
            (the sky's, if that is larger), whichever is worse.
        expected: What a right model leaves of it (:meth:`.Scene.expected` of the arcs' pixels).
        pixels: Number of those that are judged.
        correlation: Correlation of the residual between neighbours on the arcs, less the sky's.
        peak: Highest modulus of the smoothed residual on the arcs [its own standard deviation].
        signal: Signal over noise of the whole arcs.
        multiple: Share of the arcs' light whose source is seen elsewhere, too.
        size: Half-light radius of the source, without the mass sheet [Einstein radius].
        hollow: Brightness that the source's middle lacks, against a ring around it, from 0 to 1.
        border: Brightness at the border of the source map, relative to its peak.
        shear, flatness: Moduli of external shear and ellipticity.
        offset: Distance of the centre of mass from where it is expected [standard deviations].
        slope: Distance of the slope from the mean of its prior [standard deviations].
        edge: Logarithmic distance of the Einstein radius from the nearer end of its range.
        length, core: Logarithms of the correlation length and of the core of the prior that the
            source was solved with, relative to its disc (:mod:`lensrim.inference.source_modes`);
            NaN of an answer that was made by hand, without one.
        ring: Whether a circle in the frame has a mean convergence of 1.
        rival: Loss of log-evidence of the best other minimum.
        rival_change: How far its Einstein radius is from the answer's, relative to it.
        share: Effective number of the source's parameters over the arcs' pixels.
    """

    chi2: float
    expected: float
    pixels: int
    correlation: float
    peak: float
    signal: float
    multiple: float
    size: float
    hollow: float
    border: float
    shear: float
    flatness: float
    offset: float
    slope: float
    edge: float
    length: float
    core: float
    ring: bool
    rival: float = NO_RIVAL
    rival_change: float = 0.0
    share: float = 0.0

    @property
    def excess(self) -> float:
        r"""How far χ² is above its expectation, in standard deviations of white noise.

        The sum of N - p_eff squares has the variance 2 (N - p_eff).
        """
        return (self.chi2 - self.expected) / math.sqrt(2 * self.expected / max(self.pixels, 1))


def symptoms_of(
    scene: Scene,
    result: Answer,
    state: MacroState,
    prior: MacroPrior,
    candidates: Sequence[Candidate] = (),
    *,
    theta_E: float,
) -> Symptoms:
    """Measures the symptoms of an answer.

    Arguments:
        scene: The observation.
        result: The answer.
        state: The macro-model that it began with.
        prior: Its prior.
        candidates: Macro-models that the searches ended with, among them the best.
        theta_E: Radius of the circle of mean κ 1 [arcsec]; NaN if there is none.
    """
    frame = scene.frame
    arcs = judged(scene, result, math.exp(float(state.p[0, 0])))
    difference = left_over(scene, result)
    residual = difference / scene.pixel_sigma
    blank = blank_of(scene, result)
    p = dict(zip(NAMES, state.p[0].tolist(), strict=True))
    radius, pixels = math.exp(p["log_theta_E"]), int(arcs.sum())
    low, high = (math.log(t) for t in prior.theta_E)
    gap, change = rival_of(candidates)
    half_light, hollow = shape_of(result)
    _, length, _, core = result.source_prior or (math.nan,) * 4
    stated = scene.frame.sigma * max(scene.noise_scale, 1.0)
    fitted = int((scene.arcs & frame.mask).sum())
    return Symptoms(
        chi2=max(_mean_square(each[arcs]) for each in (residual, difference / stated)),
        expected=max(scene.expected(result.effective, fitted), 0.3),
        pixels=pixels,
        correlation=correlation_of(residual, arcs) - correlation_of(residual, blank),
        peak=peak_of(residual, arcs, blank, frame.fwhm / frame.grid.spacing)[0],
        signal=math.sqrt(float(np.square(result.arcs / scene.sigma)[arcs].sum())),
        multiple=multiply_imaged(scene, result, arcs, (p["center_x"], p["center_y"])),
        size=half_light / (radius * result.sheet.scale),
        hollow=hollow,
        border=border_of(result.source),
        shear=math.hypot(p["gamma1"], p["gamma2"]),
        flatness=math.hypot(p["e1"], p["e2"]),
        offset=math.hypot(p["center_x"] - prior.center[0], p["center_y"] - prior.center[1])
        / prior.center_width,
        slope=abs(p["gamma"] - prior.slope) / max(prior.slope_width, 1e-6),
        edge=min(p["log_theta_E"] - low, high - p["log_theta_E"]),
        length=length,
        core=core,
        ring=not math.isnan(theta_E),
        rival=gap,
        rival_change=change,
        share=result.effective / max(fitted, 1),
    )


def judged(scene: Scene, result: Answer, theta_E: float) -> Mask:
    """Finds the arcs' pixels that tell of a mass: those beside the core of the lens galaxy.

    Where galaxies have dust or a disc there, no sum of Gaussians follows their light, and as much
    is left over with the right mass as with any.

    Arguments:
        scene: The observation.
        result: The answer.
        theta_E: Einstein radius of its macro-model [arcsec].

    Returns:
        The mask, with shape (H, W); all of the arcs where too little would be left.
    """
    arcs = scene.arcs & scene.frame.mask
    near = scene.frame.distance(scene.light.center) < CORE * theta_E
    core = near & (result.lens_light > OUTSHONE * np.abs(result.arcs))
    return arcs & ~core if (arcs & ~core).sum() >= LEFT * arcs.sum() else arcs


def blank_of(scene: Scene, result: Answer) -> Mask:
    """Finds the sky: used pixels without arcs, neighbours or light of the lens above the noise."""
    dark = result.lens_light < scene.pixel_sigma
    return scene.frame.mask & ~scene.arcs & ~scene.neighbours & dark


def _mean_square(values: Array) -> float:
    return float(np.square(values).mean()) if values.size else float("nan")


def correlation_of(residual: Array, mask: Mask) -> float:
    """Computes the mean correlation of a map between the neighbours, two by two, of a mask.

    Neighbours are those along a side and across a corner; 0 where there are too few.
    """
    products, squares, count = 0.0, 0.0, 0
    for ahead, behind in _SHIFTS:
        both = mask[ahead] & mask[behind]
        a, b = residual[ahead][both], residual[behind][both]
        products += float((a * b).sum())
        squares += float((a**2 + b**2).sum()) / 2
        count += a.size
    return products / squares if count > 4 * SKY and squares > 0 else 0.0


_ALL, _ON, _BACK = slice(None), slice(1, None), slice(None, -1)
_SHIFTS = (
    ((_ALL, _ON), (_ALL, _BACK)),
    ((_ON, _ALL), (_BACK, _ALL)),
    ((_ON, _ON), (_BACK, _BACK)),
    ((_ON, _BACK), (_BACK, _ON)),
)
"""Pairs of neighbours, as slices of a map."""


def peak_of(
    residual: Array, arcs: Mask, blank: Mask, fwhm: float
) -> tuple[float, tuple[int, int]]:
    """Finds the highest modulus of a smoothed residual on the arcs, in units of its noise, and
    the row and column where it is.

    The noise is that of white residuals, or that of the smoothed sky if it is larger.

    Arguments:
        residual: Residual in units of the noise, with shape (H, W).
        arcs, blank: Where the arcs are, and where nothing is.
        fwhm: Width of the smoothing [pixel].
    """
    if not arcs.any():
        return 0.0, (0, 0)
    unit = 1.0
    if blank.sum() > SKY:
        unit = max(1.0, 1.48 * float(np.median(np.abs(smoothed(residual, blank, fwhm)[blank]))))
    height = np.where(arcs, np.abs(smoothed(residual, arcs, fwhm)), 0.0)
    row, column = np.unravel_index(height.argmax(), height.shape)
    return float(height[row, column]) / unit, (int(row), int(column))


def smoothed(residual: Array, mask: Mask, fwhm: float) -> Array:
    """Smooths the pixels of a mask by a Gaussian, in units of what white noise scatters there.

    Arguments:
        residual: Residual in units of the noise, with shape (H, W).
        mask: The pixels.
        fwhm: Width of the smoothing [pixel].
    """
    width = fwhm / 2.355
    reach = math.ceil(4 * width)
    kernel = np.exp(-0.5 * (np.arange(-reach, reach + 1) / width) ** 2)

    def summed(values: Array, kernel: Array) -> Array:
        for axis in (0, 1):  # nothing is beyond the frame
            values = correlate1d(values, kernel, axis=axis, mode="constant")
        return values

    # of a sum of white noise, the variance has the weights' squares
    variance = summed(mask.astype(float), kernel**2)
    return summed(residual * mask, kernel) / np.sqrt(variance.clip(1e-12))


def shape_of(result: Answer) -> tuple[float, float]:
    """Measures a source: its half-light radius [arcsec], and how hollow its middle is.

    Hollow is the brightness that is lacking within half of that radius, about the centre of the
    light, against a ring from 0.7 to 1.3 radii: 0 for a galaxy, near 1 for a ring.
    """
    source, grid = result.source, result.source_grid
    light = np.where(source > FAINT * source.max(), source, 0.0).clip(0)
    total = float(light.sum())
    if not total > 0:
        return 0.0, 0.0
    y, x = np.mgrid[: grid.shape[0], : grid.shape[1]]
    radius = np.hypot(x - (light * x).sum() / total, y - (light * y).sum() / total)
    order = np.argsort(radius, axis=None)
    half = float(radius.ravel()[order][np.searchsorted(light.ravel()[order].cumsum(), total / 2)])
    ring = (radius > 0.7 * half) & (radius < 1.3 * half)
    middle = radius <= max(0.5 * half, 1.0)
    around = float(source[ring].mean()) if ring.any() else 0.0
    hollow = 1 - float(source[middle].mean()) / around if around > 0 else 0.0
    return half * grid.spacing, min(max(hollow, 0.0), 1.0)


def border_of(source: Array) -> float:
    """Finds the brightest pixel at the border of a source map, relative to the map's."""
    peak = float(source.max())
    border = np.concatenate([source[0], source[-1], source[:, 0], source[:, -1]])
    return max(float(border.max()), 0.0) / peak if peak > 0 else 0.0


def candidates_of(state: MacroState) -> list[Candidate]:
    """Takes Einstein radii and log-evidences from what a search returned."""
    return list(zip(state.p[:, 0].exp().tolist(), state.value.tolist(), strict=True))


def rival_of(candidates: Sequence[Candidate]) -> tuple[float, float]:
    """Finds the best minimum that is another than the best.

    Returns:
        Its loss of log-evidence, and the relative difference of its Einstein radius;
        ``NO_RIVAL`` and 0 where there is none.
    """
    if not candidates:
        return NO_RIVAL, 0.0
    best, value = max(candidates, key=lambda each: each[1])
    others = [
        (value - other, radius / best - 1)
        for radius, other in candidates
        if math.isfinite(other) and abs(math.log(radius / best)) > ANOTHER
    ]
    gap, change = min(others, default=(NO_RIVAL, 0.0))
    return min(gap, NO_RIVAL), change
