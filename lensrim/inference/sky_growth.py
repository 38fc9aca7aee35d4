r"""How much more the sky scatters over a PSF than its pixels tell: noise that is correlated.

An image that was resampled, as drizzled ones are, has noise that neighbouring pixels share. A fit
that takes each for itself counts it for several times the information that it has: its source
follows the noise, and its errors are too small. All that such a fit learns has passed the PSF
:math:`P`, so what counts of the noise is the scatter of sums with its weights, which over that of
white noise of the same pixels is

.. math:: g^2 = \sum_l \rho_l A_l \, , \qquad A_l = \frac{\sum_i P_i P_{i+l}}{\sum_i P_i^2} \, ,

with the correlation :math:`\rho_l` between pixels a shift :math:`l` apart. Noise :math:`g` times
as large makes a likelihood of white noise right for what passes the PSF; what does not, and tells
nothing, is quieter than it takes it to be. A right model leaves, in the noise of the pixels,

.. math:: \chi^2_\nu = 1 - g^2 p_{eff} / N \, .

Correlations are measured on blank sky as far as noise of resampled images has any (``NEAR``), less
the mean of those farther away (``FAR``): of light that is not modelled, or too much sky taken
away. Without clear ones the noise is taken as white.

What is not guaranteed: structure broader than a PSF has noise that is larger still, by a tenth
where the PSF has 2 pixels and neighbours a correlation of 0.3; and what is as wide as a PSF in the
sky itself, as many sources too faint to be seen, is taken for correlated noise.
"""

import numpy as np
import torch
from numpy.typing import NDArray

from ..io.blank_sky import flattened
from ..lensing.psf import native_kernel
from .frame import Array, Frame

NEAR, FAR = 3, (4, 6)
"""Length of the shifts [pixel] of which correlations count, and of those that must have none."""

FEWEST = 300
"""Pixels of sky that are needed."""

CLEAR = 3.0
"""Significance from which the growth counts [standard deviations of that of white noise]. Of 300
standard test mocks, whose noise is white, none has as much."""

SMOOTH = 4.0
"""Width of what is taken from the sky as varying slowly [FWHM]."""

CLIP = 4.0
"""Standard deviations beyond which a pixel's value is cut."""

LIGHT, STRUCTURE = 30.0, 0.25
"""Light of the lens galaxy and its structure, in units of the noise, up to which pixels count as
sky. The light is subtracted, and a SLACS lens fills its frame with more than the noise of it; its
structure is as wide as a PSF, and noise of its own."""


def growth_over_psf(
    residual: Array,
    noise: Array,
    sky: NDArray[np.bool_],
    frame: Frame,
    *,
    light: Array,
    structure: Array,
) -> float | None:
    """Measures the growth g of the noise over a PSF: 1 where noise is white, ``None`` where there
    is too little sky to tell.

    Arguments:
        residual: Image less lens light and sky, with shape (H, W).
        noise: Standard deviation of a pixel, with shape (H, W).
        sky: Pixels without arcs or neighbours, with shape (H, W).
        frame: The image it belongs to.
        light: Lens light, with shape (H, W).
        structure: Standard deviation of what is left of it, with shape (H, W).
    """
    blank = sky & frame.mask & (light < LIGHT * noise) & (structure < STRUCTURE * noise)
    if blank.sum() < FEWEST:
        return None
    rest = flattened(residual, blank, SMOOTH * frame.fwhm / frame.grid.spacing) / noise
    unit = 1.4826 * float(np.median(np.abs(rest[blank])))
    rest = np.where(blank, rest.clip(-CLIP * unit, CLIP * unit), 0.0)
    variance = float(np.square(rest[blank]).mean())
    if not variance > 0:
        return None
    kernel = torch.as_tensor(frame.psf, dtype=torch.float64)
    psf = native_kernel(kernel, 1, psf_kind=frame.psf_kind).numpy()
    far = [_products(rest, blank, shift) for shift in _shifts(*FAR)]
    pairs = max(sum(n for _, n in far), 1)
    base = sum(total for total, _ in far) / pairs / variance
    square, spread, weights = 1.0, 0.0, 0.0
    for shift in _shifts(1, NEAR):
        total, n = _products(rest, blank, shift)
        if n:
            weight = 2 * _overlap(psf, shift)  # a shift and its opposite
            square += weight * (total / n / variance - base) / (1 - base)
            spread += weight**2 / n
            weights += weight
    spread += weights**2 / pairs  # of what is taken away
    return float(np.sqrt(square)) if square - 1 > CLEAR * np.sqrt(spread) else 1.0


def _shifts(least: int, most: int) -> list[tuple[int, int]]:
    """Shifts along rows and columns of these lengths, one of each pair of opposites."""
    axis = range(-most, most + 1)
    pairs = ((i, j) for i in range(most + 1) for j in axis if (i, j) > (0, 0))
    return [(i, j) for i, j in pairs if least**2 <= i * i + j * j <= most**2]


def _parts(shape: tuple[int, ...], shift: tuple[int, int]) -> tuple[tuple[slice, ...], ...]:
    """What of a map and of itself, shifted, lies on each other."""
    pairs = [
        (slice(max(s, 0), max(n + min(s, 0), 0)), slice(max(-s, 0), max(n - max(s, 0), 0)))
        for s, n in zip(shift, shape, strict=True)
    ]
    return tuple(p[0] for p in pairs), tuple(p[1] for p in pairs)


def _products(rest: Array, blank: NDArray[np.bool_], shift: tuple[int, int]) -> tuple[float, int]:
    """Sum of the products of blank pixels and those a shift away, and their number."""
    a, b = _parts(rest.shape, shift)
    return float((rest[a] * rest[b]).sum()), int((blank[a] & blank[b]).sum())


def _overlap(psf: Array, shift: tuple[int, int]) -> float:
    """A PSF's product with itself, shifted, over that without a shift."""
    a, b = _parts(psf.shape, shift)
    return float((psf[a] * psf[b]).sum() / np.square(psf).sum())
