"""Progress bars appear at a terminal, and nowhere else."""

import io
import sys

import pytest

from lensrim.progress import Stages, progress


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


def test_what_was_done_before_is_counted(monkeypatch) -> None:
    monkeypatch.setattr(sys, "stderr", Terminal())
    with progress("train", total=5, initial=2) as bar:
        bar.update()
        assert (bar.n, bar.initial, bar.total) == (3, 2, 5)


def test_a_stage_is_named_before_its_work(monkeypatch) -> None:
    monkeypatch.setattr(sys, "stderr", Terminal())
    with Stages({"reading": 1, "search": 9}) as stages:
        with stages("reading"):
            assert "reading:   0%" in sys.stderr.getvalue()
        with stages("search", parts=3) as tick:
            assert "search:  10%" in sys.stderr.getvalue()
            for _ in range(5):  # more than were expected
                tick()
            assert stages._bar.n == 10
    assert list(stages.seconds) == ["reading", "search"]
    assert all(s >= 0 for s in stages.seconds.values())
    assert sys.stderr.getvalue().endswith("\r")  # nothing is left behind


def test_a_stage_that_is_left_out_is_passed(monkeypatch) -> None:
    monkeypatch.setattr(sys, "stderr", Terminal())
    with Stages({"reading": 1, "light": 4, "search": 5}) as stages:
        with stages("light", parts=2):
            assert "light:  10%" in sys.stderr.getvalue()
        assert stages._bar.n == 5


@pytest.mark.parametrize(("stream", "enabled"), [(Terminal, False), (io.StringIO, True)])
def test_stages_are_shown_to_people_only(monkeypatch, stream, enabled: bool) -> None:
    monkeypatch.setattr(sys, "stderr", stream())
    with Stages({"fit": 1}, enabled=enabled) as stages, stages("fit") as tick:
        tick()
    assert sys.stderr.getvalue() == ""
    assert list(stages.seconds) == ["fit"]
