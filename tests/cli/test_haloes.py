"""``lensrim haloes``: a file of lenses, of the model or of cutouts, and what it is used for."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from astropy.wcs import WCS
from astropy.wcs.utils import proj_plane_pixel_scales
from tng import write_halo

from lensrim.cli import main
from lensrim.datasets.haloes.bank import HaloBank
from lensrim.datasets.hydro.toys import ToyHaloes
from lensrim.grid import PixelGrid
from lensrim.metrics import effective_theta_E


def haloes(*words: str) -> int:
    return main(["haloes", *words])


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two haloes of the model, with pictures."""
    path = tmp_path_factory.mktemp("model") / "model.safetensors"
    assert haloes("--count", "2", "--seed", "1", "-o", str(path), "--figure", "--quiet") == 0
    return path


def test_the_halo_model_is_the_default(model: Path) -> None:
    bank = HaloBank(str(model))
    assert list(bank.rows) == ["model-1-00000", "model-1-00001"]
    assert bank.header["made"]["source"] == "halo model"
    for name in bank.rows:
        halo = bank.load(name)
        assert 0.6 < halo.theta_E < 2.2 and halo.rms < 0.05
    for name in ("model.png", "model_population.png"):
        assert (model.parent / name).read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("name", ["new.png", "new_population.png"])
def test_a_picture_is_not_replaced_unasked(name: str, tmp_path: Path, capsys) -> None:
    (tmp_path / name).write_bytes(b"mine")
    words = ("--count", "2", "-o", str(tmp_path / "new.safetensors"), "--figure", "--quiet")
    assert haloes(*words) == 2
    assert f"{name}: a picture is not replaced unasked" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == [name]
    assert (tmp_path / name).read_bytes() == b"mine"


def test_cutouts_become_lenses_and_what_is_none_is_told(tmp_path: Path, capsys) -> None:
    toys = ToyHaloes(particles=1500)
    (tmp_path / "cutouts").mkdir()
    write_halo(tmp_path / "cutouts" / "one.hdf5", toys.load(toys.names[0]))
    (tmp_path / "cutouts" / "broken.hdf5").write_bytes(b"no")
    (tmp_path / "same.json").write_text(json.dumps({"pairs": [{"a": "all", "b": "one"}]}))
    output = tmp_path / "tng.safetensors"
    words = ("--projections", "1", "--same", str(tmp_path / "same.json"), "--output", str(output))
    assert haloes(str(tmp_path / "cutouts"), *words) == 0
    shown = capsys.readouterr().out
    assert "1 projections of 1 haloes" in shown and "1 left out:" in shown
    assert "broken.hdf5: not an HDF5 file" in shown
    assert HaloBank(str(output)).halos == {"one#0": "all"}
    assert "--same names 1 that are not here, such as 'all'" in shown
    assert haloes(str(tmp_path / "cutouts"), *words) == 2
    assert "a bank is not replaced unasked" in capsys.readouterr().err


def test_options_without_effect_and_names_of_other_haloes_are_refused(
    tmp_path: Path, capsys
) -> None:
    (tmp_path / "cutouts").mkdir()
    (tmp_path / "cutouts" / "one.hdf5").write_bytes(b"no")
    cutouts, same = str(tmp_path / "cutouts"), tmp_path / "same.json"
    same.write_text(json.dumps({"pairs": [{"a": "one.hdf5", "b": "two.hdf5"}]}))
    words = ("--output", str(tmp_path / "tng.safetensors"))
    assert haloes(cutouts, *words, "--same", str(same)) == 2
    error = capsys.readouterr().err
    assert "must name haloes of the source, such as 'one', found none of them, but 'one.h" in error
    assert haloes(cutouts, *words, "--count", "7") == 2
    assert "--count: is that of the halo model, and has no effect" in capsys.readouterr().err


def test_a_mock_is_made_of_a_halo(model: Path, tmp_path: Path) -> None:
    output = tmp_path / "mock.fits"
    words = ("--haloes", str(model), "--shape", "48", "48", "--quiet", "-o", str(output))
    assert main(["simulate", "general", *words]) == 0
    with fits.open(tmp_path / "mock_truth.fits") as hdus:
        header, kappa = hdus[0].header, hdus["KAPPA"].data.astype(float)
        alpha = [hdus[f"ALPHA_{axis}"].data.astype(float) for axis in "XY"]
        wcs = WCS(hdus["KAPPA"].header)
        scale = float(proj_plane_pixel_scales(wcs)[0]) * 3600
    grid = PixelGrid(kappa.shape, scale)
    assert effective_theta_E(kappa, grid) == pytest.approx(header["THETAE"], rel=1e-3)
    assert header["THETAE"] == pytest.approx(header["MACROTE"], rel=0.1)
    slope = np.gradient(alpha[0], scale, axis=1) + np.gradient(alpha[1], scale, axis=0)
    away = np.hypot(*(c.numpy() for c in grid.coordinates())) > 4 * scale
    assert np.median(np.abs(slope / 2 - kappa)[away]) < 0.01


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["nowhere"], "nowhere: haloes must be a folder of files; no such folder"),
        (["--count", "0"], "count: must be 1 or more, found 0"),
        (["--workers", "0"], "--workers: must be 1 or more, found 0"),
        (["--seed", "-1"], "seed: must be 0 or more, found -1"),
        (["--theta-e", "2", "1"], "theta_E: must be a range of finite numbers above 0"),
        (["-o", "bank.h5"], "bank.h5: a bank must be a file *.safetensors; rename it"),
        (["--same", "none.json"], 'none.json: expected JSON with "pairs"'),
        (["--projections", "2"], "--projections: a halo of the halo model has one"),
    ],
)
def test_errors_are_one_line(
    words: list[str], message: str, tmp_path: Path, monkeypatch, capsys
) -> None:
    monkeypatch.chdir(tmp_path)
    assert haloes(*words) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"lensrim: error: {message}")
    assert error.count("\n") == 1
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("command", ["simulate", "dataset"])
def test_what_is_no_file_of_haloes_is_told(command: str, tmp_path: Path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main([command, "general", "--haloes", "no.safetensors"]) == 2
    error = capsys.readouterr().err
    assert "haloes: must be a file that lensrim haloes wrote, found 'no.safetensors'" in error
    Path("recipe.toml").write_text('haloes = "recipe.toml"\n')
    assert main([command, "recipe.toml"]) == 2
    assert "haloes: have no effect where halo_share is 0" in capsys.readouterr().err


def test_the_help_shows_examples_that_parse(capsys: pytest.CaptureFixture[str]) -> None:
    from lensrim.cli.haloes import parse

    with pytest.raises(SystemExit, match="0"):
        haloes("--help")
    shown = capsys.readouterr().out
    examples = re.findall(r"\$ lensrim haloes (.*)", shown)
    assert len(examples) == 3
    for words in examples:
        assert parse(words.split())
