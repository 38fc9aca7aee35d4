r"""How good a generator is: on images of the validation set, and in what it draws.

Its reconstruction errors are compared with those of the simplest generator of all: as many
principal components of training images, in the same standardised form :math:`u`, in which they
are the best linear ones. What it draws is compared with images of both sets, by a few numbers.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from ..datasets.galaxies.generative import VAE
from .fitting import images_of
from .recipe import GeneratorRecipe
from .statistics import STATISTICS, distance

COMPONENTS_FROM = 4096
"""Training images from which the principal components are computed."""

MEASURED = 512
"""Images of the validation set, of the training set, and drawn ones, that are compared."""

BATCH = 128

FAINT, FAINT_KAPPA = 0.01, 0.3
"""What a sheet hardly shows: brightness relative to the peak, and convergence."""

SHOWN = 16
"""Images of a sheet that are shown; as many are decoded, and twice as many drawn."""


@dataclass(frozen=True)
class Errors:
    """Holds reconstruction errors, medians over images.

    Arguments:
        seen: Root mean square in the standardised form.
        relative: Relative L2 norm of the images themselves, as fractions of each one's norm.
        rms: Root mean square of the images themselves.
    """

    seen: float
    relative: float
    rms: float


@dataclass(frozen=True)
class Quality:
    """Holds what was measured.

    Arguments:
        vae, components: Errors of the generator and of as many principal components, on images of
            the validation set.
        latent: Numbers that both may use.
        spread: Typical standard deviation of the posterior of a latent number.
        numbers: For each number that describes images: quartiles of training images, those drawn
            and those of the validation set, and the distances of the latter two from the first.
    """

    vae: Errors
    components: Errors
    latent: int
    spread: float
    numbers: Mapping[str, Mapping[str, list[float]]] = field(default_factory=dict)

    @property
    def table(self) -> str:
        """A table in words."""
        lines = [
            f"reconstruction of validation images, {self.latent} numbers each (medians):",
            f"{'':28}{'rms of u':>10}{'relative':>10}{'rms':>10}",
        ]
        for name, e in (("generator", self.vae), ("principal components", self.components)):
            lines.append(f"  {name:<26}{e.seen:>10.4f}{e.relative:>10.4f}{e.rms:>10.4f}")
        if self.numbers:
            lines.append("quartiles, and distances (K-S) from training images:")
        for name, found in self.numbers.items():
            for kind, values in found.items():
                off = f"{values[3]:>10.3f}" if len(values) > 3 else ""
                low, middle, high = values[:3]
                lines.append(f"  {name:<26}{kind:<12}{low:>8.3f}{middle:>8.3f}{high:>8.3f}{off}")
        return "\n".join(lines)


def errors_of(vae: VAE, images: Tensor, decoded: Tensor) -> Errors:
    """Computes the errors of standardised images that were decoded from those of some images."""
    off = (vae.seen(images) - decoded).flatten(1).square().mean(1).sqrt()
    back = (vae.shown(decoded) - images).flatten(1)
    relative = back.norm(dim=1) / images.flatten(1).norm(dim=1).clamp(min=1e-12)
    rms = back.square().mean(1).sqrt()
    return Errors(*(float(each.median()) for each in (off, relative, rms)))


@torch.no_grad()
def decoded_by(vae: VAE, images: Tensor) -> Tensor:
    """Decodes the means of the posteriors of images, in the standardised form."""
    return torch.cat([vae.decode_seen(vae.encode(part)[0]) for part in images.split(BATCH)])


def decoded_by_components(vae: VAE, training: Tensor, images: Tensor, n: int) -> Tensor:
    """Puts images onto the first n principal components of training images, standardised."""
    known = vae.seen(training).flatten(1)
    middle = known.mean(0)
    generator_state = torch.random.get_rng_state()
    try:
        torch.manual_seed(0)
        _, _, basis = torch.svd_lowrank(known - middle, q=n + 16, niter=4)
    finally:
        torch.random.set_rng_state(generator_state)
    basis = basis[:, :n]
    seen = vae.seen(images)
    flat = seen.flatten(1) - middle
    return (flat @ basis @ basis.T + middle).view_as(seen)


def taken(images: Callable[[int], Tensor], n: int) -> Tensor:
    """Takes n images of a sequence of batches, from the first on."""
    parts: list[Tensor] = []
    while sum(map(len, parts)) < n:
        parts.append(images(len(parts)))
    return torch.cat(parts)[:n]


def quality(recipe: GeneratorRecipe, vae: VAE) -> Quality:
    """Measures a generator.

    Arguments:
        recipe: What it was trained with.
        vae: The generator.
    """
    n = MEASURED
    held = taken(images_of(recipe, "validation", BATCH), n)
    training = taken(images_of(recipe, "train", BATCH), COMPONENTS_FROM)
    latent = vae.config.latent
    drawn = vae.sample(n, torch.Generator().manual_seed(1))
    with torch.no_grad():
        spread = float((vae.encode(held[:BATCH])[1] / 2).exp().median())
    numbers = {}
    if recipe.sources is not None:
        kinds = {"training": training[:n], "drawn": drawn, "validation": held}
        for name, function in STATISTICS.items():
            found = {
                kind: np.array([function(i) for i in images[:, 0].double().numpy()])
                for kind, images in kinds.items()
            }
            numbers[name] = {
                kind: [float(q) for q in np.quantile(values, (0.25, 0.5, 0.75))]
                + ([] if kind == "training" else [distance(values, found["training"])])
                for kind, values in found.items()
            }
    return Quality(
        vae=errors_of(vae, held, decoded_by(vae, held)),
        components=errors_of(vae, held, decoded_by_components(vae, training, held, latent)),
        latent=latent,
        spread=spread,
        numbers=numbers,
    )


def shown_beside(
    recipe: GeneratorRecipe, vae: VAE
) -> tuple[list[np.ndarray], list[str], list[float]]:
    """Returns images with titles, and the brightness that is hardly seen in each.

    They are validation images, the same decoded, and drawn ones. Of masses it is kappa, which is
    what one knows from figures, and not its logarithm.
    """
    held = taken(images_of(recipe, "validation", BATCH), SHOWN)
    drawn = vae.sample(2 * SHOWN, torch.Generator().manual_seed(1))
    images = torch.cat([held, vae.shown(decoded_by(vae, held)), drawn])[:, 0]
    faint = FAINT
    if recipe.masses is not None:
        images, faint = 10**images, FAINT_KAPPA
    titles = ["data"] * SHOWN + ["decoded"] * SHOWN + ["drawn"] * 2 * SHOWN
    return list(images.numpy()), titles, [faint] * len(titles)
