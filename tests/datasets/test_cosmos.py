"""Galaxy stamps: what is kept of them, and how they are split."""

import json
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from hypothesis import given
from hypothesis import strategies as st

from lensrim.datasets.galaxies.folder import GalaxyFolder
from lensrim.datasets.galaxies.stamps import half_light_radius, isolate
from lensrim.datasets.splits import read_duplicate_pairs, split
from lensrim.errors import InputError

SIDE = 101


def blob(x: float, y: float, sigma: float, *, side: int = SIDE) -> np.ndarray:
    """A Gaussian about (x, y), relative to the middle of the stamp."""
    v, u = np.mgrid[:side, :side] - (side - 1) / 2
    return np.exp(-((u - x) ** 2 + (v - y) ** 2) / (2 * sigma**2))


def noisy(image: np.ndarray, *, level: float = 0.3, noise: float = 0.01) -> np.ndarray:
    return image + level + noise * np.random.default_rng(1).standard_normal(image.shape)


def test_half_light_radius_of_a_gaussian() -> None:
    assert half_light_radius(blob(0, 0, 10)) == pytest.approx(
        10 * np.sqrt(2 * np.log(2)), rel=0.01
    )


@pytest.mark.parametrize("stamp", [blob(0, 0, 5) * (blob(0, 0, 5) > 0.02), noisy(blob(0, 0, 5))])
def test_isolate_brings_every_kind_to_one_form(stamp: np.ndarray) -> None:
    galaxy = isolate(stamp)
    assert galaxy.max() == 1
    assert galaxy.shape[0] == galaxy.shape[1]
    assert galaxy.shape[0] % 2 == 1
    border = np.concatenate([galaxy[0], galaxy[-1], galaxy[:, 0], galaxy[:, -1]])
    assert not border.any()
    assert half_light_radius(galaxy) == pytest.approx(5 * np.sqrt(2 * np.log(2)), rel=0.1)


def test_isolate_removes_neighbours_blank_corners_and_nan() -> None:
    stamp = noisy(blob(0, 0, 4) + blob(35, 30, 3))
    stamp[:20, :20] = 0
    stamp[-5:, :5] = np.nan
    alone, crowded = isolate(noisy(blob(0, 0, 4))), isolate(stamp)
    assert abs(crowded.sum() / alone.sum() - 1) < 0.05


def test_isolate_tapers_a_hard_edge() -> None:
    hard = np.where(blob(0, 0, 20) > 0.5, blob(0, 0, 20), 0.0)
    step = np.abs(np.diff(isolate(hard), axis=1)).max()
    assert np.abs(np.diff(hard, axis=1)).max() > 0.5
    assert step < 0.25


@pytest.mark.parametrize("stamp", [np.zeros((21, 21)), np.full((21, 21), np.nan)])
def test_isolate_without_object(stamp: np.ndarray) -> None:
    with pytest.raises(ValueError, match="no object"):
        isolate(stamp)


def test_folder_reads_lazily_and_remembers(tmp_path: Path) -> None:
    (tmp_path / "survey").mkdir()
    fits.writeto(tmp_path / "survey" / "a.fits.gz", noisy(blob(0, 0, 5)))
    (tmp_path / "survey" / "broken.fits").write_bytes(b"not FITS")
    folder = GalaxyFolder(tmp_path, pixel_scale={"survey": 0.03})
    assert folder.names == ("survey/a", "survey/broken")
    galaxy = folder.load("survey/a")
    assert galaxy is folder.load("survey/a")
    assert galaxy.half_light_radius == pytest.approx(0.03 * half_light_radius(galaxy.image))
    assert GalaxyFolder(tmp_path, names=["survey/a"]).names == ("survey/a",)


def test_folder_errors(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such folder"):
        GalaxyFolder(tmp_path / "missing")
    with pytest.raises(InputError, match="found none"):
        GalaxyFolder(tmp_path)
    fits.writeto(tmp_path / "cube.fits", np.zeros((3, 9, 9)))
    fits.writeto(tmp_path / "empty.fits", np.zeros((9, 9)))
    (tmp_path / "text.fits").write_bytes(b"not FITS")
    folder = GalaxyFolder(tmp_path)
    with pytest.raises(InputError, match="must be a FITS file"):
        folder.load("text")
    with pytest.raises(InputError, match="two-dimensional"):
        folder.load("cube")
    with pytest.raises(InputError, match="no object"):
        folder.load("empty")


NAMES = [f"g{i}" for i in range(60)]


@given(st.lists(st.tuples(st.sampled_from(NAMES), st.sampled_from(NAMES)), max_size=40))
def test_split_keeps_duplicates_together(pairs: list[tuple[str, str]]) -> None:
    sets = split(NAMES, pairs)
    home = {name: key for key, names in sets.items() for name in names}
    assert sorted(home) == sorted(NAMES)
    assert sum(len(names) for names in sets.values()) == len(NAMES)
    assert all(home[a] == home[b] for a, b in pairs)


def test_split_connects_through_names_that_are_not_there() -> None:
    sets = split(["a", "b"], [("a", "absent"), ("absent", "b")])
    assert ("a", "b") in sets.values()


def test_split_does_not_move_when_galaxies_are_added() -> None:
    few, many = split(NAMES[:30]), split(NAMES)
    assert all(set(few[key]) <= set(many[key]) for key in few)


def test_split_shares() -> None:
    sets = split([f"galaxy{i}" for i in range(10000)], fractions=(0.7, 0.1, 0.2))
    assert [len(sets[k]) / 10000 for k in ("train", "validation", "test")] == pytest.approx(
        [0.7, 0.1, 0.2], abs=0.03
    )
    with pytest.raises(ValueError, match="add up to 1"):
        split(NAMES, fractions=(0.8, 0.1, 0.2))


def test_read_duplicate_pairs(tmp_path: Path) -> None:
    path = tmp_path / "pairs.json"
    path.write_text(json.dumps({"pairs": [{"a": "done/4", "b": "cand/5"}]}))
    folders = {"done": "hudf/galaxy_", "cand": "candels/gal"}
    pairs = read_duplicate_pairs(path, folders, digits={"cand": 3})
    assert pairs == [("hudf/galaxy_4", "candels/gal005")]
    with pytest.raises(InputError, match="kinds"):
        read_duplicate_pairs(path, {"done": "x"})


def test_real_stamps_and_their_duplicates(root: Path) -> None:
    sources = root.parent / "shared" / "data" / "sources"
    if not sources.is_dir():
        pytest.skip("needs the galaxies collected for development")
    folder = GalaxyFolder(sources)
    kinds = ("hudf", "candels", "jwst")
    for kind in kinds:
        name = next(name for name in folder.names if name.startswith(kind))
        assert folder.load(name).image.max() == 1
    pairs = read_duplicate_pairs(
        sources / "duplicate_pairs.json",
        {
            "done": "hudf/doneall2_scaled_finalnew_galaxy_",
            "ivyd": "hudf/ivydoneall3_",
            "cand": "candels/f814w_gal",
        },
        digits={"cand": 3},
    )
    known = sum(a in folder.names and b in folder.names for a, b in pairs)
    assert known > 0.5 * len(pairs)
    sets = split(folder.names, pairs)
    home = {name: key for key, names in sets.items() for name in names}
    assert all(home[a] == home[b] for a, b in pairs if a in home and b in home)
    assert all(len(names) > 10 for names in sets.values())
