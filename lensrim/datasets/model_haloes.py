"""The haloes of the halo model, as a collection of lenses: what there is without any file.

Each is drawn, put on pixels and measured when it is first asked for, in about a second, and then
remembered by the process. To make many once, for many processes, is what ``lensrim haloes`` is
for.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Any

from ..errors import InputError
from .hydro import halo_views
from .scaled_haloes import HaloView, ScaledHalo, scaled_halo
from .smoothing import with_reach
from .toy_haloes import ToyHaloes

COUNT = 300
"""Haloes of a population that names no others."""


@dataclass(frozen=True)
class ModelHaloes:
    """Creates a seeded collection of haloes of the model; each has one projection.

    Arguments:
        count: Number of haloes.
        seed: Seed of the collection.
    """

    count: int = COUNT
    seed: int = 0

    @property
    def halos(self) -> dict[str, str]:
        """The halo that each projection shows: itself."""
        return {name: name for name in self.names}

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the haloes."""
        return tuple(f"model-{self.seed}-{i:05d}" for i in range(self.count))

    def views(self, name: str) -> Iterator[HaloView | str]:
        toys = ToyHaloes(count=self.count, particles=20_000)
        toy = with_reach(toys.load(toys.names[int(name[-5:])]), enabled=False)
        for view in halo_views(toy, name=name, projections=1):
            yield view

    def load(self, name: str) -> ScaledHalo:
        """Makes one, unless this process remembers it."""
        return _made(self, name)


@lru_cache(maxsize=512)
def _made(haloes: ModelHaloes, name: str) -> ScaledHalo:
    view = next(haloes.views(name))
    assert isinstance(view, HaloView)
    return scaled_halo(view)
