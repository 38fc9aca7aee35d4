r"""Lens light: concentric elliptical Gaussians plus a constant sky, convolved with the PSF.

.. math:: I(\theta) = B \sum_j a_j \exp\left(- \frac{|w_j|^2}{2 \sigma_j^2 (1 -
|\epsilon_j|^2)}\right) + \mathrm{sky} ,
          \qquad w_j = z - \epsilon_j \bar z \, , \quad a_j > 0 \, ,

with fixed, logarithmically spaced :math:`\sigma_j` (intermediate axis) and an ellipticity that
runs linearly in :math:`\log\sigma` from an inner to an outer value, which follows twists.
Positive amplitudes make the profile fall monotonically with radius, and a prior makes it smooth
(:mod:`~.light_profile`), so that a ring of arcs cannot be absorbed; the amplitudes are solved for,
the centre and the two ellipticities are searched.

The arcs are unknown when the light is first fitted. They are only ever *brighter* than the lens,
so pixels in connected, positive residuals are left out, round after round, until the set of
pixels is stable. With the arcs' model at hand the light is fitted once more jointly with it
(``whiten``), and in every solve for the source its amplitudes are free about the fit, as smoothly
(:func:`~.light_profile.light_factor`).

References:
    Emsellem+ 1994, A&A 285, 723; Cappellari 2002, MNRAS 333, 400 (multi-Gaussian expansion).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage

from ..lensing.ray_psf import reach_of
from .frame import Array, Frame
from .gaussians import Gaussians
from .light_profile import roughness
from .projection import TOLERANCE, Fitted, Pixels, Whiten, descend
from .regions import positive_regions

SUBSAMPLE = 3
STRUCTURE = 0.05
"""Part of the lens light that counts as noise: galaxies are not sums of Gaussians."""

WITHIN = 0.97
"""Part of the PSF whose reach is the margin on which wide Gaussians are drawn about the frame."""

COARSE = (3e-2, 1e-2, 1e-3)
"""Gains at which the fits of the first rounds end, in which arcs are taken for the lens. Fits to
the end of 12 mocks took twice as long, for light that differs by 0.055 of the noise at most."""


@dataclass(frozen=True)
class LensLight:
    """Holds a fitted lens galaxy and sky.

    Arguments:
        center: Centre [arcsec].
        ellipticity: Inner and outer (e1, e2), with shape (2, 2).
        templates: Convolved Gaussians with amplitude 1, then the sky, with shape (Q, H, W).
        amplitudes: Their amplitudes, with shape (Q).
        precision: Prior precision of the logarithms of those of the Gaussians, with shape
            (Q - 1, Q - 1).
    """

    center: tuple[float, float]
    ellipticity: Array
    templates: Array
    amplitudes: Array
    precision: Array

    @property
    def image(self) -> Array:
        """Convolved lens galaxy without the sky, with shape (H, W)."""
        # a product of matrices would wake the threads of BLAS for next to nothing
        return np.einsum("q,qhw->hw", self.amplitudes[:-1], self.templates[:-1])

    @property
    def sky(self) -> float:
        """Constant sky, in the data's units."""
        return float(self.amplitudes[-1])

    @property
    def is_dark(self) -> bool:
        """Whether there is no lens galaxy, but sky alone."""
        return len(self.templates) == 1


