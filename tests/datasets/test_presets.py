"""Populations and instruments: what is drawn keeps their word; recipes change what they name."""

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from astropy.io import fits

from lensrim.datasets.instruments import EUCLID_VIS, HST_WFC3, INSTRUMENTS, Instrument
from lensrim.datasets.noise import read_noise_fields, unit_noise
from lensrim.datasets.pairs.exposures import noise_maps, noise_numbers
from lensrim.datasets.pairs.pairs import Pairs
from lensrim.datasets.presets import PRESETS, Population, population_of, read_population
from lensrim.datasets.priors import SystemPrior, draw_system
from lensrim.datasets.psfs.kinds import fine_psf, native_psf, read_psf_stamps
from lensrim.errors import InputError
from lensrim.evaluation.mocks import make_mock, render
from lensrim.lensing.psf import measure_fwhm

instruments = pytest.mark.parametrize("camera", INSTRUMENTS.values(), ids=INSTRUMENTS)


@instruments
@pytest.mark.parametrize("snr", [3.0, 100.0])
def test_the_brightness_gives_the_signal_over_noise(camera: Instrument, snr: float) -> None:
    noise = camera.noise(snr)
    variance = camera.background**2 + noise.peak / camera.time
    assert noise.peak / math.sqrt(variance) == pytest.approx(snr)
    assert noise.poisson_share == pytest.approx(noise.peak / camera.time / variance)


def test_the_background_is_that_of_its_parts() -> None:
    camera = replace(EUCLID_VIS, sky=math.inf, gain=1e-9, exposures=9, exposure=100.0)
    assert camera.background == pytest.approx(3 * camera.read_noise / 900)
    rounding = replace(camera, read_noise=0.0, gain=math.sqrt(12.0))
    assert rounding.background == pytest.approx(3 / 900)
    halved = replace(camera, pixel_scale=camera.pixel_scale / 2)
    assert halved.background == pytest.approx(camera.background / 2)
    # 0.01 electrons per second and pixel: a magnitude of the zero point in each arcsec^2
    sky = replace(camera, read_noise=0.0, pixel_scale=0.1, sky=camera.zero_point)
    assert sky.background == pytest.approx(math.sqrt(0.01 * 900) / 900)


@instruments
def test_an_instrument_is_in_what_is_drawn(camera: Instrument) -> None:
    prior = SystemPrior(instrument=camera, theta_E_arcsec=(1.0, 1.1))
    for seed in range(4):
        system = draw_system(np.random.default_rng(seed), prior=prior)
        assert system.pixel_scale == camera.pixel_scale
        assert 1.0 <= system.lens.ellipsoid.theta_E <= 1.1
        assert system.psf.kind.split("[")[0] in camera.psf_kinds
        width = system.psf.fwhm * camera.pixel_scale
        assert camera.psf_fwhm[0] <= width <= camera.psf_fwhm[1]
        fine = fine_psf(system.psf, oversample=7)
        assert measure_fwhm(fine) / 7 == pytest.approx(system.psf.fwhm, rel=0.03)
        assert measure_fwhm(native_psf(fine, 7)) > system.psf.fwhm


@pytest.fixture(scope="module")
def lit():
    """A lens with its light, seen by an instrument without correlated noise."""
    camera = replace(EUCLID_VIS, noise_length=0.0)
    prior = SystemPrior(instrument=camera, theta_E_arcsec=(1.2, 1.3), light_share=1.0)
    return camera, make_mock(2, shape=(48, 48), prior=prior)


def test_the_noise_of_a_mock_is_that_of_the_instrument(lit) -> None:
    camera, mock = lit
    photons = mock.truth.arcs + mock.truth.lens_light
    expected = np.sqrt(camera.background**2 + photons / camera.time)
    np.testing.assert_allclose(mock.observation.sigma, expected, rtol=1e-6)
    assert mock.truth.lens_light.max() > 0


