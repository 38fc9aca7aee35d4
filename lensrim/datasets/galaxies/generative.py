r"""A learnt population of images: a variational autoencoder.

Images :math:`x` are seen through a signed power and standardised,

.. math:: u = (\operatorname{sgn}(x) |x|^p - m) / s \, ,

with a mean map :math:`m` and a scale :math:`s` of the training data. The decoder maps a latent
vector :math:`z` to the mean of :math:`u`; the encoder gives a normal distribution :math:`q(z|x)`
with diagonal covariance, an approximation of the posterior under :math:`p(z) = N(0, 1)`.

New images are decoded from the distribution that the training data were found to have in
:math:`z`, a mixture of normal distributions that is fitted after the training (Ghosh et al.): with
few galaxies the encodings do not fill :math:`p(z)`, and where there are none nothing was learnt of
what to decode. Before that fit the mixture is :math:`p(z)` itself.

What is not guaranteed: that a decoded image is not negative where the data never were, or that it
is sharp: details that the latent vector cannot hold are averaged over.

References:
    Kingma & Welling 2014, arXiv:1312.6114; Ghosh et al. 2020, arXiv:1903.12436.
"""

import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..._weights import read_weights, write_weights
from ...errors import InputError

HEADER = "vae"
"""Name of the configuration in the header of a file."""

LOG_VARIANCE = (-10.0, 4.0)
"""Range of the encoder's log-variances: beyond it gradients explode."""


@dataclass(frozen=True)
class VAEConfig:
    """Describes an autoencoder; it is stored with its weights.

    Arguments:
        side: Side of the images [pixels], a multiple of 2 to the number of levels.
        latent: Length of the latent vector.
        widths: Channels of the levels, each of half the size of the one before; the first is of
            half the images' size.
        power: Power :math:`p` through which pixels are seen: 0.5 for brightness, whose noise and
            whose interest are in the faint parts too; 1 for logarithms.
        components: Normal distributions in the mixture from which new images are drawn.
    """

    side: int = 64
    latent: int = 24
    widths: tuple[int, ...] = (16, 32, 64, 128)
    power: float = 1.0
    components: int = 1

    def __post_init__(self) -> None:
        numbers = (self.side, self.latent, self.components, *self.widths)
        if not self.widths or not all(isinstance(n, int) and n >= 1 for n in numbers):
            raise InputError(
                "side, latent, components and widths must be whole numbers, 1 or more, found "
                f"{self.side}, {self.latent}, {self.components} and {self.widths}; change them"
            )
        if self.side % 2 ** len(self.widths):
            raise InputError(
                f"side: must be a multiple of {2 ** len(self.widths)} for {len(self.widths)} "
                f"levels (widths), found {self.side}; change one"
            )
        if not 0 < self.power <= 1:
            raise InputError(f"power: must be above 0, and at most 1, found {self.power}")


class _Block(nn.Module):
    """Adds to maps what two convolutions find in them; at first nothing."""

    def __init__(self, width: int):
        super().__init__()
        self.first = nn.Conv2d(width, width, 3, padding=1)
        self.second = nn.Conv2d(width, width, 3, padding=1)
        nn.init.zeros_(self.second.weight)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.second(F.silu(self.first(F.silu(x))))


