"""morningstar2018: arrays, skies, CLEAN and what is judged are right."""

import math
import shutil
from dataclasses import replace
from itertools import islice
from pathlib import Path

import pytest
import torch
from judgements import assert_alike, machines_of, shorten
from pretend import pretended_device

from lensrim.errors import InputError
from lensrim.evaluation.problems.problem import TRAINING, UNSEEN, generator
from lensrim.lensing.nufft import Direct
from lensrim.reproduction.lensed.inversion import RIDGE, invert, pixels, roughness
from lensrim.reproduction.lensed.judging import MODES, PIXELS, Machine, together
from lensrim.reproduction.lensed.machines import Ours, Published, full_score, plain_score
from lensrim.reproduction.morningstar2018 import judging
from lensrim.reproduction.morningstar2018.clean import clean, smoothed, smoothed_error
from lensrim.reproduction.morningstar2018.coverage import LATITUDE, Array, projected
from lensrim.reproduction.morningstar2018.judging import COMPONENTS, Choices, judge_part, peaks
from lensrim.reproduction.morningstar2018.paper import (
    RECIPES,
    Morningstar2018,
    trained,
    trained_readers,
)
from lensrim.reproduction.morningstar2018.readers import CLEAN, DIRTY, SKY, Readers
from lensrim.reproduction.morningstar2018.skies import (
    WIDTH,
    Correlator,
    Skies,
    area,
    lens_scene,
    sky_scene,
)
from lensrim.reproduction.paper import Setting
from lensrim.training.feed import to_device
from lensrim.training.names import EMA

ARRAY = Array(antennas=14, times=2)
SKIES = Skies(
    shape=32, pixel_scale=0.14, theta_E=(0.6, 1.0), snr=(30, 60), array=ARRAY, transform=Direct()
)
DESIGNS = {"published": Published(4, (4, 6), 3, 2), "ours": Ours((4, 6), 4, 2)}
SCENES = {"sky": sky_scene, "source": lambda draws: lens_scene(draws, draws["lens"])}

every_scene = pytest.mark.parametrize("sought", SCENES)


@pytest.fixture(scope="module")
def draws():
    return SKIES.draw(4, 0, UNSEEN, 0)


def test_at_the_zenith_baselines_are_what_they_are_on_the_ground():
    east, north = torch.randn(2, 5, generator=generator(0, UNSEEN)).double()
    zenith = torch.tensor(LATITUDE, dtype=torch.float64)
    u, v = projected(east, north, zenith, torch.zeros(1, dtype=torch.float64))
    torch.testing.assert_close(u, east)
    torch.testing.assert_close(v, north)


def test_the_earth_turns_baselines_without_stretching_them():
    rng = generator(0, UNSEEN)
    east, north = torch.randn(2, 1, 5, generator=rng).double()
    declination, hour = torch.randn(2, 40, 1, generator=rng).double()
    u, v = projected(east, north, declination, hour)
    x, z = -north * math.sin(LATITUDE), north * math.cos(LATITUDE)
    w = declination.cos() * (x * hour.cos() - east * hour.sin()) + declination.sin() * z
    torch.testing.assert_close(
        u.square() + v.square() + w.square(), (east.square() + north.square()).expand(40, 5)
    )


def test_arrays_have_the_resolution_that_was_drawn():
    uv = ARRAY.observe(300, generator(0, UNSEEN))
    assert uv.shape == (300, ARRAY.baselines, 2) and float(uv.abs().max()) <= 0.5
    moment = uv.double().mT @ uv.double() / uv.shape[1]
    width = WIDTH * moment.det() ** -0.25 / (2 * math.pi)
    low, high = ARRAY.resolution
    assert low - 1e-3 < float(width.min()) < low + 0.1
    assert high - 0.1 < float(width.max()) < high + 0.2  # where some are shortened
    assert Array().primary == pytest.approx(16.9, abs=0.01)  # ALMA's, at 0.87 mm


@every_scene
def test_the_truth_fits(sought, draws):
    scene = SCENES[sought](draws)
    found = scene.errors(scene.truth)
    assert float(found["relative L2"].max()) == 0
    assert float(found["chi2"].mean()) == pytest.approx(1, abs=0.15)
    assert float(found["D"].median()) < 0.3
    nothing = scene.errors(torch.zeros_like(scene.truth))
    torch.testing.assert_close(nothing["relative L2"], torch.ones(4))
    assert float(nothing["D"].min()) > 10


def test_the_noise_is_that_which_was_drawn():
    draws = SKIES.draw(64, 0, UNSEEN, 3)
    found = peaks(draws)
    assert 25 < float(found.min()) < float(found.max()) < 70
    scene = sky_scene(draws)
    chi2 = scene.errors(scene.truth)["chi2"]
    assert float(chi2.mean()) == pytest.approx(1, abs=4 / (64 * float(draws["count"][0])) ** 0.5)
    rest = scene.score(scene.truth) / scene.data.precision.sqrt()
    assert float(rest.square().mean()) == pytest.approx(1, abs=0.1)


