r"""The network of the published machines: strided convolution, gated recurrent units, and back.

Putzky & Welling's has one recurrent unit,

    convolution (stride 2) - tanh - GRU - transposed convolution - tanh - convolution ,

and Morningstar et al.'s two, with a convolution and a tanh between them. It remembers at one
resolution only, and sees neither the number of the step nor the noise: vectors are not read.

References:
    Putzky & Welling 2017, arXiv:1706.04008, section 4.1 (of the version on OpenReview);
    Morningstar et al. 2019, arXiv:1901.01359, as public code (torch_rim, ``GRUBlock``) reads it.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ..rim.cells import ConvGRU, conv, layer_norm
from ..rim.networks import Hidden


class Recurrent(nn.Module):
    """Creates the network, for maps of two dimensions.

    Arguments:
        maps_in, vectors_in, maps_out, vectors_out: Sizes that the machine gives; vectors are
            taken, and not read.
        features: Channels of the outer convolutions.
        hidden: Channels of the recurrent units, one or more.
        kernel: Odd side of the outer kernels.
        stride: Divisor of the size of the maps within.
        normalised: Whether the outer convolutions are normalised, each sample by itself.
    """

    dims = 2

    def __init__(
        self,
        *,
        maps_in: int,
        vectors_in: int,
        maps_out: int,
        vectors_out: int,
        features: int = 64,
        hidden: Sequence[int] = (256,),
        kernel: int = 3,
        stride: int = 2,
        normalised: bool = True,
    ):
        super().__init__()
        self.maps_in, self.vectors_in = maps_in, vectors_in
        self.maps_out, self.vectors_out = maps_out, vectors_out
        self.features, self.hidden, self.kernel = features, tuple(hidden), kernel
        self.stride, self.normalised = stride, normalised
        norm = layer_norm if normalised else nn.Identity
        self.first = nn.Sequential(
            conv(2, maps_in, features, kernel, stride=stride), norm(features), nn.Tanh()
        )
        self.cells = nn.ModuleList(
            ConvGRU(2, given, width)
            for given, width in zip((features, *self.hidden[:-1]), self.hidden, strict=True)
        )
        self.between = nn.ModuleList(
            nn.Sequential(conv(2, width, width), nn.Tanh()) for width in self.hidden[:-1]
        )
        self.back = nn.ConvTranspose2d(
            self.hidden[-1], features, kernel, stride=stride, padding=kernel // 2
        )
        self.after = nn.Sequential(norm(features), nn.Tanh())
        self.last = conv(2, features, maps_out)

    @property
    def config(self) -> dict[str, Any]:
        """The arguments that make this network again."""
        names = ("maps_in", "vectors_in", "maps_out", "vectors_out", "features", "hidden")
        return {n: getattr(self, n) for n in (*names, "kernel", "stride", "normalised")}

    def init_hidden(self, maps: Tensor) -> Hidden:
        """Returns zeros: a map for each recurrent unit."""
        size = [-(-n // self.stride) for n in maps.shape[2:]]
        return tuple(maps.new_zeros(len(maps), width, *size) for width in self.hidden)

    def forward(
        self, maps: Tensor, vectors: Tensor, hidden: Hidden
    ) -> tuple[Tensor, Tensor, Hidden]:
        """Makes one step; see :class:`~lensrim.rim.networks.Network`."""
        x, kept = self.first(maps), []
        for i, (cell, h) in enumerate(zip(self.cells, hidden, strict=True)):
            x = cell(x if i == 0 else self.between[i - 1](x), h)
            kept.append(x)
        x = self.after(self.back(x, output_size=list(maps.shape[2:])))
        return self.last(x), torch.zeros_like(vectors[:, :0]), tuple(kept)
