r"""From an observation to the scene that is fitted: cut-out, bin, lens light, arcs, neighbours.

The arc mask is made once, from the data, before any model is judged: the image less lens light
and sky, smoothed by the PSF, above two standard deviations, in connected regions of at least two
PSF areas, grown by one FWHM. Regions whose light lies farther out than ``REACH`` times the radius
of the brightest region are taken for neighbours and masked.
"""

from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage

from ..errors import InputError
from ..io.observation import Observation
from ..lensing.psf import measure_fwhm
from .lens_light import (
    STRUCTURE,
    Array,
    Frame,
    LensLight,
    LensLightFitter,
    connected,
    positive_regions,
    significance,
)
from .search import Scene

LARGEST = 100
"""Side [pixels] up to which a frame is fitted as it is."""

COARSE = 60
"""Side [pixels] of the coarse frame on which the search begins."""

HUGE = 160
"""Side [pixels] above which a frame is binned even if its PSF is then undersampled."""

RING = 40
"""Pixels in each ring in which the structure of the lens galaxy is measured."""

FEWEST = 100
"""Pixels that a fit needs."""

FAINTEST = 5.0
"""Significance, after smoothing by the PSF, that the brightest arc must have."""

REACH = 1.9
"""Radius beyond which regions are neighbours, relative to that of the brightest region."""


def frame_of(observation: Observation) -> Frame:
    """Takes what is fitted from an observation."""
    return Frame(
        image=np.where(observation.mask, observation.image, 0.0),
        sigma=observation.sigma,
        mask=observation.mask,
        grid=observation.grid,
        psf=observation.psf,
        psf_kind=observation.psf_kind,
        fwhm=measure_fwhm(observation.psf) * observation.pixel_scale,
    )


def cut(
    observation: Observation,
    *,
    center: tuple[float, float] | None,
    size: float | None,
    bin: int | None,
    lens_light: bool,
) -> tuple[Observation, list[str]]:
    """Cuts out the lens and bins the pixels.

    Arguments:
        observation: What was read.
        center: Middle of the cut-out [pixel indices x, y, from 0]; that of the frame, or the lens
            found near it, if ``None``.
        size: Side of the cut-out [arcsec]; found from the arcs if ``None``.
        bin: Number of pixels that are averaged along each side; chosen if ``None``.
        lens_light: Whether the image holds its lens galaxy.

    Returns:
        The observation to fit, and what was decided, a line each.

    Raises:
        InputError: If an option does not fit the frame.
    """
    notes = []
    h, w = observation.shape
    scale = observation.pixel_scale
    if center is not None and not (0 <= center[0] < w and 0 <= center[1] < h):
        raise InputError(
            f"--center: must lie in the frame of {w} x {h} pixels, found {center[0]:g} "
            f"{center[1]:g}: "
            "give the pixel indices x y, counted from 0"
        )
    if size is not None and not 12 * scale <= size <= 2 * max(h, w) * scale:
        raise InputError(
            f"--size: must be between {12 * scale:.3g} and {2 * max(h, w) * scale:.3g} arcsec "
            f"for this "
            f"frame, found {size:g}"
        )
    if bin is not None and not 1 <= bin <= min(h, w) // 12:
        raise InputError(
            f"--bin: must be between 1 and {min(h, w) // 12} for this frame, found {bin}"
        )
    middle = center or ((w - 1) / 2, (h - 1) / 2)
    if size is None and (center is not None or max(h, w) > LARGEST):
        size, middle = _extent(observation, middle, center is None, lens_light)
        notes.append(
            f"cut out to {size:.2f} arcsec about pixel ({middle[0]:.0f}, {middle[1]:.0f})"
        )
    if size is not None:
        side = max(12, round(size / scale))
        if side < min(h, w) or center is not None:
            side = min(side, max(h, w))
            observation = observation.cutout(middle, (side, side))
    if bin is None:
        side, width = max(observation.shape), measure_fwhm(observation.psf)
        bin = 1
        while side / bin > LARGEST + 20 and width / (bin + 1) >= 1.2:
            bin += 1
        while side / bin > HUGE:
            bin += 1
        if bin > 1:
            notes.append(f"binned {bin} x {bin}")
    if min(observation.shape) // bin < 12:
        h, w = observation.shape
        raise InputError(
            f"--size, --bin: the fitted frame must have 12 pixels or more along each side, found "
            f"{w} x {h} before binning {bin} x {bin}: give a larger --size or a smaller --bin"
        )
    return (observation.binned(bin) if bin > 1 else observation), notes


