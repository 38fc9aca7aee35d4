"""adam2023: its world, machines, measures and fine-tuning are right."""

import copy
import math
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from pretend import pretended_device

from lensrim.errors import InputError
from lensrim.evaluation.problems.problem import TRAINING, UNSEEN
from lensrim.grid import PixelGrid
from lensrim.inference.learnt import start_state, turned
from lensrim.inference.lens_config import LensConfig
from lensrim.inference.macro import mass_model
from lensrim.lensing.beyond import part_shear
from lensrim.lensing.convergence import KappaToAlpha
from lensrim.reproduction.adam2023 import judging
from lensrim.reproduction.adam2023.designs import Design, Ours, Published
from lensrim.reproduction.adam2023.judging import (
    MACRO,
    TUNED,
    Judging,
    Machine,
    judge,
    to_compare,
)
from lensrim.reproduction.adam2023.measures import image_errors, measured, slope_of
from lensrim.reproduction.adam2023.network import SharedUNet
from lensrim.reproduction.adam2023.paper import RECIPES, Adam2023, steps_to_ours
from lensrim.reproduction.adam2023.results import ADDED
from lensrim.reproduction.adam2023.starts import searched
from lensrim.reproduction.adam2023.systems import Stock, Systems
from lensrim.reproduction.adam2023.tuning import FineTuning, neighbours
from lensrim.reproduction.paper import Setting
from lensrim.rim import load_rim, save_rim

SYSTEMS = Systems(shape=32, fov=6.4, theta_E=(0.8, 1.2), halo_share=0.0)
PUBLISHED = Published(SYSTEMS.source_side, (4, 6, 6), 1, 5, 2)
WHOLE = LensConfig(steps=2, widths=(4, 6), lift=4, embedding=8)
DESIGNS: dict[str, Design] = {"published": PUBLISHED, **steps_to_ours(WHOLE)}
WORLDS = {"published": PUBLISHED, "ours": DESIGNS["ours"]}
every_design = pytest.mark.parametrize("design", DESIGNS.values(), ids=DESIGNS)
every_world = pytest.mark.parametrize("design", WORLDS.values(), ids=WORLDS)


@pytest.fixture(scope="module")
def draws():
    return SYSTEMS.draw(3, 0, UNSEEN, 0)


@pytest.fixture(scope="module")
def lens(draws):
    return {name: value[:1] for name, value in draws.items()}


def network(**options) -> SharedUNet:
    torch.manual_seed(0)
    sizes = {"maps_in": 3, "vectors_in": 2, "maps_out": 2, "vectors_out": 0}
    return SharedUNet(**sizes, widths=(4, 6, 5), convolutions=1, kernel=5, **options)


@pytest.mark.parametrize("shape", [(8, 8), (9, 7)])
def test_the_network_keeps_sizes_and_remembers_at_every_level(shape: tuple[int, int]):
    net, maps = network(), torch.randn(2, 3, *shape)
    hidden = net.init_hidden(maps)
    first, vectors, memory = net(maps, torch.zeros(2, 2), hidden)
    assert first.shape == (2, 2, *shape) and vectors.shape == (2, 0)
    assert [h.shape for h in memory] == [h.shape for h in hidden]
    for i in range(len(memory)):  # each level's memory changes what comes next
        mixed = (*hidden[:i], memory[i], *hidden[i + 1 :])
        second, *_ = net(maps, torch.zeros(2, 2), mixed)
        assert float((second - first).abs().max().detach()) > 1e-6
    alone, *_ = net(maps[:1], torch.ones(1, 2), tuple(h[:1] for h in hidden))
    torch.testing.assert_close(alone, first[:1])
    again = SharedUNet(**net.config)
    again.load_state_dict(net.state_dict())


