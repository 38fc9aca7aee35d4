"""What the recurrent inference machine asks of a network."""

from typing import Protocol, runtime_checkable

from torch import Tensor

Hidden = tuple[Tensor, ...]


@runtime_checkable
class Network(Protocol):
    """What the recurrent inference machine needs of a network.

    Beside it, ``config``, the arguments of its class by name, is needed by those who write the
    machine into a file. Where several processes train one, every parameter must have a gradient in
    every step, zero if it must be: that of a memory which only the next step reads has none at the
    last (:func:`~lensrim.rim.networks.layers.tied`).

    Arguments:
        dims: Dimensions of the maps; 0 where there are none, and maps have shape (B, 0).
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
