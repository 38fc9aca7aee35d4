"""The adaptation of a machine's weights to one image."""

from dataclasses import replace

import pytest
import torch

from lensrim.errors import InputError
from lensrim.inference import weights
from lensrim.inference.answer import Answer, answer, mass_maps_of
from lensrim.inference.apply import Begun, batch_of
from lensrim.inference.ewc import ElasticPenalty
from lensrim.inference.learning import Outcome, learn
from lensrim.inference.learnt import setting_of
from lensrim.inference.lens_config import LensConfig, build
from lensrim.inference.machine import Machine
from lensrim.inference.macro import MacroState
from lensrim.inference.options import ReconstructOptions
from lensrim.inference.scene import Scene
from lensrim.inference.weights import Adaptation, adapt, adaptable, run
from lensrim.lensing.likelihood import simulate
from lensrim.rim.core import RIM


@pytest.fixture(scope="module")
def machine() -> Machine:
    torch.manual_seed(0)
    rim = build(LensConfig(steps=2, widths=(8, 12), lift=6, embedding=16)).eval()
    return Machine(rim.requires_grad_(False), "small", "0" * 64)


@pytest.fixture(scope="module")
def macro(scene: Scene, state: MacroState) -> Answer:
    return answer(scene, mass_maps_of(scene, state), state, tune=4)


@pytest.fixture(scope="module")
def begun(machine: Machine, scene: Scene, state: MacroState, macro: Answer) -> Begun:
    return Begun.of(machine, scene, batch_of(scene, macro, False), state)


@pytest.fixture(scope="module")
def arcs(scene: Scene) -> torch.Tensor:
    return torch.from_numpy(scene.arcs & scene.frame.mask).float()[None, None]


def penalty_of(rim: RIM, strength: float) -> ElasticPenalty:
    named = dict(rim.named_parameters())
    ones = {name: torch.ones_like(each) for name, each in named.items()}
    return ElasticPenalty(ones, named, strength)


def test_steps_lower_the_misfit_and_a_strong_penalty_holds_the_weights(
    machine: Machine, begun: Begun, arcs: torch.Tensor
):
    brighter = {**begun.prepared, "image": 1.3 * begun.prepared["image"]}
    begun = replace(begun, prepared=brighter)
    with torch.no_grad():
        own, _, before = run(machine.rim, begun, arcs)
    assert before == pytest.approx(chi2_of(own, begun, arcs), rel=1e-5)
    reached, moved = [], []
    for strength in (0.0, 1e9):
        rim = adaptable(machine.rim)
        last = adapt(rim, begun, arcs, penalty_of(rim, strength), 0.0, steps=3, rate=3e-3)
        reached.append(chi2_of(last, begun, arcs))
        pairs = zip(rim.parameters(), machine.rim.parameters(), strict=True)
        moved.append(max(float((a - b).detach().abs().max()) for a, b in pairs))
    assert reached[0] < 0.98 * float(before)
    assert reached[1] <= float(before) * (1 + 1e-6)  # never worse than the machine's own
    assert moved[0] > 2 * moved[1]


def chi2_of(state: dict[str, torch.Tensor], begun: Begun, arcs: torch.Tensor) -> float:
    """χ² per pixel of the arcs of a state of the machine."""
    seen = begun.prepared
    model = simulate(begun.simulator, state, setting_of(seen))
    return float(((seen["image"] - model) / seen["sigma"])[arcs > 0].square().mean())


def test_steps_end_where_the_misfit_is_what_noise_leaves(
    machine: Machine, begun: Begun, arcs: torch.Tensor
):
    rim = adaptable(machine.rim)
    last = adapt(rim, begun, arcs, penalty_of(rim, 0.0), 1e6, steps=50, rate=1.0)
    own, _, _ = run(machine.rim, begun, arcs)
    for name, each in own.items():
        torch.testing.assert_close(last[name], each)


def test_an_adaptation_is_an_answer_beside_the_others(
    scene: Scene,
    state: MacroState,
    macro: Answer,
    machine: Machine,
    arcs: torch.Tensor,
    monkeypatch: pytest.MonkeyPatch,
):
    before = {name: each.clone() for name, each in machine.rim.state_dict().items()}
    learnt = learn(machine, scene, state, macro, has_light=False)
    adaptation = Adaptation(machine, False, steps=1, samples=1)
    # noise that is told too large leaves nothing to adapt
    calm = replace(scene, frame=replace(scene.frame, sigma=1.5 * scene.frame.sigma))
    enough = adaptation(learnt, calm, state)
    assert enough.stage == "final" and "is what noise leaves" in enough.notes[-1]
    judged = []

    def noted(rim: RIM, begun: Begun, arcs: torch.Tensor):
        judged.append(arcs)
        return run(rim, begun, arcs)

    monkeypatch.setattr(weights, "run", noted)
    outcome = adaptation(learnt, scene, state)
    assert judged and all(torch.equal(each, arcs) for each in judged)
    assert list(outcome.answers) == ["macro", "rim", "rim_inversion", "final", "weights"]
    assert outcome.stage == "weights" and outcome.begun == "final"
    assert outcome.last.source_grid.shape == learnt.last.source_grid.shape
    assert outcome.last.envelope is not None  # solved for like the others
    ratio = outcome.last.source_std.mean() / learnt.last.source_std.mean()
    assert ratio == pytest.approx(1, rel=0.3)
    for name, each in machine.rim.state_dict().items():
        assert torch.equal(each, before[name]), name


def test_nothing_is_adapted_where_the_machine_was_refused(
    scene: Scene, state: MacroState, macro: Answer, machine: Machine
):
    outcome = Adaptation(machine, False)(Outcome({"macro": macro}), scene, state)
    assert outcome.stage == "macro" and "not the machine's" in outcome.notes[0]


def test_weights_need_a_machine():
    options = ReconstructOptions(refine="weights")
    with pytest.raises(InputError, match="--refine weights: needs a machine to adapt"):
        options.check()
    replace(options, stage="rim").check()
