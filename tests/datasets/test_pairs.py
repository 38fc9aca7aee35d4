"""Training pairs: a pure function of their number, and the same lenses as the mocks' own code."""

import math
import pickle
from dataclasses import replace

import numpy as np
import pytest
import torch
from pretend import pretended_device

from lensrim.datasets.arcs import arc_weights
from lensrim.datasets.contaminants import NONE, RESIDUES, TRAINING
from lensrim.datasets.contamination import Contamination
from lensrim.datasets.galaxies.clumpy import Clumpy
from lensrim.datasets.galaxies.stamps import Galaxy, half_light_radius
from lensrim.datasets.halos import LensPrior
from lensrim.datasets.instruments import EUCLID_VIS, HST_ACS
from lensrim.datasets.pairs import mass_fields
from lensrim.datasets.pairs.drawn import Stream
from lensrim.datasets.pairs.exposures import lens_light
from lensrim.datasets.pairs.masses import AnalyticMasses
from lensrim.datasets.pairs.pairs import PairPrior, Pairs
from lensrim.datasets.pairs.sources import source_maps, source_numbers
from lensrim.datasets.pairs.systems import FINE
from lensrim.datasets.priors import SystemPrior
from lensrim.datasets.psfs.changes import PsfChanges
from lensrim.datasets.psfs.kinds import Psf, fine_psf, native_psf
from lensrim.datasets.systems import SersicLight, System
from lensrim.evaluation.deflection import average_convergence, deflection, pixel_coordinates
from lensrim.evaluation.mocks import render
from lensrim.evaluation.rendering import Canvas, TrueSource, sersic
from lensrim.grid import PixelGrid
from lensrim.lensing.psf import PSF, measure_fwhm
from lensrim.training.feed import to_device

SYSTEMS = SystemPrior(
    pixel_scale=(1.0, 1.0), light_offset=0.3, psf_fwhm=(1.5, 4.0), theta_E=(12.0, 22.0)
)
PRIOR = PairPrior(system=SYSTEMS, rough=0.0, contaminants=RESIDUES)
PAIRS = Pairs(3, shape=(48, 48), prior=PRIOR, psf_side=15)


def test_a_batch_is_a_function_of_its_number_and_the_seed():
    one, again, other = PAIRS(4), PAIRS(4), PAIRS(5)
    seeded = replace(PAIRS, seed=1)(4)
    for name, value in one.items():
        assert torch.equal(value, again[name])
    assert not torch.equal(one["image"], other["image"])
    assert not torch.equal(one["image"], seeded["image"])


def test_a_batch_does_not_depend_on_the_default_type_of_numbers():
    before = PAIRS(4)
    torch.set_default_dtype(torch.float64)
    try:
        after = replace(PAIRS)(4)
    finally:
        torch.set_default_dtype(torch.float32)
    for name, value in before.items():
        assert after[name].dtype == value.dtype, name
        torch.testing.assert_close(after[name], value)


def test_a_batch_holds_what_it_says():
    prior = replace(PRIOR, rough=1.0, contaminants=TRAINING)
    batch = replace(PAIRS, prior=prior)(0)
    for name in ("image", "sigma", "mask", "arc", "clean", "kappa"):
        assert batch[name].shape == (3, 1, 48, 48)
    assert batch["alpha"].shape == (3, 2, 48, 48)
    assert batch["psf"].shape == (3, 15, 15)
    assert batch["macro"].shape == (3, 8)
    for name, value in batch.items():
        assert bool(value.isfinite().all()), name
    assert set(batch["mask"].unique().tolist()) == {0.0, 1.0}
    torch.testing.assert_close(batch["clean"].amax((1, 2, 3)), torch.ones(3))
    torch.testing.assert_close(batch["arc"].sum((1, 2, 3)), torch.ones(3))
    torch.testing.assert_close(batch["psf"].sum((1, 2)), torch.ones(3))
    assert bool((batch["kappa"] > 0).all()) and bool((batch["sigma"] > 0).all())


