r"""Toy haloes: particles drawn from profiles whose convergence is known in closed form.

They stand in where there is no simulation, and test what is done with one. A halo is dark matter
in a smoothly truncated profile of Navarro, Frenk & White and stars in one of Hernquist, both
round, and both stretched by the same three axis ratios of product 1,

.. math:: r_i \to s_i r_i , \qquad s_x s_y s_z = 1 ,

which makes them triaxial without a change of mass. Seen along z the convergence is
:math:`\kappa(x / s_x, y / s_y) / (s_x s_y)`, with :math:`\kappa` the round one. They have no
substructure, no gas and no history: a population for trying things, not a simulation.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np

from ...lensing.cosmology import LensScales
from ...lensing.mass import TNFW, Circular, Hernquist
from .particles import KINDS, Array, Particles, random_rotation

RADII = np.geomspace(1e-7, 1e6, 4000)
"""Radii on which the mass within is tabulated, in scale radii."""


@runtime_checkable
class Profile(Protocol):
    """What a component can do."""

    @property
    def mass(self) -> float: ...

    def inverse(self, share: Array) -> Array: ...

    def convergence(self, scales: LensScales) -> Circular: ...


@dataclass(frozen=True)
class DarkHalo:
    """Creates dark matter in a truncated NFW profile, of :class:`lensrim.lensing.mass.TNFW`.

    Arguments:
        mass: Total mass [M_sun].
        r_s: Scale radius [kpc].
        r_t: Truncation radius [kpc].
    """

    mass: float = 1.2e13
    r_s: float = 40.0
    r_t: float = 250.0

    def inverse(self, share: Array) -> Array:
        """Returns the radii [kpc] within which these shares of the mass are."""
        tau, r = self.r_t / self.r_s, RADII
        density = 1 / (r * (1 + r) ** 2) * tau**2 / (tau**2 + r**2)
        # d M / d ln r = 4 pi r^3 rho, by the trapezium rule; within the first radius M ~ r^2
        steps = np.diff(np.log(r)) * (r[1:] ** 3 * density[1:] + r[:-1] ** 3 * density[:-1]) / 2
        within = np.concatenate([[0.0], np.cumsum(steps)])
        return np.interp(share, within / within[-1], r) * self.r_s

    def convergence(self, scales: LensScales) -> TNFW:
        """Returns the mass model, in arcsec and units of the critical density."""
        unit = scales.kpc_per_arcsec_lens
        one = TNFW(1.0, self.r_s / unit, self.r_t / unit)
        return TNFW(self.mass / scales.sigma_critical / float(one.total_mass()), one.r_s, one.r_t)


@dataclass(frozen=True)
class Bulge:
    """Creates stars in a Hernquist profile.

    Arguments:
        mass: Total mass [M_sun].
        r_s: Scale radius [kpc].
    """

    mass: float = 3e11
    r_s: float = 4.0

    def inverse(self, share: Array) -> Array:
        """Returns the radii [kpc] within which these shares of the mass are."""
        root = np.sqrt(share)  # M(r) / M = r^2 / (r + r_s)^2
        return self.r_s * root / np.maximum(1 - root, 1e-12)

    def convergence(self, scales: LensScales) -> Hernquist:
        """Returns the mass model, in arcsec and units of the critical density."""
        r_s = self.r_s / scales.kpc_per_arcsec_lens
        return Hernquist(self.mass / scales.sigma_critical / (2 * np.pi * r_s**2), r_s)


def draw_particles(
    rng: np.random.Generator,
    components: Mapping[str, tuple[Profile, int]],
    *,
    axes: Sequence[float] = (1.0, 1.0, 1.0),
    rotation: Array | None = None,
    redshift: float = 0.5,
    halo: str = "toy",
) -> Particles:
    """Draws particles of equal mass from each component of a halo.

    Arguments:
        rng: Source of random numbers; the result depends on its state only.
        components: By kind (see :data:`lensrim.datasets.hydro.particles.KINDS`), a profile and the
            number of its particles.
        axes: Factors :math:`s_x, s_y, s_z` on the coordinates; divided by the cube root of their
            product.
        rotation: Rotation of the stretched halo, with shape (3, 3); none by default.
        redshift: Its redshift.
        halo: Its name.
    """
    stretch = np.asarray(axes, dtype=np.float64) / np.prod(axes) ** (1 / 3)
    position, mass, kind = [], [], []
    for name, (profile, n) in components.items():
        direction = rng.normal(size=(n, 3))
        direction /= np.linalg.norm(direction, axis=1, keepdims=True)
        position.append(profile.inverse(rng.uniform(size=n))[:, None] * direction * stretch)
        mass.append(np.full(n, profile.mass / n))
        kind.append(np.full(n, KINDS[name], dtype=np.int8))
    place = np.concatenate(position)
    return Particles(
        position=place if rotation is None else place @ rotation.T,
        mass=np.concatenate(mass),
        kind=np.concatenate(kind),
        halo=halo,
        redshift=redshift,
        provenance="drawn from " + ", ".join(f"{p} x {n}" for p, n in components.values()),
    )


@dataclass(frozen=True)
class ToyHaloes:
    """Creates a seeded collection of toy haloes, each the same whenever it is asked for.

    Arguments:
        count: Number of haloes.
        particles: Particles of each, of which a quarter are stars.
        seed: Seed of the collection.
        redshift: Their redshift.
        dark, stars: Range of the masses [M_sun] (log-uniform). The radii go with the cube root of
            the dark mass and the square root of the stellar one, from those of :class:`DarkHalo`
            and :class:`Bulge`.
        flattening: Range of the middle and the shortest axis relative to the longest (uniform).
    """

    count: int = 100
    particles: int = 200_000
    seed: int = 0
    redshift: float = 0.5
    dark: tuple[float, float] = (5e12, 3e13)
    stars: tuple[float, float] = (1.5e11, 6e11)
    flattening: tuple[float, float] = (0.6, 1.0)

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the haloes."""
        return tuple(f"toy-{self.seed}-{i:05d}" for i in range(self.count))

    def __len__(self) -> int:
        return self.count

    def load(self, name: str) -> Particles:
        """Draws one of the haloes.

        Raises:
            ValueError: If there is none of this name.
        """
        if name not in self.names:
            raise ValueError(f"no halo {name!r}; there are {self.names[0]} to {self.names[-1]}")
        rng = np.random.default_rng([self.seed, self.names.index(name)])
        dark, stars = (np.exp(rng.uniform(*np.log(r))) for r in (self.dark, self.stars))
        wide, tight = (dark / DarkHalo.mass) ** (1 / 3), (stars / Bulge.mass) ** 0.5
        few = self.particles // 4
        return draw_particles(
            rng,
            {
                "dark matter": (
                    DarkHalo(dark, DarkHalo.r_s * wide, DarkHalo.r_t * wide),
                    self.particles - few,
                ),
                "stars": (Bulge(stars, Bulge.r_s * tight), few),
            },
            axes=(1.0, *sorted(rng.uniform(*self.flattening, 2), reverse=True)),
            rotation=random_rotation(rng),
            redshift=self.redshift,
            halo=name,
        )