def test_the_image_is_what_the_paper_s_operator_makes_of_the_truth(draws):
    found = image_errors(PUBLISHED.image(PUBLISHED.truth(draws), draws), draws)
    assert float(found["D"].max()) < 1e-4
    assert float(found["chi2"].mean()) == pytest.approx(1, abs=0.1)
    nothing = image_errors(torch.zeros_like(draws["image"]), draws)
    assert float(nothing["D"].min()) > 5
    assert 0.9 < float(draws["clean"].amax((1, 2, 3)).min()) <= 1.1  # about the brightest pixel


def test_our_frame_holds_the_same_truth(draws):
    ours = DESIGNS["ours"]
    blank = image_errors(torch.zeros_like(draws["image"]), draws)["D"]
    inside = draws | {"beyond": torch.zeros_like(draws["beyond"])}
    truth = ours.truth(draws) | {"shear": torch.zeros(3, 2)}
    found = image_errors(ours.image(truth, inside), inside)
    assert float((found["D"] / blank).max()) < 0.02


def test_nothing_bends_the_light_but_the_map():
    raw = SYSTEMS.raw(2, 0, UNSEEN, 3)
    alpha = KappaToAlpha(PixelGrid((32, 32), 1.0)).maps(raw["kappa"])
    torch.testing.assert_close(raw["alpha"], alpha)
    assert float((raw["sigma"].amax((1, 2, 3)) / raw["sigma"].amin((1, 2, 3))).max()) == 1
    plain = mass_model(raw["macro"].float()).deflection(*PixelGrid((32, 32), 1.0).coordinates())
    left, _ = part_shear(alpha - torch.stack(plain, 1), PixelGrid((32, 32), 1.0), raw["arc"])
    assert float(left.abs().max()) < 1e-4  # the true macro-model has the shear that is missing


def test_draws_are_a_function_of_seed_purpose_and_number(draws):
    again, other = SYSTEMS.raw(3, 0, UNSEEN, 0), SYSTEMS.raw(3, 0, TRAINING, 0)
    unit = again["amplitude"][:, None, None, None]
    torch.testing.assert_close(again["image"] / unit, draws["image"], rtol=0, atol=0)
    assert float((other["kappa"] - again["kappa"]).abs().max()) > 0.01


def test_a_stock_is_made_once_and_seen_turned(tmp_path: Path, draws):
    systems = replace(SYSTEMS, theta_E=(0.9, 1.0))
    stock = Stock(systems, tmp_path, 0, TRAINING, 1)
    first = stock(0, 1)
    (path,) = tmp_path.glob("*.pt")
    made = path.stat().st_mtime_ns
    later = [stock(number, 1) for number in range(1, 9)]
    assert path.stat().st_mtime_ns == made
    assert any(not torch.equal(each["image"], first["image"]) for each in later)
    for each in later:
        torch.testing.assert_close(each["image"].sum(), first["image"].sum())


@every_world
def test_a_lens_that_is_turned_is_still_one(design: Design, draws):
    before = image_errors(design.image(design.truth(draws), draws), draws)
    seen = turned(draws, 1, flip=True)
    after = image_errors(design.image(design.truth(seen), seen), seen)
    torch.testing.assert_close(after["chi2"], before["chi2"], rtol=1e-3, atol=1e-3)


@every_design
def test_a_machine_runs_and_can_learn(design: Design, draws):
    torch.manual_seed(0)
    rim = design.machine()
    design.loss(rim, draws).backward()
    assert all(p.grad is not None for p in rim.parameters())
    assert all(float(p.grad.abs().max()) > 0 for p in rim.network.last.parameters())


