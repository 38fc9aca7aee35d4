"""Layers that the networks share."""

from collections.abc import Iterator, Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

from ..cells import conv, group_norm
from .parts import ActivationMaker, NormMaker

WITHOUT_DOUBLE = ("mps",)
"""Kinds of devices that have no double precision."""


class Block(nn.Module):
    """Creates a convolution, normalisation, scale and shift by the context, and activation.

    Arguments:
        dims: Dimensions of the maps.
        inputs, outputs: Channels.
        embedding: Length of the context; the scale and shift by it begin at none.
        stride: Divisor of the size.
        norm: Makes the normalisation.
        activation: Makes the activation.
    """

    def __init__(
        self,
        dims: int,
        inputs: int,
        outputs: int,
        embedding: int,
        *,
        stride: int = 1,
        norm: NormMaker = group_norm,
        activation: ActivationMaker = nn.SiLU,
    ):
        super().__init__()
        self.conv = conv(dims, inputs, outputs, stride=stride)
        self.norm = norm(outputs)
        self.film = zeroed(nn.Linear(embedding, 2 * outputs))
        self.activation = activation()

    def forward(self, x: Tensor, context: Tensor) -> Tensor:
        """Returns maps (B, outputs, ...) from maps (B, inputs, ...) and a context (B, E)."""
        x = self.norm(self.conv(x))
        shape = (*x.shape[:2], *[1] * (x.ndim - 2))
        scale, shift = (part.reshape(shape) for part in self.film(context).chunk(2, 1))
        return self.activation(torch.addcmul(shift + x, scale, x))


def halvings(maps: int, widths: Sequence[int]) -> Iterator[list[nn.Module]]:
    """Creates strided convolutions in two dimensions, each with normalisation and activation.

    Arguments:
        maps: Channels of the input.
        widths: Channels of the convolutions, each at half the size of the one before; the kernels
            of the first are of 5 pixels, the others of 3.

    Returns:
        The layers of each, made when they are asked for: so what a network has between them begins
        with random numbers in its order.
    """
    for i, (inputs, outputs) in enumerate(pairwise((maps, *widths))):
        yield [
            conv(2, inputs, outputs, 5 if i == 0 else 3, stride=2),
            group_norm(outputs),
            nn.SiLU(),
        ]


def embedder(vectors: int, embedding: int, activation: ActivationMaker) -> nn.Sequential:
    """Creates what makes the context of the vectors and of the memory of vectors."""
    return nn.Sequential(
        nn.Linear(vectors + embedding, embedding), activation(), nn.Linear(embedding, embedding)
    )


def zeroed(layer: nn.Module) -> nn.Module:
    """Puts the parameters of a layer to zero, and returns it."""
    for parameter in layer.parameters():
        nn.init.zeros_(parameter)
    return layer


def tied(maps: Tensor, memory: Tensor) -> Tensor:
    """Adds to maps (B, C, ...) the sum of none of the numbers of a memory (B, E), which is zero.

    So what made the memory has a gradient even where no later step reads it: zero, and not none,
    for which processes that share their gradients would wait.
    """
    return maps + memory[:, :0].sum(1).reshape(-1, *[1] * (maps.ndim - 1))


def resize(x: Tensor, shape: Sequence[int]) -> Tensor:
    """Interpolates maps (B, C, ...) linearly along each axis to another shape.

    As torch's own does, outer edges on outer edges, but by products with matrices: on a GPU that
    is many times faster where channels are many, and its gradient is the same at every run.
    """
    device = "cpu" if x.device.type in WITHOUT_DOUBLE else x.device
    for axis, size in enumerate(shape, start=2):
        n = x.shape[axis]
        # Positions of many pixels are no half-precision numbers; their weights are.
        at = (torch.arange(size, device=device, dtype=torch.float64) + 0.5) * (n / size) - 0.5
        pixels = torch.arange(n, device=device, dtype=torch.float64)
        weights = (1 - (at.clamp(0, n - 1)[:, None] - pixels).abs()).clamp(min=0).to(x)
        if axis == x.ndim - 2:
            x = weights @ x
        else:
            x = (x.movedim(axis, -1) @ weights.T).movedim(-1, axis)
    return x
