"""The posterior of mass and source: against the search's covariance, moved masses, its samples."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from symptoms import GOOD
from torch import Tensor

from lensrim.evaluation.mocks import Mock
from lensrim.inference.answer import Answer, adapted, answer, mass_maps_of
from lensrim.inference.ascent import MacroProblem
from lensrim.inference.calibration import Calibration, Scale
from lensrim.inference.directions import Directions, macro_directions, near, other_directions
from lensrim.inference.macro import MacroState
from lensrim.inference.posterior import Posterior, posterior_of
from lensrim.inference.samples import draw, sample_maps
from lensrim.inference.scene import Scene
from lensrim.inference.search import STAGES, problem
from lensrim.inference.source_modes import FINER, FULL
from lensrim.inference.together import prior_of
from lensrim.inference.traits import TRAITS
from lensrim.inference.uncertainty import (
    KEYWORDS,
    Uncertainty,
    error_cards,
    signal_over_noise,
    uncertainty_of,
)
from lensrim.lensing.einstein import effective_theta_E


@pytest.fixture(scope="module")
def current(scene: Scene) -> MacroProblem:
    return problem(scene, prior_of(scene, has_light=False), STAGES[-1])


@pytest.fixture(scope="module")
def tuned(current: MacroProblem, state: MacroState) -> MacroState:
    return current.tune(state, rounds=4)


@pytest.fixture(scope="module")
def result(scene: Scene, tuned: MacroState) -> Answer:
    return answer(scene, mass_maps_of(scene, tuned), tuned)


@pytest.fixture(scope="module")
def macro(scene: Scene, tuned: MacroState, current: MacroProblem) -> Directions:
    return macro_directions(tuned.p[0], current.prior, scene.frame.grid)


@pytest.fixture(scope="module")
def narrow(scene: Scene, result: Answer, tuned: MacroState, macro: Directions) -> Posterior:
    """The posterior within the macro-model."""
    return posterior_of(scene, result, tuned.p[0], macro)


@pytest.fixture(scope="module")
def wide(scene: Scene, result: Answer, tuned: MacroState, current: MacroProblem) -> Uncertainty:
    return uncertainty_of(scene, result, tuned, current.prior, GOOD, calibration=Calibration())


def test_the_signal_over_noise_is_in_the_noise_that_is_fitted_with(scene: Scene, result: Answer):
    """A noise map that is half of what the sky scatters by is no gain."""
    plain = signal_over_noise(scene, result)
    half = replace(scene.frame, sigma=scene.frame.sigma / 2)
    measured = replace(scene, frame=half, noise_scale=2 * scene.noise_scale)
    assert signal_over_noise(measured, result) == pytest.approx(plain)
    assert signal_over_noise(replace(scene, growth=1.5), result) == pytest.approx(plain / 1.5)


def test_the_macro_model_has_the_errors_of_the_search(
    narrow: Posterior, current: MacroProblem, tuned: MacroState
):
    own = narrow.mass.parameters.T @ narrow.mass.parameters
    expected = torch.linalg.pinv(current.derivatives(tuned)[1])[0]
    ratio = own.diagonal().sqrt() / expected.diagonal().sqrt()
    # other modes of the source, and a source on pixels
    torch.testing.assert_close(ratio, torch.ones(8, dtype=ratio.dtype), atol=0.2, rtol=0)
    unit = expected.diagonal().rsqrt()
    correlation = unit[:, None] * (own - expected) * unit
    assert correlation.abs().max() < 0.4


def moved(scene: Scene, tuned: MacroState, change: Tensor, like: Answer) -> Answer:
    """Solves for the source given a moved mass, on pixels of the same size and gauge."""
    there = replace(tuned, p=tuned.p + change)
    side = like.source_grid.fov[0]
    return answer(scene, mass_maps_of(scene, there), there, source_fov=side)


@pytest.mark.parametrize("axis", [-1, 0, 3])
def test_all_moves_as_the_mass_does(
    scene: Scene,
    tuned: MacroState,
    result: Answer,
    macro: Directions,
    narrow: Posterior,
    axis: int,
):
    step = 0.5 * narrow.mass.parameters[axis]
    ahead, back = (moved(scene, tuned, s * step, result) for s in (1, -1))
    grid = scene.frame.grid
    kappa = narrow.mass.kappa[axis].numpy()
    edge = np.abs(kappa) < 0.2 * np.abs(kappa).max()  # the singular centre is no straight line
    np.testing.assert_allclose(
        (ahead.kappa - back.kappa)[edge], kappa[edge], atol=0.02 * np.abs(kappa[edge]).max()
    )
    expected = {
        "theta_E": effective_theta_E(ahead.kappa, grid) - effective_theta_E(back.kappa, grid),
        "gamma1": ahead.gamma[0] - back.gamma[0],
        "gamma2": ahead.gamma[1] - back.gamma[1],
    }
    numbers, others = (
        posterior_of(scene, there, tuned.p[0] + s * step, macro).numbers
        for s, there in ((1, ahead), (-1, back))
    )
    for name in ("macro_theta_E", "slope", "q", "phi", "flux", "magnification"):
        expected[name] = numbers[name].value - others[name].value
    for name, change in expected.items():
        number = narrow.numbers[name]
        assert float(number.axes[axis]) == pytest.approx(change, abs=0.15 * number.std), name
    source = narrow.source_axes[axis].numpy()
    found = ahead.source - back.source
    likeness = (source * found).sum() / math.sqrt((source**2).sum() * (found**2).sum())
    assert likeness > 0.8
    assert np.linalg.norm(source) == pytest.approx(np.linalg.norm(found), rel=0.3)


def test_the_magnification_is_that_of_what_is_detected(
    mock: Mock, scene: Scene, tuned: MacroState, result: Answer, macro: Directions
):
    found = posterior_of(scene, result, tuned.p[0], macro).numbers["magnification"]
    assert found.value == pytest.approx(mock.truth.magnification, rel=0.2)
    blank = replace(result, source=np.zeros_like(result.source))
    assert "magnification" not in posterior_of(scene, blank, tuned.p[0], macro).numbers


@pytest.mark.parametrize("e2", [-0.1, 0.1])
def test_an_axis_is_told_within_half_a_circle(
    scene: Scene, tuned: MacroState, result: Answer, macro: Directions, e2: float
):
    p = tuned.p[0].clone()
    p[1], p[2] = 0.05, e2
    phi = posterior_of(scene, result, p, macro).numbers["phi"].value
    assert 0 <= phi < math.pi
    assert math.tan(2 * phi) == pytest.approx(e2 / 0.05)


def test_samples_of_an_axis_are_within_a_quarter_of_a_circle(wide: Uncertainty):
    unsure = replace(wide, calibration=Calibration({"shape": Scale((1e4,) * 4)}))
    change = draw(unsure, 200).numbers["phi"] - wide.posterior.numbers["phi"].value
    assert np.abs(change).max() <= math.pi / 2
    assert np.abs(change).mean() == pytest.approx(math.pi / 4, rel=0.2)


def test_given_the_mass_the_source_has_the_error_of_the_inversion(
    narrow: Posterior, result: Answer
):
    given = narrow.scatter.square().sum(0).sqrt().numpy()
    np.testing.assert_allclose(given, result.source_std, rtol=1e-6, atol=1e-12)
    assert (narrow.source_std >= result.source_std).all()


@pytest.mark.parametrize("full", [FULL, 0.05])
def test_so_it_has_under_a_prior_that_follows_its_light(
    scene: Scene,
    result: Answer,
    tuned: MacroState,
    macro: Directions,
    narrow: Posterior,
    full: float,
    monkeypatch: pytest.MonkeyPatch,
):
    """Be it of more modes or not; the errors of the mass are those of the prior of its fit."""
    monkeypatch.setattr("lensrim.inference.answer.FULL", full)
    again = adapted(scene, result)
    assert again.envelope is not None
    assert (again.modes == FINER) == (full < FULL)
    found = posterior_of(scene, again, tuned.p[0], macro)
    given = found.scatter.square().sum(0).sqrt().numpy()
    np.testing.assert_allclose(given, again.source_std, rtol=1e-4, atol=1e-6 * given.max())
    assert not np.allclose(given, result.source_std, rtol=0.05, atol=1e-3 * given.max())
    for name in ("theta_E", "macro_gamma1", "slope"):
        mine, other = found.numbers[name].std, narrow.numbers[name].std
        assert mine == pytest.approx(other, rel=0.1), name


def test_a_mass_beyond_the_macro_model_is_less_certain(narrow: Posterior, wide: Uncertainty):
    ratio = wide.posterior.kappa_std / narrow.kappa_std
    assert ratio.min() > 0.99
    assert np.median(ratio) > 1.1
    for name in ("theta_E", "flux"):
        assert wide.posterior.numbers[name].std > 0.99 * narrow.numbers[name].std


def test_a_mass_that_is_a_macro_model_is_named_so(
    macro: Directions, tuned: MacroState, scene: Scene
):
    grid = scene.frame.grid
    own = other_directions(macro.kappa, macro.alpha + 0.3, macro, near(tuned.p[0], grid))
    torch.testing.assert_close(own.parameters, macro.parameters, atol=1e-6, rtol=0)


@pytest.mark.parametrize("offset", [0.0, 1e-3, 0.05])
def test_no_pixel_sees_more_than_the_jump_of_the_deflection_at_the_centre(
    scene: Scene, tuned: MacroState, current: MacroProblem, offset: float
):
    grid, p = scene.frame.grid, tuned.p[0].clone()
    x, y = (float(c.flatten()[20]) for c in grid.coordinates(dtype=torch.float64))
    p[3], p[4] = x + offset * grid.spacing, y
    alpha = macro_directions(p, current.prior, grid).alpha[3:5]
    jump = 2 * float(p[0].exp()) / grid.spacing
    assert 0.5 * jump < float(alpha.norm(dim=1).max()) < 1.5 * jump


def test_the_same_is_the_same_wherever_it_lies_in_the_memory(
    macro: Directions, tuned: MacroState, scene: Scene
):
    like, rng = near(tuned.p[0], scene.frame.grid), np.random.default_rng(0)
    held, found = [], []
    for _ in range(20):
        held.append(bytearray(int(rng.integers(1, 5000))))
        found.append(other_directions(macro.kappa, macro.alpha, macro, like).parameters)
    assert all(torch.equal(each, found[0]) for each in found)


def test_a_mass_that_is_compared_nowhere_has_no_macro_model(macro: Directions):
    nowhere = torch.zeros(macro.kappa.shape[1:], dtype=torch.bool)
    own = other_directions(macro.kappa, macro.alpha, macro, nowhere)
    assert not own.parameters.any()


@pytest.mark.parametrize("dof", [3.0, math.inf])
def test_samples_are_as_far_off_as_is_stated(wide: Uncertainty, dof: float):
    traits = np.linspace(-1.0, 1.0, len(TRAITS))
    weights = tuple((0.2 * traits).tolist())
    scales = {
        "kappa": Scale((1.5,) * 4, weights=weights),
        "flux": Scale((2.2,) * 4, weights=weights),
        "source": Scale((0.5,) * 4, 0.1),
    }
    stated = replace(wide, calibration=Calibration(scales, ((50.0, dof),)), traits=traits)
    plain = wide.posterior.numbers["flux"].std
    assert stated.errors["flux"] == pytest.approx(2.2 * plain * np.exp(0.2 * (traits @ traits)))
    drawn = draw(stated, 600, seed=4)
    bright = wide.posterior.source > 0.2 * wide.posterior.source.max()
    pairs = {
        "kappa": (drawn.kappa - wide.posterior.kappa, stated.kappa_std),
        "source": ((drawn.source - wide.posterior.source)[:, bright], stated.source_std[bright]),
    }
    for name, error in stated.errors.items():
        pairs[name] = (drawn.numbers[name] - wide.posterior.numbers[name].value, error)
    for name, (change, error) in pairs.items():
        share = (np.abs(change) < error).mean()
        assert share == pytest.approx(0.6827, abs=0.06), name  # 3 sigma of 600
        half = stated.calibration.half_width(0.95, stated.snr)
        assert (np.abs(change) < half * error).mean() == pytest.approx(0.95, abs=0.03), name


def test_the_error_of_a_bright_source_has_a_floor(wide: Uncertainty):
    plain = replace(wide, calibration=Calibration({"source": Scale((1.2,) * 4)}))
    stated = replace(wide, calibration=Calibration({"source": Scale((1.2,) * 4, floor=0.1)}))
    added = np.sqrt(stated.source_std**2 - plain.source_std**2)
    np.testing.assert_allclose(added, 0.1 * np.abs(wide.posterior.source), atol=1e-9)


def test_maps_and_numbers_of_a_sample_belong_together(
    wide: Uncertainty, result: Answer, scene: Scene
):
    drawn = draw(wide, 5, seed=1)
    area = (result.source_grid.spacing / scene.frame.grid.spacing) ** 2
    np.testing.assert_allclose(drawn.source.sum((1, 2)) * area, drawn.numbers["flux"], rtol=1e-9)
    again = draw(wide, 5, seed=1)
    np.testing.assert_array_equal(drawn.kappa, again.kappa)
    np.testing.assert_array_equal(drawn.numbers["q"], again.numbers["q"])
    assert not np.array_equal(drawn.kappa, draw(wide, 5, seed=2).kappa)


def test_the_deflection_of_a_sample_is_that_of_its_convergence(wide: Uncertainty, scene: Scene):
    drawn, h = draw(wide, 3, seed=1), scene.frame.grid.spacing
    alpha, kappa = drawn.alpha - wide.posterior.alpha, drawn.kappa - wide.posterior.kappa
    half = (np.gradient(alpha[:, 0], h, axis=2) + np.gradient(alpha[:, 1], h, axis=1)) / 2
    x, y = (c.numpy() for c in scene.frame.grid.coordinates())
    outside = np.hypot(x, y) > 6 * h  # differences of pixels do not see the centre
    outside[[0, -1]] = outside[:, [0, -1]] = False
    for own, other in zip(half, kappa, strict=True):
        scale = np.abs(other[outside]).max()
        np.testing.assert_allclose(own[outside], other[outside], atol=0.15 * scale)


def test_keywords_of_the_errors(wide: Uncertainty):
    cards = error_cards(wide, native=4.0)
    assert {key for key, _ in KEYWORDS.values()} <= set(cards)
    assert all(len(key) <= 8 and value > 0 for key, (value, _) in cards.items())
    assert cards["FLUXSRC"][0] == pytest.approx(4 * wide.posterior.numbers["flux"].value)
    assert cards["ERR95"][0] == pytest.approx(1.96, abs=0.001)
    assert "ERRDOF" not in cards
    heavy = error_cards(replace(wide, calibration=Calibration(tails=((50.0, 3.0),))), native=4.0)
    assert heavy["ERRDOF"][0] == 3.0


def test_no_samples_unless_they_are_wanted(wide: Uncertainty):
    none = sample_maps(wide, 0)
    assert (none.image_maps, none.source_maps, none.numbers) == ({}, {}, {})
    maps = sample_maps(wide, 2, seed=3)
    assert set(maps.image_maps) == {f"SAMPLES_{n}" for n in ("KAPPA", "ALPHA_X", "ALPHA_Y")}
    phi = draw(wide, 2, seed=3).numbers["phi"]
    np.testing.assert_allclose(maps.numbers["phi"][0], np.degrees(phi))
    assert maps.numbers["phi"][1] == "deg"
