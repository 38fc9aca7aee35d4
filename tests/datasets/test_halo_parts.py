"""The parts of the halo model: numbers of haloes, stars, dark matter, layers, clumps, fields."""

from dataclasses import dataclass

import numpy as np
import pytest
import torch
from scipy.integrate import quad, trapezoid
from scipy.optimize import brentq
from scipy.special import gamma

from lensrim.datasets.halo_model.clumps import Clumps, join, truncated_mass
from lensrim.datasets.halo_model.dark_halo import RADIUS, DarkProfile, NFWHalo, contract, project
from lensrim.datasets.halo_model.layers import Layers, Wave
from lensrim.datasets.halo_model.line_of_sight import draw_line_of_sight
from lensrim.datasets.halo_model.random_fields import draw_field
from lensrim.datasets.halo_model.slopes import dispersion2, measure_slopes
from lensrim.datasets.halo_model.stars import Stars
from lensrim.datasets.halo_model.statistics import (
    concentration,
    mass_function,
    transfer,
)
from lensrim.datasets.halo_model.subhalos import (
    SubhaloHost,
    SubhaloPrior,
    column,
    draw_subhalos,
    number_density,
    tidal_radius,
)
from lensrim.grid import PixelGrid
from lensrim.lensing.cosmology import distance, find_cosmology, lens_scales
from lensrim.lensing.mass import NFW, SIE, TNFW, SersicMass, pixel_average

HALO = NFWHalo(mass=1.3e13, r_200=440.0, concentration=6.3)
GALAXY = Stars(mass=2.9e11, R_e=7.0, n=4.0)


# How many haloes ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("z", "mass", "density", "tolerance"),
    [
        # Sheth & Tormen's function for Planck 2018 by the code colossus 1.3 (Diemer 2018, ApJS
        # 239, 35), dn/dlnM in 1 / Mpc^3; its spectrum has the wiggles
        (0.0, 1e8, 6.293, 0.01),
        (0.0, 1e10, 0.10172, 0.01),
        (0.0, 1e12, 1.7385e-3, 0.02),
        (0.0, 1e13, 2.1449e-4, 0.02),
        (1.0, 1e8, 8.0702, 0.01),
        (1.0, 1e12, 1.7275e-3, 0.03),
        (2.0, 1e10, 0.13111, 0.02),
    ],
)
def test_mass_function_is_that_of_another_code(z, mass, density, tolerance) -> None:
    found = mass_function("Planck18").number_density(mass, z)
    assert found == pytest.approx(density, rel=tolerance)


def test_mass_in_haloes_is_less_than_all_matter_and_most_of_it() -> None:
    function = mass_function("Planck18")
    log_mass = np.linspace(np.log(1e5), np.log(1e16), 400)
    in_haloes = function.number_density(np.exp(log_mass), 0.0) * np.exp(log_mass)
    share = in_haloes.sum() * np.diff(log_mass)[0] / function.density
    assert 0.6 < share < 1


def test_transfer_function_keeps_large_scales_and_has_cold_dark_matters_slope() -> None:
    at = transfer(np.array([1e-6, 1e4, 1e5]), h=0.68, omega_m=0.31, omega_b=0.049)
    assert at[0] == pytest.approx(1, abs=1e-4)
    slope = np.log10(at[2] / at[1])  # of ln(k) / k^2
    assert -2 < slope < -1.88


@pytest.mark.parametrize(
    ("z", "mass", "c"),
    [(0.0, 1e10, 13.2), (0.0, 1e13, 6.28), (0.5, 1e12, 6.52), (1.0, 1e13, 4.19)],
)
def test_concentrations_are_near_those_of_another_relation(z, mass, c) -> None:
    # Diemer & Joyce 2019, ApJ 871, 168, by colossus
    assert concentration(mass, z, h=0.6766) == pytest.approx(c, rel=0.12)