class VAE(nn.Module):
    """Creates a variational autoencoder with random weights.

    Arguments:
        config: Its sizes.
    """

    mean_map: Tensor
    scale: Tensor
    shares: Tensor
    centers: Tensor
    factors: Tensor

    def __init__(self, config: VAEConfig = VAEConfig()):
        super().__init__()
        self.config = config
        widths, last = config.widths, config.side // 2 ** len(config.widths)
        self._bottom = (widths[-1], last, last)
        down: list[nn.Module] = [nn.PixelUnshuffle(2), nn.Conv2d(4, widths[0], 3, padding=1)]
        for a, b in zip(widths, (*widths[1:], None), strict=True):
            down.append(_Block(a))
            if b is not None:
                down.append(nn.Conv2d(a, b, 3, stride=2, padding=1))
        self.down = nn.Sequential(*down, nn.SiLU(), nn.Flatten())
        size = widths[-1] * last**2
        self.to_latent = nn.Linear(size, 2 * config.latent)
        self.from_latent = nn.Linear(config.latent, size)
        up: list[nn.Module] = []
        for a, b in zip(widths[::-1], (*widths[-2::-1], None), strict=True):
            up.append(_Block(a))
            if b is not None:
                up.append(nn.Upsample(scale_factor=2, mode="nearest"))
                up.append(nn.Conv2d(a, b, 3, padding=1))
        fine = max(8, widths[0] // 2)
        up += [nn.SiLU(), nn.Conv2d(widths[0], 4 * fine, 3, padding=1), nn.PixelShuffle(2)]
        self.up = nn.Sequential(*up, nn.SiLU(), nn.Conv2d(fine, 1, 3, padding=1))
        k, n = config.components, config.latent
        self.register_buffer("mean_map", torch.zeros(1, config.side, config.side))
        self.register_buffer("scale", torch.ones(()))
        self.register_buffer("shares", torch.full((k,), 1 / k))
        self.register_buffer("centers", torch.zeros(k, n))
        self.register_buffer("factors", torch.eye(n).repeat(k, 1, 1))

    def standardise(self, images: Tensor) -> None:
        """Takes mean map and scale from training images (B, 1, S, S); to be done before it."""
        seen = self._powered(images)
        self.mean_map.copy_(seen.mean(0))
        self.scale.copy_((seen - self.mean_map).square().mean().sqrt().clamp(min=1e-6))

    def _powered(self, images: Tensor) -> Tensor:
        p = self.config.power
        return images if p == 1 else images.sign() * images.abs() ** p

    def seen(self, images: Tensor) -> Tensor:
        """Brings images (B, 1, S, S) to the standardised form :math:`u`."""
        return (self._powered(images) - self.mean_map) / self.scale

    def shown(self, seen: Tensor) -> Tensor:
        """Brings images back from the standardised form: the inverse of :meth:`seen`."""
        powered, p = seen * self.scale + self.mean_map, self.config.power
        return powered if p == 1 else powered.sign() * powered.abs() ** (1 / p)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        r"""Encodes images, draws from the posterior with torch's random numbers, and decodes.

        Arguments:
            images: Images, with shape (B, 1, S, S).

        Returns:
            The standardised images, and those that were decoded, with shapes (B, 1, S, S); mean
            and log-variance of the posterior, with shapes (B, L).
        """
        mean, log_variance = self.encode(images)
        z = mean + (log_variance / 2).exp() * torch.randn_like(mean)
        return self.seen(images), self.decode_seen(z), mean, log_variance

    def encode(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Computes mean and log-variance of the posterior of images (B, 1, S, S): (B, L) each."""
        side = self.config.side
        if images.shape[1:] != (1, side, side):
            raise ValueError(
                f"images must have the shape (B, 1, {side}, {side}), got {tuple(images.shape)}"
            )
        mean, log_variance = self.to_latent(self.down(self.seen(images))).chunk(2, 1)
        return mean, log_variance.clamp(*LOG_VARIANCE)

    def decode_seen(self, z: Tensor) -> Tensor:
        """Decodes latent vectors (B, L) to standardised images (B, 1, S, S)."""
        return self.up(self.from_latent(z).unflatten(1, self._bottom))

    def decode(self, z: Tensor) -> Tensor:
        """Decodes latent vectors (B, L) to images (B, 1, S, S)."""
        return self.shown(self.decode_seen(z))

    def draw_latent(self, n: int, generator: torch.Generator) -> Tensor:
        """Draws latent vectors from the mixture, on the CPU, with shape (n, L)."""
        # The least of exponential times that the shares shorten, from uniform numbers: what
        # multinomial and exponential_ make of a seed depends on torch's version and the platform.
        uniform = torch.rand(n, len(self.shares), generator=generator, dtype=torch.float64)
        which = (-torch.log1p(-uniform) / self.shares.cpu()).argmin(1)
        white = torch.randn(n, self.config.latent, generator=generator)
        scattered = torch.einsum("nij,nj->ni", self.factors.cpu()[which], white)
        return self.centers.cpu()[which] + scattered

    @torch.no_grad()
    def sample(self, n: int, generator: torch.Generator) -> Tensor:
        """Draws new images, with shape (n, 1, S, S).

        Arguments:
            n: Their number.
            generator: Source of random numbers, on the CPU: the same on every device.
        """
        return self.decode(self.draw_latent(n, generator).to(self.scale))

    @torch.no_grad()
    def near(self, images: Tensor, n: int, spread: float, generator: torch.Generator) -> Tensor:
        r"""Draws images around given ones: decoded from :math:`N(\mu(x), \text{spread}^2)`.

        This is the sampler of Adam et al. 2023 (spread 0.5 in their code) around which the Fisher
        matrix of elastic weight consolidation is computed. As the spread goes to 0 the samples go
        to what the autoencoder makes of the images, not to the images.

        Arguments:
            images: Images, with shape (B, 1, S, S).
            n: Samples of each.
            spread: Standard deviation of every latent number, those of :math:`p(z)` being 1.
            generator: Source of random numbers, on the CPU.

        Returns:
            The samples, with shape (B, n, 1, S, S).

        References:
            Adam, Perreault-Levasseur, Hezaveh & Welling 2023, ApJ 951, 6.
        """
        mean, _ = self.encode(images)
        white = torch.randn(len(images), n, self.config.latent, generator=generator)
        z = mean[:, None] + spread * white.to(mean)
        return self.decode(z.flatten(0, 1)).unflatten(0, (len(images), n))


def save_vae(
    path: str | os.PathLike[str],
    vae: VAE,
    *,
    header: Mapping[str, Any] | None = None,
    half: bool = False,
) -> str:
    """Writes an autoencoder into a file, with all that makes it again.

    Arguments:
        path: The file; its folder must exist.
        vae: The autoencoder.
        header: What else the header says: anything that JSON can hold.
        half: Whether to store the weights in half precision.

    Returns:
        The SHA-256 of the file, in hexadecimal digits.
    """
    said = {**(header or {}), HEADER: asdict(vae.config)}
    return write_weights(path, vae.state_dict(), said, half=half)


def load_vae(path: str | os.PathLike[str]) -> VAE:
    """Reads an autoencoder that :func:`save_vae` wrote, or a training of one: on the CPU.

    Raises:
        InputError: If the file holds something else.
    """
    tensors, header = read_weights(path)
    try:
        settings = dict(header[HEADER])
        vae = VAE(VAEConfig(**{**settings, "widths": tuple(settings["widths"])}))
        vae.load_state_dict(tensors)
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        reason = " ".join(str(error).split())[:200]
        raise InputError(
            f"{path}: must hold a generator of images as lensrim generator writes it ({reason}); "
            "give such a file, or train one"
        ) from error
    return vae.eval().requires_grad_(False)
