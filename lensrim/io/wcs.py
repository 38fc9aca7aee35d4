r"""World coordinates and the pixel scale.

The pixel scale is :math:`\sqrt{|\det CD|}` of the tangent plane in the middle of what is read;
pixels must be square to 1 %. Everything that states a scale (WCS, keywords, the user) must agree
to 1 %. A cut-out and a binning by :math:`b` change

.. math:: \mathrm{CRPIX} \to \mathrm{CRPIX} - \mathrm{corner} \, , \quad
          \mathrm{CRPIX} \to \frac{\mathrm{CRPIX} - 1/2}{b} + \frac12 \, , \quad
          CD \to b \, CD \, .

A distorted frame (SIP, TPV) is kept as it is until a lens is cut out, and is then
made linear about the middle of the cut-out, where it is exact; what is left over a lens is a small
fraction of a pixel.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from astropy.coordinates import angular_separation
from astropy.wcs import WCS

from lensrim.errors import InputError
from lensrim.io.fits import quiet
from lensrim.io.headers import ORDERS, excessive
from lensrim.io.planes import Plane
from lensrim.io.stream import one_line

TOLERANCE = 0.01
KEYWORDS = ("PIXSCALE", "PIXELSCL", "PIXSCAL", "PIXSCL", "SECPIX", "D001SCAL")
GENERAL = ("SCALE",)
"""Keywords that may be of anything: believed of the image, where nothing else gives its scale."""

PLAUSIBLE = (1e-3, 30.0)  # arcsec; a WCS without CD or CDELT says 3600
OVERRIDE = "--pixel-scale and --trust-scale"

ALIKE = 2e-4
"""Relative difference of the squared sides of pixels up to which they are taken for the same."""


@dataclass(frozen=True)
class Scale:
    """A statement of the pixel scale [arcsec], and who made it."""

    value: float
    source: str


def celestial(data: Plane, *, trust: bool = False) -> tuple[WCS | None, Scale | None, list[str]]:
    """Returns the celestial WCS of a whole image, its scale where the image was read, and notes.

    It is a plain one with a CD matrix, but where the image is distorted.

    Arguments:
        data: The image.
        trust: Whether the user's scale stands, and a WCS whose pixels are not square is left out.

    Raises:
        InputError: If the pixels are not square.
    """
    try:
        with quiet():
            full = _stated(data)
            if full is None:
                return None, None, []
            plain = _plain(full)
            distorted = not _agree(full, plain, (0, 0), data.frame)
            wcs = full if distorted else plain
            matrix = of_cutout(wcs, data.corner, data.array.shape).wcs.cd
            if PLAUSIBLE[0] < _side(matrix) < PLAUSIBLE[1]:
                matrix = _there(wcs, matrix, *_middle(data.corner, data.array.shape))
    except Exception as error:  # wcslib and astropy refuse headers in a dozen ways
        return None, None, [f"{data.short}: WCS left out, it cannot be read ({one_line(error)})"]
    spacing = _side(matrix)
    if not PLAUSIBLE[0] < spacing < PLAUSIBLE[1]:
        return (
            None,
            None,
            [f"{data.short}: WCS left out, its pixels of {spacing:g} arcsec make no sense"],
        )
    large, small = 3600 * np.linalg.svd(matrix, compute_uv=False)
    if large > (1 + TOLERANCE) * small:
        found = f"pixels must be square to 1 %, the WCS gives {large:.5g} by {small:.5g} arcsec"
        if trust:
            return None, None, [f"{data.short}: {found}; left out, --pixel-scale is trusted"]
        raise InputError(
            f"{data.label}: {found}: resample (drizzle) the image, or override it with {OVERRIDE}"
        )
    notes = []
    if distorted:
        notes.append(f"{data.short}: WCS is distorted, taken as linear about the cut-out")
    if not placed(wcs, *_middle(data.corner, data.array.shape)):
        notes.append(f"{data.short}: WCS gives scale and orientation only (CRVAL 0, 0)")
    return wcs, Scale(spacing, f"the WCS of {data.short}"), notes


def _side(matrix: np.ndarray) -> float:
    """Returns the mean side of a pixel [arcsec] of a CD matrix [deg]."""
    return float(3600 * np.sqrt(abs(np.linalg.det(matrix))))


def _there(wcs: WCS, stated: np.ndarray, column: float, row: float) -> np.ndarray:
    """Returns the CD matrix of the tangent plane in a pixel, if its pixels are other ones than
    those of the stated matrix, which is right in the projection's reference point alone."""
    if not np.isfinite(wcs.all_pix2world(column, row, 0)).all():  # not on the sky
        return stated
    there = _linear(wcs, column, row).wcs.cd
    # of the axes, which have turned, nothing is told
    before, now = (matrix.T @ matrix for matrix in (stated, there))
    other = np.abs(now - before).max() > ALIKE * np.abs(before).max()
    return there if other else stated


