"""Files in the layout of IllustrisTNG, as tiny as a test needs them."""

from pathlib import Path
from typing import Any

import h5py
import numpy as np

from lensrim.datasets.hydro.particles import KINDS, Particles

A, H, BOX = 1 / 1.5, 0.6774, 75_000.0
"""Scale factor at z = 0.5, Hubble parameter, and side of the box [ckpc/h]."""


def write_halo(
    path: Path,
    particles: Particles,
    *,
    center: tuple[float, float, float] = (20_000.0, 30_000.0, 40_000.0),
    a: float = A,
    h: float = H,
    files: int = 1,
    omit: tuple[str, ...] = (),
    header: dict[str, Any] | None = None,
) -> None:
    """Writes particles about a centre [ckpc/h], wrapped into the box, split over some files.

    Dark matter has no masses but an entry of the table. ``omit`` names attributes of the header,
    or data sets, that are left out.
    """
    place = (particles.position * h / a + np.array(center)) % BOX
    table = np.zeros(6)
    for number in (1,):
        own = particles.mass[particles.kind == number]
        table[number] = own[0] * h / 1e10 if len(own) else 0.0
    attributes = {
        "Time": a,
        "Redshift": 1 / a - 1,
        "HubbleParam": h,
        "BoxSize": BOX,
        "MassTable": table,
        "NumFilesPerSnapshot": files,
        **(header or {}),
    }
    for i in range(files):
        name = path if files == 1 else path.with_name(f"{path.stem}.{i}.hdf5")
        with h5py.File(name, "w") as file:
            group = file.create_group("Header")
            for key, value in attributes.items():
                if key not in omit:
                    group.attrs[key] = value
            for number in KINDS.values():
                own = np.flatnonzero(particles.kind == number)[i::files]
                if not len(own):
                    continue
                group = file.create_group(f"PartType{number}")
                if "Coordinates" not in omit:
                    group["Coordinates"] = place[own]
                group["ParticleIDs"] = own
                if number != 1 and "Masses" not in omit:
                    group["Masses"] = particles.mass[own] * h / 1e10
