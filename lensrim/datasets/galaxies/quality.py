"""How good a stamp of a galaxy is for lensing: what is wrong with it, in numbers and a verdict.

What the numbers must be for a verdict was set by eye, on some 360 stamps of Hubble and Webb.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .stamps import Isolated, half_light_radius

Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class Limits:
    """Creates the limits of the verdicts: what a good galaxy has, and beyond which it is bad.

    Arguments:
        snr: Least ratio of light to error, good and not bad.
        radius: Least half-light radius [pixels].
        psf_widths: Least diameter of half of the light [widths of the PSF].
        lost: Largest share of the light that the taper took.
        off: Largest share of the edge that lies off the stamp.
        step: Largest brightness at the edge [mean brightness within the half-light radius].
        box: Largest share of the edge in straight lines along the pixels.
        cut: Largest share of the edge along which a neighbour was cut off.
    """

    snr: tuple[float, float] = (30.0, 10.0)
    radius: tuple[float, float] = (2.5, 1.5)
    psf_widths: tuple[float, float] = (1.5, 1.0)
    lost: tuple[float, float] = (0.15, 0.3)
    off: tuple[float, float] = (0.0, 0.1)
    step: tuple[float, float] = (0.2, 0.5)
    box: tuple[float, float] = (0.15, 0.6)
    cut: tuple[float, float] = (0.1, 0.4)


@dataclass(frozen=True)
class Quality:
    """Creates the report on one galaxy.

    Arguments:
        verdict: ``good``, ``fair`` or ``bad``.
        reasons: Why it is not good.
        snr: Light over its error.
        half_light_radius: Radius [pixels].
        psf_widths: Diameter of half of the light in widths of the PSF, if that is known.
        lost: Share of the light that the taper took.
        off: Share of the edge that lies at the border of the stamp, or at blank pixels.
        step: Brightness at the edge, exceeded on a tenth of it, relative to the mean within the
            half-light radius.
        box: Share of the edge in straight lines along the pixels, longer than an ellipse has them.
        cut: Share of the edge along which a neighbour was cut off.
        neighbours: Objects that touched the galaxy and were cut off.
    """

    verdict: str
    reasons: tuple[str, ...]
    snr: float
    half_light_radius: float
    psf_widths: float | None
    lost: float
    off: float
    step: float
    box: float
    cut: float
    neighbours: int


def quality(
    galaxy: Isolated, *, psf_fwhm: float | None = None, limits: Limits = Limits()
) -> Quality:
    """Measures how good a galaxy is.

    Arguments:
        galaxy: The galaxy.
        psf_fwhm: Width of the point spread function [pixels], if it is known.
        limits: What makes a verdict.
    """
    radius = half_light_radius(galaxy.image)
    widths = None if psf_fwhm is None else 2 * radius / psf_fwhm
    light = float(galaxy.signal[galaxy.inside].sum())
    lost = max(0.0, 1 - galaxy.flux / light) if light > 0 else 0.0
    off, step, box = _off(galaxy), _step(galaxy, radius), box_share(galaxy.inside)
    cut = _beside(galaxy.inside, galaxy.others, 3)
    low = [
        ("faint", galaxy.snr, limits.snr),
        ("small", radius, limits.radius),
        ("unresolved", np.inf if widths is None else widths, limits.psf_widths),
    ]
    high = [
        ("light lost", lost, limits.lost),
        ("runs off the stamp", off, limits.off),
        ("hard edge", step, limits.step),
        ("box-shaped edge", box, limits.box),
        ("neighbour cut off", cut, limits.cut),
    ]
    bad = [name for name, value, (_, least) in low if value < least]
    bad += [name for name, value, (_, most) in high if value > most]
    fair = [name for name, value, (least, _) in low if value < least]
    fair += [name for name, value, (most, _) in high if value > most]
    reasons = (*bad, *(name for name in fair if name not in bad))
    verdict = "bad" if bad else "fair" if fair else "good"
    count = galaxy.neighbours
    return Quality(verdict, reasons, galaxy.snr, radius, widths, lost, off, step, box, cut, count)


def _edge(inside: Mask) -> Mask:
    """Outermost pixels of a region."""
    from scipy import ndimage

    deep: Any = ndimage.binary_erosion(inside)
    return inside & ~deep


def _off(galaxy: Isolated) -> float:
    """Share of the edge beyond which the stamp has no pixels."""
    # Where the galaxy was cut out on zeros, all around it is blank.
    missing = galaxy.blank if galaxy.noise else np.zeros_like(galaxy.blank)
    return _beside(np.pad(galaxy.inside, 1), np.pad(missing, 1, constant_values=True), 1)


def _beside(inside: Mask, others: Mask, reach: int) -> float:
    """Share of the edge of a region within a few pixels of another region."""
    from scipy import ndimage

    near = np.asarray(ndimage.binary_dilation(others, iterations=reach))
    return float(np.mean(near[_edge(inside)]))


def _step(galaxy: Isolated, radius: float) -> float:
    """Brightness at the edge, exceeded on a tenth of it, over the mean within a radius."""
    from scipy import ndimage

    light = ndimage.gaussian_filter(galaxy.signal, 1.5) if galaxy.noise else galaxy.signal
    # A pixel holds no less than its own area, where all light is in one.
    middle = galaxy.flux / 2 / max(np.pi * radius**2, 0.5)
    return float(np.quantile(light[_edge(galaxy.inside)], 0.9) / middle)


def box_share(inside: Mask) -> float:
    r"""Share of the edge of a region in straight lines along the pixels that no ellipse has.

    An ellipse with semi-axes a, b runs along the pixels for
    :math:`2 \sqrt{2} \, a / \sqrt{b}` at most, where it turns; lines a third longer count, and
    those of eight pixels or more.

    Arguments:
        inside: Pixels of the region, with shape (H, W).
    """
    padded = np.pad(inside, 1)
    rows, columns = np.nonzero(padded)
    eigenvalues = np.linalg.eigvalsh(np.cov(np.stack([rows, columns]), ddof=0))
    minor, major = 2 * np.sqrt(np.clip(eigenvalues, 1 / 16, None))
    least = max(8.0, 4 / 3 * 2 * np.sqrt(2 / minor) * major)
    total = straight = 0
    for axis in (0, 1):
        # +1 where the region begins and -1 where it ends: two edges, each along the other axis
        sides = np.diff(np.moveaxis(padded, axis, 0).astype(np.int8), axis=0)
        for side in (1, -1):
            lengths = _runs(sides == side)
            total += int(lengths.sum())
            straight += int(lengths[lengths >= least].sum())
    return straight / total


def _runs(marked: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Lengths of the runs of marked pixels along the rows."""
    steps: Any = np.diff(np.pad(marked, ((0, 0), (1, 1))).astype(np.int8), axis=1)
    return np.argwhere(steps == -1)[:, 1] - np.argwhere(steps == 1)[:, 1]
