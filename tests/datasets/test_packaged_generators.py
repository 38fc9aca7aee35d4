"""The generators that come with the package."""

from pathlib import Path

import numpy as np
import pytest
import torch

from lensrim._weights import read_weights
from lensrim.datasets.galaxies import learnt as learnt_galaxies
from lensrim.datasets.galaxies.generative import load_vae
from lensrim.datasets.galaxies.learnt import LearntGalaxies, cards, packaged
from lensrim.datasets.galaxies.opening import open_galaxies
from lensrim.datasets.presets import Population, read_population
from lensrim.datasets.shards.samples import Samples
from lensrim.errors import InputError
from lensrim.generation.recipe import read_generator_recipe
from lensrim.inference.recipe import read_recipe


@pytest.mark.parametrize("name", cards())
def test_each_is_what_its_card_says(name: str) -> None:
    path, card = packaged(name), cards()[name]
    assert path.stat().st_size < 3_000_000
    recipe = read_generator_recipe(path.with_name(card["recipe"]))
    vae = load_vae(path)
    assert vae.config == recipe.model
    _, header = read_weights(path)
    assert header["elbo"] == recipe.identity()["elbo"]
    assert header["config"] == recipe.train.to_dict() and header["step"] == recipe.train.steps
    (kind,) = header["data"]
    assert header["data"][kind].items() <= recipe.identity()["data"][kind].items()
    assert bool(vae.sample(4, torch.Generator().manual_seed(0)).isfinite().all())


def test_galaxies_of_the_package_look_like_galaxies() -> None:
    galaxies = LearntGalaxies(count=12)
    drawn = [galaxies.load(name) for name in galaxies.names]
    radii = [g.half_light_radius / g.pixel_scale for g in drawn]
    # those of the data, in the same frame: 5 to 8 pixels, less what is cut off at the edge
    assert 3.5 < np.median(radii) < 8.5 and min(radii) > 2.5
    assert len({g.image.shape for g in drawn}) > 1


def test_a_recipe_may_name_them(tmp_path: Path) -> None:
    (tmp_path / "r.toml").write_text('galaxies = "learnt"\nshape = [32, 32]\n')
    population = read_population(str(tmp_path / "r.toml"))
    assert population.galaxies == "learnt"
    samples = Samples(population, which="train")
    assert samples.recipe()["population"]["galaxies"] == f"learnt {cards()['sources']['sha256']}"
    names = {samples(i)["galaxy"] for i in range(4)}
    assert any(name.startswith("vae-") for name in names)
    (tmp_path / "t.toml").write_text('[data]\ngalaxies = "learnt"\n')
    data = read_recipe(tmp_path / "t.toml").data
    galaxies, train, _ = data.read("train")
    assert isinstance(galaxies, LearntGalaxies) and train is not None
    held = data.read("validation")[1]
    assert held is not None and train and not set(train) & set(held)


def test_a_folder_of_that_name_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("learnt").mkdir()
    Path("r.toml").write_text('galaxies = "./learnt"\n')
    assert read_population("r.toml").galaxies == "./learnt"
    Path("t.toml").write_text('[data]\ngalaxies = "./learnt"\n')
    with pytest.raises(InputError, match="expected FITS stamps"):
        read_recipe("t.toml").data.read("train")


def test_a_file_may_stand_in_its_place(tmp_path: Path) -> None:
    (tmp_path / "own.safetensors").write_bytes(packaged("sources").read_bytes())
    (tmp_path / "r.toml").write_text('galaxies = "own.safetensors"\n')
    population = read_population(str(tmp_path / "r.toml"))
    assert population.galaxies is not None
    own, packed = open_galaxies(population.galaxies), open_galaxies("learnt")
    name = own.names[0]
    np.testing.assert_array_equal(own.load(name).image, packed.load(name).image)
    with pytest.raises(InputError, match="galaxies must be a file of weights; no such file"):
        Population(galaxies=str(tmp_path / "none.safetensors"))


def test_a_changed_file_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for path in learnt_galaxies.FOLDER.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    with open(tmp_path / cards()["sources"]["file"], "ab") as file:
        file.write(b" ")
    monkeypatch.setattr(learnt_galaxies, "FOLDER", tmp_path)
    with pytest.raises(InputError, match="must have the checksum of its card"):
        packaged("sources")
    with pytest.raises(InputError, match="generator 'stars': must be one of sources"):
        packaged("stars")