@every_scene
def test_scores_are_the_gradients(sought, draws):
    scene = SCENES[sought](draws)
    x = (scene.truth + 0.1).requires_grad_()
    misfit = scene.data.misfits(scene.view(x))["chi2"] * draws["count"]
    (gradient,) = torch.autograd.grad(-misfit.sum() / 2, x)
    found, aux = full_score({"source": x.detach()}, draws["moment"], scene)
    size = float(gradient.abs().max())
    torch.testing.assert_close(found["source"], gradient, rtol=1e-3, atol=1e-4 * size)
    plain = plain_score({"source": x.detach()}, draws["moment"], scene)["source"]
    torch.testing.assert_close(plain, found["source"] * scene.data.scale)
    assert float(aux["information"].min()) >= 0


def test_the_information_is_what_smooth_images_have(draws):
    scene = sky_scene(draws)
    x, y = torch.meshgrid(torch.arange(32) - 16.0, torch.arange(32) - 16.0, indexing="ij")
    smooth = (-(x.square() + y.square()) / (2 * 5**2)).exp().expand(4, 1, 32, 32)
    ratio = scene.data.normal(smooth) / (scene.data.information * smooth)
    assert 0.2 < float(ratio[..., 16, 16].min()) < float(ratio[..., 16, 16].max()) < 5


def test_draws_are_a_function_of_seed_purpose_and_number(draws):
    again = SKIES.draw(4, 0, UNSEEN, 0)
    torch.testing.assert_close(again["image"], draws["image"], rtol=0, atol=0)
    for seed, purpose, index in ((1, UNSEEN, 0), (0, TRAINING, 0), (0, UNSEEN, 1)):
        other = SKIES.draw(4, seed, purpose, index)
        assert float((other["lens"] - draws["lens"]).abs().max()) > 1e-3
        assert float((other["transfer"] - draws["transfer"]).abs().max()) > 1e-3


def test_whitened_data_say_the_same(draws):
    """The normal equations of white data are those of the visibilities."""
    scene = lens_scene(draws, draws["lens"])
    white = scene.data.whitened(1)
    images = torch.randn(4, 3, 32, 32, generator=generator(0, UNSEEN))
    columns = scene.data.columns(white, images)
    seen = torch.stack([scene.data.normal(each[:, None]) for each in images.unbind(1)], 1)
    gram = torch.einsum("bkij,blij->bkl", images, seen[:, :, 0]).double()
    size = float(gram.abs().max())
    torch.testing.assert_close(columns @ columns.mT, gram, rtol=1e-2, atol=3e-3 * size)
    moment = torch.einsum("bkij,bij->bk", images, scene.data.moment[:, 0]).double()
    found = (columns @ white.data[..., None])[..., 0]
    torch.testing.assert_close(found, moment, rtol=1e-3, atol=1e-3 * float(moment.abs().max()))


@every_scene
def test_pixels_solve_their_normal_equations(sought, draws):
    scene = SCENES[sought](draws)
    found = next(islice(pixels(scene, weight=30.0), 200, None))
    rest = scene.score(found) - 30 * (roughness(found) + RIDGE * found)
    right = scene.score(torch.zeros_like(found))
    assert float((rest.flatten(1).norm(dim=1) / right.flatten(1).norm(dim=1)).max()) < 2e-3


def test_modes_explain_the_visibilities_to_the_noise(draws):
    scene = lens_scene(draws, draws["lens"])
    source, effective = invert(scene, draws["lens"])
    found = scene.errors(source)
    assert float(found["D"].median()) < 1.5
    assert float(found["relative L2"].median()) < 0.4
    assert float(effective.min()) > 3


def test_a_point_is_cleaned_to_one_component(draws):
    at, flux = (0, 12, 19), 3.0
    point = torch.zeros_like(draws["clean"])
    point[:, at[0], at[1], at[2]] = flux
    grid = Correlator(draws).gridded
    seen = {**draws, "moment": grid.normal(point), "clean": point}
    scene = sky_scene(seen)
    found = clean(scene, stop=1e-3)
    assert float((found.components - point).abs().max()) < 0.02 * flux
    expected = smoothed(point * grid.beam, draws["spread"]) / grid.beam
    torch.testing.assert_close(found.restored, expected, rtol=0, atol=0.02)
    assert float(smoothed_error(scene, found.restored).max()) < 0.05


def test_cleaning_stops_at_the_noise(draws):
    scene = sky_scene(draws)
    few, many = (clean(scene, stop=stop) for stop in (5.0, 2.0))
    assert bool((many.count >= few.count).all()) and float(many.count.sum()) > float(
        few.count.sum()
    )
    left = scene.score(few.components) / scene.data.precision.sqrt()
    assert float(left.abs().max()) < 5.01
    assert int(clean(scene, stop=0.0, most=7).count.max()) == 7