# Stars -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("n", [2.5, 4.0, 6.0])
def test_stars_hold_their_mass_in_projection_and_in_space(n: float) -> None:
    stars = Stars(1e11, 5.0, n)
    assert stars.projected(np.array(5.0)) == pytest.approx(5e10)
    assert stars.within(np.array(1e6)) == pytest.approx(1e11, rel=1e-3)
    ring = quad(lambda r: 2 * np.pi * r * stars.surface(np.array(r)), 1, 20)[0]
    assert ring == pytest.approx(np.diff(stars.projected(np.array([1.0, 20.0])))[0], rel=1e-6)
    shell = quad(lambda r: 4 * np.pi * r**2 * stars.density(np.array(r)), 1, 20)[0]
    assert shell == pytest.approx(np.diff(stars.within(np.array([1.0, 20.0])))[0], rel=1e-6)


def test_density_of_the_stars_projects_onto_their_surface_density() -> None:
    x = RADIUS / GALAXY.R_e
    seen = (x > 0.01) & (x < 20)
    found, wanted = project(GALAXY.density(RADIUS)), GALAXY.surface(RADIUS)
    np.testing.assert_allclose(found[seen], wanted[seen], rtol=0.04)


# Dark matter -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("stars", "nu"), [(Stars(0.0, 5.0), 1.0), (GALAXY, 0.0)], ids=["no stars", "no contraction"]
)
def test_halo_that_nothing_draws_in_is_the_closed_form(stars: Stars, nu: float) -> None:
    found, r_s = contract(HALO, stars, nu), HALO.r_200 / HALO.concentration
    c = HALO.concentration
    rho_s = HALO.mass / (4 * np.pi * r_s**3 * (np.log1p(c) - c / (1 + c)))
    rho_s *= 1 - stars.mass / HALO.mass
    r = torch.from_numpy(RADIUS[None])
    surface = NFW(rho_s * r_s, r_s).convergence(r, torch.zeros_like(r))[0].numpy()
    mean = NFW(rho_s * r_s, r_s).deflection(r, torch.zeros_like(r))[0][0].numpy() / RADIUS
    inner = RADIUS < 1000
    np.testing.assert_allclose(found.surface[inner], surface[inner], rtol=2e-4)
    disc = inner & (RADIUS > 0.1)
    mass = np.pi * RADIUS**2 * mean
    np.testing.assert_allclose(found.projected[disc], mass[disc], rtol=1e-3)
    density = rho_s / (RADIUS / r_s * (1 + RADIUS / r_s) ** 2)
    np.testing.assert_allclose(found.density, density, rtol=1e-5)


@pytest.mark.parametrize("orbits", [(1.0, 1.0), (0.85, 0.8)], ids=["circular", "Gnedin"])
def test_full_contraction_keeps_the_adiabatic_invariant(orbits: tuple[float, float]) -> None:
    A, w = orbits
    found = contract(HALO, GALAXY, 1.0, A=A, w=w)
    share = GALAXY.mass / HALO.mass

    def mean(r: float) -> float:
        return A * HALO.r_200 * (r / HALO.r_200) ** w

    for start in (3.0, 10.0, 40.0):
        before = float(HALO.within(np.array(mean(start))))

        def excess(r: float, start=start, before=before) -> float:
            now = float(GALAXY.within(np.array(mean(r)))) + (1 - share) * before
            return r * now - start * before

        end = brentq(excess, 1e-3 * start, 2 * start)
        within = np.exp(np.interp(np.log(end), np.log(RADIUS), np.log(found.within)))
        assert within == pytest.approx((1 - share) * float(HALO.within(np.array(start))), rel=2e-3)


def test_dark_mass_in_the_middle_grows_with_the_strength() -> None:
    middle = [
        np.interp(5.0, RADIUS, contract(HALO, GALAXY, nu).within) for nu in (-0.5, 0, 0.5, 1)
    ]
    assert np.all(np.diff(middle) > 0)


# Slopes ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("slope", [1.6, 2.0, 2.3])
def test_all_slopes_of_a_power_law_are_its_own(slope: float) -> None:
    density = 1e8 * RADIUS**-slope
    within = 4 * np.pi * density * RADIUS**3 / (3 - slope)
    surface = 1e8 * RADIUS ** (1 - slope) * np.sqrt(np.pi)
    surface = surface * gamma((slope - 1) / 2) / gamma(slope / 2)
    projected = 2 * np.pi * surface * RADIUS**2 / (3 - slope)
    dark = DarkProfile(density, within, surface, projected)
    found = measure_slopes(
        Stars(1.0, 6.0), dark, radius=4.2, surface=surface, projected=projected, aperture=3.0
    )
    for value in (found.measured, found.weighted, found.local, found.lensing):
        assert value == pytest.approx(slope, abs=2e-3)


