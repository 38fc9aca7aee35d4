"""A training that takes its pairs from shards."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from lensrim.datasets.presets import PRESETS, Population
from lensrim.datasets.shards.reading import Shards
from lensrim.datasets.shards.samples import Samples
from lensrim.datasets.shards.writing import Plan, write_shards
from lensrim.errors import InputError
from lensrim.inference.batches import Batches, stored_prior
from lensrim.inference.data_config import DataConfig
from lensrim.inference.recipe import read_recipe
from lensrim.inference.validity import said_of, valid_of

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


@pytest.mark.parametrize("preset", ["general", "slacs"])
def test_the_validation_is_drawn_from_the_population_of_the_shards(preset: str, tmp_path: Path):
    population = PRESETS[preset]
    samples = Samples(population, 1)
    write_shards(tmp_path, samples, Plan(1, 1, 1, samples.recipe()))
    assert stored_prior(str(tmp_path)) == population.pair_prior
    data = DataConfig(shape=population.shape[0], shards=str(tmp_path))
    source = Batches(data, "validation", 2, 9)._source(0)
    expected = replace(population.system, halo_share=0.0)
    assert source.prior == replace(population.pair_prior, system=expected)
    assert Batches(data, "validation", 2, 9, raw=True)(0).macro.shape == (2, 8)


def test_shards_of_another_version_are_refused(folder: Path, monkeypatch):
    recipe = {"population": {"system": {"colour": 1}, "pairs": {}}}
    monkeypatch.setattr(Shards, "recipe", recipe)
    with pytest.raises(InputError, match=r"must be one of this version of lensrim \(.*colour"):
        stored_prior(str(folder))


def test_shards_tell_what_a_machine_is_for(folder: Path):
    data = DataConfig(shape=32, shards=str(folder), galaxies="stamps")
    valid, lenses = valid_of(data), [SAMPLES(i) for i in range(3)]
    radii = [float(np.exp(lens["macro"][0])) for lens in lenses]
    assert valid["theta_E"] == pytest.approx([min(radii), max(radii)])
    assert valid["fwhm"] == pytest.approx(
        [f(float(lens["fwhm"]) for lens in lenses) for f in (min, max)]
    )
    assert valid["snr"][0] < min(float(lens["snr"]) for lens in lenses)
    assert valid["side"] == valid_of(replace(data, shards=None))["side"]
    assert said_of(data) == "synthetic galaxies, analytic PSFs"  # whatever the folder is for
    assert said_of(replace(data, shards=None)) == "real galaxies, analytic PSFs"


def test_a_digest_of_shards_knows_seed_and_recipe_and_no_place(folder: Path, tmp_path: Path):
    found = {Shards.open(folder).digest}
    for seed, shape, name in ((2, 32, "same"), (3, 32, "seed"), (2, 24, "shape")):
        samples = Samples(Population(shape=(shape, shape)), seed=seed)
        write_shards(tmp_path / name, samples, Plan(1, 2, seed, samples.recipe()))
        found.add(Shards.open(tmp_path / name).digest)
    assert len(found) == 3


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
