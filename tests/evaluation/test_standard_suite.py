"""The standard suite: what is said of errors, outside methods, bars, tables and the figure."""

import csv
import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from truthful import Method, perfect, small

from lensrim import cli, metrics
from lensrim.evaluation import suite, suites
from lensrim.evaluation.bars import BARS, Bar, map_ratio, parameter_bar
from lensrim.evaluation.comparison import KAPPA_SCALES, SOURCE_SCALES
from lensrim.evaluation.crossed import crossed_groups
from lensrim.evaluation.known import Known
from lensrim.evaluation.maps import maps_of
from lensrim.evaluation.mass import true_shear
from lensrim.evaluation.mocks import Mock
from lensrim.evaluation.references import Reference, Solved
from lensrim.evaluation.rows import append_row, read_rows, with_references, with_seconds
from lensrim.evaluation.stages import complete, format_stages
from lensrim.evaluation.standard import Design
from lensrim.evaluation.standard_coverage import coverage_table, printed_coverage
from lensrim.evaluation.standard_report import (
    as_text,
    bars_table,
    printed_stages,
    quality_table,
    slope_lines,
    stages_table,
)
from lensrim.evaluation.stated import LEVELS, stated_errors
from lensrim.evaluation.suite import EvaluateOptions, evaluate_one, evaluate_reference, run
from lensrim.inference.guess.starts import packaged_guesser
from lensrim.io.observation import Observation
from lensrim.io.product import Product


def with_errors(mock: Mock, *, size: float = 1.0) -> Product:
    """A product whose errors are Gaussian, of ``size`` times those that it states."""
    product, rng = perfect(mock), np.random.default_rng(0)
    kappa, source = product.image_maps["KAPPA"], product.source_maps["SOURCE"]
    width, spread = 0.03 * kappa, np.full(source.shape, 0.02 * source.max())
    truth = mock.truth
    numbers = {
        "THETAE": truth.theta_E * 1.01,
        "THETAEER": truth.theta_E * 0.02,
        "SLOPE": truth.gamma - 0.1,
        "SLOPEERR": 0.05,
        "GAMMA1": true_shear(mock)[0],
        "GAMMA1ER": 0.01,
        "FLUXSRC": truth.source.flux / mock.observation.pixel_scale**2,
        "FLUXSRCE": 1.0,
    }
    return replace(
        product,
        header={**product.header, **{key: (value, "") for key, value in numbers.items()}},
        image_maps={
            **product.image_maps,
            "KAPPA": kappa + size * width * rng.normal(size=kappa.shape),
            "KAPPA_STD": width,
        },
        source_maps={
            "SOURCE": source + size * spread * rng.normal(size=source.shape),
            "SOURCE_STD": spread,
        },
    )


def test_what_is_not_stated_is_absent() -> None:
    assert stated_errors(small(2), perfect(small(2))) == {"numbers": {}, "maps": {}}


def test_stated_errors_are_compared_with_those_that_were_made() -> None:
    mock = small(2)
    found = stated_errors(mock, with_errors(mock))
    for part in found["maps"].values():
        shares = dict(zip(LEVELS, part["coverage"], strict=True))
        for level in (0.3, 0.68, 0.95):
            scatter = np.sqrt(level * (1 - level) / part["n"])
            assert shares[level] == pytest.approx(level, abs=4 * scatter)
        few = 2 / np.sqrt(part["n"])
        assert part["width"] / part["empirical"] == pytest.approx(1, abs=0.1 + few)
    assert found["maps"]["bright"]["n"] < found["maps"]["source"]["n"]
    assert found["numbers"]["theta_E"] == pytest.approx([1, 1.01, 0.02])
    assert found["numbers"]["slope"] == pytest.approx(
        [mock.truth.gamma, mock.truth.gamma - 0.1, 0.05]
    )
    assert set(found["numbers"]) == {"theta_E", "slope", "gamma1", "flux"}
    assert found["numbers"]["flux"][:2] == pytest.approx([1, 1])
    sure = stated_errors(mock, with_errors(mock, size=3))["maps"]["kappa"]
    assert sure["coverage"][LEVELS.index(0.68)] < 0.4
    assert sure["width"] / sure["empirical"] == pytest.approx(1 / 3, rel=0.25)
    assert sure["crps"] > found["maps"]["kappa"]["crps"]


