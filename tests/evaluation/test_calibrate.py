"""The calibration of errors: that a fit finds what was put in."""

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from functools import partial

import numpy as np
import pytest
from scipy import stats
from scipy.optimize import approx_fprime
from symptoms import GOOD

from lensrim import __version__
from lensrim.errors import InputError
from lensrim.evaluation.calibrate.__main__ import run
from lensrim.evaluation.calibrate.deviations import Deviations
from lensrim.evaluation.calibrate.fitting import fit
from lensrim.evaluation.calibrate.judging import curves, format_lines, halved, judge, of_kinds
from lensrim.evaluation.calibrate.options import CalibrateOptions
from lensrim.evaluation.calibrate.rows import Row, measured, read_rows, run_of
from lensrim.evaluation.calibrate.sheets import sheet_width
from lensrim.inference.calibration import Scale
from lensrim.inference.mass_sheet import SLOPE, SLOPE_WIDTH, TAILS, expected_sheet
from lensrim.inference.traits import TRAITS


def rows_of(
    n: int,
    *,
    scale: float | Callable[[float], float],
    dof: float,
    floor: float = 0.0,
    seed: int = 0,
) -> list[dict]:
    """Lenses whose errors are Student's, as a calibration says; the source alone has a floor."""
    rng = np.random.default_rng(seed)
    rows = []
    for index in range(n):
        snr = float(10 ** rng.uniform(1.0, 2.3))
        own_scale = scale(snr) if callable(scale) else scale
        width = own_scale / stats.t(dof).ppf(stats.norm.cdf(1.0))
        z = rng.standard_t(dof, size=4) * width
        numbers = {
            name: [10.0, 10.0 - value * 0.1, 0.1]
            for name, value in zip(("theta_E", "gamma1", "gamma2", "slope"), z, strict=True)
        }
        kappa = [np.sort(rng.standard_t(dof, size=8) * width * 0.2).tolist(), [0.2] * 8]
        # of the source, the part for want of the mass is too small by as much, the other is right
        by_mass, own = rng.uniform(0.1, 1.0, size=(2, 8))
        bright = rng.exponential(size=8)
        right = np.hypot(own_scale * by_mass, own)
        right = np.hypot(right, floor * bright)
        error = rng.standard_t(dof, size=8) * right / stats.t(dof).ppf(stats.norm.cdf(1.0))
        source = [each.tolist() for each in (error, by_mass, own, bright)]
        rows.append({"index": index, "snr": snr, "numbers": numbers, "kappa": kappa})
        rows[-1]["source"] = source
    return rows


def test_a_fit_finds_what_was_put_in():
    put_in = Scale((1.2, 1.2, 1.4, 2.4))
    found = fit(rows_of(1200, scale=put_in.at, dof=4.0))
    assert [dof for _, dof in found.tails] == pytest.approx([4.0, 4.0], rel=0.5)
    assert set(found.scales) == {"theta_E", "shear", "slope", "kappa", "source"}
    assert found.scales["source"].factors == pytest.approx([1.0] * 4, rel=0.2)
    assert found.scales["source"].floor < 0.1
    for name in ("theta_E", "shear", "kappa"):
        assert found.scales[name].factors == pytest.approx(put_in.factors, rel=0.2), name


def test_what_only_the_brightest_have_is_not_spread_over_all():
    """Each bin is covered by a fit to others, where a power of the signal over noise is not."""
    put_in = Scale((1.0, 1.0, 1.0, 1.6))
    rows = [{**r, "numbers": {}, "source": []} for r in rows_of(1200, scale=put_in.at, dof=30.0)]
    halves = halved(rows)
    for low, high in ((10, 20), (20, 50), (50, 100), (100, 200)):
        shares = []
        for half in halves:
            own = half.deviations("kappa")
            here = own.where((own.snr >= low) & (own.snr < high))
            shares.append(here.covered(half.calibration.scales["kappa"], 1.0))
        assert np.mean(shares) == pytest.approx(0.6827, abs=0.04), low


def test_derivatives_of_the_likelihood_are_those_of_differences():
    rows = with_traits(rows_of(20, scale=1.0, dof=5.0, floor=0.5))
    own, m = Deviations.of(rows, ["source"]), len(TRAITS)

    def of(x: np.ndarray) -> tuple[float, np.ndarray]:
        return own.loss(Scale(tuple(np.exp(x[:4])), math.exp(x[-1]), tuple(x[4:-1])), 5.0)

    at = np.array([0.1, -0.2, 0.3, 0.0, *np.linspace(-0.2, 0.2, m), -0.5])
    expected = approx_fprime(at, lambda x: of(x)[0], 1e-6)
    np.testing.assert_allclose(of(at)[1], expected, rtol=1e-3, atol=1e-3)


