"""Nothing that a training sees is in what it is judged by: no galaxy, and no halo.

Galaxies are listed twice under two names, haloes are seen from several directions and under two
names. Whatever makes lenses of a set, the mocks' own galaxies and haloes are divided first.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from astropy.io import fits
from haloes import power_law

from lensrim.datasets.haloes.bank import same_haloes, write_bank
from lensrim.datasets.pairs.drawn import Drawn
from lensrim.datasets.presets import read_population
from lensrim.datasets.shards import samples
from lensrim.datasets.shards.reading import Shards
from lensrim.datasets.shards.samples import SETS, Samples
from lensrim.datasets.shards.writing import Plan, write_shards
from lensrim.datasets.systems import System
from lensrim.errors import InputError
from lensrim.inference import batches
from lensrim.inference.batches import Batches
from lensrim.inference.recipe import read_recipe

GALAXIES = [f"g{k:02d}" for k in range(30)]
SAME_GALAXIES = [(f"g{k:02d}", f"g{k + 15:02d}") for k in range(15)]
HALOES = [f"tng{k:02d}" for k in range(24)]
SAME_HALOES = [(f"tng{k:02d}", f"tng{k + 12:02d}") for k in range(12)]
PROJECTIONS = 2
DRAWN, BATCH = 15, 8

Seen = dict[str, dict[str, set[str]]]
"""Groups of galaxies and of haloes, by set and by what they are."""


def first_of(name: str, pairs: Iterable[tuple[str, str]]) -> str:
    """The name that stands for a galaxy or a halo and its double."""
    return {late: early for early, late in pairs}.get(name, name)


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Stamps, a bank of haloes, what is the same, and recipes of a population and a training."""
    folder = tmp_path_factory.mktemp("leaks")
    (folder / "stamps").mkdir()
    y, x = np.mgrid[-15:16, -15:16]
    for k, name in enumerate(GALAXIES):
        blob = np.exp(-np.hypot(x, y / 0.7) / (4 + k / 40)).astype(np.float32)
        blob[np.hypot(x, y) > 13] = 0
        fits.PrimaryHDU(blob).writeto(folder / "stamps" / f"{name}.fits")
    pairs = [{"a": f"g/{int(a[1:])}", "b": f"g/{int(b[1:])}"} for a, b in SAME_GALAXIES]
    (folder / "pairs.json").write_text(json.dumps({"pairs": pairs}))
    haloes = [power_law(f"{name}#{k}", name) for name in HALOES for k in range(PROJECTIONS)]
    write_bank(folder / "haloes.safetensors", same_haloes(haloes, SAME_HALOES))
    same = 'file = "pairs.json"\nfolders = { g = "g" }\ndigits = { g = 2 }\n'
    own = 'galaxies = "stamps"\nhaloes = "haloes.safetensors"\nhalo_share = 0.7\n'
    (folder / "population.toml").write_text(
        f"{own}shape = [24, 24]\n[pairs]\nmixed = 0.5\n[duplicates]\n{same}"
    )
    (folder / "training.toml").write_text(
        f"[data]\n{own}shape = 24\n[data.duplicates]\n{same}"
        f"[train]\nbatch_size = {BATCH}\n[validation]\nbatch_size = {BATCH}\n"
    )
    return folder


def of_systems(systems: Iterable[System]) -> dict[str, set[str]]:
    """What systems show."""
    galaxies, haloes = set(), set()
    for system in systems:
        galaxies.add(system.galaxy.name)
        if system.companion is not None:
            galaxies.add(system.companion.galaxy.name)
        if system.halo is not None:
            # by the projection, not by what the bank calls its halo
            haloes.add(system.halo.halo.name.partition("#")[0])
    return grouped(galaxies, haloes)


def grouped(galaxies: Iterable[str], haloes: Iterable[str]) -> dict[str, set[str]]:
    return {
        "galaxy": {first_of(g, SAME_GALAXIES) for g in galaxies if g not in ("synthetic", "")},
        "halo": {first_of(h, SAME_HALOES) for h in haloes if h},
    }


def of_pairs(sources: Path, folder: Path) -> Seen:
    """Training pairs of the sets of a population."""
    population = read_population(str(sources / "population.toml"))
    seen: Seen = {}
    for which in SETS:
        pairs = samples._pairs(Samples(population, which=which))
        seen[which] = of_systems(s for i in range(DRAWN * BATCH) for s in pairs._systems(i)[0])
    return seen


