"""What one of several processes does in the tests of papers: does some again, in a small way.

python reproducing.py FOLDER PAPER...
"""

import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import torch

from lensrim.inference.lens_config import LensConfig
from lensrim.lensing.nufft import Direct
from lensrim.reproduction.adam2023 import paper as adam2023
from lensrim.reproduction.adam2023.designs import Published as Joint
from lensrim.reproduction.adam2023.systems import Systems
from lensrim.reproduction.lensed.machines import Ours, Published
from lensrim.reproduction.morningstar2018 import paper as morningstar2018
from lensrim.reproduction.morningstar2018.coverage import Array
from lensrim.reproduction.morningstar2018.skies import Skies
from lensrim.reproduction.morningstar2019 import paper as morningstar2019
from lensrim.reproduction.morningstar2019.lenses import Lenses
from lensrim.reproduction.paper import Paper, Result, Setting
from lensrim.reproduction.putzky2017 import machines as patches
from lensrim.reproduction.putzky2017 import paper as putzky2017
from lensrim.reproduction.table import write
from lensrim.training.distributed import Group, joined


def papers() -> Mapping[str, Paper]:
    """The papers at full scale, but with small images; the machines are those of ``small``.

    Batches are made by workers for one of them alone: to start these takes most of the time.
    """
    small, full = (putzky2017.RECIPES[scale] for scale in ("small", "full"))
    narrow = {"published": patches.Published(4, 6, 3), "ours": patches.Ours((4, 6), 4, 3)}
    configs = {kind: replace(config, workers=0) for kind, config in full.configs.items()}
    of_patches = {
        "small": replace(small, **narrow),
        "full": replace(full, size=12, configs=configs),
    }

    array = Array(antennas=14, times=2)
    view = {"shape": 32, "pixel_scale": 0.14, "theta_E": (0.6, 1.0)}
    designs = {"published": Published(4, (4, 6), 3, 2), "ours": Ours((4, 6), 4, 2)}
    skies = Skies(**view, snr=(30, 60), array=array, transform=Direct())
    of_skies = {
        "small": replace(morningstar2018.RECIPES["small"], **designs),
        "full": replace(morningstar2018.RECIPES["full"], skies=skies),
    }
    full = morningstar2019.RECIPES["full"]
    of_lenses = {
        "small": replace(morningstar2019.RECIPES["small"], **designs),
        "full": replace(
            full,
            lenses=Lenses(**view),
            config=replace(full.config, workers=0),
            reading=replace(full.reading, workers=0),
        ),
    }

    systems = Systems(shape=32, fov=6.4, theta_E=(0.8, 1.2), halo_share=0.0)
    whole = LensConfig(steps=2, widths=(4, 6), lift=4, embedding=8)
    full = adam2023.RECIPES["full"]
    config = replace(full.config, workers=0)
    joint = Joint(systems.source_side, (4, 6, 6), 1, 5, 2)
    of_both = {
        "small": replace(adam2023.RECIPES["small"], published=joint, ours=whole),
        "full": replace(full, published=joint, systems=systems, config=config),
    }
    return {
        "putzky2017": putzky2017.Putzky2017(recipes=of_patches),
        "morningstar2018": morningstar2018.Morningstar2018(recipes=of_skies),
        "morningstar2019": morningstar2019.Morningstar2019(recipes=of_lenses),
        "adam2023": adam2023.Adam2023(recipes=of_both),
    }


def reproduced(name: str, folder: Path, group: Group) -> Result | None:
    """Does a paper again and writes what came of it."""
    said = folder / f"{name}.{group.rank}.txt"
    folder.mkdir(parents=True, exist_ok=True)

    def report(line: str) -> None:
        with said.open("a") as file:
            file.write(f"{line}\n")

    setting = Setting(folder / name, "full", quick=True, group=group, report=report)
    paper = papers()[name]
    result = paper.run(setting)
    if result is not None:
        write(paper, result, setting)
    return result


if __name__ == "__main__":
    torch.set_num_threads(1)
    with joined() as here:
        for each in sys.argv[2:]:
            reproduced(each, Path(sys.argv[1]), here)