def test_the_noise_of_a_pair_is_that_of_the_mock(lit) -> None:
    truth, peak = lit[1].truth, lit[1].truth.system.noise.peak
    arcs, light = (torch.from_numpy(m / peak)[None, None] for m in (truth.arcs, truth.lens_light))
    numbers = noise_numbers([truth.system], np.random.default_rng(0), (48, 48))
    found = noise_maps(numbers, arcs, light)[0, 0].numpy() * peak
    np.testing.assert_allclose(found, lit[1].observation.sigma, rtol=1e-5)


def test_arcsec_and_pixels_are_the_same_lens(lit) -> None:
    system = lit[1].truth.system
    small = system.in_pixels()
    assert small.pixel_scale == 1.0
    assert small.in_pixels() is small
    one, other = (render(s, shape=(48, 48), oversample=5).truth for s in (system, small))
    np.testing.assert_allclose(other.arcs, one.arcs, atol=1e-9)
    np.testing.assert_allclose(other.lens_light, one.lens_light, atol=1e-9)
    np.testing.assert_allclose(other.kappa, one.kappa, rtol=1e-6)
    np.testing.assert_allclose(other.alpha_x * system.pixel_scale, one.alpha_x, atol=1e-9)


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_makes_pairs_in_its_frame(name: str) -> None:
    preset = PRESETS[name]
    pairs = Pairs(1, shape=preset.shape, prior=preset.pair_prior, seed=3)
    batch, (system,) = pairs.described(0)
    assert batch["image"].shape == (1, 1, *preset.shape)
    assert bool(batch["image"].isfinite().all())
    theta_E = system.lens.ellipsoid.theta_E
    assert float(batch["macro"][0, 0].exp()) == pytest.approx(theta_E / system.pixel_scale)
    if preset.system.theta_E_arcsec is not None:
        assert preset.system.theta_E_arcsec[0] <= theta_E <= preset.system.theta_E_arcsec[1]
    edge = batch["clean"].clone()
    edge[..., 2:-2, 2:-2] = 0
    assert float(edge.max()) < 0.1


@pytest.mark.parametrize("length", [0.4, 0.7, 2.0])
def test_correlated_noise_has_its_variance_and_length(length: float) -> None:
    field = unit_noise(np.random.default_rng(1), (400, 300), length=length)
    assert field.shape == (400, 300)
    assert field.var() == pytest.approx(1, abs=0.02 * (1 + length))
    # that of a Gaussian kernel that is sampled at the pixels
    kernel = np.exp(-0.5 * (np.arange(-30, 31) / length) ** 2)
    expected = np.sum(kernel[1:] * kernel[:-1]) / np.sum(kernel**2)
    for neighbours in (field[1:] * field[:-1], field[:, 1:] * field[:, :-1]):
        assert neighbours.mean() == pytest.approx(expected, abs=0.02 * (1 + length))


@pytest.fixture
def sky(tmp_path: Path) -> Path:
    """A folder with one image of blank sky, and one that is too small."""
    rng = np.random.default_rng(2)
    field = 30 + 5 * rng.standard_normal((60, 50))
    fits.PrimaryHDU(field.astype(np.float32)).writeto(tmp_path / "sky.fits")
    fits.PrimaryHDU(field[:9, :9].astype(np.float32)).writeto(tmp_path / "small.fits.gz")
    return tmp_path


def test_real_noise_is_cut_from_the_sky(sky: Path) -> None:
    fields = read_noise_fields(sky)
    large = max(fields, key=np.size)
    assert np.median(large) == pytest.approx(0, abs=1e-6)
    assert large.std() == pytest.approx(1, abs=0.05)
    cuts = [unit_noise(np.random.default_rng(k), (40, 30), fields=fields) for k in range(6)]
    assert all(np.isin(cut, large).all() for cut in cuts)
    assert len({cut[0, 0] for cut in cuts}) > 1
    with pytest.raises(InputError, match=r"noise: must have images of 70 pixels or more .* found"):
        unit_noise(np.random.default_rng(0), (70, 20), fields=fields)