def test_the_published_machine_sees_neither_noise_nor_start(draws):
    torch.manual_seed(0)
    rim = PUBLISHED.machine()
    fewer = {n: draws[n] for n in ("image", "sigma", "mask", "psf", "fov")}
    # Adam's direction is the same for a score of any size, and so for any level of the noise.
    louder = draws | {"sigma": 3 * draws["sigma"]}
    with torch.no_grad():
        whole, *others = (PUBLISHED.run(rim, each).last for each in (draws, fewer, louder))
        torch.testing.assert_close(others[0]["source"], whole["source"], rtol=0, atol=0)
        for name in ("source", "log_kappa"):
            torch.testing.assert_close(others[1][name], whole[name], rtol=1e-3, atol=1e-4)
        uneven = draws | {"sigma": draws["sigma"] * (1 + 9 * draws["arc"] / draws["arc"].amax())}
        off = PUBLISHED.run(rim, uneven).last["source"] - whole["source"]
    assert float(off.abs().max()) > 1e-3  # which pixels are worth more it does see


def test_the_published_machine_is_read_again_from_its_file(draws, tmp_path: Path):
    torch.manual_seed(0)
    rim = PUBLISHED.machine()
    save_rim(tmp_path / "rim.safetensors", rim)
    again = load_rim(tmp_path / "rim.safetensors", known=[SharedUNet])
    with torch.no_grad():
        first, second = PUBLISHED.run(rim, draws).last, PUBLISHED.run(again, draws).last
    torch.testing.assert_close(first["log_kappa"], second["log_kappa"], rtol=0, atol=0)


def test_each_machine_has_more_than_the_one_before():
    assert list(DESIGNS)[1:] == list(ADDED)
    chain = [d.config for d in DESIGNS.values() if isinstance(d, Ours)]
    assert chain[-1] == WHOLE and chain[0].start == "plain"
    changed = [{f for f in vars(a) if getattr(a, f) != getattr(b, f)} for a, b in pairwise(chain)]
    assert changed == [{"encodings"}, {"aux", "conditioning"}, {"start"}]


@pytest.mark.parametrize("gamma", [1.7, 2.0, 2.3])
def test_the_slope_of_a_power_law(gamma: float):
    grid = PixelGrid((81, 81), 0.1)
    x, y = (c.numpy() - 0.3 for c in grid.coordinates(dtype=torch.float64))
    kappa = (np.hypot(x, y) + 1e-9) ** (1 - gamma)
    kappa[np.hypot(x, y) < 0.05] = 0
    # the centre of the frame's kappa is pulled a little towards the middle of the frame
    assert slope_of(kappa, grid, 2.0) == pytest.approx(gamma, abs=0.02)
    assert math.isnan(slope_of(kappa, grid, float("nan")))
    assert math.isnan(slope_of(kappa, grid, 0.4 * grid.spacing))  # too few pixels


@every_world
def test_the_truth_has_no_errors(design: Design, draws):
    found = measured(design, design.truth(draws), draws, SYSTEMS.pixel_scale, SYSTEMS.source_side)
    for name in ("relative L2", "RMSE", "kappa dex"):
        assert float(found[name].max()) == 0
    for name in ("theta_E", "slope", "R50", "R90", "R99"):
        torch.testing.assert_close(found[name], found[f"true {name}"], rtol=0, atol=0)
    for name in ("kappa", "source"):
        known = found[f"coherence of {name}"]
        assert float((known[~known.isnan()] - 1).abs().max()) < 1e-9
    low, high = SYSTEMS.theta_E
    assert 0.8 * low < float(found["theta_E"].min()) <= float(found["theta_E"].max()) < 1.1 * high


def test_a_start_errs_as_a_fit_does(draws):
    ours = DESIGNS["ours"]
    found = measured(ours, start_state(draws), draws, SYSTEMS.pixel_scale, SYSTEMS.source_side)
    off = (found["theta_E"] / found["true theta_E"] - 1).abs()
    assert 1e-4 < float(off.median()) < 0.05
    assert float(found["chi2"].max()) < 3


@every_world
def test_neighbours_are_observed_as_the_image_was(design: Design, lens):
    answer = design.truth(lens)
    drawn = list(neighbours(design, answer, lens, 3, seed=0))
    for each in drawn:
        truth = design.truth(each)
        found = image_errors(design.image(truth, each), each)
        assert float(found["D"].max()) == 0
        assert float(found["chi2"]) == pytest.approx(1, abs=0.2)
        assert float((truth["log_kappa"] - answer["log_kappa"]).abs().max()) > 1e-3
    assert not torch.equal(drawn[0]["image"], drawn[1]["image"])


