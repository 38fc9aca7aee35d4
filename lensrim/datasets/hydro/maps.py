r"""Convergence maps of simulated haloes.

Particles are projected along any direction, smoothed (:mod:`~.smoothing`), and divided by the
critical surface density of a lens and a source at given redshifts,

.. math:: \kappa = \Sigma / \Sigma_\mathrm{cr}(z_l, z_s) , \qquad \theta = R / D_l \, .

A map is for programs that call for it; populations draw their lenses from banks
(:mod:`~lensrim.datasets.haloes.bank`), which are made of these by
:mod:`~lensrim.datasets.haloes.simulated`.

What is projected is all that the particles hold along the line of sight; there is no other matter
in front or behind, and none outside the cutout.

References:
    Adam, Perreault-Levasseur, Hezaveh & Welling 2023, ApJ 951, 6.
"""

import re
import zlib
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch

from ...errors import InputError
from ...grid import PixelGrid
from ...lensing.cosmology import lens_scales
from ...progress import progress
from .particles import Array, Particles, check_rotation, random_rotation
from .projection import KappaMap, einstein_radius
from .smoothing import SIGMA_PER_REACH, spread, with_reach
from .snapshots import parts_of, read_snapshot
from .tables import read_halo_name, read_particle_table
from .toys import ToyHaloes


@runtime_checkable
class Haloes(Protocol):
    """A collection of haloes, loaded one by one."""

    @property
    def names(self) -> tuple[str, ...]: ...

    def load(self, name: str) -> Particles: ...


