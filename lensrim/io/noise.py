r"""Noise maps of every kind, brought to one standard deviation per pixel.

=================== ================================= =======================
kind                :math:`\sigma`                    recognised by the name
=================== ================================= =======================
sigma               the map                           ERR, RMS, SIGMA, NOISE_MAP
variance            :math:`\sqrt{v}`                  VAR*
weight              :math:`1/\sqrt{w}`                IVAR, INV_VAR*, INVERSE_VAR*
background+exposure :math:`\sqrt{b^2 + \max(d, 0)/t}` BKGRMS with EXPTIME
=================== ================================= =======================

The name is the HDU's EXTNAME or the file's, with any prefix (``VIS_RMS``). WHT is ambiguous
(weights are inverse variances in some pipelines, exposure times in others) and asks; what is not
recognised is never guessed. A kind that the user states must not contradict the name; only
NOISE_MAP, which may be called so whatever it holds, gives way. The last kind needs :math:`d` and
:math:`b` in electrons per second, :math:`t` in seconds.
"""

import re
from typing import Any, Literal

import numpy as np
from astropy import units
from jaxtyping import Bool, Float64

from lensrim.errors import InputError
from lensrim.io.planes import Plane
from lensrim.io.stream import stem

NoiseKind = Literal["sigma", "variance", "weight", "background+exposure"]
HUGE = 1e6  # pixels with this many times the median noise are marked as bad by their maker

_RATE = re.compile(
    r"(e-?|electrons?|photo-?electrons?)((/|per)(s|secs?|seconds?)|[.*]?s(ec)?(\^|\*\*)?\(?-1\)?)"
)


def kind_of(name: str) -> str | None:
    """Returns the noise kind that a name states, ``"ambiguous"`` for WHT, or None."""
    name = re.sub(r"[^A-Z0-9]+", "_", name.upper()).strip("_")
    if re.search(r"(^|_)(ERR|RMS|SIGMA|NOISE_MAP)$", name):
        return "sigma"
    # before VAR, which an inverse variance has in its name too
    if re.search(r"(^|_)(INV(ERSE)?_?VAR|IVAR)", name):
        return "weight"
    if re.search(r"(^|_)VAR", name):
        return "variance"
    if re.search(r"(^|_)(WHT|WEIGHT)", name):
        return "ambiguous"
    return None


def recognised(noise: Plane, *, separate: bool, stated: NoiseKind | None = None) -> str:
    """Returns the kind of a noise map: what the user states, or its EXTNAME or its file's name.

    Arguments:
        noise: The map.
        separate: Whether the map has a file of its own, whose name then counts.
        stated: What the user says that it is.

    Raises:
        InputError: If nothing is stated and the names state no kind, an ambiguous one, or two
            different ones; or if they state a kind, and none of them the user's.
    """
    advice = "say what it is with --noise-kind sigma, variance or weight (1/sigma^2)"
    own = stem(noise.path) if separate else ""
    kinds = {kind: name for name in (own, noise.name) if (kind := kind_of(name))}
    if stated is not None:
        role = re.compile(r"NOISE[^A-Z0-9]MAP$", re.IGNORECASE)
        others = {k: n for k, n in kinds.items() if not role.search(n)}
        if others and not {stated, "ambiguous"} & set(kinds):
            kind, name = next(iter(others.items()))
            raise InputError(
                f"{noise.label}: a noise map must be of one kind, found {name} ({kind}) and"
                f" --noise-kind {stated}: leave the option out, name another map by --noise, or"
                " rename this one if its name is wrong"
            )
        return stated
    if len(kinds) > 1:
        said = " and ".join(f"{name} ({kind})" for kind, name in kinds.items())
        raise InputError(
            f"{noise.label}: the noise kind must be clear, its names say {said}: {advice}"
        )
    if "ambiguous" in kinds:
        raise InputError(
            f"{noise.label}: a weight map called {kinds['ambiguous']} is ambiguous, it may hold"
            f" inverse variances or exposure times: {advice}, or give --background and --exposure"
        )
    if not kinds:
        found = noise.name or noise.path.name
        raise InputError(
            f"{noise.label}: the noise kind must be clear from the name (ERR, RMS, SIGMA,"
            f" NOISE_MAP, VAR*, IVAR, INV_VAR*), found {found}: {advice}"
        )
    return next(iter(kinds))


def sigma_of(noise: Plane, kind: str) -> Float64[np.ndarray, "h w"]:
    """Converts a map of kind sigma, variance or weight; values that give no noise become NaN."""
    values = np.where(noise.array > 0, noise.array, np.nan)
    if kind in ("variance", "weight"):
        np.sqrt(values, out=values)
    if kind == "weight":
        np.divide(1, values, out=values)
    return values


