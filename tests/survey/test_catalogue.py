"""The run of a survey: nothing twice, nothing lost, nothing stopped by one bad file."""

import json
import math
import os
import platform
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, replace
from io import StringIO
from pathlib import Path

import numpy as np
import pytest
import torch
from astropy.io import fits
from astropy.table import Table
from matplotlib.figure import Figure
from matplotlib.image import imread
from surveys import (
    TABLES,
    Noted,
    Result,
    assert_same,
    but_for_seconds,
    lenses,
    light,
    product_of,
    quick,
    survey,
    write_observation,
    write_observations,
)

from lensrim.errors import InputError
from lensrim.inference.options import ReconstructOptions
from lensrim.inference.reasons import REASONS
from lensrim.io.observation import Observation
from lensrim.io.product import Product, write_product
from lensrim.io.product_reading import read_product
from lensrim.io.read import read_observation
from lensrim.io.window import Window
from lensrim.plotting.survey import survey_sheet
from lensrim.survey import catalogue
from lensrim.survey.catalogue import run_survey
from lensrim.survey.columns import COLUMNS, FLAGS
from lensrim.survey.lenses import Lens, find_lenses, name_lenses
from lensrim.survey.rows import Row, rows_of
from lensrim.survey.sheet import write_sheet
from lensrim.survey.tables import ecsv_of, table_of
from lensrim.survey.work import DoLens, Reconstruct
from lensrim.survey.workers import Workers


