"""A training that takes its pairs from shards."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from lensrim.datasets.presets import Population
from lensrim.datasets.shards.samples import Samples
from lensrim.datasets.shards.writing import Plan, write_shards
from lensrim.errors import InputError
from lensrim.inference.batches import Batches
from lensrim.inference.data_config import DataConfig
from lensrim.inference.recipe import read_recipe

SAMPLES = Samples(Population(shape=(32, 32)), seed=2)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three pairs in shards."""
    folder = tmp_path_factory.mktemp("shards")
    write_shards(folder, SAMPLES, Plan(3, 2, SAMPLES.seed, SAMPLES.recipe()))
    return folder


def test_raw_batches_come_from_the_shards(folder: Path) -> None:
    data = DataConfig(shape=32, shards=str(folder))
    raw = Batches(data, "train", 3, 0, raw=True)(0)
    images = {tuple(SAMPLES(i)["image"].ravel()[:5].tolist()) for i in range(3)}
    assert {tuple(image.ravel()[:5].tolist()) for image in raw["image"]} == images


def test_a_finished_batch_is_that_of_pairs(folder: Path) -> None:
    data = DataConfig(shape=32, shards=str(folder))
    stored, drawn = (Batches(d, "train", 2, 0)(1) for d in (data, replace(data, shards=None)))
    assert stored.keys() == drawn.keys()
    for name, value in stored.items():
        assert value.shape == drawn[name].shape, name
        assert value.dtype == drawn[name].dtype, name
        assert bool(value.isfinite().all()), name
    again = Batches(data, "train", 2, 0)(1)
    assert all(torch.equal(value, again[name]) for name, value in stored.items())


def test_the_validation_is_drawn(folder: Path) -> None:
    data = DataConfig(shape=32, shards=str(folder))
    one, other = (
        Batches(d, "validation", 2, 9, raw=True)(0) for d in (data, replace(data, shards=None))
    )
    assert torch.equal(one.macro, other.macro) and one.seed == other.seed


def test_shards_of_another_shape_are_refused(folder: Path) -> None:
    data = DataConfig(shape=24, shards=str(folder))
    with pytest.raises(InputError, match=r"the recipe's shape, 24 pixels, found \[32, 32\]"):
        Batches(data, "train", 2, 0)(0)


def test_a_recipe_names_shards(folder: Path) -> None:
    path = folder / "recipe.toml"
    path.write_text('[data]\nshape = 32\nshards = "."\n')
    recipe = read_recipe(path)
    assert Path(recipe.data.shards or "") == folder
    assert recipe.identity()["data"]["shards"] is True
    assert "shards" not in read_recipe_without(path).identity()["data"]


def read_recipe_without(path: Path):
    """The same recipe with pairs drawn afresh."""
    path.write_text("[data]\nshape = 32\n")
    return read_recipe(path)
