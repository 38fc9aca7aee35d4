"""Progress bars appear at a terminal, and nowhere else."""

import io
import sys

import pytest

from lensrim.progress import progress


class Terminal(io.StringIO):
    """A stream that claims to be a terminal."""

    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("stream", "enabled", "shown"),
    [(Terminal, True, True), (Terminal, False, False), (io.StringIO, True, False)],
)
def test_shown_to_people_only(monkeypatch, stream, enabled: bool, shown: bool) -> None:
    monkeypatch.setattr(sys, "stderr", stream())
    with progress("fit", total=3, enabled=enabled) as bar:
        assert bool(bar.disable) is not shown
        bar.update()
    assert sys.stderr.getvalue() == ""  # over before the delay of a second
