r"""World coordinates and the pixel scale.

The pixel scale is :math:`\sqrt{|\det CD|}`; pixels must be square to 1 %. Everything that states a
scale (WCS, keywords, the user) must agree to 1 %. A cut-out and a binning by :math:`b` change

.. math:: \mathrm{CRPIX} \to \mathrm{CRPIX} - \mathrm{corner} \, , \quad
          \mathrm{CRPIX} \to \frac{\mathrm{CRPIX} - 1/2}{b} + \frac12 \, , \quad
          CD \to b \, CD \, .

Distortion terms are left out: over a lens they amount to a small fraction of a pixel.
"""

from dataclasses import dataclass

import numpy as np
from astropy.wcs import WCS

from lensrim.errors import InputError
from lensrim.io.fits import quiet
from lensrim.io.headers import ORDERS, excessive
from lensrim.io.planes import Plane
from lensrim.io.stream import one_line

TOLERANCE = 0.01
KEYWORDS = ("PIXSCALE", "PIXELSCL", "PIXSCAL", "PIXSCL", "SECPIX", "D001SCAL", "SCALE")
PLAUSIBLE = (1e-3, 30.0)  # arcsec; a WCS without CD or CDELT says 3600
OVERRIDE = "--pixel-scale and --trust-scale"


@dataclass(frozen=True)
class Scale:
    """A statement of the pixel scale [arcsec], and who made it."""

    value: float
    source: str


def celestial(data: Plane) -> tuple[WCS | None, Scale | None, list[str]]:
    """Returns the celestial WCS of an image as a plain one with a CD matrix, its scale, and notes.

    Raises:
        InputError: If the pixels are not square.
    """
    if "CTYPE1" not in data.header:
        return None, None, []
    try:
        with quiet():
            if (found := excessive(data.header, ORDERS)) is not None:
                raise ValueError(f"{found[0]} is {found[1]:g}")
            full = WCS(data.header)
            distorted = full.sip is not None or full.has_distortion
            first = full.sub(2)
            if not first.has_celestial:
                return None, None, []
            first.wcs.set()
            matrix = np.array(first.pixel_scale_matrix)
            wcs = _plain(first, matrix)
    except Exception as error:  # wcslib and astropy refuse headers in a dozen ways
        return None, None, [f"{data.short}: WCS left out, it cannot be read ({one_line(error)})"]
    spacing = 3600 * np.sqrt(abs(np.linalg.det(matrix)))
    if not PLAUSIBLE[0] < spacing < PLAUSIBLE[1]:
        return (
            None,
            None,
            [f"{data.short}: WCS left out, its pixels of {spacing:g} arcsec make no sense"],
        )
    large, small = 3600 * np.linalg.svd(matrix, compute_uv=False)
    if large > (1 + TOLERANCE) * small:
        raise InputError(
            f"{data.label}: pixels must be square to 1 %, the WCS gives {large:.5g} by"
            f" {small:.5g} arcsec: resample (drizzle) the image"
        )
    notes = []
    if distorted:
        notes.append(f"{data.short}: distortion terms of the WCS left out")
    if not np.any(wcs.wcs.crval) and np.all(wcs.wcs.crpix == 1):
        notes.append(f"{data.short}: WCS gives scale and orientation only (CRVAL 0 at CRPIX 1)")
    return wcs, Scale(float(spacing), f"the WCS of {data.short}"), notes


def on_the_sky(data: Plane) -> WCS | None:
    """Returns the celestial WCS of a whole image with all its distortion, or None."""
    if celestial(data)[0] is None:
        return None
    with quiet():
        full = WCS(data.header)
        return full if full.naxis == 2 else full.celestial


def _plain(wcs: WCS, matrix: np.ndarray) -> WCS:
    """Rebuilds a 2-D WCS with a CD matrix [deg] and without distortion."""
    plain = WCS(naxis=2)
    plain.wcs.ctype = [c.replace("-SIP", "") for c in wcs.wcs.ctype]
    plain.wcs.cunit = ["deg", "deg"]
    plain.wcs.crpix, plain.wcs.crval, plain.wcs.cd = wcs.wcs.crpix, wcs.wcs.crval, matrix
    plain.wcs.set_pv(wcs.wcs.get_pv())
    plain.wcs.radesys, plain.wcs.equinox = wcs.wcs.radesys, wcs.wcs.equinox
    plain.wcs.lonpole, plain.wcs.latpole = wcs.wcs.lonpole, wcs.wcs.latpole
    plain.wcs.set()
    return plain


def stated(
    plane: Plane, *, factor: int = 1, trust: bool = False
) -> tuple[Scale | None, str | None]:
    """Returns the scale that a keyword states, times ``factor``, and a note.

    Arguments:
        plane: The image whose headers are searched for ``KEYWORDS``.
        factor: Oversampling of the image.
        trust: Whether the user's value stands, and a keyword that makes no sense is ignored.

    Raises:
        InputError: If the keyword does not hold a plausible number.
    """
    try:
        found = plane.number(*KEYWORDS)
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
) -> tuple[float, list[str]]:
    """Returns the pixel scale [arcsec] and notes.

    Arguments:
        option: What the user states; preferred.
        giving: Statements about the image, best first.
        checking: Statements about other planes, which must agree but are not taken for the
            image's.
        trust: Whether the user's value stands against contradictions.
        label: File and HDU of the image, for messages.

    Raises:
        InputError: If there is no scale, or two that differ by more than 1 %.
    """
    own = [Scale(option, "--pixel-scale")] if option is not None else []
    candidates = own + giving
    if not candidates:
        hint = "".join(f" ({s.source} says {s.value:g})" for s in checking)
        raise InputError(
            f"{label}: no pixel scale, neither a celestial WCS nor PIXSCALE: give --pixel-scale"
            f" in arcsec{hint}"
        )
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


def shifted(wcs: WCS | None, x: int, y: int) -> WCS | None:
    """Returns the WCS of a cut-out whose first pixel is column ``x``, row ``y``."""
    if wcs is None:
        return None
    result = wcs.deepcopy()
    result.wcs.crpix = np.asarray(wcs.wcs.crpix) - (x, y)
    result.wcs.set()
    return result


def coarsened(wcs: WCS | None, factor: int) -> WCS | None:
    """Returns the WCS of pixels ``factor`` times larger, with the same first corner."""
    if wcs is None:
        return None
    result = wcs.deepcopy()
    result.wcs.crpix = (np.asarray(wcs.wcs.crpix) - 0.5) / factor + 0.5
    result.wcs.cd = np.asarray(wcs.pixel_scale_matrix) * factor
    result.wcs.set()
    return result
