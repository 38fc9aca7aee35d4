"""Outside methods: descent on the pixels, and a parametric fit."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cache
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from truthful import SIDE, small

from lensrim import cli, metrics
from lensrim.errors import InputError
from lensrim.evaluation import references
from lensrim.evaluation.options import EvaluateOptions
from lensrim.evaluation.references import METHODS, REFERENCES, Reference
from lensrim.evaluation.references import start as starts
from lensrim.evaluation.references.components import Components, first_guess, with_shapelets
from lensrim.evaluation.references.descent import (
    DESCENTS,
    PixelDescent,
    descend,
    maps_of_state,
)
from lensrim.evaluation.references.parametric import Parametric
from lensrim.evaluation.references.start import Beginning, begin_with_macro
from lensrim.evaluation.suite import evaluate_reference
from lensrim.inference.answer import answer, mass_maps_of
from lensrim.inference.answer_sheet import with_sheet
from lensrim.inference.apply import Begun
from lensrim.inference.framing import frame_of, observe
from lensrim.inference.learnt import setting_of, start_state
from lensrim.inference.macro import MacroState
from lensrim.inference.mass_sheet import InternalSheet
from lensrim.inference.options import ReconstructOptions
from lensrim.inference.scene import Scene
from lensrim.io.observation import Observation
from lensrim.lensing.likelihood import simulate

SEED = 1
"""A mock without lens light."""

EVERY = pytest.mark.parametrize("method", DESCENTS, ids=lambda method: method.name)


@cache
def beginning() -> Beginning:
    """A start near the truth: its ellipsoid, three per cent too large, and the best source."""
    mock = small(SEED)
    scene = observe(frame_of(mock.observation), lens_light=False)
    lens = mock.truth.system.lens
    host = lens.ellipsoid
    flat = (1 - host.q) / (1 + host.q)
    e1, e2 = flat * np.cos(2 * host.phi), flat * np.sin(2 * host.phi)
    p = [np.log(1.03 * host.theta_E), e1, e2, host.center_x, host.center_y]
    p = torch.tensor([[*p, lens.gamma1, lens.gamma2, host.gamma]], dtype=torch.float64)
    size = np.log(mock.truth.source.on_grid(mock.observation.grid).max())
    hyper = torch.tensor([[float(size), -2.0, 0.7, -2.3]], dtype=torch.float64)
    zero = torch.zeros(1, dtype=torch.float64)
    state = MacroState(p, hyper, zero, zero)
    first = answer(scene, mass_maps_of(scene, state), state)
    return Beginning(scene, state, first, seconds=2.5)


@cache
def begun() -> Begun:
    return beginning().begun(lens_light=False)


def near(method: PixelDescent) -> PixelDescent:
    """The method, with few steps from that start."""
    return replace(method, evaluations=10, begin=lambda *_: beginning())


def chi2(state: dict[str, torch.Tensor]) -> float:
    """χ² of a state, per pixel."""
    seen = begun().prepared
    model = simulate(begun().simulator, state, setting_of(seen))
    return float(((model - seen["image"]) / seen["sigma"]).square().mean())


@EVERY
def test_descent_lowers_chi2_and_is_deterministic(method: PixelDescent) -> None:
    start = start_state(begun().prepared)
    first, again, more = (descend(begun(), method.optimizer, n) for n in (10, 10, 25))
    assert chi2(start) > chi2(first) > chi2(more)
    for name, x in first.items():
        assert torch.equal(again[name], x)
        assert not torch.equal(start[name], x)


@EVERY
def test_without_steps_the_start_comes_back(method: PixelDescent) -> None:
    found, start = descend(begun(), method.optimizer, 0), start_state(begun().prepared)
    assert list(found) == list(start)
    for name, x in start.items():
        assert torch.equal(found[name], x)


def test_maps_of_the_start_are_those_of_the_macro_model() -> None:
    """But for rounding; its source, whose prior is found anew, explains the image as well."""
    maps, macro = maps_of_state(begun(), start_state(begun().prepared)), beginning().macro
    assert np.abs(maps.kappa - macro.kappa).max() < 1e-4 * macro.kappa.max()
    truth, sigma = small(SEED).truth, small(SEED).observation.sigma
    start, found = (
        metrics.misfit(model, truth.arcs, sigma, truth.arc_mask)
        for model in (maps.model, macro.arcs)
    )
    assert start < 1.1 * found
    assert np.mean(((maps.model - macro.arcs) / sigma)[truth.arc_mask] ** 2) < found


def test_a_descent_has_the_mass_sheet_of_the_chain() -> None:
    """Without a step it is the macro-model's answer, whose errors of the mass are its own."""
    bare, p = beginning(), beginning().state.p[0, :8]
    macro = with_sheet(bare.scene, bare.macro, InternalSheet(t=0.08), p)
    settled = replace(bare, macro=macro)
    method = replace(DESCENTS[0], evaluations=0, begin=lambda *_: settled)
    maps = method(small(SEED).observation, False).maps
    assert np.abs(maps.kappa - macro.kappa).max() < 1e-4 * macro.kappa.max()
    assert np.abs(maps.kappa - bare.macro.kappa).max() > 0.01
    np.testing.assert_allclose(maps.alpha, [macro.alpha_x, macro.alpha_y], atol=1e-3)
    plain = maps_of_state(begun(), start_state(begun().prepared)).source_grid
    assert maps.source_grid.spacing == pytest.approx(np.exp(-0.08) * plain.spacing)
    middle = p[3:5].tolist()
    moved = np.subtract(maps.source_grid.center, middle) / np.subtract(plain.center, middle)
    np.testing.assert_allclose(moved, np.exp(-0.08))


