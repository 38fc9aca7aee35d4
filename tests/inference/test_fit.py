"""The fit of the macro-model: where it begins, and when it is made once more."""

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from ways import few_stages, short

from lensrim.evaluation.mocks import Mock
from lensrim.inference import fit as fitting
from lensrim.inference.fit import (
    AGAIN,
    ROUNDS,
    STEADY,
    SURPRISE,
    WAYS,
    Fitted,
    Fitter,
    is_steady,
)
from lensrim.inference.guess.starts import TURNS, Guesses
from lensrim.inference.macro import MacroState
from lensrim.inference.scene import Scene
from lensrim.inference.search import CORES, STAGES, Stage, best_of_starts, problem
from lensrim.inference.search import search as whole_search
from lensrim.inference.together import prior_of
from lensrim.progress import Stages

TINY = few_stages()


def fitter(scene: Scene, has_light: bool = False) -> Fitter:
    prior = prior_of(scene, has_light=False)
    stages = Stages({"search": 1, "lens light with arcs": 1, "source": 1}, enabled=False)
    return Fitter(scene, None, prior, has_light, None, "expected", stages)


@pytest.fixture
def begun(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Searches of two stages, which note from how many starts they were told to climb."""
    calls: list[int] = []

    def search(*args: Any, starts: Tensor | None, **options: Any):
        calls.append(0 if starts is None else len(starts))
        return whole_search(*args, starts=starts, **options)

    monkeypatch.setattr(fitting, "search", search)
    monkeypatch.setattr(fitting, "WAYS", short(TINY))
    return calls


def test_what_the_network_expects_is_searched_for_once(scene: Scene, begun: list[int]):
    found = fitter(scene)(0)
    assert begun == [TURNS * (1 + (WAYS["auto"].draws or 0))]
    assert not found.notes and len(found.fits) == 1
    assert len(found.lines) == len(TINY) - 1


def test_what_surprises_the_network_is_searched_for_in_all_of_the_prior(
    scene: Scene, begun: list[int], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(Guesses, "distance", lambda *_: SURPRISE + 1)
    found = fitter(scene)(0)
    assert begun[0] > 0 and begun[1:] == [0] and len(found.fits) == 2
    assert "not what the network expected" in found.notes[0]
    kept = "first" if found.best is found.fits[0] else "second"
    assert f"the {kept} is kept" in found.notes[0]


def test_chi2_is_that_in_the_noise_of_the_sky(scene: Scene, begun: list[int]):
    found = fitter(scene)(0).best
    other = replace(found, scene=replace(found.scene, noise_scale=2 * found.scene.noise_scale))
    assert other.chi2 == pytest.approx(found.chi2 / 4)
    assert found.chi2 < AGAIN


def test_the_best_is_of_the_highest_evidence_and_a_number(scene: Scene, begun: list[int]):
    one = fitter(scene)(0).best
    fits = tuple(replace(one, evidence=v) for v in (-math.inf, -5.0, -3.0))
    assert Fitted(fits, (), ()).best is fits[2]
    assert Fitted(fits[:2], (), ()).best is fits[1]


def test_fits_are_judged_in_one_noise_and_one_stage(scene: Scene, begun: list[int]):
    own, fit = fitter(scene), fitter(scene)(0).best
    plain = own.judged((fit,))[0].evidence
    noisy = replace(fit, scene=replace(scene, structure=0.5 * scene.frame.sigma))
    one, other = own.judged((fit, noisy))
    assert one.evidence == other.evidence  # of one mass, whatever it was fitted with,
    assert abs(one.evidence - plain) > 5  # in the larger noise
    coarse = replace(fit, stage=replace(fit.stage, modes=4))
    one, other = own.judged((coarse, fit))
    assert one.evidence == other.evidence == pytest.approx(plain)
    assert own.judged((fit, coarse))[1].evidence < plain - 1


def test_fits_are_judged_with_the_light_that_suits_them(scene: Scene, begun: list[int]):
    fit = fitter(scene)(0).best
    dim = replace(scene.light, amplitudes=scene.light.amplitudes - 3 * scene.frame.sigma.mean())
    wrong = replace(fit, scene=replace(scene, light=dim))
    own, alone = fitter(scene, has_light=True), fitter(scene)(0).best
    plain, bad = (own.judged((each,))[0].evidence for each in (alone, wrong))
    assert bad < plain - 5
    for pair in ((fit, wrong), (wrong, fit)):
        assert all(each.evidence == pytest.approx(plain) for each in own.judged(pair))


def test_the_mass_of_the_lower_evidence_is_not_kept(scene: Scene, begun: list[int]):
    own, fit = fitter(scene), fitter(scene)(0).best
    far = replace(fit.state, p=fit.state.p + 0.4 * torch.eye(8)[:1].to(fit.state.p))
    one, two = own.judged((replace(fit, state=far), fit))
    assert one.evidence < two.evidence - 5
    assert Fitted((one, two), (), ()).best is two
    assert torch.equal(one.candidates.p[0], far.p[0])
    # what else was found stays as far from the best as it was
    value = fit.candidates.value
    torch.testing.assert_close(two.candidates.value, value - value[0] + two.evidence)


def test_an_evidence_that_is_no_number_is_the_lowest(
    scene: Scene, begun: list[int], monkeypatch: pytest.MonkeyPatch
):
    own, fit = fitter(scene), fitter(scene)(0).best
    lost = replace(fit.state, value=fit.state.value * torch.nan)
    monkeypatch.setattr(fitting, "climb_anew", lambda current, state, steps, rounds: state)
    one, two = own.judged((replace(fit, state=lost), fit))
    assert one.evidence == -math.inf and (one.candidates.value == -math.inf).all()
    assert Fitted((one, two), (), ()).best is two


def test_light_and_arcs_are_fitted_in_turn_until_the_mass_is_steady(
    mock: Mock, scene: Scene, begun: list[int], monkeypatch: pytest.MonkeyPatch
):
    moves = [0.05, -0.02, 0.001, 0.0]

    def together(scene: Scene, current: Any, state: MacroState, _: Any, stage: Stage):
        assert stage is TINY[-1]
        p = state.p.clone()
        p[:, 0] += moves[len(made)]
        made.append(float(p[0, 0]))
        return scene, current, replace(state, p=p)

    made: list[float] = []
    monkeypatch.setattr(fitting, "together", together)
    monkeypatch.setattr(fitting, "AGAIN", np.inf)
    monkeypatch.setattr(fitting, "SURPRISE", np.inf)
    found = fitter(scene, has_light=True)(0)
    assert len(made) == 3  # the third round moved it by less than is seen
    assert found.best.notes == ()
    made.clear()
    moves[:] = [0.05, -0.05, 0.05, -0.05, 0.05]
    found = fitter(scene, has_light=True)(0)
    assert len(made) == ROUNDS
    assert "changed theta_E by -4.9 % and the slope by +0.00" in found.best.notes[0]


def test_steady_is_what_neither_radius_nor_slope_leave():
    p = torch.zeros(8)
    for k, most in zip((0, 7), STEADY, strict=True):
        moved = p.clone()
        moved[k] = 0.9 * most
        assert is_steady(p, moved)
        moved[k] = 1.1 * most
        assert not is_steady(p, moved)


def test_starts_are_kept_of_both_cores(scene: Scene, state: MacroState):
    prior = prior_of(scene, has_light=False)
    current = problem(scene, prior, replace(STAGES[0], coarse=False))
    p = state.p.repeat(6, 1)
    p[:, 0] += torch.tensor([0.0, 0.001, 0.1, 0.0, 0.001, 0.1])
    hyper = state.hyper.repeat(6, 1)
    hyper[:, 3] = torch.tensor(CORES).log().repeat_interleave(3)
    zeros = torch.zeros(6, dtype=torch.float64)
    kept = best_of_starts(current, MacroState(p, hyper, zeros, zeros + 0.1), 4)
    assert len(kept.p) == 2 * len(CORES)  # the second of each is the first again
    np.testing.assert_allclose(kept.hyper[:, 3].exp(), np.repeat(CORES, 2), rtol=1e-6)
    assert bool(((kept.p[:, 0] - p[0, 0]).abs() < 0.05).sum() == len(CORES))
    assert len(best_of_starts(current, MacroState(p, hyper, zeros, zeros + 0.1), 1).p) == 2
