"""Training pairs: a pure function of their number, and the same lenses as the mocks' own code."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from lensrim.datasets.arcs import arc_weights
from lensrim.datasets.clumpy import Clumpy
from lensrim.datasets.cosmos import Galaxy, half_light_radius
from lensrim.datasets.halos import LensPrior
from lensrim.datasets.masses import AnalyticMasses
from lensrim.datasets.pairs import PairPrior, Pairs
from lensrim.datasets.priors import SystemPrior
from lensrim.datasets.systems import FINE
from lensrim.evaluation.deflection import average_convergence, deflection, pixel_coordinates
from lensrim.evaluation.mocks import render
from lensrim.evaluation.rendering import TrueSource
from lensrim.grid import PixelGrid
from lensrim.lensing.psf import measure_fwhm

SYSTEMS = SystemPrior(
    pixel_scale=(1.0, 1.0), light_offset=0.3, psf_fwhm=(1.5, 4.0), theta_E=(12.0, 22.0)
)
PRIOR = PairPrior(system=SYSTEMS, rough=0.0, masked=0.0)
PAIRS = Pairs(3, shape=(48, 48), prior=PRIOR, psf_side=15)


def test_a_batch_is_a_function_of_its_number_and_the_seed():
    one, again, other = PAIRS(4), PAIRS(4), PAIRS(5)
    seeded = replace(PAIRS, seed=1)(4)
    for name, value in one.items():
        assert torch.equal(value, again[name])
    assert not torch.equal(one["image"], other["image"])
    assert not torch.equal(one["image"], seeded["image"])


def test_a_batch_holds_what_it_says():
    prior = replace(PRIOR, rough=1.0, masked=1.0)
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
        assert np.abs(clean - expected).mean() < 3e-3


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
    prior = PairPrior(system=bright, rough=0.0, masked=0.0, light_residual=(0.1, 0.2))
    batch = Pairs(16, shape=(48, 48), prior=prior, psf_side=15)(0)
    residual = (batch["image"] - batch["clean"]) / batch["sigma"]
    # half of it a field that is smooth over some pixels: it scatters from lens to lens
    assert float(residual.square().mean()) == pytest.approx(1, abs=0.1)