def test_an_axis_is_the_same_after_half_a_turn() -> None:
    mock = small(2)
    phi = math.degrees(mock.truth.system.lens.ellipsoid.phi)
    header = {"MACROPHI": ((phi + 175.0) % 180.0, ""), "MACROPHE": (4.0, "")}
    product = replace(perfect(mock), header=header)
    true, value, error = stated_errors(mock, product)["numbers"]["phi"]
    assert (value - true, error) == pytest.approx((-5.0, 4.0))
    assert (true - phi) % 180.0 == pytest.approx(0.0, abs=1e-9)


@pytest.mark.parametrize("shared", [True, False])
def test_the_width_of_a_map_that_is_right_is_1_also_where_its_pixels_err_together(
    shared: bool,
) -> None:
    """Lens by lens one that is shared would be 1.48 in the median."""
    rng, rows = np.random.default_rng(0), []
    for _ in range(3000):
        width = np.exp(0.5 * rng.normal())
        errors = np.full(40, rng.normal()) if shared else rng.normal(size=40)
        made = metrics.empirical_width(width * errors)
        rows.append({"stated": {"maps": {"kappa": {"width": width, "empirical": made}}}})
    assert map_ratio(rows, "kappa") == pytest.approx(1, abs=0.06)
    parts = [row["stated"]["maps"]["kappa"] for row in rows]
    lens_by_lens = [part["width"] / part["empirical"] for part in parts]
    assert np.median(lens_by_lens) == pytest.approx(1 / 0.6745 if shared else 1, rel=0.05)
    assert np.isnan(map_ratio(rows, "source"))


