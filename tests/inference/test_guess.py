"""The network that guesses macro-models: what it looks at, what it says, how it is trained."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.stats import multivariate_t

from lensrim.datasets.pairs.pairs import Pairs
from lensrim.errors import InputError
from lensrim.inference.guess import starts
from lensrim.inference.guess.__main__ import main
from lensrim.inference.guess.fitting import (
    GuessRecipe,
    loss_fn,
    read_guess_recipe,
    train,
    view_of,
)
from lensrim.inference.guess.look import SIDE, SLOPE, Look
from lensrim.inference.guess.network import COUNT, FREEDOM, SPREADS, Guess, Guesser
from lensrim.inference.guess.starts import TURNS, guesses_of, packaged_guesser
from lensrim.inference.macro import mass_model
from lensrim.inference.scene import Scene
from lensrim.inference.search import FLATTEST
from lensrim.inference.together import prior_of
from lensrim.training.config import TrainConfig


def look_of(center=(0.0, 0.0), half=2.0, angle=0.0, mirror=1.0) -> Look:
    one = torch.ones(1, dtype=torch.float64)
    return Look(torch.tensor([center]).double(), half * one, angle * one, mirror * one)


LOOKS = {
    "straight": look_of(),
    "turned": look_of(angle=0.7),
    "mirrored": look_of(mirror=-1.0),
    "all of it": look_of(center=(0.3, -0.2), half=1.3, angle=-2.1, mirror=-1.0),
}


@pytest.fixture
def p() -> torch.Tensor:
    return torch.tensor([[math.log(0.9), 0.2, -0.1, 0.05, 0.1, 0.03, 0.06, SLOPE]]).double()


@pytest.mark.parametrize("look", LOOKS.values(), ids=LOOKS)
def test_what_is_seen_is_told_again(look: Look, p: torch.Tensor):
    torch.testing.assert_close(look.told(look.seen(p)), p)


@pytest.mark.parametrize("look", LOOKS.values(), ids=LOOKS)
def test_a_square_shows_the_map_of_the_lens_that_it_tells(look: Look, p: torch.Tensor):
    """Convergence and length of the deflection, looked at, are those of the lens as it is seen."""

    def maps(mass, x, y, middle=(0.0, 0.0)):
        # the shear is one about the middle of the square: elsewhere it bends all rays alike
        shear = mass.components[1].deflection(*torch.tensor(middle, dtype=x.dtype))
        ax, ay = (a - b for a, b in zip(mass.deflection(x, y), shear, strict=True))
        return torch.stack([mass.convergence(x, y).clamp(max=1.5), (ax**2 + ay**2) / 4])

    n, spacing = 400, 0.02
    step = (torch.arange(n, dtype=torch.float64) - (n - 1) / 2) * spacing
    y, x = torch.meshgrid(step, step, indexing="ij")
    kappa, square = maps(mass_model(p[0]), x, y, look.center[0].tolist())
    ones = torch.ones_like(kappa)[None, None]
    shown = look.maps(kappa[None, None], ones, ones, torch.ones(1).double(), spacing=spacing)
    step = (torch.arange(SIDE, dtype=torch.float64) + 0.5) * 2 / SIDE - 1
    v, u = torch.meshgrid(step, step, indexing="ij")
    seen = torch.cat([look.seen(p)[0], torch.tensor([SLOPE]).double()])
    expected, moduli = maps(mass_model(seen), u, v)
    # off the cusp, where bilinear interpolation is as good as 1e-3
    away = expected < 1.4
    np.testing.assert_allclose(shown[0, 1][away], expected[away], atol=2e-3)
    bent = look.maps(square[None, None], ones, ones, torch.ones(1).double(), spacing=spacing)
    scaled = moduli * look.half**2
    inside = scaled < 1.4
    np.testing.assert_allclose(bent[0, 1][inside], scaled[inside], atol=2e-2)


def test_maps_hold_signal_brightness_and_mask():
    image = torch.full((1, 1, 32, 32), 3.0)
    mask = torch.ones_like(image)
    mask[..., :16] = 0
    one = torch.ones(1)
    look = Look(torch.zeros(1, 2), 32 * one, 0 * one, one)  # twice the frame
    signal, light, used = look.maps(image, image / 10, mask, torch.tensor([6.0]), spacing=1.0)[0]
    outside = torch.ones(SIDE, SIDE, dtype=torch.bool)
    outside[SIDE // 4 : -SIDE // 4, SIDE // 2 : -SIDE // 4] = False
    assert float(used[outside].abs().max()) < 0.51  # of a pixel at the edge
    inner = (slice(SIDE // 4 + 1, -SIDE // 4 - 1), slice(SIDE // 2 + 1, -SIDE // 4 - 1))
    np.testing.assert_allclose(signal[inner], math.asinh(10 / 2) / 2, rtol=1e-5)
    np.testing.assert_allclose(light[inner], 0.5, rtol=1e-5)
    np.testing.assert_allclose(used[inner], 1.0)


def some_guess(batch: int = 1) -> Guess:
    generator = torch.Generator().manual_seed(3)
    root = torch.randn(COUNT, COUNT, generator=generator).double().tril(-1) * 0.5
    root = root + torch.linspace(1, 3, COUNT).double().diag()
    return Guess(torch.linspace(-1, 1, COUNT).double().repeat(batch, 1), root.repeat(batch, 1, 1))


def covariance_of(guess: Guess) -> np.ndarray:
    spread = np.diag(SPREADS)
    return spread @ np.linalg.inv((guess.root[0].T @ guess.root[0]).numpy()) @ spread


def test_the_surprise_is_that_of_students_distribution():
    guess, numbers = some_guess(5), some_guess(5).mean + torch.randn(5, COUNT).double() * 0.1
    mean = guess.mean[0].numpy()
    other = multivariate_t(mean, covariance_of(guess), df=FREEDOM)
    difference = guess.surprise(numbers).numpy() + other.logpdf(numbers.numpy())
    np.testing.assert_allclose(difference - difference[0], 0, atol=1e-9)


def test_draws_have_the_spread_that_is_stated():
    guess = some_guess()
    drawn = guess.draw(40_000, torch.Generator().manual_seed(0))[0].numpy()
    # the covariance of Student's distribution is nu / (nu - 2) times that of its scale
    expected = covariance_of(guess) * FREEDOM / (FREEDOM - 2)
    scale = np.sqrt(np.diag(expected))
    off = (np.median(drawn, 0) - guess.mean[0].numpy()) / scale
    np.testing.assert_allclose(off, 0, atol=0.02)
    found = np.cov(drawn.T) / np.outer(scale, scale)
    np.testing.assert_allclose(found, expected / np.outer(scale, scale), atol=0.08)


def test_an_untrained_network_says_what_is_typical():
    guess = Guesser()(torch.randn(2, 3, SIDE, SIDE))
    np.testing.assert_allclose(guess.mean.detach(), [[-1, 0, 0, 0, 0, 0, 0]] * 2, atol=1e-6)
    torch.testing.assert_close(guess.root, torch.eye(COUNT).expand(2, -1, -1))


def test_views_are_about_the_middle_where_no_light_tells_the_centre():
    pairs = Pairs(batch_size=8, shape=(32, 32))(0)
    pairs["lit"] = torch.tensor([0.0, 1.0] * 4)
    look = view_of(pairs)
    assert bool((look.center[::2] == 0).all())
    off = look.center[1::2] - pairs["macro"][1::2, 3:5]
    assert 0 < float(off.abs().max()) < 1.5
    assert bool((look.half > 0.74 * 16).all()) and bool((look.half < 1.61 * 16).all())


def test_a_training_learns_and_goes_on(tmp_path):
    recipe = GuessRecipe(
        data=replace(GuessRecipe().data, shape=32),
        train=TrainConfig(
            steps=6, batch_size=4, warmup=1, learning_rate=1e-3, validate_every=3,
            checkpoint_every=3,
        ),
        validation=4,
    )  # fmt: skip
    _, done = train(recipe, tmp_path, max_minutes=0, quiet=True)
    assert not done
    network, done = train(recipe, tmp_path, max_minutes=None, quiet=True)
    assert done and not network.training
    assert float(network.head.weight.detach().abs().max()) > 0
    with pytest.raises(InputError, match=r"resum|another"):
        train(replace(recipe, views=3), tmp_path, max_minutes=None, quiet=True)


def test_the_loss_falls_where_the_guess_is_right():
    batch = {"maps": torch.zeros(3, 3, SIDE, SIDE), "numbers": torch.zeros(3, COUNT)}
    wrong, said = loss_fn(Guesser(), batch)
    batch["numbers"][:, 0] = -1.0
    right, _ = loss_fn(Guesser(), batch)
    assert float(right.detach()) < float(wrong.detach())
    assert said["theta_E"] == 1.0 and said["shear"] == 0.0


def test_a_recipe_is_read_beside_its_folder(tmp_path):
    path = tmp_path / "guess.toml"
    path.write_text('views = 3\n[data]\nstock = "x"\n[train]\nsteps = 5\nwarmup = 1\n')
    recipe = read_guess_recipe(path)
    assert recipe.views == 3 and recipe.data.stock == str(tmp_path / "x")
    with pytest.raises(InputError, match="stock"):
        train(recipe, tmp_path / "run", max_minutes=None, quiet=True)
    path.write_text("[model]\n")
    with pytest.raises(InputError, match=r"guess\.toml.*model"):
        read_guess_recipe(path)


def test_starts_are_near_the_lens_and_within_the_prior(scene, state):
    prior = prior_of(scene, has_light=False)
    guesses = guesses_of(scene, prior)
    starts = guesses.starts(seed=1, draws=3)
    assert starts.shape == (TURNS * 4, 8)
    assert bool(torch.isfinite(prior.log_density(starts)).all())
    assert float(starts[:, 1:3].norm(dim=1).max()) < FLATTEST + 1e-6
    means = starts[::4]
    assert float((means[:, 0] - state.p[0, 0]).abs().max()) < 0.1
    assert torch.equal(starts, guesses.starts(seed=1, draws=3))
    assert not torch.equal(starts, guesses.starts(seed=2, draws=3))
    far = state.p[0].clone()
    far[0] -= 1.0
    assert guesses.distance(state.p[0]) < guesses.distance(far)


def test_bad_settings_are_one_line(tmp_path, capsys):
    path = tmp_path / "guess.toml"
    for text, said in (("views = 0", "views"), ("validation = -5", "validation")):
        path.write_text(text)
        assert main([str(path), "--output", str(tmp_path / "run")]) == 2
        error = capsys.readouterr().err
        assert error.startswith("lensrim: error: ") and error.count("\n") == 1 and said in error
    assert main([str(tmp_path / "none.toml")]) == 2
    path.write_text("")
    assert main([str(path), "--output", str(tmp_path / "run"), "--max-minutes", "-1"]) == 2
    assert "--max-minutes" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_a_network_that_is_not_that_of_its_card_is_refused(tmp_path, monkeypatch):
    card = tmp_path / "card.toml"
    card.write_text(f'file = "a.safetensors"\nsha256 = "{"0" * 64}"\n')
    (tmp_path / "a.safetensors").write_bytes(b"damaged")
    monkeypatch.setattr(starts, "CARD", card)
    packaged_guesser.cache_clear()
    with pytest.raises(InputError, match="must have the checksum of its card, 000000000000"):
        packaged_guesser()
    packaged_guesser.cache_clear()


def test_a_frame_that_is_off_the_middle_moves_what_is_guessed(scene: Scene):
    prior, (dx, dy) = prior_of(scene, False), (0.07, -0.04)
    frame = replace(scene.frame, grid=replace(scene.frame.grid, center=(dx, dy)))
    moved = replace(prior, center=(prior.center[0] + dx, prior.center[1] + dy))
    here = guesses_of(scene, prior).starts(0, draws=1)
    there = guesses_of(replace(scene, frame=frame), moved).starts(0, draws=1)
    shift = torch.tensor([0, 0, 0, dx, dy, 0, 0, 0], dtype=torch.float64)
    torch.testing.assert_close(there, here + shift, rtol=0, atol=1e-5)
