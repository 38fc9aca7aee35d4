"""What a batch of training pairs is drawn as: numbers, which are small, and rendered elsewhere."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from typing import Any

import torch
from torch import Tensor

Numbers = Mapping[str, Tensor]


@dataclass(frozen=True)
class Drawn:
    """Holds the numbers of a batch, on the CPU or on a device.

    It travels: to another process by pickle, through pinned memory, to a device.

    Arguments:
        seed: Seed of the random fields, which are drawn where it is rendered.
        macro: log theta_E, e1, e2, center_x, center_y, gamma1, gamma2, gamma, with shape (B, 8).
        masses: Of each kind of mass what its systems are made of, and their ``row`` in the batch;
            nothing where there are none. In the order of the kinds.
        source, psf, light, noise, rough, contaminants: What each of them is made of.
    """

    seed: int
    macro: Tensor
    masses: tuple[Numbers, ...]
    source: Numbers
    psf: Numbers
    light: Numbers
    noise: Numbers
    rough: Numbers
    contaminants: Numbers

    def to(self, device: torch.device | str) -> "Drawn":
        """Moves the numbers to a device; from pinned memory without waiting for it."""
        return self._each(lambda t: t.to(device, non_blocking=True))

    def pin_memory(self) -> "Drawn":
        """Moves the numbers to pinned memory: torch's loader of batches calls it."""
        return self._each(Tensor.pin_memory)

    def _each(self, change: Callable[[Tensor], Tensor]) -> "Drawn":
        def changed(part: Any) -> Any:
            if isinstance(part, Tensor):
                return change(part)
            if isinstance(part, Mapping):
                return {name: change(value) for name, value in part.items()}
            return tuple(changed(each) for each in part) if isinstance(part, tuple) else part

        return Drawn(**{f.name: changed(getattr(self, f.name)) for f in fields(self)})


class Stream:
    """Creates a stream of random numbers on a device.

    Those of a GPU are others than those of a CPU, from the same seed.

    Arguments:
        device: The device.
        seed: Seed.
    """

    def __init__(self, device: torch.device, seed: int):
        self.device = device
        self.generator = torch.Generator(device).manual_seed(seed)

    def normal(self, *shape: int) -> Tensor:
        """Draws standard normal numbers."""
        return torch.randn(
            shape, generator=self.generator, device=self.device, dtype=torch.float32
        )
