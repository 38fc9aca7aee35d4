"""The descent: its gradient, what it finds, and when it changes nothing."""

from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch
from ways import few_stages, short

from lensrim.datasets.halos import Multipole
from lensrim.evaluation.mocks import Mock, render
from lensrim.inference import fit as fitting
from lensrim.inference import refinement
from lensrim.inference.answer import Answer, adapted, answer, mass_maps_of
from lensrim.inference.framing import frame_of, observe
from lensrim.inference.learning import ROUNDS, Outcome
from lensrim.inference.macro import MacroState
from lensrim.inference.options import ReconstructOptions
from lensrim.inference.perturbation import MACRO, PerturbationPrior, Perturbations, packaged_prior
from lensrim.inference.reconstruct import reconstruct
from lensrim.inference.refine import Refined, perturbed, refine
from lensrim.inference.refinement import Descent, kept, maps_of, tried
from lensrim.inference.scene import Scene
from lensrim.inference.search import STAGES, problem
from lensrim.inference.together import prior_of
from lensrim.inference.view import MassMaps, macro_maps
from lensrim.metrics import misfit

PRIOR = packaged_prior().without_rings()


def structured(mock: Mock, amplitude: float) -> Mock:
    """The mock of the other tests with one strong multipole, and nothing else of structure."""
    system = mock.truth.system
    parts = (Multipole(4, amplitude, 0.3),) if amplitude else ()
    lens = replace(system.lens, multipoles=parts, subhalos=())
    return render(
        replace(system, lens=lens),
        shape=(48, 48),
        oversample=3,
        rng=np.random.default_rng(3),
    )


@pytest.fixture(scope="module", params=[0.06, 0.0], ids=["multipole", "smooth"])
def case(request, mock: Mock, state: MacroState) -> tuple[Mock, Scene, MacroState]:
    own = structured(mock, request.param)
    scene = observe(frame_of(own.observation), lens_light=False)
    current = problem(scene, prior_of(scene, False), STAGES[-1])
    begun = replace(state, damping=torch.full_like(state.damping, 0.03))
    begun = current.tune(begun, rounds=6)
    for _ in range(4):
        begun = current.step(begun)
    return own, scene, current.tune(begun, rounds=2)


@pytest.fixture(scope="module")
def first(case: tuple[Mock, Scene, MacroState]) -> Answer:
    _, scene, state = case
    return adapted(scene, answer(scene, mass_maps_of(scene, state), state, source_fov=2.0))


@pytest.fixture(scope="module")
def outcome(case: tuple[Mock, Scene, MacroState], first: Answer) -> Outcome:
    _, scene, state = case
    return Descent(prior_of(scene, False), STAGES[-1])(Outcome({"macro": first}), scene, state)


@pytest.fixture(scope="module")
def refined(outcome: Outcome) -> Refined:
    assert outcome.refined is not None
    return outcome.refined


def test_the_gradient_is_that_of_the_evidence(scene: Scene, state: MacroState):
    grid = scene.frame.grid
    stage = replace(STAGES[-1], modes=10)
    plain = perturbed(problem(scene, prior_of(scene, False), stage), offset=None, grid=grid)
    own = Perturbations.of(PRIOR, macro_maps(state.p[0], grid).kappa, state.p[0], grid)
    current = replace(plain, added=own.rays)
    xi = 0.3 * torch.randn(1, len(own), generator=torch.Generator().manual_seed(0)).double()
    wide = plain.tune(state, rounds=1)
    wide = replace(wide, p=torch.cat([wide.p, xi], 1))
    gradient, curvature = (each[0] for each in current.derivatives(wide))
    assert gradient.shape == (MACRO + len(own),) and bool((curvature.diagonal() > 0.99).all())
    for k in (0, 7, MACRO + 3, MACRO + 20, MACRO + 40):
        step = torch.zeros_like(wide.p)
        step[0, k] = 0.02 / curvature[k, k].sqrt()
        up, down = (current.evaluate(wide.p + s * step, wide)[0] for s in (1, -1))
        slope = -(up - down) / (2 * step[0, k])
        scale = curvature[k, k].sqrt()
        # the disc of the source follows the arcs, in steps of single precision
        assert float((slope - gradient[k]) / scale) == pytest.approx(0, abs=0.15)


def test_what_a_macro_model_lacks_is_found(case, first: Answer, outcome: Outcome):
    mock, _, _ = case
    assert outcome.answers["macro"] is first and outcome.begun == "macro"
    assert outcome.refined is not None

    def error(found: Answer) -> float:
        truth = mock.truth
        return misfit(found.arcs, truth.arcs, mock.observation.sigma, truth.arc_mask)

    gain = outcome.refined.log_evidence[outcome.refined.scale]
    if not mock.truth.system.lens.multipoles:
        assert gain < 3 and error(outcome.last) < 1.2 * error(first)
        return
    assert gain > 5 and outcome.stage == "descent"
    assert list(outcome.answers) == ["macro", "descent"]
    assert outcome.last.log_evidence > first.log_evidence + 5
    assert error(outcome.last) < 0.95 * error(first)
    np.testing.assert_allclose(outcome.last.kappa, outcome.refined.maps.kappa)


def test_what_is_refined_decides_the_prior(case, first: Answer, monkeypatch: pytest.MonkeyPatch):
    """Of a macro-model, what true masses have besides; of a machine's answer, what those lack."""
    _, scene, state = case
    used = []

    def noted(*_: object, perturbations: PerturbationPrior, **__: object) -> Refined:
        used.append(perturbations.covariances[4][0][0, 0])
        return refine(scene, state, prior_of(scene, False), scales=())

    monkeypatch.setattr(refinement, "refine", noted)
    descent = Descent(prior_of(scene, False), STAGES[-1])
    descent(Outcome({"macro": first}), scene, state)
    descent(Outcome({"macro": first, "final": first}, "final"), scene, state)
    expected = [packaged_prior(of).covariances[4][0][0, 0] for of in ("masses", "answers")]
    assert used == expected and expected[0] != expected[1]


