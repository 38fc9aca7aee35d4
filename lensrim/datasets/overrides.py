"""Populations changed by what a recipe (TOML) holds, field by field, each like the field's own."""

from collections.abc import Mapping
from dataclasses import fields, is_dataclass, replace
from typing import Any

from ..errors import InputError
from .instruments import INSTRUMENTS, Instrument

FOLDERS = ("galaxies", "psfs", "noise")
"""What a recipe may take from the user's own files."""

PLACES = (*FOLDERS, "haloes")
"""The same, and what may be a file of its own."""


def override(base: Any, values: Mapping[str, Any], where: str = "") -> Any:
    """Returns a frozen dataclass with some fields replaced by what a TOML table holds.

    Tables change the dataclass that the field holds; a string may stand for an instrument.

    Arguments:
        base: The dataclass.
        values: The fields to be replaced.
        where: What precedes their names in messages.

    Raises:
        InputError: If a key is no field, or a value is not like the field's.
    """
    known = {f.name: getattr(base, f.name) for f in fields(base)}
    if unknown := sorted(set(values) - set(known)):
        raise InputError(
            f"{where}{unknown[0]}: must be one of {', '.join(known)}; remove or rename it"
        )
    changed = {name: _like(known[name], new, where + name) for name, new in values.items()}
    try:
        return replace(base, **changed)
    except InputError as error:
        raise InputError(f"{where}{error}") from error


NEEDED = ("pixel_scale", "psf_fwhm", "zero_point", "sky", "read_noise", "exposures", "exposure")
"""What an instrument of one's own must have; its detector's pixels are those of the image, and its
gain is 1, if nothing else is said."""


def _own_instrument(values: Mapping[str, Any], name: str) -> Instrument:
    """Makes an instrument of all its numbers.

    Raises:
        InputError: If one is missing, unknown or impossible.
    """
    if missing := [key for key in NEEDED if key not in values]:
        raise InputError(
            f"{name}: an instrument of your own must have {', '.join(NEEDED)}, found no "
            f"{', '.join(missing)}; add them, or begin with a known one, under 'name'"
        )
    blank = Instrument(1.0, 1.0, (1.0, 1.0), 25.0, 22.0, 0.0, 1.0, exposures=1, exposure=1.0)
    if "pupil" in values:
        raise InputError(
            f"{name}.pupil: is that of a known instrument, found one of your own; begin with one "
            "that has a pupil, under 'name'"
        )
    made = override(blank, values, f"{name}.")
    given = "detector_scale" in values
    return made if given else replace(made, detector_scale=made.pixel_scale)


RANGES = ("theta_E_arcsec",)
"""Fields of two numbers that may be none, as the instrument may."""


def _like(old: Any, new: Any, name: str) -> Any:
    """Brings a value from TOML to the type of the field's own."""
    last = name.split(".")[-1]
    if last in ("instrument", *RANGES) and new == "none":
        return None
    if last == "instrument":
        if isinstance(new, str) and new in INSTRUMENTS:
            return INSTRUMENTS[new]
        if isinstance(new, Mapping):
            values = {key: value for key, value in new.items() if key != "name"}
            start = INSTRUMENTS.get(str(new["name"])) if "name" in new else old
            if isinstance(start, Instrument):
                return override(start, values, f"{name}.")
            if "name" not in new:
                return _own_instrument(values, name)
        raise InputError(
            f"{name}: must be one of {', '.join(INSTRUMENTS)}, none, or a table, with such a name "
            f"under 'name' or with all numbers of another, found {new!r}"
        )
    if is_dataclass(old):
        if not isinstance(new, Mapping):
            raise InputError(f"{name}: must be a table, found {new!r}")
        return override(old, new, f"{name}.")
    if last in PLACES and isinstance(new, str):
        return new
    if last in RANGES and old is None:
        old = (1.0, 1.0)
    if isinstance(old, tuple):
        kinds = isinstance(old[0], str)
        long = isinstance(new, list | tuple) and (len(new) == len(old) or (kinds and len(new) > 0))
        if long:
            made = tuple(_like(old[0], each, name) for each in new)
            if kinds or len(made) != 2 or last == "shape" or 0 <= made[0] <= made[1]:
                return made
        rule = "a list of one or more names" if kinds else f"{len(old)} values, the lower first"
        rule = "two whole numbers, rows and columns" if last == "shape" else rule
        raise InputError(f"{name}: must be {rule}, found {new!r}")
    wanted = (int, float) if isinstance(old, float) else type(old)
    if isinstance(new, bool) or not isinstance(new, wanted):
        raise InputError(f"{name}: must be like {old!r}, found {new!r}")
    if isinstance(old, float):
        try:
            return float(new)
        except OverflowError:
            raise InputError(f"{name}: must be like {old!r}, found {str(new)[:9]}...") from None
    return new
