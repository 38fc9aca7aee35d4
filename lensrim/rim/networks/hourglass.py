"""An hourglass: an encoder and a decoder, with memory where they meet."""

from collections.abc import Sequence
from functools import partial
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn

from ..cells import CellMaker, ConvGRU, conv, group_norm
from .layers import Block, embedder, resize, tied, zeroed
from .parts import ActivationMaker, NormMaker, parts_of
from .protocol import Hidden
from .unet import check_levels


class Hourglass(nn.Module):
    r"""Creates an hourglass with memory at its narrowest level.

    The maps are lifted to ``lift`` channels at full size, and halved level by level; two cells
    with a convolution between them remember at the deepest level, and their output is widened
    level by level again. Nothing goes past them: what is finer than the deepest level must fit
    into its channels, which costs less than a :class:`~lensrim.rim.networks.UNet`, and tells less.
    The vectors are treated as by the U-Net. The last layers begin at zero.

    Arguments:
        dims: Dimensions of the maps, 1 to 3. Any size works, odd ones too.
        maps_in, vectors_in: Channels of the maps and length of the vectors that it takes.
        maps_out, vectors_out: The same of what it returns; without maps (0) it has no way back
            up.
        widths: Channels of the levels, the first at half the size of the maps.
        lift: Channels at full size.
        embedding: Length of the embedded vectors.
        cell, norm, activation: As for :class:`~lensrim.rim.networks.UNet`.

    Raises:
        ValueError: If a number is out of range, or a name is not known.

    References:
        Putzky & Welling 2017, arXiv:1706.04008; Morningstar+ 2019, arXiv:1901.01359.
    """

    def __init__(
        self,
        dims: int,
        *,
        maps_in: int,
        vectors_in: int,
        maps_out: int,
        vectors_out: int,
        widths: Sequence[int] = (32, 64),
        lift: int = 16,
        embedding: int = 64,
        cell: CellMaker | str = ConvGRU,
        norm: NormMaker | str = group_norm,
        activation: ActivationMaker | str = nn.SiLU,
    ):
        super().__init__()
        check_levels("an hourglass", dims, widths, lift, embedding)
        self.dims, self.maps_in, self.vectors_in = dims, maps_in, vectors_in
        self.maps_out, self.vectors_out = maps_out, vectors_out
        self.widths, self.lift, self.embedding = tuple(widths), lift, embedding
        self.parts = parts = parts_of(cell, norm, activation)
        block = partial(Block, dims, norm=parts.norm, activation=parts.activation)
        self.embed = embedder(vectors_in, embedding, parts.activation)
        self.first = block(maps_in, lift, embedding)
        levels, deepest = (lift, *widths), widths[-1]
        self.down = nn.ModuleList(
            block(wide, narrow, embedding, stride=2) for wide, narrow in pairwise(levels)
        )
        self.memory = nn.ModuleList(parts.cell(dims, deepest, deepest) for _ in range(2))
        self.between = block(deepest, deepest, embedding)
        # numbers alone are told from the deepest level: no map is made again
        pairs = reversed([*pairwise(levels)] if maps_out else [])
        self.up = nn.ModuleList(block(narrow, wide, embedding) for wide, narrow in pairs)
        self.last = zeroed(conv(dims, lift, maps_out)) if maps_out else None
        self.vector_memory = nn.GRUCell(deepest + embedding, embedding)
        self.vector_last = zeroed(nn.Linear(embedding, vectors_out)) if vectors_out else None

    @property
    def config(self) -> dict[str, Any]:
        """The arguments that make this network again; parts of this package by their names."""
        names = ("dims", "maps_in", "vectors_in", "maps_out", "vectors_out")
        more = ("widths", "lift", "embedding")
        return {name: getattr(self, name) for name in (*names, *more)} | self.parts.names

    def init_hidden(self, maps: Tensor) -> Hidden:
        """Returns zeros: two maps of the deepest level, and a vector."""
        size = [-(-n // 2 ** len(self.widths)) for n in maps.shape[2:]]
        maps_of = [maps.new_zeros(len(maps), self.widths[-1], *size) for _ in self.memory]
        return *maps_of, maps.new_zeros(len(maps), self.embedding)

    def forward(
        self, maps: Tensor, vectors: Tensor, hidden: Hidden
    ) -> tuple[Tensor, Tensor, Hidden]:
        """Makes one step; see :class:`~lensrim.rim.networks.Network`."""
        before, after, inner = hidden
        context = self.embed(torch.cat([vectors, inner], 1))
        x, sizes = self.first(maps, context), []
        for block in self.down:
            sizes.append(x.shape[2:])
            x = block(x, context)
        before = self.memory[0](x, before)
        x = after = self.memory[1](self.between(before, context), after)
        inner = self.vector_memory(torch.cat([x.flatten(2).mean(2), context], 1), inner)
        told = inner[:, :0] if self.vector_last is None else self.vector_last(inner)
        if self.last is None:
            return maps[:, :0], told, (before, after, inner)
        for block, size in zip(self.up, reversed(sizes), strict=True):
            x = block(resize(x, size), context)
        moved = self.last(x)
        if self.vector_last is None:
            moved = tied(moved, inner)
        return moved, told, (before, after, inner)
