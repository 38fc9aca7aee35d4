"""Percentiles of values of which some are infinite."""

import numpy as np
import pytest

from lensrim.evaluation.percentiles import percentile


@pytest.mark.parametrize("n", [1, 2, 5, 8])
def test_the_median_is_numpys(n: int):
    values = np.random.default_rng(n).normal(size=n)
    assert percentile(values, 50) == np.median(values)


def test_infinities_do_not_spread():
    values = np.array([np.inf, 3.0, 1.0, 2.0, np.inf])
    assert percentile(values, 50) == 3
    assert percentile(values, 90) == np.inf
    assert percentile(np.array([1.0, np.inf]), 50) == 1
    assert percentile(np.array([np.inf, np.inf]), 50) == np.inf


def test_ninety_per_cent_lie_below():
    values = np.arange(1.0, 1001.0)
    assert percentile(values, 90) == 900.5
    assert percentile(values[:999], 90) == 900
    assert np.isnan(percentile(values[:0], 90))
