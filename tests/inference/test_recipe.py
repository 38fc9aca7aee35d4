"""Recipes: what they say, and what they may not say."""

import json
import pickle
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from lensrim.datasets.pairs.drawn import Drawn
from lensrim.errors import InputError
from lensrim.inference.batches import Batches
from lensrim.inference.data_config import DataConfig
from lensrim.inference.recipe import Recipe, ValidationConfig, read_recipe
from lensrim.rim.unroll import Unroll
from lensrim.training.config import TrainConfig

CPU = torch.device("cpu")

TEXT = """
[data]
galaxies = "stamps"
shape = 32
seed = 3

[data.duplicates]
file = "pairs.json"
folders = { cand = "candels/gal" }

[model]
steps = 2
widths = [8, 12]

[train]
steps = 4
warmup = 1
batch_size = 2

[validation]
batches = 1
batch_size = 2
"""


def write(folder: Path, text: str) -> Path:
    path = folder / "recipe.toml"
    path.write_text(text)
    return path


def test_a_recipe_is_read_with_paths_beside_it(tmp_path: Path):
    recipe = read_recipe(write(tmp_path, TEXT))
    assert recipe.data.galaxies == str(tmp_path / "stamps")
    assert recipe.data.duplicates is not None
    assert recipe.data.duplicates.file == str(tmp_path / "pairs.json")
    assert recipe.model.widths == (8, 12)
    assert recipe.train.batch_size == recipe.validation.batch_size == 2
    assert read_recipe(write(tmp_path, "")) == Recipe()


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("[date]", "date: must be among data, model, .*, loss, start; remove"),
        ("[data]\ngalaxy = 'x'", r"\[data\] galaxy: must be among galaxies, .*; remove or rename"),
        ("[train]\nstep = 3", r"\[train\] step: must be among steps, batch_size"),
        ("[model]\ndepth = 3", r"\[model\] depth: must be among steps, widths, lift, "),
        ("[unroll]\nfast = true", r"\[unroll\] fast: must be among checkpoint, truncate, "),
        ("[data", "must be a TOML file"),
    ],
)
def test_a_wrong_recipe_is_refused(tmp_path: Path, text: str, match: str):
    with pytest.raises(InputError, match=match):
        read_recipe(write(tmp_path, text))


def test_a_missing_recipe_is_refused(tmp_path: Path):
    with pytest.raises(InputError, match="No such file"):
        read_recipe(tmp_path / "none.toml")


def test_a_recipe_is_said_whole(tmp_path: Path):
    text = TEXT.replace("batch_size = 2\n\n", "batch_size = 6\nparts = 3\n\n")
    text = 'start = "weights/a.safetensors"\n' + text + "seed = 5\n"
    recipe = read_recipe(write(tmp_path, text))
    said = json.loads(json.dumps(recipe.described()))
    assert str(tmp_path) not in json.dumps(said)
    again = Recipe.from_dict(said, tmp_path)
    assert again == replace(recipe, start=str(tmp_path / "a.safetensors"))
    assert recipe.train.parts == 3 and recipe.validation.seed == 5
    assert Recipe.from_dict(Recipe().described()) == Recipe()


def test_a_step_in_parts_has_smaller_batches():
    train = TrainConfig(batch_size=12, parts=3)
    recipe = Recipe(data=DataConfig(shape=32), train=train)
    assert (recipe.batches().batch_size, recipe.batches().parts) == (4, 3)
    assert recipe.batches("validation").batch_size == 32


