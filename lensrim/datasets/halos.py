r"""Seeded populations of lensing masses: galaxy, subhalos, multipoles, external shear.

A lens is described by plain numbers (frozen dataclasses), which any code can turn into maps. The
total convergence is

.. math::
    \kappa = \kappa_\text{EPL} + \sum_m \frac{a_m \theta_E}{2 r} \cos m (\varphi - \varphi_m)
    + \sum_i \frac{b_i}{2} \left( \frac{1}{r_i} - \frac{1}{\sqrt{r_i^2 + t_i^2}} \right) \, ,

to which the external shear adds a deflection but no convergence. The population is that of massive
early-type galaxies; it is a prior for simulations, not a result of structure formation.

References:
    Auger et al. 2010, ApJ 724, 511 (slopes); Hao et al. 2006, MNRAS 370, 1339 (multipoles);
    Munoz, Kochanek & Keeton 2001, ApJ 558, 657 (truncated isothermal subhalos).
"""

from dataclasses import dataclass

import numpy as np

from ..errors import InputError
from .ranges import check_ranges, check_sizes


@dataclass(frozen=True)
class Ellipsoid:
    """Creates the description of an elliptical power law.

    Arguments:
        theta_E: Einstein radius on the intermediate axis [arcsec].
        gamma: Three-dimensional logarithmic slope; 2 is isothermal.
        q: Axis ratio, in (0, 1].
        phi: Position angle of the major axis, counter-clockwise from +x [rad].
        center_x, center_y: Centre [arcsec].
    """

    theta_E: float
    gamma: float = 2.0
    q: float = 1.0
    phi: float = 0.0
    center_x: float = 0.0
    center_y: float = 0.0


@dataclass(frozen=True)
class Multipole:
    """Creates the description of an angular perturbation about the ellipsoid's centre.

    Arguments:
        m: Order, 3 or 4.
        amplitude: Amplitude :math:`a_m` in units of the ellipsoid's Einstein radius.
        phi: Position angle :math:`\\varphi_m` of a maximum [rad].

    Raises:
        InputError: If it is of another order.
    """

    m: int
    amplitude: float
    phi: float

    def __post_init__(self) -> None:
        if self.m not in (3, 4):
            raise InputError(f"m: a multipole must be of order 3 or 4, found {self.m}")


@dataclass(frozen=True)
class Subhalo:
    """Creates the description of a truncated isothermal subhalo.

    Arguments:
        theta_E: Einstein radius :math:`b` it would have without truncation [arcsec].
        truncation: Radius :math:`t` beyond which the density falls as r^-4 [arcsec].
        center_x, center_y: Centre [arcsec].
    """

    theta_E: float
    truncation: float
    center_x: float
    center_y: float


@dataclass(frozen=True)
class Lens:
    """Creates the description of a lensing mass.

    Arguments:
        ellipsoid: The galaxy and its halo.
        gamma1, gamma2: External shear.
        multipoles: Angular perturbations of the ellipsoid.
        subhalos: Subhalos, anywhere in the frame.
    """

    ellipsoid: Ellipsoid
    gamma1: float = 0.0
    gamma2: float = 0.0
    multipoles: tuple[Multipole, ...] = ()
    subhalos: tuple[Subhalo, ...] = ()


@dataclass(frozen=True)
class LensPrior:
    """Creates a population of lenses. Lengths are in units of the Einstein radius where said.

    Arguments:
        slope_mean, slope_std: Normal distribution of the slope, cut at 1.6 and 2.5.
        q_range: Range of the axis ratio (uniform).
        shear_scale, shear_max: Rayleigh distribution of the shear's modulus, and where it is cut.
        multipole_std: Standard deviation of each of the multipole amplitudes m = 3, 4, which are
            cut at 3 times that.
        subhalos_max: Largest number of subhalos (uniform from 0).
        subhalo_range: Range of a subhalo's Einstein radius, in units of the lens' (density as
            b^-2).
        center_range: Largest offset of the mass from the frame's centre along x and y [pixels].

    Raises:
        InputError: If a number is impossible.
    """

    slope_mean: float = 2.08
    slope_std: float = 0.16
    q_range: tuple[float, float] = (0.5, 1.0)
    shear_scale: float = 0.04
    shear_max: float = 0.13
    multipole_std: float = 0.006
    subhalos_max: int = 20
    subhalo_range: tuple[float, float] = (0.002, 0.05)
    center_range: float = 1.0

    def __post_init__(self) -> None:
        check_sizes(self, "slope_mean", "slope_std", "shear_scale", "shear_max", "multipole_std")
        check_sizes(self, "subhalos_max", "center_range")
        check_ranges(self, "q_range", "subhalo_range")
        if self.q_range[1] > 1:
            raise InputError(
                f"q_range: must be axis ratios of at most 1, found {list(self.q_range)}; change it"
            )


def _subhalos(rng: np.random.Generator, prior: LensPrior, host: Ellipsoid) -> tuple[Subhalo, ...]:
    """Draws subhalos, uniform in a disc of three Einstein radii, truncated at sqrt(b_host b)."""
    halos = []
    low, high = prior.subhalo_range
    for _ in range(int(rng.integers(0, prior.subhalos_max + 1))):
        # Density as b^-2: the mass function dN/dM ~ M^-1.9 with M ~ b * t ~ b^1.5,
        # somewhat flattened.
        b = host.theta_E / (1 / low - rng.uniform() * (1 / low - 1 / high))
        radius = 3 * host.theta_E * np.sqrt(rng.uniform())
        angle = rng.uniform(0, 2 * np.pi)
        halos.append(
            Subhalo(
                theta_E=float(b),
                truncation=float(np.sqrt(b * host.theta_E)),
                center_x=float(host.center_x + radius * np.cos(angle)),
                center_y=float(host.center_y + radius * np.sin(angle)),
            )
        )
    return tuple(halos)


def draw_lens(
    rng: np.random.Generator,
    *,
    theta_E: float,
    pixel_scale: float,
    prior: LensPrior | None = None,
) -> Lens:
    """Draws one lens of a given Einstein radius.

    Arguments:
        rng: Source of random numbers; the result depends on its state only.
        theta_E: Einstein radius of the ellipsoid [arcsec].
        pixel_scale: Side of a pixel [arcsec], for the offset of the centre.
        prior: The population.

    Returns:
        The lens.
    """
    prior = prior or LensPrior()
    slope = float(np.clip(rng.normal(prior.slope_mean, prior.slope_std), 1.6, 2.5))
    center = rng.uniform(-prior.center_range, prior.center_range, 2) * pixel_scale
    host = Ellipsoid(
        theta_E=theta_E,
        gamma=slope,
        q=float(rng.uniform(*prior.q_range)),
        phi=float(rng.uniform(0, np.pi)),
        center_x=float(center[0]),
        center_y=float(center[1]),
    )
    shear = min(float(rng.rayleigh(prior.shear_scale)), prior.shear_max)
    angle = rng.uniform(0, 2 * np.pi)
    multipoles = tuple(
        Multipole(
            m=m,
            amplitude=float(np.clip(rng.normal(), -3, 3)) * prior.multipole_std,
            phi=float(rng.uniform(0, 2 * np.pi / m)),
        )
        for m in (3, 4)
    )
    return Lens(
        ellipsoid=host,
        gamma1=shear * float(np.cos(angle)),
        gamma2=shear * float(np.sin(angle)),
        multipoles=multipoles,
        subhalos=_subhalos(rng, prior, host),
    )
