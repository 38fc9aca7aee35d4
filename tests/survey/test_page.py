"""The page of a survey: what it holds is text, and it needs nothing from elsewhere."""

import json
import re
from html.parser import HTMLParser
from importlib import resources
from pathlib import Path

import pytest
from surveys import survey, write_observation

from lensrim.plotting.thumbnails import PANELS, SIDE
from lensrim.survey.columns import COLUMNS, FLAGS
from lensrim.survey.page import MARK, embedded, page_of
from lensrim.survey.rows import Row

EVIL = (
    "</script><script>alert(1)</script>",
    "<!--<script>",
    "]]>",
    "&lt;b&gt;",
    "\u2028\u2029",
    "\udcff",
    "@@DATA@@",
    '"\\',
    "<img src=x onerror=alert(1)>",
)


class Reader(HTMLParser):
    """Collects the elements of a page, with the texts of its scripts."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.scripts: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag == "script":
            self.scripts.append("")

    def handle_data(self, data: str) -> None:
        if self.elements and self.elements[-1][0] == "script":
            self.scripts[-1] += data


def read(page: str) -> Reader:
    reader = Reader()
    reader.feed(page)
    reader.close()
    return reader


@pytest.mark.parametrize("text", EVIL)
def test_what_is_embedded_comes_out_again_as_text(text: str) -> None:
    row = Row({"name": "lens", "path": text, "status": "failed", "reason": text}, "key")
    page = page_of([row])
    page.encode()
    reader = read(page)
    assert [tag for tag, _ in reader.elements].count("script") == 2
    assert not [tag for tag, _ in reader.elements if tag == "img"]
    content = json.loads(reader.scripts[0])
    names = [column["name"] for column in content["columns"]]
    assert content["rows"][0][names.index("path")] == text
    assert content["rows"][0][names.index("reason")] == text
    assert not re.search("[<>&\u2028\u2029]", embedded({"a": text}))


def test_the_page_of_a_survey(tmp_path: Path) -> None:
    write_observation(tmp_path / "obs" / "<b> & ü.fits", 1)
    survey(tmp_path / "out", str(tmp_path / "obs" / "*.fits"))
    page = (tmp_path / "out" / "index.html").read_text(encoding="utf-8")
    content = json.loads(read(page).scripts[0])
    assert content["flags"] == list(FLAGS)
    columns = {column["name"]: k for k, column in enumerate(content["columns"])}
    assert set(columns) == {column.name for column in COLUMNS} - {"model_sha"}
    assert content["columns"][columns["theta_e"]]["unit"] == "arcsec"
    (row,) = content["rows"]
    assert row[columns["path"]].endswith("<b> & ü.fits")
    name = row[columns["name"]]
    for file in (f"{name}_lensrim.fits", "thumbnails.png"):
        assert (tmp_path / "out" / "products" / name / file).is_file()


def test_the_thumbnails_have_their_column() -> None:
    template = resources.files("lensrim.survey").joinpath("page.html").read_text(encoding="utf-8")
    size = re.search(r"#rows img { width: (\d+)px; height: (\d+)px", template)
    column = re.search(r"grid-template-columns: (\d+)px", template)
    assert size is not None and column is not None
    width, height = map(int, size.groups())
    assert (width, height) == (len(PANELS) * SIDE, SIDE)
    assert width < int(column[1]) < width + 10


def test_the_page_needs_no_network() -> None:
    template = resources.files("lensrim.survey").joinpath("page.html").read_text(encoding="utf-8")
    assert template.count(MARK) == 1
    elsewhere = set(re.findall(r"https?://[^\"' ]*", template))
    assert elsewhere == {"http://www.w3.org/2000/svg"}  # the name of a language, not an address
    policy = re.search(r'Content-Security-Policy"\s+content="([^"]*)"', template)
    assert policy is not None and policy[1].startswith("default-src 'none'")
    for dangerous in ("innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval("):
        assert dangerous not in template


def test_numbers_are_short_and_gaps_are_null() -> None:
    values = {"name": "a", "status": "done", "theta_e": 1.23456789, "n_arc": 12}
    content = json.loads(read(page_of([Row(values, "key")])).scripts[0])
    row = dict(zip([c["name"] for c in content["columns"]], content["rows"][0][:-1], strict=True))
    assert (row["theta_e"], row["n_arc"], row["chi2"]) == (1.23457, 12, None)
