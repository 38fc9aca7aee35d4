"""What is reported, of a small mock that is read from a file and searched in few steps."""

import re
import sys
from dataclasses import dataclass, replace
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from astropy.io import fits
from ways import short

from lensrim import metrics
from lensrim.datasets.priors import SystemPrior
from lensrim.errors import InputError
from lensrim.evaluation.mocks import make_mock
from lensrim.inference import fit as fitting
from lensrim.inference import posterior, report
from lensrim.inference import reconstruct as chain
from lensrim.inference.judgement import CORE
from lensrim.inference.options import ReconstructOptions
from lensrim.inference.reconstruct import Reconstruction, reconstruct
from lensrim.inference.search import search
from lensrim.inference.source_modes import MODES, SourceModes
from lensrim.inference.summary import summary_of
from lensrim.io.read import read_observation

OPTIONS = ReconstructOptions(lens_light="none", z_lens=0.3, z_source=1.5)


class Terminal(StringIO):
    """A stream that claims to be a terminal."""

    def isatty(self) -> bool:
        return True


@dataclass(frozen=True)
class Run:
    """A reconstruction, the file that it read, what was built of what, and what was shown."""

    result: Reconstruction
    path: Path
    built: tuple[tuple[Any, ...], dict[str, Any]]
    shown: str


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    prior = SystemPrior(light_share=0.0, theta_E=(6, 8))
    mock = make_mock(1, shape=(40, 40), oversample=3, prior=prior).observation
    image = mock.image.copy()
    image[:6, :6] += 10 * mock.sigma.min()  # a neighbour
    path = tmp_path_factory.mktemp("lens") / "lens_lensrim.fits"
    keywords = fits.Header({"PIXSCALE": mock.pixel_scale, "MAGZERO": 25.0})
    hdus = [
        fits.PrimaryHDU(),
        fits.ImageHDU(image, keywords, name="SCI"),
        fits.ImageHDU(mock.sigma, name="ERR"),
        fits.ImageHDU(mock.psf, name="PSF"),
    ]
    fits.HDUList(hdus).writeto(path)
    built = []

    def build(*args: Any, **options: Any):
        built.append((args, options))
        return report.build_product(*args, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fitting, "WAYS", short())
        patch.setattr(chain, "build_product", build)
        patch.setattr(sys, "stderr", Terminal())
        result = reconstruct(path, OPTIONS, quiet=False)
        shown = sys.stderr.getvalue()
    return Run(result, path, built[0], shown)


def test_every_stage_is_named_in_its_order(run: Run):
    unused = ("lens light with arcs", "machine", "refinement")
    places = [run.shown.find(f"{name}: ") for name in chain.SHARES if name not in unused]
    assert places == sorted(places)
    assert min(places) >= 0


def test_the_seconds_are_those_of_the_stages(run: Run):
    product = run.result.product
    spent = {name: stage["seconds"] for name, stage in product.stages.items()}
    assert list(spent) == ["lens_light", "macro", "inversion", "report"]
    assert product.value("SECONDS") == pytest.approx(sum(spent.values()), abs=0.01)
    assert f"report {spent['report']:.1f})" in run.result.summary


def test_the_time_of_a_machine_is_that_of_its_stages(run: Run):
    chain_of = dict.fromkeys(("lens light", "search", "source", "report"), 1.0) | {"machine": 2.0}
    product = run.result.product
    stages = {name: s for name, s in product.stages.items() if "seconds" not in s}
    learnt = {"rim": 0.75, "rim_inversion": 0.5, "final": 0.25}
    timed = report.timed(replace(product, stages=stages), chain_of, learnt)
    spent = {name: s["seconds"] for name, s in timed.stages.items() if "seconds" in s}
    assert spent["rim"] == 1.25  # what came before the network is its, too
    assert (spent["rim_inversion"], spent["final"]) == (0.5, 0.25)
    assert timed.value("SECONDS") == 6.0
    refused = report.timed(replace(product, stages=stages), chain_of, {})
    assert refused.stages["machine"]["seconds"] == 2.0


@pytest.mark.parametrize(
    ("mode", "expected"),
    [
        ("auto", [(0, True), (0, False)]),
        ("full", [(0, False), (1, False)]),
    ],
)
def test_what_fits_badly_is_searched_for_again(
    run: Run, monkeypatch: pytest.MonkeyPatch, mode: Any, expected: list
):
    begun = []

    def missed(*args: Any, seed: int, starts: Any, **options: Any):
        begun.append((seed, starts is not None))
        problem, state = search(*args, seed=seed, starts=starts, **options)
        if len(begun) == 1:
            p = state.p.clone()
            p[:, 0] += 0.5
            state = replace(state, p=p, value=state.value - 1e4)
        return problem, state

    monkeypatch.setattr(fitting, "search", missed)
    monkeypatch.setattr(fitting, "WAYS", short())
    monkeypatch.setattr(report, "core_lines", lambda *_: (f"{CORE}said",))
    again = reconstruct(run.path, replace(OPTIONS, search=mode))
    assert begun == expected
    before = run.result.product.value("MACROTE")
    assert again.product.value("MACROTE") == pytest.approx(before, rel=0.02)
    assert "searched twice" in again.summary
    # what is told of the lens galaxy's core is told to the user, too
    assert f"{CORE}said" in again.product.history and f"{CORE}said" in again.summary


