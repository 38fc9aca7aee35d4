"""The chain on the sample observation, against its truth, and on bad options."""

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from astropy.io import fits

from lensrim.datasets.halos import LensPrior
from lensrim.datasets.priors import SystemPrior
from lensrim.errors import InputError
from lensrim.evaluation.mocks import make_mock
from lensrim.inference.framing import frame_of, observe
from lensrim.inference.options import ReconstructOptions
from lensrim.inference.reconstruct import reconstruct
from lensrim.io import ReadOptions, read_observation
from lensrim.io.coolest import read_coolest, system_of, write_coolest
from lensrim.io.product_reading import read_product
from lensrim.lensing.convergence import KappaToAlpha
from lensrim.lensing.mass import Shear, Sum
from lensrim.lensing.simulator import Simulator

DATA = Path(__file__).parents[2] / "data"


@pytest.fixture(scope="module")
def result():
    return reconstruct(DATA / "ring.fits", ReconstructOptions(z_lens=0.3, z_source=1.5))


@pytest.fixture(scope="module")
def truth():
    with fits.open(DATA / "ring_truth.fits") as hdus:
        return hdus[0].header, {h.name: h.data.astype(float) for h in hdus[1:]}


def test_the_macro_model(result, truth):
    value, header = result.product.value, truth[0]
    assert value("MACROTE") == pytest.approx(header["MACROTE"], rel=0.01)
    assert value("THETAE") == pytest.approx(header["THETAE"], rel=0.01)
    assert value("MACROQ") == pytest.approx(header["Q"], abs=0.05)
    assert value("MACROG1") == pytest.approx(header["GAMMA1"], abs=0.02)
    assert value("MACROG2") == pytest.approx(header["GAMMA2"], abs=0.02)
    assert value("QUALITY") == "good"


def test_the_arcs_are_those_of_the_truth(result, truth):
    maps, arcs = result.product.image_maps, truth[1]["ARCS"]
    on = arcs > maps["SIGMA"]
    misfit = (((maps["MODEL"] - arcs) / maps["SIGMA"])[on] ** 2).mean()
    assert misfit < 1  # 1 is no better than the data themselves
    assert result.product.value("CHI2NU") == pytest.approx(1, abs=0.1)


def test_the_model_is_the_source_seen_through_the_deflection(result):
    product = result.product
    simulator = Simulator(
        product.image_grid,
        product.source_grid,
        torch.from_numpy(product.psf),
        psf_kind=product.value("PSFKIND"),
        psf_on_rays=True,
        dtype=torch.float64,
    )
    maps, source = product.image_maps, torch.from_numpy(product.source_maps["SOURCE"])
    alpha = torch.from_numpy(np.stack([maps["ALPHA_X"], maps["ALPHA_Y"]]))
    theta = torch.stack(product.image_grid.coordinates(dtype=torch.float64))
    rays = simulator.kappa_to_alpha.interpolate((theta - alpha)[None])
    model = simulator.trace(source[None, None], rays)[0, 0].numpy()
    np.testing.assert_allclose(model, maps["MODEL"], atol=1e-8 * maps["MODEL"].max())


def test_map_shear_and_mass_beyond_the_map_make_the_deflection(result):
    product, maps = result.product, result.product.image_maps
    grid = product.image_grid
    kappa = torch.from_numpy(maps["KAPPA"])[None, None]
    x, y = grid.coordinates(dtype=torch.float64)
    made = KappaToAlpha(grid, dtype=torch.float64).maps(kappa)[0]
    tide = Shear(product.value("GAMMA1"), product.value("GAMMA2")).deflection(x, y)
    beyond = np.stack([maps["ALPHA_X"], maps["ALPHA_Y"]]) - (made + torch.stack(tide)).numpy()
    beyond -= beyond.mean((1, 2), keepdims=True)
    on = maps["MODEL"] > 0.1 * maps["MODEL"].max()
    # some tenths of a pixel, and without mass of its own where the arcs are
    assert 0.01 < np.abs(beyond[:, on]).max() / grid.spacing < 1
    divergence = np.gradient(beyond[0], axis=1) + np.gradient(beyond[1], axis=0)
    assert np.abs(divergence[on] / grid.spacing / 2).max() < 1e-3


def test_the_residual_is_what_is_not_modelled(result):
    m = result.product.image_maps
    expected = (m["DATA"] - m["LENS_LIGHT"] - m["SKY"] - m["MODEL"]) / m["SIGMA"]
    np.testing.assert_allclose(m["RESIDUAL"], np.where(m["MASK"] == 1, expected, 0))


def test_what_is_written(result, tmp_path):
    files = result.write(tmp_path / "out")
    assert sorted(f.suffix for f in files) == [".fits", ".json", ".png", ".reg"]
    with pytest.raises(InputError, match="overwrite"):
        result.write(tmp_path / "out")
    assert "theta_E" in result.summary and "M_sun" in result.summary


def test_the_error_of_the_mass_is_that_of_the_radius(result):
    value = result.product.value
    share = value("THETAEER") / value("THETAE")
    assert 0 < share < 0.1
    assert value("MEINSTER") / value("MEINST") == pytest.approx(2 * share)
    assert value("THETAKPE") / value("THETAKPC") == pytest.approx(share)
    assert re.search(r"mass +\d\.\d{3}e\+11 \+- \d\.\de\+\d\d M_sun in", result.summary)