def sigma_from_exposure(
    image: Float64[np.ndarray, "h w"],
    background: float,
    exposure: Float64[np.ndarray, "h w"] | float,
) -> Float64[np.ndarray, "h w"]:
    r"""Computes :math:`\sqrt{b^2 + \max(d, 0)/t}`; NaN where the exposure is not positive.

    Arguments:
        image: Data :math:`d` [electron/s], with shape :math:`(H, W)`.
        background: Standard deviation :math:`b` of the background [electron/s].
        exposure: Exposure time :math:`t` [s], with shape :math:`(H, W)` or a number.
    """
    time = np.where(np.asarray(exposure) > 0, exposure, np.nan)
    return np.sqrt(background**2 + np.maximum(image, 0) / time)


def check_rate(data: Plane, *, stated: bool) -> str | None:
    """Makes sure that the data are in electrons per second; returns a note if it is assumed.

    Arguments:
        data: The image.
        stated: Whether the user asked for background+exposure by name.

    Raises:
        InputError: If BUNIT says something else, or is missing and the kind is not stated.
    """
    if data.unit is None:
        if stated:
            return (
                "noise from background and exposure: data taken as electron/s, as BUNIT is missing"
            )
        raise InputError(
            f"{data.label}: noise from background and exposure needs data in electron/s, found"
            " no BUNIT: state --noise-kind background+exposure if they are, or give a noise map"
            " with --noise"
        )
    if not _RATE.fullmatch(data.unit.lower().replace(" ", "")):
        raise InputError(
            f"{data.label}: noise from background and exposure needs data in electron/s, found"
            f" BUNIT {data.unit!r}: convert the data, or give a noise map with --noise"
        )
    return None


def check_positive(sigma: Float64[np.ndarray, "h w"], noise: Plane | None, label: str) -> None:
    """Makes sure that there is noise somewhere.

    Raises:
        InputError: If no pixel has a finite positive noise.
    """
    if np.isfinite(sigma).any():
        return
    where, values = (noise.label, noise.array) if noise else (label, sigma)
    finite = values[np.isfinite(values)]
    found = f"values from {finite.min():g} to {finite.max():g}" if finite.size else "only NaN"
    raise InputError(
        f"{where}: noise must be finite and positive, found {found} in every pixel: give another"
        " --noise"
    )


def check_unit(noise: Plane, data: Plane, kind: str) -> None:
    """Makes sure that the unit of a noise map is that of the data.

    Counts, electrons, photons and ADU are one here, as pipelines write one for the other, and a
    unit that astropy does not know, or none, says nothing. A variance or a weight may have kept
    the unit of the data.

    Raises:
        InputError: If they are different, or multiples of each other.
    """
    of_data, of_noise = (_known_unit(plane.unit) for plane in (data, noise))
    if of_data is None or of_noise is None or of_noise == units.dimensionless_unscaled:
        return
    power = {"variance": 2, "weight": -2}.get(kind, 1)
    for unit in (of_data**power, of_data):
        if of_noise.is_equivalent(unit) and abs(of_noise.to(unit) - 1) < 0.01:
            return
    raise InputError(
        f"{noise.label}: a {kind} map must have the unit of the data, {data.unit!r} of"
        f" {data.label}, found {noise.unit!r}: convert it, or correct BUNIT"
    )


def _known_unit(text: str | None) -> units.UnitBase | None:
    """Returns the unit that a BUNIT states, or None."""
    if text is None:
        return None
    # S is Siemens to astropy
    text = re.sub(r"\b(SEC(OND)?S?|S)(?![A-Za-z])", "s", text)
    names = r"((photo-?)?electrons?|photons?|counts?|adu|dn|ct)(?![A-Za-z])|e-"
    one = re.sub(rf"(?i)(?<![A-Za-z0-9])({names})", "ct", text)
    try:
        unit: Any = units.Unit(one)
    except (ValueError, TypeError):
        return None
    return unit if isinstance(unit, units.UnitBase) else None


def huge(sigma: Float64[np.ndarray, "h w"]) -> Bool[np.ndarray, "h w"]:
    """Finds the pixels whose noise, at least a million times the median, marks them as bad.

    Where more than half are marked so, the median is that of the others, if these are a tenth of
    the pixels.
    """
    finite = sigma[np.isfinite(sigma)]
    typical = np.median(finite) if finite.size else np.nan
    if np.size(low := finite[finite * HUGE <= typical]) >= 0.1 * finite.size > 0:
        typical = np.median(low)
    return sigma >= HUGE * typical
