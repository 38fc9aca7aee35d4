"""Two processes find what one finds, for each paper at its full scale, in a small way."""

import csv
import os
import pickle
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import reproducing
import torch
from PIL import Image
from torch import Tensor

from lensrim.datasets.galaxies.clumpy import synthetic_galaxy
from lensrim.datasets.galaxies.folder import write_galaxy
from lensrim.evaluation.problems.problem import TRAINING
from lensrim.lensing.nufft import Direct
from lensrim.reproduction.adam2023.systems import Stock, Systems
from lensrim.reproduction.lensed.lenses import galaxies_of
from lensrim.reproduction.lensed.recipe import Batches
from lensrim.reproduction.morningstar2018.coverage import Array
from lensrim.reproduction.morningstar2018.skies import Skies
from lensrim.reproduction.morningstar2019.lenses import Lenses
from lensrim.reproduction.putzky2017.paper import Batches as Patches
from lensrim.reproduction.putzky2017.pictures import Leaves, Photographs
from lensrim.training.distributed import Group

NAMES = list(reproducing.papers())
NUMBERS = ("as published", "ours", "others, same calls", "others, at their end")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where two processes have left what came of the papers; torchrun says what these are told."""
    path = tmp_path_factory.mktemp("together")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    shared = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    shared["PYTHONPATH"] = os.pathsep.join(p for p in sys.path if p)
    said = path / "said"
    with said.open("w") as file:
        started = [
            subprocess.Popen(
                [sys.executable, reproducing.__file__, str(path), *NAMES],
                env=os.environ | shared | {"RANK": str(rank)},
                stderr=file,
            )
            for rank in range(2)
        ]
    try:
        assert not any(process.wait(timeout=1200) for process in started), said.read_text()
    finally:
        for process in started:
            process.kill()
            process.wait()
    return path


def table(folder: Path) -> list[dict[str, str]]:
    with (folder / "table.csv").open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


DRAWS = {
    "putzky2017": Patches("3task", Leaves(), 12, 0),
    "morningstar2018": Batches(Skies(), 0),
    "morningstar2019": Batches(Lenses(), 0),
    "adam2023": Stock(Systems(), Path("stock"), 0, TRAINING, 2),
}


@pytest.mark.parametrize("draw", DRAWS.values(), ids=DRAWS)
def test_what_draws_batches_can_be_sent_to_workers(draw: object):
    assert pickle.loads(pickle.dumps(draw)) == draw


VIEW = {"shape": 32, "pixel_scale": 0.14, "theta_E": (0.6, 1.0)}
OWN: dict[str, Callable[[Path], Callable[[int, int], dict[str, Any]]]] = {
    "putzky2017": lambda data: Patches("3task", Photographs.of(data, 12), 12, 0),
    "morningstar2018": lambda data: Batches(
        Skies(**VIEW, array=Array(14, 2), transform=Direct(), galaxies=galaxies_of(data)), 0
    ),
    "morningstar2019": lambda data: Batches(Lenses(**VIEW, galaxies=galaxies_of(data)), 0),
    "adam2023": lambda data: Stock(
        Systems(shape=32, fov=6.4, theta_E=(0.8, 1.2), halo_share=0.0, data=data),
        data / "stock",
        *(0, TRAINING, 2),
    ),
}


@pytest.mark.parametrize("name", OWN)
def test_so_can_what_draws_them_of_the_user_s_data(name: str, tmp_path: Path):
    rng = np.random.default_rng(0)
    (tmp_path / "galaxies").mkdir()
    for number in range(4):
        galaxy = synthetic_galaxy(rng)
        write_galaxy(tmp_path / "galaxies" / f"{number}.fits", galaxy, provenance={})
        Image.fromarray((255 * galaxy.image).astype(np.uint8)).save(tmp_path / f"{number}.png")
    draw = OWN[name](tmp_path)
    first = draw(0, 1)  # what was loaded is not in the way
    again = pickle.loads(pickle.dumps(draw))(0, 1)
    for key, value in ((k, v) for k, v in first.items() if isinstance(v, Tensor)):
        torch.testing.assert_close(again[key], value, rtol=0, atol=0, equal_nan=True)


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_two_processes_find_what_one_finds(name: str, folder: Path, tmp_path: Path):
    reproducing.reproduced(name, tmp_path, Group())
    alone, both = table(tmp_path / name), table(folder / name)
    assert len(alone) == len(both) > 0
    for one, two in zip(alone, both, strict=True):
        for column in NUMBERS:
            first, second = (row[column].split(" ± ")[0] for row in (one, two))
            assert bool(first) == bool(second)
            # Gradients are added up in another order.
            assert not first or float(second) == pytest.approx(float(first), rel=1e-2, nan_ok=True)


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_both_have_judged(name: str, folder: Path):
    said = [(folder / f"{name}.{rank}.txt").read_text() for rank in range(2)]
    assert "training" in said[0] and "training" not in said[1]
    judged = [
        [line for line in text.splitlines() if line.startswith(("judging: ", "judged "))]
        for text in said
    ]
    assert all(judged) and not set(judged[0]) & set(judged[1])
    if name != "putzky2017":  # who names problems; the others number parts, or lenses, one each
        total = max(int(line.split()[-1]) for own in judged for line in own)
        assert len(judged[0]) + len(judged[1]) == total
