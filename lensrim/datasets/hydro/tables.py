"""Particles from FITS tables, for simulations that have another layout.

The first table with the columns ``x``, ``y``, ``z`` and ``mass`` (in any case) is read. Units are
those of TUNIT, by default kpc (proper) and M_sun; comoving ones are refused, because nothing in
the file says of which redshift and of which h. Optional columns: ``type`` (a number as in
IllustrisTNG, or the name of a kind; dark matter by default) and ``hsml`` (the distance from the
64th neighbour, which then is not searched for). ``REDSHIFT`` and ``HALO`` are read from the header
of the table, or else of the file.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...errors import InputError
from ..fits_files import without_ending
from .particles import KINDS, Array, Particles, densest_point

NEEDED = {"x": "kpc", "y": "kpc", "z": "kpc", "mass": "solMass"}


def read_particle_table(
    path: str | Path,
    *,
    center: Sequence[float] | None = None,
    halo: str | None = None,
    redshift: float | None = None,
) -> Particles:
    """Reads the particles of a halo from a FITS table.

    Arguments:
        path: The file.
        center: The halo's centre, in the unit of the columns; by default the densest point.
        halo: Name of the halo; by default that of the header, or else of the file.
        redshift: Redshift at which the halo was simulated; by default that of the header.

    Returns:
        The particles, about the centre.

    Raises:
        InputError: If the file is not FITS, has no such table, a unit or a kind is not known, or
            the redshift is missing.
    """
    from astropy.io import fits

    if center is not None and not (np.shape(center) == (3,) and np.isfinite(center).all()):
        raise InputError(f"{path}: center must be 3 finite numbers, found {center}")
    try:
        with fits.open(path, memmap=False) as hdus:
            every: list[Any] = list(hdus)
            tables: list[Any] = [h for h in every if isinstance(h, fits.BinTableHDU)]
            columns = [{name.lower(): name for name in h.columns.names} for h in tables]
            good = [i for i, names in enumerate(columns) if NEEDED.keys() <= names.keys()]
            if not good:
                found = "; ".join(", ".join(names) for names in columns) or "no table"
                raise InputError(
                    f"{path}: expected a table with the columns x, y, z and mass, found {found}"
                )
            table, names = tables[good[0]], columns[good[0]]
            x, y, z, mass = (_quantity(path, table, names[n], u) for n, u in NEEDED.items())
            reach = _quantity(path, table, names["hsml"], "kpc") if "hsml" in names else None
            kind = _kinds(path, table.data[names["type"]]) if "type" in names else None
            header: Any = {**dict(every[0].header), **dict(table.header)}
            length = table.columns[names["x"]].unit or "kpc"
    except InputError:
        raise
    except (OSError, TypeError, ValueError) as error:  # one that is cut off, too
        raise InputError(f"{path}: particles must be a FITS table: {error}") from error
    redshift = header.get("REDSHIFT") if redshift is None else redshift
    if redshift is None:
        raise InputError(f"{path}: the header has no REDSHIFT: give redshift=...")
    try:
        redshift = float(redshift)
    except (TypeError, ValueError):
        raise InputError(
            f"{path}: REDSHIFT must be a number, found {redshift!r}: correct it, or give "
            "redshift=..."
        ) from None
    if not len(mass):
        raise InputError(f"{path}: the table is empty: give one with particles")
    position = np.stack([x, y, z], axis=1)
    bad = {"x, y, z": position, "mass": mass, "hsml": np.zeros(0) if reach is None else reach}
    for name, values in bad.items():
        if not np.isfinite(values).all():
            raise InputError(
                f"{path}: {name} must be finite, found {np.count_nonzero(~np.isfinite(values))} "
                "values that are not; leave these particles out"
            )
    if not (mass.min() >= 0 and mass.max() > 0):
        raise InputError(
            f"{path}: mass must be 0 or more, and not 0 everywhere, found {mass.min():g} to "
            f"{mass.max():g}; correct the table"
        )
    if center is None:
        middle = densest_point(position, mass)
    else:
        middle = np.asarray(center, dtype=np.float64) * _factor(path, length, "kpc")
    return Particles(
        position=position - middle,
        mass=mass,
        kind=np.full(len(mass), KINDS["dark matter"], np.int8) if kind is None else kind,
        halo=halo or str(header.get("HALO") or without_ending(Path(path).name)),
        redshift=redshift,
        reach=reach,
        provenance=Path(path).name,
    )


def read_halo_name(path: str | Path) -> str | None:
    """Reads the name of the halo from the header of a table, or else of the file, if it is there.

    Raises:
        InputError: If the file is not FITS.
    """
    from astropy.io import fits

    try:
        with fits.open(path) as hdus:
            every: list[Any] = list(hdus)
            names = [str(hdu.header["HALO"]) for hdu in every if hdu.header.get("HALO")]
    except (OSError, TypeError, ValueError) as error:
        raise InputError(f"{path}: particles must be a FITS table: {error}") from error
    return names[-1] if names else None


def _factor(path: str | Path, unit: Any, wanted: str) -> float:
    """Number of the wanted units in one of a unit, by its name in FITS."""
    from astropy import units

    try:
        factor: Any = units.Unit(unit).to(wanted)
        return float(factor)
    except (ValueError, TypeError, units.UnitConversionError) as error:
        raise InputError(
            f"{path}: the unit {unit!r} cannot be turned into {wanted}: give proper lengths and"
            " masses without h"
        ) from error


def _quantity(path: str | Path, table: Any, name: str, wanted: str) -> Array:
    """Reads a column in the wanted unit, which is also that of a column without one."""
    unit = table.columns[name].unit or wanted
    return np.asarray(table.data[name], dtype=np.float64) * _factor(path, unit, wanted)


def _kinds(path: str | Path, values: Any) -> NDArray[np.int8]:
    """Turns numbers or names into the numbers of kinds."""
    known = KINDS | {str(n): n for n in KINDS.values()}
    unique, inverse = np.unique(np.asarray(values), return_inverse=True)
    unknown = [str(v) for v in unique if str(v).strip().lower() not in known]
    if unknown:
        raise InputError(
            f"{path}: type must be one of {', '.join(known)}, found {unknown[0]!r}: correct it"
        )
    numbers = np.array([known[str(v).strip().lower()] for v in unique], dtype=np.int8)
    return numbers[inverse]