@pytest.fixture(scope="module")
def pattern(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Five good observations and a bad one."""
    folder = tmp_path_factory.mktemp("obs")
    (folder / "bad.fits").write_text("no FITS\nfile", encoding="ascii")
    return write_observations(folder, 5)


@pytest.fixture(scope="module")
def whole(pattern: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Their survey, done at once."""
    folder = tmp_path_factory.mktemp("whole")
    survey(folder, pattern)
    return folder


def test_what_is_written(whole: Path) -> None:
    names = {path.name for path in whole.iterdir()}
    assert names == {"products", "catalogue.fits", "index.html", *TABLES}
    product = whole / "products" / "lens0003"
    assert {path.name for path in product.iterdir()} == {
        "row.json",
        "thumbnails.png",
        *(f"lens0003_lensrim.{end}" for end in ("fits", "json", "reg")),
    }
    assert {path.name for path in (whole / "products" / "bad").iterdir()} == {"row.json"}


@pytest.mark.parametrize("pictures", [True, False])
def test_pictures_are_drawn_where_they_are_wanted(tmp_path: Path, pictures: bool) -> None:
    @dataclass(frozen=True)
    class Drawn:
        product: Product

        def write(self, path: Path, *, overwrite: bool, picture: bool) -> list[Path]:
            figure = Figure((1, 1)) if picture else None
            return write_product(self.product, path, figure=figure, overwrite=overwrite)

    def chain(observation: Observation, options: ReconstructOptions) -> Drawn:
        return Drawn(product_of(observation, options))

    pattern, out = write_observations(tmp_path / "obs", 1), tmp_path / "out"
    survey(out, pattern, reconstruct=chain, pictures=pictures)
    found = {path.name for path in (out / "products" / "lens0000").iterdir()}
    assert ("lens0000_lensrim.png" in found) is pictures
    assert {"lens0000_lensrim.fits", "thumbnails.png"} < found
    script = re.search(r'id="data">(.*?)</script>', (out / "index.html").read_text())
    assert script is not None
    content = json.loads(script[1])
    assert [row[len(content["columns"])] for row in content["rows"]] == [int(pictures)]


def test_the_tables_hold_the_products(whole: Path) -> None:
    ecsv = Table.read(whole / "catalogue.ecsv", format="ascii.ecsv")
    with fits.open(whole / "catalogue.fits", checksum=True) as hdus:
        table, header = Table(hdus["LENSES"].data), hdus["LENSES"].header
    assert ecsv.colnames == table.colnames == [column.name for column in COLUMNS]
    assert ecsv["name"].tolist() == ["bad", *(f"lens000{k}" for k in range(5))]
    assert ecsv["status"].tolist() == ["failed", *["done"] * 5]
    for k, column in enumerate(COLUMNS, start=1):
        assert ecsv[column.name].description == header[f"TCOMM{k}"] == column.description
        assert bool(column.unit) == (f"TUNIT{k}" in header)
        assert str(ecsv[column.name].unit or "") == column.unit
    stored = whole / "products" / "lens0002" / "lens0002_lensrim.fits"
    product = read_product(stored)
    row = ecsv[3]
    assert row["theta_e"] == pytest.approx(product.value("THETAE"))
    assert row["seconds"] == pytest.approx(product.value("SECONDS"), abs=1e-6)
    assert (row["n_x"], row["n_y"], row["pixel_scale"]) == (16, 16, 0.05)
    assert ecsv["theta_e"].mask.tolist() == [True, *[False] * 5]
    assert np.isnan(table["theta_e"][0])
    assert table["n_x"].tolist() == [-1, *[16] * 5]
    assert ecsv.meta["flags"] == {1 << bit: what for bit, what in enumerate(FLAGS)}


def test_ecsv_is_as_astropy_writes_it() -> None:
    texts = ["plain", "two words", 'a "quote"', "", "größe 镜", "line\nbreak", "\udcff", "'"]

    def row(text: str, k: int) -> Row:
        values = {"name": text, "path": text, "theta_e": 0.1 + k, "n_x": k, "chi2": None}
        return Row(values, "key")

    rows = [row(text, k) for k, text in enumerate(texts)]
    expected = StringIO()
    table_of(rows).write(expected, format="ascii.ecsv")
    assert ecsv_of(rows) == expected.getvalue()
    back = Table.read(ecsv_of([*rows, row("#x", 8)]), format="ascii.ecsv")
    assert back["name"].tolist()[4:] == ["größe 镜", "line break", "\\udcff", "'", "#x"]
    assert back["theta_e"].tolist() == [0.1 + k for k in range(9)]


def test_a_failure_is_a_row_with_its_reason(whole: Path) -> None:
    failures = Table.read(whole / "failures.ecsv", format="ascii.ecsv")
    assert failures.colnames == ["name", "path", "reason"]
    assert failures["name"].tolist() == ["bad"]
    assert "not a FITS file" in failures["reason"][0]


def test_equal_rows_give_equal_bytes(whole: Path, tmp_path: Path, pattern: str) -> None:
    shutil.copytree(whole, tmp_path / "copy")
    for name in (*TABLES, "catalogue.fits", "index.html"):
        (tmp_path / "copy" / name).unlink()
    summary = survey(tmp_path / "copy", pattern)
    assert (summary.made, summary.there, len(summary.failures)) == (0, 6, 1)
    for name in (*TABLES, "catalogue.fits", "index.html"):
        assert (tmp_path / "copy" / name).read_bytes() == (whole / name).read_bytes()


def test_what_is_done_is_not_done_again(tmp_path: Path) -> None:
    pattern = write_observations(tmp_path / "obs", 3)
    (tmp_path / "notes").mkdir()
    chain = Noted(tmp_path / "notes", chain=light)
    for _ in range(2):
        survey(tmp_path / "out", pattern, reconstruct=chain)
    assert [chain.begun(f"lens000{k}") for k in range(3)] == [1, 1, 1]
    write_observations(tmp_path / "obs", 4)  # the same anew, and one more
    survey(tmp_path / "out", pattern, reconstruct=chain)
    assert [chain.begun(f"lens000{k}") for k in range(4)] == [1, 1, 1, 1]
    place = tmp_path / "out" / "products"
    (place / "lens0000" / "row.json").unlink()  # killed before its row was written
    (place / "lens0001" / "row.json").write_text('{"schema"')  # damaged
    (place / "lens0002" / "lens0002_lensrim.fits").unlink()  # taken away
    left = place / "lens0000" / ".lensrim-abcd"
    left.mkdir()
    os.utime(left, (time.time() - 1000,) * 2)
    summary = survey(tmp_path / "out", pattern, reconstruct=chain)
    assert [chain.begun(f"lens000{k}") for k in range(4)] == [2, 2, 2, 1]
    assert (summary.made, summary.there) == (3, 1)
    assert not left.exists()


def test_what_another_run_is_writing_stays(tmp_path: Path) -> None:
    pattern = write_observations(tmp_path / "obs", 1)
    place = tmp_path / "out" / "products" / "lens0000"
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    begin = f".lensrim-{platform.node()}."
    later = time.time() + 60
    folders = [place / f"{begin}{os.getpid()}.abc", place / f"{begin}{ended.pid}.abc"]
    for each in folders:
        each.mkdir(parents=True)
        os.utime(each, (later, later))
    survey(tmp_path / "out", pattern, reconstruct=light)
    assert [each.exists() for each in folders] == [True, False]


def test_an_observation_is_never_removed(tmp_path: Path) -> None:
    """Not even one that is where its own product would be."""
    place = tmp_path / "out" / "products" / "a"
    place.mkdir(parents=True)
    file = place / "a_lensrim.fits"
    write_observation(file, 0)
    before = file.read_bytes()
    listed = tmp_path / "lenses.csv"
    listed.write_text(f"path,name\n{file},a\n")
    found = find_lenses([str(listed)]).lenses
    (failure,) = run_survey(tmp_path / "out", found, reconstruct=light).failures
    assert "the output must not be a file that is read" in str(failure.values["reason"])
    assert file.read_bytes() == before


def test_the_last_table_holds_what_others_did_meanwhile(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where all rows were there before, and one is done anew."""
    pattern = write_observations(tmp_path / "obs", 2)

    def failing(observation, options):
        raise InputError("no")

    survey(tmp_path / "out", pattern, reconstruct=failing)
    write, calls = catalogue.write_survey, []

    def slow(folder, asked):
        rows = rows_of(folder, asked)
        if not calls:  # while this one writes, another does both lenses
            calls.append(1)
            again = name_lenses(asked)
            for lens in again:
                DoLens(folder, light)(lens)
            catalogue.write_tables(folder, rows)
        else:
            write(folder, asked)

    monkeypatch.setattr(catalogue, "write_survey", slow)
    catalogue.finish_survey(tmp_path / "out", lenses(pattern))
    table = Table.read(tmp_path / "out" / "catalogue.ecsv", format="ascii.ecsv")
    assert table["status"].tolist() == ["done", "done"]


def test_products_are_not_replaced_unasked(tmp_path: Path) -> None:
    pattern = write_observations(tmp_path / "obs", 2)
    survey(tmp_path / "out", pattern, reconstruct=light)
    before = (tmp_path / "out" / "catalogue.fits").read_bytes()
    other = lenses(pattern, seed=3)
    with pytest.raises(InputError, match=r"found 2 that were made with other options.*--overwri"):
        run_survey(tmp_path / "out", other, reconstruct=light)
    write_observation(tmp_path / "obs" / "lens0000.fits", 99)
    with pytest.raises(
        InputError, match=r"found 1 .* files that have changed, such as 'lens0000'"
    ):
        survey(tmp_path / "out", pattern, reconstruct=light)
    assert (tmp_path / "out" / "catalogue.fits").read_bytes() == before
    summary = survey(tmp_path / "out", pattern, overwrite=True, reconstruct=light)
    assert (summary.made, summary.there) == (1, 1)
    summary = run_survey(tmp_path / "out", other, reconstruct=light, overwrite=True)
    assert (summary.made, summary.there) == (2, 0)
    assert run_survey(tmp_path / "out", other, reconstruct=light, overwrite=True).made == 0


def test_an_old_row_does_not_vouch_for_a_new_product(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pattern = write_observations(tmp_path / "obs", 1)
    survey(tmp_path / "out", pattern, reconstruct=light)
    with monkeypatch.context() as patch:  # killed when the product is there, and not yet its row
        patch.setattr("lensrim.survey.work._write_thumbnails", interrupted)
        other = lenses(pattern, seed=3)
        with pytest.raises(KeyboardInterrupt, match="now"):
            run_survey(tmp_path / "out", other, reconstruct=light, overwrite=True)
    assert survey(tmp_path / "out", pattern, reconstruct=light).made == 1


def interrupted(path: Path, product: object) -> Path:
    raise KeyboardInterrupt(f"now, before {path}")


def test_failures_are_kept_until_asked_or_mended(tmp_path: Path) -> None:
    path = tmp_path / "a.fits"
    path.write_text("no FITS file")
    assert survey(tmp_path / "out", str(path)).made == 1
    assert survey(tmp_path / "out", str(path)).made == 0
    assert survey(tmp_path / "out", str(path), retry=True).made == 1
    write_observation(path, 0)
    summary = survey(tmp_path / "out", str(path))  # it has changed, and no product is in the way
    assert (summary.made, summary.failures) == (1, ())
    assert len(Table.read(tmp_path / "out" / "failures.ecsv", format="ascii.ecsv")) == 0


def test_a_failure_leaves_no_older_product(tmp_path: Path) -> None:
    path = write_observation(tmp_path / "a.fits", 0)
    survey(tmp_path / "out", str(path))
    path.write_text("no FITS file")
    (tmp_path / "out" / "products" / "a" / "notes.txt").touch()
    assert len(survey(tmp_path / "out", str(path), overwrite=True).failures) == 1
    left = {file.name for file in (tmp_path / "out" / "products" / "a").iterdir()}
    assert left == {"row.json", "notes.txt"}


def test_errors_of_any_kind_are_rows(tmp_path: Path) -> None:
    def chain(observation, options):
        if observation.name == "lens0001":
            raise ZeroDivisionError("of the chain\nitself")
        return quick(observation, options)

    pattern = write_observations(tmp_path / "obs", 3)
    (tmp_path / "folder.fits").mkdir()
    given = [pattern, str(tmp_path / "folder.fits"), "missing.fits", "x" * 5000]
    found = (*lenses(given), Lens("a.fits", name="lines", problem="bin: must be an integer"))
    told = []
    summary = run_survey(
        tmp_path / "out", name_lenses(found), reconstruct=chain, report=told.append
    )
    assert (summary.made, len(summary.failures)) == (7, 5)
    reasons = {row.values["name"]: row.values["reason"] for row in summary.failures}
    own = "error of lensrim itself: ZeroDivisionError: of the chain itself"
    assert reasons["lens0001"] == own
    assert "must hold data.fits" in reasons["folder"]
    assert "no such file" in reasons["missing"]
    assert reasons["lines"] == "bin: must be an integer"
    assert [outcome.reason for outcome in told if outcome.name == "lens0001"] == [own]
    row = json.loads((tmp_path / "out" / "products" / "lens0001" / "row.json").read_text())
    assert "in chain" in row["detail"]


@pytest.mark.parametrize("told", [False, True])
def test_a_lens_too_large_for_the_gpu_is_done_on_the_cpu(
    told: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    used = []

    def chain(observation, options):
        used.append((observation.name, options.device))
        if observation.name == "lens0001" and options.device != "cpu":
            full = torch.cuda.OutOfMemoryError("2 GB are asked for")
            if told:
                raise InputError("--device cuda: too little memory") from full
            raise full
        product = product_of(observation, options)
        return Result(replace(product, history=observation.notes))

    monkeypatch.setattr("lensrim.inference.options.check_cuda", lambda: None)
    asked = lenses(write_observations(tmp_path / "obs", 2), device="cuda")
    assert run_survey(tmp_path / "out", asked, reconstruct=chain).failures == ()
    assert used == [("lens0000", "cuda"), ("lens0001", "cuda"), ("lens0001", "cpu")]
    flags = Table.read(tmp_path / "out" / "catalogue.ecsv", format="ascii.ecsv")["flags"]
    assert flags.tolist() == [0, 1 << list(FLAGS).index("done on the CPU for want of memory")]


def test_a_gpu_without_any_memory_is_none_at_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object):
        raise torch.cuda.OutOfMemoryError("CUDA out of memory")

    used = []

    def chain(observation, options):
        used.append(options.device)
        return Result(product_of(observation, options))

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr("lensrim.inference.devices.torch.zeros", full)
    asked = lenses(write_observations(tmp_path / "obs", 1), device="cuda")
    assert run_survey(tmp_path / "out", asked, reconstruct=chain).failures == ()
    assert used == ["cpu"]


def test_an_output_that_cannot_be_written_ends_the_run(tmp_path: Path) -> None:
    class Full:
        product = None

        def __init__(self, observation):
            self.product = product_of(observation, lenses("a.fits")[0].fit)

        def write(self, path: Path, *, overwrite: bool, picture: bool) -> list[Path]:
            raise InputError(f"{path}: the product cannot be written (no space); make room")

    pattern = write_observations(tmp_path / "obs", 2)
    with pytest.raises(InputError, match="make room"):
        survey(tmp_path / "out", pattern, reconstruct=lambda observation, _: Full(observation))
    assert not list((tmp_path / "out").rglob("row.json"))  # nothing failed of the lens
    assert survey(tmp_path / "out", pattern).made == 2


@pytest.mark.parametrize("output", ["file", "file/out"])
def test_an_output_that_is_a_file_is_told(output: str, tmp_path: Path, pattern: str) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match=r"file(/out)?: the output must be a folder, found a fi"):
        survey(tmp_path / output, pattern)


def test_pieces_give_the_same_as_all_at_once(whole: Path, pattern: str, tmp_path: Path) -> None:
    for part in ((2, 3), (3, 3), (1, 3)):
        survey(tmp_path, pattern, part=part)
    assert_same(whole, tmp_path)
    assert survey(tmp_path, pattern, part=(4, 9)).total == 1


def test_the_table_holds_what_was_asked_for(whole: Path, pattern: str, tmp_path: Path) -> None:
    shutil.copytree(whole, tmp_path, dirs_exist_ok=True)
    survey(tmp_path, pattern.replace("*", "lens000[01]"))
    table = Table.read(tmp_path / "catalogue.ecsv", format="ascii.ecsv")
    assert table["name"].tolist() == ["lens0000", "lens0001"]
    assert (tmp_path / "products" / "lens0004").is_dir()


def test_lenses_of_a_mosaic(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_observation(tmp_path / "mosaic.fits", 0, side=90)
    whole = read_observation(path)
    table = tmp_path / "lenses.csv"
    table.write_text(
        "path,name,center_x,center_y\nmosaic.fits,a,30,60\nmosaic.fits,b,70,20\n"
        "mosaic.fits,c,95,20\nmosaic.fits,d,,\n"
    )
    monkeypatch.setattr("lensrim.io.fits.LARGEST", 5000)
    monkeypatch.setattr("lensrim.io.read.Window", lambda center: Window(center, 31))
    seen = {}

    def chain(observation: Observation, options: ReconstructOptions) -> Result:
        seen[options.center] = observation
        return quick(observation, options)

    summary = run_survey(tmp_path / "out", lenses(str(table)), reconstruct=chain)
    reasons = {row.values["name"]: row.values["reason"] for row in summary.failures}
    assert "must lie in the frame of 90 x 90 pixels, found 95 20" in reasons["c"]
    assert "cut the lens out of it first, or give its pixel by --center" in reasons["d"]
    assert len(reasons) == 2
    for center, observation in seen.items():
        expected = whole.cutout(center, (31, 31))
        assert observation.corner == expected.corner
        assert np.array_equal(observation.image, expected.image)


def test_words_of_all_languages(tmp_path: Path) -> None:
    write_observation(tmp_path / "größe α 镜.fits", 0)
    assert survey(tmp_path / "out", str(tmp_path / "*.fits")).failures == ()
    table = Table.read(tmp_path / "out" / "catalogue.ecsv", format="ascii.ecsv")
    assert table["name"].tolist() == ["größe α 镜"]
    stored = Table.read(tmp_path / "out" / "catalogue.fits")
    assert stored["name"].tolist() == ["gr\\xf6\\xdfe \\u03b1 \\u955c"]


def test_every_doubt_has_its_flag(pattern: str) -> None:
    (lens,) = lenses(pattern.replace("*", "lens0000"))
    product = product_of(read_observation(lens.path), lens.fit)

    def set_by(*history: str, **header: object) -> list[str]:
        header = {key: (value, "") for key, value in header.items()}
        seen = replace(product, history=history, header=product.header | header)
        return [name for name, is_set in FLAGS.items() if is_set(lens, seen)]

    assert set_by() == []
    assert set_by(QREASONS="none") == []
    codes = [*(reason.code for reason in REASONS), "SCORE"]
    flags = [flag for code in codes for flag in set_by(QREASONS=code)]
    assert len({*flags}) == len(flags) == len(codes)
    assert set_by(QREASONS=" ".join(codes)) == [name for name in FLAGS if name in flags]
    assert set_by("searched twice: chi2 of the arcs 1.3, then 1.0") == ["searched twice"]
    # a refinement of the macro-model's answer is not a machine's
    assert set_by(QREASONS="RANGE", STAGE="descent") == ["machine not used"]
    assert set_by(NNEIGH=4) == ["neighbours masked"]


def test_published_radii_are_put_beside_ours(pattern: str, tmp_path: Path) -> None:
    table = tmp_path / "lenses.csv"
    here = Path(pattern).parent
    table.write_text(
        "path,published_theta_e\n"
        f"{here}/lens0000.fits,1.25\n{here}/lens0001.fits,\n{here}/lens0002.fits,wide\n"
        f"{here}/lens0003.fits,-1\n"
    )
    found = lenses(str(table))
    assert [lens.published for lens in found] == [1.25, None, None, None]
    for lens, value in zip(found[2:], ("'wide'", "'-1'"), strict=True):
        assert f"published_theta_e: must be a positive number, found {value}" in lens.problem
    (plain,) = lenses(str(here / "lens0000.fits"))
    assert replace(found[0], published=2.0).key == found[0].key == plain.key

    def twice(observation: Observation, options: ReconstructOptions) -> Result:
        return Result(product_of(observation, options, MACROTE=(1.5, "")))

    survey(tmp_path / "out", str(table), reconstruct=twice)
    done = Table.read(tmp_path / "out" / "catalogue.ecsv", format="ascii.ecsv")
    first, second, *others = done
    assert (first["published_theta_e"], first["theta_e_change"]) == (1.25, pytest.approx(0.2))
    assert second["theta_e_change"] is np.ma.masked
    assert [line["status"] for line in others] == ["failed", "failed"]


def test_a_sheet_shows_the_most_doubtful_first(
    whole: Path, monkeypatch: pytest.MonkeyPatch, pattern: str
) -> None:
    rows = rows_of(whole, lenses(pattern))
    given = []

    def drawn(pictures: list, titles: list[str], qualities: list[str]) -> Figure:
        given.append((pictures, titles, qualities))
        return survey_sheet(pictures, titles, qualities)

    monkeypatch.setattr("lensrim.plotting.survey.survey_sheet", drawn)
    scored = [
        replace(row, values={**row.values, "score": k / 10, "reasons": "CHI2"})
        for k, row in enumerate(rows)
    ]
    path = write_sheet(whole, scored)
    assert path is not None
    assert imread(path).shape[1] > 1000
    path.unlink()
    ((pictures, titles, qualities),) = given
    assert [title.split()[0] for title in titles] == [f"lens000{k}" for k in (4, 3, 2, 1, 0)]
    assert len(pictures) == len(qualities) == 5
    assert titles[0].endswith(f"{qualities[0]}: CHI2")
    assert write_sheet(whole, [row for row in rows if row.failed]) is None


@pytest.mark.slow
def test_a_killed_worker_is_replaced_and_its_lens_done(tmp_path: Path) -> None:
    pattern = write_observations(tmp_path / "obs", 7)
    (tmp_path / "notes").mkdir()
    chain = Noted(tmp_path / "notes", 0.05, deadly=("lens0002",))
    summary = survey(tmp_path / "out", pattern, reconstruct=chain, crew=Workers(3))
    assert (summary.made, summary.failures) == (7, ())
    assert chain.begun("lens0002") == 2
    assert sum(chain.begun(f"lens{k:04d}") for k in range(7)) == 8
    survey(tmp_path / "alone", pattern)
    assert_same(tmp_path / "out", tmp_path / "alone")


@pytest.mark.slow
def test_a_lens_that_kills_its_process_is_a_failure(tmp_path: Path) -> None:
    pattern = write_observations(tmp_path / "obs", 3)
    (tmp_path / "notes").mkdir()
    chain = Noted(tmp_path / "notes", deadly=("lens0001",), once=False)
    summary = survey(tmp_path / "out", pattern, reconstruct=chain, crew=Workers(1))
    assert (summary.made, chain.begun("lens0001")) == (3, 3)
    (row,) = summary.failures
    assert row.values["reason"] == "its process died 3 times, the last by SIGKILL"


def by_itself(out: Path, notes: Path, pattern: str, seconds: float, workers: int):
    """Starts a survey in a process of its own."""
    script = str(Path(__file__).parent.parent / "surveys.py")
    words = (out, notes, pattern, seconds, workers)
    path = os.pathsep.join(filter(None, sys.path))
    environment = os.environ | {"PYTHONPATH": path, "OMP_NUM_THREADS": "1"}
    return subprocess.Popen([sys.executable, script, *map(str, words)], env=environment)


@pytest.mark.slow
def test_the_workers_of_a_killed_run_end_with_it(tmp_path: Path) -> None:
    pattern = write_observations(tmp_path / "obs", 2)
    (tmp_path / "notes").mkdir()
    chain = Noted(tmp_path / "notes")
    process = by_itself(tmp_path / "out", tmp_path / "notes", pattern, 600.0, 2)
    while len(chain.processes()) < 2:
        assert process.poll() is None
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.wait()
    end = time.monotonic() + 60
    for worker in map(int, chain.processes()):
        while is_alive(worker):
            assert time.monotonic() < end
            time.sleep(0.05)


def is_alive(process: int) -> bool:
    """Whether a process is at work; one that nobody has buried is not."""
    try:
        state = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


KILLS = 20


@pytest.mark.slow
def test_killed_at_any_moment_it_goes_on(tmp_path: Path) -> None:
    """Kills the whole run at random moments, and lets the last one come to its end."""
    pattern = write_observations(tmp_path / "obs", 200)
    (tmp_path / "obs" / "bad.fits").write_text("no FITS file")
    (tmp_path / "notes").mkdir()
    chain, out = Noted(tmp_path / "notes", 0.01), tmp_path / "out"
    rng, kills, done_before = random.Random(1), 0, 0
    while True:
        process = by_itself(out, tmp_path / "notes", pattern, 0.01, 0)
        begun = len(list((tmp_path / "notes").iterdir()))
        while kills < KILLS and process.poll() is None:
            if len(list((tmp_path / "notes").iterdir())) > begun:  # it is at work
                time.sleep(rng.uniform(0, 0.15))
                process.send_signal(signal.SIGKILL)
                break
            time.sleep(0.01)
        status = process.wait()
        rows = list(out.glob("products/*/row.json"))
        assert len(rows) >= done_before  # nothing is lost
        done_before = len(rows)
        assert all(json.loads(path.read_text())["schema"] for path in rows)
        if status == 0:
            break
        assert status == -signal.SIGKILL
        kills += 1
    assert kills == KILLS
    survey(tmp_path / "at once", pattern)
    assert_same(tmp_path / "at once", out)
    repeated = sum(chain.begun(f"lens{k:04d}") for k in range(200)) - 200
    assert repeated <= kills  # the lens that was in work, no other
    hidden = [path for path in out.rglob(".*") if not re.match(r"\.(index|cata|fail)", path.name)]
    assert hidden == []


@pytest.mark.slow
def test_a_thousand_lenses_leave_memory_and_files_as_they_are(tmp_path: Path) -> None:
    counts = _memory_of_a_run(tmp_path, 1000, quick)
    early, late = np.median(counts[200:400], axis=0), np.median(counts[-200:], axis=0)
    assert late[0] < 1.05 * early[0]
    assert late[1] == early[1]


def test_thirty_lenses_leave_no_file_open(tmp_path: Path) -> None:
    counts = _memory_of_a_run(tmp_path, 30, light)
    assert {files for _, files in counts[5:]} == {counts[5][1]}


def _memory_of_a_run(folder: Path, count: int, chain: Reconstruct) -> list[tuple[int, int]]:
    """Returns resident memory [kB] and open files after each lens of a run."""
    if not Path("/proc/self/statm").exists():
        pytest.skip("needs /proc")
    pattern = write_observations(folder / "obs", count)
    found: list[tuple[int, int]] = []

    def look(_: object) -> None:
        resident = int(Path("/proc/self/statm").read_text().split()[1]) * 4
        found.append((resident, len(os.listdir("/proc/self/fd"))))

    survey(folder / "out", pattern, reconstruct=chain, report=look)
    return found


@pytest.mark.parametrize(
    "change",
    [
        {"theta_e": "wide"},
        {"theta_e": math.nan},
        {"flags": 0.5},
        {"n_x": True},
        {"reason": 3},
        {"n_x": 2**70},
        {"theta_e": 10**400},
    ],
)
def test_a_row_that_was_tampered_with_is_made_anew(change: dict, tmp_path: Path) -> None:
    pattern = write_observations(tmp_path / "obs", 2)
    survey(tmp_path / "out", pattern, reconstruct=light)
    table = tmp_path / "out" / "catalogue.ecsv"
    before = but_for_seconds(table)
    row = tmp_path / "out" / "products" / "lens0000" / "row.json"
    content = json.loads(row.read_text())
    content["values"] |= change
    row.write_text(json.dumps(content))
    assert survey(tmp_path / "out", pattern, reconstruct=light).made == 1
    assert but_for_seconds(table) == before


def test_an_empty_file_is_no_product(tmp_path: Path) -> None:
    """As the power may leave it, that fails."""
    pattern = write_observations(tmp_path / "obs", 2)
    survey(tmp_path / "out", pattern, reconstruct=light)
    os.truncate(tmp_path / "out" / "products" / "lens0001" / "lens0001_lensrim.fits", 0)
    assert survey(tmp_path / "out", pattern, reconstruct=light).made == 1
