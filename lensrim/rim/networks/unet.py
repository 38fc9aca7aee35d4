"""A U-Net with memory at every level."""

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


class UNet(nn.Module):
    r"""Creates a U-Net with memory at every level.

    The maps are lifted to ``lift`` channels at full size, and halved level by level. At each level
    a cell of :mod:`lensrim.rim.cells` remembers; its hidden map is the skip connection. The
    vectors (conditioning, vector fields) scale and shift the channels at every level; a gated
    recurrent unit of their own reads them with the means of the deepest level, and gives the
    vector output. The last layers begin at zero, so that an untrained machine returns its start.

    Arguments:
        dims: Dimensions of the maps, 1 to 3. Any size works, odd ones too.
        maps_in, vectors_in: Channels of the maps and length of the vectors that it takes.
        maps_out, vectors_out: The same of what it returns; without maps (0) it has no way back
            up.
        widths: Channels of the levels, the first at half the size of the maps.
        lift: Channels at full size.
        embedding: Length of the embedded vectors.
        cell: Makes the cell of a level, given dims, inputs and hidden channels; or the name of a
            cell of this package, as for ``norm`` and ``activation``.
        norm: Makes the normalisation of a number of channels; one that mixes samples must not be
            used.
        activation: Makes the activation.

    Raises:
        ValueError: If a number is out of range, or a name is not known.
    """

    def __init__(
        self,
        dims: int,
        *,
        maps_in: int,
        vectors_in: int,
        maps_out: int,
        vectors_out: int,
        widths: Sequence[int] = (32, 64, 96),
        lift: int = 16,
        embedding: int = 64,
        cell: CellMaker | str = ConvGRU,
        norm: NormMaker | str = group_norm,
        activation: ActivationMaker | str = nn.SiLU,
    ):
        super().__init__()
        check_levels("a U-Net", dims, widths, lift, embedding)
        self.dims, self.maps_in, self.vectors_in = dims, maps_in, vectors_in
        self.maps_out, self.vectors_out = maps_out, vectors_out
        self.widths, self.lift, self.embedding = tuple(widths), lift, embedding
        self.parts = parts = parts_of(cell, norm, activation)
        block = partial(Block, dims, norm=parts.norm, activation=parts.activation)
        self.embed = embedder(vectors_in, embedding, parts.activation)
        self.first = conv(dims, maps_in, lift)
        ins = (lift, *widths[:-1])
        self.down = nn.ModuleList(
            block(i, w, embedding, stride=2) for i, w in zip(ins, widths, strict=True)
        )
        self.memory = nn.ModuleList(parts.cell(dims, w, w) for w in widths)
        # numbers alone are told from the deepest level: no map is made again
        pairs = [*pairwise(widths)] if maps_out else []
        self.up = nn.ModuleList(block(w + deeper, w, embedding) for w, deeper in pairs)
        self.merge = block(lift + widths[0], lift, embedding) if maps_out else None
        self.last = zeroed(conv(dims, lift, maps_out)) if maps_out else None
        self.vector_memory = nn.GRUCell(widths[-1] + embedding, embedding)
        self.vector_last = zeroed(nn.Linear(embedding, vectors_out)) if vectors_out else None

    @property
    def config(self) -> dict[str, Any]:
        """The arguments that make this network again; parts of this package by their names."""
        names = ("dims", "maps_in", "vectors_in", "maps_out", "vectors_out")
        more = ("widths", "lift", "embedding")
        return {name: getattr(self, name) for name in (*names, *more)} | self.parts.names

    def init_hidden(self, maps: Tensor) -> Hidden:
        """Returns zeros: one map for every level, and a vector."""
        size, hidden = list(maps.shape[2:]), []
        for width in self.widths:
            size = [-(-n // 2) for n in size]
            hidden.append(maps.new_zeros(len(maps), width, *size))
        return *hidden, maps.new_zeros(len(maps), self.embedding)

    def forward(
        self, maps: Tensor, vectors: Tensor, hidden: Hidden
    ) -> tuple[Tensor, Tensor, Hidden]:
        """Makes one step; see :class:`~lensrim.rim.networks.Network`."""
        *levels, inner = hidden
        context = self.embed(torch.cat([vectors, inner], 1))
        full = x = self.first(maps)
        kept = []
        for block, cell, h in zip(self.down, self.memory, levels, strict=True):
            x = cell(block(x, context), h)
            kept.append(x)
        inner = self.vector_memory(torch.cat([x.flatten(2).mean(2), context], 1), inner)
        told = inner[:, :0] if self.vector_last is None else self.vector_last(inner)
        if self.last is None or self.merge is None:
            return full[:, :0], told, (*kept, inner)
        for block, skip in zip(reversed(self.up), reversed(kept[:-1]), strict=True):
            x = block(torch.cat([skip, resize(x, skip.shape[2:])], 1), context)
        x = self.merge(torch.cat([full, resize(x, full.shape[2:])], 1), context)
        moved = self.last(x)
        if self.vector_last is None:
            moved = tied(moved, inner)
        return moved, told, (*kept, inner)


def check_levels(kind: str, dims: int, widths: Sequence[int], lift: int, embedding: int) -> None:
    """Checks what a network of levels is made with.

    Raises:
        ValueError: If it cannot be built.
    """
    if not 1 <= dims <= 3 or not widths or min(*widths, lift, embedding) < 1:
        raise ValueError(
            f"{kind} has 1 to 3 dimensions and one level or more of one channel or more, got "
            f"dims {dims}, widths {tuple(widths)}, lift {lift}, embedding {embedding}"
        )