def on_the_sky(data: Plane) -> WCS | None:
    """Returns the celestial WCS of a whole image as it is stated, whatever its pixels, or None.

    Raises:
        InputError: If there is one that cannot be read.
    """
    try:
        with quiet():
            return _stated(data)
    except Exception as error:  # as above
        raise InputError(
            f"{data.label}: the WCS, which regions on the sky need, cannot be read"
            f" ({one_line(error)}): correct the header, or save them in image coordinates"
        ) from None


def _stated(data: Plane) -> WCS | None:
    """Reads the celestial WCS of a header; what is wrong with it is raised by a dozen names."""
    if "CTYPE1" not in data.header:
        return None
    if (found := excessive(data.header, ORDERS)) is not None:
        raise ValueError(f"{found[0]} is {found[1]:g}")
    full = WCS(data.header)
    full = full if full.naxis == 2 else full.celestial
    if not full.has_celestial:
        return None
    full.wcs.set()
    return full


def placed(wcs: WCS, column: float, row: float) -> bool:
    """Whether a WCS says where on the sky a pixel is, and not its scale and orientation alone.

    Programs that know no position write CRVAL 0, 0: a pixel of such a frame within an arcminute
    of there has none.
    """
    if np.any(wcs.wcs.crval):
        return True
    place = np.radians(wcs.all_pix2world(column, row, 0))
    return bool(np.degrees(angular_separation(0.0, 0.0, *place)) > 1 / 60)


def of_cutout(wcs: WCS, corner: Sequence[int], shape: Sequence[int]) -> WCS:
    """Returns the plain WCS of a cut-out; a distorted one is linear about its middle.

    Arguments:
        wcs: Celestial WCS of the whole image.
        corner: Column and row of the first pixel.
        shape: Numbers of rows and columns.
    """
    plain = _plain(wcs)
    if not _agree(wcs, plain, corner, shape):
        plain = _linear(wcs, *_middle(corner, shape))
    plain.wcs.crpix = np.asarray(plain.wcs.crpix) - corner
    plain.wcs.set()
    return plain


def coarsened(wcs: WCS, factor: int) -> WCS:
    """Returns the plain WCS of pixels ``factor`` times larger, with the same first corner."""
    result = wcs.deepcopy()
    result.wcs.crpix = (np.asarray(wcs.wcs.crpix) - 0.5) / factor + 0.5
    result.wcs.cd = np.asarray(wcs.pixel_scale_matrix) * factor
    result.wcs.set()
    return result


def _middle(corner: Sequence[int], shape: Sequence[int]) -> tuple[float, float]:
    """Returns the pixel (x, y) in the middle of a cut-out."""
    return corner[0] + (shape[1] - 1) / 2, corner[1] + (shape[0] - 1) / 2


def _agree(wcs: WCS, plain: WCS, corner: Sequence[int], shape: Sequence[int]) -> bool:
    """Whether a plain WCS is right to a thousandth of a pixel at corners and middle of a frame."""
    (x, y), (rows, columns) = corner, shape
    edges = ((x, y), (x + columns - 1, y), (x, y + rows - 1), (x + columns - 1, y + rows - 1))
    columns, rows = np.transpose([*edges, _middle(corner, shape)])
    there = plain.all_world2pix(*wcs.all_pix2world(columns, rows, 0), 0)
    # an all-sky projection has corners that are not on the sky
    return bool(np.nanmax(np.abs(np.subtract(there, (columns, rows))), initial=0.0) < 1e-3)


def _linear(wcs: WCS, column: float, row: float) -> WCS:
    """Returns the tangent plane in a pixel, its matrix the derivative there."""
    plane = WCS(naxis=2)
    plane.wcs.ctype = [f"{name[:5]}TAN" for name in wcs.wcs.ctype]
    plane.wcs.cunit = ["deg", "deg"]
    plane.wcs.crpix, plane.wcs.cd = (0.0, 0.0), np.eye(2)
    plane.wcs.crval = wcs.all_pix2world(column, row, 0)
    plane.wcs.radesys, plane.wcs.equinox = wcs.wcs.radesys, wcs.wcs.equinox
    plane.wcs.set()
    steps = np.add([[1, 0], [-1, 0], [0, 1], [0, -1]], (column, row))
    right, left, up, down = np.transpose(plane.all_world2pix(*wcs.all_pix2world(*steps.T, 0), 1))
    plane.wcs.crpix = column + 1, row + 1
    plane.wcs.cd = np.transpose([(right - left) / 2, (up - down) / 2])
    plane.wcs.set()
    return plane


