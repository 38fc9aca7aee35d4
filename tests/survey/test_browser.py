"""The page in a browser without a window, where there is one: drawn, sorted, filtered, escaped."""

import json
import os
import re
import shutil
import subprocess
from html import unescape
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lensrim.survey.columns import FLAGS
from lensrim.survey.page import page_of
from lensrim.survey.rows import Row

BROWSER = next(
    filter(None, map(shutil.which, ("chromium-headless-shell", "chromium", "google-chrome"))), None
)
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(BROWSER is None, reason="needs Chromium"),
]
EVIL = (
    "<img src=x onerror=\"document.title='broken in'\"></script><script>document.title=1</script>"
)
COUNT = 10_000

ACTS = """
const shown = () => [...document.querySelectorAll("#rows .row")];
const names = () => shown().sort((a, b) => a.dataset.k - b.dataset.k)
  .map(row => row.querySelector(".name div").textContent);
const type = (id, text) => {
  byId(id).value = text;
  byId(id).dispatchEvent(new Event("input", { bubbles: true }));
  return { first: names()[0], count: byId("count").textContent, wrong: byId("wrong").textContent };
};
const click = label => [...document.querySelectorAll("#head button")]
  .find(button => button.textContent.startsWith(label)).click();
const timed = act => { const start = performance.now(); act(); return performance.now() - start; };
const report = { title: document.title, elements: shown().length, start: names().slice(0, 3) };
report.images = document.querySelectorAll("#rows img").length;
report.evil = type("text", "evil");
report.reason = document.querySelector(".reason").textContent;
report.text = type("text", "lens0012");
report.none = type("text", "none");
report.doubt = type("text", "peak");
report.why = document.querySelector(".why").textContent;
report.flags = document.querySelector("#rows .doubtful").title;
type("text", "");
report.where = type("where", "theta_e > 2, flags = 0");
report.wrong = type("where", "theta > 2");
report.half = type("where", "theta_e >");
type("where", "");
report.sorting = timed(() => click("χ²"));
report.lowest = names()[0];
click("χ²");
report.highest = names()[0];
const press = () => document.querySelector("#charts svg").querySelectorAll("rect")[2]
  .dispatchEvent(new Event("click"));
press();
report.bin = byId("count").textContent;
press();
report.unbinned = byId("count").textContent;
report.undone = data.rows.filter(row => verdict(row) === "undone").map(row => get(row, "name"));
report.scrolling = 0;
for (let k = 0; k < 200; k++) {
  byId("table").scrollTop = (k * 7919) % 10000 * HEIGHT;
  report.scrolling = Math.max(report.scrolling, timed(draw));
}
report.afterwards = shown().length;
shown().find(row => row.querySelector("img")).querySelector("img").click();
report.open = byId("one").open && byId("one").querySelectorAll("dd").length;
document.body.replaceChildren(make("pre", JSON.stringify(report)));
"""


@pytest.fixture(scope="module")
def rows() -> list[Row]:
    rng = np.random.default_rng(0)
    made = []
    for k in range(COUNT - 1):
        values: dict[str, Any] = {"name": f"lens{k:04d}", "path": f"obs/lens{k:04d}.fits"}
        values |= {"status": "done", "reason": "", "flags": k % 3}
        values |= {"quality": "good", "reasons": "none"}
        if k == 7:
            values |= {"quality": "doubtful", "reasons": "CHI2 PEAK"}
        values |= {"theta_e": float(rng.uniform(0.5, 2.5)), "chi2_arc": float(rng.uniform(0.8, 2))}
        made.append(Row(values, "key"))
    made.append(Row({"name": "evil", "path": "evil", "status": "failed", "reason": EVIL}, "key"))
    return made


@pytest.fixture(scope="module")
def report(rows: list[Row], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What the page shows when a script acts like a person."""
    page = page_of(rows)
    end = page.rindex("</script>")
    path = tmp_path_factory.mktemp("page") / "index.html"
    path.write_text(page[:end] + ACTS + page[end:], encoding="utf-8")
    told = json.loads(unescape(re.search(r"<pre>(.*?)</pre>", dom_of(path), re.DOTALL)[1]))
    print(f"sorted in {told['sorting']:.0f} ms, drawn in {told['scrolling']:.0f} ms at most")
    return told


def dom_of(path: Path) -> str:
    """Returns the document as it is after its scripts."""
    root = ["--no-sandbox"] if os.name == "posix" and os.geteuid() == 0 else []
    command = [BROWSER or "", "--headless", *root, "--disable-gpu", "--window-size=1500,1000"]
    return subprocess.run(
        [*command, "--dump-dom", path.as_uri()], capture_output=True, text=True, timeout=120
    ).stdout


def test_only_what_is_seen_is_drawn(report: dict[str, Any]) -> None:
    assert report["start"] == ["lens0000", "lens0001", "lens0002"]
    assert 5 < report["elements"] < 40
    assert report["images"] == report["elements"]
    assert 5 < report["afterwards"] < 40
    assert report["open"] >= 6


def test_what_a_header_says_is_not_executed(report: dict[str, Any]) -> None:
    assert report["title"] == "lensrim survey"
    assert report["reason"] == EVIL


def test_what_has_no_answer_is_not_a_failed_one(report: dict[str, Any]) -> None:
    assert report["undone"] == ["evil"]


def test_filters(report: dict[str, Any], rows: list[Row]) -> None:
    assert report["evil"]["count"].startswith(f"1 of {COUNT} ")
    assert report["text"]["first"] == "lens0012"
    assert report["none"]["count"].startswith(f"0 of {COUNT} ")  # "none" is no reason
    assert report["doubt"]["first"] == "lens0007"
    assert report["why"] == "CHI2 PEAK"
    assert report["flags"] == next(iter(FLAGS))
    wanted = [
        row.values["name"]
        for row in rows
        if row.values.get("theta_e", 0) > 2 and row.values.get("flags") == 0
    ]
    assert report["where"]["count"].startswith(f"{len(wanted)} of ")
    assert report["where"]["first"] == wanted[0]
    assert report["wrong"]["wrong"] == "no column theta"
    assert "a condition is column, sign, value" in report["half"]["wrong"]
    assert int(report["bin"].split()[0]) < COUNT / 5
    assert report["unbinned"].startswith(f"{COUNT} of ")


def test_sorting(report: dict[str, Any], rows: list[Row]) -> None:
    done = [row.values for row in rows if not row.failed]
    by_chi2 = sorted(done, key=lambda values: float(f"{values['chi2_arc']:.6g}"))
    assert report["lowest"] == by_chi2[0]["name"]
    assert report["highest"] == by_chi2[-1]["name"]
