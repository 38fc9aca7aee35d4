"""Sets of a population: they share no galaxy and no draw, and a training takes its own alone."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits

from lensrim.cli import main
from lensrim.datasets.pairs.pairs import Pairs
from lensrim.datasets.presets import Population, read_population
from lensrim.datasets.shards.reading import Shards
from lensrim.datasets.shards.samples import SETS, Samples
from lensrim.datasets.splits import Duplicates, split
from lensrim.errors import InputError
from lensrim.inference.batches import Batches
from lensrim.inference.data_config import DataConfig

SMALL = Samples(Population(shape=(24, 24)), seed=5)
NAMES = [f"g{k:02d}" for k in range(40)]


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of galaxies, a list of those that are the same, and a recipe."""
    folder = tmp_path_factory.mktemp("sources")
    (folder / "stamps").mkdir()
    y, x = np.mgrid[-15:16, -15:16]
    for k, name in enumerate(NAMES):
        blob = np.exp(-np.hypot(x, y / 0.7) / (4 + k / 40)).astype(np.float32)
        blob[np.hypot(x, y) > 13] = 0
        fits.PrimaryHDU(blob).writeto(folder / "stamps" / f"{name}.fits")
    pairs = [{"a": f"g/{k}", "b": f"g/{k + 20}"} for k in range(20)]
    (folder / "pairs.json").write_text(json.dumps({"pairs": pairs}))
    (folder / "recipe.toml").write_text(
        'galaxies = "stamps"\nshape = [24, 24]\n\n[pairs]\nsynthetic = 0.0\nmixed = 0.5\n\n'
        '[duplicates]\nfile = "pairs.json"\nfolders = { g = "g" }\ndigits = { g = 2 }\n'
    )
    return folder


def training(sources: Path, shards: Path, *, duplicates: bool = True) -> DataConfig:
    """The data of a training with the same galaxies."""
    same = Duplicates(str(sources / "pairs.json"), {"g": "g"}, {"g": 2})
    return DataConfig(
        galaxies=str(sources / "stamps"),
        duplicates=same if duplicates else None,
        shape=24,
        shards=str(shards),
    )


def written(sources: Path, folder: Path, *words: str) -> Path:
    """Writes shards by the command."""
    recipe = str(sources / "recipe.toml")
    words = ("--count", "6", "--per-shard", "6", "--quiet", "--output", str(folder), *words)
    assert main(["dataset", recipe, *words]) == 0
    return folder


def test_galaxies_that_are_the_same_are_in_one_set_as_in_a_training(sources: Path) -> None:
    population = read_population(str(sources / "recipe.toml"))
    assert population.duplicates == tuple((f"g{k:02d}", f"g{k + 20:02d}") for k in range(20))
    sets = split(NAMES, population.duplicates)
    assert all((a in own) == (b in own) for a, b in population.duplicates for own in sets.values())
    assert sets != split(NAMES)
    for which in ("train", "validation"):
        drawn = [Samples(population, which=which)(i) for i in range(12)]
        assert {sample["galaxy"] for sample in drawn} <= {*sets[which]}
        second = {sample["companion"] for sample in drawn}
        assert {""} < second <= {"", *sets[which]}
    _, names, _ = training(sources, sources).read("train")
    assert names == list(sets["train"])


def test_a_training_takes_shards_of_its_own_set(sources: Path, tmp_path: Path) -> None:
    train = written(sources, tmp_path / "train", "--set", "train")
    assert Batches(training(sources, train), "train", 2, 0, raw=True)(0)["image"].shape[0] == 2
    with pytest.raises(InputError, match=r"split with the training's duplicates.*\[duplicates\]"):
        Batches(training(sources, train, duplicates=False), "train", 2, 0, raw=True)(0)
    everything = written(sources, tmp_path / "all")
    with pytest.raises(InputError, match="must be of the training set, found all; write them wi"):
        Batches(training(sources, everything), "train", 2, 0, raw=True)(0)


def test_sets_draw_all_else_independently() -> None:
    images = [replace(SMALL, which=which)(3)["image"] for which in (None, *SETS)]
    assert len({image.tobytes() for image in images}) == 4
    plain = Pairs(1, shape=(24, 24), prior=SMALL.population.pair_prior, seed=5)
    np.testing.assert_array_equal(images[0], plain(3)["image"][0].numpy())


def test_a_recipe_says_which_files_and_which_duplicates(sources: Path, tmp_path: Path) -> None:
    population = read_population(str(sources / "recipe.toml"))
    found = Samples(population).recipe()
    reverse = tuple((b, a) for a, b in reversed(population.duplicates))
    assert Samples(replace(population, duplicates=reverse)).recipe() == found
    fewer = replace(population, duplicates=population.duplicates[1:])
    assert Samples(fewer).recipe()["duplicates"] != found["duplicates"]
    for path in (sources / "stamps").iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    moved = replace(population, galaxies=str(tmp_path))
    assert Samples(moved).recipe() == found
    (tmp_path / "g00.fits").write_bytes((tmp_path / "g01.fits").read_bytes())
    assert Samples(moved).recipe() != found
    assert json.loads(json.dumps(found)) == found


def test_a_run_with_other_galaxies_is_not_resumed(sources: Path, tmp_path: Path, capsys) -> None:
    folder = written(sources, tmp_path / "shards")
    others = tmp_path / "others"
    others.mkdir()
    (others / "g00.fits").write_bytes((sources / "stamps" / "g00.fits").read_bytes())
    recipe, words = str(sources / "recipe.toml"), ("--count", "9", "--per-shard", "6")
    options = ("--output", str(folder), "--galaxies", str(others))
    assert main(["dataset", recipe, *words, *options]) == 2
    assert "a folder holds shards of one recipe and seed" in capsys.readouterr().err
    assert len(Shards.open(folder)) == 6


@pytest.mark.parametrize(
    ("table", "match"),
    [
        ("3", "duplicates: must be a table with 'file', a table 'folders'"),
        ('{ file = "x.json" }', "duplicates: must be a table"),
        ('{ file = 3, folders = { g = "g" } }', "duplicates: must be a table"),
        ('{ file = "x.json", folders = { g = "g" } }', r"x\.json: expected JSON with 'pairs'"),
    ],
)
def test_bad_duplicates_say_what_is_wrong(table: str, match: str, tmp_path: Path) -> None:
    (tmp_path / "recipe.toml").write_text(f"duplicates = {table}\n")
    with pytest.raises(InputError, match=match):
        read_population(str(tmp_path / "recipe.toml"))