@pytest.mark.parametrize("beta", [-0.3, 0.0, 0.4])
def test_dispersion_of_all_stars_in_an_isothermal_halo_is_that_of_the_virial(beta: float) -> None:
    speed2 = 300.0**2
    mass = (speed2 * RADIUS / 4.300917e-6)[None]
    found = dispersion2(GALAXY, mass, 2e4, beta=beta)[0]
    assert found == pytest.approx(speed2 / 3, rel=5e-3)


def test_radial_orbits_raise_the_dispersion_in_the_middle() -> None:
    mass = (300.0**2 * RADIUS / 4.300917e-6)[None]
    found = [dispersion2(GALAXY, mass, 1.0, beta=beta)[0] for beta in (-0.3, 0.0, 0.3)]
    assert found[0] < found[1] < found[2]


# Layers ------------------------------------------------------------------------------------------

R = np.geomspace(1e-4, 100, 500)


def _constant(density, e: complex = 0j, waves: tuple[Wave, ...] = ()) -> Layers:
    return Layers(R, density, np.array([1.0]), np.array([e.real]), np.array([e.imag]), waves)


@pytest.mark.parametrize(
    "grid",
    [PixelGrid((61, 84), 0.05), PixelGrid((60, 60), 0.1, (0.013, -0.24))],
    ids=["odd and even", "off the centre"],
)
def test_layers_of_an_isothermal_lens_have_its_pixel_averages(grid: PixelGrid) -> None:
    e = 0.2 * np.exp(0.8j)
    found = _constant(0.6 / R, e).kappa(grid)
    wanted = pixel_average(SIE(1.2, e.real, e.imag), grid).numpy()
    # 1/r diverges, as stars and haloes do not: the pixels that hold it are the worst
    np.testing.assert_allclose(found, wanted, rtol=1e-2)
    x, y = grid.from_index(np.arange(grid.shape[1]), np.arange(grid.shape[0])[:, None])
    away = np.hypot(x, y) > 2 * grid.spacing
    np.testing.assert_allclose(found[away], wanted[away], rtol=5e-4)


def test_layers_of_stars_have_the_pixel_averages_and_the_mass_of_a_sersic_profile() -> None:
    grid, stars = PixelGrid((50, 50), 0.06), Stars(1.0, 1.5, 4.0)
    found = _constant(stars.surface(R), 0.15 + 0j).kappa(grid)
    mass = SersicMass(float(stars.surface(np.array(1.5))), 1.5, 4.0, 0.15, 0.0)
    np.testing.assert_allclose(found, pixel_average(mass, grid).numpy(), rtol=2e-3)
    round_one = _constant(stars.surface(R)).kappa(PixelGrid((101, 101), 0.06))
    x, y = PixelGrid((101, 101), 0.06).coordinates(dtype=torch.float64)
    inside = (torch.hypot(x, y) < 2.5).numpy()
    radius = np.sqrt(inside.sum() * 0.06**2 / np.pi)
    total = round_one[inside].sum() * 0.06**2
    assert total == pytest.approx(float(stars.projected(np.array(radius))), rel=1e-3)


def _angle(layers: Layers, radius: float) -> float:
    """Position angle of a ring, from where it is brightest."""
    phi = np.linspace(0, 2 * np.pi, 720, endpoint=False)
    ring = layers.convergence(radius * np.cos(phi), radius * np.sin(phi))
    return float(np.angle((ring * np.exp(2j * phi)).sum()) / 2)


def test_layers_twist_from_one_knot_to_the_next() -> None:
    angles, knots = np.array([0.2, 0.9]), np.array([0.3, 3.0])
    e = 0.15 * np.exp(2j * angles)
    layers = Layers(R, 1 / R, knots, e.real, e.imag)
    found = [_angle(layers, radius) for radius in (0.1, 0.3, 0.95, 3.0, 8.0)]
    np.testing.assert_allclose(np.array(found)[[0, 1, 3, 4]], angles[[0, 0, 1, 1]], atol=1e-3)
    assert found[2] == pytest.approx(0.55, abs=0.02)


