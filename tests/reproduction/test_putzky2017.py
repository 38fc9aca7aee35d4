"""putzky2017: those who do without a machine are right, and the machines see what they should."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import torch
from pretend import pretended_device
from torch import Tensor

from lensrim.errors import InputError
from lensrim.evaluation.problems.problem import TRAINING, UNSEEN, Rival, generator, psnr
from lensrim.evaluation.problems.tv import chambolle_pock, total_variation
from lensrim.reproduction.paper import Setting
from lensrim.reproduction.putzky2017.judging import Machine, judge
from lensrim.reproduction.putzky2017.machines import Ours, Published
from lensrim.reproduction.putzky2017.operators import gaussian
from lensrim.reproduction.putzky2017.paper import RECIPES, Putzky2017, pictures_of, trainee
from lensrim.reproduction.putzky2017.pictures import Leaves, Photographs, hopper
from lensrim.reproduction.putzky2017.problems import DENOISING, TASKS, Draws, Trial, trials, whole
from lensrim.reproduction.putzky2017.rivals import descend, linear, power, smoothest
from lensrim.reproduction.training import train

SIZE = 12
DESIGNS = {"published": Published(4, 6, 3), "ours": Ours((4, 6), 4, 3)}
every_design = pytest.mark.parametrize("design", DESIGNS.values(), ids=DESIGNS)


def last(iterates: Iterator[Tensor], calls: int) -> Tensor:
    return next(islice(iterates, calls - 1, None))


def problem(make=whole, share: float = 1.0, noise: float = 25.0) -> Draws:
    return Trial("any", make, share, noise).draw(3, SIZE, generator(0, UNSEEN))


def test_noise_is_told_in_steps_of_eight_bits():
    draws = Trial("any", whole, noise=25).draw(40, 32, generator(0, UNSEEN))
    off = draws["y"] - draws["truth"]
    assert float(off.std()) == pytest.approx(25 / 255, rel=0.02)
    assert float(psnr(draws["y"], draws["truth"]).mean()) == pytest.approx(20.17, abs=0.05)


def test_conjugate_gradients_end_at_the_wiener_filter():
    draws = problem()
    mean, spectrum = power(Leaves(), SIZE, 0)
    found = last(linear(draws, mean=mean, spectrum=spectrum), 200)
    gain = spectrum / (spectrum + draws["sigma"][0] ** 2)
    wiener = mean + torch.fft.ifft2(gain * torch.fft.fft2(draws["y"] - mean)).real
    torch.testing.assert_close(found, wiener, rtol=1e-3, atol=1e-3)


def test_total_variation_finds_the_minimum_that_another_iteration_finds():
    draws = problem()
    found = last(smoothest(draws, weight=0.05), 400)
    flat = torch.fft.rfft2(torch.zeros(3, 1, SIZE, SIZE))
    weight = torch.full((3,), 0.05)
    other = last(chambolle_pock(draws["y"], torch.ones_like(flat), weight=weight, step=3.0), 400)
    torch.testing.assert_close(found, other, rtol=0, atol=2e-3)


def test_total_variation_of_projections_is_a_minimum():
    draws = problem(gaussian, 0.4, 1.0)
    operator, weight = draws["operator"], 0.01

    def energy(x: Tensor) -> Tensor:
        return (draws["y"] - operator(x)).square().sum(1) / 2 + weight * total_variation(x)

    found = last(smoothest(draws, weight=weight), 1000)
    for seed in range(5):
        other = found + 0.02 * torch.randn(found.shape, generator=generator(seed, UNSEEN))
        assert bool((energy(other) > energy(found)).all())


def test_descent_lowers_the_misfit():
    draws = problem(gaussian, 0.4, 1.0)
    misfits = [
        float((draws["y"] - draws["operator"](x)).square().sum())
        for x in islice(descend(draws, rate=1.0), 20)
    ]
    assert misfits == sorted(misfits, reverse=True)


@pytest.mark.parametrize("kind", [TASKS, DENOISING], ids=["3task", "denoise"])
@every_design
def test_a_machine_runs_and_all_of_it_can_learn(design, kind):
    rim = design.machine()
    for number in range(3):
        draws = kind.draw(Leaves(), SIZE, 2, number, generator(0, TRAINING, number))
        loss = design.loss(rim, draws)
        rim.zero_grad()
        loss.backward()
    assert all(p.grad is not None for p in rim.parameters())
    assert all(float(p.grad.abs().max()) > 0 for p in rim.network.last.parameters())


def test_the_published_machine_stays_within_its_link():
    draws = problem()
    with torch.no_grad():
        values = Published(4, 6, 3).run(Published(4, 6, 3).machine(), draws).values
    torch.testing.assert_close(values[0]["x"], torch.full_like(draws["truth"], 0.5))
    assert all(float(v["x"].min()) > 0 and float(v["x"].max()) < 1 for v in values)


def test_an_untrained_machine_of_ours_leaves_the_start():
    draws = problem()
    machine = Machine(DESIGNS["ours"], DESIGNS["ours"].machine())
    values, answers = machine.psnr(draws)
    assert values.shape == (7, 3)
    torch.testing.assert_close(answers, torch.full_like(answers, 0.5))
    torch.testing.assert_close(values[3], values[0])


@pytest.mark.slow
@pytest.mark.parametrize("make", [gaussian, whole], ids=["projection", "noise"])
def test_all_is_judged_on_a_device(make):
    others = [
        Rival("descent", "", {"": partial(descend, rate=1.0)}, 3),
        Rival("linear", "", {"": partial(linear, mean=0.5, spectrum=torch.ones(SIZE, SIZE))}, 3),
        Rival("total variation", "", {"": partial(smoothest, weight=0.01)}, 3, shown=True),
    ]
    machines = {name: Machine(design, design.machine()) for name, design in DESIGNS.items()}
    trial, options = Trial("any", make, 0.4), {"size": SIZE, "unseen": 3, "seed": 0}
    here = judge(trial, machines, others, **options)
    with pretended_device() as device:
        for machine in machines.values():
            machine.rim.to(device)
        there = judge(trial, machines, others, **options, device=device)
    for one, two in zip(here["rows"], there["rows"], strict=True):
        assert one["method"] == two["method"]
        torch.testing.assert_close(two["psnr"], one["psnr"], rtol=1e-3, atol=1e-3)
    for name, images in here["shown"].items():
        torch.testing.assert_close(there["shown"][name], images, rtol=1e-3, atol=1e-3)


def test_settings_are_chosen_on_images_of_the_training(monkeypatch: pytest.MonkeyPatch):
    """On those that are judged they would be those of the best that can be had."""

    @dataclass(frozen=True)
    class Level:
        value: float

        def draw(self, batch: int, size: int, rng: torch.Generator) -> torch.Tensor:
            return torch.full((batch, 1, size, size), self.value)

        @property
        def digest(self) -> str:
            return str(self.value)

    seen = []
    monkeypatch.setattr(
        "lensrim.reproduction.putzky2017.judging.add_iterative",
        lambda found, trial, rival, ends, choice, draws: seen.append((choice, draws)),
    )
    trial = Trial("any", whole, 1.0, 25.0, 10, Level(0.25), Level(0.75))
    judge(trial, {}, [Rival("any", "", {"": descend}, 3)], size=SIZE, unseen=3, seed=0)
    ((choice, draws),) = seen
    assert float(choice["truth"].mean()) == 0.75 and float(draws["truth"].mean()) == 0.25
    assert {t.chosen_on.digest for t in trials(8, Level(0.25), Level(0.75))} == {"0.75"}


def test_what_is_drawn_from_has_a_checksum():
    one, other = (Photographs([torch.full((9, 9), value)]) for value in (0.5, 0.25))
    assert one.digest == Photographs([torch.full((9, 9), 0.5)]).digest != other.digest


def test_there_is_a_problem_of_each_kind():
    names = [test.name for test in trials(8, Leaves(), Leaves())]
    assert len({test.label for test in trials(8, Leaves(), Leaves())}) == len(names) == 9
    assert sum(test.is_denoising for test in trials(8, Leaves(), Leaves())) == 3


@pytest.fixture
def photographs(tmp_path: Path) -> Path:
    from PIL import Image

    for name in ("train", "test"):
        (tmp_path / name).mkdir()
        grey = np.linspace(0, 255, 40 * 50).reshape(40, 50).astype(np.uint8)
        Image.fromarray(grey).save(tmp_path / name / "ramp.png")
    return tmp_path


def test_photographs_are_cut_into_patches(photographs: Path):
    train, _ = pictures_of(photographs, 32)
    patches = train.draw(5, 32, generator(0, UNSEEN))
    assert patches.shape == (5, 1, 32, 32)
    assert float(patches.min()) >= 0 and float(patches.max()) <= 1
    assert float(patches.diff(dim=3).min()) >= 0  # of a ramp along rows
    assert len({float(p[0, 0, 0]) for p in patches}) > 1


@pytest.mark.parametrize(
    ("broken", "message"),
    [
        ("none", "must hold the folders train and test"),
        ("empty", "must hold images"),
        ("small", "must have sides of 64 pixels"),
        ("text", "must be an image"),
    ],
)
def test_folders_of_photographs_that_cannot_be_used(photographs: Path, broken: str, message: str):
    size = 32
    if broken == "none":
        photographs = photographs / "train"
    elif broken == "empty":
        (photographs / "test" / "ramp.png").unlink()
    elif broken == "small":
        size = 64
    else:
        (photographs / "train" / "note.png").write_text("no image")
    with pytest.raises(InputError, match=message):
        pictures_of(photographs, size)


def test_the_photograph_of_matplotlib():
    image = hopper(256)
    assert image.shape == (1, 1, 256, 256)
    assert 0.05 < float(image.std()) < 0.5


@pytest.mark.slow
def test_a_paper_is_done_and_not_done_again(tmp_path: Path):
    recipe = replace(RECIPES["small"], published=DESIGNS["published"], ours=DESIGNS["ours"])
    paper = Putzky2017(recipes={"small": replace(recipe, size=SIZE)})
    said: list[str] = []
    setting = Setting(tmp_path, quick=True, report=said.append)
    first = paper.run(setting)
    assert first is not None and any(line.startswith("step 2") for line in said)
    assert {line.quantity.split(",")[0] for line in first.lines} >= {"denoising"}
    assert all(line.rival is not None for line in first.lines)
    said.clear()
    again = paper.run(setting)
    assert again is not None and not any(line.startswith("step") for line in said)
    assert [str(line.ours) for line in again.lines] == [str(line.ours) for line in first.lines]
    assert set(first.figures) == {"psnr_against_steps", "examples"}
    assert not any("{" in text for text in first.differs)


def test_a_training_goes_on_and_not_with_other_images(tmp_path: Path):
    recipe = replace(RECIPES["small"], size=SIZE)
    said: list[str] = []
    setting = Setting(tmp_path, quick=True, report=said.append)

    def trained(setting: Setting) -> dict[str, Tensor]:
        told = trainee("ours", DESIGNS["ours"], "denoise", recipe, Leaves(), setting)
        return train(told, setting)[0].state_dict()

    first = trained(setting)
    assert any(line.startswith("step 2") for line in said)
    said.clear()
    again = trained(setting)
    assert not any(line.startswith("step") for line in said)
    for name, value in first.items():
        torch.testing.assert_close(again[name], value, rtol=0, atol=0)
    with pytest.raises(InputError, match="must be of what it began with"):
        trained(replace(setting, data=tmp_path))


def test_patches_come_from_all_photographs():
    images = [torch.full((20, 20), level) for level in (0.2, 0.8)]
    drawn = Photographs(images).draw(20, 8, generator(0, UNSEEN))
    assert {round(float(p.mean()), 1) for p in drawn} == {0.2, 0.8}
