"""Convergence of simulated haloes, against profiles whose projection is known in closed form."""

from dataclasses import replace
from functools import partial
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from astropy import constants, units
from astropy.cosmology import Planck18
from astropy.io import fits
from tng import write_halo

from lensrim.datasets.hydro import maps as hydro
from lensrim.datasets.hydro.maps import HaloFolder, kappa_map, project_haloes
from lensrim.datasets.hydro.particles import KINDS, Particles, facing, turned
from lensrim.datasets.hydro.projection import at_theta_E, strengthened
from lensrim.datasets.hydro.smoothing import with_reach
from lensrim.datasets.hydro.tables import read_particle_table
from lensrim.datasets.hydro.toys import Bulge, DarkHalo, ToyHaloes, draw_particles
from lensrim.datasets.splits import split
from lensrim.errors import InputError
from lensrim.grid import PixelGrid
from lensrim.lensing.cosmology import lens_scales
from lensrim.lensing.einstein import effective_theta_E
from lensrim.lensing.mass import Sum, pixel_average
from lensrim.metrics import effective_theta_E as of_metrics

GRID = PixelGrid((64, 80), 0.12)
SCALES = lens_scales(0.5, 2.0)
PARTS = {"dark matter": (DarkHalo(), 30_000), "stars": (Bulge(), 10_000)}
MODEL = Sum([profile.convergence(SCALES) for profile, _ in PARTS.values()])
AXES = (1.5, 1.0, 2 / 3)
view = partial(kappa_map, z_source=2.0)


@pytest.fixture(scope="module")
def halo() -> Particles:
    """A triaxial halo of dark matter and stars, its longest axis along x, its shortest along z."""
    rng = np.random.default_rng(7)
    return with_reach(draw_particles(rng, PARTS, axes=AXES))


@pytest.fixture(scope="module")
def round_halo() -> Particles:
    """The same without the stretch."""
    return with_reach(
        draw_particles(
            np.random.default_rng(8),
            {"dark matter": (DarkHalo(), 40_000), "stars": (Bulge(), 20_000)},
        )
    )


def shot_noise(particles: Particles, inside: np.ndarray) -> float:
    """Relative noise of the mass of some particles."""
    mass = particles.mass[inside]
    return float(np.sqrt((mass**2).sum()) / mass.sum())


def radii(grid: PixelGrid) -> np.ndarray:
    return np.hypot(*(c.numpy() for c in grid.coordinates(dtype=torch.float64)))


def test_the_profile_is_that_of_nfw_and_hernquist(round_halo: Particles) -> None:
    found, truth = view(round_halo, GRID), pixel_average(MODEL, GRID).numpy()
    theta_E = effective_theta_E(truth, GRID)
    place = np.hypot(*round_halo.position[:, :2].T) / SCALES.kpc_per_arcsec_lens / theta_E
    scaled = radii(GRID) / theta_E
    for inner, outer in pairwise([0.2, 0.3, 0.5, 0.8, 1.2, 1.6, 2.0, 2.5]):
        ring, inside = ((inner < r) & (r <= outer) for r in (scaled, place))
        ratio = found.kappa[ring].sum() / truth[ring].sum()
        assert abs(ratio - 1) < 0.01 + 3 * shot_noise(round_halo, inside), (inner, outer)
    assert found.theta_E == pytest.approx(theta_E, rel=0.04)


def test_the_kernel_flattens_the_centre_only(round_halo: Particles) -> None:
    fine = PixelGrid((81, 81), 0.02)
    found, truth = view(round_halo, fine).kappa, pixel_average(MODEL, fine).numpy()
    r = radii(fine)
    assert 0.6 < found[40, 40] / truth[40, 40] < 0.95
    noise = shot_noise(round_halo, np.hypot(*round_halo.position[:, :2].T) < 0.7 * 6.29)
    assert abs(found[r < 0.7].sum() / truth[r < 0.7].sum() - 1) < 0.03 + 3 * noise


@pytest.mark.parametrize(
    ("axis", "stretched"),
    [
        ((0, 0, 1), (AXES[0], AXES[1])),
        ((1, 0, 0), (AXES[2], AXES[1])),
        ((0, 1, 0), (AXES[0], AXES[2])),
    ],
    ids=["z", "x", "y"],
)
def test_a_triaxial_halo_is_seen_along_its_axes(halo: Particles, axis, stretched) -> None:
    found = view(halo, GRID, rotation=facing(axis)).kappa
    x, y = GRID.coordinates(dtype=torch.float64)
    sx, sy = stretched
    truth = (MODEL.convergence(x / sx, y / sy) / (sx * sy)).numpy()
    ring = (radii(GRID) > 0.7) & (radii(GRID) < 3.5)
    along = np.abs(y.numpy()) < np.abs(x.numpy())
    (wide, high), (true_wide, true_high) = (
        (kappa[ring & along].mean(), kappa[ring & ~along].mean()) for kappa in (found, truth)
    )
    assert [wide, high] == pytest.approx([true_wide, true_high], rel=0.04)
    assert abs(true_wide / true_high - 1) > 0.1  # more than a round halo could pass with