@pytest.mark.parametrize("m", [3, 4])
def test_wave_bends_the_layers_by_its_amplitude(m: int) -> None:
    layers = _constant(1 / R, waves=(Wave(m, 0.02, 0.3),))
    phi = np.linspace(0, 2 * np.pi, 360, endpoint=False)
    contour = 1 / (1 - 0.02 * np.cos(m * (phi - 0.3)))  # on which R is 1
    level = layers.convergence(contour * np.cos(phi), contour * np.sin(phi))
    np.testing.assert_allclose(level, 1.0, rtol=1e-6)
    assert contour[np.argmax(contour)] == pytest.approx(1.02, abs=1e-3)


# Clumps ------------------------------------------------------------------------------------------


def _clump(mass=0.3, r_s=0.4, r_t=0.8, x=0.11, y=-0.07) -> Clumps:
    return Clumps(*(np.array([float(v)]) for v in (mass, r_s, r_t, x, y)))


@pytest.mark.parametrize("tau", [0.1, 0.6, 2.0, 12.0, 50.0])
def test_clump_has_the_mass_of_a_truncated_halo_in_every_aperture(tau: float) -> None:
    r_s = 0.5 / max(tau, 1)
    grid = PixelGrid((401, 401), 0.02)
    kappa = _clump(1.0, r_s, tau * r_s, 0.0, 0.0).kappa(grid)
    x, y = grid.coordinates(dtype=torch.float64)
    r = torch.hypot(x, y).numpy()
    one = TNFW(1.0, r_s, tau * r_s)
    for aperture in (0.1, 0.3, 1.0, 3.0):
        inside = r < aperture
        radius = float(np.sqrt(inside.sum() * grid.spacing**2 / np.pi))
        at = torch.tensor([[radius]], dtype=torch.float64)
        wanted = np.pi * radius * one.deflection(at, torch.zeros_like(at))[0].item()
        wanted /= float(one.total_mass())
        assert kappa[inside].sum() * grid.spacing**2 == pytest.approx(wanted, abs=0.008)


def test_clump_follows_the_profile_on_pixels() -> None:
    grid, clump = PixelGrid((80, 80), 0.05), _clump()
    one = TNFW(1.0, 0.4, 0.8)
    wanted = pixel_average(
        TNFW(0.3 / float(one.total_mass()), 0.4, 0.8, 0.11, -0.07), grid
    ).numpy()
    x, y = (c.numpy() for c in grid.coordinates(dtype=torch.float64))
    near = np.hypot(x - 0.11, y + 0.07)
    seen = (near > 0.15) & (near < 1.6)
    np.testing.assert_allclose(clump.kappa(grid)[seen], wanted[seen], rtol=0.04)


def test_clumps_add_and_lose_no_mass() -> None:
    rng, n = np.random.default_rng(0), 50
    many = Clumps(
        rng.uniform(0.01, 0.1, n),
        10 ** rng.uniform(-3, -0.7, n),
        10 ** rng.uniform(-2.5, -0.5, n),
        *rng.uniform(-1, 1, (2, n)),
    )
    grid = PixelGrid((500, 500), 0.06)  # ten times as wide as they are
    assert many.kappa(grid).sum() * 0.06**2 == pytest.approx(many.mass.sum(), rel=2e-4)
    both = join([many, _clump()]).kappa(grid)
    np.testing.assert_allclose(both, many.kappa(grid) + _clump().kappa(grid), atol=1e-9)
    nothing = Clumps(*np.zeros((5, 0)))
    assert not nothing.kappa(grid).any()


def test_truncated_mass_is_that_of_the_profile() -> None:
    for tau in (0.2, 1.0, 30.0):
        wanted = float(TNFW(1.0, 1.0, tau).total_mass()) / (4 * np.pi)
        assert truncated_mass(np.array(tau)) == pytest.approx(wanted, rel=1e-5)


# Random fields -----------------------------------------------------------------------------------


