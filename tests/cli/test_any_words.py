"""Any words for any command: options, or what is wrong with them in a line and the status 2."""

import io
import re
from contextlib import redirect_stderr, redirect_stdout
from importlib import import_module

from hypothesis import given, settings
from hypothesis import strategies as st

from lensrim.cli import COMMANDS
from lensrim.errors import InputError

VALUES = ["0", "1", "-1", "1e400", "nan", "2", "1/2", "0/0", "true", "none", "auto", "", "x" * 300]


def told(command: str, words: list[str]) -> tuple[int | None, str]:
    """The status with which a command's words are refused, ``None`` where they are options, and
    what is printed."""
    said = io.StringIO()
    try:
        with redirect_stderr(said), redirect_stdout(said):
            import_module(f"lensrim.cli.{command}").parse(words)
    except SystemExit as end:
        return (end.code if isinstance(end.code, int) else 1), said.getvalue()
    except InputError as error:
        return 2, str(error)
    return None, said.getvalue()


def options_of(command: str) -> list[str]:
    """The options that its help shows."""
    status, text = told(command, ["--help"])
    assert status == 0
    return sorted(set(re.findall(r"--[a-z][a-z0-9-]*", text)))


OPTIONS = {command: options_of(command) for command in COMMANDS}


@st.composite
def calls(draw: st.DrawFn) -> tuple[str, list[str]]:
    command = draw(st.sampled_from(sorted(COMMANDS)))
    word = st.one_of(
        st.sampled_from(OPTIONS[command]),
        st.sampled_from(VALUES),
        st.text(st.characters(exclude_categories=["Cs"]), max_size=6),
        st.integers().map(str),
    )
    return command, draw(st.lists(word, max_size=6))


@settings(max_examples=120)
@given(call=calls())
def test_any_words(call: tuple[str, list[str]]) -> None:
    command, words = call
    status, text = told(command, words)
    assert "Traceback" not in text
    if status is None:
        return
    # what is wrong before it may be told in the place of the help
    assert status == 2 or (status == 0 and {"-h", "--help"} & set(words)), text
    assert text.strip()


def test_every_command_shows_its_options() -> None:
    few = {command for command, options in OPTIONS.items() if len(options) < 2}
    assert few <= {"models", "doctor", "cite", "completion", "info"}, few
