"""``lensrim catalogue``: what it prints, and its exit status."""

import re
import shlex
from contextlib import contextmanager
from pathlib import Path

import pytest
from surveys import light, write_observation, write_observations

from lensrim import zoo
from lensrim.cli import catalogue as command
from lensrim.cli import main
from lensrim.cli.catalogue import parse
from lensrim.survey.catalogue import run_survey
from lensrim.survey.workers import Alone


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder in which surveys are done in no time, in this process."""

    @contextmanager
    def alone(options: object):
        yield Alone()

    def run(*args: object, **options: object):
        return run_survey(*args, **options, reconstruct=light)

    monkeypatch.setattr(command, "crew_of", alone)
    monkeypatch.setattr(command, "run_survey", run)
    monkeypatch.chdir(tmp_path)
    write_observations(tmp_path / "obs", 3)
    return tmp_path


def catalogue(*words: str) -> int:
    return main(["catalogue", *words])


def test_all_goes_well(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert catalogue("obs/*.fits", "--output", "out") == 0
    shown = capsys.readouterr()
    assert shown.out.splitlines()[0] == "out: 3 lenses, 3 done now, 0 before; of both 0 failed"
    assert shown.err == ""
    for name in re.findall(r"^  (.*)$", shown.out, re.MULTILINE):
        assert (here / name).is_file()
    assert catalogue("obs/*.fits", "--output", "out") == 0
    assert "0 done now, 3 before" in capsys.readouterr().out
    assert catalogue("obs/lens0000.fits", "obs/lens0001.fits", "-o", "two", "--quiet") == 0
    assert capsys.readouterr() == ("", "")


def test_some_fail(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (here / "obs" / "bad.fits").write_text("no FITS file")
    assert catalogue("obs/*.fits") == 1
    shown = capsys.readouterr()
    assert re.fullmatch(r"lensrim: bad failed: obs/bad.fits: not a FITS file.*\n", shown.err)
    assert "1 failed: see survey/failures.ecsv, and --retry" in shown.out
    write_observation(here / "obs" / "bad.fits", 0)
    assert catalogue("obs/*.fits") == 0


def test_a_file_name_gives_no_orders_to_the_terminal(here: Path, capsys) -> None:
    (here / "obs" / "red\x1b[31m.fits").write_text("no FITS file")
    (here / "lenses.csv").write_text("path,\x1b[2J\nobs/red\x1b[31m.fits,1\n,2\n")
    assert catalogue("lenses.csv") == 1
    shown = capsys.readouterr().err
    assert "obs/red\\x1b[31m.fits: not a FITS file" in shown
    assert "not used: \\x1b[2j" in shown
    assert "\x1b" not in shown
    assert "lens failed: path: a lens must have one" in shown


def test_a_part(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert catalogue("obs/*.fits", "--shard", "2/2") == 0
    assert "survey: 1 lenses of 3 in all, 1 done now" in capsys.readouterr().out


def test_a_table(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (here / "lenses.csv").write_text("path,z_lens,ra\nobs/lens0001.fits,0.3,12\n")
    assert catalogue("lenses.csv", "--z-source", "2.0") == 0
    assert "note: lenses.csv: columns that are not used: ra" in capsys.readouterr().err
    assert "0.3" in (here / "survey" / "catalogue.ecsv").read_text()


def test_a_machine_that_no_line_of_a_table_uses_is_refused(here: Path, capsys) -> None:
    for stage, status in (("macro", 2), ("final", 0)):
        (here / "lenses.csv").write_text(
            f"path,stage\nobs/lens0000.fits,{stage}\nobs/lens0001.fits,\n"
        )
        words = ("lenses.csv", "--model", str(zoo.card().path), "--output", f"of {stage}")
        assert catalogue(*words) == status
        assert ("--model: is for" in capsys.readouterr().err) == (status == 2)
        assert (here / f"of {stage}").exists() == (status == 0)


def test_an_interrupted_run_says_how_to_go_on(here: Path, monkeypatch, capsys) -> None:
    def interrupted(*args: object, **options: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(command, "run_survey", interrupted)
    assert catalogue("obs/*.fits") == 130
    assert "survey: give the same command again to go on" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["obs/*.fits", "--workers", "0"], "--workers: must be 1 or more, found 0"),
        (["obs/*.fits", "--shard", "3/2"], "--shard: must be i/n with i from 1 to n"),
        (["none*.fits"], "none*.fits: a pattern must find files, found none"),
        (["obs/*.fits", "--z-lens", "0.3"], "--z-lens and --z-source: both or neither"),
        (["obs/*.fits", "--pixel-scale", "-1"], "--pixel-scale: must be positive"),
        (["obs/*.fits", "--stage", "rim", "--model", "nobody"], "nobody"),
        (["obs/*.fits", "--model", "mine.safetensors"], "--model: is for --stage rim or final"),
        (["none.ecsv"], "none.ecsv: no such file"),
        (["obs/*.fits", "--output", "obs/lens0000.fits"], "obs/lens0000.fits"),
    ],
)
def test_errors_are_one_line(here: Path, words: list[str], message: str, capsys) -> None:
    before = sorted(here.rglob("*"))
    assert catalogue(*words) == 2
    error = capsys.readouterr().err
    assert error.startswith("lensrim: error: ")
    assert message in error
    assert error.count("\n") == 1
    assert sorted(here.rglob("*")) == before


def test_a_missing_extra_is_named(tmp_path: Path, monkeypatch, capsys) -> None:
    import sys

    monkeypatch.chdir(tmp_path)
    write_observations(tmp_path / "obs", 1)
    monkeypatch.setitem(sys.modules, "distributed", None)
    assert catalogue("obs/*.fits", "--dask", "tcp://nowhere:1") == 2
    assert "pip install '.[dask]' in the checkout" in capsys.readouterr().err


def test_the_help_shows_examples_that_parse(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="0"):
        catalogue("--help")
    shown = capsys.readouterr().out
    examples = re.findall(r"\$ lensrim catalogue (.*)", shown)
    assert len(examples) == 8
    for words in examples:
        assert parse(shlex.split(words))


@pytest.mark.slow
def test_real_lenses_give_what_reconstruct_gives(tmp_path: Path, root: Path, monkeypatch) -> None:
    """A ring through the true chain, by a process; and the same by ``lensrim reconstruct``."""
    import subprocess
    import sys

    from astropy.io import fits

    (tmp_path / "ring.fits").write_bytes((root / "data" / "ring.fits").read_bytes())
    (tmp_path / "bad.fits").write_text("no FITS file")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(root))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    python = [sys.executable, "-m", "lensrim.cli"]
    done = subprocess.run([*python, "catalogue", "*.fits", "--quiet"], capture_output=True)
    assert done.returncode == 1
    subprocess.run([*python, "reconstruct", "ring.fits", "--quiet"], check=True)
    ours, theirs = tmp_path / "survey" / "products" / "ring", tmp_path / "results"
    for end in ("png", "reg"):
        name = f"ring_lensrim.{end}"
        assert (ours / name).read_bytes() == (theirs / name).read_bytes()
    one, other = (fits.open(folder / "ring_lensrim.fits") for folder in (ours, theirs))
    with one, other:
        difference = fits.FITSDiff(one, other, ignore_keywords=["DATE", "SECONDS"])
        assert difference.identical, difference.report()


def test_options_that_fail_every_line_of_a_table_are_told_before(here: Path, capsys) -> None:
    lines = "path,z_lens\nobs/lens0000.fits,0.2\nobs/lens0001.fits,{}\n"
    (here / "lenses.csv").write_text(lines.format(0.2))
    for words in (["--seed", "-1"], ["--z-source", "0.1"]):
        assert catalogue("lenses.csv", *words) == 2
        assert capsys.readouterr().err.count("\n") == 1
        assert not (here / "survey").exists()
    (here / "lenses.csv").write_text(lines.format(0.05))
    assert catalogue("lenses.csv", "--z-source", "0.1") == 1  # the one that can be is done
    assert (here / "survey" / "products" / "lens0001" / "lens0001_lensrim.fits").exists()