def test_all_parts_of_a_new_step_are_new(tmp_path: Path):
    data = DataConfig(shape=32, stock=str(tmp_path / "stock"), stocked=5, reuse=3)
    raw = Batches(data, "train", 2, 0, raw=True, parts=2)
    numbers = [raw.number(i) for i in range(30)]
    new = {i: number for i, (number, is_new) in enumerate(numbers) if is_new}
    assert new == {0: 0, 1: 1, 6: 2, 7: 3, 12: 4}  # steps 0, 3 and 6, until there are five
    for i, (number, _) in enumerate(numbers):
        assert number < min(2 * (i // 6 + 1), 5)  # nothing is used before it was made
    assert {number for number, _ in numbers[13:]} == set(range(5))


def test_batches_travel_and_are_functions_of_their_number():
    recipe = Recipe(data=DataConfig(shape=32))
    batches = recipe.batches("validation")
    small = pickle.loads(pickle.dumps(type(batches)(recipe.data, "train", 2, 0)))
    one, again = small(1), small(1)
    assert one["observation"].shape == (2, 4, 32, 32)
    for name, value in one.items():
        assert torch.equal(value, again[name])
    assert batches.batch_size == 32 and batches.seed != recipe.batches().seed


def test_raw_batches_are_finished_to_the_same(tmp_path: Path):
    data = DataConfig(shape=32, stock=str(tmp_path / "stock"), stocked=2)
    whole, raw = Batches(data, "train", 2, 0), Batches(data, "train", 2, 0, raw=True)
    half = raw(0)
    assert isinstance(half, Drawn)
    assert not (tmp_path / "stock").exists()
    done = raw.finish(half, 0, CPU)
    expected = whole(0)  # from the stock that the other has made
    again = raw.finish(raw(0), 0, CPU)  # nothing is left to do
    shutil.rmtree(tmp_path / "stock")
    remade = raw.finish({}, 0, CPU)  # of a training that goes on elsewhere
    for name, value in expected.items():
        torch.testing.assert_close(done[name], value, rtol=0, atol=0)
        torch.testing.assert_close(again[name], value, rtol=0, atol=0)
        torch.testing.assert_close(remade[name], value, rtol=0, atol=0)


def test_a_stock_grows_by_a_batch_every_few_steps(tmp_path: Path):
    data = DataConfig(shape=32, stock=str(tmp_path / "stock"), stocked=3, reuse=4)
    raw = Batches(data, "train", 2, 0, raw=True)
    numbers = [raw.number(i) for i in range(24)]
    assert [i for i, (_, new) in enumerate(numbers) if new] == [0, 4, 8]
    assert [numbers[i][0] for i in (0, 4, 8)] == [0, 1, 2]
    for i, (number, _) in enumerate(numbers):
        assert number <= i // 4  # nothing is used before it was made
    assert {number for number, _ in numbers[12:]} == {0, 1, 2}
    assert raw(1) == {}
    first = raw.finish(raw(0), 0, CPU)
    turned = raw.finish({}, 1, CPU)  # made before it was due: read when it is
    assert torch.equal(turned["amplitude"], first["amplitude"])


def test_batches_of_several_sides_take_turns(tmp_path: Path):
    data = DataConfig(shape=32, larger=(48,), stock=str(tmp_path / "stock"), stocked=4)
    raw = Batches(data, "train", 5, 0, raw=True)
    made = [raw.finish(raw(i), i, CPU) for i in range(4)]
    shapes = [tuple(b["image"].shape) for b in made]
    for pair in (shapes[:2], shapes[2:]):
        assert sorted(pair) == [(2, 1, 48, 48), (5, 1, 32, 32)]  # of as many pixels
    assert all(b["source"].shape[-2:] == b["image"].shape[-2:] for b in made)
    for i in range(4, 10):  # from the stock
        number, new = raw.number(i)
        assert not new and raw(i)["image"].shape == made[number]["image"].shape
    validation = Batches(data, "validation", 2, 0)
    assert [validation.pairs(i)["image"].shape[-1] for i in range(4)] == [32, 48, 32, 48]
    larger = next(i for i, shape in enumerate(shapes) if shape[-1] == 48)
    pairs = Batches(data, "train", 5, 0).pairs(larger)
    alone = Batches(DataConfig(shape=48), "train", 2, 0).pairs(larger)
    assert all(torch.equal(value, pairs[name]) for name, value in alone.items())


def test_all_parts_of_a_new_step_and_no_worker_alone_have_one_side():
    data = DataConfig(shape=32, larger=(48, 64))
    batches = Batches(data, "train", 8, 0, parts=2)
    sides = [batches._alike(i).data.shape for i in range(96)]
    assert sides[::2] == sides[1::2]
    steps = np.array(sides[::2]).reshape(-1, 3)
    assert all(set(three) == {32, 48, 64} for three in steps.tolist())
    assert all(len(set(place)) == 3 for place in steps.T.tolist())


def test_sides_of_a_recipe_are_checked():
    with pytest.raises(InputError, match=r"larger: must be above shape, 64 pixels, found 48"):
        DataConfig(larger=(128, 48))
    with pytest.raises(InputError, match=r"larger: cannot be had from shards"):
        DataConfig(larger=(128,), shards="folder")
    data = DataConfig(larger=(128,))
    with pytest.raises(InputError, match=r"batches: must be a multiple of 2, .* found 3"):
        Recipe(data=data, validation=ValidationConfig(batches=3))
    with pytest.raises(InputError, match=r"larger: 3 lenses at once of 64 pixels"):
        Recipe(data=data, train=TrainConfig(batch_size=6, parts=2))
    identity = Recipe(data=data).identity()
    assert identity["data"]["larger"] == (128,) and "larger" not in Recipe().identity()["data"]


def test_a_stock_is_made_once_and_used_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    data = DataConfig(shape=32, stock=str(tmp_path / "stock"), stocked=2)
    batches = Batches(data, "train", 2, 0)
    first, second = batches(0), batches(1)
    assert len(list((tmp_path / "stock").iterdir())) == 2
    monkeypatch.setattr("lensrim.inference.batches._ingredients", None)  # nothing is made any more
    for name, value in batches(0).items():
        torch.testing.assert_close(value, first[name])
    again = [batches(i) for i in range(2, 10)]
    # the same lenses, in other orientations
    amplitudes = {tuple(b["amplitude"].tolist()) for b in again}
    assert amplitudes == {tuple(b["amplitude"].tolist()) for b in (first, second)}
    assert len({tuple(b["image"][0, 0, 0, :4].tolist()) for b in again}) > 2
    with pytest.raises(InputError, match="the stock must be that of the recipe"):
        Batches(data, "train", 3, 0)(0)


@pytest.mark.usefixtures("types_unchecked")
@pytest.mark.parametrize(
    ("text", "match"),
    [
        (
            "[data]\nshape = '64'",
            r"toml: \[data\] shape: must be a whole number, found '64'; change",
        ),
        ("[data]\nstocked = 0", "stocked: must be a whole number, 1 or more, found 0"),
        ("[model]\nwidths = []", "must be whole numbers, 1 or more"),
        ("[validation]\nbatches = 0", "batches: must be a whole number, 1 or more"),
        ("[data]\nreuse = 2", "reuse: needs a stock"),
        ("data = 'x'", r"recipe.toml: data: must be a table, found 'x'; write \[data\]"),
        ("train = 3", "train: must be a table, found 3"),
        ("start = 3", "start: must be text, in quotes, found 3"),
        ("[data]\nshape = 8", r"\[data\] shape: must be a whole number, 16 or more, found 8"),
        ("[data]\ngalaxies = 3", r"\[data\] galaxies: must be text, in quotes, found 3"),
        ("[data.duplicates]\nfolders = {}", r"\[data.duplicates\] file: must be given"),
        (
            "[data.duplicates]\nfile = 'a'\nfolders = { cand = 3 }",
            r"\[data.duplicates\] folders: must be a table, each value text, .*'cand': 3",
        ),
        ("[model]\nwidths = ['8']", r"\[model\] widths: must be a list, each a whole number"),
        ("[train]\nbetas = [1]", r"\[train\] betas: must be a list of 2, each a number"),
        ("[unroll]\nautocast = 1", r"\[unroll\] autocast: must be true or false, found 1"),
        ("[unroll]\ntruncate = -1", r"\[unroll\] truncate must be 0 or a number of steps"),
    ],
)
def test_wrong_values_are_refused(tmp_path: Path, text: str, match: str):
    with pytest.raises(InputError, match=match):
        read_recipe(write(tmp_path, text))


def test_how_steps_are_computed_is_no_part_of_the_machine(tmp_path: Path):
    plain = read_recipe(write(tmp_path, TEXT)).identity()
    text = TEXT + "[unroll]\ncheckpoint = true\n"
    recipe = read_recipe(write(tmp_path, text))
    assert recipe.unroll == Unroll(checkpoint=True) and recipe.identity() == plain
    assert Recipe.from_dict(recipe.described()).unroll == recipe.unroll
    other = read_recipe(write(tmp_path, text + "autocast = true\n")).identity()
    assert other == plain | {"unroll": {"truncate": 0, "autocast": True}}
    through = read_recipe(write(tmp_path, text + "through_score = true\n")).identity()
    assert through["unroll"] == {"truncate": 0, "autocast": False, "through_score": True}


@pytest.mark.parametrize("workers", [1, 2, 3, 4, 6])
@pytest.mark.parametrize(("parts", "processes"), [(1, 1), (2, 1), (4, 1), (4, 2), (6, 3), (3, 1)])
@pytest.mark.parametrize("reuse", [1, 2, 3, 6])
def test_every_worker_makes_new_batches(workers: int, parts: int, processes: int, reuse: int):
    recipe = Recipe(
        data=DataConfig(stock="s", reuse=reuse),
        train=TrainConfig(workers=workers, parts=parts, batch_size=parts),
    )
    batches = recipe.batches()
    for rank in range(processes):
        numbers = range(rank, 12 * reuse * parts, processes)
        busy = {i % workers for i, number in enumerate(numbers) if batches.number(number)[1]}
        if len(busy) == workers:
            recipe.check_workers(processes)
        else:
            with pytest.raises(InputError, match=f"found {len(busy)} of {workers} that would"):
                recipe.check_workers(processes)