def test_smoothing_keeps_flux_and_adds_variance():
    point = torch.zeros(2, 1, 33, 33)
    point[:, 0, 16, 16] = 2.0
    spread = torch.tensor([[[3.0, 1.0], [1.0, 2.0]], [[2.0, -0.5], [-0.5, 4.0]]])
    found = smoothed(point, spread)[:, 0]
    torch.testing.assert_close(found.sum((1, 2)), torch.full((2,), 2.0), rtol=1e-3, atol=0)
    axis = torch.arange(33) - 16.0
    for (i, j), form in {(0, 0): "bij,j,j", (1, 1): "bij,i,i", (0, 1): "bij,i,j"}.items():
        moment = torch.einsum(f"{form}->b", found, axis, axis) / 2
        torch.testing.assert_close(moment, spread[:, i, j], rtol=0.02, atol=0.02)
    peak = found[:, 16, 16] * area(spread)
    torch.testing.assert_close(peak, torch.full((2,), 2.0), rtol=1e-3, atol=0)


@every_scene
@pytest.mark.parametrize("design", DESIGNS.values(), ids=DESIGNS)
def test_a_machine_runs_and_can_learn(design, sought, draws):
    rim = design.machine()
    design.loss(rim, SCENES[sought](draws)).backward()
    assert all(p.grad is not None for p in rim.parameters())
    assert all(float(p.grad.abs().max()) > 0 for p in rim.network.last.parameters())


def test_readers_read_each_kind_of_image(draws):
    torch.manual_seed(0)
    machines = {name: Machine(design, design.machine()) for name, design in DESIGNS.items()}
    readers = Readers(32, machines, 3.0)
    found = readers(draws)
    assert list(found) == [DIRTY, CLEAN, "published", "ours", SKY]
    assert all(lens.shape == (4, 7) for lens in found.values())
    # The machines belong to somebody else: they are neither trained nor saved.
    assert len(readers.state_dict()) == 5 * len(readers.readers[0].state_dict())


@pytest.mark.slow
def test_all_is_judged_on_a_device(draws, monkeypatch: pytest.MonkeyPatch):
    shorten(monkeypatch, judging)
    machines = {sought: machines_of(DESIGNS) for sought in SCENES}
    torch.manual_seed(0)
    readers, chosen = Readers(32, machines["sky"], 3.0), Choices(3.0, 30.0, 30.0)
    few = {name: value[:2] for name, value in draws.items()}
    here = judge_part(machines, readers, chosen, few)
    with pretended_device() as device:
        for machine in (m for own in machines.values() for m in own.values()):
            machine.rim.to(device)
        there = judge_part(machines, readers.to(device), chosen, to_device(few, device))
    assert_alike(together([there]), together([here]))


def test_what_is_chosen_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    found = iter([2.0, 3.0, 4.0])
    monkeypatch.setattr(judging, "chosen_stop", lambda scene: next(found))
    monkeypatch.setattr(judging, "chosen_weight", lambda scene: 10.0)
    setting = Setting(tmp_path, report=lambda line: None)
    first, again = (judging.choices(SKIES, 1, setting) for _ in range(2))
    assert first == again == Choices(2.0, 10.0, 10.0)
    assert judging.choices(SKIES, 1, replace(setting, seed=1)).stop == 3.0
    assert judging.choices(replace(SKIES, snr=(20, 40)), 1, setting).stop == 4.0


def test_readers_are_not_gone_on_with_for_other_skies(tmp_path: Path):
    recipe = replace(
        RECIPES["small"], published=DESIGNS["published"], ours=DESIGNS["ours"], skies=SKIES
    )
    setting = Setting(tmp_path, quick=True, report=lambda line: None)
    machines, _ = trained(recipe, setting)
    trained_readers(recipe, machines["sky"], 3.0, setting)
    trained_readers(recipe, machines["sky"], 3.0, setting)  # goes on, and is done
    with pytest.raises(InputError, match="must be of what it began with"):
        trained_readers(recipe, machines["sky"], 2.0, setting)
    shutil.copy(tmp_path / "source_ours" / EMA, tmp_path / "sky_ours" / EMA)  # made anew
    with pytest.raises(InputError, match="must be of what it began with"):
        trained_readers(recipe, machines["sky"], 3.0, setting)


@pytest.mark.slow
def test_a_paper_is_done_and_not_done_again(tmp_path: Path):
    recipe = replace(
        RECIPES["small"], published=DESIGNS["published"], ours=DESIGNS["ours"], skies=SKIES
    )
    paper = Morningstar2018(recipes={"small": recipe})
    said: list[str] = []
    setting = Setting(tmp_path, quick=True, report=said.append)
    first = paper.run(setting)
    assert first is not None and any(line.startswith("step 2") for line in said)
    assert len(first.lines) == 9
    assert {line.rival_name for line in first.lines} <= {PIXELS, MODES, DIRTY, CLEAN, COMPONENTS}
    said.clear()
    again = paper.run(setting)
    assert again is not None and not any(line.startswith("step") for line in said)
    assert [str(line.ours) for line in again.lines] == [str(line.ours) for line in first.lines]
    assert set(first.figures) == {
        "skies",
        "sky_against_calls",
        "lenses",
        "sources",
        "source_against_calls",
    }
    assert not any("{" in text for text in first.differs)