def _plain(wcs: WCS) -> WCS:
    """Rebuilds a 2-D WCS with a CD matrix [deg] and without distortion."""
    plain = WCS(naxis=2)
    plain.wcs.ctype = [c.replace("-SIP", "") for c in wcs.wcs.ctype]
    plain.wcs.cunit = ["deg", "deg"]
    plain.wcs.crpix, plain.wcs.crval = wcs.wcs.crpix, wcs.wcs.crval
    plain.wcs.cd = wcs.pixel_scale_matrix
    plain.wcs.set_pv(wcs.wcs.get_pv())
    plain.wcs.radesys, plain.wcs.equinox = wcs.wcs.radesys, wcs.wcs.equinox
    plain.wcs.lonpole, plain.wcs.latpole = wcs.wcs.lonpole, wcs.wcs.latpole
    plain.wcs.set()
    return plain


def stated(
    plane: Plane,
    *,
    factor: int = 1,
    trust: bool = False,
    keywords: Sequence[str] = KEYWORDS,
) -> tuple[Scale | None, str | None]:
    """Returns the scale that a keyword states, times ``factor``, and a note.

    Arguments:
        plane: The image whose headers are searched.
        factor: Oversampling of the image.
        trust: Whether the user's value stands, and a keyword that makes no sense is ignored.
        keywords: What they are searched for.

    Raises:
        InputError: If the keyword does not hold a plausible number.
    """
    try:
        found = plane.number(*keywords)
        if found is None:
            return None, None
        keyword, value = found
        if not PLAUSIBLE[0] < value < PLAUSIBLE[1]:
            hint = " (is it in degrees?)" if 0 < value <= PLAUSIBLE[0] else ""
            raise InputError(
                f"{plane.label}: keyword {keyword} must be a pixel scale in arcsec, found"
                f" {value:g}: correct it{hint}"
            )
    except InputError as error:
        if not trust:
            raise InputError(f"{error}, or override it with {OVERRIDE}") from None
        reason = str(error).removeprefix(f"{plane.label}: ").rpartition(": ")[0]
        return None, f"{plane.short}: {reason}; ignored, --pixel-scale is trusted"
    times = f" times the oversampling {factor}" if factor > 1 else ""
    return Scale(value * factor, f"{keyword} of {plane.short}{times}"), None


def choose_scale(
    option: float | None,
    giving: list[Scale],
    checking: list[Scale],
    *,
    trust: bool,
    label: str,
    why: Sequence[str] = (),
) -> tuple[float, list[str]]:
    """Returns the pixel scale [arcsec] and notes.

    Arguments:
        option: What the user states; preferred.
        giving: Statements about the image, best first.
        checking: Statements about other planes, which must agree but are not taken for the
            image's.
        trust: Whether the user's value stands against contradictions.
        label: File and HDU of the image, for messages.
        why: Why a WCS gives none, a line each.

    Raises:
        InputError: If there is no scale, or two that differ by more than 1 %.
    """
    own = [Scale(option, "--pixel-scale")] if option is not None else []
    candidates = own + giving
    if not candidates:
        hint = "".join(f" ({s.source} says {s.value:g})" for s in checking)
        found = "; ".join(why) or "neither a celestial WCS nor PIXSCALE"
        raise InputError(f"{label}: no pixel scale, {found}: give --pixel-scale in arcsec{hint}")
    best, notes = candidates[0], []
    for other in candidates[1:] + checking:
        if abs(other.value / best.value - 1) <= TOLERANCE:
            continue
        contradiction = (
            f"{best.source} says {best.value:.5g} arcsec, {other.source} {other.value:.5g}"
        )
        if not trust:
            raise InputError(
                f"{label}: pixel scales must agree to 1 %: {contradiction}: correct the wrong"
                f" one, or override with {OVERRIDE}"
            )
        notes.append(f"pixel scale: {contradiction}; the first is trusted")
    if not own:
        notes.insert(0, f"pixel scale {best.value:.5g} arcsec from {best.source}")
    return best.value, notes
