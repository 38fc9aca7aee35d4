"""The frame: networks as published, tables, what is kept, and the command."""

import csv
from pathlib import Path

import pytest
import torch

from lensrim.cli import main
from lensrim.cli.reproduce import parse
from lensrim.errors import InputError
from lensrim.reproduction.judged import kept, kept_by_first, signs
from lensrim.reproduction.paper import Line, Number, Paper, Result, Setting
from lensrim.reproduction.published import Recurrent
from lensrim.reproduction.suite import PAPERS, ReproduceOptions, listing, run
from lensrim.reproduction.table import COLUMNS, format_table, in_words, write
from lensrim.reproduction.training import quickened
from lensrim.training.config import TrainConfig
from lensrim.training.distributed import Group

NETWORKS = {
    "one unit": {"hidden": (6,)},
    "two units": {"hidden": (6, 4), "kernel": 5, "normalised": False},
    "stride 1": {"hidden": (5,), "stride": 1},
}
LINES = [
    Line("first, median", "1.0 (table 1)", Number(1.25, 0.05), Number(1.0), Number(2.0, 0.1), "w"),
    Line("second", "not found", Number(10.0), Number(20.0)),
]


class Any2017:
    name, title, arxiv, reproduces = "any2017", "Any (Nobody)", "0000.00000", "nothing"

    def cost(self, scale: str) -> str:
        return f"nothing at {scale}"

    def run(self, setting: Setting) -> Result:
        return Result(LINES)


def recurrent(**options) -> Recurrent:
    torch.manual_seed(0)
    sizes = {"maps_in": 3, "vectors_in": 2, "maps_out": 1, "vectors_out": 0}
    return Recurrent(**sizes, features=4, **options)


@pytest.mark.parametrize("options", NETWORKS.values(), ids=NETWORKS)
@pytest.mark.parametrize("shape", [(8, 8), (9, 7)])
def test_the_published_network_keeps_sizes_and_remembers(options: dict, shape: tuple[int, int]):
    network = recurrent(**options)
    maps = torch.randn(2, 3, *shape)
    hidden = network.init_hidden(maps)
    first, vectors, memory = network(maps, torch.zeros(2, 2), hidden)
    assert first.shape == (2, 1, *shape) and vectors.shape == (2, 0)
    assert [h.shape for h in memory] == [h.shape for h in hidden]
    assert all(bool((new != 0).any()) for new in memory)
    second, *_ = network(maps, torch.zeros(2, 2), memory)
    assert float((second - first).abs().max().detach()) > 1e-4
    alone, *_ = network(maps[:1], torch.zeros(1, 2), tuple(h[:1] for h in hidden))
    torch.testing.assert_close(alone, first[:1])


def test_the_published_network_does_not_read_vectors():
    network, maps = recurrent(hidden=(6,)), torch.randn(2, 3, 8, 8)
    outs = [network(maps, v, network.init_hidden(maps))[0] for v in torch.randn(2, 2, 2)]
    torch.testing.assert_close(outs[0], outs[1], rtol=0, atol=0)


def test_the_published_network_is_made_again_from_its_config():
    network = recurrent(hidden=(6, 4), kernel=5)
    again = Recurrent(**network.config)
    again.load_state_dict(network.state_dict())
    assert again.config == network.config


def test_numbers_are_means_and_medians_with_errors():
    values = torch.randn(10_000, generator=torch.Generator().manual_seed(0)) + 3
    mean, median = Number.mean(values), Number.median(values)
    assert mean.value == pytest.approx(3, abs=0.04) and mean.error == pytest.approx(0.01, rel=0.1)
    assert median.value == pytest.approx(3, abs=0.05)
    assert median.error == pytest.approx(0.0125, rel=0.1)
    assert Number.median(torch.tensor([1.0, 10.0, 3.0, 2.0])).value == 2.5
    assert str(Number(28.912, 0.123)) == "28.91 ± 0.12" and str(Number(2.0)) == "2"


def test_the_table_says_what_is_known():
    text = format_table(LINES)
    assert "1.25 ± 0.05" in text and "paper: 1.0 (table 1)" in text and "paper: not found" in text


