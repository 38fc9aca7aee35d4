"""The notebooks: stored as they ran, small, of public names, and two of them run again.

All of them are run by ``LENSRIM_FAST=1 pytest --nbmake notebooks`` (extra ``notebooks``).
"""

import ast
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
QUICK = ("02_simulate", "05_bring_your_own_problem")
"""Those that take seconds in the fast mode, without extras."""

every_notebook = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)


def cells(path: Path, kind: str) -> list[dict]:
    return [c for c in json.loads(path.read_text())["cells"] if c["cell_type"] == kind]


def code(path: Path) -> str:
    """The code of all cells, in their order."""
    return "\n\n".join("".join(c["source"]) for c in cells(path, "code"))


def test_there_are_notebooks():
    assert len(NOTEBOOKS) >= len(QUICK)


@every_notebook
def test_it_is_stored_as_it_ran(path: Path):
    done = cells(path, "code")
    counts = [c["execution_count"] for c in done]
    assert counts == list(range(1, len(done) + 1))
    outputs = [o for c in done for o in c["outputs"]]
    assert any("image/png" in o.get("data", {}) for o in outputs)
    assert all(o["output_type"] != "error" and o.get("name") != "stderr" for o in outputs)
    assert path.stat().st_size < 1_000_000


@every_notebook
def test_it_tells_of_no_machine(path: Path):
    text = path.read_text()
    assert "/home/" not in text and "/tmp/" not in text and "/root/" not in text


@every_notebook
def test_it_begins_with_a_title_and_uses_public_names(path: Path):
    assert "".join(cells(path, "markdown")[0]["source"]).startswith("# ")
    tree = ast.parse(code(path))
    imported = [
        name
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom | ast.Import)
        for name in [getattr(node, "module", None) or "", *(a.name for a in node.names)]
    ]
    private = [n for n in imported if any(part.startswith("_") for part in n.split("."))]
    attributes = [n.attr for n in ast.walk(tree) if isinstance(n, ast.Attribute)]
    assert not private and not [a for a in attributes if a.startswith("_")]


@pytest.mark.parametrize("name", QUICK)
def test_it_runs(name: str, tmp_path: Path):
    shutil.copytree(ROOT / "data", tmp_path / "data")
    folder = tmp_path / "notebooks"
    folder.mkdir()
    begin = "import matplotlib\n\nmatplotlib.use('agg')\n"
    script = folder / f"{name}.py"
    script.write_text(begin + code(ROOT / "notebooks" / f"{name}.ipynb"))
    environment = {**os.environ, "LENSRIM_FAST": "1"}
    done = subprocess.run(
        [sys.executable, script.name], cwd=folder, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr[-2000:]
