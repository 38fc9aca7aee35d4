r"""Magnitude zeropoints: :math:`m = Z - 2.5 \log_{10} F`, with the flux :math:`F` in data units.

In order: the user's, a keyword (MAGZERO and its relatives), the unit where it is a flux density
or, times the area of a pixel, a surface brightness (AB: 0 mag is 3631 Jy), PHOTFLAM with PHOTPLAM
(AB) or with PHOTZPT (ST) for images in counts or electrons per second. The area is that of the
pixel scale: PIXAR_SR is that of the detector's pixels where an image was resampled and its header
was not changed.
A zeropoint is a convenience: without one nothing fails, only magnitudes are missing.
"""

import math
from typing import Any

from astropy import units

from lensrim.errors import InputError
from lensrim.io.fits import quiet
from lensrim.io.planes import Plane
from lensrim.io.wcs import TOLERANCE

KEYWORDS = ("MAGZERO", "MAGZPT", "MAG_ZERO", "ZEROPOINT", "ZEROPNT", "ZPT")
AB_JY = 3630.7805  # 10**(8.9 / 2.5)


def zeropoint_of(
    data: Plane, option: float | None, scale: float
) -> tuple[float | None, str | None]:
    """Returns the zeropoint of an image [mag], and a note on where it is from.

    Arguments:
        data: The image.
        option: What the user states.
        scale: Pixel scale [arcsec].
    """
    if option is not None:
        return option, None
    found = _number(data, *KEYWORDS)
    if found is not None:
        return found[1], f"zeropoint {found[1]:g} mag from {found[0]} of {data.short}"
    flux, remark = _jansky(data, scale)
    if flux is not None:
        value = 2.5 * math.log10(AB_JY / flux)
        note = f"zeropoint {value:.4f} mag (AB) from the unit {data.unit} of {data.short}"
        return value, note + remark
    return _from_photflam(data)


def _number(data: Plane, *names: str) -> tuple[str, float] | None:
    """Returns the first of these keywords that holds a number."""
    try:
        return data.number(*names)
    except InputError:
        return None


def _jansky(data: Plane, scale: float) -> tuple[float | None, str]:
    """Returns the flux density [Jy] of a pixel with value 1, or None for other units, and what is
    to be said of it."""
    if data.unit is None:
        return None, ""
    with quiet():
        unit: Any = units.Unit(data.unit, parse_strict="silent")  # pyright: ignore[reportCallIssue]
    if unit.is_equivalent(units.Jy):
        return float(unit.to(units.Jy)), ""
    if unit.is_equivalent(units.Jy / units.sr):
        flux = float(unit.to(units.Jy / units.sr)) * math.radians(scale / 3600) ** 2
        return flux, _other_area(data, scale)
    return None, ""


def _other_area(data: Plane, scale: float) -> str:
    """Says so where a header states another area of a pixel."""
    area = _number(data, "PIXAR_SR")
    if area is None or not area[1] > 0:
        return ""
    side = 3600 * math.degrees(math.sqrt(area[1]))
    if abs(side / scale - 1) <= TOLERANCE:
        return ""
    return f", its pixels of {scale:.5g} arcsec; PIXAR_SR, of {side:.5g} arcsec, is not used"


def _from_photflam(data: Plane) -> tuple[float | None, str | None]:
    """Returns the zeropoint of HST's keywords, which hold for a rate per second."""
    flam = _number(data, "PHOTFLAM")
    if flam is None or flam[1] <= 0:
        return None, None
    unit = (data.unit or "").lower().replace(" ", "")
    if not unit.endswith(("/s", "/sec", "/second", "cps", "s-1", "s**-1", "s^-1")):
        return None, f"no zeropoint: PHOTFLAM of {data.short} is per second, BUNIT is {data.unit}"
    pivot = _number(data, "PHOTPLAM")
    if pivot is not None and pivot[1] > 0:
        value = -2.5 * math.log10(flam[1]) - 5 * math.log10(pivot[1]) - 2.408
        return value, f"zeropoint {value:.4f} mag (AB) from PHOTFLAM and PHOTPLAM of {data.short}"
    constant = _number(data, "PHOTZPT")
    if constant is not None:
        value = constant[1] - 2.5 * math.log10(flam[1])
        return value, f"zeropoint {value:.4f} mag (ST) from PHOTFLAM and PHOTZPT of {data.short}"
    return None, None
