"""Any words for any command: options, or what is wrong with them and the status 2."""

import io
import re
from contextlib import redirect_stderr, redirect_stdout
from functools import cache
from importlib import import_module

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lensrim.cli import COMMANDS
from lensrim.errors import InputError

VALUES = ["0", "1", "-1", "1e400", "nan", "2", "1/2", "0/0", "true", "none", "auto", "", "x" * 300]
VALUES += ["macro", "rim", "final", "quick", "descent", "weights", "cpu", "Planck18", "standard"]
LENSES = {"reconstruct", "catalogue"}
"""Commands with the most options, which are given an observation and tried more often."""


def refused(command: str, words: list[str]) -> tuple[int | None, str]:
    """The status with which a command refuses its words, ``None`` where they are options, and what
    is printed. What is no refusal is raised."""
    said = io.StringIO()
    try:
        with redirect_stderr(said), redirect_stdout(said):
            import_module(f"lensrim.cli.{command}").parse(words)
    except SystemExit as end:
        return (end.code if isinstance(end.code, int) else 1), said.getvalue()
    except InputError as error:  # which the program tells, with the status 2
        return 2, str(error)
    return None, said.getvalue()


@cache
def options_of(command: str) -> list[str]:
    """The options that its help shows."""
    status, text = refused(command, ["--help"])
    assert status == 0
    return sorted(set(re.findall(r"--[a-z][a-z0-9-]*", text)))


@pytest.mark.parametrize("command", COMMANDS)
def test_any_words(command: str) -> None:
    own = options_of(command)
    assert "--help" in own
    word = st.one_of(
        st.sampled_from(own),
        st.sampled_from(VALUES),
        st.text(st.characters(exclude_categories=["Cs"]), max_size=6),
        st.integers().map(str),
    )
    first, tried = (["x.fits"] if command in LENSES else []), []

    @settings(max_examples=40 if command in LENSES else 8)
    @given(words=st.lists(word, max_size=6))
    def each(words: list[str]) -> None:
        status, text = refused(command, [*first, *words])
        tried.append(status)
        if status is not None:
            assert text.strip()
            # what is wrong before it may be told in the place of the help
            assert status == 2 or (status == 0 and {"-h", "--help"} & set(words)), text

    each()
    assert {*tried} & {None, 2}