class Stamps:
    """Real galaxies, as far as the pairs know."""

    names = ("a", "b")

    def load(self, name: str) -> Galaxy:
        drawn = Clumpy.draw(np.random.default_rng(len(name) + ord(name)))
        image = drawn.stamp(61 if name == "a" else 181)
        return Galaxy(name, image, 0.05, half_light_radius(image) * 0.05)


def star() -> tuple[np.ndarray, float]:
    """A PSF on fine pixels with its width: elliptical, with a faint ghost."""
    y, x = np.mgrid[-40:41, -40:41].astype(float)
    image = (1 + (x**2 + (y / 0.8) ** 2 + 0.4 * x * y) / 20) ** -2.5
    image = image + 0.03 * np.exp(-((x - 12) ** 2 + (y + 7) ** 2) / 18)
    return image / image.sum(), measure_fwhm(image)


@pytest.fixture(scope="module")
def both():
    """Systems, the batch made of them, and their independent renderings without noise."""
    rng, prior = np.random.default_rng(0), replace(PRIOR, mixed=0.5, synthetic=0.5)
    pairs = Pairs(6, Stamps(), psfs={"star": star()}, shape=(48, 48), prior=prior)
    systems = [pairs._system(rng) for _ in range(6)]
    for seen in (
        {s.lens_light is None for s in systems},
        {s.companion is None for s in systems},
        {isinstance(s.galaxy, Clumpy) for s in systems},
        {s.psf.stamp is None for s in systems},
    ):
        assert seen == {True, False}
    batch = pairs.render(pairs.collect(systems, rng))
    return systems, batch, [render(s, shape=(48, 48), oversample=5) for s in systems]


def test_the_deflection_is_that_of_an_independent_code(both):
    systems, batch, _ = both
    grid = PixelGrid((48, 48), 1.0)
    for system, alpha in zip(systems, batch["alpha"].double().numpy(), strict=True):
        expected = np.stack(deflection(system.lens, *pixel_coordinates(grid)))
        far = np.hypot(*pixel_coordinates(grid)) > 3
        assert np.abs(alpha - expected)[:, far].max() < 1e-3


def test_the_convergence_is_that_of_an_independent_code(both):
    systems, batch, _ = both
    grid = PixelGrid((48, 48), 1.0)
    for system, kappa in zip(systems, batch["kappa"][:, 0].double().numpy(), strict=True):
        expected = average_convergence(system.lens, grid)
        ratio = kappa / expected
        # a subhalo's own pixel, and the ones beside it, are right in their sum only
        assert np.quantile(np.abs(ratio - 1), 0.97) < 5e-3
        assert kappa.sum() == pytest.approx(expected.sum(), rel=2e-3)


def test_the_arcs_are_those_of_an_independent_code(both):
    _, batch, mocks = both
    for clean, mock in zip(batch["clean"][:, 0].numpy(), mocks, strict=True):
        expected = mock.truth.arcs / mock.truth.arcs.max()
        # linear interpolation of the stamp here, cubic there
        assert np.abs(clean - expected).max() < 0.05
        assert np.abs(clean - expected).mean() < 4e-3


def test_the_noise_is_that_of_the_system(both):
    systems, batch, mocks = both
    for i, system in enumerate(systems):
        if system.lens_light is None:
            expected = mocks[i].observation.sigma / mocks[i].truth.arcs.max()
            np.testing.assert_allclose(batch["sigma"][i, 0], expected, rtol=0.02)


