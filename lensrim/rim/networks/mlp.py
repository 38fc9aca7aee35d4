"""A network for states without maps."""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn

from ..cells import CellMaker, ConvGRU, layer_norm
from .layers import zeroed
from .parts import ActivationMaker, NormMaker, parts_of
from .protocol import Hidden


class MLP(nn.Module):
    r"""Creates a multi-layer perceptron with memory in every layer, for vectors alone.

    Each layer is a matrix, a normalisation, an activation, and a cell of 0 dimensions that
    remembers; the last matrix sees the hidden vectors of all of them, and begins at zero.

    Arguments:
        dims: Dimensions of the maps: none, 0.
        maps_in, maps_out: Channels of the maps: none, 0.
        vectors_in, vectors_out: Length of the vectors that it takes and returns.
        widths: Widths of the layers.
        cell, norm, activation: As for :class:`~lensrim.rim.networks.UNet`.

    Raises:
        ValueError: If a number is out of range, or a name is not known.
    """

    def __init__(
        self,
        dims: int = 0,
        *,
        maps_in: int = 0,
        vectors_in: int,
        maps_out: int = 0,
        vectors_out: int,
        widths: Sequence[int] = (64, 64),
        cell: CellMaker | str = ConvGRU,
        norm: NormMaker | str = layer_norm,
        activation: ActivationMaker | str = nn.SiLU,
    ):
        super().__init__()
        if (dims, maps_in, maps_out) != (0, 0, 0):
            raise ValueError(
                "an MLP takes and returns vectors alone, in 0 dimensions, got "
                f"dims {dims}, maps_in {maps_in}, maps_out {maps_out}: take a UNet for maps"
            )
        if not widths or min(vectors_in, vectors_out, *widths) < 1:
            raise ValueError(
                "an MLP has one layer or more of one number or more, and takes and returns one or "
                f"more, got widths {tuple(widths)}, vectors_in {vectors_in}, "
                f"vectors_out {vectors_out}"
            )
        self.dims, self.maps_in, self.vectors_in = dims, maps_in, vectors_in
        self.maps_out, self.vectors_out, self.widths = maps_out, vectors_out, tuple(widths)
        self.parts = parts = parts_of(cell, norm, activation)
        self.layers = nn.ModuleList(
            nn.Sequential(nn.Linear(i, w), parts.norm(w), parts.activation())
            for i, w in pairwise((vectors_in, *widths))
        )
        self.memory = nn.ModuleList(parts.cell(0, w, w) for w in widths)
        self.last = zeroed(nn.Linear(sum(widths), vectors_out))

    @property
    def config(self) -> dict[str, Any]:
        """The arguments that make this network again; parts of this package by their names."""
        names = ("dims", "maps_in", "vectors_in", "maps_out", "vectors_out", "widths")
        return {name: getattr(self, name) for name in names} | self.parts.names

    def init_hidden(self, maps: Tensor) -> Hidden:
        """Returns zeros: one vector for every layer, for maps with shape (B, 0)."""
        return tuple(maps.new_zeros(len(maps), width) for width in self.widths)

    def forward(
        self, maps: Tensor, vectors: Tensor, hidden: Hidden
    ) -> tuple[Tensor, Tensor, Hidden]:
        """Makes one step; see :class:`~lensrim.rim.networks.Network`."""
        x, kept = vectors, []
        for layer, cell, h in zip(self.layers, self.memory, hidden, strict=True):
            x = cell(layer(x), h)
            kept.append(x)
        return maps, self.last(torch.cat(kept, 1)), tuple(kept)
