"""``lensrim galaxies``: the report and the cleaned stamps."""

from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from astropy.table import Table

from lensrim.cli import main
from lensrim.datasets.galaxy_folder import GalaxyFolder


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


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["nowhere"], "nowhere: galaxies must be a folder"),
        (["--count", "0"], "--count: must be 1 or more, found 0"),
        (["--pixel-scale", "-1"], "--pixel-scale: must be above 0"),
    ],
)
def test_errors(stamps: Path, tmp_path: Path, monkeypatch, capsys, words, message: str) -> None:
    monkeypatch.chdir(tmp_path)
    folder = [] if words[0] == "nowhere" else [str(stamps)]
    assert main(["galaxies", *folder, *words]) == 2
    assert message in capsys.readouterr().err