def _extent(
    observation: Observation, middle: tuple[float, float], locate: bool, lens_light: bool
) -> tuple[float, tuple[float, float]]:
    """Finds side [arcsec] and middle of a square that holds the arcs, on a coarse frame."""
    h, w = observation.shape
    side = min(h, w)
    square = observation.cutout(middle, (side, side)) if (h != w or not locate) else observation
    b = max(1, int(np.ceil(side / LARGEST)))
    coarse = square.binned(b) if b > 1 else square
    scene = observe(frame_of(coarse), lens_light=lens_light)
    x, y = (c.numpy() for c in coarse.grid.coordinates(dtype=torch.float64))
    cx, cy = scene.light.center
    radius = np.hypot(x - cx, y - cy)[scene.arc_light > 0]
    light = scene.arc_light[scene.arc_light > 0]
    order = np.argsort(radius)
    outer = radius[order][np.searchsorted(light[order].cumsum(), 0.97 * light.sum())]
    size = float(
        np.clip(2 * 1.6 * outer, 24 * observation.pixel_scale, side * observation.pixel_scale)
    )
    if locate:
        column, row = observation.grid.to_index(cx, cy)
        middle = (float(round(column)), float(round(row)))
    return size, middle


def observe(frame: Frame, *, lens_light: bool) -> Scene:
    """Finds lens light, sky, arcs and neighbours.

    Raises:
        InputError: If nothing but lens light and sky is there, or too few pixels.
    """
    if frame.mask.sum() < FEWEST:
        raise InputError(
            f"mask: at least {FEWEST} pixels must be used, found {int(frame.mask.sum())} in the "
            "fitted frame: check --mask, --dq and --size"
        )
    if lens_light:
        _, light, _ = LensLightFitter(frame).fit_under_arcs()
    else:
        light = no_light(frame)
    residual = np.where(frame.mask, frame.image - light.image - light.sky, 0.0)
    scale = _noise_scale(residual, light.image, frame)
    scaled = replace(frame, sigma=frame.sigma * scale)
    radius = frame.distance(light.center)
    structure = structure_noise(residual, light.image, scaled, radius)
    # Arcs are to be clearly brighter than the structure of the lens itself. What is measured of it
    # may hold depressions about the arcs, so it does not decide whether there are any.
    plain = np.hypot(scaled.sigma, STRUCTURE * light.image)
    noise = np.hypot(scaled.sigma, np.maximum(structure, STRUCTURE * light.image))
    blank = light.image < scaled.sigma
    found = positive_regions(residual, noise, frame, blank=blank)
    if lens_light:
        # Where the lens is brightest, its own structure is the largest residual.
        found &= radius > 1.5 * frame.fwhm
    arcs, neighbours = _sort(found, residual, radius, frame)
    peak = float(np.where(arcs, significance(residual, plain, frame, blank), 0).max())
    if peak < FAINTEST:
        raise InputError(
            f"no arcs found: they must rise {FAINTEST:g} sigma above lens light and sky, found "
            f"{peak:.1f}: check --noise and --center, or give --lens-light none if the lens is "
            "already subtracted"
        )
    mask = frame.mask & ~neighbours
    return Scene(
        frame=replace(frame, mask=mask),
        light=light,
        arcs=arcs & mask,
        noise_scale=scale,
        neighbours=neighbours,
        structure=structure,
    )


