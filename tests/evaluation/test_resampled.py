"""Errors by noise resampling beside those of a posterior."""

import numpy as np
import pytest
from truthful import small

from lensrim.errors import InputError
from lensrim.evaluation.calibrate.resampled import (
    ResampledOptions,
    compare,
    format_comparison,
    resample,
    run,
)
from lensrim.inference.options import ReconstructOptions


def rows(n: int = 1500, draws: int = 6) -> list[dict]:
    """Slopes with errors of 0.1, of which half are noise's: what no noise moves is not scattered;
    posteriors say all."""
    rng, found = np.random.default_rng(0), []
    for index in range(n):
        noise, model = rng.normal(0.0, 0.1 / np.sqrt(2), 2)
        scatter = np.std(rng.normal(0.0, 0.1 / np.sqrt(2), draws), ddof=1)
        found.append(
            {
                "index": index,
                "snr": 40.0,
                "draws": draws,
                "numbers": {"slope": [2.0, 2.0 + noise + model, 0.1]},
                "resampled": {"slope": float(scatter)},
            }
        )
    return found


def test_scatter_lacks_what_no_noise_moves():
    (line,) = compare(rows())
    assert (line["name"], line["n"]) == ("slope", 1500)
    assert line["ratio"] == pytest.approx(1 / np.sqrt(2), rel=0.04)
    assert line["covered"]["posterior"] == pytest.approx((0.68, 0.95), abs=0.03)
    assert line["covered"]["resampled"][0] == pytest.approx(0.53, abs=0.04)
    assert line["crps"]["resampled"] > line["crps"]["posterior"]
    assert "slope  1500" in format_comparison([line])


def test_students_t_makes_up_for_few_draws():
    """Where the noise is all there is, also of three draws."""
    rng, told = np.random.default_rng(1), rows(2500, draws=3)
    for row in told:
        row["numbers"]["slope"][1] = 2.0 + rng.normal(0.0, 0.1)
        row["resampled"]["slope"] = float(np.std(rng.normal(0.0, 0.1, 3), ddof=1))
    (line,) = compare(told)
    assert line["covered"]["resampled"] == pytest.approx((0.68, 0.95), abs=0.03)


def test_rows_of_a_calibration_are_not_compared():
    (row,) = rows(1)
    del row["resampled"]
    assert compare([row]) == []
    assert format_comparison([])


def test_test_mocks_are_for_no_comparison_of_methods(tmp_path):
    with pytest.raises(InputError, match="--split: methods are compared on validation mocks"):
        run(ResampledOptions(split="test", output=str(tmp_path)))


def test_few_draws_have_no_score(tmp_path):
    with pytest.raises(InputError, match="--draws: must be 3 or more, found 2"):
        run(ResampledOptions(draws=2, output=str(tmp_path)))


@pytest.mark.slow
def test_noise_moves_an_answer_less_than_its_errors():
    row = resample(small(2), ReconstructOptions(lens_light="none"), 3, seed=0)
    assert row["draws"] == 3
    assert compare([row])[0]["n"] == 1
    assert set(row["resampled"]) <= set(row["numbers"])
    assert 0 < row["resampled"]["theta_E"] < 5 * row["numbers"]["theta_E"][2]
    assert row["kappa_ratio"] > 0
    again = resample(small(2), ReconstructOptions(lens_light="none"), 3, seed=0)
    assert again["resampled"] == row["resampled"]