@pytest.mark.parametrize("axis", [(1, 0, 0), (3, -1, 2)])
def test_to_project_along_an_axis_is_to_turn_the_particles(halo: Particles, axis) -> None:
    rotation = facing(axis)
    found = view(halo, GRID, rotation=rotation)
    again = view(turned(halo, rotation), GRID)
    np.testing.assert_allclose(found.kappa, again.kappa, rtol=1e-9)
    np.testing.assert_array_equal(found.rotation, rotation)
    assert not np.allclose(found.kappa, view(halo, GRID).kappa, rtol=0.01)


def test_all_of_the_mass_is_in_the_map() -> None:
    rng = np.random.default_rng(1)
    stars = with_reach(draw_particles(rng, {"stars": (Bulge(), 5000)}))
    assert stars.reach is not None
    near = np.linalg.norm(stars.position, axis=1) + 2 * stars.reach < 150
    stars = stars.where(near)
    wide = PixelGrid((512, 500), 0.1)  # 314 kpc across
    found = view(stars, wide).kappa.sum() * SCALES.sigma_critical * wide.spacing**2
    assert found == pytest.approx(stars.mass.sum(), rel=1e-6)


def test_a_known_halo_has_its_known_mass_and_size(tmp_path: Path) -> None:
    """From ckpc/h and 1e10 M_sun/h on disk to arcsec and M_sun, by astropy and by hand."""
    mass, r_s = 4e11, 5.0  # M_sun, kpc
    stars = draw_particles(np.random.default_rng(3), {"stars": (Bulge(mass, r_s), 10_000)})
    write_halo(tmp_path / "h.hdf5", stars, a=1 / 1.5, h=0.6774)
    found = view(HaloFolder(tmp_path).load("h"), GRID)
    D_l, D_s = (Planck18.angular_diameter_distance(z) for z in (0.5, 2.0))
    # of the flat part, the distances along the line of sight subtract
    D_ls = D_s - D_l * 1.5 / 3.0
    critical = constants.c**2 / (4 * np.pi * constants.G) * D_s / (D_l * D_ls)
    pixel = (D_l * (GRID.spacing * units.arcsec).to_value("rad")) ** 2
    heavy = found.kappa * (critical * pixel).to_value("solMass")
    # half of the projected mass of a Hernquist profile is within 1.8153 of its scale radius
    half = (1.8153 * r_s * units.kpc / D_l).to_value("", units.dimensionless_angles())
    arcsec = (half * units.rad).to_value("arcsec")
    assert arcsec == pytest.approx(1.4429, abs=1e-3)
    assert heavy[radii(GRID) < arcsec].sum() == pytest.approx(mass / 2, rel=0.03)
    assert found.z_lens == pytest.approx(0.5)


def test_redshifts_set_the_critical_density_and_the_size(halo: Particles) -> None:
    near, far = view(halo, GRID), view(halo, GRID, z_source=1.0)
    ratio = lens_scales(0.5, 1.0).sigma_critical / SCALES.sigma_critical
    np.testing.assert_allclose(near.kappa, far.kappa * ratio, rtol=1e-12)
    moved = view(halo, GRID, z_lens=0.3, cosmology="WMAP7")
    scales = lens_scales(0.3, 2.0, cosmology="WMAP7")
    size = scales.kpc_per_arcsec_lens / SCALES.kpc_per_arcsec_lens
    there = view(halo, PixelGrid(GRID.shape, GRID.spacing * size))
    np.testing.assert_allclose(
        moved.kappa * scales.sigma_critical_kpc, there.kappa * SCALES.sigma_critical_kpc, rtol=1e-9
    )
    with pytest.raises(InputError, match="0 < z_lens < z_source"):
        view(halo, GRID, z_lens=2.5)


def test_a_frame_off_the_centre_and_its_parts(halo: Particles) -> None:
    whole = view(halo, PixelGrid((60, 60), 0.1)).kappa
    corner = view(halo, PixelGrid((20, 30), 0.1, (1.5, -2.0))).kappa
    np.testing.assert_allclose(corner, whole[:20, 30:], rtol=2e-3)