def _noise_scale(residual: Array, light: Array, frame: Frame) -> float:
    """Measures the noise of blank sky over the stated one, from the middle of its distribution.

    Pixels with lens light, arcs or neighbours are left out; the scale is measured twice, the
    second time without what is significant by the first.
    """
    scale = 1.0
    for _ in range(2):
        noise = frame.sigma * scale
        blank = frame.mask & (light < noise) & ~positive_regions(residual, noise, frame)
        if blank.sum() <= 50:
            return scale
        spread = 1.48 * float(np.median(np.abs(residual / frame.sigma)[blank]))
        scale = float(np.clip(spread, 0.2, 5.0))
    return scale


def structure_noise(residual: Array, light: Array, frame: Frame, radius: Array) -> Array:
    """Measures how well the lens galaxy is described, as a noise that follows its light.

    Galaxies are not sums of Gaussians. In rings about the lens, the part of the light by which
    the residual exceeds the noise is measured on negative residuals alone: arcs are positive.

    Arguments:
        residual: Image less lens light, sky and what is known of the arcs, with shape (H, W).
        light: Lens light, with shape (H, W).
        frame: The image it belongs to.
        radius: Distance from the lens [arcsec], with shape (H, W).

    Returns:
        The standard deviation, zero where the light is faint, with shape (H, W).
    """
    use = frame.mask & (residual < 0) & (light > 3 * frame.sigma)
    if use.sum() < RING:
        return np.zeros_like(light)
    order = np.argsort(radius[use])
    rings = np.array_split(order, max(1, len(order) // RING))
    r, excess = residual[use], light[use]
    variance = np.array([np.median(r[i] ** 2 / frame.sigma[use][i] ** 2) / 0.455 for i in rings])
    level = np.array([np.median(excess[i] / frame.sigma[use][i]) for i in rings])
    share = np.sqrt(np.clip(variance - 1, 0, None)) / level
    middle = np.array([radius[use][i].mean() for i in rings])
    return np.interp(radius, middle, share) * light


def coarsen(scene: Scene, observation: Observation) -> Scene | None:
    """Bins a scene to about ``COARSE`` pixels for the first stages; ``None`` where it is small."""
    b = round(min(observation.shape) / COARSE)
    if b < 2:
        return None
    binned = observation.with_mask(scene.frame.mask).binned(b)
    frame = frame_of(binned)
    (h, w), (top, left) = binned.shape, ((n % b) // 2 for n in observation.shape)

    def blocks(maps: NDArray) -> NDArray:
        maps = maps[..., top : top + b * h, left : left + b * w]
        return maps.reshape(*maps.shape[:-2], h, b, w, b)

    light = replace(scene.light, templates=blocks(scene.light.templates).mean(axis=(-1, -3)))
    arcs = blocks(scene.arcs).any(axis=(-1, -3))
    structure = blocks(scene.structure).mean(axis=(-1, -3))
    return replace(scene, frame=frame, light=light, arcs=arcs & frame.mask, structure=structure)


def no_light(frame: Frame) -> LensLight:
    """Returns the absence of a lens galaxy: a sky of zero."""
    return LensLight(
        center=(0.0, 0.0),
        ellipticity=np.zeros((2, 2)),
        templates=np.ones((1, *frame.grid.shape)),
        amplitudes=np.zeros(1),
        level=np.zeros(1),
    )


def _sort(
    found: NDArray[np.bool_], residual: Array, radius: Array, frame: Frame
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Tells arcs from neighbours by their distance from the lens."""
    labels, count = connected(found)
    if count == 0:
        return found, np.zeros_like(found)
    index = np.arange(1, count + 1)
    flux = np.maximum(ndimage.sum_labels(residual * frame.mask, labels, index), 0)
    distance = ndimage.sum_labels(residual.clip(0) * radius, labels, index)
    distance = distance / np.maximum(ndimage.sum_labels(residual.clip(0), labels, index), 1e-300)
    # Bright counts most, then near: the core's own structure is near, neighbours are far.
    main = int(np.argmax(flux / np.sqrt(np.maximum(distance, 4 * frame.fwhm))))
    far = distance > REACH * max(distance[main], 2 * frame.fwhm)
    neighbours = np.isin(labels, index[far])
    return found & ~neighbours, neighbours