class HaloFolder:
    """Creates a collection of haloes from a folder, one file each, or one numbered series.

    Arguments:
        root: Folder searched, with its subfolders, for cutouts (``*.hdf5``, :mod:`~.snapshots`)
            and tables (``*.fits``, ``*.fits.gz``, :mod:`~.tables`). A halo's name is the
            path of its file below the folder, without the extension; the cutouts ``h.0.hdf5``,
            ``h.1.hdf5``, ... are one halo, ``h``.
        header: Attributes that the headers of the cutouts lack.

    Raises:
        InputError: If the folder does not exist or holds no such file.
    """

    def __init__(self, root: str | Path, *, header: dict[str, Any] | None = None):
        self.root, self.header = Path(root), header
        suffixes = (".hdf5", ".fits", ".fits.gz")
        if not self.root.is_dir():
            raise InputError(f"{self.root}: haloes must be a folder of files; no such folder")
        paths = [p for p in sorted(self.root.rglob("*")) if p.name.endswith(suffixes)]
        if not paths:
            raise InputError(f"{self.root}: expected {', '.join(suffixes)}, found none")
        self._paths: dict[str, list[Path]] = {}
        for path in paths:
            name = str(path.relative_to(self.root)).removesuffix(".gz").rpartition(".")[0]
            piece = re.search(r"\.\d+\.hdf5$", path.name) is not None
            name = name.rpartition(".")[0] if piece else name
            others = self._paths.setdefault(name, [])
            if others and not (piece and re.search(r"\.\d+\.hdf5$", others[0].name)):
                raise InputError(f"{path}: two files would be the halo {name!r}: remove one")
            others.append(path)

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the haloes."""
        return tuple(self._paths)

    @property
    def halos(self) -> dict[str, str]:
        """The halo that each name shows: what the header of a table calls it, else the name.

        Names of one halo belong into one set: ``split(sorted(set(folder.halos.values())))`` of
        :mod:`lensrim.datasets.splits`, which is also that of the maps' ``halo``.
        """
        return {name: self._halo(name) for name in self._paths}

    def _halo(self, name: str) -> str:
        path = self._paths[name][0]
        return name if path.suffix == ".hdf5" else read_halo_name(path) or name

    def __len__(self) -> int:
        return len(self._paths)

    def files(self, name: str) -> tuple[Path, ...]:
        """The files of a halo."""
        return tuple(self._paths[name])

    def load(self, name: str) -> Particles:
        """Reads one halo.

        Raises:
            InputError: If there is no halo of this name, or its files cannot be read.
        """
        if name not in self._paths:
            raise InputError(
                f"{self.root}: no halo {name!r}; choose among {len(self)} names, such as "
                f"{self.names[0]!r}"
            )
        paths = self._paths[name]
        if paths[0].suffix != ".hdf5":
            return read_particle_table(paths[0], halo=self._halo(name))
        if len(parts_of(paths[0])) != len(paths):
            raise InputError(
                f"{paths[0]}: {len(paths)} files are numbered as those of one halo, but the "
                f"header says {len(parts_of(paths[0]))} (NumFilesPerSnapshot); rename what are "
                "haloes of their own, as in h_0.hdf5"
            )
        return read_snapshot(paths[0], halo=name, header=self.header)


def kappa_map(
    particles: Particles,
    grid: PixelGrid,
    *,
    z_source: float,
    z_lens: float | None = None,
    cosmology: Any = "Planck18",
    rotation: Array | None = None,
    stretch: float = 1.0,
    device: torch.device | str = "cpu",
    enabled: bool = True,
) -> KappaMap:
    """Projects a halo along a direction.

    Arguments:
        particles: The halo, with or without the distances of neighbours
            (:func:`~.smoothing.with_reach`), which are searched for where they are missing; for
            several projections, measure them once.
        grid: Pixels of the map, whatever their number; the halo's centre is at (0, 0).
        z_source: Redshift of the source.
        z_lens: Redshift at which the halo is put, as it is; by default that of the simulation.
        cosmology: One of astropy's cosmologies, or the name of one, for the distances.
        rotation: How the halo is turned before it is projected along z, such as
            :func:`~.particles.facing` an axis; not at all by default.
        stretch: Factor by which all angles are multiplied; see
            :mod:`~.projection`.
        device: Where the kernels are made.
        enabled: ``False`` for no progress bar.

    Raises:
        InputError: If the redshifts are impossible, or there are too few particles to smooth.
        ValueError: If the stretch is not positive, or the matrix not a rotation.
    """
    if not 0 < stretch < float("inf"):
        raise ValueError(f"stretch must be a positive number, got {stretch}")
    z_lens = particles.redshift if z_lens is None else z_lens
    scales = lens_scales(z_lens, z_source, cosmology=cosmology)
    rotation = np.eye(3) if rotation is None else check_rotation(rotation)
    if particles.reach is None:
        particles = with_reach(particles, enabled=enabled)
    assert particles.reach is not None
    arcsec = stretch / scales.kpc_per_arcsec_lens
    x, y = (particles.position @ row * arcsec for row in rotation[:2])
    column, row = grid.to_index(x, y)
    sigma = particles.reach * (SIGMA_PER_REACH * arcsec / grid.spacing)
    mass = spread(column, row, particles.mass, sigma, grid.shape, device=device, enabled=enabled)
    # a pixel of the stretched sky is smaller on the true one, by the factor squared
    kappa = mass / (scales.sigma_critical * (grid.spacing / stretch) ** 2)
    return KappaMap(
        kappa=kappa,
        pixel_scale=grid.spacing,
        theta_E=einstein_radius(kappa, grid),
        halo=particles.halo,
        rotation=rotation,
        z_lens=z_lens,
        z_source=z_source,
        stretch=stretch,
        provenance=f"{particles.provenance}; {scales.cosmology}",
    )


def project_haloes(
    grid: PixelGrid,
    *,
    haloes: Haloes | None = None,
    names: Iterable[str] | None = None,
    projections: int = 3,
    z_source: float = 2.0,
    z_lens: float | None = None,
    cosmology: Any = "Planck18",
    theta_E: tuple[float, float] | None = None,
    seed: int = 0,
    workers: int = 1,
    device: torch.device | str = "cpu",
    enabled: bool = True,
) -> Iterator[KappaMap]:
    """Makes the maps of a collection of haloes, each from several random directions.

    The directions of a halo depend on the seed and on its name only, not on the others.

    Arguments:
        grid: Pixels of every map.
        haloes: The collection: a :class:`HaloFolder`, or toy haloes, which are the default.
        names: Haloes to project; all by default.
        projections: Directions of each.
        z_source, z_lens, cosmology: See :func:`kappa_map`.
        theta_E: Range of the Einstein radii [arcsec] (log-uniform), to which the haloes are
            stretched before they are put on the pixels. A projection without an Einstein radius is
            then left out. Without a range nothing is stretched, and nothing left out.
        seed: Seed of the directions and of the radii.
        workers: Threads of the search for neighbours.
        device: Where the kernels are made.
        enabled: ``False`` for no progress bar.

    Returns:
        The maps, halo by halo, made one at a time.

    Raises:
        ValueError: If the range is not one of positive numbers.
    """
    if theta_E is not None and not 0 < theta_E[0] <= theta_E[1] < float("inf"):
        raise ValueError(f"theta_E must be a range of positive numbers, got {theta_E}")
    collection: Haloes = ToyHaloes() if haloes is None else haloes
    chosen = tuple(collection.names if names is None else names)
    options = {"z_source": z_source, "z_lens": z_lens, "cosmology": cosmology, "device": device}
    view = partial(kappa_map, grid=grid, enabled=False, **options)

    def generate() -> Iterator[KappaMap]:
        with progress("haloes", total=len(chosen) * projections, enabled=enabled) as bar:
            for name in chosen:
                particles = collection.load(name)
                if particles.reach is None:
                    particles = with_reach(particles, workers=workers, enabled=enabled)
                rng = np.random.default_rng([seed, zlib.crc32(name.encode())])
                for _ in range(projections):
                    rotation, share = random_rotation(rng), rng.uniform()
                    found = _stretched(partial(view, particles, rotation=rotation), theta_E, share)
                    bar.update()
                    if found is not None:
                        yield found

    return generate()


def _stretched(
    view: Callable[..., KappaMap], theta_E: tuple[float, float] | None, share: float
) -> KappaMap | None:
    """Projects a halo at the Einstein radius a share of the way up a range; None without one."""
    found = view()
    if theta_E is None:
        return found
    for wider in (4, 16):
        if found.theta_E is None and found.kappa.max() > 1:
            found = view(stretch=1 / wider)  # the mean may fall to 1 outside of the frame
    if found.theta_E is None:
        return None
    wanted = theta_E[0] * (theta_E[1] / theta_E[0]) ** share
    found = view(stretch=found.stretch * wanted / found.theta_E)
    return None if found.theta_E is None else found
