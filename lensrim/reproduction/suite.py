"""Does a paper again, prints its table, and writes all that came of it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import torch
import tyro

from ..errors import InputError
from ..training.distributed import joined
from .adam2023.paper import Adam2023
from .morningstar2018.paper import Morningstar2018
from .morningstar2019.paper import Morningstar2019
from .paper import Paper, Result, Scale, Setting
from .putzky2017.paper import Putzky2017
from .table import in_words, write

PAPERS: Mapping[str, Callable[[], Paper]] = {
    "putzky2017": Putzky2017,
    "morningstar2018": Morningstar2018,
    "morningstar2019": Morningstar2019,
    "adam2023": Adam2023,
}
"""The papers, by name."""

QUICK: Mapping[Scale, str] = {"small": "quick", "full": "quick-full"}
"""Folders of what only shows whether all works."""


@dataclass(frozen=True)
class ReproduceOptions:
    """Which paper, and how."""

    name: Annotated[
        Literal["putzky2017", "morningstar2018", "morningstar2019", "adam2023"] | None,
        tyro.conf.Positional,
    ] = None
    """The paper; without a name all are listed."""

    scale: Scale = "small"
    """small: minutes on two cores; full: as the paper had it, on GPUs, through torchrun."""

    seed: int = 0
    """Seed of the weights and of all draws."""

    output: str = "reproductions"
    """Folder; what belongs to a paper and a scale goes into one of their names. What was
    interrupted goes on where it was."""

    data: str | None = None
    """Folder of your own data, such as the paper had: for putzky2017 photographs, in folders train
    and test, for the Morningstar papers stamps of galaxies (FITS), for adam2023 a folder galaxies
    of such stamps, a file haloes.safetensors of lensrim haloes, or both; synthetic ones without
    it."""

    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where to train, and to judge."""

    quick: bool = False
    """Whether to try whether all works: trainings of two steps, few draws, and, at full scale, the
    machines of the small one."""

    def check(self) -> None:
        """Makes sure that the options can be used.

        Raises:
            InputError: If one is out of its range, or the folder of data is not there.
        """
        if self.seed < 0:
            raise InputError(f"--seed: must be 0 or more, found {self.seed}; change it")
        if self.data is not None and not Path(self.data).is_dir():
            raise InputError(f"--data: must be a folder, found none at {self.data}; change it")
        if self.device == "cuda" and not torch.cuda.is_available():
            raise InputError("--device: must be one that is here, found no cuda; give cpu")


def listing() -> str:
    """Says what papers there are, and what they cost."""
    lines = []
    for name, make in PAPERS.items():
        paper = make()
        lines += [
            f"{name}: {paper.title}, arXiv:{paper.arxiv}",
            f"  {paper.reproduces}",
            *(f"  --scale {scale}: {paper.cost(scale)}" for scale in ("small", "full")),
        ]
    return "\n".join(lines)


def run(options: ReproduceOptions) -> Result | None:
    """Does a paper again, or lists all.

    Returns:
        What came of it, in the first process; ``None`` where papers are listed.

    Raises:
        InputError: If the options or the folder cannot be used.
    """
    options.check()
    if options.name is None:
        print(listing())
        return None
    paper = PAPERS[options.name]()
    gpu = options.device != "cpu" and torch.cuda.is_available()
    where = QUICK[options.scale] if options.quick else options.scale
    folder = Path(options.output) / paper.name / where
    with joined("cuda" if gpu else "cpu") as group:
        setting = Setting(
            folder,
            options.scale,
            options.seed,
            None if options.data is None else Path(options.data),
            options.quick,
            group.device("cuda" if gpu else "cpu"),
            group,
            lambda line: print(line, flush=True),
        )
        result = paper.run(setting)
        if result is None:
            return None
        print(f"\n{in_words(paper, result, setting)}\n")
        print("Written:", *write(paper, result, setting), sep="\n  ")
        return result