@EVERY
def test_the_row_of_a_descent_tells_the_times_apart(method: PixelDescent) -> None:
    row = evaluate_reference(small(SEED), SEED, near(method))
    assert row["status"] == "ok"
    assert row["method"] == method.name
    assert row["start_seconds"] == 2.5
    assert row["errors"]["theta_error"] < 0.04
    assert np.isfinite(row["errors"]["misfit"])
    # what is fitted without a prior has no number of parameters that would be known
    assert np.isnan(row["errors"]["excess"])


def test_maps_of_a_descent_are_on_the_pixels_of_the_mock() -> None:
    solved = near(DESCENTS[0])(small(SEED).observation, False)
    maps = [solved.maps.model, solved.maps.kappa, *solved.maps.alpha, solved.rest]
    assert {np.shape(each) for each in maps} == {(SIDE, SIDE)}
    assert solved.maps.source.shape == solved.maps.source_grid.shape


@dataclass
class Chain:
    """Stands for the chain, of which it counts the calls."""

    scene: Scene
    calls: int = 0

    def __call__(self, observation: Observation, options: ReconstructOptions) -> Any:
        self.calls += 1
        self.light = options.lens_light
        known = beginning()
        return SimpleNamespace(scene=self.scene, state=known.state, answers={"macro": known.macro})


@pytest.fixture
def chain(monkeypatch: pytest.MonkeyPatch) -> Iterator[Chain]:
    found = Chain(beginning().scene)
    monkeypatch.setattr(starts, "reconstruct", found)
    begin_with_macro.cache_clear()
    yield found
    begin_with_macro.cache_clear()


def test_methods_share_the_macro_model_of_an_observation(chain: Chain) -> None:
    seen = small(SEED).observation
    assert begin_with_macro(seen, True) is begin_with_macro(seen, True)
    assert (chain.calls, chain.light) == (1, "auto")
    begin_with_macro(seen, False)
    assert (chain.calls, chain.light) == (2, "none")


def test_a_frame_that_is_cut_is_refused(chain: Chain) -> None:
    with pytest.raises(ValueError, match="the frame must stay as it is"):
        begin_with_macro(small(4).observation, False)


def test_methods_are_named_in_the_help_and_others_refused(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert all(isinstance(method, Reference) for method in METHODS)
    with pytest.raises(SystemExit, match="0"):
        cli.main(["evaluate", "--help"])
    said = capsys.readouterr().out.split("--reference")[1].split("--n ")[0]
    assert all(name in said for name in REFERENCES)
    with pytest.raises(InputError, match="--reference: must be of adam, lbfgs, lenstronomy"):
        EvaluateOptions(reference=("adam", "nobody")).check()


def test_a_method_without_its_package_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(references.PACKAGES, "lenstronomy", "no_such_package")
    with pytest.raises(InputError, match="--reference lenstronomy: needs the package no_such"):
        EvaluateOptions(reference=("lenstronomy",)).check()
    EvaluateOptions(reference=("adam",)).check()


MODELS: dict[str, Callable[[bool], Components]] = {
    "plain": lambda light: first_guess(small(SEED).observation, light),
    "shapelets": lambda light: with_shapelets(first_guess(small(SEED).observation, light), 4),
}


@pytest.mark.parametrize("light", [False, True])
@pytest.mark.parametrize("make", MODELS.values(), ids=MODELS)
def test_first_guesses_are_within_their_bounds(
    make: Callable[[bool], Components], light: bool
) -> None:
    model = make(light)
    for guesses, widths, fixed, low, high in model.ranges().values():
        for i, guess in enumerate(guesses):
            assert set(guess) == {*low[i], *fixed[i]}
            assert all(low[i][name] <= guess[name] <= high[i][name] for name in low[i])
            assert all(widths[i][name] > 0 for name in low[i])
    assert model.free == (14 + 6 * light) + (len(model.joined) > 0)


@pytest.mark.parametrize("seed", [1, 2, 4])
def test_the_arcs_tell_where_the_ring_is(seed: int) -> None:
    mock = small(seed)
    lens = first_guess(mock.observation, True).numbers["kwargs_lens"][0]
    assert lens["theta_E"] == pytest.approx(mock.truth.macro_theta_E, rel=0.3)


@pytest.mark.slow
@pytest.mark.oracle
def test_lenstronomy_fits_a_mock() -> None:
    pytest.importorskip("lenstronomy")
    fit = Parametric(swarms=2, particles=30, iterations=25, n_max=3, refined=3, simplex=10)
    mock, state = small(SEED), str(np.random.get_state())  # noqa: NPY002
    one, two = (fit(mock.observation, False) for _ in range(2))
    assert np.array_equal(one.maps.source, two.maps.source)
    assert str(np.random.get_state()) == state  # noqa: NPY002
    row = evaluate_reference(mock, SEED, fit)
    assert row["status"] == "ok"
    assert row["errors"]["theta_error"] < 0.02
    assert row["errors"]["misfit"] < 5
    assert row["errors"]["alpha"] < 0.05
    assert abs(row["errors"]["flux"]) < 0.5


@pytest.mark.slow
def test_descent_begins_with_the_chain() -> None:
    row = evaluate_reference(small(SEED), SEED, REFERENCES["adam"])
    assert row["status"] == "ok"
    assert row["start_seconds"] > row["seconds"]
    assert row["errors"]["theta_error"] < 0.03