def with_traits(rows: list[dict], seed: int = 5) -> list[dict]:
    """Gives each lens traits."""
    rng = np.random.default_rng(seed)
    return [{**row, "traits": rng.normal(size=len(TRAITS)).clip(-2, 2)} for row in rows]


def test_what_an_answer_tells_of_its_errors_is_found():
    """Kinds of lenses whose errors differ are covered alike where a trait tells them apart."""
    rows = with_traits(rows_of(1500, scale=1.0, dof=30.0))
    weights = np.linspace(0.3, -0.2, len(TRAITS))
    for row in rows:
        truth, value, std = row["numbers"]["slope"]
        error = (value - truth) * math.exp(float(row["traits"] @ weights))
        row["numbers"] = {"slope": [truth, truth + error, std]}
    found = fit(rows).scales["slope"]
    np.testing.assert_allclose(found.weights, weights, atol=0.08)
    far = np.array([row["traits"] @ weights for row in rows]) > 0.3
    own = Deviations.of(rows, ["slope"]).where(far)
    assert own.covered(found, 1.0) == pytest.approx(0.68, abs=0.05)
    assert own.covered(Scale(found.factors), 1.0) < 0.6


def test_answers_to_one_mass_are_in_one_half():
    """Mocks of one number have one mass, mostly, whatever their galaxies and the stage."""
    rows = [
        {**row, "kind": kind, "stage": stage, "last": stage == "final", "weight": 0.5}
        for kind, count in (("recipe", 45), ("standard", 60))
        for row in rows_of(count, scale=1.0, dof=30.0)
        for stage in ("macro", "final")
    ]
    halves = halved(rows)
    seen = [{row["index"] for row in half.rows} for half in halves]
    assert not seen[0] & seen[1]
    assert seen[0] | seen[1] == set(range(60))
    lines = {line["name"]: line for line in judge(halves)}
    assert lines["slope"]["n"] == 105  # of mocks, not of answers
    for kind, own in of_kinds(halves).items():
        assert {(r["kind"], r["stage"]) for half in own for r in half.rows} == {(kind, "final")}
        assert {line["n"] for line in judge(own)} == {45 if kind == "recipe" else 60}


def test_bright_lenses_have_tails_of_their_own():
    rows = [row for row in rows_of(800, scale=1.0, dof=30.0) if row["snr"] < 45]
    heavy = rows_of(800, scale=1.0, dof=2.5, seed=1)
    rows += [row for row in heavy if row["snr"] >= 45]
    found = fit(rows)
    (faint, many), (bright, few) = found.tails
    assert (faint, bright) == pytest.approx((21, 95), rel=0.1)
    assert many > 8
    assert few == pytest.approx(2.5, rel=0.3)
    ends = [found.dof_at(snr) for snr in (1.0, 15.0, 150.0)]
    assert ends == pytest.approx([many, many, few])
    middle = math.sqrt(faint * bright)
    assert 1 / found.dof_at(middle) == pytest.approx((1 / many + 1 / few) / 2)
    for low, high in ((0.0, 45.0), (45.0, math.inf)):
        own = Deviations.of([r for r in rows if low <= r["snr"] < high], ["theta_E", "slope"])
        width = partial(found.half_width, 0.95)
        assert own.covered(found.scales["slope"], width) == pytest.approx(0.95, abs=0.03)


def test_what_is_stated_covers_whatever_the_errors_are_like():
    # a core and rare outliers, and errors that end: neither is Student's of the common dof
    rows = rows_of(400, scale=1.0, dof=30.0)
    rng = np.random.default_rng(3)
    for row in rows:
        truth, _, std = row["numbers"]["theta_E"]
        error = rng.normal() * (10.0 if rng.uniform() < 0.2 else 1.0)
        row["numbers"]["theta_E"] = [truth, truth + error * std, std]
        row["numbers"]["slope"] = [truth, truth + rng.uniform(-1, 1) * std, std]
    found = fit(rows)
    for name in ("theta_E", "slope", "kappa", "source"):
        own = Deviations.of(rows, [name], found.scales["kappa"])
        assert own.covered(found.scales[name], 1.0) == pytest.approx(0.6827, abs=0.005), name


