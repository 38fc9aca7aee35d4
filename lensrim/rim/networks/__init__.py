"""Networks of the recurrent inference machine: maps and vectors in, maps and vectors out, memory
handed in and out.

Any network with the attributes and methods of :class:`Network` can be used. What a machine knows
of an observation beside its score reaches the network as channels of the maps and as numbers of
the vectors; of how many of each, it is told when it is made.
"""

from collections.abc import Mapping
from types import MappingProxyType

from torch import nn

from .hourglass import Hourglass
from .layers import resize
from .mlp import MLP
from .parts import ACTIVATIONS, NORMS
from .protocol import Hidden, Network
from .unet import UNet

__all__ = [
    "Network", "Hidden", "UNet", "Hourglass", "MLP", "NETWORKS", "NORMS", "ACTIVATIONS", "resize",
]  # fmt: skip

NETWORKS: Mapping[str, type[nn.Module]] = MappingProxyType(
    {network.__name__: network for network in (UNet, Hourglass, MLP)}
)
"""The networks of this package by name: ``NETWORKS[name](**network.config)`` makes one again."""