def test_real_noise_is_in_mocks_and_pairs(sky: Path) -> None:
    fields = read_noise_fields(sky)
    large = max(fields, key=np.size)
    prior = SystemPrior(light_share=0.0)
    mock = make_mock(0, shape=(32, 32), prior=prior, noises=sky)
    noise = (mock.observation.image - mock.truth.arcs) / mock.observation.sigma
    assert np.isclose(noise[..., None].ravel()[:9, None], large.ravel()).any(1).all()
    pair = replace(PRESETS["general"].pairs, system=replace(prior, pixel_scale=(1.0, 1.0)))
    batch = Pairs(1, noises=fields, shape=(32, 32), prior=pair)(0)
    noise = ((batch["image"] - batch["clean"]) / batch["sigma"]).numpy()
    assert np.isclose(noise.ravel()[:9, None], large.ravel(), atol=1e-3).any(1).all()


@pytest.mark.parametrize(
    ("content", "match"),
    [
        (None, "expected FITS images of blank sky, found none"),
        (np.zeros((20, 20)), "must be finite and vary, found a scatter of 0.0"),
        (np.zeros(20), "must be two-dimensional, found none"),
        (b"no", "an image of noise must be a FITS file"),
        (np.where(np.eye(20) > 0, np.inf, 1.0), "must be finite, found 20 pixels that are not"),
    ],
)
def test_what_is_no_noise_is_refused(content, match: str, tmp_path: Path) -> None:
    path = tmp_path / "sky.fits"
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif content is not None:
        fits.PrimaryHDU(content).writeto(path)
    with pytest.raises(InputError, match=match):
        read_noise_fields(tmp_path)


@pytest.mark.filterwarnings("ignore:File may have been truncated")
def test_a_file_of_noise_that_is_cut_off_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "sky.fits"
    fits.PrimaryHDU(np.ones((200, 200))).writeto(path)
    path.write_bytes(path.read_bytes()[:20_000])
    with pytest.raises(InputError, match="an image of noise must be a FITS file"):
        read_noise_fields(tmp_path)


def test_psfs_may_have_the_ending_in_their_names(tmp_path: Path) -> None:
    y, x = np.mgrid[-20:21, -20:21]
    for k in range(2):
        star = np.exp(-(x**2 + y**2) / (2 * (2 + k) ** 2))
        fits.PrimaryHDU(star).writeto(tmp_path / f"drz.fits_{k}.fits")
    assert set(read_psf_stamps(tmp_path)) == {"drz.fits_0[0]", "drz.fits_1[0]"}


RECIPE = """
preset = "slacs"
shape = [80, 72]
theta_E_arcsec = [0.8, 1]
snr = [20, 60.0]
galaxies = "stamps"

[instrument]
exposure = 300

[lens]
slope_std = 0.1

[contaminants]
gaps = 0.25

[pairs]
rough = 0.0
"""


def test_a_recipe_changes_what_it_names(tmp_path: Path) -> None:
    (tmp_path / "stamps").mkdir()
    path = tmp_path / "recipe.toml"
    path.write_text(RECIPE)
    base, found = PRESETS["slacs"], read_population(str(path))
    camera = replace(base.system.instrument, exposure=300.0)
    lens = replace(base.system.lens, slope_std=0.1)
    system = replace(
        base.system, theta_E_arcsec=(0.8, 1.0), snr=(20.0, 60.0), instrument=camera, lens=lens
    )
    system = replace(system, contaminants=replace(base.system.contaminants, gaps=0.25))
    pairs = replace(base.pairs, rough=0.0)
    folder = str(tmp_path / "stamps")
    assert found == replace(base, system=system, shape=(80, 72), pairs=pairs, galaxies=folder)
    assert found.pair_prior.system == system


def test_an_instrument_is_taken_by_name() -> None:
    assert population_of({"instrument": "hst_wfc3"}).system.instrument == HST_WFC3
    own = population_of({"preset": "jwst", "instrument": {"name": "hst_wfc3", "sky": 21.0}})
    assert own.system.instrument == replace(HST_WFC3, sky=21.0)
    assert population_of({}) == Population()


OWN = {
    "pixel_scale": 0.08,
    "psf_fwhm": [0.15, 0.2],
    "zero_point": 24.5,
    "sky": 21.8,
    "read_noise": 5.0,
    "exposures": 4,
    "exposure": 300.0,
}


