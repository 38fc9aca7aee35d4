r"""Convolutions in 1 to 3 dimensions, and the cell that remembers.

The convolutional gated recurrent unit keeps a hidden map :math:`h`,

.. math::
    z, r = \sigma(W [x, h] + b) , \qquad
    \tilde h = \tanh(W_h [x, r h] + b_h) , \qquad
    h' = (1 - z) \, h + z \, \tilde h .

References:
    Cho+ 2014, arXiv:1406.1078; Ballas+ 2016, arXiv:1511.06432 (convolutional).
"""

import torch
from torch import Tensor, nn

CONV = (None, nn.Conv1d, nn.Conv2d, nn.Conv3d)


def conv(dims: int, inputs: int, outputs: int, kernel: int = 3, *, stride: int = 1) -> nn.Module:
    """Creates a convolution that keeps the size of a map, or divides it, rounded up.

    Arguments:
        dims: Dimensions of the maps, 1 to 3.
        inputs, outputs: Channels.
        kernel: Odd side of the kernel.
        stride: Divisor of the size.
    """
    layer = CONV[dims]
    assert layer is not None
    return layer(inputs, outputs, kernel, stride=stride, padding=kernel // 2)


def group_norm(channels: int, *, groups: int = 8) -> nn.GroupNorm:
    """Creates a group normalisation with at most ``groups`` groups: no sample sees another."""
    groups = min(groups, max(channels // 2, 1))  # one channel at one pixel has no variance
    while channels % groups:
        groups -= 1
    return nn.GroupNorm(groups, channels)


class ConvGRU(nn.Module):
    """Creates a convolutional gated recurrent unit.

    Arguments:
        dims: Dimensions of the maps, 1 to 3.
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
        # Under autocast, what is new comes in half precision; what is remembered stays as it is.
        return torch.lerp(h, candidate.to(h), update.to(h))
