r"""From an observation to the scene that is fitted: cut-out, bin, lens light, arcs, neighbours.

The arc mask is made once, from the data, before any model is judged: the image less lens light
and sky, smoothed by the PSF, above two standard deviations, in connected regions of at least two
PSF areas, grown by one FWHM. Neighbours (:mod:`lensrim.inference.neighbours`) are masked.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ..errors import InputError
from ..io.observation import Observation
from ..lensing.psf import measure_fwhm
from .frame import Array, Frame
from .lens_light import STRUCTURE, LensLightFitter
from .neighbours import part_neighbours
from .plan import LARGEST, NARROW, SMALLEST, bin_of, refusal_of
from .regions import positive_regions, significance
from .scene import Scene
from .sky import no_light, noise_scale
from .sky_growth import growth_over_psf

COARSE = 60
"""Side [pixels] of the coarse frame on which the search begins."""

RING = 40
"""Pixels in each ring in which the structure of the lens galaxy is measured."""

FEWEST = 100
"""Pixels that a fit needs."""

FAINTEST = 5.0
"""Significance, after smoothing by the PSF, that the brightest arc must have."""


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
    tick: Callable[[], None] = lambda: None,
) -> tuple[Observation, list[str]]:
    """Cuts out the lens and bins the pixels.

    Arguments:
        observation: What was read.
        center: Middle of the cut-out [pixel indices x, y in the file's image, from 0]; the lens,
            found near the middle of the frame, if ``None``.
        size: Side of the cut-out [arcsec]; found from the arcs if ``None``.
        bin: Number of pixels that are averaged along each side; chosen if ``None``.
        lens_light: Whether the image holds its lens galaxy.
        tick: Called now and then while it works.

    Returns:
        The observation to fit, and what was decided, a line each.

    Raises:
        InputError: If an option does not fit the frame, it cannot be fitted (:func:`refusal_of`),
            or no arcs are found.
    """
    notes = []
    h, w = observation.shape
    scale = observation.pixel_scale
    if refusal := refusal_of(observation, center):
        raise InputError(refusal)
    center = None if center is None else observation.from_file(*center)
    if size is not None and not SMALLEST * scale <= size <= 2 * max(h, w) * scale:
        raise InputError(
            f"--size: must be between {SMALLEST * scale:.3g} and {2 * max(h, w) * scale:.3g} "
            f"arcsec for this frame, found {size:g}"
        )
    if bin is not None and not 1 <= bin <= min(h, w) // SMALLEST:
        raise InputError(
            f"--bin: must be between 1 and {min(h, w) // SMALLEST} for this frame, found {bin}"
        )
    middle = center or ((w - 1) / 2, (h - 1) / 2)
    side = LARGEST if size is None else max(SMALLEST, round(size / scale))
    # without lens light the lens is taken to be in the middle: nothing else to look for
    seek = size is None or (center is None and lens_light)
    if seek and (center is not None or max(h, w) > side):
        found, middle = _extent(observation, middle, center is None, lens_light, tick)
        side = side if size is not None else max(SMALLEST, round(found / scale))
    if center is not None or max(h, w) > side:
        side = min(side, max(h, w))
        column, row = observation.to_file(*middle)
        observation = observation.cutout(middle, (side, side))
        notes.append(f"cut out to {side * scale:.2f} arcsec about pixel ({column:.0f}, {row:.0f})")
    if bin is None:
        bin = bin_of(max(observation.shape), measure_fwhm(observation.psf))
        if bin > 1:
            notes.append(f"binned {bin} x {bin}")
    if min(observation.shape) // bin < SMALLEST:
        h, w = observation.shape
        raise InputError(
            f"--size, --bin: the fitted frame must have {SMALLEST} pixels or more along each side,"
            f" found {w} x {h} before binning {bin} x {bin}: give a larger --size or a smaller"
            " --bin"
        )
    if bin == 1:
        return observation, notes
    binned = observation.binned(bin)
    if (width := measure_fwhm(binned.psf)) < NARROW:
        finer = f"--bin {bin - 1} is finer, and takes longer"
        notes.append(f"the PSF is {width:.2f} binned pixels wide, and bright arcs suffer: {finer}")
    return binned, notes


def _extent(
    observation: Observation,
    middle: tuple[float, float],
    locate: bool,
    lens_light: bool,
    tick: Callable[[], None],
) -> tuple[float, tuple[float, float]]:
    """Finds side [arcsec] and middle of a square that holds the arcs, on a coarse frame.

    In a frame so large that a lens is lost between averages of its pixels, it is looked for in
    half of it about the middle, and in half of that, down to what is fitted as it is.

    Raises:
        InputError: If there are no arcs.
    """
    h, w = observation.shape
    side = min(h, w)
    while True:
        whole = h == w == side and locate
        square = observation if whole else observation.cutout(middle, (side, side))
        b = max(1, int(np.ceil(side / LARGEST)))
        coarse = square.binned(b) if b > 1 else square
        try:
            scene = observe(frame_of(coarse), lens_light=lens_light, tick=tick)
            break
        except InputError as error:
            if b > 1:
                side = max(side // 2, LARGEST)
                continue
            if side == min(h, w):
                raise
            column, row = observation.to_file(*middle)
            hint = ": --center says where the lens is" if locate else ""
            raise InputError(
                f"{error} (looked for about pixel ({column:.0f}, {row:.0f}), in {w} x {h} "
                f"pixels down to {side} x {side}{hint})"
            ) from error
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
        # by way of the file: rows that fill no block may be more at one side than at the other
        place = coarse.to_file(*coarse.grid.to_index(cx, cy))
        column, row = observation.from_file(*place)
        middle = (float(round(column)), float(round(row)))
    return size, middle


def observe(
    frame: Frame,
    *,
    lens_light: bool,
    growth: float = 1.0,
    tick: Callable[[], None] = lambda: None,
) -> Scene:
    """Finds lens light, sky, arcs and neighbours.

    Arguments:
        frame: The image.
        lens_light: Whether it holds its lens galaxy.
        growth: Growth of its noise over a PSF, where its own sky is too little to tell.
        tick: Called after every round of the lens light's fit.

    Raises:
        InputError: If nothing but lens light and sky is there, or too few pixels.
    """
    if frame.mask.sum() < FEWEST:
        raise InputError(
            f"mask: at least {FEWEST} pixels must be used, found {int(frame.mask.sum())} in the "
            "fitted frame: check --mask, --dq and --size"
        )
    if lens_light:
        _, light, _ = LensLightFitter(frame).fit_under_arcs(tick=tick)
    else:
        light = no_light(frame)
    residual = np.where(frame.mask, frame.image - light.image - light.sky, 0.0)
    scale = noise_scale(residual, light.image, frame)
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
    smooth = significance(residual, noise, frame, blank)
    arcs, neighbours = part_neighbours(found, residual, radius, frame, smooth)
    peak = float(np.where(arcs, significance(residual, plain, frame, blank), 0).max())
    if peak < FAINTEST:
        below, advice = (
            ("lens light and sky", "none if the lens is already subtracted")
            if lens_light
            else ("the sky", "auto if the lens galaxy is in the image")
        )
        raise InputError(
            f"no arcs found: they must rise {FAINTEST:g} sigma above {below}, found {peak:.1f}:"
            f" check --noise, --mask and --center, or give --lens-light {advice}"
        )
    mask = frame.mask & ~neighbours
    own = growth_over_psf(
        residual,
        scaled.sigma,
        ~(arcs | neighbours),
        frame,
        light=light.image,
        structure=structure,
    )
    return Scene(
        frame=replace(frame, mask=mask),
        light=light,
        arcs=arcs & mask,
        noise_scale=scale,
        neighbours=neighbours,
        structure=structure,
        growth=growth if own is None else own,
    )


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
        The standard deviation, with shape (H, W): a share of the light, beyond the last ring that
        ring's.
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
    # the growth over a PSF, which the scene has, is the same on any pixels
    white = replace(observation.with_mask(scene.frame.mask), noise_growth=())
    binned = white.binned(b)
    (h, w), (x0, y0), (x1, y1) = binned.shape, observation.corner, binned.corner
    left, top = (x1 - x0) // observation.bin, (y1 - y0) // observation.bin
    # where an odd number of rows fills no block, more are cut off at one side
    middle = observation.grid.from_index(left + (b * w - 1) / 2, top + (b * h - 1) / 2)
    frame = frame_of(binned)
    frame = replace(frame, grid=replace(frame.grid, center=middle))

    def blocks(maps: NDArray[Any]) -> NDArray[Any]:
        maps = maps[..., top : top + b * h, left : left + b * w]
        return maps.reshape(*maps.shape[:-2], h, b, w, b)

    light = replace(scene.light, templates=blocks(scene.light.templates).mean(axis=(-1, -3)))
    arcs = blocks(scene.arcs).any(axis=(-1, -3))
    structure = blocks(scene.structure).mean(axis=(-1, -3))
    return replace(scene, frame=frame, light=light, arcs=arcs & frame.mask, structure=structure)
