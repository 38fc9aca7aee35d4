"""``lensrim train``: from a recipe to weights, in slices."""

from pathlib import Path

import pytest

from lensrim.cli import main

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


def test_a_missing_recipe_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    assert main(["train", str(tmp_path / "none.toml")]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "none.toml: a recipe must be a TOML file" in error
