"""morningstar2019: lenses, views and inversions are right."""

from dataclasses import replace
from itertools import islice
from pathlib import Path

import pytest
import torch
from judgements import assert_alike, machines_of, shorten
from pretend import pretended_device

from lensrim.evaluation.problems.problem import TRAINING, UNSEEN, generator
from lensrim.metrics import misfit
from lensrim.reproduction.lensed.inversion import RIDGE, invert, pixels, refine, roughness
from lensrim.reproduction.lensed.judging import MODES, PIXELS, Judged, Machine, Notes, together
from lensrim.reproduction.lensed.lenses import lens_view, mass_of
from lensrim.reproduction.lensed.machines import Ours, Published, full_score, plain_score
from lensrim.reproduction.lensed.reader import FLAT, Reader, reading_loss
from lensrim.reproduction.lensed.recipe import Unseen
from lensrim.reproduction.morningstar2019 import judging
from lensrim.reproduction.morningstar2019.judging import judge_part
from lensrim.reproduction.morningstar2019.lenses import Lenses, scene_of, shown
from lensrim.reproduction.morningstar2019.paper import RECIPES, Morningstar2019
from lensrim.reproduction.paper import Setting
from lensrim.training.feed import to_device

LENSES = Lenses(shape=32, pixel_scale=0.14, theta_E=(0.6, 1.0))
DESIGNS = {"published": Published(4, (4, 6), 3, 2), "ours": Ours((4, 6), 4, 2)}


@pytest.fixture(scope="module")
def draws():
    return LENSES.draw(4, 0, UNSEEN, 0)


@pytest.fixture(scope="module")
def scene(draws):
    return scene_of(draws, draws["lens"])


def test_the_truth_fits(draws, scene):
    found = scene.errors(scene.truth)
    assert float(found["relative L2"].max()) == 0
    assert float(found["chi2"].mean()) == pytest.approx(1, abs=0.1)
    assert float(found["D"].median()) < 0.3
    nothing = scene.errors(torch.zeros_like(draws["image"]))
    torch.testing.assert_close(nothing["relative L2"], torch.ones(4))
    assert float(nothing["D"].min()) > 5


def test_a_wrong_lens_does_not_fit(draws):
    wrong = draws["lens"].clone()
    wrong[:, 0] += 0.1
    scene = scene_of(draws, wrong)
    assert float(scene.errors(scene.truth)["D"].min()) > 1


def test_the_rays_are_those_of_the_images(draws):
    shifted = draws["lens"].clone()
    x, y = lens_view(shifted, draws["arc"]).simulator.theta_pixels[0]
    ax, ay = mass_of(shifted).deflection(x, y)
    assert ax.shape == (4, 32, 32)
    assert float(torch.hypot(ax, ay).mean()) == pytest.approx(
        float(shifted[:, 0].exp().mean()), rel=0.1
    )  # an isothermal lens deflects by its Einstein radius


def test_the_adjoint_is_the_transpose(draws, scene):
    rng = generator(0, UNSEEN)
    source = torch.randn(draws["image"].shape, generator=rng)
    image = torch.randn(draws["image"].shape, generator=rng)
    torch.testing.assert_close(
        (scene.view(source) * image).sum(),
        (source * scene.view.adjoint(image)).sum(),
        rtol=1e-4,
        atol=1e-3,
    )


def test_scores_are_the_gradients(draws, scene):
    source = (scene.truth + 0.1).requires_grad_()
    misfit = (draws["image"] - scene.view(source)) / draws["sigma"] * draws["mask"]
    (gradient,) = torch.autograd.grad(-misfit.square().sum() / 2, source)
    found, _ = full_score({"source": source.detach()}, draws["image"], scene)
    torch.testing.assert_close(found["source"], gradient, rtol=1e-3, atol=1e-2)
    plain = plain_score({"source": source.detach()}, draws["image"], scene)["source"]
    typical = draws["sigma"].flatten(1).median(1).values[:, None, None, None]
    torch.testing.assert_close(plain, gradient * typical**2, rtol=1e-3, atol=1e-4)


def test_what_is_hidden_is_not_used(draws, scene):
    other = {**draws, "image": draws["image"] + 100 * (1 - draws["mask"])}
    x = {"source": torch.zeros_like(draws["image"])}
    ours, _ = full_score(x, draws["image"], scene)
    theirs, _ = full_score(x, other["image"], scene_of(other, other["lens"]))
    torch.testing.assert_close(ours["source"], theirs["source"], rtol=0, atol=0)
    assert 0.5 < float(draws["mask"].mean()) < 1


def test_draws_are_a_function_of_seed_purpose_and_number(draws):
    again = LENSES.draw(4, 0, UNSEEN, 0)
    torch.testing.assert_close(again["image"], draws["image"], rtol=0, atol=0)
    for seed, purpose, index in ((1, UNSEEN, 0), (0, TRAINING, 0), (0, UNSEEN, 1)):
        other = LENSES.draw(4, seed, purpose, index)
        assert float((other["lens"] - draws["lens"]).abs().max()) > 1e-3


def test_roughness_is_the_gradient_of_squared_differences():
    s = torch.randn(2, 1, 6, 6, generator=generator(0, UNSEEN)).requires_grad_()
    padded = torch.nn.functional.pad(s, (1, 1, 1, 1))
    energy = padded.diff(dim=2).square().sum() + padded.diff(dim=3).square().sum()
    (gradient,) = torch.autograd.grad(energy / 2, s)
    torch.testing.assert_close(roughness(s), gradient)


