"""Autoencoders of images: their laws, in any size; and the galaxies that they draw."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from lensrim.datasets.galaxies.generative import LOG_VARIANCE, VAE, VAEConfig, load_vae, save_vae
from lensrim.datasets.galaxies.learnt import LearntGalaxies
from lensrim.datasets.systems import Galaxies
from lensrim.errors import InputError

CONFIGS = [
    VAEConfig(side=16, latent=3, widths=(4, 6), power=0.5),
    VAEConfig(side=8, latent=5, widths=(4,)),
    VAEConfig(side=24, latent=2, widths=(4, 5, 6), power=0.3, components=3),
]


def gen(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def images(config: VAEConfig, n: int = 4) -> Tensor:
    """Blobs at random places, with something below zero."""
    axis = torch.arange(config.side) - (config.side - 1) / 2
    places = torch.randn(n, 2, 1, 1, generator=gen(5)) * config.side / 8
    r2 = (axis[None, :] - places[:, 0]) ** 2 + (axis[:, None] - places[:, 1]) ** 2
    return (torch.exp(-r2 / (2 * (config.side / 8) ** 2)) - 0.05)[:, None]


def filled(config: VAEConfig) -> VAE:
    """An untrained autoencoder all of whose parts matter."""
    torch.manual_seed(3)
    vae = VAE(config)
    with torch.no_grad():
        for parameter in vae.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
        k, n = config.components, config.latent
        vae.centers.copy_(torch.randn(k, n))
        vae.factors.copy_(torch.randn(k, n, n).tril())
    vae.standardise(images(config, 8))
    return vae.eval()


@pytest.mark.parametrize("config", CONFIGS)
class TestLaws:
    def test_shapes(self, config: VAEConfig) -> None:
        vae, x = filled(config), images(config)
        mean, log_variance = vae.encode(x)
        assert mean.shape == log_variance.shape == (4, config.latent)
        assert vae.decode(mean).shape == x.shape
        assert vae.sample(3, gen()).shape == (3, *x.shape[1:])
        assert vae.near(x, 5, 0.5, gen()).shape == (4, 5, *x.shape[1:])

    def test_the_standardised_form_has_an_inverse(self, config: VAEConfig) -> None:
        vae, x = filled(config), images(config)
        torch.testing.assert_close(vae.shown(vae.seen(x)), x, rtol=0, atol=1e-5)

    def test_the_training_images_are_standard(self, config: VAEConfig) -> None:
        seen = filled(config).seen(images(config, 8))
        torch.testing.assert_close(seen.mean(0), torch.zeros_like(seen[0]), rtol=0, atol=1e-5)
        assert float(seen.square().mean()) == pytest.approx(1, abs=1e-4)

    def test_no_image_depends_on_another(self, config: VAEConfig) -> None:
        vae, x = filled(config), images(config)
        together, alone = vae.encode(x), vae.encode(x[2:3])
        for a, b in zip(together, alone, strict=True):
            torch.testing.assert_close(a[2:3], b, rtol=1e-4, atol=1e-5)

    def test_draws_are_those_of_the_generator(self, config: VAEConfig) -> None:
        vae = filled(config)
        assert torch.equal(vae.sample(3, gen(1)), vae.sample(3, gen(1)))
        assert not torch.equal(vae.sample(3, gen(1)), vae.sample(3, gen(2)))

    def test_nearby_images_come_near_as_the_spread_goes_to_zero(self, config: VAEConfig) -> None:
        vae, x = filled(config), images(config)
        with torch.no_grad():
            back = vae.decode(vae.encode(x)[0])[:, None]
        off = [float((vae.near(x, 8, s, gen()) - back).abs().mean()) for s in (0, 0.01, 0.1, 1.0)]
        # convolutions of larger batches may round otherwise
        assert off[0] < 1e-5 and off[1] < 0.3 * off[2] < 0.3 * off[3]

    def test_files_keep_all_bits(self, config: VAEConfig, tmp_path: Path) -> None:
        vae, x = filled(config), images(config)
        save_vae(tmp_path / "vae.safetensors", vae, header={"of": "blobs"})
        back = load_vae(tmp_path / "vae.safetensors")
        assert back.config == config
        assert torch.equal(back.encode(x)[0], vae.encode(x)[0])
        assert torch.equal(back.sample(2, gen()), vae.sample(2, gen()))


def test_the_mixture_is_drawn_from() -> None:
    vae = VAE(VAEConfig(side=8, latent=2, widths=(4,), components=2))
    vae.shares.copy_(torch.tensor([0.25, 0.75]))
    vae.centers.copy_(torch.tensor([[-10.0, 0.0], [10.0, 0.0]]))
    vae.factors.copy_(torch.tensor([[1.0, 0.0], [0.5, 2.0]]).repeat(2, 1, 1))
    z = vae.draw_latent(4000, gen())
    left = z[:, 0] < 0
    assert float(left.float().mean()) == pytest.approx(0.25, abs=0.03)
    cov = torch.cov(z[~left].T)
    torch.testing.assert_close(cov, torch.tensor([[1.0, 0.5], [0.5, 4.25]]), rtol=0, atol=0.3)


def test_a_draw_is_the_same_everywhere() -> None:
    """A mock is frozen by a seed: what torch makes of one must not depend on its version."""
    vae = VAE(VAEConfig(side=8, latent=2, widths=(4,), components=4))
    vae.shares.copy_(torch.tensor([0.1, 0.2, 0.3, 0.4]))
    vae.centers.copy_(torch.arange(4.0)[:, None].repeat(1, 2))
    vae.factors.zero_()
    drawn = [int(vae.draw_latent(1, gen(seed))[0, 0]) for seed in range(12)]
    assert drawn == [2, 3, 1, 0, 2, 3, 3, 1, 2, 3, 3, 0]


def test_variances_are_bounded() -> None:
    vae = filled(CONFIGS[0])
    _, log_variance = vae.encode(1e6 * images(CONFIGS[0]))
    low, high = (float(v) for v in log_variance.detach().aminmax())
    assert LOG_VARIANCE[0] <= low <= high <= LOG_VARIANCE[1]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"side": 20, "widths": (4, 4, 4)}, "side: must be a multiple of 8"),
        ({"power": 0.0}, "power: must be above 0"),
        ({"latent": 0}, "must be whole numbers, 1 or more"),
        ({"widths": ()}, "must be whole numbers, 1 or more"),
    ],
)
def test_impossible_sizes_are_refused(values: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        VAEConfig(**values)


def test_images_of_another_size_are_refused() -> None:
    with pytest.raises(ValueError, match=r"must have the shape \(B, 1, 16, 16\)"):
        VAE(CONFIGS[0]).encode(torch.zeros(2, 1, 8, 8))


def test_files_of_something_else_are_refused(tmp_path: Path) -> None:
    from lensrim._weights import write_weights

    write_weights(tmp_path / "other.safetensors", {"a": torch.zeros(1)}, {"vae": {"side": 16}})
    with pytest.raises(InputError, match="must hold a generator of images"):
        load_vae(tmp_path / "other.safetensors")


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    """A generator that draws one blob, brighter or fainter, on a background of nothing."""
    config = VAEConfig(side=32, latent=4, widths=(4, 6), power=0.5)
    vae = filled(config)
    with torch.no_grad():
        vae.mean_map.copy_(images(config, 1)[0].clamp(min=0).sqrt())
        vae.scale.fill_(0.1)
        vae.factors.copy_(torch.eye(4))
    save_vae(tmp_path / "vae.safetensors", vae)
    return tmp_path / "vae.safetensors"


class TestGalaxies:
    def test_they_keep_the_protocol(self, weights: Path) -> None:
        galaxies = LearntGalaxies(weights, count=7)
        assert isinstance(galaxies, Galaxies)
        assert galaxies.names[0] == "vae-000000" and len(galaxies.names) == len(galaxies) == 7

    def test_each_stands_on_zeros_with_its_peak_at_1(self, weights: Path) -> None:
        galaxies = LearntGalaxies(weights, count=4)
        for name in galaxies.names:
            galaxy = galaxies.load(name)
            h, w = galaxy.image.shape
            assert galaxy.name == name and h == w and h % 2 == 1
            border = np.concatenate(
                [galaxy.image[[0, -1]].ravel(), galaxy.image[:, [0, -1]].ravel()]
            )
            assert galaxy.image.max() == 1 and galaxy.image.min() == 0 and not border.any()
            assert 0 < galaxy.half_light_radius < h * galaxy.pixel_scale / 2

    def test_each_is_a_function_of_name_seed_and_weights(self, weights: Path) -> None:
        a, b = LearntGalaxies(weights, count=9), LearntGalaxies(weights, count=5)
        b.load("vae-000001")
        np.testing.assert_array_equal(a.load("vae-000003").image, b.load("vae-000003").image)
        other = LearntGalaxies(weights, count=5, seed=1).load("vae-000003")
        assert not np.array_equal(a.load("vae-000003").image, other.image)

    @pytest.mark.parametrize("name", ["vae-000005", "m51", "vae-x"])
    def test_other_names_are_refused(self, weights: Path, name: str) -> None:
        with pytest.raises(InputError, match="must be one of vae-000000 to vae-000004"):
            LearntGalaxies(weights, count=5).load(name)

    def test_a_generator_of_nothing_is_told(self, tmp_path: Path) -> None:
        vae = VAE(VAEConfig(side=8, latent=2, widths=(4,)))
        vae.scale.fill_(0.0)
        save_vae(tmp_path / "vae.safetensors", vae)
        with pytest.raises(InputError, match="none of 20 draws of the generator shows a galaxy"):
            LearntGalaxies(tmp_path / "vae.safetensors").load("vae-000000")

    def test_a_count_must_be_positive(self, weights: Path) -> None:
        with pytest.raises(InputError, match="count: must be 1 galaxy or more"):
            LearntGalaxies(weights, count=0)
