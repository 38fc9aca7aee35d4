"""Tables of lenses with anything in their cells: lines, each right or with its reason."""

import string
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from astropy.table import Table
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lensrim.errors import InputError
from lensrim.survey.lenses import Lens, find_lenses
from lensrim.survey.listing import _KINDS, PUBLISHED

COLUMNS = ["path", "name", "center_x", "center_y", PUBLISHED, "colour", *_KINDS]
WORDS = ["", "nan", "inf", "-1e400", "true", "2", "0.5", "sky", "rim", "../../x", "0x10", "1_0"]
CELLS = st.one_of(
    st.sampled_from(WORDS),
    st.text(st.characters(exclude_categories=["Cs"]), max_size=12),
    st.integers(-(10**20), 10**20).map(str),
    st.floats().map(repr),
)
NUMBERS = {
    "i8": st.integers(-(2**63), 2**63 - 1),
    "f8": st.floats(),
    "f4": st.floats(width=32),
    "bool": st.booleans(),
    "U8": st.text(string.printable, max_size=8),
    "2f8": st.tuples(st.floats(), st.floats()),
}
RELAXED = settings(
    max_examples=60,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)


def told(call: Callable[[], object]) -> str:
    """What a call raises, and nothing where it does not."""
    try:
        call()
    except InputError as error:
        return str(error)
    return ""


def check(path: Path) -> bool:
    """Whether it is read: as many lenses as lines, those of impossible cells with a reason."""
    found: list[Lens] = []
    if problem := told(lambda: found.extend(find_lenses([str(path)]).lenses)):
        assert "\n" not in problem
        return False
    assert len({lens.name.casefold() for lens in found}) == len(found) > 0
    for lens in found:
        assert lens.name.isprintable()
        assert "/" not in lens.name
        assert "\n" not in lens.problem + told(lens.fit.check)  # it fails with this reason
        assert len(lens.key) == len(lens.identity)
        assert isinstance(lens.files(), list)
    return True


@st.composite
def texts(draw: st.DrawFn) -> str:
    """A table of text, its cells quoted or not."""
    names = ["path", *draw(st.lists(st.sampled_from(COLUMNS[1:]), max_size=4, unique=True))]
    quote = draw(st.booleans())

    def cell(text: str) -> str:
        return '"' + text.replace('"', '""') + '"' if quote else text

    count = draw(st.integers(1, 3))
    rows = [[cell(draw(CELLS)) for _ in names] for _ in range(count)]
    return "\n".join(",".join(row) for row in [list(map(cell, names)), *rows])


def test_any_text(tmp_path: Path) -> None:
    read = []

    @RELAXED
    @given(text=texts())
    def each(text: str) -> None:
        path = tmp_path / "lenses.csv"
        path.write_text(text, encoding="utf-8")
        read.append(check(path))

    each()
    assert sum(read) > 20


@pytest.mark.parametrize(
    "cells", [("bin", "1.5"), ("z_lens", "far"), ("stage", "last"), ("strict", "maybe")]
)
def test_an_impossible_cell_has_a_reason(tmp_path: Path, cells: tuple[str, str]) -> None:
    path = tmp_path / "lenses.csv"
    path.write_text(f"path,{cells[0]}\na.fits,{cells[1]}\nb.fits,\n")
    bad, good = find_lenses([str(path)]).lenses
    assert cells[0] in bad.problem
    assert not good.problem


@pytest.mark.parametrize("column", ["center_x", "z_lens", PUBLISHED])
def test_many_numbers_in_a_cell_have_a_reason_of_one_line(tmp_path: Path, column: str) -> None:
    """Also where some are masked: the text of such arrays has many lines."""
    table = Table({"path": ["a.fits", "b.fits"]})
    table[column] = np.stack([np.arange(2000.0), np.full(2000, np.nan)])
    table.write(path := tmp_path / "lenses.fits")
    for lens in find_lenses([str(path)]).lenses:
        assert "found" in lens.problem and lens.problem.isprintable()
        assert len(lens.problem) < 200


@RELAXED
@given(content=st.binary(max_size=200))
def test_any_bytes(tmp_path: Path, content: bytes) -> None:
    for name in ("lenses.csv", "lenses.ecsv"):
        (tmp_path / name).write_bytes(b"path,z_lens\n" + content)
        check(tmp_path / name)


@st.composite
def tables(draw: st.DrawFn) -> Table:
    """A table of typed columns, one of them the paths."""
    rows = draw(st.integers(1, 3))
    table = Table()
    table["path"] = [f"{i}.fits" for i in range(rows)]
    for name in draw(st.lists(st.sampled_from(COLUMNS[1:]), max_size=4, unique=True)):
        kind = draw(st.sampled_from(sorted(NUMBERS)))
        cells = draw(st.lists(NUMBERS[kind], min_size=rows, max_size=rows))
        table[name] = list(map(list, cells)) if kind == "2f8" else cells
    return table


@pytest.mark.parametrize("name", ["lenses.fits", "lenses.ecsv"])
def test_any_columns(tmp_path: Path, name: str) -> None:
    read = []

    @RELAXED
    @given(table=tables())
    def each(table: Table) -> None:
        path = tmp_path / name
        try:
            table.write(path, overwrite=True)
        except (ValueError, TypeError, UnicodeEncodeError):  # FITS holds no such text
            return
        read.append(check(path))

    each()
    assert sum(read) > 20