def test_an_instrument_of_ones_own_is_all_its_numbers() -> None:
    own = population_of({"instrument": OWN}).system.instrument
    expected = Instrument(0.08, 0.08, (0.15, 0.2), 24.5, 21.8, 5.0, 1.0, 4, 300.0)
    assert own == expected
    binned = population_of({"instrument": {**OWN, "detector_scale": 0.04, "gain": 2.0}})
    assert binned.system.instrument == replace(expected, detector_scale=0.04, gain=2.0)


def test_an_instrument_and_a_range_are_unset() -> None:
    content = {"preset": "slacs", "instrument": "none", "theta_E_arcsec": "none"}
    found = population_of(content | {"psf_fwhm": [2, 3], "theta_E": [8, 9]}).system
    expected = replace(PRESETS["slacs"].system, instrument=None, theta_E_arcsec=None)
    assert found == replace(expected, psf_fwhm=(2.0, 3.0), theta_E=(8.0, 9.0))


@pytest.mark.parametrize(
    ("content", "match"),
    [
        ({"preset": "slcas"}, "preset: must be one of general, slacs, .* found 'slcas'"),
        ({"preset": ["slacs"]}, r"preset: must be one of .* found \['slacs'\]"),
        ({"pairs": 3}, "pairs: must be a table, found 3"),
        ({"instrument": {"name": ["a"]}}, "or a table, with such a name under 'name'"),
        ({"preset": "slacs", "instrument": {"name": "hst"}}, "or a table, with such a name"),
        ({"snr": [0, 0]}, r"snr: must be a range of finite numbers above 0.* found \[0.0, 0.0"),
        ({"snr": [1, math.inf]}, "snr: must be a range of finite"),
        ({"snr": [1, 10**400]}, r"snr: must be like 10.0, found 1000"),
        ({"pixel_scale": [0, 0]}, "pixel_scale: must be a range"),
        ({"psf_fwhm": [0, 0]}, "psf_fwhm: must be a range"),
        ({"lens": {"slope_std": -1.0}}, "slope_std: must be finite and 0 or more, found -1.0"),
        ({"lens": {"subhalos_max": -2}}, "subhalos_max: must be finite and 0 or more"),
        ({"lens": {"q_range": [0.5, 1.5]}}, "q_range: must be axis ratios of at most 1"),
        ({"light_share": 3.0}, "light_share: must be a share from 0 to 1, found 3.0"),
        ({"light_offset": math.nan}, "light_offset: must be finite and 0 or more, found nan"),
        ({"pairs": {"rough": 2.0}}, "rough: must be a share from 0 to 1, found 2.0"),
        ({"pairs": {"roughness": [0, 1]}}, "roughness: must be a range"),
        ({"preset": "slacs", "psf_fwhm": [8, 9]}, "psf_fwhm: has no effect beside the instrum"),
        ({"preset": "slacs", "theta_E": [4, 5]}, "theta_E: has no effect beside theta_E_arcsec"),
        ({"theta": [1, 2]}, "a recipe may have .*theta_E_arcsec.* found theta; remove or rename"),
        ({"lens": {"slope": 2.0}}, r"lens\.slope: must be one of slope_mean, "),
        ({"lens": 3}, "lens: must be a table, found 3"),
        ({"snr": 30.0}, "snr: must be 2 values, the lower first, found 30.0"),
        ({"snr": [30.0, 20.0]}, r"the lower first, found \[30.0, 20.0\]"),
        ({"snr": ["a", "b"]}, "snr: must be like 10.0, found 'a'"),
        ({"theta_E_arcsec": [2.0, 1.0]}, "theta_E_arcsec: must be 2 values"),
        ({"light_share": "all"}, "light_share: must be like 0.5, found 'all'"),
        ({"light_share": True}, "light_share: must be like 0.5, found True"),
        ({"shape": [64.5, 64]}, "shape: must be like 64, found 64.5"),
        ({"shape": [8, 64]}, "shape: must be 16 pixels or more"),
        ({"instrument": "hst"}, "instrument: must be one of hst_acs, .* found 'hst'"),
        ({"instrument": {"exposure": 3}}, "an instrument of your own must have .* found no pixel"),
        ({"instrument": {**OWN, "sky": math.nan}}, r"instrument.sky: must be a magnitude, or inf"),
        ({"instrument": {**OWN, "psf_fwhm": [0.1, math.inf]}}, "must be a range above 0"),
        ({"instrument": {**OWN, "background": 0.1}}, r"instrument.background: must be one of pix"),
        ({"instrument": {**OWN, "psf_kinds": []}}, "psf_kinds: must be a list of one or more na"),
        ({"shape": 64}, "shape: must be two whole numbers, rows and columns, found 64"),
        ({"instrument": {"name": "hst"}}, "found .'name': 'hst'."),
        ({"preset": "slacs", "instrument": {"exposures": 0}}, "exposures: must be positive"),
        (
            {"preset": "slacs", "instrument": {"psf_kinds": ["airy"]}},
            "must be of gaussian, moffat, pup",
        ),
        ({"preset": "slacs", "instrument": {"psf_fwhm": [0, 0.1]}}, "must be a range above 0"),
        ({"preset": "slacs", "instrument": {"read_noise": -1}}, "read_noise: must be 0 or more"),
        ({"pairs": {"system": {}}}, "pairs: must not hold 'system'"),
        ({"galaxies": "nowhere"}, "galaxies: must be a folder of FITS files, found 'nowhere'"),
    ],
)
def test_bad_recipes_say_what_is_wrong(content: dict, match: str) -> None:
    with pytest.raises(InputError, match=match):
        population_of(content)


