"""TensorBoard sees each line once, however often it was made."""

import sys
from pathlib import Path
from typing import Any

import pytest

from lensrim.errors import InputError
from lensrim.training.board import board
from lensrim.training.history import scalars


def line(step: int, loss: float | None) -> dict[str, Any]:
    return {"step": step, "loss": loss, "metrics": {"bias": 0.5}, "validation_metrics": {}}


def test_scalars_of_a_line() -> None:
    assert dict(scalars(line(3, None))) == {"metrics/bias": 0.5}
    assert dict(scalars(line(3, 2.0))) == {"loss": 2.0, "metrics/bias": 0.5}


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_lines_made_again_are_seen_once(tmp_path: Path) -> None:
    events = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    for lines in ([line(3, 1.0), line(6, 2.0), line(9, 3.0)], [line(6, 4.0), line(8, None)]):
        with board(tmp_path) as record:
            for each in lines:
                record(each)
    seen = events.EventAccumulator(str(tmp_path)).Reload()
    assert [(e.step, e.value) for e in seen.Scalars("loss")] == [(3, 1.0), (6, 4.0)]
    assert [e.step for e in seen.Scalars("metrics/bias")] == [3, 6, 8]


def test_nothing_is_written_without_a_line(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    with board(tmp_path / "events"):
        pass
    assert not (tmp_path / "events").exists()


def test_without_it_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tensorboard", None)
    monkeypatch.delitem(sys.modules, "torch.utils.tensorboard", raising=False)
    with (
        pytest.raises(InputError, match=r"pip install '\.\[board\]' in the checkout"),
        board(tmp_path),
    ):
        pass
