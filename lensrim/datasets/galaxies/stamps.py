"""Stamps of real galaxies, made ready to be lensed.

A stamp is an image of one galaxy in any of the usual forms: cut out on a zero background, or with
sky, noise and neighbours around it. It is brought to one form: background removed, the object at
the middle segmented, its edge tapered so that no step remains, cropped, and divided by its peak.
The point spread function of the survey that took the image is left in.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .denoising import denoise
from .segmentation import central, centrality, deblend

Map = NDArray[np.float64]
Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class Galaxy:
    """Creates a galaxy to be lensed.

    Arguments:
        name: Name, unique in its collection.
        image: Surface brightness relative to its peak, square, centred on the centroid, zero at
            the border.
        pixel_scale: Side of a pixel [arcsec].
        half_light_radius: Radius about the centre that holds half of the light [arcsec].
        psf_fwhm: Width of the point spread function that is in the image [arcsec], if it is known.
        flux: Light of the image in the unit of the stamp, if it was made of one.
        noise: Standard deviation of what is left of the noise of the sky, relative to the peak, in
            a pixel; 0 where the stamp had none.
        snr: Light over its error from the noise of the sky, before anything was removed.
    """

    name: str
    image: Map
    pixel_scale: float
    half_light_radius: float
    psf_fwhm: float | None = None
    flux: float | None = None
    noise: float = 0.0
    snr: float | None = None


@dataclass(frozen=True)
class Stamp:
    """Creates an image of a galaxy as a survey gave it.

    Arguments:
        image: Image in any unit, with shape (H, W); pixels that are not finite are blank.
        pixel_scale: Side of a pixel [arcsec].
        psf_fwhm: Width of the point spread function [arcsec], if it is known.
        noise: Standard deviation of the noise of the sky in a pixel, if it is known; measured on
            the image where it is not.
    """

    image: Map
    pixel_scale: float
    psf_fwhm: float | None = None
    noise: float | None = None


@dataclass(frozen=True)
class Cleaning:
    """Creates a way to clean stamps; by default without touching the light of the galaxy.

    Arguments:
        taper: Width of the edge over which the galaxy fades to zero [pixels].
        denoise: Standard deviations above which light is kept
            (:func:`lensrim.datasets.galaxies.denoising.denoise`); 0 to leave the noise in.
        isophote: Brightness to which a galaxy is followed [standard deviations of the noise of a
            pixel of the sky].
        contrast: Objects that touch the galaxy are cut off where their peak is this many times
            brighter than the saddle between them (:mod:`lensrim.datasets.galaxies.segmentation`);
            0 to leave them.
    """

    taper: int = 4
    denoise: float = 0.0
    isophote: float = 1.5
    contrast: float = 0.0


THOROUGH = Cleaning(taper=2, denoise=3.0, isophote=0.5, contrast=3.0)
"""Noise removed, neighbours that touch cut off, and little light taken by the taper."""


@dataclass(frozen=True)
class Isolated:
    """Creates the galaxy of a stamp on zeros, and how it was found.

    Arguments:
        image: Brightness relative to its peak: square, odd, cropped, centred on its centroid.
        peak: Brightness of the peak, in the unit of the stamp.
        signal: Stamp without its background, with shape (H, W).
        blank: Pixels that the stamp does not have, with shape (H, W).
        inside: Pixels of the galaxy, those of the taper too, with shape (H, W).
        others: Pixels of objects that touched the galaxy and were cut off, with shape (H, W).
        kept: The galaxy in the frame and the unit of the stamp, with shape (H, W).
        noise: Standard deviation of the noise of the sky; 0 where the galaxy was cut out on zeros.
        left: What is left of it in a pixel of blank sky.
        neighbours: Number of the objects that were cut off.
    """

    image: Map
    peak: float
    signal: Map
    blank: Mask
    inside: Mask
    others: Mask
    kept: Map
    noise: float
    left: float
    neighbours: int

    @property
    def flux(self) -> float:
        """Light of the galaxy, in the unit of the stamp."""
        return float(self.kept.sum())

    @property
    def snr(self) -> float:
        r"""Light over its error, :math:`F / (\sigma \sqrt{N})` of the N pixels of the galaxy.

        Where the sky was cut away, the noise is the grain of the fainter half of the galaxy, which
        holds its finest structure too: the value is a lower bound.
        """
        noise = self.noise or grain(self.signal, self.inside & (self.signal > 0))
        error = noise * np.sqrt(np.count_nonzero(self.inside))
        return self.flux / float(error) if error > 0 else np.inf


def half_light_radius(image: Map) -> float:
    """Radius about the middle of a map that holds half of its sum [pixels]."""
    h, w = image.shape
    radius = np.hypot(*np.mgrid[-(h - 1) / 2 : h / 2, -(w - 1) / 2 : w / 2]).ravel()
    order = np.argsort(radius)
    light = np.cumsum(image.ravel()[order])
    return float(np.interp(0.5 * light[-1], light, radius[order]))


def grain(image: Map, inside: Mask) -> float:
    """Noise of the fainter half of an object, from the differences to the mean of its neighbours.

    Structure that the pixels just resolve counts as noise.
    """
    from scipy import ndimage

    around = np.array([[1.0, -2, 1], [-2, 4, -2], [1, -2, 1]]) / 6
    deep: Any = ndimage.binary_erosion(inside, np.ones((3, 3)))
    if not deep.any():
        return 0.0
    faint = deep & (image <= np.median(image[deep]))
    rough: Any = ndimage.convolve(image, around)
    return 1.4826 * float(np.median(np.abs(rough[faint])))


def _background(known: Map) -> tuple[float, float]:
    """Level and noise of the sky: clipped median and scatter of what is known and not zero, (n).

    A stamp that was cut out on zeros has neither.
    """
    values = known[known != 0]
    if values.size < 0.7 * known.size or not values.size:
        return 0.0, 0.0
    level = noise = 0.0
    for _ in range(10):
        level = float(np.median(values))
        noise = 1.4826 * float(np.median(np.abs(values - level)))
        values = values[np.abs(values - level) <= 2.5 * noise]
    return level, noise


def clean(image: Map, cleaning: Cleaning = Cleaning(), *, noise: float | None = None) -> Isolated:
    """Removes the background and everything but the object nearest to the middle of a stamp.

    Arguments:
        image: Stamp, with shape (H, W); non-finite pixels count as blank.
        cleaning: How.
        noise: Standard deviation of the noise of the sky, if it is known.

    Raises:
        ValueError: If there is no object.
    """
    from scipy import ndimage

    known = np.isfinite(image)
    level, measured = _background(image[known])
    image = np.where(known, image, 0.0)
    if noise is None or not measured:  # what was cut out on zeros has no sky to clean
        noise = measured
    blank = image == 0
    signal = np.where(blank, 0.0, image - level)
    light, smooth = signal, ndimage.gaussian_filter(signal, 1.5) if noise else signal
    if cleaning.denoise and noise:
        light = smooth = denoise(
            signal, noise=noise, threshold=cleaning.denoise, sky=_sky(smooth, noise, blank)
        )
    inside, others, neighbours = _segment(light, smooth, noise, cleaning)
    depth = np.asarray(ndimage.distance_transform_edt(inside)) / (cleaning.taper + 1)
    depth = np.clip(depth, 0, 1)
    kept = np.clip(light, 0, None) * depth**2 * (3 - 2 * depth)
    peak = kept.max()
    if not peak > 0:
        raise ValueError("no object is larger than the taper")
    sky = _sky(smooth, noise, blank) & ~inside
    left = float(np.std(light[sky])) if noise and sky.any() else noise
    return Isolated(
        _centred(kept / peak), peak, signal, blank, inside, others, kept, noise, left, neighbours
    )


def isolate(image: Map, *, taper: int = 4) -> Map:
    """Returns the image of :func:`clean`, the noise left in.

    Arguments:
        image: Stamp, with shape (H, W); non-finite pixels count as blank.
        taper: Width of the edge over which the object fades to zero [pixels].

    Returns:
        The object on zeros, divided by its peak: square, odd, cropped, centred on its centroid.

    Raises:
        ValueError: If there is no object.
    """
    return clean(image, Cleaning(taper=taper)).image


def _sky(smooth: Map, noise: float, blank: Mask) -> Mask:
    """Pixels where there is nothing but sky."""
    from scipy import ndimage

    bright: Any = ndimage.binary_dilation(smooth > noise, iterations=4)
    return ~(bright | blank)


def _segment(light: Map, smooth: Map, noise: float, cleaning: Cleaning) -> tuple[Mask, Mask, int]:
    """Pixels of the galaxy, those of the taper too, and those and the number of what was cut off
    from it."""
    from scipy import ndimage

    apart = cleaning.contrast > 0
    # A star or a hot pixel in the corner says nothing about the galaxy.
    brightest = (smooth * centrality(smooth.shape)).max() if apart else light.max()
    floor = max(cleaning.isophote * noise, 1e-3 * brightest)
    above = smooth > floor
    # Opening cuts the bridges of noise between neighbours.
    above = ndimage.binary_opening(above, iterations=2) if noise else above
    labelled: Any = ndimage.label(above)
    labels, count = labelled
    if not count:
        raise ValueError("no object stands above the background")
    whole = labels == central(labels, smooth)
    inside, neighbours = whole, 0
    if apart:
        inside, neighbours = deblend(whole, light, floor=floor, contrast=cleaning.contrast)
    cut = whole & ~inside
    inside = np.asarray(ndimage.binary_fill_holes(inside))
    if noise:
        inside = ndimage.binary_dilation(inside, iterations=cleaning.taper)
        others = ((labels > 0) & ~whole) | cut
        inside &= np.logical_not(ndimage.binary_dilation(others, iterations=1))
    return inside, cut, neighbours


def _centred(galaxy: Map) -> Map:
    """Crops to an odd square about the pixel of the centroid, with a border of two zeros."""
    rows, columns = np.nonzero(galaxy)
    weights = galaxy[rows, columns]
    row = round(float(np.average(rows, weights=weights)))
    column = round(float(np.average(columns, weights=weights)))
    half = 2 + max(np.abs(rows - row).max(), np.abs(columns - column).max())
    padded = np.pad(galaxy, half)
    return padded[row : row + 2 * half + 1, column : column + 2 * half + 1]


def galaxy_of(name: str, stamp: Stamp, cleaning: Cleaning = Cleaning()) -> Galaxy:
    """Makes the galaxy of a stamp.

    Arguments:
        name: Its name.
        stamp: The stamp.
        cleaning: How it is cleaned.

    Raises:
        ValueError: If there is no object.
    """
    return galaxy_from(name, stamp, clean(stamp.image, cleaning, noise=stamp.noise))


def galaxy_from(name: str, stamp: Stamp, found: Isolated) -> Galaxy:
    """Makes a galaxy of what was found on a stamp."""
    return Galaxy(
        name,
        found.image,
        stamp.pixel_scale,
        half_light_radius(found.image) * stamp.pixel_scale,
        psf_fwhm=stamp.psf_fwhm,
        flux=found.flux,
        noise=found.left / found.peak,
        snr=found.snr,
    )