class LensLightFitter:
    """Creates the fitter of one frame.

    Arguments:
        frame: The image.
        count: Number of Gaussians.
    """

    def __init__(self, frame: Frame, *, count: int = 12):
        self.frame = frame
        half = min(frame.grid.fov) / 2
        self.sigmas = np.geomspace(0.3 * frame.grid.spacing, 0.8 * half, count)
        self.gaussians = Gaussians(
            frame.grid,
            self.sigmas,
            lambda side: frame.operator(SUBSAMPLE, box=side),
            lambda side: frame.ray_operator(SUBSAMPLE, box=side),
            reach=reach_of(frame.psf.shape),
            margin=half_side_of(frame.psf, WITHIN),
        )
        self.precision = roughness(self.sigmas)

    def fit(
        self,
        image: Array,
        use: NDArray[np.bool_],
        start: Array | None = None,
        *,
        guesses: Sequence[Array] | None = None,
        whiten: Whiten = lambda columns: columns,
        tolerance: float = TOLERANCE,
    ) -> tuple[Array, LensLight]:
        """Fits shape and amplitudes; returns the shape's numbers too.

        Arguments:
            image: The image, with shape (H, W).
            use: Pixels that are fitted.
            start: The shape's numbers to start from; guessed if ``None``.
            guesses: Guesses of them, of which the best begins; made from the image if ``None``.
            whiten: Takes out of pixels (n) or (n, m) in units of their noise what else may be
                there; symmetric.
            tolerance: As in :func:`~.projection.descend`.
        """
        pixels = Pixels.of(image, self.frame.sigma, use, whiten)

        def evaluate(shape: Array) -> Fitted:
            return Fitted.of(self.gaussians, pixels, shape, self.precision)

        reach = 2 * self.frame.fwhm + 2 * self.frame.grid.spacing
        bounds = np.array([reach, reach, 0.5, 0.5, 0.5, 0.5])
        if start is None:
            # the brightest pixel may be in an arc, where a galaxy fits worse
            tried = map(evaluate, self._guesses(image) if guesses is None else guesses)
            begin = min(tried, key=lambda g: float((g.residual**2).log1p().sum()))
            middle = begin.shape
        else:
            middle = np.array([*start[:2], 0, 0, 0, 0])
            begin = evaluate(np.clip(start, middle - 0.99 * bounds, middle + 0.99 * bounds))
        fitted = descend(evaluate, begin, middle + np.stack([-bounds, bounds]), tolerance)
        return fitted.shape, self._light(fitted)

    def _light(self, fitted: Fitted) -> LensLight:
        shape = fitted.shape
        return LensLight(
            center=(float(shape[0]), float(shape[1])),
            ellipticity=shape[2:].reshape(2, 2),
            templates=fitted.templates.reshape(-1, *self.frame.grid.shape).numpy(),
            amplitudes=fitted.amplitudes.numpy(),
            precision=self.precision,
        )

    def _guesses(self, image: Array) -> list[Array]:
        """Finds the brightest smoothed pixels within three distances of the frame's middle, which
        itself is guessed where all within are ignored."""
        frame = self.frame
        smooth = ndimage.gaussian_filter(
            np.where(frame.mask, image, 0.0), frame.fwhm / frame.grid.spacing / 2
        )
        x, y = (c.numpy() for c in frame.grid.coordinates(dtype=torch.float64))
        found = []
        for reach in (0.25, 0.12, 0.05):
            near = np.hypot(x, y) < max(reach * min(frame.grid.fov), 1.5 * frame.grid.spacing)
            if not (near & frame.mask).any():
                found.append((0.0,) * 6)
                continue
            peak = np.where(near & frame.mask, smooth, -np.inf).argmax()
            found.append((x.flat[peak], y.flat[peak], 0.0, 0.0, 0.0, 0.0))
        return [np.array(guess) for guess in dict.fromkeys(found)]

    def fit_under_arcs(
        self, *, tick: Callable[[], None] = lambda: None
    ) -> tuple[Array, LensLight, NDArray[np.bool_]]:
        """Fits the lens where there are no arcs, finding out where that is.

        Arcs may be brighter than the lens. Where the guesses of its middle are farther apart than
        the PSF is wide, each is followed to its end, and the one is taken that leaves the least
        beside its own arcs; at the start, with all arcs in the image, that may be one on an arc.

        Galaxies are not sums of Gaussians: a few per cent of the light itself (``STRUCTURE``)
        count as noise here, or the mask of a bright lens would eat its way inwards round after
        round.

        Arguments:
            tick: Called after every round.

        Returns:
            The shape's numbers, the fit, and the mask of pixels that are arcs or neighbours by it:
            those that were left out, unless the rounds ended before these stayed the same.
        """
        groups: list[list[Array]] = []
        for guess in self._guesses(self.frame.image):
            for group in groups:
                if np.hypot(*(guess - group[0])[:2]) < self.frame.fwhm:
                    group.append(guess)
                    break
            else:
                groups.append([guess])
        found = [self._rounds(group, tick) for group in groups]
        return min(found, key=self._left_over) if len(found) > 1 else found[0]

    def _left_over(self, found: tuple[Array, LensLight, NDArray[np.bool_]]) -> float:
        """Mean of what a fit leaves beside its own arcs, robust."""
        _, light, outlier = found
        frame = self.frame
        residual = (frame.image - light.image - light.sky) / frame.sigma
        return float(np.log1p(residual[frame.mask & ~outlier] ** 2).mean())

    def _rounds(
        self, guesses: Sequence[Array], tick: Callable[[], None]
    ) -> tuple[Array, LensLight, NDArray[np.bool_]]:
        """Fits the lens and finds its arcs in turn, as in :meth:`fit_under_arcs`."""
        frame = self.frame
        x, y = (c.numpy() for c in frame.grid.coordinates(dtype=torch.float64))
        outlier = np.zeros_like(frame.mask)
        shape, light, gain = None, None, TOLERANCE
        for gain in (*COARSE, TOLERANCE):
            use = frame.mask & ~outlier
            shape, light = self.fit(frame.image, use, shape, guesses=guesses, tolerance=gain)
            tick()
            residual = np.where(frame.mask, frame.image - light.image - light.sky, 0.0)
            excess = max(1.0, 1.48 * float(np.median(np.abs(residual / frame.sigma)[use])))
            noise = np.hypot(frame.sigma * excess, STRUCTURE * light.image)
            core = np.hypot(x - shape[0], y - shape[1]) < 1.5 * frame.fwhm
            found = positive_regions(residual, noise, frame, threshold=3.0) & ~core
            if (found & frame.mask).sum() > 0.6 * frame.mask.sum():
                break  # more arcs than sky: a worse description than the last one
            if (found == outlier).mean() > 0.998:
                break
            outlier = found
        if gain > TOLERANCE:
            shape, light = self.fit(frame.image, frame.mask & ~outlier, shape)
        assert shape is not None and light is not None
        return shape, light, outlier


def half_side_of(psf: Array, share: float) -> int:
    """Returns half of the side of the smallest square about a PSF's middle beyond which no square
    holds less than a share, or more than as much above all: wings may be negative."""
    middle = [n // 2 for n in psf.shape]
    y, x = np.indices(psf.shape)
    far = np.maximum(np.abs(y - middle[0]), np.abs(x - middle[1])).ravel()
    grown = np.cumsum(np.bincount(far, psf.ravel()))
    off = np.abs(grown / grown[-1] - 1) > 1 - share
    return min(int(np.flatnonzero(off).max(initial=-1)) + 1, len(grown) - 1)
