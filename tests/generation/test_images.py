"""Images that generators learn from: functions of their numbers, split before all else."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from astropy.io import fits

from lensrim.errors import InputError
from lensrim.generation.masses import MassConfig
from lensrim.generation.recipe import GeneratorRecipe, read_generator_recipe
from lensrim.generation.sources import SourceConfig, fading, placed
from lensrim.generation.statistics import STATISTICS, distance, light_radius
from lensrim.grid import PixelGrid
from lensrim.lensing.einstein import effective_theta_E

CONFIGS = [SourceConfig(), MassConfig(maps=6)]


def blob(radius: float, side: int = 101, q: float = 1.0) -> np.ndarray:
    v, u = np.mgrid[:side, :side] - (side - 1) / 2
    return np.exp(-(u**2 / q**2 + v**2) / (2 * radius**2))


@pytest.mark.parametrize("config", CONFIGS)
def test_a_batch_is_a_function_of_its_number_and_set(config: SourceConfig | MassConfig) -> None:
    images = config.images("train", 32, 4, 0)
    first = images(3)
    images(5)
    assert first.shape == (4, 1, 32, 32) and bool(first.isfinite().all())
    assert torch.equal(images(3), first)
    for other in (config.images("validation", 32, 4, 0), config.images("train", 32, 4, 1)):
        assert not torch.equal(other(3), first)


def test_sources_stand_in_their_frame() -> None:
    images = SourceConfig(radius=(0.1, 0.1), shift=0.0).images("train", 64, 16, 0)(0)
    assert torch.equal(images.amax((1, 2, 3)), torch.ones(16))
    assert float(images.min()) == 0 and not bool(images[:, :, 0, 0].any())
    # some light is lost beyond the frame, and what is below a fiftieth of the peak
    radii = [light_radius(image[0].double().numpy()) for image in images]
    assert np.median(radii) == pytest.approx(6.4, rel=0.15)


@pytest.mark.parametrize("angle", [0.0, 0.7, np.pi / 2])
def test_placing_keeps_the_radius_and_turns_counter_clockwise(angle: float) -> None:
    # a blob to the right of the middle
    v, u = np.mgrid[:101, :101] - 50
    stamp = torch.from_numpy(np.exp(-((u - 20.0) ** 2 + v**2) / 50.0)).float()[None, None]
    one = torch.ones(1)
    image = placed(stamp, 2.0 * one, angle * one, one, torch.tensor([[1.0, 0.0]]), 64)[0, 0]
    y, x = np.mgrid[:64, :64] - 31.5
    weight = image.numpy() / image.numpy().sum()
    expected = (1 + 10 * np.cos(angle), 10 * np.sin(angle))
    assert ((weight * x).sum(), (weight * y).sum()) == pytest.approx(expected, abs=0.1)


def test_the_window_fades_to_zero() -> None:
    window = fading(64)
    assert float(window[32, 32]) == 1 and float(window[32, 0]) < 0.02 and float(window[0, 0]) == 0


def test_masses_have_an_einstein_radius_of_one() -> None:
    for log_kappa in MassConfig(maps=6).images("train", 48, 6, 0)(0)[:, 0]:
        kappa = (10 ** log_kappa.double()).numpy()
        assert effective_theta_E(kappa, PixelGrid((48, 48), 6 / 48)) == pytest.approx(1, abs=0.06)


def test_masses_may_be_haloes(tmp_path: Path) -> None:
    from haloes import power_law

    from lensrim.datasets.haloes.bank import write_bank

    write_bank(tmp_path / "bank", [power_law(f"h{k}#0", f"h{k}") for k in range(12)])
    config = MassConfig(maps=4, halo_share=1.0, haloes=str(tmp_path / "bank"))
    found = config.images("train", 48, 4, 0)(0)
    for log_kappa in found[:, 0]:
        kappa = (10 ** log_kappa.double()).numpy()
        assert effective_theta_E(kappa, PixelGrid((48, 48), 6 / 48)) == pytest.approx(1, abs=0.03)
    mixed = MassConfig(maps=4, halo_share=0.5, haloes=str(tmp_path / "bank"))
    assert bool(mixed.images("train", 48, 4, 0)(0).isfinite().all())


def test_galaxies_are_split_before_they_are_turned(tmp_path: Path) -> None:
    from lensrim.datasets.splits import split
    from lensrim.generation import sources

    for k in range(12):
        fits.writeto(tmp_path / f"g{k}.fits", blob(3.0 + k).astype(np.float32))
    config = SourceConfig(galaxies=str(tmp_path))
    names = split([f"g{k}" for k in range(12)])
    read = {which: sources._real(config, which) for which in ("train", "validation")}
    for which, galaxies in read.items():
        assert {g.name for g in galaxies} <= set(names[which])
    assert f"{len(read['train'])} stamps of real galaxies" in config.describe("train")


def test_nothing_is_learnt_of_the_other_sets(tmp_path: Path) -> None:
    """Images are the same whether the stamps of the other sets are there or not."""
    from lensrim.datasets.splits import split

    names = [f"g{k}" for k in range(16)]
    sets = split(names)
    assert sets["validation"] and sets["test"]
    for folder, kept in (("all", names), ("train", sets["train"])):
        (tmp_path / folder).mkdir()
        for name in kept:
            stamp = blob(3.0 + 0.4 * int(name[1:]), q=1.5).astype(np.float32)
            fits.writeto(tmp_path / folder / f"{name}.fits", stamp)
    both = [
        SourceConfig(galaxies=str(tmp_path / folder)).images("train", 32, 32, 0)(0)
        for folder in ("all", "train")
    ]
    assert torch.equal(*both)


def test_duplicates_go_into_one_set(tmp_path: Path) -> None:
    from lensrim.datasets.splits import Duplicates, split
    from lensrim.generation import sources

    for k in range(12):
        fits.writeto(tmp_path / f"g{k}.fits", blob(4.0 + k).astype(np.float32))
    pairs = [{"a": "k/0", "b": f"k/{k}"} for k in range(1, 12)]
    (tmp_path / "pairs.json").write_text(json.dumps({"pairs": pairs}))
    same = Duplicates(str(tmp_path / "pairs.json"), {"k": "g"})
    config = SourceConfig(galaxies=str(tmp_path), duplicates=same)
    (home,) = (which for which, names in split(["g0"]).items() if names)
    away = {"train", "validation", "test"} - {home}
    assert len(sources._real(config, home)) == 12
    for which in away:
        with pytest.raises(InputError, match=f"for the {which} set"):
            sources._real(config, which)
    others = Duplicates(same.file, {"k": "elsewhere/g"})
    with pytest.raises(InputError, match="duplicates: must be pairs of names such as g0, found"):
        sources._real(SourceConfig(galaxies=str(tmp_path), duplicates=others), "train")


def test_galaxies_that_are_not_resolved_are_refused(tmp_path: Path) -> None:
    for k in range(8):
        fits.writeto(tmp_path / f"g{k}.fits", blob(1.0, 41).astype(np.float32))
    config = SourceConfig(galaxies=str(tmp_path), radius_min=20.0)
    with pytest.raises(InputError, match=r"half-light radius of 20\.0 pixels"):
        config.images("train", 32, 2, 0)(0)


class TestRecipe:
    def test_paths_are_beside_the_recipe(self, tmp_path: Path) -> None:
        text = """
        [sources]
        galaxies = "stamps"
        [sources.duplicates]
        file = "pairs.json"
        folders = { a = "b" }
        [model]
        latent = 5
        widths = [4, 8]
        """
        (tmp_path / "r.toml").write_text(text)
        found = read_generator_recipe(tmp_path / "r.toml")
        assert found.sources is not None and found.sources.duplicates is not None
        assert found.sources.galaxies == str(tmp_path / "stamps")
        assert found.sources.duplicates.file == str(tmp_path / "pairs.json")
        assert found.model.latent == 5 and found.model.widths == (4, 8)
        assert "stamps" not in str(found.identity())

    def test_a_folder_is_not_the_generator_of_its_name(self, tmp_path: Path, monkeypatch) -> None:
        monkeypatch.chdir(tmp_path)
        Path("r.toml").write_text("[sources]\ngalaxies = './learnt'\n")
        found = read_generator_recipe("r.toml").sources
        assert found is not None and found.galaxies == "./learnt"

    def test_what_a_training_is_of_tells_whether_there_are_galaxies(self) -> None:
        kinds = [
            GeneratorRecipe(sources=SourceConfig(galaxies=galaxies)) for galaxies in (None, "a")
        ]
        assert kinds[0].identity() != kinds[1].identity()
        assert (
            kinds[1].identity() == GeneratorRecipe(sources=SourceConfig(galaxies="b")).identity()
        )

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ("", r"one of the tables \[sources\] and \[masses\], found neither"),
            ("[sources]\n[masses]\n", "found both"),
            ("[masses]\nreach = 0.5", r"\[masses\] reach: must be above 1"),
            ("[masses]\nhaloes = 'b'", r"\[masses\] haloes: have no effect"),
            ("[sources]\nsynthetic = 2.0", r"\[sources\] synthetic: must be a share"),
            ("[sources]\ngalaxies = 'learnt'", "must be a folder of stamps, found a generator"),
            ("[sources]\ngalaxies = 'a.safetensors'", "must be a folder of stamps, found a gen"),
            ("[sources]\nradius = [0.2, 0.1]", r"\[sources\] radius: must be a range"),
            ("[masses]\n[model]\nside = 60", r"\[model\] side: must be a multiple"),
            ("[masses]\n[train]\nparts = 2", r"\[train\] parts: must be 1"),
            ("[masses]\n[elbo]\nsigma = 0.0", r"\[elbo\] sigma: must be positive"),
        ],
    )
    def test_what_cannot_be_is_refused(self, tmp_path: Path, text: str, message: str) -> None:
        (tmp_path / "r.toml").write_text(text)
        with pytest.raises(InputError, match=message):
            read_generator_recipe(tmp_path / "r.toml")

    def test_one_kind_is_learnt(self) -> None:
        masses = MassConfig()
        assert GeneratorRecipe(masses=masses).data is masses


KNOWN = {
    "half-light radius [pixel]": (blob(8.0), 8 * np.sqrt(2 * np.log(2)), 0.2),
    # of a Gaussian: R80 / R20 = sqrt(ln 5 / ln 1.25)
    "concentration": (blob(8.0), 5 * np.log10(np.sqrt(np.log(5) / np.log(1.25))), 0.1),
    "Gini": (np.pad(np.ones((20, 20)), 20), 0.0, 1e-6),
    "ellipticity": (blob(6.0, q=2.0), 0.5, 0.01),
    "peaks": (np.pad(blob(3.0, 41), 20) + 0.5 * np.roll(np.pad(blob(3.0, 41), 20), 25, 1), 2.0, 0),
    "fine power [dex]": (
        np.sin(2 * np.pi * np.arange(64) / 4)
        + np.sin(2 * np.pi * np.arange(64) / 16)
        + np.zeros((64, 1)),
        np.log10(0.5),
        1e-6,
    ),
}


@pytest.mark.parametrize("name", STATISTICS)
def test_statistics_of_known_images(name: str) -> None:
    image, expected, tolerance = KNOWN[name]
    assert STATISTICS[name](image) == pytest.approx(expected, abs=tolerance)


def test_the_distance_of_distributions() -> None:
    a = np.arange(10.0)
    assert distance(a, a) == 0 and distance(a, a + 100) == 1
    assert distance(a, a + 5) == pytest.approx(0.5)