@pytest.mark.parametrize("index", [2.0, 3.3])
def test_random_field_has_its_scatter_and_its_spectrum(index: float) -> None:
    rng, grid = np.random.default_rng(1), PixelGrid((128, 128), 0.05)
    maps = [
        draw_field(rng, rms=0.01, index=index, wavelengths=(0.2, 3.2)).kappa(grid)
        for _ in range(24)
    ]
    assert np.std(maps) == pytest.approx(0.01, rel=0.05)
    power = np.mean([abs(np.fft.fft2(m)) ** 2 for m in maps], axis=0)
    k = np.hypot(*np.meshgrid(*[2 * np.pi * np.fft.fftfreq(128, 0.05)] * 2))
    ratio = np.log(power[(k > 4) & (k < 5)].mean() / power[(k > 16) & (k < 20)].mean()) / np.log(4)
    assert ratio == pytest.approx(index, abs=0.35)


def test_random_field_is_averaged_over_pixels_exactly() -> None:
    field = draw_field(np.random.default_rng(2), rms=1.0, index=2.5, wavelengths=(0.1, 2.0))
    fine = field.kappa(PixelGrid((33, 21), 0.02)).reshape(11, 3, 7, 3).mean((1, 3))
    np.testing.assert_allclose(field.kappa(PixelGrid((11, 7), 0.06)), fine, atol=1e-10)


# Along the line of sight -------------------------------------------------------------------------


def test_line_of_sight_holds_as_many_haloes_as_the_mass_function_says() -> None:
    model, function = find_cosmology("Planck18"), mass_function("Planck18")
    reach, mass = 10.0, (1e9, 1e10)
    log_mass = np.linspace(*np.log(mass), 60)

    def per_redshift(z: float) -> float:
        density = function.number_density(np.exp(log_mass), z)
        volume = float(model.differential_comoving_volume(z).to_value("Mpc3 / sr"))
        return float(density.mean()) * (log_mass[-1] - log_mass[0]) * volume

    area = np.pi * (reach * np.pi / 648_000) ** 2
    z = np.linspace(1e-3, 1.5, 200)
    expected = area * float(trapezoid([per_redshift(at) for at in z], z))
    rng = np.random.default_rng(3)
    drawn = [
        draw_line_of_sight(rng, z_lens=0.5, z_source=1.5, reach=reach, mass=mass)
        for _ in range(20)
    ]
    found = np.mean([len(d.clumps) for d in drawn])
    assert found == pytest.approx(expected, abs=4 * np.sqrt(expected / 20) + 0.01 * expected)
    radius = np.concatenate([np.hypot(d.clumps.center_x, d.clumps.center_y) for d in drawn])
    assert radius.max() <= reach
    assert np.mean(radius < reach / 2) == pytest.approx(0.25, abs=0.03)


def test_mean_sheet_is_what_the_haloes_bring() -> None:
    rng, reach = np.random.default_rng(4), 8.0
    drawn = [
        draw_line_of_sight(rng, z_lens=0.3, z_source=0.8, reach=reach, mass=(1e8, 1e9))
        for _ in range(60)
    ]
    brought = np.array([d.clumps.mass.sum() for d in drawn]) / (np.pi * reach**2)
    error = brought.std() / np.sqrt(len(brought))
    assert drawn[0].sheet == pytest.approx(brought.mean(), abs=3.5 * error)
    assert error < 0.05 * brought.mean()


def test_haloes_off_the_lens_plane_count_by_the_lever_they_have() -> None:
    rng, model, mass = np.random.default_rng(5), find_cosmology("Planck18"), (1e8, 1.02e8)
    found = draw_line_of_sight(
        rng, z_lens=0.5, z_source=1.5, reach=150.0, mass=mass, scatter=0.0, cosmology=model
    )

    def wanted(z: float) -> float:
        """Effective mass [arcsec²] of a halo of 1.01e8 M_sun."""
        near, far = min(z, 0.5), max(z, 0.5)
        between = distance(model, near, far) * distance(model, 0, 1.5)
        beta = between / (distance(model, 0, far) * distance(model, near, 1.5))
        c = float(concentration(1.01e8, z, h=float(model.h)))
        beyond = float(truncated_mass(np.array(c))) / (np.log1p(c) - c / (1 + c))
        return (1 - beta) * beyond * 1.01e8 / lens_scales(z, 1.5).sigma_critical

    for z in (0.2, 0.35, 0.5, 0.8, 1.2):
        here = abs(found.redshift - z) < 0.03
        assert np.count_nonzero(here) > 5
        assert np.mean(found.clumps.mass[here]) == pytest.approx(wanted(z), rel=0.07)
    ends = (found.redshift < 0.02) | (found.redshift > 1.48)
    assert found.clumps.mass[ends].max() < 0.1 * wanted(0.5)