@every_world
def test_fine_tuning_comes_nearer_to_the_noise_and_leaves_the_machine(design: Design, lens):
    torch.manual_seed(0)
    rim = design.machine().requires_grad_(False)
    before = {name: each.clone() for name, each in rim.state_dict().items()}
    lens = lens | {"image": 1.3 * lens["image"]}  # a start that is a fit leaves nothing to tune

    def chi2(state) -> float:
        return float(image_errors(design.image(state, lens), lens)["chi2"])

    own = chi2(design.run(rim, lens).last)
    free, steps = FineTuning(3, 3e-4, 0.0, 1)(design, rim, lens, 0)
    held, _ = FineTuning(3, 3e-4, 1e12, 1)(design, rim, lens, 0)
    assert abs(chi2(free) - 1) < 0.99 * abs(own - 1) and 1 <= steps <= 3
    assert abs(chi2(free) - 1) < abs(chi2(held) - 1) <= abs(own - 1) * (1 + 1e-6)
    assert all(torch.equal(each, before[name]) for name, each in rim.state_dict().items())


def test_a_folder_of_data_must_hold_some(tmp_path: Path):
    setting = Setting(tmp_path / "out", data=tmp_path, report=lambda line: None)
    with pytest.raises(InputError, match=r"--data: must hold a folder galaxies .* found neither"):
        Adam2023().run(setting)
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
@every_world
def test_machines_are_run_and_tuned_on_a_device(design: Design, lens):
    torch.manual_seed(0)
    rim = design.machine().requires_grad_(False)
    lens = lens | {"image": 1.3 * lens["image"]}
    here = Machine(design, rim, "").states(lens)
    tuned, steps = FineTuning(1, 3e-4, 1.0, 1)(design, rim, lens, 0)
    with pretended_device() as device:
        there = copy.deepcopy(rim).to(device)
        found = Machine(design, there, "").states(lens)
        again, more = FineTuning(1, 3e-4, 1.0, 1)(design, there, lens, 0)
    assert steps == more
    for name, value in here.items():
        torch.testing.assert_close(found[name], value, rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(again[name], tuned[name], rtol=1e-3, atol=1e-3)


def test_the_parts_are_all_lenses_once():
    judging = Judging(SYSTEMS, FineTuning(), unseen=11, tuned=5, together=4)
    assert [list(judging.numbers(part)) for part in range(3)] == [
        [0, 1, 2, 3],
        [4, 5, 6, 7],
        [8, 9, 10],
    ]


def test_the_first_that_are_found_are_compared(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, draws
):
    counts = [1, 0, 2, 3]

    def judged_part(judging, machines, folder, setting, part):
        lens = {
            name: value[:1].repeat_interleave(counts[part], 0) for name, value in draws.items()
        }
        own = to_compare(PUBLISHED, PUBLISHED.truth(lens), lens)
        found = {"lenses": counts[part], "tuned": counts[part] * (part < 2), "noise": lens["fov"]}
        return found | {"measures": {}, "steps": {}, "shown": {}}, own

    monkeypatch.setattr(judging, "judge_part", judged_part)
    monkeypatch.setattr(judging, "COMPARED", 2)
    of = Judging(SYSTEMS, FineTuning(), unseen=12, tuned=6, together=3)
    setting = Setting(tmp_path, report=lambda line: None)
    found = judge(of, {}, tmp_path, setting)
    assert found["lenses"] == 6
    assert len(found["unrelated"]["coherence of kappa"]) == 2
    counts[2:] = [0, 0]
    with pytest.raises(InputError, match=r"seed: must give two lenses .* found 1; change it"):
        judge(of, {}, tmp_path, setting)
    counts[0] = 0
    with pytest.raises(InputError, match="none of the first 6, to which machines are fine-tuned"):
        judge(of, {}, tmp_path, setting)


def test_a_fine_tuning_belongs_to_its_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lens):
    calls: list[int] = []

    def counted(self, design, rim, draws, seed):
        calls.append(seed)
        return {"source": draws["source"]}, 1

    monkeypatch.setattr(FineTuning, "__call__", counted)
    machine = Machine(PUBLISHED, PUBLISHED.machine(), "0")
    setting = Setting(tmp_path, report=lambda line: None)
    lenses = [lens, lens, *(lens | {n: lens[n] + 0.1} for n in ("image", "log_kappa", "shear"))]
    for each in lenses:
        judging.fine_tuned(machine, {0: each}, FineTuning(), tmp_path, setting)
    assert len(calls) == 4


