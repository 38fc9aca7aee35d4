"""Lenses of the halo model: what they are made of, and how they are distributed."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from lensrim import plotting
from lensrim.datasets.halo_model.clumps import Clumps
from lensrim.datasets.halo_model.dark_halo import RADIUS
from lensrim.datasets.halo_model.host import Host, draw_host, ellipticity, projected_shape
from lensrim.datasets.halo_model.model import Halo, draw_halo, halo_map
from lensrim.datasets.halo_model.prior import HaloPrior
from lensrim.datasets.halo_model.subhalos import column
from lensrim.datasets.halos import LensPrior, draw_lens
from lensrim.datasets.hydro.particles import random_rotation
from lensrim.errors import InputError
from lensrim.grid import PixelGrid

SMOOTH = HaloPrior(line_of_sight=None, residual=None, log_subhalo_share=(-9.0, 0.0))
"""A population without anything small."""


@pytest.fixture(scope="module")
def halos() -> list[Halo]:
    rng = np.random.default_rng(0)
    return [draw_halo(rng) for _ in range(6)]


@pytest.fixture(scope="module")
def hosts() -> list[Host]:
    """Smooth lenses of the population, selected as the lenses are."""
    return _hosts(120)


def _hosts(n: int) -> list[Host]:
    rng = np.random.default_rng(1)
    options = {"z_lens": None, "z_source": None, "cosmology": "Planck18"}
    return [draw_host(rng, HaloPrior(), **options) for _ in range(n)]


def _grid(halo: Halo, n: int = 96, reach: float = 4.0) -> PixelGrid:
    return PixelGrid((n, n), 2 * reach * halo.theta_E / n)


# One lens ----------------------------------------------------------------------------------------


def test_lens_depends_on_the_seed_alone(halos: list[Halo]) -> None:
    again = draw_halo(np.random.default_rng(0))
    grid = _grid(halos[0], 24)
    np.testing.assert_array_equal(again.kappa(grid), halos[0].kappa(grid))
    assert (again.gamma1, again.theta_E) == (halos[0].gamma1, halos[0].theta_E)
    assert abs(halos[1].kappa(grid) - halos[0].kappa(grid)).max() > 0.01


def test_map_has_the_einstein_radius_of_the_lens(halos: list[Halo]) -> None:
    for i, halo in enumerate(halos):
        found = halo_map(halo, _grid(halo), name=f"h{i}")
        assert found.theta_E == pytest.approx(halo.theta_E, rel=0.04)
        assert found.halo == f"h{i}" and found.pixel_scale == _grid(halo).spacing
        assert "slope" in found.provenance and "stars" in found.provenance
        assert found.kappa.min() > 0


def test_pixels_are_averages_of_finer_ones(halos: list[Halo]) -> None:
    for halo in halos[:3]:
        coarse = PixelGrid((30, 41), 0.15 * halo.theta_E)
        fine = PixelGrid((120, 164), 0.0375 * halo.theta_E)
        averaged = halo.kappa(fine).reshape(30, 4, 41, 4).mean((1, 3))
        found = halo.kappa(coarse)
        # small haloes are blurred by the cloud of a pixel: their mass is kept, not their peak
        assert found.sum() == pytest.approx(averaged.sum(), rel=2e-4)
        assert np.quantile(abs(found / averaged - 1), 0.98) < 0.01


def test_smooth_lens_is_its_stars_and_its_dark_matter() -> None:
    halo = draw_halo(np.random.default_rng(2), SMOOTH)
    grid = _grid(halo, 120)
    kappa = halo.kappa(grid)
    x, y = (c.numpy() for c in grid.coordinates(dtype=torch.float64))
    inside = np.hypot(x, y) < 2 * halo.theta_E
    radius = np.sqrt(inside.sum() / np.pi) * grid.spacing * halo.scales.kpc_per_arcsec_lens
    at = np.array(radius)
    wanted = halo.host.stars.projected(at) + halo.host.dark_projected(at)
    found = kappa[inside].sum() * grid.spacing**2 * halo.scales.sigma_critical
    # ellipses in a circle: a per cent of the mass is on the other side of the edge
    assert found == pytest.approx(float(wanted), rel=0.02)
    mean = kappa[np.hypot(x, y) < halo.theta_E].mean()
    assert mean == pytest.approx(1, rel=0.03)


def test_no_mass_is_counted_twice() -> None:
    """Over many lenses, what is in small haloes is what the smooth mass lacks."""
    rng, excess, scatter = np.random.default_rng(3), [], []
    prior = HaloPrior(residual=None, log_subhalo_share=(-1.5, 0.0), line_of_sight=(1e8, 1e9))
    for _ in range(40):
        halo = draw_halo(rng, prior)
        sheet = halo.line_of_sight.sheet if halo.line_of_sight else 0.0
        small = halo.subhalos.mass.sum() + halo.line_of_sight.clumps.mass.sum()
        small = small / (np.pi * halo.reach**2) - sheet
        radius = RADIUS / halo.scales.kpc_per_arcsec_lens
        whole = halo.host.dark_surface(RADIUS) / halo.scales.sigma_critical_kpc
        taken = (whole - halo.dark.density) * (radius < halo.reach)
        mean = np.sum(taken * radius**2) * np.log(radius[1] / radius[0])
        mean = 2 * mean / halo.reach**2
        excess.append(small - mean)
        scatter.append(mean)
    error = np.std(excess) / np.sqrt(40)
    assert abs(np.mean(excess)) < 3.5 * error
    assert error < 0.12 * np.mean(scatter)  # or the test could not fail


def test_share_of_subhaloes_is_that_of_the_dark_matter_at_the_einstein_radius(
    halos: list[Halo],
) -> None:
    for halo in halos:
        host = halo.host
        at = np.array([host.radius])
        dark = host.dark_surface(at) / halo.scales.sigma_critical_kpc
        log_radius = np.log(halo.dark.radius * halo.scales.kpc_per_arcsec_lens)
        smooth = np.exp(np.interp(np.log(at), log_radius, np.log(halo.dark.density)))
        assert 1 - smooth / dark == pytest.approx(halo.subhalo_share, abs=2e-4)
        assert float(column(at, host.halo.r_200)[0]) > 0.5


def test_stars_of_a_lens_twist() -> None:
    prior = replace(SMOOTH, twist=0.3)
    rng = np.random.default_rng(4)
    turns = []
    for _ in range(12):
        stars = draw_halo(rng, prior).stars
        e = stars.e1 + 1j * stars.e2
        turns.append(np.angle(e[1] * np.conj(e[0])) / 2)
    assert 0.2 < np.std(turns) < 1.0  # twice the draw, from one knot to the other


def test_grid_may_be_wider_than_where_small_haloes_are(halos: list[Halo]) -> None:
    halo = halos[0]
    wide = halo.kappa(PixelGrid((64, 64), 0.6 * halo.theta_E))
    assert np.isfinite(wide).all() and (wide > 0).all()


# Shapes ------------------------------------------------------------------------------------------


def test_projected_shape_is_that_of_points_in_the_ellipsoid() -> None:
    rng, axes = np.random.default_rng(5), np.array([[1.0, 0.8, 0.5]])
    rotation = random_rotation(rng)
    points = rng.normal(size=(200_000, 3)) * axes[0] / np.prod(axes) ** (1 / 3)
    seen = (points @ rotation.T)[:, :2]
    np.testing.assert_allclose(projected_shape(axes, rotation)[0], np.cov(seen.T), rtol=0.03)


@pytest.mark.parametrize("q", [0.4, 0.9, 1.0])
def test_ellipticity_of_a_matrix_is_that_of_its_axes(q: float) -> None:
    turn = np.array([[np.cos(0.7), -np.sin(0.7)], [np.sin(0.7), np.cos(0.7)]])
    e = ellipticity(turn @ np.diag([1.0, q**2]) @ turn.T)
    assert abs(e) == pytest.approx((1 - q) / (1 + q), abs=1e-9)
    assert q == 1.0 or np.angle(e) == pytest.approx(1.4)


# The population ----------------------------------------------------------------------------------


def _numbers(hosts: list[Host]) -> dict[str, np.ndarray]:
    slopes = [h.slopes() for h in hosts]
    e = np.array([(h.ellipticity(), h.star_ellipticity()) for h in hosts])
    q = (1 - abs(e)) / (1 + abs(e))
    return {
        "slope, lensing and dynamics": np.array([s.measured for s in slopes]),
        "slope, mean within theta_E": np.array([s.weighted for s in slopes]),
        "slope, lensing alone": np.array([s.lensing for s in slopes]),
        "dispersion": np.array([s.sigma for s in slopes]),
        "Einstein radius [kpc]": np.array([h.radius for h in hosts]),
        "dark fraction": np.array([h.dark_fraction for h in hosts]),
        "axis ratio": q[:, 0],
        "axis ratio, mass / stars": q[:, 0] / q[:, 1],
        "angle": np.degrees(np.angle(e[:, 0] * np.conj(e[:, 1])) / 2),
    }


PUBLISHED = [
    # Auger et al. 2010: 2.078 ± 0.027, intrinsic scatter 0.16 ± 0.02
    ("slope, lensing and dynamics", 2.078, 0.05, 0.16, 0.06),
    ("slope, mean within theta_E", 2.078, 0.06, 0.16, 0.04),
    # Shajib et al. 2021: 2.08 ± 0.03, intrinsic scatter 0.13 ± 0.02
    ("slope, lensing alone", 2.08, 0.06, 0.13, 0.08),
    # Koopmans et al. 2006
    ("dispersion", 263, 15, 44, 12),
    ("Einstein radius [kpc]", 4.2, 0.5, 1.6, 0.5),
    ("dark fraction", 0.25, 0.06, 0.22, 0.14),
    ("axis ratio", 0.78, 0.03, 0.12, 0.03),
    ("axis ratio, mass / stars", 0.99, 0.07, 0.11, 0.04),
    ("angle", 0.0, 3.0, 10.0, 4.0),
]


@pytest.fixture(scope="module")
def numbers(hosts: list[Host]) -> dict[str, np.ndarray]:
    return _numbers(hosts)


@pytest.mark.parametrize(
    ("name", "mean", "mean_within", "scatter", "scatter_within"), PUBLISHED, ids=lambda p: str(p)
)
def test_population_is_like_published_lenses(
    numbers: dict[str, np.ndarray],
    name: str,
    mean: float,
    mean_within: float,
    scatter: float,
    scatter_within: float,
) -> None:
    values = numbers[name]
    noise = scatter / np.sqrt(len(values))
    assert values.mean() == pytest.approx(mean, abs=mean_within + 2 * noise)
    assert values.std() == pytest.approx(scatter, abs=scatter_within + 1.5 * noise)


@pytest.mark.slow
def test_population_of_a_thousand_is_like_published_lenses() -> None:
    found = _numbers(_hosts(1000))
    for name, mean, mean_within, scatter, scatter_within in PUBLISHED:
        assert found[name].mean() == pytest.approx(mean, abs=mean_within), name
        assert found[name].std() == pytest.approx(scatter, abs=scatter_within), name


def test_einstein_radii_are_in_the_range_and_weighted_by_their_area() -> None:
    rng = np.random.default_rng(6)
    options = {"z_lens": 0.2, "z_source": 0.6, "cosmology": "Planck18"}
    prior = HaloPrior(theta_E=(0.5, 1.5))
    means = []
    for cross_section in (False, True):
        wanted = replace(prior, cross_section=cross_section)
        theta = [draw_host(rng, wanted, **options).theta_E for _ in range(40)]
        assert min(theta) >= 0.5 and max(theta) <= 1.5
        means.append(np.mean(theta))
    assert means[1] > means[0] + 0.04


def test_external_shear_is_like_that_of_the_analytic_lenses() -> None:
    rng, analytic = np.random.default_rng(7), LensPrior()
    halos = [draw_halo(rng, SMOOTH) for _ in range(40)]
    shear = np.array([complex(h.gamma1, h.gamma2) for h in halos])
    lenses = [draw_lens(rng, theta_E=1.0, pixel_scale=0.05, prior=analytic) for _ in range(400)]
    wanted = np.array([complex(lens.gamma1, lens.gamma2) for lens in lenses])
    assert np.mean(abs(shear)) == pytest.approx(np.mean(abs(wanted)), abs=0.012)
    assert np.std(abs(shear)) == pytest.approx(np.std(abs(wanted)), abs=0.009)
    assert max(abs(shear)) <= analytic.shear_max and abs(np.mean(shear)) < 0.02


# Errors and figures ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"theta_E": (2.0, 1.0)}, r"^theta_E: must be a range"),
        ({"z_lens": (0.3, 0.9)}, r"^z_source: must begin beyond the last z_lens"),
        ({"log_R_e": (0.7, -0.1)}, r"^log_R_e: must be a mean and a standard deviation"),
        ({"twist": -0.1}, r"^twist: must be finite and 0 or more"),
    ],
)
def test_impossible_populations_are_refused(options: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        HaloPrior(**options)


def test_radii_that_no_lens_has_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lensrim.datasets.halo_model.host.TRIES", 20)
    with pytest.raises(InputError, match=r"^theta_E: none of 20 haloes had .* widen the range"):
        draw_halo(np.random.default_rng(8), HaloPrior(theta_E=(30.0, 31.0)))


@pytest.mark.parametrize(("z_lens", "z_source"), [(0.4, None), (0.5, None), (None, 0.3)])
def test_one_redshift_may_be_given(z_lens: float | None, z_source: float | None) -> None:
    """What is drawn beside it is on the right side of it."""
    prior = replace(SMOOTH, theta_E=(0.2, 3.0))
    for seed in range(4):
        options = {"z_lens": z_lens, "z_source": z_source, "cosmology": "Planck18"}
        scales = draw_host(np.random.default_rng(seed), prior, **options).scales
        assert scales.z_lens < scales.z_source
        assert z_lens in (None, scales.z_lens) and z_source in (None, scales.z_source)


def test_a_lens_behind_all_sources_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lensrim.datasets.halo_model.host.TRIES", 20)
    with pytest.raises(InputError, match="all that were drawn had the source in front"):
        draw_halo(np.random.default_rng(8), z_lens=12.0)


def test_redshifts_out_of_order_are_refused() -> None:
    with pytest.raises(InputError, match="0 < z_lens < z_source"):
        draw_halo(np.random.default_rng(9), z_lens=0.9, z_source=0.5)


def test_figures_show_the_population_and_its_maps(halos: list[Halo]) -> None:
    figure = plotting.halo_population(halos)
    texts = [t.get_text() for ax in figure.axes for t in ax.texts]
    assert any("2.078 ± 0.16" in t for t in texts) and any("Koopmans+ 2006" in t for t in texts)
    assert any("mean below 0.035" in t for t in texts)
    maps = [halo_map(h, _grid(h, 32), name=f"halo-{i}") for i, h in enumerate(halos[:3])]
    sheet = plotting.kappa_sheet(maps, heading="Lenses")
    assert sheet.axes[0].get_title("left").startswith("halo-0")
    for few in (halos[:1], halos[:2]):
        bars = plotting.halo_population(few).axes[0].patches
        assert sum(bar.get_height() * bar.get_width() for bar in bars) == pytest.approx(1)
    with pytest.raises(ValueError, match="a population needs lenses"):
        plotting.halo_population([])
    with pytest.raises(ValueError, match="a sheet needs maps"):
        plotting.kappa_sheet([])


def test_empty_line_of_sight_has_no_clumps() -> None:
    halo = draw_halo(np.random.default_rng(10), SMOOTH)
    assert halo.line_of_sight is None and not halo.residual.kappa(_grid(halo, 8)).any()
    assert isinstance(halo.subhalos, Clumps) and len(halo.subhalos) == 0
