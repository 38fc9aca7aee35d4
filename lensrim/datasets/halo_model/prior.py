"""The population of the halo model: every distribution it draws from."""

from dataclasses import dataclass

import numpy as np

from ...errors import InputError
from ..ranges import check_ranges, check_shares, check_sizes
from .subhalos import SubhaloPrior


@dataclass(frozen=True)
class HaloPrior:
    r"""Creates a population of lenses made of stars, a dark halo and what is in it.

    Pairs (mean, std) are normal distributions; ranges are uniform unless said. Radii in units of
    the Einstein radius are those of the smooth lens, on the intermediate axis. Masses of haloes
    are within 200 times the critical density; masses of stars are what they weigh, and those that
    galaxies of the Chabrier mass function have are 0.25 dex below.

    The defaults are like the lenses of SLACS. The masses and radii of the stars and the anisotropy
    of their orbits were moved, within what is known of them, until the slopes and dispersions were
    those published; the strength of the contraction is none on average, as Dutton & Treu and
    Shajib et al. find. Of 1000 lenses, mean and scatter beside those of the papers:

    ================================== ============= ==================================
    slope from lensing and dynamics    2.062 ± 0.115 2.078 ± 0.16 (Auger et al. 2010)
    slope, mean by mass within theta_E 2.103 ± 0.165 (the same)
    slope from lensing alone           2.069 ± 0.181 2.08 ± 0.13 (Shajib et al. 2021)
    Einstein radius [kpc]              4.31 ± 1.26   4.2 ± 1.6 (Koopmans et al. 2006)
    velocity dispersion [km/s]         260 ± 41      263 ± 44 (Koopmans et al. 2006)
    dark fraction within theta_E       0.263 ± 0.105 0.25 ± 0.22 (Koopmans et al. 2006)
    axis ratio of the mass             0.777 ± 0.104 0.78 ± 0.12 (Koopmans et al. 2006)
    its ratio to that of the stars     1.03 ± 0.09   0.99 ± 0.11 (Koopmans et al. 2006)
    angle between mass and stars [deg] 0.4 ± 10.2    0 ± 10 (Koopmans et al. 2006)
    external shear                     0.050 ± 0.026 mean below 0.035 (Koopmans et al. 2006)
    ================================== ============= ==================================

    The first slope scatters too little, the third too much, and the shear is that of the analytic
    lenses (:class:`~.halos.LensPrior`), more than the limit. (The published scatter of the dark
    fraction has errors of measurement in it.) The shares of subhaloes and the random field are
    assumptions within published limits, not results.

    Arguments:
        z_lens, z_source: Ranges of the redshifts, used where none are given.
        log_halo_mass: Logarithm (base 10) of the halo's mass [M_sun].
        concentration_scatter: Standard deviation of the logarithm (base 10) of the concentration
            about the relation of Dutton & Macciò 2014.
        log_stellar_mass: Logarithm of the mass of the stars [M_sun] in a halo of 1e13 M_sun, and
            its scatter.
        stellar_slope: How it grows with the logarithm of the halo's mass.
        log_R_e: Logarithm of the effective radius [kpc] of 10^11.5 M_sun of stars, and its
            scatter.
        R_e_slope: How it grows with the logarithm of the mass of the stars.
        n_sersic: Sersic index, cut at 2 and 7.
        contraction: Power nu with which the stars draw the dark matter in; see
            :mod:`~.dark_halo`.
        anisotropy: Anisotropy of the stars' orbits, cut at -0.5 and 0.6. It is in no map, but in
            the slope that is measured.
        star_axes: Middle and shortest axis of the stars relative to the longest, each (mean, std).
        halo_axes: The same for the dark matter in the middle, and far out.
        misalignment: Standard deviation of the rotation of the halo's axes against those of the
            stars about each of three axes [rad].
        twist: Standard deviation of the change of the stars' position angle from 0.1 to 3
            effective radii, beyond that of a projection [rad].
        wave_3, wave_4: Standard deviations of the multipoles of the stars' layers, of any angle
            (m = 3) and along the axes, boxy or disky (m = 4). Those of the dark matter are half
            as large.
        subhalos: Masses and concentrations of the subhaloes.
        log_subhalo_share: Logarithm (base 10) of the share of the dark matter at the Einstein
            radius that is in subhaloes of these masses.
        line_of_sight: Range of the masses of haloes along the line of sight [M_sun]; None for no
            such haloes.
        residual: Range of the standard deviation of the random field of the convergence
            (log-uniform); None for no field.
        residual_index: Range of the power n of its spectrum k^-n.
        residual_wavelengths: Shortest and longest wavelength [Einstein radii].
        shear_scale, shear_max: Rayleigh distribution of the external shear's modulus, and its cut.
        theta_E: Range of the Einstein radius [arcsec] to which lenses are selected.
        cross_section: Whether a lens is as likely as the area within its Einstein radius is large,
            as in a survey of sources.
        reach: Radius of the disc in which there are small haloes [Einstein radii].

    Raises:
        InputError: If a number is impossible.

    References:
        Auger et al. 2010, ApJ 724, 511, and Gavazzi et al. 2007, ApJ 667, 176 (masses); Dutton &
        Macciò 2014, MNRAS 441, 3359; Dutton & Treu 2014, MNRAS 438, 3594; Koopmans et al. 2006,
        ApJ 649, 599; Koopmans et al. 2009, ApJ 703, L51 (anisotropy); Shajib et al. 2021, MNRAS
        503, 2380; Shen et al. 2003, MNRAS 343, 978 (radii); Kravtsov et al.
        2018, AstL 44, 8 (stars in haloes); Hao et al. 2006, MNRAS 370, 1339 (multipoles); Vegetti
        et al. 2014, MNRAS 442, 2017, and Hsueh et al. 2020, MNRAS 492, 3047 (shares of
        subhaloes).
    """

    z_lens: tuple[float, float] = (0.1, 0.35)
    z_source: tuple[float, float] = (0.4, 0.9)
    log_halo_mass: tuple[float, float] = (13.04, 0.25)
    concentration_scatter: float = 0.11
    log_stellar_mass: tuple[float, float] = (11.52, 0.17)
    stellar_slope: float = 0.45
    log_R_e: tuple[float, float] = (0.73, 0.15)
    R_e_slope: float = 0.56
    n_sersic: tuple[float, float] = (4.0, 0.8)
    contraction: tuple[float, float] = (0.0, 0.28)
    anisotropy: tuple[float, float] = (0.22, 0.3)
    star_axes: tuple[tuple[float, float], tuple[float, float]] = ((0.9, 0.07), (0.62, 0.12))
    halo_axes: tuple[tuple[tuple[float, float], tuple[float, float]], ...] = (
        ((0.88, 0.07), (0.66, 0.1)),
        ((0.8, 0.1), (0.6, 0.1)),
    )
    misalignment: float = 0.15
    twist: float = 0.1
    wave_3: float = 0.004
    wave_4: float = 0.01
    subhalos: SubhaloPrior = SubhaloPrior()
    log_subhalo_share: tuple[float, float] = (-2.2, 0.3)
    line_of_sight: tuple[float, float] | None = (1e8, 1e10)
    residual: tuple[float, float] | None = (5e-4, 5e-3)
    residual_index: tuple[float, float] = (2.0, 4.0)
    residual_wavelengths: tuple[float, float] = (0.15, 3.0)
    shear_scale: float = 0.04
    shear_max: float = 0.13
    theta_E: tuple[float, float] = (0.65, 1.8)
    cross_section: bool = True
    reach: float = 9.0

    def __post_init__(self) -> None:
        check_ranges(self, "z_lens", "z_source", "line_of_sight", "residual", "theta_E")
        check_ranges(self, "residual_wavelengths", "residual_index")
        check_sizes(self, "concentration_scatter", "misalignment", "twist", "wave_3", "wave_4")
        check_sizes(self, "shear_scale", "shear_max", "reach")
        check_shares(self, "shear_max", "wave_3", "wave_4")
        if self.z_lens[1] >= self.z_source[0]:
            raise InputError(
                f"z_source: must begin beyond the last z_lens, found {list(self.z_source)} and "
                f"z_lens {list(self.z_lens)}; change one of them"
            )
        pairs = [
            "log_halo_mass",
            "log_stellar_mass",
            "log_R_e",
            "n_sersic",
            "contraction",
            "anisotropy",
        ]
        for name in [*pairs, "log_subhalo_share"]:
            mean, std = getattr(self, name)
            if not (np.isfinite(mean) and 0 <= std < np.inf):
                raise InputError(
                    f"{name}: must be a mean and a standard deviation of 0 or more, found "
                    f"{[mean, std]}; change it"
                )
