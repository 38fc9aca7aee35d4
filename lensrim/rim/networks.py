"""Networks of the recurrent inference machine: maps and vectors in, maps and vectors out, memory
handed in and out.

Any network with the attributes and methods of :class:`Network` can be used.
"""

from collections.abc import Sequence
from itertools import pairwise
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .cells import ConvGRU, conv, group_norm

Hidden = tuple[Tensor, ...]


@runtime_checkable
class Network(Protocol):
    """What the recurrent inference machine needs of a network.

    Arguments:
        dims: Dimensions of the maps.
        maps_in, vectors_in: Channels of the maps and length of the vectors that it takes.
        maps_out, vectors_out: The same of what it returns.
    """

    dims: int
    maps_in: int
    vectors_in: int
    maps_out: int
    vectors_out: int

    def init_hidden(self, maps: Tensor) -> Hidden:
        """Returns the memory before the first step, for maps with shape (B, C, ...)."""
        ...

    def __call__(
        self, maps: Tensor, vectors: Tensor, hidden: Hidden
    ) -> tuple[Tensor, Tensor, Hidden]:
        """Returns maps (B, maps_out, ...), vectors (B, vectors_out), and the new memory."""
        ...


class UNet(nn.Module):
    r"""Creates a U-Net with memory at every level.

    The maps are lifted to ``lift`` channels at full size, and halved level by level. At each level
    a :class:`~lensrim.rim.cells.ConvGRU` remembers; its hidden map is the skip connection. The
    vectors (conditioning, vector fields) scale and shift the channels at every level; a gated
    recurrent unit of their own reads them with the means of the deepest level, and gives the
    vector output. The last layers begin at zero, so that an untrained machine returns its start.

    Arguments:
        dims: Dimensions of the maps, 1 to 3. Any size works, odd ones too.
        maps_in, vectors_in: Channels of the maps and length of the vectors that it takes.
        maps_out, vectors_out: The same of what it returns.
        widths: Channels of the levels, the first at half the size of the maps.
        lift: Channels at full size.
        embedding: Length of the embedded vectors.
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
    ):
        super().__init__()
        if not 1 <= dims <= 3 or not widths or min(*widths, lift, embedding) < 1:
            raise ValueError(
                "a U-Net has 1 to 3 dimensions and one level or more of one channel or more, got "
                f"dims {dims}, widths {tuple(widths)}, lift {lift}, embedding {embedding}"
            )
        self.dims, self.maps_in, self.vectors_in = dims, maps_in, vectors_in
        self.maps_out, self.vectors_out = maps_out, vectors_out
        self.widths, self.lift, self.embedding = tuple(widths), lift, embedding
        self.embed = nn.Sequential(
            nn.Linear(vectors_in + embedding, embedding),
            nn.SiLU(),
            nn.Linear(embedding, embedding),
        )
        self.first = conv(dims, maps_in, lift)
        ins = (lift, *widths[:-1])
        self.down = nn.ModuleList(
            _Block(dims, i, w, embedding, stride=2) for i, w in zip(ins, widths, strict=True)
        )
        self.memory = nn.ModuleList(ConvGRU(dims, w, w) for w in widths)
        self.up = nn.ModuleList(
            _Block(dims, w + deeper, w, embedding) for w, deeper in pairwise(widths)
        )
        self.merge = _Block(dims, lift + widths[0], lift, embedding)
        self.last = conv(dims, lift, maps_out)
        self.vector_memory = nn.GRUCell(widths[-1] + embedding, embedding)
        self.vector_last = nn.Linear(embedding, vectors_out) if vectors_out else None
        for layer in filter(None, (self.last, self.vector_last)):
            for parameter in layer.parameters():
                nn.init.zeros_(parameter)

    @property
    def config(self) -> dict:
        """The arguments that make this network again."""
        names = ("dims", "maps_in", "vectors_in", "maps_out", "vectors_out")
        more = ("widths", "lift", "embedding")
        return {name: getattr(self, name) for name in (*names, *more)}

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
        """Makes one step; see :class:`Network`."""
        *levels, inner = hidden
        context = self.embed(torch.cat([vectors, inner], 1))
        full = x = self.first(maps)
        kept = []
        for block, cell, h in zip(self.down, self.memory, levels, strict=True):
            x = cell(block(x, context), h)
            kept.append(x)
        inner = self.vector_memory(torch.cat([x.flatten(2).mean(2), context], 1), inner)
        for block, skip in zip(reversed(self.up), reversed(kept[:-1]), strict=True):
            x = block(torch.cat([skip, resize(x, skip.shape[2:])], 1), context)
        x = self.merge(torch.cat([full, resize(x, full.shape[2:])], 1), context)
        out = inner[:, :0] if self.vector_last is None else self.vector_last(inner)
        return self.last(x), out, (*kept, inner)


def resize(x: Tensor, shape: Sequence[int]) -> Tensor:
    """Interpolates maps (B, C, ...) linearly along each axis to another shape.

    As torch's own does, outer edges on outer edges, but by products with matrices: on a GPU that
    is many times faster where channels are many, and its gradient is the same at every run.
    """
    for axis, size in enumerate(shape, start=2):
        n, device = x.shape[axis], x.device
        # Positions of many pixels are no half-precision numbers; their weights are.
        at = (torch.arange(size, device=device, dtype=torch.float64) + 0.5) * (n / size) - 0.5
        pixels = torch.arange(n, device=device, dtype=torch.float64)
        weights = (1 - (at.clamp(0, n - 1)[:, None] - pixels).abs()).clamp(min=0).to(x)
        if axis == x.ndim - 2:
            x = weights @ x
        else:
            x = (x.movedim(axis, -1) @ weights.T).movedim(-1, axis)
    return x


class _Block(nn.Module):
    """Convolution, normalisation, scale and shift by the context, activation."""

    def __init__(self, dims: int, inputs: int, outputs: int, embedding: int, *, stride: int = 1):
        super().__init__()
        self.conv = conv(dims, inputs, outputs, stride=stride)
        self.norm = group_norm(outputs)
        self.film = nn.Linear(embedding, 2 * outputs)
        nn.init.zeros_(self.film.weight)
        nn.init.zeros_(self.film.bias)

    def forward(self, x: Tensor, context: Tensor) -> Tensor:
        x = self.norm(self.conv(x))
        shape = (len(x), -1, *[1] * (x.ndim - 2))
        scale, shift = (part.reshape(shape) for part in self.film(context).chunk(2, 1))
        return F.silu(torch.addcmul(shift + x, scale, x))