# Subhaloes ---------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Host:
    """A halo of 1e13 M_sun, isothermal: M = 1e11 r."""

    made = SubhaloHost(r_200=400.0, within=1e11 * RADIUS, critical=140.0, redshift=0.2, h=0.68)


def _draw(rng: np.random.Generator, **other) -> Clumps:
    options = {"prior": SubhaloPrior(), "surface": 4e6, "radius": 5.0, "reach": 40.0}
    return draw_subhalos(rng, _Host.made, **{**options, **other}, unit=3.4, sigma_critical=2e10)


def test_subhaloes_are_as_many_and_as_heavy_as_asked_for() -> None:
    rng, prior = np.random.default_rng(6), SubhaloPrior()
    drawn = [_draw(rng) for _ in range(40)]
    radius = [np.hypot(d.center_x, d.center_y) * 3.4 for d in drawn]
    rings = [(0.0, 20.0), (20.0, 40.0)]
    for low, high in rings:
        at = np.linspace(low, high, 50)
        profile = column(at, 400.0) / float(column(np.array(5.0), 400.0))
        mean = 4e6 * np.average(profile, weights=at)
        area = np.pi * (high**2 - low**2)
        masses = np.array(
            [
                d.mass[(r >= low) & (r < high)].sum() * 2e10
                for d, r in zip(drawn, radius, strict=True)
            ]
        )
        numbers = [np.count_nonzero((r >= low) & (r < high)) for r in radius]
        expected = mean * area / prior.mean_mass()
        assert np.mean(numbers) == pytest.approx(expected, abs=4 * np.sqrt(expected / 40))
        error = masses.std() / np.sqrt(40)
        assert masses.mean() == pytest.approx(mean * area, abs=3.5 * error)


def test_masses_of_subhaloes_have_the_slope() -> None:
    masses = SubhaloPrior(mass=(1e7, 1e12)).draw_masses(np.random.default_rng(7), 40_000)
    assert masses.min() >= 1e7 * (1 - 1e-12)
    # the best power of an (almost) endless one
    assert 1 + 1 / np.log(masses / 1e7).mean() == pytest.approx(1.9, abs=0.02)
    drawn = SubhaloPrior().draw_masses(np.random.default_rng(8), 400_000)
    assert drawn.mean() == pytest.approx(SubhaloPrior().mean_mass(), rel=0.03)


def test_tides_reach_where_the_mean_densities_are_equal() -> None:
    r = np.array([5.0, 50.0, 300.0])
    found = tidal_radius(np.array([1e8, 1e9, 1e9]), r, _Host.made)
    within = np.array([1e8, 1e9, 1e9]) / found**3
    np.testing.assert_allclose(within, 1e11 * r / r**3, rtol=1e-3)


def test_what_is_left_of_subhaloes_is_denser_nearer_to_the_middle() -> None:
    found = _draw(np.random.default_rng(9), surface=4e7)
    assert np.all(found.r_t > 0) and np.all(found.r_s > 0)
    density = found.mass / found.r_t**3
    near = np.hypot(found.center_x, found.center_y) * 3.4 < 10
    assert np.median(density[near]) > np.median(density[~near])


def test_number_density_ends_and_is_steepest_outside() -> None:
    r = np.array([1.0, 100.0, 324.0, 799.0, 801.0])
    found = number_density(r, 400.0)
    assert np.all(np.diff(found) < 0) and found[-1] == 0
    step = number_density(np.array([323.9, 324.1]), 400.0)
    assert np.log(step[1] / step[0]) / np.log(324.1 / 323.9) == pytest.approx(-2, abs=1e-3)