def test_a_stretched_halo_is_the_same_on_larger_pixels(halo: Particles) -> None:
    plain = view(halo, GRID)
    wide = view(halo, PixelGrid(GRID.shape, GRID.spacing * 1.7), stretch=1.7)
    np.testing.assert_allclose(wide.kappa, plain.kappa, rtol=1e-9)
    assert plain.theta_E is not None
    brought = at_theta_E(plain, 1.7 * plain.theta_E)
    assert brought.pixel_scale == pytest.approx(wide.grid.spacing)
    assert brought.theta_E == pytest.approx(wide.theta_E)
    assert brought.stretch == pytest.approx(1.7)
    assert brought.kappa is plain.kappa and brought.halo == plain.halo == "toy"
    with pytest.raises(ValueError, match=r"stretch must be a positive number, got 0\.0"):
        view(halo, GRID, stretch=0.0)


def test_a_halo_that_is_too_light_has_no_einstein_radius(halo: Particles) -> None:
    light = view(replace(halo, mass=halo.mass / 1000), GRID)
    assert light.theta_E is None
    with pytest.raises(InputError, match=r"toy: the mean .* never reaches 1 .* or use stren"):
        at_theta_E(light, 1.0)
    heavy = strengthened(light, 1000)
    np.testing.assert_allclose(heavy.kappa, view(halo, GRID).kappa)
    assert heavy.theta_E == pytest.approx(view(halo, GRID).theta_E)
    assert heavy.strength == 1000 and light.strength == 1


def test_a_frame_that_is_too_small_is_named(halo: Particles) -> None:
    small = view(halo, PixelGrid((11, 11), 0.1))
    assert small.theta_E is None
    with pytest.raises(InputError, match=r"never falls to 1 within the frame .* larger frame"):
        at_theta_E(small, 1.0)


@pytest.mark.parametrize("wrong", [0.0, -1.0, float("nan"), float("inf")])
def test_impossible_radii_and_factors(halo: Particles, wrong: float) -> None:
    with pytest.raises(InputError, match="theta_E must be a positive number of arcsec"):
        at_theta_E(view(halo, GRID), wrong)
    with pytest.raises(InputError, match="factor must be a positive number"):
        strengthened(view(halo, GRID), wrong)


TOYS = ToyHaloes(3, particles=2000)
SMALL = PixelGrid((32, 32), 0.22)
project = partial(project_haloes, SMALL, haloes=TOYS, seed=3)


def test_a_collection_is_projected_halo_by_halo() -> None:
    maps = list(project(projections=2))
    assert [m.halo for m in maps] == [name for name in TOYS.names for _ in range(2)]
    assert all(m.grid == SMALL and m.stretch == 1 for m in maps)
    assert not np.allclose(maps[0].rotation, maps[1].rotation)
    (alone, _) = project(projections=2, names=[TOYS.names[2]])
    np.testing.assert_array_equal(alone.kappa, maps[4].kappa)
    other = next(project(projections=1, names=[TOYS.names[2]], seed=4))
    assert not np.allclose(alone.rotation, other.rotation)


def write_table(path: Path, toy: Particles, *, halo: str | None = None) -> None:
    columns = [fits.Column(n, "D", array=toy.position[:, i]) for i, n in enumerate("xyz")]
    columns += [fits.Column("mass", "D", array=toy.mass), fits.Column("type", "I", array=toy.kind)]
    table = fits.BinTableHDU.from_columns(columns)
    table.header["REDSHIFT"] = 0.5
    if halo is not None:
        table.header["HALO"] = halo
    table.writeto(path)


def test_files_of_a_halo_are_not_divided_between_sets(tmp_path: Path) -> None:
    toy = TOYS.load(TOYS.names[0])
    write_halo(tmp_path / "snap_067.hdf5", toy, files=3)
    for k in range(12):  # of two haloes, in turn
        write_table(tmp_path / f"view{k}.fits", toy, halo=f"fof{k % 2}")
    write_table(tmp_path / "lone.fits", toy)
    folder = HaloFolder(tmp_path)
    assert [n for n in folder.names if n.startswith("snap")] == ["snap_067"]
    assert len(folder.load("snap_067")) == len(toy)
    assert {n: folder.load(n).halo for n in folder.names} == folder.halos
    assert set(folder.halos.values()) == {"snap_067", "fof0", "fof1", "lone"}
    sets = split(sorted(set(folder.halos.values())), fractions=(0.4, 0.3, 0.3))
    maps = project_haloes(SMALL, haloes=folder, names=["view0", "view2"], projections=1)
    assert {m.halo for m in maps} == {"fof0"}
    assert sum("fof0" in own for own in sets.values()) == 1


def test_haloes_that_are_numbered_as_one_are_refused(tmp_path: Path) -> None:
    toy = TOYS.load(TOYS.names[0])
    for k in range(2):
        write_halo(tmp_path / f"halo.{k}.hdf5", toy)
    with pytest.raises(InputError, match=r"2 files are numbered .* header says 1 .* rename"):
        HaloFolder(tmp_path).load("halo")


