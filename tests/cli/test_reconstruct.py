"""``lensrim reconstruct``: its options, and what it refuses before any work is done."""

import os
import re
import subprocess
import sys
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from astropy.io import fits

from lensrim.cli import main
from lensrim.cli import reconstruct as command
from lensrim.io import Observation


@pytest.fixture
def observation(tmp_path: Path) -> Path:
    """A file with an image, its noise and its PSF, all by their usual names."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[-3:4, -3:4]
    psf = np.exp(-(x**2 + y**2) / 2)
    hdus = [
        fits.PrimaryHDU(),
        fits.ImageHDU(rng.normal(size=(32, 32)), name="SCI"),
        fits.ImageHDU(np.ones((32, 32)), name="ERR"),
        fits.ImageHDU(psf / psf.sum(), name="PSF"),
    ]
    fits.HDUList(hdus).writeto(tmp_path / "lens.fits")
    return tmp_path / "lens.fits"


def test_options_are_flat() -> None:
    words = ["--noise", "ERR", "--pixel-scale", "0.05", "--seed", "3", "-o", "out", "--overwrite"]
    options = command.parse(["a.fits", *words])
    assert options.observation == Path("a.fits")
    assert (options.read.noise, options.read.pixel_scale) == ("ERR", 0.05)
    assert options.fit.seed == 3
    assert (options.output, options.overwrite, options.quiet) == (Path("out"), True, False)


@pytest.mark.parametrize(("word", "value"), [("sky", "sky"), ("0.8", 0.8)])
def test_noise_is_rescaled_by_a_factor_or_by_the_sky(word: str, value: float | str) -> None:
    assert command.parse(["a.fits", "--rescale-noise", word]).read.rescale_noise == value


def test_help_names_the_degeneracy_and_each_form(capsys) -> None:
    with pytest.raises(SystemExit, match="0"):
        main(["reconstruct", "--help"])
    shown = capsys.readouterr().out
    assert "kappa -> lambda kappa + 1 - lambda" in shown
    assert shown.count("$ lensrim reconstruct") == 6


def test_help_says_what_an_oversampled_psf_holds(capsys) -> None:
    with pytest.raises(SystemExit, match="0"):
        main(["reconstruct", "--help"])
    shown = " ".join(re.sub("[─-╿]", " ", capsys.readouterr().out).split())
    assert "holds the response of its own small pixels (effective) or none (optical)" in shown
    assert "that holds the image pixel's response already, give every k-th pixel" in shown


def test_unknown_option(capsys) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(["reconstruct", "a.fits", "--pixelscale", "0.05"])
    assert "--pixelscale" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (["missing.fits"], "missing.fits: no such file"),
        (["text.fits"], "text.fits: not a FITS file"),
        (
            ["lens.fits", "--pixel-scale", "0.05", "--noise", "NOISE"],
            "--noise NOISE: no such file, nor an HDU",
        ),
        (["lens.fits"], "--pixel-scale"),
        (
            ["lens.fits", "--pixel-scale", "0.05", "-o", "text.fits/out"],
            "output must be a folder",
        ),
    ],
)
def test_bad_input_is_one_line_and_writes_nothing(
    observation: Path, monkeypatch: pytest.MonkeyPatch, capsys, words: list[str], reason: str
) -> None:
    folder = observation.parent
    (folder / "text.fits").write_text("not a FITS file", encoding="ascii")
    before = sorted(folder.rglob("*"))
    monkeypatch.chdir(folder)
    assert main(["reconstruct", *words]) == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    assert re.fullmatch(r"lensrim: error: .*\n", shown.err)
    assert reason in shown.err
    assert sorted(folder.rglob("*")) == before


def test_bad_input_as_a_process(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "lensrim.cli", "reconstruct", "missing.fits"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert re.fullmatch(r"lensrim: error: missing.fits: no such file.*\n", done.stderr)
    assert not list(tmp_path.iterdir())


def test_existing_product_is_refused_before_the_work(
    observation: Path, monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    def reconstruct(*args: object, **options: object) -> None:
        raise AssertionError("the work was begun")

    monkeypatch.setattr(command, "reconstruct", reconstruct)
    (observation.parent / "lens_lensrim.json").touch()
    words = [str(observation), "--pixel-scale", "0.05", "-o", str(observation.parent)]
    assert main(["reconstruct", *words]) == 2
    assert "lens_lensrim.json" in capsys.readouterr().err
    assert main(["reconstruct", *words, "--seed", "-1"]) == 2  # which no --overwrite would mend
    assert "--seed: must be 0 or more" in capsys.readouterr().err


def test_the_observation_is_never_replaced(observation: Path, capsys) -> None:
    before = observation.read_bytes()
    words = [str(observation), "--pixel-scale", "0.05", "--overwrite", "-o", str(observation)]
    assert main(["reconstruct", *words]) == 2
    assert "must not be a file that was read" in capsys.readouterr().err
    assert observation.read_bytes() == before


def test_what_a_terminal_would_obey_is_written_out(
    observation: Path, monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    name = "\x1b]0;title\x07" + os.fsdecode(b"caf\xe9")
    path = observation.rename(observation.with_name(f"{name}.fits"))

    class Result:
        def __init__(self, read: Observation):
            self.summary = "\n".join([f"{read.name}: a table", *read.notes])

        def write(self, folder: Path, **_: object) -> list[Path]:
            return [folder / "out.fits"]

    monkeypatch.setattr(command, "reconstruct", lambda read, *_, **__: Result(read))
    output = path.parent / f"new{name}"
    assert main(["reconstruct", str(path), "--pixel-scale", "0.05", "-o", str(output)]) == 0
    shown = capsys.readouterr().out
    assert all(c.isprintable() for c in shown.replace("\n", ""))
    assert "noise: \\x1b]0;title\\x07caf\\udce9.fits[ERR] read as sigma\n" in shown
    assert shown.startswith("_]0;title_caf_: a table\n")
    assert shown.endswith("new\\x1b]0;title\\x07caf\\udce9/out.fits\n")


def test_reading_and_writing_are_shown_to_people(
    observation: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Terminal(StringIO):
        def isatty(self) -> bool:
            return True

    class Result:
        summary = "a table"

        def write(self, *_: object, **__: object) -> list[Path]:
            seen["writing"] = sys.stderr.getvalue()
            return [tmp_path / "out.fits"]

    def read(*args: Any, **options: Any):
        seen["reading"] = sys.stderr.getvalue()
        return read_about(*args, **options)

    seen: dict[str, str] = {}
    read_about = command.read_about
    monkeypatch.setattr(command, "read_about", read)
    monkeypatch.setattr(command, "reconstruct", lambda *_, **__: Result())
    for quiet in (False, True):
        monkeypatch.setattr(sys, "stderr", Terminal())
        words = [str(observation), "--pixel-scale", "0.05", "-o", str(tmp_path / "new")]
        assert main(["reconstruct", *words, *(["--quiet"] if quiet else [])]) == 0
        assert ("reading: " in seen["reading"]) is not quiet
        assert ("plot and files: " in seen["writing"]) is not quiet
        assert bool(sys.stderr.getvalue()) is not quiet
