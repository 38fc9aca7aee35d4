"""The README and the documents it leads to keep their word: commands parse, examples run, CI runs
the same."""

import re
import runpy
import shlex
import shutil
from importlib import import_module
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).parent.parent
FENCED = re.MULTILINE | re.DOTALL
DOCUMENTS = ["README.md", *sorted(f"notebooks/{p.name}" for p in ROOT.glob("notebooks/*.md"))]


def blocks(language: str, document: str = "README.md") -> list[str]:
    """Returns the fenced blocks of a language, in the order of a document."""
    text = (ROOT / document).read_text(encoding="utf-8")
    return re.findall(rf"^```{language}\n(.*?)^```$", text, flags=FENCED)


def commands(*documents: str) -> list[list[str]]:
    """Returns the words of each ``lensrim`` command of the shell blocks of documents."""
    lines = "".join(b for d in documents for b in blocks("sh", d)).splitlines()
    parts = [part for line in lines for part in line.split("&&")]
    words = [shlex.split(part, comments=True) for part in parts]
    return [w[1:] for w in words if w[:1] == ["lensrim"]]


def test_ci_runs_the_two_commands(root: Path) -> None:
    ci = (root / ".ci" / "run").read_text(encoding="utf-8")
    first, second = blocks("sh")[:2]
    assert f'stage "{first.strip()}"\n' in ci
    assert f'stage "{second.strip()}"\n' in ci


@pytest.mark.parametrize("words", commands(*DOCUMENTS), ids=" ".join)
def test_commands_parse(words: list[str]) -> None:
    command = import_module(f"lensrim.cli.{words[0]}")
    assert command.parse(words[1:])


def test_examples_in_the_help_are_those_of_the_readme() -> None:
    from lensrim.cli.reconstruct import Reconstruct

    shown = re.findall(r"^ *\$ (lensrim .*(?:\n *--.*)*)", Reconstruct.__doc__ or "", re.MULTILINE)
    assert len(shown) == 6
    assert [shlex.split(s)[1:] for s in shown] == commands("README.md")[1:7]


@pytest.mark.parametrize("code", [b for d in DOCUMENTS for b in blocks("python", d)])
def test_python_examples_are_short(code: str) -> None:
    assert len([line for line in code.splitlines() if line.strip()]) <= 15


@pytest.mark.slow
def test_the_python_example_writes_what_it_says(root: Path, tmp_path: Path, monkeypatch) -> None:
    code = blocks("python")[0]
    shutil.copytree(root / "data", tmp_path / "data")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "example.py").write_text(code, encoding="utf-8")
    runpy.run_path(str(tmp_path / "example.py"))
    assert (tmp_path / "ring.png").is_file()
    assert len(list((tmp_path / "results").glob("ring_lensrim.*"))) == 4


def test_the_example_of_visibilities_runs(tmp_path: Path) -> None:
    code = tmp_path / "example.py"
    code.write_text(blocks("python")[1], encoding="utf-8")
    found = runpy.run_path(str(code))
    assert found["data"].shape == (1, 10_000)
    assert found["gradient"].keys() == found["state"].keys()
    assert all(float(g.norm()) > 0 for g in found["gradient"].values())


def test_the_example_of_a_network_of_ones_own_learns(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    code = tmp_path / "example.py"
    code.write_text("\n".join(blocks("python", "notebooks/rim.md")), encoding="utf-8")
    with torch.random.fork_rng():
        torch.manual_seed(0)
        found = runpy.run_path(str(code))
        unseen = [found["batches"](10**6 + k) for k in range(8)]
    with torch.no_grad():
        losses = [float(found["loss_fn"](found["rim"], each)[0]) for each in unseen]
    noise = [float((each["y"] - each["x"]).square().mean()) for each in unseen]
    assert sum(losses) < sum(noise) / 3  # of the machine that was read


@pytest.mark.slow
def test_the_output_is_what_is_printed(root: Path) -> None:
    import lensrim

    def table(text: str) -> dict[str, list[float]]:
        rows = re.findall(r"^  (\w[\w ]{12}) (.*)$", text, re.MULTILINE)
        numbers = r"[-+]?\d+\.?\d*"
        return {label.strip(): [float(n) for n in re.findall(numbers, v)] for label, v in rows}

    promised = table(blocks("text")[0])
    printed = table(lensrim.reconstruct(root / "data" / "ring.fits").summary)
    assert list(printed) == list(promised)
    for label in ("theta_E", "macro theta_E", "axis ratio", "chi2 frame"):
        assert printed[label][0] == pytest.approx(promised[label][0], rel=0.01)


@pytest.mark.parametrize("document", DOCUMENTS)
def test_links_lead_somewhere(document: str) -> None:
    text = (ROOT / document).read_text(encoding="utf-8")
    links = re.findall(r"\]\(([^)#]*)(?:#([^)]*))?\)", text)
    for target, anchor in links:
        if target.startswith("https://"):
            continue
        path = (ROOT / document).parent / target if target else ROOT / document
        assert path.exists(), target
        if anchor:
            prose = re.sub(r"^```.*?^```$", "", path.read_text(encoding="utf-8"), flags=FENCED)
            heads = re.findall(r"^#+ (.*)$", prose, re.MULTILINE)
            slugs = [re.sub(r"[^\w -]", "", head).lower().replace(" ", "-") for head in heads]
            assert anchor in slugs, (target, anchor)


@pytest.mark.parametrize("document", DOCUMENTS)
def test_nothing_is_left_to_be_filled_in(document: str) -> None:
    text = (ROOT / document).read_text(encoding="utf-8")
    assert not re.findall(r"@[A-Z_]{2,}|TODO|TBD", text)