def test_what_is_written(tmp_path: Path):
    from matplotlib.figure import Figure

    result = Result(
        LINES, {"picture": Figure()}, {"more": [{"a": 1.23456789, "b": "x"}]}, ["data"], {"m": 2.0}
    )
    setting = Setting(tmp_path / "out")
    paper = Any2017()
    assert isinstance(paper, Paper)
    names = [path.name for path in write(paper, result, setting)]
    assert names == ["table.txt", "table.csv", "more.csv", "picture.png"]
    with (tmp_path / "out" / "table.csv").open(encoding="utf-8") as file:
        lines = list(csv.DictReader(file))
    assert tuple(lines[0]) == COLUMNS and lines[1]["paper"] == "not found"
    assert "1.23457" in (tmp_path / "out" / "more.csv").read_text()
    text = (tmp_path / "out" / "table.txt").read_text(encoding="utf-8")
    assert text.strip() == in_words(paper, result, setting)
    assert "- data" in text and "m 2.0" in text


def test_what_was_judged_is_kept_until_it_is_of_something_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    made: list[int] = []

    def make() -> dict:
        made.append(1)
        return {"errors": torch.ones(2), "rows": [{"a": "b"}]}

    path = tmp_path / "deep" / "judged.pt"
    first = kept(path, {"weights": "1"}, make)
    again = kept(path, {"weights": "1"}, make)
    assert len(made) == 1 and again["rows"] == first["rows"]
    torch.testing.assert_close(again["errors"], first["errors"])
    kept(path, {"weights": "2"}, make)
    assert len(made) == 2
    monkeypatch.setattr("lensrim.reproduction.judged.__version__", "another")
    kept(path, {"weights": "2"}, make)
    assert len(made) == 3


@pytest.mark.parametrize("content", [b"", b"nothing that was kept", None])
def test_what_was_kept_must_be_whole(content: bytes | None, tmp_path: Path):
    path = tmp_path / "judged.pt"
    if content is None:
        torch.save([1], path)
    else:
        path.write_bytes(content)
    with pytest.raises(InputError, match=r"judged.pt: must be what was kept here, .*; remove it"):
        kept_by_first(path, {}, dict, Group())
    with pytest.raises(InputError, match=r"ema.safetensors"):
        signs(tmp_path, ["gone"], Group())


def test_a_quick_training_is_the_same_for_any_number_of_processes():
    config = TrainConfig(steps=100, warmup=10, batch_size=64, parts=32, workers=4)
    quick = quickened(config)
    assert (quick.steps, quick.parts, quick.part_size, quick.workers) == (2, 8, 2, 1)
    for size in (1, 2, 4, 8):
        Group(0, size).check(quick.parts)
    assert quickened(TrainConfig(steps=100, warmup=10, batch_size=8)).parts == 1


def test_the_papers_are_listed_with_what_they_cost(capsys: pytest.CaptureFixture[str]):
    assert main(["reproduce"]) == 0
    shown = capsys.readouterr().out
    assert shown.strip() == listing()
    for name, make in PAPERS.items():
        paper = make()
        assert isinstance(paper, Paper) and paper.name == name
        assert f"{name}: {paper.title}, arXiv:{paper.arxiv}" in shown
        assert all(f"--scale {s}: {paper.cost(s)}" in shown for s in ("small", "full"))


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["putzky2017", "--seed", "-1"], "--seed: must be 0 or more"),
        (["putzky2017", "--data", "nowhere"], "--data: must be a folder"),
    ],
)
def test_options_that_cannot_be_used(words: list[str], message: str):
    with pytest.raises(InputError, match=message):
        run(parse(words))


def test_a_paper_goes_into_a_folder_of_its_scale(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setitem(PAPERS, "putzky2017", Any2017)  # pyright: ignore[reportArgumentType]
    for quick, folder in ((False, "small"), (True, "quick")):
        options = ReproduceOptions("putzky2017", output=str(tmp_path), quick=quick)
        assert run(options) is not None
        assert (tmp_path / "any2017" / folder / "table.csv").exists()
    assert "Any (Nobody)" in capsys.readouterr().out
