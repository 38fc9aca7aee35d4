r"""One observation: everything that is known of an image before any model.

Arrays are double precision, indexed ``[y, x]``. Coordinates of :attr:`Observation.grid` have their
origin in the centre of the cut-out. A mask is True where a pixel is used; values under a False are
finite but mean nothing. Block-averaging by :math:`b` gives

.. math:: \bar d = \frac{1}{n} \sum d \, , \qquad \bar\sigma^2 = \frac{1}{n^2} \sum \sigma^2 \, ,

over the :math:`n \le b^2` used pixels of a block, which holds for white noise. Correlated noise
averages down less: :math:`\bar\sigma` is multiplied by the growth of means of so many pixels,
where it was measured (``--rescale-noise sky``). Units stay those of one *native* pixel.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
from astropy.wcs import WCS

from lensrim.errors import InputError
from lensrim.io.psf import normalized, rebinned
from lensrim.io.wcs import coarsened, of_cutout

if TYPE_CHECKING:
    from lensrim.grid import PixelGrid


@dataclass(frozen=True, eq=False)
class Observation:
    r"""Creates an observation; arrays are converted, the PSF is divided by its sum.

    Arguments:
        image: Data, with shape :math:`(H, W)`.
        sigma: Standard deviation of the noise, with shape :math:`(H, W)`, positive on used pixels.
        psf: PSF, its star on the middle pixel, on the image's pixels.
        mask: True where a pixel is used, with shape :math:`(H, W)`.
        pixel_scale: Side of a pixel [arcsec].
        psf_kind: ``"effective"`` (the pixel response is in the PSF) or ``"optical"`` (it is not).
        noise_kind: How the noise was given.
        noise_factor: What the given noise was multiplied by.
        noise_growth: Standard deviation of means of 1 x 1, 2 x 2, ... native pixels over that of
            means of white noise, as far as it was measured; empty where it was not.
        wcs: Celestial world coordinates of these pixels. A cut-out's are plain, linear about its
            middle; those of a whole image may be distorted.
        unit: Unit of the data, per native pixel.
        zeropoint: Magnitude of unit flux in a native pixel.
        name: Stem of the names of what is written; what cannot be printed of it becomes ``_``.
        bin: Number of native pixels along a pixel.
        corner: Column and row, in the image of the file, of the first native pixel.
        notes: What the reader decided or counted, one line each.
        files: Files that it was read from.
        options: Options with which it was read, as ``name = value``.

    Raises:
        InputError: If shapes differ, no pixel is used, a used one holds no number or no positive
            noise, the pixel scale is not positive, or the PSF is unfit (see
            :func:`lensrim.io.psf.normalized`).
    """

    image: np.ndarray
    sigma: np.ndarray
    psf: np.ndarray
    mask: np.ndarray
    pixel_scale: float
    psf_kind: Literal["effective", "optical"] = "effective"
    noise_kind: str = "sigma"
    noise_factor: float = 1.0
    noise_growth: tuple[float, ...] = ()
    wcs: WCS | None = None
    unit: str | None = None
    zeropoint: float | None = None
    name: str = "observation"
    bin: int = 1
    corner: tuple[int, int] = (0, 0)
    notes: tuple[str, ...] = ()
    files: tuple[Path, ...] = ()
    options: tuple[str, ...] = ()

    def __post_init__(self):
        # a byte of a file's name that is no UTF-8 can stand in no file of text, and in no picture
        name = "".join(c if c.isprintable() else "_" for c in self.name)
        object.__setattr__(self, "name", name)
        image, sigma = (np.array(a, dtype=np.float64) for a in (self.image, self.sigma))
        mask = np.array(self.mask, dtype=bool)
        if image.ndim != 2 or image.size == 0:
            raise InputError(f"{self.name}: image must be 2-D, got shape {image.shape}")
        for label, array in (("sigma", sigma), ("mask", mask)):
            if array.shape != image.shape:
                raise InputError(
                    f"{self.name}: {label} must have the image's shape {image.shape}, got"
                    f" {array.shape}"
                )
        if not 0 < self.pixel_scale < np.inf:
            raise InputError(f"{self.name}: pixel_scale must be positive, got {self.pixel_scale}")
        if self.psf_kind not in ("effective", "optical"):
            raise InputError(
                f"{self.name}: psf_kind must be 'effective' or 'optical', got {self.psf_kind!r}"
            )
        good = np.isfinite(image) & np.isfinite(sigma) & (sigma > 0)
        if (mask & ~good).any():
            raise InputError(
                f"{self.name}: used pixels must be finite with positive finite sigma,"
                f" {(mask & ~good).sum()} are not: set mask to False there"
            )
        if not mask.any():
            raise InputError(
                f"{self.name}: no pixel is used: set mask to True where data are good"
            )
        image[~np.isfinite(image)] = 0.0
        # of what is selected, which is a copy
        sigma[~mask] = np.median(sigma[mask], overwrite_input=True)
        psf = normalized(self.psf, where=f"{self.name}: psf")
        values = {
            "image": image,
            "sigma": sigma,
            "mask": mask,
            "psf": psf,
            "notes": tuple(self.notes),
        }
        for field, value in values.items():
            object.__setattr__(self, field, value)

    def __repr__(self) -> str:
        h, w = self.shape
        unit = "data units" if self.unit is None else self.unit
        noise = np.median(self.sigma[self.mask])
        return (
            f"<Observation {self.name}: {w} x {h} pixels of {self.pixel_scale:.4g} arcsec, "
            f"{self.mask.size - self.mask.sum()} ignored; noise {noise:.3g} {unit} (read as "
            f"{self.noise_kind}); PSF {self.psf.shape[1]} x {self.psf.shape[0]}, {self.psf_kind}>"
        )

    @property
    def shape(self) -> tuple[int, int]:
        """Numbers of rows and columns."""
        return self.image.shape[0], self.image.shape[1]

    @property
    def grid(self) -> "PixelGrid":
        """The image's pixels, with the origin in the middle."""
        # torch, which a grid needs, takes longer to load than an observation to read
        from lensrim.grid import PixelGrid

        return PixelGrid(self.shape, float(self.pixel_scale))

    @property
    def plain_wcs(self) -> WCS | None:
        """The WCS as it is written: one without distortion, linear about the middle."""
        return self._wcs_of((0, 0), self.shape)

    def to_file(self, column: float, row: float) -> tuple[float, float]:
        """Returns where pixel indices (x, y) of the frame are in the image of the file, from 0."""
        # the middle of a binned pixel is that of its native ones
        x, y = (
            c + self.bin * (i + 0.5) - 0.5 for c, i in zip(self.corner, (column, row), strict=True)
        )
        return x, y

    def from_file(self, x: float, y: float) -> tuple[float, float]:
        """Returns the indices (column, row) in the frame of a place in the file: :meth:`to_file`
        the other way."""
        column, row = (
            (i + 0.5 - c) / self.bin - 0.5 for c, i in zip(self.corner, (x, y), strict=True)
        )
        return column, row

    def with_mask(self, mask: np.ndarray) -> "Observation":
        """Returns the observation with the pixels that are False in ``mask`` ignored too.

        Raises:
            InputError: If the shape differs, or no pixel is left.
        """
        mask = np.asarray(mask, dtype=bool)
        if mask.shape != self.shape:
            raise InputError(
                f"{self.name}: mask must have the image's shape {self.shape}, got {mask.shape}"
            )
        return replace(self, mask=self.mask & mask)

    def cutout(self, center: Sequence[float], shape: Sequence[int]) -> "Observation":
        """Cuts a frame out. Where it leaves the image it is filled with ignored pixels.

        Arguments:
            center: Indices ``(x, y)`` of the frame's middle, 0 at the centre of the first pixel. A
                middle that no whole pixels allow is rounded up.
            shape: Numbers of rows and columns of the frame.

        Raises:
            InputError: If the middle lies outside the image, or no pixel in the frame is used.
        """
        (x, y), (rows, columns), (h, w) = center, shape, self.shape
        if not (-0.5 <= x <= w - 0.5 and -0.5 <= y <= h - 0.5):
            raise InputError(
                f"{self.name}: the centre of a cut-out must lie in the image of {w} columns and"
                f" {h} rows, got x = {x:g}, y = {y:g}: give pixel indices from 0"
            )
        if min(rows, columns) < 1:
            raise InputError(
                f"{self.name}: a cut-out needs at least a pixel, got shape {tuple(shape)}"
            )
        x0, y0 = (int(np.floor(c - (n - 1) / 2 + 0.5)) for c, n in ((x, columns), (y, rows)))
        inner = (slice(max(y0, 0), min(y0 + rows, h)), slice(max(x0, 0), min(x0 + columns, w)))
        edges = ((max(-y0, 0), max(y0 + rows - h, 0)), (max(-x0, 0), max(x0 + columns - w, 0)))
        image, sigma, mask = (np.pad(a[inner], edges) for a in (self.image, self.sigma, self.mask))
        if not mask.any():
            raise InputError(
                f"{self.name}: the cut-out of {columns} x {rows} about x = {x:g}, y = {y:g} has"
                " no used pixel: give another centre"
            )
        notes = self.notes
        if added := rows * columns - self.mask[inner].size:
            notes += (f"cut-out: {added} pixels outside the image are ignored",)
        corner = (self.corner[0] + self.bin * x0, self.corner[1] + self.bin * y0)
        frame = {"image": image, "sigma": sigma, "mask": mask}
        wcs = self._wcs_of((x0, y0), image.shape)
        return replace(self, **frame, wcs=wcs, corner=corner, notes=notes)

    def binned(self, b: int) -> "Observation":
        """Averages blocks of ``b`` by ``b`` pixels; a block is used if at least half its pixels
        are.

        Rows and columns that fill no block are cut off evenly at both sides. The PSF becomes
        effective.

        Raises:
            InputError: If ``b`` is not a positive integer, the image holds no block, or none is
                used.
        """
        if b != int(b) or b < 1:
            raise InputError(f"{self.name}: the binning must be a positive integer, got {b}")
        b = int(b)
        if b == 1:
            return self
        rows, columns = (n // b for n in self.shape)
        if min(rows, columns) < 1:
            raise InputError(
                f"{self.name}: the image of shape {self.shape} holds no block of {b} x {b}"
            )
        y0, x0 = (n % b // 2 for n in self.shape)

        def blocks(array: np.ndarray) -> np.ndarray:
            array = array[y0 : y0 + rows * b, x0 : x0 + columns * b]
            return array.reshape(rows, b, columns, b).sum((1, 3))

        used = blocks(self.mask.astype(float))
        mask, n = 2 * used >= b * b, np.maximum(used, 1)
        if not mask.any():
            raise InputError(
                f"{self.name}: no block of {b} x {b} has half its pixels used: bin less, or"
                " check the mask"
            )
        notes = self.notes
        if self.psf_kind == "optical":
            notes += (
                "binning: the box of the larger pixel is in the PSF, which is effective from"
                " here on",
            )
        wcs = self._wcs_of((x0, y0), (rows * b, columns * b))
        return replace(
            self,
            image=blocks(np.where(self.mask, self.image, 0.0)) / n,
            sigma=np.sqrt(blocks(np.where(self.mask, self.sigma, 0.0) ** 2)) / n * self.growth(b),
            mask=mask,
            psf=rebinned(self.psf, b, kind=self.psf_kind),
            psf_kind="effective",
            pixel_scale=self.pixel_scale * b,
            wcs=None if wcs is None else coarsened(wcs, b),
            bin=self.bin * b,
            corner=(self.corner[0] + self.bin * x0, self.corner[1] + self.bin * y0),
            notes=notes,
        )

    def _wcs_of(self, corner: Sequence[int], shape: Sequence[int]) -> WCS | None:
        """Plain WCS of a cut-out of these pixels."""
        return None if self.wcs is None else of_cutout(self.wcs, corner, shape)

    def growth(self, b: int) -> float:
        """Returns the growth of the noise of means of ``b`` by ``b`` of these pixels; 1 if it is
        not known.

        The growth levels off beyond the length of the correlation: larger blocks than were
        measured have that of the largest.
        """
        if not self.noise_growth:
            return 1.0
        before, after = (
            self.noise_growth[min(n, len(self.noise_growth)) - 1] for n in (self.bin, self.bin * b)
        )
        return after / before