def test_the_psf_is_that_of_the_fit(both):
    systems, batch, mocks = both
    for psf, fwhm, system, mock in zip(
        batch["psf"].double().numpy(), batch["fwhm"], systems, mocks, strict=True
    ):
        expected = np.pad(mock.observation.psf, (31 - len(mock.observation.psf)) // 2)
        # cubic convolution of a stamp here, a spline there
        assert np.abs(psf - expected).max() < 0.01 * expected.max(), system.psf.kind
        assert float(fwhm) == pytest.approx(measure_fwhm(psf), rel=0.01)


def test_the_source_lies_where_it_is_said_to(both):
    systems, batch, _ = both
    n = batch["source"].shape[-1]
    x, y = PixelGrid((n, n), FINE).coordinates()
    for system, source, origin in zip(systems, batch["source"], batch["origin"], strict=True):
        place = torch.tensor([system.placement.center_x, system.placement.center_y])
        assert float((origin - place).abs().max()) <= FINE / 2
        center = float(origin[0]), float(origin[1])
        expected = torch.from_numpy(TrueSource.of(system).on_grid(PixelGrid((n, n), FINE, center)))
        found = (source[0] / source.sum()).double()
        expected = expected / expected.sum()
        assert float((found - expected).abs().sum()) < 0.03
        for along in (x, y):
            assert float(((found - expected) * along).sum()) == pytest.approx(0, abs=0.1 * FINE)


class HostStream(Stream):
    """Random numbers of the host, sent to a device that has none of its own."""

    def __init__(self, device: torch.device, seed: int):
        self.device, self.generator = device, torch.Generator().manual_seed(seed)

    def normal(self, *shape: int) -> torch.Tensor:
        return torch.randn(shape, generator=self.generator).to(self.device)


def test_pairs_are_rendered_on_one_device(monkeypatch: pytest.MonkeyPatch):
    prior = PairPrior(system=replace(SYSTEMS, instrument=EUCLID_VIS), rough=0.5, mixed=0.5)
    pairs = Pairs(4, Stamps(), psfs={"star": star()}, shape=(48, 48), prior=prior)
    drawn = pairs.draw(0)
    assert {"clumpy", "stamp"} < drawn.source.keys() and "psf_stamp" in drawn.psf
    assert "correlation" in drawn.noise and len(drawn.rough["row"])
    here = pairs.render(drawn)
    monkeypatch.setattr("lensrim.datasets.pairs.pairs.Stream", HostStream)
    for cached in (mass_fields._matrices, mass_fields._points, mass_fields._weights):
        cached.cache_clear()
    with pretended_device() as device:
        there = pairs.render(drawn.to(device), device)
        assert {value.device for value in there.values()} == {device}
        found = {name: value.cpu() for name, value in there.items()}
    for name, value in here.items():
        torch.testing.assert_close(found[name], value, rtol=1e-4, atol=1e-5)


def test_a_drawn_batch_travels_and_is_small():
    drawn = PAIRS.draw(2)
    data = pickle.dumps(drawn)
    assert len(data) < 20_000  # bytes, of three pairs that are 600 000
    there = pickle.loads(data)
    assert to_device(there, torch.device("cpu")).seed == drawn.seed
    for name, value in PAIRS.render(there).items():
        assert torch.equal(value, PAIRS(2)[name]), name


@pytest.mark.parametrize("mixed", [0.0, 1.0])
def test_a_share_of_the_sources_is_two_galaxies(mixed: float):
    pairs = replace(PAIRS, prior=replace(PRIOR, mixed=mixed), galaxies=Stamps())
    systems, _ = pairs._systems(3)
    assert [s.companion is not None for s in systems] == [mixed == 1.0] * 3

    def light(systems: list[System]) -> torch.Tensor:
        return source_maps(source_numbers(systems, np.zeros((len(systems), 2))), 140)

    alone, both = light([replace(s, companion=None) for s in systems]), light(systems)
    if not mixed:
        assert torch.equal(alone, both)
        return
    for system, rest in zip(systems, both - alone, strict=True):
        second, first = system.companion, system.placement
        assert second is not None
        place = second.placement
        low, high = PRIOR.mixed_radius
        assert low <= second.placement.half_light_radius / first.half_light_radius <= high
        off = (
            second.placement.center_x - first.center_x,
            second.placement.center_y - first.center_y,
        )
        assert np.hypot(*off) <= PRIOR.mixed_offset * first.half_light_radius
        own = replace(
            system, companion=None, galaxy=second.galaxy, placement=place
        )  # on a map of another origin
        found = float(light([own]).sum() * second.brightness / rest.sum())
        assert found == pytest.approx(1, rel=0.02)


def test_stamps_of_every_scale_keep_their_light():
    y, x = np.mgrid[-60:61, -60:61]
    image = np.exp(-((x - 3) ** 2 + (y / 0.7) ** 2) / (2 * 12.0**2))
    galaxy = Galaxy("g", image, 0.05, half_light_radius(image) * 0.05)
    rng = np.random.default_rng(0)
    base = PAIRS._system(rng)
    radii = (0.4, 1.1, 2.3, 4.0, 7.0)  # fine pixels of 0.06 to 1.1 stamp pixels and more
    systems = [
        replace(base, galaxy=galaxy, placement=replace(base.placement, half_light_radius=r))
        for r in radii
    ]
    numbers = source_numbers(systems, rng.uniform(-0.5, 0.5, (5, 2)))
    maps = source_maps(numbers, 300)[:, 0].double()
    for radius, found in zip(radii, maps, strict=True):
        scale = radius / (galaxy.half_light_radius / 0.05) / FINE
        assert float(found.sum()) == pytest.approx(image.sum() * scale**2, rel=2e-3)


def test_arcs_are_weighed_where_they_are_significant():
    generator = torch.Generator().manual_seed(1)
    image = torch.randn(1, 1, 32, 32, generator=generator)
    image[..., 10:14, 8:20] += 20
    psf = torch.zeros(1, 5, 5)
    psf[0, 1:4, 1:4] = 1 / 9
    image[..., 20:23, 20:23] += 50  # the core of a lens
    one, center = torch.ones_like(image), torch.tensor([[5.5, 5.5]])
    arc, amplitude = arc_weights(image, one, one, psf, center=center, hole=torch.tensor([4.0]))
    assert float(arc[..., 8:16, 6:22].sum()) > 0.96
    assert 18 < float(amplitude) < 25
    for unit in (1e-12, 1e-25):  # maggies, and erg / s / cm2 / A
        own, bright = arc_weights(
            unit * image, unit * one, one, psf, center=center, hole=torch.tensor([4.0])
        )
        torch.testing.assert_close(own, arc)
        assert float(bright) == pytest.approx(unit * float(amplitude))


@pytest.mark.parametrize("noise", [1e3, 1e5, 9e5])
def test_a_pixel_of_large_noise_hides_no_arcs_but_its_own(noise: float):
    generator = torch.Generator().manual_seed(1)
    image = torch.randn(1, 1, 32, 32, generator=generator)
    image[..., 10:14, 8:20] += 20
    psf = torch.zeros(1, 5, 5)
    psf[0, 1:4, 1:4] = 1 / 9
    one, place = torch.ones_like(image), {"center": torch.zeros(1, 2), "hole": torch.zeros(1)}
    sigma = one.clone()
    sigma[..., 25, 25] = noise
    for ours, plain in zip(
        arc_weights(image, sigma, one, psf, **place),
        arc_weights(image, one, one, psf, **place),
        strict=True,
    ):
        torch.testing.assert_close(ours, plain, rtol=2e-3, atol=1e-5)


def test_a_lens_without_structure_has_no_subhalos():
    plain = replace(SYSTEMS, lens=LensPrior(multipole_std=0.0, subhalos_max=0))
    rng = np.random.default_rng(0)
    pairs = replace(PAIRS, prior=replace(PRIOR, system=plain))
    numbers = AnalyticMasses().numbers([pairs._system(rng) for _ in range(2)])
    assert numbers["macro"].shape == (2, 8)
    assert numbers["halos"].shape == (0, 4) and not numbers["waves"].any()
    assert bool(pairs(0)["kappa"].isfinite().all())


def test_what_is_left_of_the_lens_light_is_in_the_noise_once():
    bright = replace(SYSTEMS, light_share=1.0, light_brightness=(30.0, 50.0))
    left = replace(RESIDUES, light_residual=(0.1, 0.2))
    prior = PairPrior(system=bright, rough=0.0, contaminants=left)
    batch = Pairs(16, shape=(48, 48), prior=prior, psf_side=15)(0)
    residual = (batch["image"] - batch["clean"]) / batch["sigma"]
    # half of it a field that is smooth over some pixels: it scatters from lens to lens
    assert float(residual.square().mean()) == pytest.approx(1, abs=0.1)


def test_pairs_are_contaminated_as_their_systems_say():
    always = replace(
        TRAINING, neighbours=1.0, cosmic_rays=1.0, bad_pixels=1.0, psf_errors=1.0, noise_errors=1.0
    )
    pairs = replace(PAIRS, batch_size=6, prior=replace(PRIOR, contaminants=always))
    systems = [pairs._system(np.random.default_rng(k)) for k in range(6)]
    plain = replace(pairs, prior=replace(PRIOR, contaminants=NONE))
    clean, spoiled = (
        each.render(each.collect(systems, np.random.default_rng(1))) for each in (plain, pairs)
    )
    for name in ("clean", "kappa", "alpha", "source", "macro"):
        assert torch.equal(spoiled[name], clean[name])
    assert bool((spoiled["mask"] < 1).flatten(1).any(1).all())
    assert not torch.allclose(spoiled["psf"], clean["psf"], atol=1e-4)
    torch.testing.assert_close(spoiled["psf"].sum((1, 2)), torch.ones(6))
    # what is left unmasked is mostly as it was; what is masked was not
    change = (spoiled["image"] - clean["image"]).abs() / clean["sigma"]
    used = spoiled["mask"] > 0
    assert float(change[used].median()) < 0.2
    assert float(change[~used].median()) > 1
    own = replace(systems[0], contamination=Contamination(noise=1.5))
    batch = pairs.render(pairs.collect([own] * 6, np.random.default_rng(1)))
    expected = plain.render(plain.collect([systems[0]] * 6, np.random.default_rng(1)))
    torch.testing.assert_close(batch["sigma"], 1.5 * expected["sigma"])
    assert torch.equal(batch["image"], expected["image"])


def test_a_telescope_s_psf_is_that_of_the_mocks():
    camera = replace(HST_ACS, pixel_scale=0.05)
    changes = PsfChanges(jittered=1.0, warped=1.0)
    prior = SystemPrior(instrument=camera, theta_E_arcsec=(0.8, 0.9), psf_changes=changes)
    rng = np.random.default_rng(2)
    pairs = Pairs(2, shape=(48, 48), prior=PairPrior(system=prior, contaminants=NONE))
    systems = [pairs._system(rng) for _ in range(2)]
    batch = pairs.render(pairs.collect(systems, rng))
    for system, psf in zip(systems, batch["psf"].double().numpy(), strict=True):
        expected = native_psf(fine_psf(system.psf, oversample=5), 5)
        assert system.psf.kind.startswith("pupil") and system.psf.phi != 0
        assert np.abs(psf - expected).max() < 0.01 * expected.max()


@pytest.mark.parametrize("radius", [10.0, 30.0])
@pytest.mark.parametrize("n", [1.0, 2.5, 4.0, 5.0])
@pytest.mark.parametrize("center", [(0.5, 0.5), (0.1, -0.3), (0.0, 0.0)])
def test_the_light_of_the_lens_is_that_of_an_independent_code(
    radius: float, n: float, center: tuple[float, float]
):
    """In its wings, too, relative to the brightest pixel behind the PSF."""
    shape, oversample = (60, 60), 9
    fine = fine_psf(Psf("gaussian", 2.0), oversample=oversample)
    psf = torch.from_numpy(native_psf(fine, oversample)).float()
    light = SersicLight(radius, n, 0.8, 0.6, *center, 1.0)
    numbers = torch.tensor([[radius, n, 0.8, math.cos(0.6), math.sin(0.6), *center, 1.0]])
    seen = PSF(psf, shape, subsample=1)(lens_light({"light": numbers}, shape))[0, 0].double()
    canvas = Canvas(PixelGrid(shape, 1.0), fine, oversample)
    expected = canvas.expose(sersic(light, canvas.padded, oversample))
    ratio = (seen / seen.max()).numpy() / (expected / expected.max())
    y, x = np.mgrid[:60, :60] - 29.5
    ring = (np.hypot(x, y) > 6) & (np.hypot(x, y) < 26)
    assert np.median(ratio[ring]) == pytest.approx(1, abs=0.06)  # 1.08 to 1.4 by its cusp softened
