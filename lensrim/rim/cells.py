r"""Convolutions in 0 to 3 dimensions, and the cells that remember.

A cell takes an input :math:`x` and a hidden map :math:`h`, and returns the new hidden map, which
is also its output. In 0 dimensions maps are vectors, and a convolution is a matrix. Every cell
returns a mean of the old map and of a candidate within :math:`(-1, 1)`, so that no memory grows
with the number of steps.

What the cells are worth, in a small U-Net (16 and 24 channels) of T = 5 that is trained on blurred
random fields whose posterior mean is known. Parameters of the whole network; root mean square
error on 500 unseen fields, mean of three seeds (least to largest), after as many steps as all and
after as many as fit into the time of the first::

                                     parameters  equal steps            equal time
    32 pixels, batch 32, posterior mean 0.1388
      ConvGRU                        26 753      0.146 (0.144-0.149)    160 steps
      MinimalGRU                     21 721      0.145 (0.143-0.146)    0.145 (0.143-0.146), 164
      GatedResidual                  15 385      0.145 (0.145-0.145)    0.145 (0.144-0.147), 169
    16² pixels, batch 16, posterior mean 0.1692
      ConvGRU                        67 937      0.183 (0.178-0.190)    120 steps
      MinimalGRU                     52 921      0.184 (0.183-0.185)    0.180 (0.178-0.181), 136
      GatedResidual                  27 097      0.187 (0.184-0.191)    0.184 (0.182-0.186), 126

A step of the training on 64² pixels, batch 8, took 695, 645 and 557 ms, quartiles within 8 per
cent. (``python -m lensrim.evaluation.bench.cells``, 2026-11-26, one thread of a busy CPU: the
times on 16² pixels, from which their last numbers of steps come, spread by a third and more.)
So the seeds differ more than the cells do, and the cheapest is as good here. The default is the
cell of the published machines, and of the packaged one.

References:
    Cho+ 2014, arXiv:1406.1078; Ballas+ 2016, arXiv:1511.06432 (convolutional);
    Zhou+ 2016, arXiv:1603.09420 (one gate); Heck & Salem 2017, arXiv:1701.03452.
"""

from collections.abc import Callable, Mapping
from types import MappingProxyType

import torch
from torch import Tensor, nn

CONV = (None, nn.Conv1d, nn.Conv2d, nn.Conv3d)

CellMaker = Callable[[int, int, int], nn.Module]
"""Takes the dimensions of the maps, the channels of the input and those of the hidden map."""


def conv(
    dims: int, inputs: int, outputs: int, kernel: int = 3, *, stride: int = 1, groups: int = 1
) -> nn.Module:
    """Creates a convolution that keeps the size of a map, or divides it, rounded up.

    Arguments:
        dims: Dimensions of the maps, 1 to 3; or 0, for a matrix that has neither kernel nor
            stride nor groups.
        inputs, outputs: Channels.
        kernel: Odd side of the kernel.
        stride: Divisor of the size.
        groups: Groups of channels that do not see each other.
    """
    if dims == 0:
        return nn.Linear(inputs, outputs)
    layer = CONV[dims]
    assert layer is not None
    return layer(inputs, outputs, kernel, stride=stride, padding=kernel // 2, groups=groups)


def group_norm(channels: int, *, groups: int = 8) -> nn.GroupNorm:
    """Creates a group normalisation with at most ``groups`` groups: no sample sees another."""
    groups = min(groups, max(channels // 2, 1))  # one channel at one pixel has no variance
    while channels % groups:
        groups -= 1
    return nn.GroupNorm(groups, channels)


def layer_norm(channels: int) -> nn.GroupNorm:
    """Creates a normalisation by all channels and pixels of a sample."""
    return nn.GroupNorm(1, channels)


class ConvGRU(nn.Module):
    r"""Creates a convolutional gated recurrent unit,

    .. math::
        z, r = \sigma(W [x, h] + b) , \qquad
        \tilde h = \tanh(W_h [x, r h] + b_h) , \qquad
        h' = (1 - z) \, h + z \, \tilde h .

    Arguments:
        dims: Dimensions of the maps, 0 to 3.
        inputs: Channels of the input.
        hidden: Channels of the hidden map, which is also the output.
        kernel: Odd side of the kernels.
    """

    def __init__(self, dims: int, inputs: int, hidden: int, *, kernel: int = 3):
        super().__init__()
        self.gates = conv(dims, inputs + hidden, 2 * hidden, kernel)
        self.candidate = conv(dims, inputs + hidden, hidden, kernel)

    def forward(self, x: Tensor, h: Tensor) -> Tensor:
        """Returns the new hidden map from an input and the old one."""
        update, reset = torch.sigmoid(self.gates(torch.cat([x, h], 1))).chunk(2, 1)
        candidate = torch.tanh(self.candidate(torch.cat([x, reset * h], 1)))
        return _moved(h, candidate, update)


class MinimalGRU(nn.Module):
    r"""Creates a gated recurrent unit with one gate, which forgets and updates,

    .. math::
        f = \sigma(W [x, h] + b) , \qquad
        \tilde h = \tanh(W_h [x, f h] + b_h) , \qquad
        h' = (1 - f) \, h + f \, \tilde h .

    It has two thirds of the parameters of :class:`ConvGRU`, whose arguments it takes.
    """

    def __init__(self, dims: int, inputs: int, hidden: int, *, kernel: int = 3):
        super().__init__()
        self.gate = conv(dims, inputs + hidden, hidden, kernel)
        self.candidate = conv(dims, inputs + hidden, hidden, kernel)

    def forward(self, x: Tensor, h: Tensor) -> Tensor:
        """Returns the new hidden map from an input and the old one."""
        gate = torch.sigmoid(self.gate(torch.cat([x, h], 1)))
        candidate = torch.tanh(self.candidate(torch.cat([x, gate * h], 1)))
        return _moved(h, candidate, gate)


class GatedResidual(nn.Module):
    r"""Creates a gated correction of the hidden map,

    .. math::
        z, c = W \, D [x, h] + b , \qquad
        h' = h + \sigma(z) \, (\tanh c - h) ,

    where :math:`D` convolves each channel alone and :math:`W` mixes the channels of one pixel. It
    has a tenth of the parameters of :class:`ConvGRU` in two dimensions, whose arguments it takes.
    """

    def __init__(self, dims: int, inputs: int, hidden: int, *, kernel: int = 3):
        super().__init__()
        channels = inputs + hidden
        self.spread = conv(dims, channels, channels, kernel, groups=channels) if dims else None
        self.mix = conv(dims, channels, 2 * hidden, 1)

    def forward(self, x: Tensor, h: Tensor) -> Tensor:
        """Returns the new hidden map from an input and the old one."""
        both = torch.cat([x, h], 1)
        gate, candidate = self.mix(both if self.spread is None else self.spread(both)).chunk(2, 1)
        return _moved(h, torch.tanh(candidate), torch.sigmoid(gate))


def _moved(h: Tensor, candidate: Tensor, share: Tensor) -> Tensor:
    """Moves a hidden map by a share of the way to the candidate."""
    # Under autocast, what is new comes in half precision; what is remembered stays as it is.
    return torch.lerp(h, candidate.to(h), share.to(h))


CELLS: Mapping[str, CellMaker] = MappingProxyType(
    {"ConvGRU": ConvGRU, "MinimalGRU": MinimalGRU, "GatedResidual": GatedResidual}
)
"""The cells of this package, by the name that a configuration holds."""
