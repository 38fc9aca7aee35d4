"""``lensrim galaxies``: the report and the cleaned stamps."""

from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from astropy.table import Table

from lensrim.cli import main
from lensrim.datasets.galaxies.folder import GalaxyFolder


def write(path: Path, *, sigma: float, noise: float = 0.01, side: int = 81) -> None:
    v, u = np.mgrid[:side, :side] - (side - 1) / 2
    image = np.exp(-(u**2 + v**2) / (2 * sigma**2))
    image = image + noise * np.random.default_rng(1).standard_normal(image.shape)
    fits.writeto(path, image.astype(np.float32))


@pytest.fixture(scope="module")
def stamps(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Stamps of every kind of luck."""
    folder = tmp_path_factory.mktemp("stamps")
    (folder / "deep").mkdir()
    write(folder / "deep" / "fine.fits", sigma=5)
    write(folder / "point.fits", sigma=0.9)
    (folder / "broken.fits").write_bytes(b"not FITS")
    fits.writeto(folder / "empty.fits", np.zeros((31, 31)))
    return folder


def test_report_and_cleaned_stamps(stamps: Path, tmp_path: Path, capsys) -> None:
    out = tmp_path / "clean"
    assert main(["galaxies", str(stamps), "--output", str(out)]) == 0
    text, errors = capsys.readouterr()
    assert "4 galaxies" in text
    counts = {
        line.split()[0]: int(line.split()[1])
        for line in text.splitlines()[2:-2]
        if line[:1].isalpha()
    }
    assert counts == {"good": 1, "fair": 0, "bad": 1, "unusable": 2}
    assert "small" in text
    told = [line for line in (text + errors).splitlines() if "left out" in line]
    assert len(told) == 2 and "broken.fits" in told[0] and "no object" in told[1]
    table = Table.read(out / "galaxies.ecsv")
    assert dict(zip(table["name"], table["verdict"], strict=True)) == {
        "broken": "unusable",
        "deep/fine": "good",
        "empty": "unusable",
        "point": "bad",
    }
    assert table["half_light_radius"].unit == "pix"
    assert (out / "galaxies-01.png").read_bytes().startswith(b"\x89PNG")
    assert GalaxyFolder(out).names == ("deep/fine",)
    assert GalaxyFolder(out).load("deep/fine").image.max() == 1


def test_options(stamps: Path, tmp_path: Path, capsys) -> None:
    words = ["--psf-fwhm", "0.4", "--pixel-scale", "0.05", "--keep", "--quiet", "--count", "4"]
    out, report = tmp_path / "out", tmp_path / "report"
    both = ["--output", str(out), "--report", str(report)]
    assert main(["galaxies", str(stamps), *words, *both]) == 0
    assert capsys.readouterr().out == ""
    assert GalaxyFolder(out).names == ("deep/fine", "point")
    assert GalaxyFolder(out).load("point").psf_fwhm == 0.4
    row = Table.read(report / "galaxies.ecsv")[1]
    assert "unresolved" in row["reasons"]
    assert not list(out.glob("*.png"))
    assert main(["galaxies", str(stamps), *both]) == 2
    assert "must be empty, found files" in capsys.readouterr().err
    assert main(["galaxies", str(stamps), *both, "--overwrite", "--quiet"]) == 0
    # the bad one that the first run kept is not among the galaxies of the second
    assert GalaxyFolder(out).names == ("deep/fine",)


@pytest.mark.parametrize("place", [".", "clean", "../stamps/clean"])
def test_galaxies_are_not_written_among_the_stamps(tmp_path: Path, capsys, place: str) -> None:
    stamps = tmp_path / "stamps"
    stamps.mkdir()
    write(stamps / "fine.fits", sigma=5)
    before = (stamps / "fine.fits").read_bytes()
    words = ["--output", str(stamps / place), "--overwrite"]
    assert main(["galaxies", str(stamps), *words]) == 2
    assert "--output: must be outside of" in capsys.readouterr().err
    assert [path.name for path in stamps.iterdir()] == ["fine.fits"]
    assert (stamps / "fine.fits").read_bytes() == before


def test_only_galaxies_of_a_former_run_are_removed(stamps: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    words = ["galaxies", str(stamps), "--output", str(out), "--keep", "--quiet"]
    assert main(words) == 0
    write(out / "point.fits.gz", sigma=1)
    (out / "point.fits").unlink()
    write(out / "point.fits", sigma=2)
    own = (out / "point.fits").read_bytes()
    assert main([*words[:-2], "--quiet", "--overwrite"]) == 0
    assert (out / "point.fits").read_bytes() == own and (out / "point.fits.gz").exists()


def test_what_another_run_kept_is_neither_taken_nor_removed(
    stamps: Path, tmp_path: Path, capsys
) -> None:
    out = tmp_path / "out"
    words = ["galaxies", str(stamps), "--output", str(out), "--quiet"]
    first = [*words, "--report", str(tmp_path / "a")]
    assert main([*first, "--keep"]) == 0
    kept = {path: path.read_bytes() for path in out.rglob("*.fits")}
    assert main([*words, "--report", str(tmp_path / "b"), "--overwrite"]) == 2
    assert f"{out}: must hold no galaxies but those of the run" in capsys.readouterr().err
    assert {path: path.read_bytes() for path in out.rglob("*.fits")} == kept
    assert main([*first, "--overwrite"]) == 0
    table = Table.read(tmp_path / "a" / "galaxies.ecsv", format="ascii.ecsv")
    good = {out / f"{row['name']}.fits" for row in table if row["verdict"] in ("good", "fair")}
    assert set(out.rglob("*.fits")) == good < set(kept)


def test_stamps_below_the_output_are_refused(tmp_path: Path, capsys) -> None:
    (tmp_path / "clean" / "f1").mkdir(parents=True)
    write(tmp_path / "clean" / "f1" / "fine.fits", sigma=4)
    words = ["galaxies", str(tmp_path / "clean" / "f1"), "--overwrite", "--quiet"]
    assert (
        main([*words, "--output", str(tmp_path / "clean"), "--report", str(tmp_path / "r")]) == 2
    )
    assert "--output: must not be a folder that holds the stamps" in capsys.readouterr().err
    assert (tmp_path / "clean" / "f1" / "fine.fits").exists()


@pytest.mark.parametrize("size", [1, 2])
def test_a_hot_pixel_is_bad_and_no_reason_to_stop(tmp_path: Path, capsys, size: int) -> None:
    (tmp_path / "stamps").mkdir()
    image = np.zeros((41, 41))
    image[20, 20 : 20 + size] = 1
    fits.writeto(tmp_path / "stamps" / "hot.fits", image)
    words = ["--report", str(tmp_path / "report")]
    assert main(["galaxies", str(tmp_path / "stamps"), *words]) == 0
    row = Table.read(tmp_path / "report" / "galaxies.ecsv")[0]
    assert row["verdict"] == "bad" and "small" in row["reasons"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["nowhere"], "nowhere: galaxies must be a folder"),
        (["nowhere", "--output", "clean"], "nowhere: galaxies must be a folder"),
        (["--count", "0"], "--count: must be 1 or more, found 0"),
        (["--denoise", "-1"], "--denoise: must be 0 or more, found -1"),
        (["--contrast", "0.5"], "--contrast: must be 0, or above 1, found 0.5"),
        (["--report", "file"], "file: must be a folder, found a file"),
        (["--pixel-scale", "-1"], "--pixel-scale: must be above 0"),
    ],
)
def test_errors(stamps: Path, tmp_path: Path, monkeypatch, capsys, words, message: str) -> None:
    monkeypatch.chdir(tmp_path)
    Path("file").touch()
    folder = [] if words[0] == "nowhere" else [str(stamps)]
    assert main(["galaxies", *folder, *words]) == 2
    assert message in capsys.readouterr().err
