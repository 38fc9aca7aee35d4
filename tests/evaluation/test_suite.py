"""The suite: the truth has no error, failures count, runs can be resumed and divided."""

import csv
import json
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from truthful import SIDE, Answer, Method, Stage, perfect, small

from lensrim.cli import main
from lensrim.errors import InputError
from lensrim.evaluation import comparison, suites
from lensrim.evaluation.comparison import (
    coherences,
    compare,
    compare_maps,
)
from lensrim.evaluation.deflection import average_convergence
from lensrim.evaluation.known import Known
from lensrim.evaluation.maps import maps_of, with_margin
from lensrim.evaluation.mass import ellipsoid_kappa, slope_of_map, structure
from lensrim.evaluation.mocks import Mock, make_mock
from lensrim.evaluation.report import COLUMNS, format_table, summarise
from lensrim.evaluation.rows import read_rows, with_references
from lensrim.evaluation.stages import KEYS, compare_groups, complete, format_stages
from lensrim.evaluation.suite import EvaluateOptions, evaluate_one, run
from lensrim.io.observation import Observation
from lensrim.metrics import source_errors


@pytest.fixture
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(suites, "make_mock", lambda seed, **_: small(seed))


def options(folder: Path, **changes: object) -> EvaluateOptions:
    return EvaluateOptions(**({"n": 3, "output": str(folder), "quiet": True} | changes))


def test_a_perfect_answer_has_no_error() -> None:
    mock = small(2)
    errors = compare(mock, perfect(mock))
    assert errors.pop("chi2nu") == pytest.approx(1, abs=0.2)
    assert errors.pop("chi2arc") == pytest.approx(1, abs=0.5)
    # what of the galaxy is beyond the map is missing
    assert errors.pop("flux") == pytest.approx(0, abs=0.03)
    assert max(abs(error) for error in errors.values()) < 1e-10


def test_a_perfect_answer_is_coherent_with_the_truth() -> None:
    mock = small(2)
    found = coherences(mock, maps_of(perfect(mock)))
    assert set(found) == {"kappa", "angular", "source"}
    for name, values in found.items():
        known = [value for value in values if np.isfinite(value)]
        assert known == pytest.approx([1.0] * len(known)), name
        assert len(known) >= 3
    maps = replace(maps_of(perfect(mock)), source=-maps_of(perfect(mock)).source)
    assert coherences(mock, maps)["source"][1] == pytest.approx(-1)


def test_angular_structure_does_not_see_what_is_round() -> None:
    mock = small(2)
    maps = maps_of(perfect(mock))
    host, grid = mock.truth.system.lens.ellipsoid, mock.observation.grid
    x, y = grid.from_index(np.arange(SIDE), np.arange(SIDE)[:, None])
    radius = np.hypot(x - host.center_x, y - host.center_y)
    ring = (radius / grid.spacing).astype(int)
    steeper = replace(maps, kappa=maps.kappa * 10 ** (-0.05 * ring))
    assert coherences(mock, steeper)["angular"][:3] == pytest.approx([1.0] * 3)
    smooth = replace(maps, kappa=ellipsoid_kappa(mock) * (1 + 1e-3 * (x + y)))
    assert np.nanmax(np.abs(coherences(mock, smooth)["angular"])) < 0.9


