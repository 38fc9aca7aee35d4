r"""The network of the published machine: a U-Net that remembers on its skips.

At each level: convolutions, a gated recurrent unit on the skip, and a strided convolution down; at
the bottom a recurrent unit alone; then transposed convolutions up, joined by what the units of the
skips gave. The first convolution is wide, the last has one pixel. No normalisation, tanh
everywhere. One network moves the source and the convergence; it sees neither the number of the
step nor the noise: vectors are not read.

References:
    Adam et al. 2023, arXiv:2301.04168, as the public code (Censai, ``SharedUnetModelv4``) has it.
"""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn

from ...rim.cells import ConvGRU, conv
from ...rim.networks import Hidden


class SharedUNet(nn.Module):
    """Creates the network, for maps of two dimensions.

    Arguments:
        maps_in, vectors_in, maps_out, vectors_out: Sizes that the machine gives; vectors are
            taken, and not read.
        widths: Channels of the levels, the first at the size of the maps, the last at the bottom.
        convolutions: Convolutions of each level, on the way down and on the way up.
        kernel: Odd side of the first kernel.
    """

    dims = 2

    def __init__(
        self,
        *,
        maps_in: int,
        vectors_in: int,
        maps_out: int,
        vectors_out: int,
        widths: Sequence[int] = (128, 256, 512, 1024, 1024),
        convolutions: int = 2,
        kernel: int = 11,
    ):
        super().__init__()
        self.maps_in, self.vectors_in = maps_in, vectors_in
        self.maps_out, self.vectors_out = maps_out, vectors_out
        self.widths, self.convolutions, self.kernel = tuple(widths), convolutions, kernel
        self.first = nn.Sequential(conv(2, maps_in, widths[0], kernel), nn.Tanh())
        self.across = nn.ModuleList(_convolutions(w, w, convolutions) for w in widths[:-1])
        self.down = nn.ModuleList(
            nn.Sequential(conv(2, above, below, stride=2), nn.Tanh())
            for above, below in pairwise(widths)
        )
        self.memory = nn.ModuleList(ConvGRU(2, w, w) for w in widths)
        self.up = nn.ModuleList(
            nn.ConvTranspose2d(below, above, 3, stride=2, padding=1)
            for above, below in pairwise(widths)
        )
        self.merge = nn.ModuleList(_convolutions(2 * w, w, convolutions) for w in widths[:-1])
        self.last = conv(2, widths[0], maps_out, 1)

    @property
    def config(self) -> dict[str, Any]:
        """The arguments that make this network again."""
        names = ("maps_in", "vectors_in", "maps_out", "vectors_out")
        return {n: getattr(self, n) for n in (*names, "widths", "convolutions", "kernel")}

    def init_hidden(self, maps: Tensor) -> Hidden:
        """Returns zeros: a map for each level."""
        size, hidden = list(maps.shape[2:]), []
        for width in self.widths:
            hidden.append(maps.new_zeros(len(maps), width, *size))
            size = [-(-n // 2) for n in size]
        return tuple(hidden)

    def forward(
        self, maps: Tensor, vectors: Tensor, hidden: Hidden
    ) -> tuple[Tensor, Tensor, Hidden]:
        """Makes one step; see :class:`~lensrim.rim.networks.Network`."""
        x, kept = self.first(maps), []
        for across, down, cell, h in zip(
            self.across, self.down, self.memory, hidden, strict=False
        ):
            x = across(x)
            kept.append(cell(x, h))
            x = down(x)
        kept.append(x := self.memory[-1](x, hidden[-1]))
        levels = zip(reversed(self.up), reversed(self.merge), reversed(kept[:-1]), strict=True)
        for up, merge, skip in levels:
            x = up(x, output_size=list(skip.shape[2:]))
            x = merge(torch.cat([x, skip], 1))
        return self.last(x), torch.zeros_like(vectors[:, :0]), tuple(kept)


def _convolutions(inputs: int, outputs: int, count: int) -> nn.Sequential:
    """Creates convolutions in a row, each with its activation."""
    layers: list[nn.Module] = []
    for i in range(count):
        layers += [conv(2, outputs if i else inputs, outputs), nn.Tanh()]
    return nn.Sequential(*layers)