def test_what_a_fit_lacks_of_lenses_it_has_not_seen_is_given(monkeypatch: pytest.MonkeyPatch):
    """Those to four fifths of the lenses state errors half as large as one to all does."""
    rows, factors = rows_of(300, scale=1.0, dof=30.0), []
    for share in (1.0, 0.5):

        def scales_at(
            seen: Sequence[Row], dof: float, *, share: float = share
        ) -> tuple[dict[str, Scale], float]:
            return {"slope": Scale((1.0 if len(seen) == len(rows) else share,) * 4)}, dof

        monkeypatch.setattr("lensrim.evaluation.calibrate.fitting.scales_at", scales_at)
        factors.append(np.array(fit(rows).scales["slope"].factors))
    np.testing.assert_allclose(factors[1], 2 * factors[0])


def test_lenses_are_judged_by_a_fit_to_others():
    halves = halved(rows_of(200, scale=2.0, dof=5.0, seed=1))
    lines = {line["name"]: line for line in judge(halves)}
    assert set(lines) == {"theta_E", "gamma1", "gamma2", "slope", "kappa", "source"}
    for line in lines.values():
        assert line["n"] == 200
        assert line["before"][0] < (0.65 if line["name"] == "source" else 0.5)
        assert line["after"][0] == pytest.approx(0.68, abs=0.1)  # 3 sigma of 200
        assert line["after"][1] == pytest.approx(0.95, abs=0.05)
    assert lines["slope"]["ratio"] == pytest.approx(1.0, abs=0.25)
    assert "ratio" not in lines["kappa"]
    assert "slope" in format_lines(list(lines.values()))
    drawn = curves(halves)["slope"]
    assert np.all(np.diff(drawn["after"].shares) >= 0)
    assert np.all(drawn["after"].shares >= drawn["before"].shares)


def test_a_floor_of_the_source_is_found():
    found = fit(rows_of(800, scale=1.0, dof=5.0, floor=0.8, seed=2))
    assert found.scales["source"].floor == pytest.approx(0.8, rel=0.15)
    assert found.scales["source"].factors == pytest.approx([1.0] * 4, rel=0.2)
    assert all(each.floor == 0 for kind, each in found.scales.items() if kind != "source")


def test_bright_pixels_are_covered_as_the_others_are():
    """By a fit to other lenses; without the floor they would be too seldom."""
    for half in halved(rows_of(600, scale=1.0, dof=8.0, floor=0.8, seed=3)):
        own, scale = half.deviations("source"), half.calibration.scales["source"]
        limit = half.calibration.half_width(0.6827, 50.0)
        bright = own.unit > np.quantile(own.unit, 0.8)
        inside, without = (
            np.abs(own.z) < limit * own.factors(each)
            for each in (scale, replace(scale, floor=0.0))
        )
        assert inside[bright].mean() == pytest.approx(0.68, abs=0.08)
        assert without[bright].mean() < 0.4


def test_shards_are_all_mocks():
    found = [CalibrateOptions(n=7, first=3, shard=f"{i}/3").indices() for i in (1, 2, 3)]
    assert sorted(index for shard in found for index in shard) == list(range(3, 10))
    with pytest.raises(
        InputError, match=r"--shard: must be i/n with i from 1 to n, .* found '4/3'"
    ):
        CalibrateOptions(shard="4/3").indices()
    with pytest.raises(InputError, match="--n, --first: must be 1 or more and 0 or more"):
        CalibrateOptions(n=0).indices()


RUN = run_of(CalibrateOptions())


def line_of(index: int, kind: str = "standard", **changes) -> str:
    symptoms = asdict(GOOD)
    answers = {
        "macro": {"snr": 20.0, "symptoms": symptoms},
        "final": {"snr": 21.0, "symptoms": symptoms | {"chi2": 2.0}},
    }
    return json.dumps(
        {**RUN, "kind": kind, "index": index, "facts": {}, "answers": answers, **changes}
    )


def test_lines_that_were_cut_off_are_left_out(tmp_path):
    (tmp_path / "rows-standard-1of2.jsonl").write_text(f'{line_of(4)}\n{{"index": 5')
    (tmp_path / "rows-standard-2of2.jsonl").write_text(line_of(1) + "\n")
    (tmp_path / "rows-recipe-1of1.jsonl").write_text(line_of(1, "recipe") + "\n")
    rows = read_rows(tmp_path, RUN)
    assert [(r["kind"], r["index"], r["stage"], r["last"], r["snr"]) for r in rows] == [
        (kind, index, stage, last, snr)
        for kind, index in (("recipe", 1), ("standard", 1), ("standard", 4))
        for stage, last, snr in (("macro", False, 20.0), ("final", True, 21.0))
    ]
    assert {row["weight"] for row in rows} == {0.5}
    assert rows[0]["traits"][0] < rows[1]["traits"][0]


