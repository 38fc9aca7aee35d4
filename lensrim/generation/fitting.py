"""How a generator is trained: an autoencoder, then the distribution of its latent vectors."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from .. import __version__
from .._weights import read_weights
from ..datasets.galaxies.generative import VAE, load_vae, save_vae
from ..training.feed import MadeOnce
from ..training.history import History
from ..training.loop import fit
from ..training.names import BEST
from .mixture import fit_mixture
from .recipe import GeneratorRecipe

GENERATOR = "generator.safetensors"
"""File of a generator in the folder of its training."""

STANDARD, ENCODED = 1024, 4096
"""Images of which the data's mean map is taken, and of which the latent vectors are."""

VALIDATION_SEED = 1_000_000


@dataclass(frozen=True)
class _Numbered:
    """Makes batches that know their number, on which the loss depends."""

    images: Callable[[int], Tensor]

    def __call__(self, index: int) -> dict[str, Tensor]:
        image = self.images(index).to(memory_format=torch.channels_last)
        return {"image": image, "step": torch.tensor(index)}


def images_of(recipe: GeneratorRecipe, which: str, batch_size: int) -> Callable[[int], Tensor]:
    """Returns the sequence of batches of images of a set."""
    seed = recipe.data.seed + (0 if which == "train" else VALIDATION_SEED)
    return recipe.data.images(which, recipe.model.side, batch_size, seed)


def train_generator(
    recipe: GeneratorRecipe,
    folder: Path,
    *,
    max_minutes: float | None = None,
    report: Callable[[str], None] = lambda line: None,
    quiet: bool = True,
) -> History:
    """Trains a generator, or goes on with it, and writes it when the training has ended.

    Arguments:
        recipe: What to train.
        folder: Where the files go.
        max_minutes: Time after which no step is started.
        report: Called with a line of text for each validation.
        quiet: Whether to show no progress bar.

    Raises:
        InputError: If the data or the folder cannot be used.
    """
    size = recipe.train.batch_size
    torch.manual_seed(recipe.train.seed)
    vae = VAE(recipe.model).to(memory_format=torch.channels_last)  # pyright: ignore
    images = images_of(recipe, "train", size)
    # Numbers that no step has: a training that goes on takes the same.
    vae.standardise(
        torch.cat([images(recipe.train.steps + i) for i in range(-(-STANDARD // size))])
    )
    validation = _Numbered(images_of(recipe, "validation", size))
    validated = MadeOnce(
        # with the full price of the latent numbers, whenever it is measured
        lambda i: {**validation(i), "step": torch.tensor(recipe.train.steps)},
        -(-recipe.validation // size),
    )
    history = fit(
        vae,
        _Numbered(images),
        recipe.elbo,
        recipe.train,
        folder=folder,
        validation=validated,
        max_minutes=max_minutes,
        header=recipe.identity(),
        notes={"version": __version__},
        report=report,
        quiet=quiet,
    )
    if history.stopped != "time":
        finish(recipe, folder, report=report)
    return history


def finish(
    recipe: GeneratorRecipe, folder: Path, *, report: Callable[[str], None] = lambda line: None
) -> VAE:
    """Fits the mixture to the latent vectors of training images, and writes the generator.

    The latent vectors are draws from the posteriors, not their means: so the mixture is as wide as
    what the decoder was trained on.

    Arguments:
        recipe: The training's recipe.
        folder: Its folder.
        report: Called with lines of text.

    Returns:
        The generator.
    """
    vae = load_vae(folder / BEST)
    images = images_of(recipe, "train", 128)
    parts, generator = [], torch.Generator().manual_seed(recipe.train.seed)
    with torch.no_grad():
        for i in range(ENCODED // 128):
            mean, log_variance = vae.encode(images(recipe.train.steps + i))
            white = torch.randn(mean.shape, generator=generator)
            parts.append(mean + (log_variance / 2).exp() * white)
    mixture = fit_mixture(torch.cat(parts), recipe.model.components, generator)
    vae.shares.copy_(mixture.shares)
    vae.centers.copy_(mixture.centers)
    vae.factors.copy_(mixture.factors)
    _, header = read_weights(folder / BEST)
    save_vae(folder / GENERATOR, vae, header=header, half=True)
    report(f"wrote {folder / GENERATOR}: {recipe.data.describe('train')}")
    return load_vae(folder / GENERATOR)
