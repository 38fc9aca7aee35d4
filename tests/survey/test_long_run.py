"""What a long survey holds: how its growth is told (``python tests/long_run.py`` runs one)."""

import long_run
import pytest


def test_growth_is_seen() -> None:
    flat = [(500_000 + k % 7, 15) for k in range(100)]
    assert long_run.growth(flat) == (pytest.approx(0, abs=1e-4), 0)
    leaking = [(500_000 + 500 * k, 15 + k) for k in range(100)]
    assert long_run.growth(leaking) == (pytest.approx(60 * 500 / 514_750), 60)
