r"""Particles of a simulated halo, in physical units about its centre, and how they are turned.

Positions are proper lengths [kpc], not comoving, and masses are in M_sun: neither holds a scale
factor or a Hubble parameter any more. A projection is a rotation :math:`R` that brings the line of
sight onto :math:`+z`, after which :math:`x` and :math:`y` are those of the map,

.. math:: x' = R \, x .

The kinds are numbered as in IllustrisTNG: 0 gas, 1 dark matter, 4 stars, 5 black holes.

References:
    Nelson et al. 2019, Computational Astrophysics and Cosmology 6, 2 (the layout of IllustrisTNG);
    Power et al. 2003, MNRAS 338, 14 (the shrinking sphere).
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

KINDS = {"gas": 0, "dark matter": 1, "stars": 4, "black holes": 5}
"""Numbers of the kinds of particles."""


@dataclass(frozen=True, eq=False)
class Particles:
    """Creates the particles of one halo.

    Arguments:
        position: Proper positions about the halo's centre [kpc], with shape (N, 3).
        mass: Masses [M_sun], with shape (N).
        kind: Kinds, of :data:`KINDS`, with shape (N).
        halo: Name of the halo. It is kept by every projection: what is trained on and what is
            tested on must not share one.
        redshift: Redshift at which the halo was simulated.
        reach: Distance of each from its 64th neighbour [kpc], with shape (N); see
            :func:`lensrim.datasets.hydro.smoothing.with_reach`.
        provenance: Where they come from, in words.

    Raises:
        ValueError: If the shapes do not agree, a value is not finite, or a mass is negative.
    """

    position: Array
    mass: Array
    kind: NDArray[np.int8]
    halo: str
    redshift: float
    reach: Array | None = None
    provenance: str = ""

    def __post_init__(self):
        n = len(self.mass)
        shapes = {"position": (n, 3), "mass": (n,), "kind": (n,), "reach": (n,)}
        for name, shape in shapes.items():
            values = getattr(self, name)
            if values is None:
                continue
            if values.shape != shape:
                raise ValueError(f"{name} must have the shape {shape}, got {values.shape}")
            if not np.isfinite(values).all():
                bad = np.count_nonzero(~np.isfinite(values))
                raise ValueError(f"{name} must be finite, got {bad} values that are not")
        if n and self.mass.min() < 0:
            raise ValueError(f"mass must not be negative, got {self.mass.min():g}")

    def __len__(self) -> int:
        return len(self.mass)

    def of(self, kinds: Iterable[str]) -> "Particles":
        """Returns the particles of some kinds.

        Arguments:
            kinds: Names, of :data:`KINDS`.

        Raises:
            ValueError: If a name is unknown.
        """
        kinds = tuple(kinds)
        unknown = [name for name in kinds if name not in KINDS]
        if unknown:
            raise ValueError(f"kinds must be among {', '.join(KINDS)}, got {unknown[0]!r}")
        return self.where(np.isin(self.kind, [KINDS[name] for name in kinds]))

    def where(self, kept: NDArray[np.bool_]) -> "Particles":
        """Returns the particles that a mask of shape (N) keeps."""
        return replace(
            self,
            position=self.position[kept],
            mass=self.mass[kept],
            kind=self.kind[kept],
            reach=None if self.reach is None else self.reach[kept],
        )


def turned(particles: Particles, rotation: Array) -> Particles:
    """Turns particles about the halo's centre; the distances of neighbours stay as they are.

    Arguments:
        particles: The particles.
        rotation: Rotation :math:`R`, with shape (3, 3).

    Raises:
        ValueError: If the matrix is not a rotation.
    """
    return replace(particles, position=particles.position @ check_rotation(rotation).T)


def check_rotation(rotation: Array) -> Array:
    """Returns a matrix that is a rotation.

    Raises:
        ValueError: If it is not.
    """
    if rotation.shape != (3, 3) or not np.allclose(rotation @ rotation.T, np.eye(3), atol=1e-9):
        raise ValueError(f"rotation must be an orthogonal matrix (3, 3), got {rotation.tolist()}")
    if np.linalg.det(rotation) < 0:
        raise ValueError("rotation must not be a reflection, got a determinant of -1: swap axes")
    return rotation


def facing(axis: Sequence[float]) -> Array:
    """Makes the rotation that brings an axis onto the line of sight, towards the observer.

    The simulation's y points up on the map, and its z where the axis is y itself: with the axis
    (0, 0, 1) nothing is turned.

    Arguments:
        axis: Direction, with shape (3); its length does not count.

    Returns:
        The rotation, with shape (3, 3).

    Raises:
        ValueError: If the axis has no direction.
    """
    n = np.asarray(axis, dtype=np.float64)
    if n.shape != (3,) or not np.isfinite(n).all() or not n.any():
        raise ValueError(f"axis must be three finite numbers, not all zero, got {axis}")
    n = n / np.linalg.norm(n)
    up = np.array([0.0, 1.0, 0.0]) if abs(n[1]) < 1 - 1e-9 else np.array([0.0, 0.0, 1.0])
    right = np.cross(up, n)
    right /= np.linalg.norm(right)
    return np.stack([right, np.cross(n, right), n])


def random_rotation(rng: np.random.Generator) -> Array:
    """Draws a rotation, uniform over all orientations, with shape (3, 3)."""
    from scipy.spatial.transform import Rotation

    # a normal quaternion has no preferred direction
    return np.asarray(Rotation.from_quat(rng.normal(size=4)).as_matrix(), dtype=np.float64)


def wrapped(position: Array, center: Array, box: float | None) -> Array:
    """Takes positions relative to a centre, through the walls of a periodic box.

    Arguments:
        position: Positions, with shape (N, 3).
        center: Centre, with shape (3), in the same unit.
        box: Side of the box in that unit; none where space is not periodic.
    """
    offset = position - center
    return offset if box is None else offset - box * np.round(offset / box)


def densest_point(position: Array, mass: Array, *, shrink: float = 0.9) -> Array:
    """Finds the centre of a halo by a shrinking sphere.

    The sphere about the centre of mass is made smaller, and moved onto the centre of mass of what
    it holds, until a hundredth of the particles is left, or a thousand.

    Arguments:
        position: Positions, with shape (N, 3).
        mass: Masses, with shape (N).
        shrink: Factor on the radius from one sphere to the next.

    Returns:
        The centre, with shape (3).

    Raises:
        ValueError: If there is no particle, or none has a mass.
    """
    if not mass.sum() > 0:
        raise ValueError(f"a centre needs particles with a mass, got {len(mass)} without")
    fewest = min(1000, max(len(mass) // 100, 10))
    center = np.average(position, axis=0, weights=mass)
    radius = np.sqrt(((position - center) ** 2).sum(1).max())
    while len(mass) > fewest and radius > 0:
        radius *= shrink
        inside = ((position - center) ** 2).sum(1) < radius**2
        if np.count_nonzero(inside) < 10 or not mass[inside].sum() > 0:
            break
        position, mass = position[inside], mass[inside]
        center = np.average(position, axis=0, weights=mass)
    return center