def test_a_source_that_is_elsewhere_has_no_coverage(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a wrong minimum: where the answer is bright there is nothing."""
    mock = small(2)
    product = with_errors(mock)
    dark = np.zeros(product.source_maps["SOURCE"].shape)
    monkeypatch.setattr(Known, "source_on", lambda *_: dark)
    assert {k: part["n"] > 0 for k, part in stated_errors(mock, product)["maps"].items()} == {
        "kappa": True
    }


def test_the_arcs_reach_part_of_the_source_plane() -> None:
    mock = small(2)
    maps = maps_of(perfect(mock))
    region = Known.of(mock).reached(maps)
    assert 0 < region.mean() < 1
    light = np.where(region, maps.source, 0).sum()
    assert light > 0.9 * maps.source.sum()
    away = replace(maps, alpha=(maps.alpha[0] + 1e3, maps.alpha[1]))
    assert not Known.of(mock).reached(away).any()


def test_the_shear_of_a_map_is_about_that_of_the_lens() -> None:
    mock = small(2)
    assert true_shear(mock) == pytest.approx(mock.truth.shear, abs=0.06)


@dataclass(frozen=True)
class Outside:
    """A method that knows the truth, or fails."""

    name: str = "outside"
    fails: bool = False

    def __call__(self, observation: Observation, lens_light: bool, /) -> Solved:
        if self.fails:
            raise FloatingPointError("diverged")
        return Solved.of(perfect(small(int(observation.name[-4:]))))


def test_an_outside_method_is_judged_as_a_stage_is() -> None:
    mock, method = small(2), Outside()
    assert isinstance(method, Reference)
    row = evaluate_reference(mock, 2, method)
    assert (row["method"], row["seed"], row["status"]) == ("outside", 2, "ok")
    assert row["errors"]["misfit"] == 0
    assert row["errors"]["theta_error"] == 0
    light = mock.truth.lens_light
    chi2 = np.mean(
        ((mock.observation.image - light - mock.truth.arcs) / mock.observation.sigma) ** 2
    )
    solved = replace(method(mock.observation, True), rest=light)
    assert solved.numbers(mock)["chi2nu"] == pytest.approx(chi2)
    bad = evaluate_reference(mock, 2, Outside(fails=True))
    assert bad["status"] == "FloatingPointError: diverged"
    rows = with_references([{"seed": 2, "stages": {"macro": {}}}, {"seed": 3}], [[row], [bad]])
    assert set(rows[0]["stages"]) == {"macro", "outside"}
    assert rows[1]["stages"] == {}


def row_of(index: int, **changes: Any) -> dict[str, Any]:
    """A row whose errors follow from its number."""
    design, snr = Design.of(index), 10 * 20 ** ((index % 11) / 10.001)
    errors: dict[str, Any] = {
        "misfit": 0.1 + 0.01 * index,
        "source_l2": 0.2,
        "source_rmse": 0.01,
        "source_sheet": 0.2,
        "kappa": 0.03,
        "kappa_sheet": 0.02,
        "alpha": 0.01,
        "theta_error": 0.004,
        "r50": 0.01,
        "r90": 0.02,
        "flux": -0.01,
        "excess": 0.01 * (index % 3 - 1),
        "excess_width": 0.02,
        "chi2nu": 1.0,
        "chi2arc": 1.0,
        "peff": 50.0,
        "coherence": {
            "kappa": [1.0, 0.9, 0.8, 0.7],
            "angular": [0.5, 0.4, 0.3, None],
            "source": [1.0, 0.9, 0.6, 0.2],
        },
    }
    gamma = 2.08 + 0.1 * np.sin(index)
    macro = {**errors, "source_l2": 0.3, "kappa": 0.05}
    return {
        "seed": index,
        "status": "ok",
        "snr": snr,
        "setting": design.setting,
        "halo": design.halo,
        "learnt": design.learnt,
        "lens_light": design.light,
        "structure": 0.02 if design.halo else 0.001,
        "theta_error": 0.004,
        "macro_error": 0.004,
        "gamma": gamma,
        "slope": 2.08 + 0.6 * (gamma - 2.08),
        "quality": "good",
        "seconds": 8.0,
        "stage_seconds": {"final": 0.5},
        "stages": {"macro": macro, "rim": errors, "answer": errors},
        "stated": {"numbers": {"theta_E": [1.0, 1.004, 0.006]}, "maps": {}},
        **changes,
    }


ROWS = [row_of(index) for index in range(48)]


def verdicts(rows: list[dict[str, Any]]) -> dict[str, str]:
    return {line["measured"]: line["verdict"] for line in bars_table(rows, parameters=4_000_000)}


def test_bars_are_met_missed_or_not_measured() -> None:
    found = verdicts(ROWS)
    assert found["share with chi2_nu < 1.13"] == "met"
    assert found["median chi2 excess over its half-width"] == "met"
    assert found["D, median"] == "missed"
    assert found["slope regression, power laws, S/N > 50"] == "met"
    assert found["source error, rim over macro, halo structure"] == "met"
    assert found["kappa error, rim over macro, halo structure"] == "met"
    assert found["seconds of the machine alone, median"] == "met"
    assert found["coverage of 68 %: theta_E"] == "missed"
    assert found["coverage of 68 %: kappa"] == "not measured"
    assert found["parameters"] == "met"
    assert parameter_bar(348_000_000).judge(ROWS)[1] == "missed"
    assert {bar.judge([])[1] for bar in BARS} == {"not measured"}


def test_the_narrower_bars_are_of_bright_arcs() -> None:
    faint = {**ROWS[0]["stages"]["answer"], "kappa": 0.045}
    rows = [
        {**row, "stages": {**row["stages"], "answer": faint}} if row["snr"] < 50 else row
        for row in ROWS
    ]
    found = {line["measured"]: line["value"] for line in bars_table(rows, parameters=7)}
    assert found["log10 kappa rmse, S/N > 50 [dex]"] == "0.030"
    assert found["log10 kappa rmse [dex]"] == "0.045"


def test_failures_count_as_infinitely_wrong_and_must_be_doubted() -> None:
    failed = [{**row_of(i), "status": "ValueError: x", "stages": {}} for i in range(48, 53)]
    found = verdicts(ROWS + failed)
    assert found["D, 90th percentile"] == "met"
    assert found["failures: theta_E wrong by > 10 %"] == "missed"
    assert found["failures that are called good"] == "missed"
    doubted = [{**row, "quality": "doubtful"} for row in failed]
    assert verdicts(ROWS + doubted)["failures that are called good"] == "met"
    table = {line["quality"]: line for line in quality_table(ROWS + doubted)}
    assert table["doubtful"] == {"quality": "doubtful", "n": "5", "failures": "5"}
    more = failed + [{**row, "seed": row["seed"] + 5} for row in failed]
    assert verdicts(ROWS[:40] + more)["D, 90th percentile"] == "missed"


@pytest.mark.parametrize(
    ("bar", "said"),
    [
        (Bar("x", lambda rows: 1.0, low=0.5), ">= 0.500"),
        (Bar("x", lambda rows: 1.0, high=12e6, form="{:,.0f}"), "<= 12,000,000"),
        (Bar("x", lambda rows: 1.0, -1, 1, "{:+.1f}"), "-1.0 to +1.0"),
    ],
)
def test_bars_say_their_range(bar: Bar, said: str) -> None:
    assert bar.said == said
    assert bar.judge(ROWS) == (1.0, "met")


def test_slopes_follow_the_truth_by_a_coefficient() -> None:
    lines = slope_lines(ROWS)
    assert "24 power laws" in lines[0]
    assert "regression 0.60" in lines[0]
    assert slope_lines(ROWS[:2]) == []


def test_tables_have_a_line_for_every_group_and_stage() -> None:
    lines = stages_table(ROWS)
    assert {line["method"] for line in lines} == {"macro", "rim", "answer"}
    groups = {line["group"] for line in lines}
    assert {"all", "hst", "halo", "learnt galaxy", "structured", "jwst, S/N 10-20"} <= groups
    assert groups <= set(crossed_groups())
    whole = next(x for x in lines if (x["group"], x["method"]) == ("all", "macro"))
    assert (whole["n"], whole["kappa_50"]) == ("48", "0.05")
    (covered,) = (x for x in coverage_table(ROWS) if x["group"] == "all")
    assert (covered["quantity"], covered["n"], covered["68%"]) == ("theta_E", "48", "1.0000")
    assert covered["10%"] == "0.0000"
    assert (covered["68% from"], covered["68% to"]) == ("0.926", "1.000")
    assert as_text([]) == ""


def test_stages_are_judged_where_they_were_run_and_the_answer_everywhere() -> None:
    without = {name: row_of(48)["stages"][name] for name in ("macro", "answer")}
    failed = {**row_of(49), "status": "ValueError: x", "stages": {}}
    rows = [*ROWS[:8], {**row_of(48), "stages": without}, failed]
    lines = {x["method"]: x for x in stages_table(rows) if x["group"] == "all"}
    counts = {name: line["n"] for name, line in lines.items()}
    assert counts == {"macro": "9", "rim": "8", "answer": "10"}
    assert lines["answer"]["misfit_90"] == "0.58"
    timed = with_seconds([{**row_of(3), "stage_seconds": {"lens_light": 1.0, "macro": 2.5}}])
    assert timed[0]["stages"]["macro"]["seconds"] == 3.5
    assert timed[0]["stages"]["answer"]["seconds"] == 8.0
    assert "seconds" not in timed[0]["stages"]["rim"]
    spent = {"macro": 2.5, "rim": 0.25, "rim_inversion": 0.5, "final": 0.25, "report": 1.0}
    row = row_of(3)
    stages = dict.fromkeys(("macro", "rim", "rim_inversion", "final"), row["stages"]["rim"])
    (known,) = with_seconds([{**row, "stages": stages, "stage_seconds": spent}])
    times = {name: stage["seconds"] for name, stage in known["stages"].items()}
    assert times == {"macro": 2.5, "rim": 2.75, "rim_inversion": 3.25, "final": 3.5}
    refined = {**row, "stages": {"macro": stages["macro"], "descent": stages["macro"]}}
    (known,) = with_seconds([{**refined, "stage_seconds": {"macro": 2.5, "descent": 0.5}}])
    times = {name: stage["seconds"] for name, stage in known["stages"].items()}
    assert times == {"macro": 2.5, "descent": 3.0}
    outside = {**row_of(3)["stages"]["answer"], "excess": None}
    (line,) = [
        x
        for x in stages_table([{**row_of(3), "stages": {"adam": outside}}])
        if (x["group"], x["method"]) == ("all", "adam")
    ]
    assert line["excess_50"] == ""
    assert np.isfinite(float(line["misfit_50"]))
    text = printed_stages(stages_table(timed))
    assert [line.split()[-1] for line in text.splitlines()[1:4]] == ["3.5", "1.000", "8.0"]


def test_coherence_is_the_median_of_a_group_and_stage() -> None:
    rows = []
    for index, value in enumerate((0.2, 0.6, None, -0.4)):
        row = row_of(index)
        told = {"kappa": [value] * 4, "angular": [None] * 4, "source": [1.0, value, 0.0, 0.0]}
        stages = {"macro": {**row["stages"]["macro"], "coherence": told}}
        rows.append({**row, "stages": stages})
    (line,) = [x for x in stages_table(rows) if x["group"] == "all"]
    assert line["coherence_kappa_4-2"] == line["coherence_kappa_0.5-0.25"] == "0.2000"
    assert line["coherence_source_8-4"] == "1.0000"
    assert line["coherence_source_4-2"] == "0.2000"
    assert line["coherence_angular_4-2"] == ""
    del stages["macro"]["coherence"]
    (without,) = [x for x in stages_table([{**row, "stages": stages}]) if x["group"] == "all"]
    assert without["coherence_kappa_4-2"] == ""


def test_coverage_that_is_too_far_is_marked() -> None:
    """In all of them by what is asked, in a bin by chance."""
    rows = []
    for index in range(200):
        row = row_of(index)
        error = 0.5 if index % 100 < 74 else 1.5  # in units of the stated error
        told = {"theta_E": [1.0, 1.0 + 0.01 * error, 0.01], "flux": [1.0, 1.0, 0.01]}
        rows.append({**row, "stated": {"numbers": told, "maps": {}}})
    table = coverage_table(rows)
    assert {"hst, S/N 10-20", "structured"} <= {line["group"] for line in table}
    text = printed_coverage(table)
    line = next(x for x in text.splitlines() if x.startswith("theta_E"))
    assert "74.0* / 100.0*" in line
    table = [x for x in table if x["group"] == "S/N 10-20"]
    small_bin = next(x for x in table if x["quantity"] == "theta_E")
    assert float(small_bin["68% from"]) < 0.6827 < float(small_bin["68% to"])
    assert next(x for x in text.splitlines() if x.startswith("flux")).count("*") > 4


@pytest.fixture
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(suites, "standard_mock", lambda seed, **_: small(seed))
    monkeypatch.setattr(suite, "REFERENCES", {"outside": Outside()})
    monkeypatch.setattr("lensrim.evaluation.references.REFERENCES", {"outside": Outside()})


@pytest.mark.usefixtures("_small")
def test_a_run_writes_tables_and_a_figure(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    method = Method()
    for seed in (0, 1):
        row = evaluate_one(small(seed), seed, method) | {"setting": "hst", "learnt": False}
        append_row(tmp_path / "results-1of2.jsonl", row)
    options = EvaluateOptions(
        suite="standard", n=2, output=str(tmp_path), quiet=True, reference=("outside",)
    )
    rows = run(options, method)
    assert method.calls == 2
    assert [set(row["stages"]) for row in rows] == [{"outside"}] * 2
    assert len(read_rows(tmp_path, "outside")) == 2
    names = {path.name for path in tmp_path.iterdir()}
    printed = capsys.readouterr().out
    assert "an answer is wrong if" in printed and "under the curve of QSCORE" in printed
    tables = {"stages.csv", "coverage.csv", "bars.csv", "doubt.csv", "summary.csv"}
    assert {*tables, "suite.png"} <= names
    with (tmp_path / "bars.csv").open() as file:
        bars = {line["measured"]: line for line in csv.DictReader(file)}
    assert bars["failures: theta_E wrong by > 10 %"]["verdict"] == "met"
    network = sum(p.numel() for p in packaged_guesser().parameters())
    assert bars["parameters"]["value"] == f"{8 + network:,}"
    assert "not measured" in printed


@pytest.mark.usefixtures("_small")
def test_a_row_says_what_its_number_decides(tmp_path: Path) -> None:
    made = suites.SUITES["standard"](EvaluateOptions(suite="standard", output=str(tmp_path)))
    assert made.facts(13) == {"setting": "euclid", "learnt": True}
    assert made.mock(3) is small(3)
    assert suites.SUITES["first-light"](EvaluateOptions()).facts(13) == {}


def test_the_figure_shows_what_there_is() -> None:
    from lensrim.plotting import plot_suite

    scales = {"kappa_scales": KAPPA_SCALES, "source_scales": SOURCE_SCALES}
    coverage = {"κ": ([0.5, 0.9], [0.4, 0.8])}
    full = plot_suite(
        ROWS,
        settings=("hst", "euclid", "jwst"),
        snr_bins=(10, 50, 200),
        coverage=coverage,
        **scales,
    )
    assert len(full.axes) == 9
    assert all(axis.get_legend() for axis in (full.axes[k] for k in (0, 4, 5, 8)))
    empty = plot_suite([], settings=("hst",), snr_bins=(10, 200), coverage={}, **scales)
    assert not any(axis.get_legend() for axis in empty.axes)


def test_a_suite_that_was_run_is_no_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(suite, "run", lambda options: [{"seed": 0}])
    assert cli.main(["evaluate", "--suite", "standard", "--quick"]) == 0


def test_quick_answers_are_left_out_where_others_have_a_macro_model() -> None:
    row = row_of(3)
    quick = {**row, "stages": dict.fromkeys(("rim", "answer"), row["stages"]["rim"])}
    assert complete([row, quick]) == [row]
    assert complete([quick]) == [quick]
    refused = {**row, "stages": dict.fromkeys(("macro", "answer"), row["stages"]["macro"])}
    assert "machine was on 1 mocks" in format_stages([row, quick, refused])
    assert "machine was on 0 mocks" in format_stages([quick])
