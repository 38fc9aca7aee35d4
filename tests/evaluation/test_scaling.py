"""The benchmark of the scaling: its table, its picture, and that it runs."""

import json
from pathlib import Path

import pytest

from lensrim.evaluation.bench.scaling import ScalingOptions, draw, main, rows

TURNS = {
    1: [{"step": step, "exchange": 0.0, "bytes": 400} for step in (2.0, 1.0, 4.0)],
    2: [{"step": step, "exchange": 0.003, "bytes": 400} for step in (2.5, 5.0, 2.5)],
}


def test_a_table_and_a_picture() -> None:
    one, two = rows(ScalingOptions(lenses=4), TURNS)
    assert (one["lenses_per_second"], one["low"], one["high"]) == (2.0, 1.0, 4.0)
    assert (two["processes"], two["lenses_per_second"]) == (2, 1.6)
    assert (two["exchange_ms"], two["exchange_bytes"]) == (pytest.approx(3.0), 400)
    axes = draw([one, two]).axes[0]
    axes.figure.canvas.draw()
    assert [text.get_text() for text in axes.get_xticklabels()] == ["1", "2"]


@pytest.mark.slow
def test_it_runs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(
        ScalingOptions(
            processes=(2,), lenses=1, shape=32, widths=(8,), steps=4, turns=1, output=str(tmp_path)
        )
    )
    assert "2 processes" in capsys.readouterr().out
    (row,) = json.loads((tmp_path / "scaling.json").read_text())
    assert row["lenses_per_second"] > 0 and row["exchange_ms"] > 0
    assert (tmp_path / "scaling.png").is_file()
