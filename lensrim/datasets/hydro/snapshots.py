r"""Particles from HDF5 files in the layout of IllustrisTNG: snapshots, their parts, and cutouts.

A file holds the groups ``PartType0`` (gas), ``PartType1`` (dark matter), ``PartType4`` (stars and
wind) and ``PartType5`` (black holes), each with ``Coordinates`` [ckpc/h] and ``Masses``
[1e10 M_sun/h], and a group ``Header`` with ``Time`` (the scale factor :math:`a`) or ``Redshift``,
``HubbleParam`` (:math:`h`), ``BoxSize`` [ckpc/h] and ``MassTable``, where the mass of the dark
matter is that has no ``Masses``. Stars with ``GFM_StellarFormationTime`` of 0 or less are wind,
and so gas. The other groups (``PartType2``, ``PartType3``: the coarse dark matter of a zoom,
tracers) are not read.

.. math:: r \, [\mathrm{kpc}] = \frac{a}{h} \, x \, [\mathrm{ckpc} / h] , \qquad
          m \, [M_\odot] = \frac{10^{10}}{h} \, M \, [10^{10} M_\odot / h]

A snapshot is split over ``snap_099.0.hdf5``, ``snap_099.1.hdf5``, ...: any of them, or their
folder, stands for all. Files are read in blocks, and only what is within the radius is kept. What
a cutout's header lacks is given by hand.

References:
    https://www.tng-project.org/data/docs/specifications/
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ...errors import InputError
from ...progress import progress
from .particles import KINDS, Array, Particles, densest_point, wrapped

BLOCK = 1 << 20  # particles read at once
FARTHEST = 15_000.0
"""Extent [ckpc/h] from which a halo without a known box is taken to lie across its wall."""


@dataclass(frozen=True)
class Units:
    """Creates what turns the numbers of a file into physical ones.

    Arguments:
        a: Scale factor.
        h: Hubble parameter [100 km/s/Mpc].
        box: Side of the box [ckpc/h]; none where it is unknown.
        masses: The table of masses [1e10 M_sun/h], by kind.
    """

    a: float
    h: float
    box: float | None
    masses: tuple[float, ...]

    @property
    def kpc(self) -> float:
        """Proper length of one ckpc/h [kpc]."""
        return self.a / self.h

    @property
    def solar(self) -> float:
        """Mass of one 1e10 M_sun/h [M_sun]."""
        return 1e10 / self.h


def read_snapshot(
    path: str | Path,
    *,
    center: Sequence[float] | None = None,
    radius: float | None = None,
    halo: str | None = None,
    header: Mapping[str, Any] | None = None,
    enabled: bool = True,
) -> Particles:
    """Reads the particles of a halo.

    Arguments:
        path: A cutout, one of a snapshot's files, or the folder that holds all of them.
        center: The halo's centre [ckpc/h], as the group catalogue has it (``SubhaloPos``). Without
            one, all particles are read and their densest point is taken.
        radius: Radius about the centre within which particles are kept [kpc, proper]; without one,
            all are.
        halo: Name of the halo; that of the file by default.
        header: Attributes that the file's header lacks, in its own units: ``HubbleParam``,
            ``MassTable`` (6 numbers), ``BoxSize``, ``Time``.
        enabled: ``False`` for no progress bar.

    Returns:
        The particles, about the centre, wrapped through the walls of the box.

    Raises:
        InputError: If a file is missing or not in this layout, the header lacks something, the
            units are others, or no particle is within the radius.
        ModuleNotFoundError: If h5py is not installed.
    """
    if radius is not None and center is None:
        raise InputError(f"radius = {radius:g} kpc needs a center: give that of the halo [ckpc/h]")
    if center is not None and not (np.shape(center) == (3,) and np.isfinite(center).all()):
        raise InputError(f"{path}: center must be 3 finite numbers [ckpc/h], found {center}")
    paths = parts_of(Path(path))
    extent = np.zeros((2, 3))  # of all that was read about the centre, kept or not
    found, position = [], None if center is None else np.asarray(center, dtype=np.float64)
    # one file at a time: a snapshot may have more of them than a process may open
    with _open(paths[0]) as file:
        units = _units(file, paths[0], header or {})
    with progress(paths[0].name, total=sum(map(_count, paths)), enabled=enabled) as bar:
        for each in paths:
            with _open(each) as file:
                for block in (b for kind, g in _groups(file) for b in _blocks(g, kind, units)):
                    if position is None:  # any particle will do to gather a halo about
                        position = block[0][0].copy()
                    offset, mass, kind = block
                    bad = np.count_nonzero(~np.isfinite(np.column_stack([offset, mass])))
                    if bad:
                        raise InputError(
                            f"{each}: Coordinates and Masses must be finite, found {bad} values "
                            "that are not; fetch it again"
                        )
                    offset = wrapped(offset, position, units.box)
                    extent[0] = np.minimum(extent[0], offset.min(0))
                    extent[1] = np.maximum(extent[1], offset.max(0))
                    found.append(_near((offset, mass, kind), units, radius))
                    bar.update(len(block[1]))
    # before what is missing: it may be beyond the wall
    _check_extent(extent, units, path)
    if not sum(len(each[1]) for each in found):
        where = (
            "" if radius is None else f" within {radius:g} kpc of the center {list(center or ())}"
        )
        raise InputError(f"{path}: no particle{where}: check the center [ckpc/h] and the file")
    offset, mass, kind = (np.concatenate(each) for each in zip(*found, strict=True))
    found.clear()
    if center is None:
        offset -= densest_point(offset, mass)
    return Particles(
        position=offset * units.kpc,
        mass=mass * units.solar,
        kind=kind,
        halo=halo or Path(path).stem,
        redshift=max(1 / units.a - 1, 0.0),
        provenance=f"{Path(path).name}, a = {units.a:.6g}, h = {units.h:.6g}",
    )


def _count(path: Path) -> int:
    """Counts the particles of a file."""
    with _open(path) as file:
        return sum(len(group["Coordinates"]) for _, group in _groups(file))


def _near(block, units: Units, radius: float | None):
    """Keeps what is near the centre, to which the positions are relative [ckpc/h]."""
    offset, mass, kind = block
    if radius is None:
        return offset, mass, kind
    kept = (offset**2).sum(1) < (radius / units.kpc) ** 2
    return offset[kept], mass[kept], kind[kept]


def _check_extent(extent: Array, units: Units, path: str | Path) -> None:
    side = float((extent[1] - extent[0]).max())
    if units.box is None and side > FARTHEST:
        raise InputError(
            f"{path}: the particles extend over {side:.0f} ckpc/h and the header has no BoxSize:"
            " the halo may lie across the box's wall; give header={'BoxSize': ...} [ckpc/h]"
        )


def parts_of(path: Path) -> list[Path]:
    """Lists the files of a snapshot in their order; one file that has no number is alone."""
    if path.is_dir():
        numbered = [p for p in path.glob("*.hdf5") if re.search(r"\.\d+\.hdf5$", p.name)]
        whole = sorted(numbered or path.glob("*.hdf5"))
        if not whole:
            raise InputError(f"{path}: expected the files of a snapshot (*.hdf5), found none")
        path = whole[0]
    if not path.exists():
        raise InputError(f"{path}: no such file: check the path")
    match = re.fullmatch(r"(.+)\.\d+\.hdf5", path.name)
    if not match:
        return [path]
    with _open(path) as file:
        count = int(file["Header"].attrs.get("NumFilesPerSnapshot", 1))
    paths = [path.with_name(f"{match[1]}.{i}.hdf5") for i in range(count)]
    missing = [p.name for p in paths if not p.exists()]
    if missing:
        raise InputError(
            f"{path}: the snapshot has {count} files (NumFilesPerSnapshot), {len(missing)} of them"
            f" are missing, such as {missing[0]}: fetch them"
        )
    return paths


def _open(path: Path) -> Any:
    try:
        import h5py
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            f"reading {path.name} needs h5py; pip install '.[data]' in the checkout of lensrim"
        ) from error
    try:
        file = h5py.File(path, "r")
    except OSError as error:
        raise InputError(
            f"{path}: not an HDF5 file, or truncated ({error}): fetch it again"
        ) from None
    if "Header" not in file:
        names = ", ".join(file) or "nothing"
        file.close()
        raise InputError(
            f"{path}: expected the layout of IllustrisTNG with a group Header, found {names}"
        )
    return file


def _groups(file: Any) -> Iterator[tuple[int, Any]]:
    """Yields the groups of particles that are there, with their kinds.

    Raises:
        InputError: If one has no coordinates.
    """
    for kind in KINDS.values():
        group = file.get(f"PartType{kind}")
        if group is None or not len(group):
            continue
        if "Coordinates" not in group:
            raise InputError(
                f"{file.filename}[PartType{kind}]: Coordinates are needed, found"
                f" {', '.join(group)}: ask for them where the file came from"
            )
        yield kind, group


def _blocks(group: Any, kind: int, units: Units) -> Iterator[tuple[Array, Array, Any]]:
    """Yields positions [ckpc/h], masses [1e10 M_sun/h] and kinds, block by block.

    Raises:
        InputError: If the masses are missing, or not as many as the positions.
    """
    label, count = f"{group.file.filename}[{group.name[1:]}]", len(group["Coordinates"])
    masses, born = group.get("Masses"), group.get("GFM_StellarFormationTime")
    if masses is None and not units.masses[kind] > 0:
        raise InputError(
            f"{label}: no Masses, and MassTable[{kind}] is {units.masses[kind]:g}: give"
            " header={'MassTable': [...]} with 6 numbers [1e10 M_sun/h], or fetch Masses"
        )
    for name, values in {"Masses": masses, "GFM_StellarFormationTime": born}.items():
        if values is not None and len(values) != count:
            raise InputError(f"{label}: {count} Coordinates, but {len(values)} {name}")
    for start in range(0, count, BLOCK):
        part = slice(start, min(start + BLOCK, count))
        position = np.asarray(group["Coordinates"][part], dtype=np.float64)
        kinds = np.full(len(position), kind, dtype=np.int8)
        if masses is None:
            mass = np.full(len(position), units.masses[kind])
        else:
            mass = np.asarray(masses[part], dtype=np.float64)
        if kind == KINDS["stars"] and born is not None:
            kinds[np.asarray(born[part]) <= 0] = KINDS["gas"]  # wind
        yield position, mass, kinds


def _units(file: Any, path: Path, given: Mapping[str, Any]) -> Units:
    """Reads the units of a file; what it says goes before what is given.

    Raises:
        InputError: If something is missing, impossible, or in other units.
    """
    header = {**given, **dict(file["Header"].attrs)}
    for name, expected in {"UnitLength_in_cm": 3.0857e21, "UnitMass_in_g": 1.989e43}.items():
        value = float(header.get(name, expected))
        if abs(value / expected - 1) > 0.01:
            raise InputError(
                f"{path}[Header]: {name} must be {expected:g} (ckpc/h and 1e10 M_sun/h), found"
                f" {value:g}: convert the file"
            )
    if "HubbleParam" not in header:
        raise InputError(f"{path}[Header]: no HubbleParam: give header={{'HubbleParam': 0.6774}}")
    a = header.get("Time")
    if a is None and "Redshift" not in header:
        raise InputError(
            f"{path}[Header]: neither Time (the scale factor) nor Redshift: give"
            " header={'Redshift': ...}"
        )
    a = float(a) if a is not None else 1 / (1 + float(header["Redshift"]))
    h, z = float(header["HubbleParam"]), float(header.get("Redshift", 1 / a - 1 if a else 0))
    if not (0 < a <= 1.001 and 0 < h < 2 and abs(a * (1 + z) - 1) < 1e-3):
        raise InputError(
            f"{path}[Header]: expected a scale factor Time = 1 / (1 + Redshift) of at most 1 and a"
            f" HubbleParam near 0.7, found Time = {a:g}, Redshift = {z:g}, HubbleParam = {h:g}"
        )
    table = tuple(float(m) for m in header.get("MassTable", np.zeros(6)))
    if len(table) != 6:
        raise InputError(f"{path}[Header]: MassTable must be 6 numbers, found {len(table)}")
    box = float(header.get("BoxSize", 0))
    return Units(a, h, box if box > 0 else None, table)