@pytest.mark.slow
def test_few_are_tuned_and_all_are_judged(tmp_path: Path):
    machines = {}
    for name in ("published", "ours"):
        torch.manual_seed(0)
        machines[name] = Machine(WORLDS[name], WORLDS[name].machine().requires_grad_(False), "0")
    setting = Setting(tmp_path, report=lambda line: None)
    judging = Judging(SYSTEMS, FineTuning(1, samples=1), unseen=4, tuned=3, together=2)
    found = judge(judging, machines, tmp_path / "lenses", setting)
    assert (found["lenses"], found["tuned"]) == (4, 3)
    sizes = {name: len(own["chi2"]) for name, own in found["measures"].items()}
    assert sizes == {
        MACRO: 4,
        "published": 4,
        TUNED.format("published"): 3,
        "ours": 4,
        TUNED.format("ours"): 3,
    }
    assert {len(steps) for steps in found["steps"].values()} == {3}
    assert len(found["noise"]) == 4 and len(found["shown"]["image"]) == 3
    assert len(found["unrelated"]["coherence of kappa"]) == 4
    one = judge(replace(judging, together=4), machines, tmp_path / "lenses", setting)
    for name, own in found["measures"].items():
        torch.testing.assert_close(one["measures"][name]["chi2"], own["chi2"], rtol=1e-3, atol=0)


@pytest.mark.slow
def test_a_search_finds_the_start_with_no_look_at_the_truth():
    raw = SYSTEMS.raw(1, 0, UNSEEN, 1, "test")
    found = searched(raw, seed=0)
    ours = DESIGNS["ours"]
    errors = measured(ours, start_state(found), found, SYSTEMS.pixel_scale, SYSTEMS.source_side)
    assert float(errors["theta_E"]) == pytest.approx(float(errors["true theta_E"]), rel=0.05)
    blind = searched(raw | {"macro": raw["macro"] + 0.1}, seed=0)
    torch.testing.assert_close(blind["log_kappa"], found["log_kappa"], rtol=0, atol=0)


@pytest.mark.slow
def test_a_paper_is_done_and_not_done_again(tmp_path: Path):
    recipe = replace(RECIPES["small"], published=PUBLISHED, ours=WHOLE, systems=SYSTEMS)
    paper = Adam2023(recipes={"small": recipe})
    said: list[str] = []
    setting = Setting(tmp_path, quick=True, report=said.append)
    first = paper.run(setting)
    assert first is not None and any(line.startswith("step 2") for line in said)
    assert {line.rival_name for line in first.lines} == {MACRO}
    machines = {row["machine"] for row in first.tables["measures"]}
    assert {"published", "ours", MACRO, TUNED.format("ours"), *ADDED} <= machines
    said.clear()
    again = paper.run(setting)
    assert again is not None and not any(line.startswith("step") for line in said)
    assert [str(line.ours) for line in again.lines] == [str(line.ours) for line in first.lines]
    assert len(first.figures) == 7 and not any("{" in text for text in first.differs)