def test_errors_of_the_source_are_those_of_one_frame_whatever_its_map(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    mock, share = small(2), 0.6
    monkeypatch.setattr(comparison, "SOURCE_SIDE", share)
    maps = maps_of(perfect(mock))
    maps = replace(maps, source=1.1 * maps.source)
    side, fov = maps.source_grid.fov[0], min(mock.observation.grid.fov)
    assert 1.05 * side < 0.9 * share * fov
    larger = with_margin(maps, 1.05 * side)
    n, m = maps.source.shape[-1], larger.source.shape[-1]
    assert m > n and (m - n) % 2 == 0 and m * maps.source_grid.spacing >= 1.05 * side
    assert larger.source_grid.center == maps.source_grid.center
    cut = (m - n) // 2
    np.testing.assert_array_equal(larger.source[cut:-cut, cut:-cut], maps.source)
    assert larger.source.sum() == pytest.approx(maps.source.sum())
    assert with_margin(maps, 0.5 * side).source.shape == maps.source.shape  # nothing is cut off
    one, other = compare_maps(mock, maps), compare_maps(mock, larger)
    for name in ("source_l2", "source_rmse"):
        assert one[name] == pytest.approx(other[name])
    assert one["source_l2"] == pytest.approx(0.1, abs=0.01)
    own = source_errors(maps.source, Known.of(mock).source_on(maps))[1]
    assert one["source_rmse"] == pytest.approx(own * side / (share * fov), rel=0.1)


def test_light_beyond_the_map_of_a_source_is_an_error() -> None:
    mock = small(2)
    maps = maps_of(perfect(mock))
    half = 7 * maps.source.shape[-1] // 16
    grid = maps.source_grid
    middle = maps.source[half:-half, half:-half]
    shape = (middle.shape[0], middle.shape[1])
    small_map = replace(maps, source=middle, source_grid=replace(grid, shape=shape))
    lost = 1 - (middle**2).sum() / (maps.source**2).sum()
    assert lost > 0.01
    assert compare_maps(mock, small_map)["source_l2"] >= lost**0.5 * 0.99


def test_errors_of_the_source_have_their_sign() -> None:
    mock = small(2)
    product = perfect(mock)
    bright = {"SOURCE": product.source_maps["SOURCE"] * 1.2}
    errors = compare(mock, replace(product, source_maps=bright))
    assert errors["flux"] == pytest.approx(0.2, abs=0.04)
    assert errors["r90"] == pytest.approx(0, abs=1e-9)
    floor = {"SOURCE": product.source_maps["SOURCE"] + 0.02 * product.source_maps["SOURCE"].max()}
    assert compare(mock, replace(product, source_maps=floor))["r90"] > 0.1


def test_a_mass_sheet_is_an_error_only_where_it_shall_be() -> None:
    mock, scale = small(2), 0.93
    maps = maps_of(perfect(mock))
    x, y = np.meshgrid(*[np.arange(SIDE)] * 2)
    x, y = mock.observation.grid.from_index(x, y)
    # the same image: rays and source both smaller by the scale
    alpha = tuple(t - (t - a) / scale for t, a in zip((x, y), maps.alpha, strict=True))
    grid = maps.source_grid
    smaller = replace(
        grid, spacing=grid.spacing / scale, center=tuple(c / scale for c in grid.center)
    )
    sheet = replace(maps, alpha=alpha, kappa=1 - (1 - maps.kappa) / scale, source_grid=smaller)
    errors = compare_maps(mock, sheet)
    assert errors["source_sheet"] < 1e-8
    assert errors["source_l2"] > 0.02
    assert errors["kappa_sheet"] < 1e-3 < 0.02 < errors["kappa"]


def test_the_slope_of_a_map_is_that_of_its_power_law() -> None:
    mock = small(2)
    smooth, wanted = ellipsoid_kappa(mock), mock.truth.gamma
    assert slope_of_map(mock, smooth) == pytest.approx(wanted, abs=0.01)
    assert slope_of_map(mock, 3 * smooth) == pytest.approx(slope_of_map(mock, smooth))
    maps = maps_of(perfect(mock))
    exact = compare_maps(mock, maps)
    assert [exact[name] for name in ("slope_error", "shear_error")] == pytest.approx([0, 0])
    flat = replace(maps, kappa=maps.kappa**0.5)  # R^(1 - gamma) becomes R^((1 - gamma) / 2)
    own = slope_of_map(mock, maps.kappa)
    assert compare_maps(mock, flat)["slope_error"] == pytest.approx((own - 1) / 2)


def test_the_error_of_the_shear_is_what_was_added() -> None:
    mock = small(2)
    maps, grid = maps_of(perfect(mock)), mock.observation.grid
    x, y = grid.from_index(np.arange(SIDE)[None, :], np.arange(SIDE)[:, None])
    shear = (0.03, -0.04)
    added = (shear[0] * x + shear[1] * y, shear[1] * x - shear[0] * y)
    sheared = replace(maps, alpha=tuple(a + b for a, b in zip(maps.alpha, added, strict=True)))
    errors = compare_maps(mock, sheared)
    assert errors["shear_error"] == pytest.approx(0.05)
    assert errors["slope_error"] == 0


def test_the_structure_of_a_lens_is_what_its_ellipsoid_lacks() -> None:
    mock = small(2)
    lens = mock.truth.system.lens
    assert structure(mock) > 0
    plain = replace(lens, multipoles=(), subhalos=())
    system = replace(mock.truth.system, lens=plain)
    smooth = average_convergence(plain, mock.observation.grid)
    truth = replace(mock.truth, system=system, kappa=smooth)
    assert structure(replace(mock, truth=truth)) < 1e-5


def staged(mock: Mock, scales: dict[str, float]) -> Answer:
    """An answer with stages that have the true arcs, times a factor each."""
    product, stages, numbers = perfect(mock), {}, {}
    for name, scale in scales.items():
        maps = maps_of(product)
        model = maps.model * scale
        stages[name] = Stage(model, maps.kappa, *maps.alpha, maps.source, maps.source_grid)
        number = {"theta_E": mock.truth.theta_E, "chi2nu": 1.0, "chi2arc": 1.0, "peff": 9.0}
        numbers["inversion" if name == "macro" else name] = number
    header = {**product.header, "STAGE": (list(scales)[-1], "")}
    return Answer(replace(product, header=header, stages=numbers), stages)


@pytest.mark.usefixtures("_small")
def test_stages_are_compared_on_the_same_mocks(tmp_path: Path) -> None:
    def method(observation: Observation, lens_light: bool) -> Answer:
        seed = int(observation.name[-4:])
        refused = {} if seed == 2 else {"rim": 1.01}
        return staged(small(seed), {"macro": 1.02, **refused})

    rows = run(options(tmp_path), method)
    first = rows[0]["stages"]
    assert first["answer"].pop("seconds") == rows[0]["seconds"]
    assert first["answer"] == first["rim"]
    assert rows[2]["stages"]["answer"]["misfit"] == rows[2]["stages"]["macro"]["misfit"]
    assert first["macro"]["misfit"] == pytest.approx(4 * first["rim"]["misfit"])
    text = format_stages(rows)
    assert "all (2)" in text
    assert "-75%" in text and "100%" in text
    assert "was on 1 mocks" in text
    assert text in (tmp_path / "summary.txt").read_text()
    assert format_stages([rows[2]]) == ""
    # a circle of mean kappa 1 that is not found is an infinite error
    rows[1]["stages"]["rim"]["theta_error"] = None
    assert "inf" in format_stages(rows[:2])


def test_what_a_machine_did_not_do_leaves_the_comparison_whole() -> None:
    """Neither outside methods nor refinements of a macro-model make a mock one of a machine's."""
    numbers = dict.fromkeys(KEYS, 0.1) | {"seconds": 1.0}

    def row(seed: int, *stages: str) -> dict[str, Any]:
        facts = {"seed": seed, "lens_light": False, "snr": 30.0, "structure": 0.0}
        return facts | {"stages": dict.fromkeys(stages, numbers)}

    others = [
        {"seed": k, "method": "outside", "errors": numbers, "seconds": 2.0} for k in range(4)
    ]
    used, refused = row(0, "macro", "rim", "answer"), row(1, "macro", "answer")
    rows = with_references([used, refused, row(2), row(3, "macro", "descent", "answer")], [others])
    assert [each["seed"] for each in complete(rows)] == [0]
    text = format_stages(rows)
    assert "all (1)" in text and "rim" in text and "outside" in text and "was on 2 mocks" in text
    assert [each["seed"] for each in complete(rows[1:])] == [3]
    assert complete(rows[1:3]) == []
    failed = [{**row(9), "stages": {}, "status": "InputError: no arcs found"}]
    for added in (failed, with_references(failed, [others])):
        assert "1 mocks failed and are not in the table" in format_stages([*rows, *added])
    # without a machine none was beyond its ranges
    descended = [row(k, "macro", "descent", "answer") for k in range(3)]
    text = format_stages(descended)
    assert "descent" in text and "ranges" not in text and "failed" not in text
    # an outside method that was run on a part of the mocks cannot be compared on all
    text = format_stages(with_references(descended, [others[:2]]))
    assert "descent" in text and "outside" not in text


def test_a_stage_that_one_mock_lacks_stays_in_the_comparison() -> None:
    stages = dict.fromkeys(("macro", "rim", "answer", "true_mass"), dict.fromkeys(KEYS, 0.1))
    facts = {"lens_light": False, "snr": 30.0, "structure": 0.0}
    rows = [facts | {"seed": seed, "stages": dict(stages)} for seed in range(3)]
    del rows[1]["stages"]["true_mass"]
    found = compare_groups(rows)["all"]
    assert list(found) == list(stages)
    assert found["true_mass"]["misfit"] == (0.1, np.inf)
    assert "true_mass" in format_stages(rows)
    # an outside method that one of them has is no reason to leave it out
    other = {"seed": 1, "method": "outside", "errors": {}, "seconds": 1.0}
    found = compare_groups(with_references(rows, [[other]]))["all"]
    assert list(found) == list(stages)


def test_errors_are_those_that_were_made() -> None:
    mock = small(2)
    product = perfect(mock, scale=1.05)
    maps = dict(product.image_maps)
    maps["MODEL"] = maps["MODEL"] + 2 * mock.observation.sigma
    maps["KAPPA"] = maps["KAPPA"] * 10**0.05
    source = {"SOURCE": product.source_maps["SOURCE"] * 0.9}
    errors = compare(mock, replace(product, image_maps=maps, source_maps=source))
    assert errors["macro_error"] == pytest.approx(0.05)
    assert errors["misfit"] == pytest.approx(4)
    assert errors["kappa"] == pytest.approx(0.05)
    assert errors["source_l2"] == pytest.approx(0.1)


def test_a_product_on_other_pixels_is_a_failure() -> None:
    mock = small(2)
    other = make_mock(2, shape=(SIDE, SIDE + 2))
    row = evaluate_one(mock, 2, lambda observation, lens_light: Answer(perfect(other)))
    assert row["status"].startswith("ValueError")
    assert "pixels" in row["status"]


@pytest.mark.usefixtures("_small")
def test_a_run_writes_everything_and_resumes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    method = Method(fails=(1,), errs=(2,))
    rows = run(options(tmp_path), method)
    assert [row["status"] for row in rows] == ["ok", "FloatingPointError: diverged", "ok"]
    assert "dMACROTE" in capsys.readouterr().out
    assert {path.name for path in tmp_path.iterdir()} == {
        "settings.json",
        "results-1of1.jsonl",
        "maps",
        "summary.txt",
        "summary.csv",
        "worst.png",
    }
    with (tmp_path / "summary.csv").open() as file:
        table = {line["group"]: line for line in csv.DictReader(file)}
    assert float(table["all"]["wrong"]) == pytest.approx(2 / 3, rel=1e-4)
    assert table["all"]["failed"] == "1"
    run(options(tmp_path, n=4), method)
    assert method.calls == 4


def test_the_standard_mocks_are_those_of_their_seeds(tmp_path: Path) -> None:
    rows = run(options(tmp_path, n=1, seed=7), Method(mock=make_mock))
    assert rows[0]["status"] == "ok"
    assert rows[0]["misfit"] == 0


@pytest.mark.usefixtures("_small")
def test_a_line_cut_off_is_done_again(tmp_path: Path) -> None:
    method = Method()
    run(options(tmp_path, n=2), method)
    path = tmp_path / "results-1of1.jsonl"
    path.write_text(path.read_text()[:-30])
    assert len(read_rows(tmp_path)) == 1
    assert len(run(options(tmp_path, n=2), method)) == 2
    assert method.calls == 3


def test_shards_are_the_whole() -> None:
    parts = [EvaluateOptions(n=11, seed=5, shard=f"{i}/3").seeds() for i in (1, 2, 3)]
    assert sorted(chain(*parts)) == list(range(5, 16))


@pytest.mark.usefixtures("_small")
def test_shards_share_a_folder(tmp_path: Path) -> None:
    run(options(tmp_path, shard="1/2"), Method())
    rows = run(options(tmp_path, shard="2/2"), Method())
    assert [row["seed"] for row in rows] == [0, 1, 2]


@pytest.mark.usefixtures("_small")
def test_a_folder_is_of_one_refinement(tmp_path: Path) -> None:
    run(options(tmp_path, n=1), Method())
    settings = json.loads((tmp_path / "settings.json").read_text())
    assert settings.pop("refine") == "none"
    (tmp_path / "settings.json").write_text(json.dumps(settings))  # of before there was any
    run(options(tmp_path, n=1), Method())
    with pytest.raises(InputError, match="an output folder holds results of one kind of mocks"):
        run(options(tmp_path, n=1, refine="descent"), Method())


def test_a_folder_that_is_mistyped_leaves_the_output_as_it_was(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="stmaps: galaxies must be a folder"):
        run(options(tmp_path / "out", n=1, galaxies=str(tmp_path / "stmaps")), Method())
    assert not (tmp_path / "out").exists()


@pytest.mark.usefixtures("_small")
def test_what_differs_is_said(tmp_path: Path) -> None:
    run(options(tmp_path, n=1), Method())
    message = "of mocks, found refine none, asked for refine descent; choose another --output"
    with pytest.raises(InputError, match=message):
        run(options(tmp_path, n=1, refine="descent"), Method())


@pytest.mark.parametrize(
    ("words", "said"),
    [(["--n", "0"], "--n must be 1"), (["--shard", "3"], "--shard: must be i/n")],
)
def test_numbers_that_cannot_be_are_told_in_one_line(
    words: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["evaluate", *words]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert said in line


@pytest.mark.usefixtures("_small")
def test_a_folder_is_of_one_noise(tmp_path: Path) -> None:
    run(options(tmp_path, n=1), Method())
    settings = json.loads((tmp_path / "settings.json").read_text())
    assert settings.pop("noise_length") == 0
    (tmp_path / "settings.json").write_text(json.dumps(settings))
    run(options(tmp_path, n=1), Method())
    with pytest.raises(InputError, match="an output folder holds results of one kind of mocks"):
        run(options(tmp_path, n=1, suite="standard", noise_length=0.5), Method())


@pytest.mark.usefixtures("_small")
def test_a_folder_of_before_the_network_is_of_the_full_search(tmp_path: Path) -> None:
    run(options(tmp_path, n=1, search="full"), Method())
    settings = json.loads((tmp_path / "settings.json").read_text())
    assert settings.pop("search") == "full"
    (tmp_path / "settings.json").write_text(json.dumps(settings))
    run(options(tmp_path, n=1, search="full"), Method())
    with pytest.raises(InputError, match="an output folder holds results of one kind of mocks"):
        run(options(tmp_path, n=1), Method())


def test_the_chain_refines_as_it_is_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def spy(observation: Observation, chain: Any) -> Answer:
        asked.append((chain.stage, chain.refine))
        return Answer(perfect(small(0)))

    monkeypatch.setattr("lensrim.inference.reconstruct.reconstruct", spy)
    monkeypatch.setattr(suites, "make_mock", lambda seed, **_: small(seed))
    run(options(tmp_path, n=1, refine="descent"))
    assert asked == [("macro", "descent")]
    with pytest.raises(InputError, match="--refine weights: needs a machine"):
        run(options(tmp_path / "other", n=1, refine="weights"))
    assert not (tmp_path / "other").exists()


@pytest.mark.usefixtures("_small")
def test_a_folder_is_of_what_its_recipe_said(tmp_path: Path) -> None:
    """A recipe that is moved makes the same mocks, one that is changed in its place others."""
    recipe, out = tmp_path / "mine.toml", tmp_path / "out"
    recipe.write_text("[data]\nhalo_share = 0.2\n")
    run(options(out, n=1, recipe=str(recipe)), Method())
    moved = tmp_path / "elsewhere.toml"
    moved.write_text(recipe.read_text())
    assert len(run(options(out, n=2, recipe=str(moved)), Method())) == 2
    recipe.write_text("[data]\nhalo_share = 0.9\n")
    with pytest.raises(InputError, match=r"found made_of [0-9a-f]+, asked for made_of [0-9a-f]+"):
        run(options(out, n=3, recipe=str(recipe)), Method())


@pytest.mark.usefixtures("_small")
@pytest.mark.parametrize("content", ["", "[1]", "{"])
def test_settings_that_were_cut_off_are_told(tmp_path: Path, content: str) -> None:
    (tmp_path / "settings.json").write_text(content)
    with pytest.raises(InputError, match=r"settings\.json: must say .* choose another --output"):
        run(options(tmp_path, n=1), Method())


@pytest.mark.parametrize("shard", ["0/2", "3/2", "1", "a/b", "1/2/3"])
def test_bad_shards(shard: str) -> None:
    with pytest.raises(InputError, match="--shard"):
        EvaluateOptions(shard=shard).check()


@pytest.mark.parametrize(
    ("wrong", "match"),
    [
        ({"n": 0}, "--n must be"),
        ({"n": 7, "quick": True}, "--quick: stands in place of --n 7"),
        ({"split": "validation"}, "--split: only the standard mocks"),
        ({"noise_length": 0.5}, "--noise-length: only the standard mocks"),
        ({"suite": "standard", "noise_length": -0.5}, "--noise-length must be from 0 to 2 pixels"),
        ({"reference": ("nobody",)}, "--reference: must be of"),
        ({"recipe": "a.toml", "psfs": "b"}, "--recipe: stands in place"),
    ],
)
def test_options_that_contradict(wrong: dict, match: str) -> None:
    with pytest.raises(InputError, match=match):
        EvaluateOptions(**wrong).check()


def test_the_number_of_mocks_is_that_of_the_suite() -> None:
    assert EvaluateOptions().count == 200
    assert EvaluateOptions(suite="standard").count == 1000
    assert EvaluateOptions(suite="standard", quick=True).count == 60
    assert len(EvaluateOptions(quick=True, shard="1/4").seeds()) == 15


def test_other_mocks_need_another_folder(tmp_path: Path) -> None:
    (tmp_path / "settings.json").write_text(json.dumps({"suite": "first-light", "psfs": "x"}))
    with pytest.raises(InputError, match="another --output"):
        run(options(tmp_path), Method())


def test_summary_counts_and_orders() -> None:
    rows = [
        {"seed": i, "snr": 30.0, "lens_light": i % 2 == 0, "status": "ok"}
        | {c.rpartition("_")[0]: float(i) / 1000 for c in COLUMNS if c.endswith("_50")}
        for i in range(11)
    ]
    rows.append({"seed": 11, "snr": 150.0, "lens_light": True, "status": "ValueError: x"})
    summary = summarise(rows)
    assert set(summary) == {"all", "no lens light", "lens light", "S/N 20-50", "S/N 100-200"}
    inside = summary["S/N 20-50"]
    assert inside["n"] == 11
    assert inside["macro_error_50"] == 0.005
    assert inside["macro_error_90"] == 0.009
    assert inside["wrong"] == 0
    assert summary["S/N 100-200"]["wrong"] == 1
    assert np.isinf(summary["S/N 100-200"]["misfit_50"])
    assert format_table(summary).count("\n") > 5
