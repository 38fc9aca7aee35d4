"""How the network is trained: on the lenses of any training, each seen in several squares."""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ..._toml import recipe_of
from ..._weights import read_weights
from ...datasets.splits import pairs_digest
from ...errors import InputError
from ...training.config import TrainConfig
from ...training.feed import MadeOnce
from ...training.loop import fit
from ...training.names import EMA
from ...training.table import from_table
from ..batches import Batches
from ..data_config import DataConfig, check_numbers
from .look import Look
from .network import Guesser

ZOOM = (0.75, 1.6)
"""Range of the side of a square, relative to that of the frame (log-uniform)."""

KNOWN = 0.3
"""Standard deviation [pixel] with which lens light tells the centre."""

VALIDATION_SEED = 1_000_000


@dataclass(frozen=True)
class GuessRecipe:
    """Creates a recipe, the tables ``[data]`` and ``[train]`` of a TOML file.

    Arguments:
        data: Where the lenses come from; see :mod:`lensrim.inference.recipe`.
        train: How it is trained; ``batch_size`` counts lenses.
        views: Squares of each lens.
        validation: Lenses of the validation set.
    """

    data: DataConfig = field(default_factory=DataConfig)
    train: TrainConfig = field(default_factory=TrainConfig)
    views: int = 2
    validation: int = 512

    def __post_init__(self) -> None:
        check_numbers(self, views=1, validation=1)


@dataclass(frozen=True)
class Views:
    """Creates the sequence of batches: maps, and what they show.

    Arguments:
        batches: Sequence of lenses.
        views: Squares of each.
    """

    batches: Batches
    views: int

    def __call__(self, index: int) -> dict[str, Tensor]:
        """Makes batch number ``index``, its squares by torch's global random numbers."""
        pairs = self.batches.pairs(index)
        many = {name: pairs[name].repeat_interleave(self.views, 0) for name in USED}
        look = view_of(many)
        maps = look.maps(
            many["image"], many["sigma"], many["mask"], many["amplitude"], spacing=1.0
        )
        return {"maps": maps, "numbers": look.seen(many["macro"].float())}


USED = ("image", "sigma", "mask", "amplitude", "lit", "macro")
"""What is taken of a batch of pairs."""


def view_of(pairs: Mapping[str, Tensor]) -> Look:
    """Draws a square for each of a batch of pairs: of any side, direction and handedness."""
    count, (h, w) = len(pairs["image"]), pairs["image"].shape[-2:]
    low, high = (math.log(t) for t in ZOOM)
    half = min(h, w) / 2 * torch.empty(count).uniform_(low, high).exp()
    near = pairs["macro"][:, 3:5].float() + KNOWN * torch.randn(count, 2)
    center = near * (pairs["lit"] > 0)[:, None]  # without light it is the middle of the frame
    angle = torch.empty(count).uniform_(-math.pi, math.pi)
    return Look(center, half, angle, 1.0 - 2.0 * torch.randint(2, (count,)))


def loss_fn(network: nn.Module, batch: Mapping[str, Tensor]) -> tuple[Tensor, dict[str, float]]:
    """Computes the mean surprise, and median errors of the means."""
    guess = network(batch["maps"])
    error = (guess.mean - batch["numbers"]).detach()
    said = {
        "theta_E": float(error[:, 0].abs().median()),
        "ellipticity": float(error[:, 1:3].norm(dim=1).median()),
        "center": float(error[:, 3:5].norm(dim=1).median()),
        "shear": float(error[:, 5:7].norm(dim=1).median()),
    }
    return guess.surprise(batch["numbers"]).mean(), said


def train(
    recipe: GuessRecipe, folder: Path, *, max_minutes: float | None, quiet: bool
) -> tuple[Guesser, bool]:
    """Trains the network, or goes on with it.

    Returns:
        The network with its averaged weights, and whether the training has ended.

    Raises:
        InputError: If data or folder cannot be used.
    """
    config, data = recipe.train, recipe.data
    if config.parts != 1 or data.stock is not None or data.shards is not None or data.larger:
        raise InputError(
            "[data], [train]: a guess is trained without parts, stock, shards and larger; remove "
            "what is there of them"
        )
    torch.manual_seed(config.seed)
    network = Guesser()
    size = config.batch_size
    held = Batches(data, "validation", size, VALIDATION_SEED, True)
    history = fit(
        network,
        Views(Batches(data, "train", size, data.seed, True), recipe.views),
        loss_fn,
        config,
        folder=folder,
        validation=MadeOnce(Views(held, 1), max(1, recipe.validation // size)),
        max_minutes=max_minutes,
        header=identity(recipe),
        report=(lambda line: None) if quiet else print,
        quiet=quiet,
    )
    network.load_state_dict(read_weights(folder / EMA)[0])
    return network.eval(), history.stopped != "time"


def identity(recipe: GuessRecipe) -> dict[str, Any]:
    """Returns what must not change while a training goes on; of folders, whether they are."""
    data = asdict(recipe.data)
    said = {key: data[key] for key in ("shape", "seed", "halo_share")}
    said["duplicates"] = pairs_digest(recipe.data.pairs())
    said |= {key: data[key] is not None for key in ("galaxies", "psfs", "haloes")}
    return {"guess": {"views": recipe.views, "validation": recipe.validation, "data": said}}


def read_guess_recipe(path: Path) -> GuessRecipe:
    """Reads a recipe; its paths are relative to its folder.

    Raises:
        InputError: If the file is no TOML, or has what a recipe cannot have.
    """

    def placed(content: Mapping[str, Any], folder: Path) -> GuessRecipe:
        found = from_table(GuessRecipe, content)
        return replace(found, data=found.data.beside(folder))

    return recipe_of(path, placed)
