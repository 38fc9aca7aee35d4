"""``lensrim train``: from a recipe to weights, in slices."""

import json
import os
import re
import signal
import subprocess
import sys
import time
import tomllib
from pathlib import Path

import pytest
import torch

import lensrim
from lensrim._weights import read_weights, sha256_of
from lensrim.cli import main
from lensrim.inference.machine import load_machine
from lensrim.inference.objective import loss_of
from lensrim.inference.pack import moved
from lensrim.inference.recipe import Recipe, read_recipe
from lensrim.rim.unroll import Unroll

RECIPE = """
[data]
shape = 32

[model]
steps = 2
widths = [8]
lift = 4
embedding = 8

[train]
steps = 3
warmup = 1
batch_size = 2
validate_every = 3
checkpoint_every = 2

[validation]
batches = 1
batch_size = 2
"""


def test_a_training_runs_stops_and_goes_on(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    recipe, folder = tmp_path / "recipe.toml", tmp_path / "run"
    recipe.write_text(RECIPE)
    words = ["train", str(recipe), "--output", str(folder), "--device", "cpu"]
    assert main([*words, "--max-minutes", "0"]) == 0
    assert "stopped after step 0" in capsys.readouterr().out
    assert main(words) == 0
    assert "stopped after step 3" in capsys.readouterr().out
    names = {path.name for path in folder.iterdir()}
    assert names >= {"best.safetensors", "ema.safetensors", "history.jsonl", "last.pt"}
    assert (folder / "history.png").read_bytes().startswith(b"\x89PNG")


def test_the_end_of_a_job_leaves_a_checkpoint(tmp_path: Path, monkeypatch, capsys):
    recipe, folder = tmp_path / "recipe.toml", tmp_path / "run"
    text = RECIPE.replace("steps = 3", "steps = 9").replace("every = 2", "every = 9")
    recipe.write_text(text.replace("every = 3", "every = 9") + "[unroll]\nautocast = true\n")
    words = ["train", str(recipe), "--output", str(folder), "--device", "cpu"]
    losses = []

    def ended(machine, batch, *, config, loss):
        losses.append(0)
        assert machine.unroll == Unroll(autocast=True)
        if len(losses) == 5:
            os.kill(os.getpid(), signal.SIGTERM)
        return loss_of(machine, batch, config=config, loss=loss)

    monkeypatch.setattr("lensrim.cli.train.loss_of", ended)
    before = signal.getsignal(signal.SIGTERM)
    assert main(words) == 130
    assert signal.getsignal(signal.SIGTERM) is before
    # that of the signal is made whole
    assert torch.load(folder / "last.pt", weights_only=True)["step"] == 5
    assert f"kept in {folder}: the same command goes on" in capsys.readouterr().err
    assert main(words) == 0
    said = capsys.readouterr().out
    assert f"going on with the training in {folder}" in said
    assert "stopped after step 9" in said


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A recipe, and the folder of its training."""
    folder = tmp_path_factory.mktemp("trained")
    recipe = folder / "recipe.toml"
    recipe.write_text(RECIPE)
    words = ["train", str(recipe), "--output", str(folder / "run"), "--device", "cpu", "--quiet"]
    assert main(words) == 0
    return recipe, folder / "run"


def test_a_training_is_packed(trained: tuple[Path, Path], tmp_path: Path, capsys):
    recipe, run = trained
    words = ["pack", str(recipe), str(run), "--name", "small", "--output", str(tmp_path)]
    assert main(words) == 0
    card = tomllib.loads(capsys.readouterr().out)["small"]
    assert card["sha256"] == sha256_of(tmp_path / "small.safetensors")
    machine = load_machine(tmp_path / "small.safetensors")
    assert machine.sha256 == card["sha256"]
    assert {k: list(v) for k, v in machine.valid.items()} == card["valid"]
    assert machine.valid["side"] == (24, 48)
    assert (tmp_path / card["recipe"]).read_text() == RECIPE
    head, *lines = (tmp_path / card["curve"]).read_text().splitlines()
    assert head.startswith("step,minutes,learning_rate,loss,validation_loss,misfit,")
    assert [line.split(",")[0] for line in lines] == ["3"]
    assert main(words) == 2
    assert "small.safetensors: exists; choose another --name" in capsys.readouterr().err
    assert main([*words, "--overwrite"]) == 0


@pytest.mark.parametrize(
    ("now", "said"),
    [("batch_size = 7", "train.batch_size"), ("learning_rate = 0.5", "train.learning_rate")],
)
def test_a_training_is_packed_with_its_own_recipe(
    now: str, said: str, trained: tuple[Path, Path], tmp_path: Path, capsys
):
    """The card and the recipe beside the weights would be of another training."""
    other, name = tmp_path / "other.toml", now.split(" ")[0]
    text = re.sub(rf"(?m)^{name} = .*$\n?", "", RECIPE, count=1)
    other.write_text(text.replace("[train]\n", f"[train]\n{now}\n"))
    words = ["pack", str(other), str(trained[1]), "--name", "small", "--output", str(tmp_path)]
    assert main(words) == 2
    assert f"best.safetensors, found another {said}; give the one" in capsys.readouterr().err
    assert not (tmp_path / "small.toml").exists()


def test_a_training_goes_on_with_its_own_galaxies(tmp_path: Path, capsys):
    """With other pairs some galaxies of the validation were trained on before."""
    recipe = tmp_path / "recipe.toml"
    pairs = tmp_path / "pairs.json"
    same = '[data.duplicates]\nfile = "pairs.json"\nfolders = { a = "a/", b = "b/" }\n'
    recipe.write_text(RECIPE + same)
    pairs.write_text(json.dumps({"pairs": [{"a": "a/1", "b": "b/1"}]}))
    words = ["train", str(recipe), "--output", str(tmp_path / "run"), "--quiet"]
    words += ["--device", "cpu", "--max-minutes", "0"]
    assert main(words) == 0 and main(words) == 0
    pairs.write_text(json.dumps({"pairs": [{"a": "a/1", "b": "b/2"}]}))
    capsys.readouterr()
    assert main(words) == 2
    assert "duplicates" in capsys.readouterr().err


@pytest.mark.parametrize("ending", ["toml", "csv"])
def test_no_file_of_the_name_is_replaced_unasked(
    ending: str, trained: tuple[Path, Path], tmp_path: Path, capsys
):
    (own := tmp_path / f"small.{ending}").write_text("my own work")
    words = ["pack", *map(str, trained), "--name", "small", "--output", str(tmp_path)]
    assert main(words) == 2
    assert f"small.{ending}: exists; choose another --name" in capsys.readouterr().err
    assert [p.name for p in tmp_path.iterdir()] == [own.name]
    assert own.read_text() == "my own work"


def test_a_packed_recipe_finds_what_it_found(tmp_path: Path):
    for name in ("stamps", "learnt", "macro"):
        (tmp_path / name).mkdir()
    recipe = tmp_path / "recipe.toml"
    recipe.write_text('[data]\ngalaxies = "stamps"\npsfs = "/away"\nshards = "none yet"\n')
    words = '[model]\nstart = "macro"\n[data]\ngalaxies = "learnt"\n'
    text = moved(recipe, tmp_path / "models" / "mine")
    assert tomllib.loads(text)["data"] == {
        "galaxies": "../../stamps",
        "psfs": "/away",
        "shards": "none yet",
    }
    recipe.write_text(words)  # folders of these names are not meant
    assert moved(recipe, tmp_path / "models") == words


def test_what_a_machine_is_for_is_in_the_weights(trained: tuple[Path, Path]):
    machine = load_machine(trained[1] / "best.safetensors")
    assert machine.valid["side"] == (24, 48)


def test_the_recipe_is_in_the_weights(trained: tuple[Path, Path]):
    recipe, run = trained
    _, header = read_weights(run / "best.safetensors")
    assert Recipe.from_dict(header["recipe"]) == read_recipe(recipe)
    assert header["version"] == lensrim.__version__ and "start" not in header


def test_a_step_is_made_of_parts(tmp_path: Path, trained: tuple[Path, Path]):
    recipe = tmp_path / "recipe.toml"
    recipe.write_text(RECIPE.replace("batch_size = 2\nval", "batch_size = 2\nparts = 2\nval"))
    words = ["train", str(recipe), "--output", str(tmp_path / "run"), "--device", "cpu", "--quiet"]
    assert main([*words, "--max-minutes", "0"]) == 0
    assert torch.load(tmp_path / "run" / "last.pt", weights_only=True)["config"]["parts"] == 2
    recipe.write_text(RECIPE)
    assert main([*words, "--max-minutes", "0"]) == 2


def test_tensorboard_is_named_where_it_is_missing(
    trained: tuple[Path, Path], capsys: pytest.CaptureFixture[str], monkeypatch
):
    monkeypatch.setitem(sys.modules, "tensorboard", None)
    monkeypatch.delitem(sys.modules, "torch.utils.tensorboard", raising=False)
    recipe, run = trained
    assert main(["train", str(recipe), "--output", str(run), "--tensorboard"]) == 2
    assert "pip install '.[board]' in the checkout" in capsys.readouterr().err


@pytest.mark.slow
def test_processes_share_a_training_and_stop_together(tmp_path: Path):
    text = RECIPE.replace("steps = 3", "steps = 40").replace("every = 3", "every = 1")
    text = text.replace("batch_size = 2\nval", "batch_size = 2\nparts = 2\nval")
    recipe, folder = tmp_path / "recipe.toml", tmp_path / "run"
    recipe.write_text(text)
    together = ["torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m"]
    words = ["lensrim.cli", "train", str(recipe), "--output", str(folder), "--device", "cpu"]
    path = os.pathsep.join(p for p in sys.path if p)
    process = subprocess.Popen(
        [sys.executable, "-m", *together, *words], env=os.environ | {"PYTHONPATH": path}
    )
    try:
        while (
            not (folder / "history.jsonl").exists() or not (folder / "history.jsonl").read_text()
        ):
            assert process.poll() is None
            time.sleep(0.1)
        process.terminate()
        assert process.wait(timeout=60) != 0
    finally:
        process.kill()
        process.wait()
    saved = torch.load(folder / "last.pt", weights_only=True)
    assert 0 < saved["step"] < 40  # not that of a checkpoint that was due
    lines = (folder / "history.jsonl").read_text().splitlines()
    # the line of the last step may be due when the end is asked for
    steps = [json.loads(line)["step"] for line in lines]
    assert steps == list(range(1, len(steps) + 1)) and saved["step"] - len(steps) in (0, 1)
    words += ["--max-minutes", "0"]
    subprocess.run(
        [sys.executable, "-m", *together, *words],
        env=os.environ | {"PYTHONPATH": path},
        check=True,
        timeout=120,
    )


def test_what_is_not_trained_yet_is_not_packed(tmp_path: Path, capsys):
    assert main(["pack", "recipe.toml", str(tmp_path), "--name", "small"]) == 2
    assert "must hold best.safetensors" in capsys.readouterr().err


def test_a_training_begins_with_given_weights(trained: tuple[Path, Path], tmp_path: Path, capsys):
    run = trained[1]
    again = tmp_path / "again.toml"
    again.write_text(f'start = "{run}/best.safetensors"\n{RECIPE}')
    words = ["train", str(again), "--output", str(tmp_path / "run"), "--quiet"]
    assert main([*words, "--max-minutes", "0"]) == 0
    begun, _ = read_weights(tmp_path / "run" / "ema.safetensors")
    for name, value in read_weights(run / "best.safetensors")[0].items():
        assert torch.equal(begun[name], value), name
    again.write_text(again.read_text().replace("widths = [8]", "widths = [12]"))
    capsys.readouterr()
    assert main(["train", str(again), "--output", str(tmp_path / "other"), "--quiet"]) == 2
    assert "the weights to start with must be those of a machine" in capsys.readouterr().err


def test_a_missing_recipe_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    assert main(["train", str(tmp_path / "none.toml")]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "none.toml: a recipe must be a TOML file" in error
