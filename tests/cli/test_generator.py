"""``lensrim generator``: from a recipe to a file that draws galaxies, in slices."""

import json
from pathlib import Path

import pytest
import torch

from lensrim._weights import sha256_of
from lensrim.cli import main
from lensrim.datasets.galaxies.generative import load_vae

RECIPE = """
{table}

validation = 4

[model]
side = 16
latent = 2
widths = [4]
components = 2

[train]
steps = 4
warmup = 1
batch_size = 4
validate_every = 2
checkpoint_every = 2
"""


@pytest.mark.parametrize("table", ["sources = {}", "masses = { maps = 8 }"])
def test_a_training_runs_stops_and_goes_on(
    table: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch
) -> None:
    from lensrim.generation import fitting, quality, sources

    monkeypatch.setattr(fitting, "ENCODED", 128)
    monkeypatch.setattr(fitting, "STANDARD", 16)
    monkeypatch.setattr(quality, "COMPONENTS_FROM", 128)
    monkeypatch.setattr(quality, "SHOWN", 1)
    monkeypatch.setattr(quality, "MEASURED", 16)
    monkeypatch.setattr(sources, "SYNTHETIC", 4)
    recipe = tmp_path / "recipe.toml"
    recipe.write_text(RECIPE.format(table=table))
    words = ["generator", str(recipe), "--output"]
    sliced, whole = tmp_path / "sliced", tmp_path / "whole"
    assert main([*words, str(sliced), "--max-minutes", "0"]) == 0
    assert "stopped after step 0 (time): call again" in capsys.readouterr().out
    for folder in (sliced, whole):
        assert main([*words, str(folder)]) == 0
        said = capsys.readouterr().out
        assert "stopped after step 4 (steps)" in said and "principal components" in said
        assert (folder / "sheet.png").read_bytes().startswith(b"\x89PNG")
        assert json.loads((folder / "quality.json").read_text())["latent"] == 2
    made = sliced / "generator.safetensors", whole / "generator.safetensors"
    assert sha256_of(made[0]) == sha256_of(made[1])
    drawn = load_vae(made[0]).sample(2, torch.Generator().manual_seed(0))
    assert drawn.shape == (2, 1, 16, 16) and bool(drawn.isfinite().all())


def test_what_cannot_be_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "r.toml").write_text("[model]\nlatent = 2\n")
    assert main(["generator", str(tmp_path / "r.toml")]) == 2
    assert "one of the tables [sources] and [masses]" in capsys.readouterr().err
    (tmp_path / "r.toml").write_text("[masses]\n")
    assert main(["generator", str(tmp_path / "r.toml"), "--max-minutes", "-1"]) == 2
    assert "--max-minutes: must be 0 or more" in capsys.readouterr().err