def test_neighbours_are_said(run: Run):
    product = run.result.product
    assert product.neighbours is not None
    count = product.value("NNEIGH")
    assert count == product.neighbours.sum() > 30
    said = rf"{count} pixels in 1 region masked as neighbours, about pixel \((\d+), (\d+)\), x y"
    found = re.search(said, run.result.summary)
    assert found
    assert all(abs(int(n) - 3) <= 1 for n in found.groups())
    assert any(re.match(said, line) for line in product.history)


def test_the_observation_is_never_replaced(run: Run):
    before = run.path.read_bytes()
    for target in (run.path, run.path.parent):
        name = replace(run.result.product, name="lens")
        with pytest.raises(InputError, match="the output must not be a file that was read"):
            replace(run.result, product=name).write(target, overwrite=True)
    assert run.path.read_bytes() == before
    assert [p.name for p in run.path.parent.iterdir()] == [run.path.name]


def test_what_is_not_detected_is_said(run: Run, monkeypatch: pytest.MonkeyPatch):
    args, options = run.built
    monkeypatch.setattr(metrics, "effective_theta_E", lambda *_: float("nan"))
    monkeypatch.setattr(posterior, "DETECTED", float("inf"))
    product = report.timed(
        report.build_product(*args, **options),
        dict.fromkeys(("lens light", "search", "source", "report"), 1.0),
        {},
    )
    assert product.value("MAGTOTER") is None
    assert product.value("MAGLENS") == run.result.product.value("MAGLENS")
    summary = summary_of(product, ())
    assert "nan" not in summary
    assert "theta_E       none (no circle in the frame has a mean kappa of 1)" in summary
    assert "magnification none (no part of the source is detected)" in summary
    assert f"magnitudes    source none, lensed {product.value('MAGLENS'):.2f}" in summary
    assert "M_sun" not in summary


def test_the_mass_sheet_is_stated(run: Run):
    product = run.result.product
    sheet = product.stages["macro"]["mass_sheet"]
    assert product.value("SHEET") == pytest.approx(1 - np.exp(-sheet["t"]))
    assert product.value("SHEETSTD") == sheet["std"] > 0
    assert product.value("SLOPE") == sheet["slope"] != product.value("MACROSL")
    line = next(each for each in run.result.summary.splitlines() if each.startswith("  slope"))
    assert f"{sheet['slope']:.2f} +- " in line and f"{product.value('SHEET'):+.3f}" in line


def test_without_a_sheet_the_mass_is_another_and_the_image_the_same(
    run: Run, monkeypatch: pytest.MonkeyPatch
):
    """And a side of the source map that is asked for is that of the product, sheet or not."""
    monkeypatch.setattr(fitting, "WAYS", short())
    side = 0.9 * run.result.product.source_grid.fov[0]
    options = replace(OPTIONS, source_fov=side)
    wanted, bare = (
        reconstruct(run.path, each).product
        for each in (options, replace(options, mass_sheet="none"))
    )
    sheet = wanted.value("SHEET")
    assert abs(sheet) > 1e-3 and bare.value("SHEET") == 0
    without = (wanted.image_maps["KAPPA"] - sheet) / (1 - sheet)
    np.testing.assert_allclose(bare.image_maps["KAPPA"], without, rtol=1e-6)
    for product in (wanted, bare):
        assert product.source_grid.fov[0] == pytest.approx(side)
    assert bare.value("SLOPE") == bare.value("MACROSL") == wanted.value("MACROSL")
    assert bare.value("SHEETSTD") > wanted.value("SHEETSTD")
    for key in ("THETAE", "CHI2ARC"):
        assert wanted.value(key) == pytest.approx(bare.value(key), rel=1e-2)


def test_the_errors_are_stated(run: Run):
    product = run.result.product
    value = product.value
    for key in (
        "THETAEER",
        "MACROTER",
        "GAMMA1ER",
        "GAMMA2ER",
        "SLOPEERR",
        "MACROQER",
        "MAGSRCER",
    ):
        assert value(key) > 0, key
    maps = {"KAPPA": product.image_maps, "SOURCE": product.source_maps}
    for name, held in maps.items():
        assert held[f"{name}_STD"].shape == held[name].shape
    assert product.image_maps["KAPPA_STD"].min() > 0
    area = (product.source_grid.spacing / product.image_grid.spacing) ** 2
    flux = product.source_maps["SOURCE"].sum() * area
    assert value("FLUXSRC") == pytest.approx(flux)
    assert value("MAGSRC") == pytest.approx(25 - 2.5 * np.log10(flux))
    relative = value("FLUXSRCE") / value("FLUXSRC")
    assert value("MAGSRCER") == pytest.approx(2.5 / np.log(10) * relative)
    assert f"{value('THETAE'):.4f} +- {value('THETAEER'):.4f} arcsec" in run.result.summary
    assert not product.samples