@pytest.mark.parametrize(
    ("other", "name"),
    [
        ({"version": None}, f"version {__version__}"),
        ({"version": "0.1.0"}, f"version {__version__}"),
        ({"split": "test"}, "split validation"),
        ({"last stage": "macro"}, "last stage final"),
        ({"machine": "0123"}, "machine [0-9a-f]+"),
        ({"symptoms": "chi2"}, "symptoms chi2 expected .* share"),
        ({"measured": "taste"}, "measured errors"),
    ],
)
def test_rows_of_something_else_are_not_mixed_in(other, name, tmp_path):
    (tmp_path / "rows-standard-1of2.jsonl").write_text(line_of(4, **other) + "\n")
    with pytest.raises(InputError, match=f"rows must be those of {name}, found th"):
        read_rows(tmp_path, RUN)


def test_a_run_goes_on_where_it_ended(tmp_path):
    options = CalibrateOptions(n=3, output=str(tmp_path))
    asked, symptoms = [], asdict(GOOD)

    def answers(index, mock, how):
        asked.append((index, how.stage, how.lens_light, mock.lit))
        return {"final": {"snr": 20.0, "symptoms": symptoms}}

    (tmp_path / "rows-standard-1of1.jsonl").write_text(line_of(1) + '\n{"index": 2, "ki')
    rows = measured(options, answers)
    assert asked == [(0, "final", "none", False), (2, "final", "none", False)]
    assert [(row["index"], row["stage"]) for row in rows] == [
        (0, "final"),
        (1, "macro"),
        (1, "final"),
        (2, "final"),
    ]
    assert rows[0]["facts"]["setting"] == "hst"
    with pytest.raises(InputError, match="take another --output"):
        measured(replace(options, split="test"), answers)


def test_few_mocks_are_told(tmp_path):
    lines = [line_of(index) for index in range(5)]
    (tmp_path / "rows-standard-1of1.jsonl").write_text("\n".join(lines) + "\n")
    with pytest.raises(InputError, match="--n: a calibration needs 10 mocks or more, found 5"):
        run(CalibrateOptions(n=5, output=str(tmp_path)))


def test_a_recipe_without_galaxies_is_told(tmp_path):
    (tmp_path / "plain.toml").write_text("[data]\nshape = 64\n")
    options = CalibrateOptions(
        n=1, output=str(tmp_path / "out"), recipe=str(tmp_path / "plain.toml")
    )
    with pytest.raises(InputError, match=r"plain\.toml: must name galaxies, .* found none; leave"):
        measured(options, lambda index, mock, how: {})
    assert not (tmp_path / "out").exists()


def sheets_of(n: int, width: float, *, snr: float = 100.0) -> list[dict]:
    """Lenses whose masses have sheets of some width, and the slopes that were fitted."""
    rng = np.random.default_rng(3)
    rows = []
    for index in range(n):
        bend = float(rng.uniform(-1.4, -0.9))
        t = width * float(rng.standard_t(TAILS))
        true = SLOPE + SLOPE_WIDTH * float(rng.standard_normal())
        fitted = 1 + (true - 1) * math.exp(-bend * t) + 0.02 * float(rng.standard_normal())
        response = bend * (fitted - 1)
        sheet = expected_sheet(fitted, response, 0.9)
        stated = math.hypot(0.02, sheet.response * sheet.std)
        numbers = {"slope": [true, fitted, stated]}
        told = [fitted, sheet.bend, sheet.response * sheet.std]
        rows.append({"index": index, "snr": snr, "sheet": told, "numbers": numbers})
    return rows


@pytest.mark.parametrize("width", [0.03, 0.06, 0.1])
def test_the_width_of_mass_sheets_is_found(width: float):
    found = sheet_width(sheets_of(1500, width))
    assert found == pytest.approx(width, rel=0.1)


def test_a_mass_counts_once_in_the_width_of_sheets():
    """Whatever galaxies are behind it, and whatever stage the answer is of."""
    rows = sheets_of(300, 0.06)
    others = [
        {**row, "kind": kind, "stage": stage}
        for kind in ("recipe", "standard")
        for row in rows
        for stage in ("macro", "final")
    ]
    for row in others:
        if row["stage"] == "final":
            row["sheet"] = [row["sheet"][0] + 1.0, *row["sheet"][1:]]
    assert sheet_width(others) == sheet_width(rows)
    assert math.isnan(sheet_width([{**row, "index": 0} for row in others[:2]] * 20))


def test_faint_lenses_tell_no_width():
    assert math.isnan(sheet_width(sheets_of(50, 0.07, snr=20.0)))