def test_the_mass_has_all_coefficients(refined: Refined):
    own, p = refined.mass.perturbations, refined.mass.parameters
    assert own is not None and len(p) == MACRO + len(own)
    assert not p[refined.state.p.shape[1] :].any()  # what does nothing to the arcs stays at zero
    plain = macro_maps(p[:MACRO], refined.mass.grid)
    added = torch.einsum("p,pcij->cij", p[MACRO:], own.alpha)
    assert added.abs().max() > 1e-4 * plain.alpha.abs().max()
    torch.testing.assert_close(refined.maps.alpha - plain.alpha, added)


def test_a_macro_model_given_as_maps_is_the_same(case, refined: Refined):
    _, scene, state = case
    start = macro_maps(state.p[0], scene.frame.grid)
    again = refine(scene, state, prior_of(scene, False), start=start)
    assert again.scale == refined.scale
    torch.testing.assert_close(again.maps.kappa, refined.maps.kappa, rtol=1e-5, atol=1e-5)


def test_no_scale_changes_nothing(case):
    _, scene, state = case
    same = refine(scene, state, prior_of(scene, False), scales=())
    assert same.scale == 0 and same.numbers["coefficients"] == 0
    torch.testing.assert_close(same.maps.kappa, macro_maps(state.p[0], scene.frame.grid).kappa)


def test_the_chain_reports_what_was_refined(mock: Mock, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(fitting, "WAYS", short(few_stages(8, 6)))
    observation = structured(mock, 0.06).observation
    result = reconstruct(observation, ReconstructOptions(lens_light="none", refine="descent"))
    value, stages = result.product.value, result.product.stages
    assert (value("STAGE"), value("MODEL")) == ("descent", "macro")
    assert list(result.answers) == ["macro", "descent"] and {"inversion", "descent"} <= set(stages)
    assert stages["descent"]["theta_E"] == value("THETAE") != stages["inversion"]["theta_E"]
    assert stages["descent"]["log_evidence_gain"] > 0 < stages["descent"]["prior_scale"]
    assert stages["descent"]["seconds"] > 0 and "refinement" not in stages
    np.testing.assert_allclose(result.product.image_maps["KAPPA"], result.answers["descent"].kappa)


def test_what_fits_worse_is_not_kept(case, first: Answer):
    _, scene, _ = case
    worse = replace(first, arcs=0.5 * first.arcs)
    outcome = kept(Outcome({"macro": first}), scene, "descent", worse)
    assert outcome.stage == "macro" and outcome.last is first
    assert "fits worse: chi2 of the arcs" in outcome.notes[0]
    least = first.log_evidence
    lost = replace(first, log_evidence=least - 1)
    outcome = kept(Outcome({"macro": first}), scene, "descent", lost, least=least)
    assert outcome.stage == "macro" and "fits worse: log-evidence" in outcome.notes[0]
    outcome = kept(Outcome({"macro": first}), scene, "descent", lost)  # nothing to compare with
    assert outcome.stage == "descent"
    outcome = kept(Outcome({"macro": first}), scene, "descent", first, least=least)
    assert outcome.stage == "descent" and outcome.begun == "macro" and not outcome.notes


@dataclass(frozen=True)
class Elsewhere(Refined):
    """A refined mass that is said to be another one."""

    there: MassMaps

    @property
    def maps(self) -> MassMaps:
        return self.there


def test_a_source_prior_that_climbs_is_no_gain_of_the_mass(
    case, first: Answer, refined: Refined, monkeypatch: pytest.MonkeyPatch
):
    _, scene, state = case
    plain = maps_of(first)

    def evidence(maps: MassMaps) -> float:
        return answer(scene, maps, state, source_fov=2.0, tune=ROUNDS).log_evidence

    def worse(by: float) -> MassMaps:
        return MassMaps((1 + by) * plain.kappa, (1 + by) * plain.alpha)

    right = evidence(plain)
    tried_out = (worse(by) for by in (0.0002, 0.0005, 0.001, 0.002, 0.005))
    maps = next(maps for maps in tried_out if evidence(maps) < right - 0.1)
    # of a first answer whose prior has climbed nowhere it would be a gain
    low = replace(first, log_evidence=right - 1000)
    off = Elsewhere(refined.mass, state, 1.0, {1.0: 0.0}, maps)
    monkeypatch.setattr(refinement, "refine", lambda *_, **__: off)
    descent = Descent(prior_of(scene, False), STAGES[-1])
    outcome = descent(Outcome({"macro": low}), scene, state)
    assert outcome.stage == "macro" and "fits worse" in outcome.notes[-1]


def test_what_cannot_be_computed_leaves_the_answer(case, first: Answer):
    _, scene, state = case

    def failing(*_) -> Outcome:
        torch.linalg.cholesky(-torch.eye(2))
        raise AssertionError

    outcome = tried(failing, "descent", Outcome({"macro": first}), scene, state)
    assert outcome.last is first
    assert outcome.notes[0].startswith("the answer is that before descent, which failed: ")


def test_the_maps_of_an_answer_are_what_it_was_made_of(case, first: Answer):
    _, scene, state = case
    torch.testing.assert_close(maps_of(first).kappa, mass_maps_of(scene, state).kappa)
    torch.testing.assert_close(maps_of(first).alpha, mass_maps_of(scene, state).alpha)