def test_samples_are_kept_if_wanted(run: Run):
    args, options = run.built
    product, again = (
        report.build_product(*args, **options | {"samples": 3, "seed": seed}) for seed in (1, 2)
    )
    h, w = product.image_grid.shape
    assert product.image_maps["SAMPLES_KAPPA"].shape == (3, h, w)
    assert product.source_maps["SAMPLES_SOURCE"].shape == (3, *product.source_grid.shape)
    numbers, units = zip(*product.samples.values(), strict=True)
    assert {len(each) for each in numbers} == {3}
    assert product.samples["theta_E"][1] == "arcsec" in units
    assert not np.array_equal(product.samples["q"][0], again.samples["q"][0])
    for number in (-1, 1001):
        with pytest.raises(InputError, match="--samples: must be between 0 and 1000, found"):
            replace(OPTIONS, samples=number).check()


def test_the_place_of_the_lens_is_given(run: Run, root: Path):
    value, grid = run.result.product.value, run.result.product.image_grid
    column, row = grid.to_index(value("MACROX"), value("MACROY"))
    assert (value("LENSX"), value("LENSY")) == pytest.approx((column, row))
    assert value("LENSRA") is None
    whole = read_observation(root / "data" / "ring.fits")
    part = whole.cutout((40, 30), (41, 41)).binned(2)
    found = {
        key: entry[0]
        for key, entry in report.position_of(part, {"center_x": 0.2, "center_y": -0.1}).items()
    }
    sky = whole.wcs.celestial.pixel_to_world(found["LENSX"], found["LENSY"]).icrs
    place = found["LENSRA"], found["LENSDEC"]
    np.testing.assert_allclose(place, (sky.ra.deg, sky.dec.deg), atol=1e-9)


def test_comments_are_read_whole(run: Run):
    for key, (value, comment) in run.result.product.header.items():
        assert isinstance(value, str) or len(comment) <= 47, key


def test_errors_may_be_left_out(run: Run):
    args, options = run.built
    product = report.build_product(*args, **options | {"errors": False})
    whole = run.result.product
    assert {*whole.header} - {*product.header} >= {"MAGTOT", "FLUXSRC", "THETAEER", "ERRDOF"}
    assert {*whole.image_maps} - {*product.image_maps} == {"KAPPA_STD"}
    assert product.value("THETAE") == whole.value("THETAE")
    assert "MAGSRC" not in product.header and product.value("MAGLENS") == whole.value("MAGLENS")
    seconds = dict.fromkeys(("lens light", "search", "source", "report"), 1.0)
    summary = summary_of(report.timed(product, seconds, {}), ())
    assert "nan" not in summary and "magnification" not in summary


def test_what_is_detected_is_given(run: Run):
    value, summary = run.result.product.value, run.result.summary
    assert f"magnification {value('MAGTOT'):.2f} +- {value('MAGTOTER'):.2f}" in summary
    assert f"source {value('MAGSRC'):.2f}, lensed {value('MAGLENS'):.2f}" in summary
    assert value("MAGSRC") > value("MAGLENS")
    assert "M_sun" in summary


def test_the_judgement_is_in_header_json_history_and_summary(run: Run):
    args, options = run.built
    rivals = [(1.0, -50.0), (0.5, -51.0)]
    product = report.timed(
        report.build_product(*args, **{**options, "candidates": rivals}),
        dict.fromkeys(("lens light", "search", "source", "report"), 1.0),
        {},
    )
    found = product.stages["report"]
    reasons, codes = found["reasons"], str(product.value("QREASONS")).split()
    assert product.value("QUALITY") in ("doubtful", "failed")
    assert codes == list(reasons)
    assert "RIVAL" in codes
    assert 0 <= product.value("QSCORE") <= 1
    summary = summary_of(product, ())
    assert f"quality       {product.value('QUALITY')} ({' '.join(codes)})" in summary
    for code, sentence in reasons.items():
        assert f"{product.value('QUALITY')}: {sentence} ({code})" in product.history
    assert found["symptoms"]["pixels"] == product.value("NARC")


def test_the_prior_of_the_source_is_told(run: Run):
    stage = run.result.product.stages["inversion"]
    assert stage["modes"] == len(SourceModes(MODES))
    strength, length = stage["log_strength_length_following"]
    assert np.isfinite(strength) and -4 < length < 0
    result = replace(run.result.answers["macro"], envelope=None)
    args, options = run.built
    scene, outcome = args[1], replace(args[4], answers={"macro": result})
    built = report.build_product(args[0], scene, *args[2:4], outcome, *args[5:], **options)
    assert built.stages["inversion"]["log_strength_length_following"] is None


def test_the_judged_misfit_is_in_the_noise_of_the_fit(run: Run):
    """Without lens light the noise of the fit is the sky's, and nothing else."""
    product = run.result.product
    stage = product.stages["inversion"]
    expected = product.value("CHI2ARC") / product.value("SKYNOISE") ** 2
    np.testing.assert_allclose(stage["chi2arc_fitted_noise"], expected)