@pytest.mark.parametrize(
    ("options", "match"),
    [
        (ReconstructOptions(z_lens=0.3), "both or neither"),
        (ReconstructOptions(center=(500.0, 3.0)), "--center: must lie in the frame"),
        (ReconstructOptions(size=1e4), "--size: must be between"),
        (ReconstructOptions(bin=40), "--bin: must be between"),
        (ReconstructOptions(source_fov=-1.0), "--source-fov: must be positive"),
        (ReconstructOptions(z_lens=1.0, z_source=0.5), "z_source|source"),
        (ReconstructOptions(z_lens=0.3, z_source=1.0, cosmology="Plank18"), "Plank18"),
        (ReconstructOptions(model="mine.safetensors"), "--model: is for --stage rim or final"),
        (ReconstructOptions(seed=-1), "--seed: must be 0 or more"),
        (ReconstructOptions(size=1.5, bin=2), "12 pixels or more"),
    ],
)
def test_bad_options(options, match):
    with pytest.raises(InputError, match=match):
        reconstruct(DATA / "ring.fits", options)


def test_too_few_pixels():
    observation = read_observation(DATA / "ring.fits")
    mask = np.zeros(observation.shape, dtype=bool)
    mask[30:35, 30:35] = True
    with pytest.raises(InputError, match="at least 100 pixels must be used, found 25"):
        reconstruct(replace(observation, mask=mask))


@pytest.mark.parametrize("bin", [1, 2, 3])
def test_the_lens_light_is_on_the_lens(bin):
    observation = read_observation(DATA / "ring.fits").binned(bin)
    scene = observe(frame_of(observation), lens_light=True)
    assert np.hypot(*scene.light.center) < 0.1


def test_what_was_asked_is_in_the_history():
    options = ReadOptions(noise="ERR", zeropoint=25.0)
    observation = read_observation(DATA / "ring.fits", options)
    assert "noise = ERR" in observation.options
    assert "zeropoint = 25.0" in observation.options
    assert observation.binned(2).files[0].samefile(DATA / "ring.fits")


@pytest.mark.slow
def test_a_lens_off_the_middle_is_found_where_it_is_said_to_be():
    prior = SystemPrior(light_share=0.0, theta_E=(6, 12), lens=LensPrior(center_range=8.0))
    mock = make_mock(1, shape=(64, 60), prior=prior)
    host = mock.truth.system.lens.ellipsoid
    place = mock.observation.grid.to_index(host.center_x, host.center_y)
    center = (float(round(place[0])), float(round(place[1])))
    result = reconstruct(
        mock.observation, ReconstructOptions(lens_light="none", center=center, size=3.0)
    )
    assert result.product.value("MACROTE") == pytest.approx(mock.truth.macro_theta_E, rel=0.05)


@pytest.mark.slow
def test_the_same_seed_gives_the_same_maps(result):
    again = reconstruct(DATA / "ring.fits", ReconstructOptions(z_lens=0.3, z_source=1.5))
    for key, values in result.product.image_maps.items():
        np.testing.assert_array_equal(values, again.product.image_maps[key])


def test_an_image_without_arcs():
    observation = read_observation(DATA / "ring.fits")
    noise = np.random.default_rng(0).normal(0, observation.sigma)
    with pytest.raises(InputError, match="no arcs found"):
        reconstruct(replace(observation, image=noise), ReconstructOptions(lens_light="none"))


@pytest.mark.parametrize("source", ["fresh", "read back"])
def test_other_codes_see_the_arcs_of_the_answer(result, source: str, tmp_path: Path):
    """The template holds all that makes ``MODEL``: mass, sheet, shear, source and PSF."""
    product = result.product
    if source == "read back":
        product = read_product(result.write(tmp_path / "product", picture=False)[0])
        write_coolest(system_of(product), tmp_path / "ring.json")
    else:
        assert result.to_coolest(tmp_path / "ring.json")[0] == tmp_path / "ring.json"
    system = read_coolest(tmp_path / "ring.json")
    lens, around, galaxy = system.entities
    assert (lens.redshift, galaxy.redshift) == (0.3, 1.5)
    seen = system.observation
    assert seen.zeropoint == 25.5
    model = Sum([*lens.mass, *around.mass])
    simulator = Simulator(
        seen.grid,
        galaxy.light[0].grid,
        torch.tensor(seen.psf),
        psf_on_rays=True,
        dtype=torch.float64,
    )
    arcs = simulator.observe(
        galaxy.light[0].surface_brightness(*traced(model, simulator))[None, None]
    )[0, 0].numpy()
    off = (arcs - product.image_maps["MODEL"]) / product.image_maps["SIGMA"]
    assert np.abs(off).max() < 0.02
    light = product.image_maps["LENS_LIGHT"] + product.image_maps["SKY"]
    np.testing.assert_allclose(seen.image, product.image_maps["DATA"] - light, atol=1e-6)


def traced(model, simulator: Simulator) -> tuple[torch.Tensor, torch.Tensor]:
    """Where the rays of a frame reach the source plane."""
    x, y = simulator.image_grid.coordinates(simulator.subsample, dtype=torch.float64)
    alpha_x, alpha_y = model.deflection(x, y)
    return x - alpha_x, y - alpha_y


def test_a_mass_that_is_a_map_is_no_profile(result):
    product = result.product
    header = product.header | {"STAGE": ("final", "last stage")}
    with pytest.raises(InputError, match=r"the mass of stage 'final' is the map KAPPA"):
        system_of(replace(product, header=header))