def test_pixels_solve_their_normal_equations(draws, scene):
    found = next(islice(pixels(scene, weight=30.0), 150, None))
    precision = draws["mask"] / draws["sigma"].square()
    rest = scene.view.adjoint((draws["image"] - scene.view(found)) * precision)
    rest = rest - 30 * (roughness(found) + RIDGE * found)
    right = scene.view.adjoint(draws["image"] * precision)
    assert float((rest.flatten(1).norm(dim=1) / right.flatten(1).norm(dim=1)).max()) < 1e-3


def test_modes_explain_the_image_to_the_noise(draws, scene):
    source, effective = invert(scene, draws["lens"])
    found = scene.errors(source)
    assert float(found["chi2"].mean()) == pytest.approx(1, abs=0.15)
    assert float(found["relative L2"].median()) < 0.4
    assert float(effective.min()) > 3


def test_steps_up_the_evidence_better_a_lens(draws):
    rng = generator(0, UNSEEN)
    spread = torch.tensor([0.05, 0.04, 0.04, 0.2, 0.2, 0.02, 0.02])
    start = draws["lens"] + spread * torch.randn(4, 7, generator=rng)
    found = refine(scene_of(draws, start), start, steps=6)
    before, after = ((p - draws["lens"]).abs()[:, 0].median() for p in (start, found))
    assert float(after) < 0.6 * float(before)


@pytest.mark.parametrize("design", DESIGNS.values(), ids=DESIGNS)
def test_a_machine_runs_and_can_learn(design, scene):
    rim = design.machine()
    design.loss(rim, scene).backward()
    assert all(p.grad is not None for p in rim.parameters())
    assert all(float(p.grad.abs().max()) > 0 for p in rim.network.last.parameters())


def test_the_reader_answers_lenses_that_can_be(draws):
    torch.manual_seed(0)
    reader = Reader(32, widths=(4, 6), hidden=8)
    lens = reader(shown(draws))
    assert lens.shape == (4, 7)
    assert float(lens.detach()[:, 1:3].norm(dim=1).max()) <= FLAT + 1e-6
    loss = reading_loss(reader(shown(draws)), draws["lens"])
    loss.backward()
    assert all(p.grad is not None for p in reader.parameters())


def test_parts_of_lenses_are_all_of_them_once(tmp_path: Path):
    unseen = Unseen(11, drawn=8, together=3)
    assert unseen.parts == [(0, 0), (0, 3), (0, 6), (1, 0)]
    assert [unseen.size(number) for number in (0, 1)] == [8, 3]
    said: list[str] = []
    setting = Setting(tmp_path, report=said.append)

    def one(draws) -> Judged:
        notes = Notes()
        notes.add("lens", "any", "error", draws["lens"])
        notes.show("image", draws["image"])
        return Judged(notes, {"read": draws["lens"]}, draws["lens"][:, 0], draws["lens"][:, 1])

    found = unseen.judged(LENSES, one, {"weights": "1"}, setting)
    parts = [part.off["read"] for part in found]
    assert [len(part) for part in parts] == [3, 3, 2, 3]
    assert said == [f"judged part {part} of 4" for part in (1, 2, 3, 4)]
    said.clear()
    (tmp_path / "judged" / "00001.pt").unlink()  # where it was interrupted
    again = unseen.judged(LENSES, one, {"weights": "1"}, setting)
    assert said == ["judged part 2 of 4"]
    for one_part, other in zip(found, again, strict=True):
        assert str(one_part.plain()) == str(other.plain())
    said.clear()
    unseen.judged(LENSES, one, {"weights": "2"}, setting)
    assert len(said) == 4
    whole = torch.cat([LENSES.draw(8, 0, UNSEEN, 0, "test")["lens"]])
    torch.testing.assert_close(torch.cat(parts)[:8], whole, rtol=0, atol=0)


def test_d_is_that_of_a_camera(draws, scene):
    source = 0.9 * scene.truth
    model, lit = scene.view(source), scene.data.lit > 0
    found = scene.errors(source)["D"]
    for k in range(4):
        maps = (each[k, 0].numpy() for each in (model, draws["clean"], draws["sigma"], lit))
        assert float(found[k]) == pytest.approx(misfit(*maps), rel=1e-4)


@pytest.mark.slow
def test_all_is_judged_on_a_device(draws, monkeypatch: pytest.MonkeyPatch):
    shorten(monkeypatch, judging)
    machines = machines_of(DESIGNS)
    torch.manual_seed(0)
    reader = Reader(32, widths=(4, 6), hidden=8)
    few = {name: value[:2] for name, value in draws.items()}
    here = judge_part(machines, reader, 30.0, few)
    with pretended_device() as device:
        there = judge_part(
            {name: Machine(m.design, m.rim.to(device)) for name, m in machines.items()},
            reader.to(device),
            30.0,
            to_device(few, device),
        )
    assert_alike(together([there]), together([here]))


@pytest.mark.slow
def test_a_paper_is_done_and_not_done_again(tmp_path: Path):
    recipe = replace(
        RECIPES["small"], published=DESIGNS["published"], ours=DESIGNS["ours"], lenses=LENSES
    )
    paper = Morningstar2019(recipes={"small": recipe})
    said: list[str] = []
    setting = Setting(tmp_path, quick=True, report=said.append)
    first = paper.run(setting)
    assert first is not None and any(line.startswith("step 2") for line in said)
    assert len(first.lines) == 6 and {line.rival_name for line in first.lines} <= {PIXELS, MODES}
    said.clear()
    again = paper.run(setting)
    assert again is not None and not any(line.startswith("step") for line in said)
    assert [str(line.ours) for line in again.lines] == [str(line.ours) for line in first.lines]
    assert set(first.figures) == {"sources", "error_against_calls", "errors_and_chi2"}
    assert not any("{" in text for text in first.differs)