def test_a_halo_that_is_not_in_the_folder(tmp_path: Path) -> None:
    write_halo(tmp_path / "h.hdf5", TOYS.load(TOYS.names[0]))
    with pytest.raises(InputError, match="no halo 'zzz'; choose among 1 names, such as 'h'"):
        HaloFolder(tmp_path).load("zzz")


def test_a_table_of_numbers_that_are_none(tmp_path: Path) -> None:
    toy = TOYS.load(TOYS.names[0])
    write_table(tmp_path / "good.fits", toy)
    with pytest.raises(InputError, match=r"good\.fits: center must be 3 finite numbers, found"):
        read_particle_table(tmp_path / "good.fits", center=(1.0, 2.0))
    toy.position[3, 1] = np.nan
    write_table(tmp_path / "bad.fits", toy)
    with pytest.raises(InputError, match=r"bad\.fits: x, y, z must be finite, found 1 values"):
        read_particle_table(tmp_path / "bad.fits", center=(0.0, 0.0, 0.0))


def test_einstein_radii_fill_the_range() -> None:
    maps = list(project(projections=6, theta_E=(0.8, 1.6)))
    found = np.array([m.theta_E for m in maps])
    assert len(maps) > 14
    assert 0.75 < found.min() < 1.0 and 1.4 < found.max() < 1.7
    assert all(m.grid == SMALL for m in maps)
    assert len({round(m.stretch, 6) for m in maps}) == len(maps)


def test_a_halo_beyond_the_frame_is_measured_on_a_wider_one() -> None:
    tiny = PixelGrid((24, 24), 0.05)  # 0.6 arcsec to the edge
    maps = list(project_haloes(tiny, haloes=TOYS, projections=1, theta_E=(0.3, 0.4)))
    found = [m.theta_E for m in maps]
    assert len(maps) == 3 and max(found) < 0.45 and min(found) > 0.26
    assert max(m.stretch for m in maps) < 0.6


def test_what_has_no_einstein_radius_is_left_out() -> None:
    class Two:
        names = ("light", "heavy")

        def load(self, name: str) -> Particles:
            toy = TOYS.load(TOYS.names[0])
            return replace(toy, halo=name, mass=toy.mass / (1 if name == "heavy" else 1000))

    assert [m.halo for m in project_haloes(SMALL, haloes=Two(), theta_E=(1, 2))] == ["heavy"] * 3
    assert [m.halo for m in project_haloes(SMALL, haloes=Two(), projections=1)] == list(Two.names)


def test_the_default_needs_no_file(monkeypatch) -> None:
    monkeypatch.setattr(hydro, "ToyHaloes", partial(ToyHaloes, particles=2000))
    found = next(project_haloes(SMALL, names=[ToyHaloes().names[5]]))
    assert found.halo == "toy-0-00005" and found.kappa.max() > 1
    with pytest.raises(ValueError, match="theta_E must be a range of positive numbers"):
        project_haloes(SMALL, theta_E=(2.0, 1.0))


def test_a_folder_of_cutouts_and_tables(tmp_path: Path) -> None:
    toy = TOYS.load(TOYS.names[0])
    (tmp_path / "tng").mkdir()
    write_halo(tmp_path / "tng" / "cutout_12.hdf5", toy, omit=("HubbleParam",))
    write_table(tmp_path / "other.fits.gz", toy)
    folder = HaloFolder(tmp_path, header={"HubbleParam": 0.6774})
    assert folder.names == ("other", "tng/cutout_12") and len(folder) == 2
    one, two = (folder.load(name) for name in folder.names)
    assert one.halo == "other" and two.halo == "tng/cutout_12"
    assert one.mass.sum() == pytest.approx(two.mass.sum())
    np.testing.assert_array_equal(np.unique(two.kind), [KINDS["dark matter"], KINDS["stars"]])
    maps = list(project_haloes(SMALL, haloes=folder, projections=1))
    assert [m.halo for m in maps] == list(folder.names)


def test_folders_that_hold_no_haloes(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such folder"):
        HaloFolder(tmp_path / "missing")
    with pytest.raises(InputError, match=r"expected \.hdf5, \.fits, \.fits\.gz, found none"):
        HaloFolder(tmp_path)
    (tmp_path / "a.hdf5").touch()
    (tmp_path / "a.fits").touch()
    with pytest.raises(InputError, match="two files would be the halo 'a': remove one"):
        HaloFolder(tmp_path)


def test_the_metric_is_the_same_function() -> None:
    assert of_metrics is effective_theta_E
