"""The command itself: what it prints, where, and with which exit status."""

import errno
import os
import subprocess
import sys
from types import SimpleNamespace

import pytest

import lensrim
from lensrim.cli import COMMANDS, main
from lensrim.errors import InputError


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """A stand-in for ``lensrim reconstruct`` that does nothing until a test gives it a ``run``."""
    module = SimpleNamespace(parse=list, run=lambda options: None)
    monkeypatch.setitem(sys.modules, "lensrim.cli.reconstruct", module)
    return module


def raising(error: BaseException):
    """Returns a function of one argument that raises ``error``."""

    def run(options: object) -> None:
        raise error

    return run


def test_success_passes_the_options_on(command: SimpleNamespace, capsys) -> None:
    command.run = print
    assert main(["reconstruct", "a.fits", "--quiet"]) == 0
    assert capsys.readouterr().out == "['a.fits', '--quiet']\n"


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (InputError("a.fits: not FITS"), "a.fits: not FITS"),
        (InputError("a.fits:\n  not\n  FITS"), "a.fits: not FITS"),
        (FileNotFoundError(errno.ENOENT, "No such file", "a.fits"), "a.fits: No such file"),
        (PermissionError(errno.EACCES, "Permission denied", "out"), "out: Permission denied"),
        (OSError("truncated"), "truncated"),
    ],
)
def test_input_errors_are_one_line(
    command: SimpleNamespace, capsys, error: Exception, line: str
) -> None:
    command.run = raising(error)
    assert main(["reconstruct"]) == 2
    assert capsys.readouterr() == ("", f"lensrim: error: {line}\n")


def test_interrupt(command: SimpleNamespace, capsys) -> None:
    command.run = raising(KeyboardInterrupt())
    assert main(["reconstruct"]) == 130
    assert capsys.readouterr() == ("", "lensrim: interrupted\n")


def test_own_errors_keep_their_traceback(command: SimpleNamespace, capsys) -> None:
    command.run = raising(RuntimeError("singular"))
    assert main(["reconstruct"]) == 1
    error = capsys.readouterr().err
    assert "RuntimeError: singular" in error
    assert "please report" in error


@pytest.mark.parametrize("words", [[], ["reconstrukt"], ["--bogus"]])
def test_unknown_commands(capsys, words: list[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(words)
    assert "lensrim: error:" in capsys.readouterr().err


def test_version_and_help(capsys) -> None:
    with pytest.raises(SystemExit, match="0"):
        main(["--version"])
    assert capsys.readouterr().out == f"lensrim {lensrim.__version__}\n"
    with pytest.raises(SystemExit, match="0"):
        main(["--help"])
    shown = capsys.readouterr().out
    assert all(name in shown for name in COMMANDS)


def test_as_a_process() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "lensrim.cli", "--version"], capture_output=True, text=True
    )
    assert (done.returncode, done.stdout) == (0, f"lensrim {lensrim.__version__}\n")


@pytest.mark.parametrize("unbuffered", [False, True])
@pytest.mark.parametrize("words", [["cite"], ["--version"]])
def test_a_reader_that_has_enough_is_no_error(words: list[str], unbuffered: bool) -> None:
    """As in ``lensrim cite | head -1``."""
    reader, writer = os.pipe()
    os.close(reader)
    python = [sys.executable, "-m", "lensrim.cli", *words]
    env = {k: v for k, v in os.environ.items() if k != "PYTHONUNBUFFERED"}
    env |= {"PYTHONUNBUFFERED": "1"} if unbuffered else {}
    done = subprocess.run(python, stdout=writer, stderr=subprocess.PIPE, text=True, env=env)
    os.close(writer)
    assert done.stderr == ""
    assert done.returncode == 141