@pytest.mark.parametrize(
    ("name", "text", "match"),
    [
        ("slasc", None, r"slasc: must be a preset \(general, .*\) or a recipe \(\*.toml\)"),
        ("none.toml", None, "none.toml: a recipe must be a TOML file; No such file"),
        ("bad.toml", "a = ", "bad.toml: a recipe must be a TOML file: Invalid value"),
        ("key.toml", "a = 1", "key.toml: a recipe may have"),
    ],
)
def test_bad_names_of_recipes(name: str, text: str | None, match: str, tmp_path: Path) -> None:
    if text is not None:
        (tmp_path / name).write_text(text)
    with pytest.raises(InputError, match=match):
        read_population(str(tmp_path / name) if name.endswith("toml") else name)


def test_a_population_that_cannot_fit_its_frame_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lensrim.datasets.pairs.pairs.DRAWS", 5)
    wide = replace(PRESETS["euclid"].system, theta_E_arcsec=(3.0, 4.0))
    with pytest.raises(InputError, match=r"shape: must hold the arcs .* none of 5 systems fits"):
        Pairs(1, shape=(64, 64), prior=replace(PRESETS["euclid"].pair_prior, system=wide))(0)


def test_a_frame_does_not_bend_the_range_of_einstein_radii() -> None:
    preset = PRESETS["slacs"]
    low, high = (math.log(edge) for edge in preset.system.theta_E_arcsec)
    prior = replace(preset.pair_prior, system=replace(preset.system, halo_share=0.0))
    pairs = Pairs(1, shape=preset.shape, prior=prior)
    rngs = [np.random.default_rng([0, k]) for k in range(120)]
    radii = [pairs._system(rng).lens.ellipsoid.theta_E for rng in rngs]
    # uniform in the logarithm, to within 2 standard deviations of the mean of 120
    assert (np.mean(np.log(radii)) - low) / (high - low) == pytest.approx(0.5, abs=0.052)


@pytest.mark.parametrize(
    ("content", "match"),
    [
        (b"", r"psf\.fits: a PSF must be an image in a FITS file"),
        (np.zeros(20), r"psf\.fits: a PSF must be an image, found 1 dimensions"),
        (
            np.eye(9)[4] * np.eye(9)[4][:, None],
            "3.0 pixels or more, found none; give stamps on fi",
        ),
    ],
)
def test_what_is_no_psf_is_named(content, match: str, tmp_path: Path) -> None:
    path = tmp_path / "psf.fits"
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        fits.PrimaryHDU(content).writeto(path)
    with pytest.raises(InputError, match=match):
        read_psf_stamps(tmp_path)