def of_training(sources: Path, folder: Path) -> Seen:
    """Batches of a training, of its validation and of its test."""
    recipe = read_recipe(sources / "training.toml")
    seen: Seen = {}
    for which in SETS:
        made: Batches = recipe.batches(which)
        pairs = batches._ingredients(batches._Key(made))
        seen[which] = of_systems(s for i in range(DRAWN) for s in pairs._systems(i)[0])
    return seen


def of_shards(sources: Path, folder: Path) -> Seen:
    """Shards, of which each sample says what it shows."""
    seen: Seen = {}
    population = read_population(str(sources / "population.toml"))
    for which in SETS:
        made = Samples(population, which=which)
        write_shards(folder / which, made, Plan(8, 8, 0, made.recipe()))
        columns: Mapping[str, np.ndarray] = Shards.open(folder / which).columns(
            "galaxy", "companion", "halo"
        )
        names = (*columns["galaxy"], *columns["companion"])
        seen[which] = grouped(names, columns["halo"])
    return seen


@pytest.fixture(
    scope="module", params=[of_pairs, of_training, of_shards], ids=lambda f: f.__name__
)
def seen(
    request: pytest.FixtureRequest, sources: Path, tmp_path_factory: pytest.TempPathFactory
) -> Seen:
    """What the sets show, of each that makes lenses."""
    return request.param(sources, tmp_path_factory.mktemp("seen"))


def test_no_galaxy_and_no_halo_is_in_two_sets(seen: Seen) -> None:
    for kind in ("galaxy", "halo"):
        for which in SETS:
            assert seen[which][kind], f"nothing of {which} was drawn: the test would see no leak"
        for one, other in (SETS[:2], SETS[1:], SETS[::2]):
            assert not seen[one][kind] & seen[other][kind], (kind, one, other)
    kinds = ("galaxy", "halo")
    drawn = {kind: set.union(*(seen[which][kind] for which in SETS)) for kind in kinds}
    assert drawn["galaxy"] <= set(GALAXIES[:15]) and drawn["halo"] <= set(HALOES[:12])
    assert len(seen["train"]["galaxy"]) > 3 and len(seen["train"]["halo"]) > 3


def test_shards_of_a_training_are_of_its_own_bank_of_haloes(sources: Path, tmp_path: Path) -> None:
    """Another bank may call the haloes otherwise, and have those of the shards in other sets."""
    population = read_population(str(sources / "population.toml"))
    made = Samples(population, which="train")
    write_shards(tmp_path / "shards", made, Plan(2, 2, 0, made.recipe()))
    haloes = [power_law(f"{name}#0", name) for name in HALOES]
    write_bank(tmp_path / "apart.safetensors", haloes)
    recipe = read_recipe(sources / "training.toml")
    data = replace(recipe.data, shards=str(tmp_path / "shards"))
    first = Batches(data, "train", 2, 0, raw=True)(0)
    assert not isinstance(first, Drawn) and first["image"].shape[0] == 2
    for other in (str(tmp_path / "apart.safetensors"), None):
        with pytest.raises(InputError, match="pairs of haloes must be of the training's own, fou"):
            Batches(replace(data, haloes=other), "train", 2, 0, raw=True)(0)
    without = replace(data, haloes=None, halo_share=0.0)
    assert Batches(without, "train", 2, 0, raw=True)(0).keys() == first.keys()


def test_a_stock_of_another_bank_of_haloes_is_refused(sources: Path, tmp_path: Path) -> None:
    write_bank(tmp_path / "apart.safetensors", [power_law(f"{n}#0", n) for n in HALOES])
    data = replace(read_recipe(sources / "training.toml").data, stock=str(tmp_path / "stock"))
    made, again = (Batches(data, "train", 1, 0)(0) for _ in range(2))
    assert isinstance(made, dict) and isinstance(again, dict)
    torch.testing.assert_close(again["image"], made["image"])
    other = replace(data, haloes=str(tmp_path / "apart.safetensors"))
    with pytest.raises(InputError, match="the stock must be that of the recipe"):
        Batches(other, "train", 1, 0)(0)
