"""The haloes of the halo model, as a collection of lenses: what there is without any file.

Each is drawn, put on pixels and measured when it is first asked for, in about a second, and then
remembered by the process. To make many once, for many processes, is what ``lensrim haloes`` is
for.
"""

from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from functools import lru_cache
from typing import Any

import numpy as np

from ...errors import InputError
from ..halo_model.model import Halo, draw_halo
from ..halo_model.prior import HaloPrior
from .scaled import HaloView, ScaledHalo, scaled_halo

COUNT = 300
"""Haloes of a population that names no others."""


@dataclass(frozen=True)
class ModelHaloes:
    """Creates a seeded collection of haloes of the model; each has one projection.

    The shear of the model is left out: a population has its own.

    Arguments:
        count: Number of haloes.
        seed: Seed of the collection; halo i is the same however many there are.
        prior: What they are drawn from.
        z_lens, z_source: Redshifts; by default those of the prior.
        cosmology: Name of one of astropy's cosmologies.

    Raises:
        InputError: If the number is below 1, or the seed below 0.
    """

    count: int = COUNT
    seed: int = 0
    prior: HaloPrior = field(default_factory=HaloPrior)
    z_lens: float | None = None
    z_source: float | None = None
    cosmology: str = "Planck18"

    def __post_init__(self) -> None:
        for name, least in {"count": 1, "seed": 0}.items():
            if (found := getattr(self, name)) < least:
                raise InputError(f"{name}: must be {least} or more, found {found}; change it")

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the haloes."""
        return tuple(f"model-{self.seed}-{i:05d}" for i in range(self.count))

    @property
    def halos(self) -> dict[str, str]:
        """The halo that each projection shows: itself."""
        return {name: name for name in self.names}

    def draw(self, name: str) -> Halo:
        """Draws one of the haloes.

        Raises:
            InputError: If there is none of this name.
        """
        number = name.rpartition("-")[2]
        if not number.isdecimal() or name not in self.names:
            raise InputError(f"haloes: no halo {name!r} among {self.count} of the model")
        return draw_halo(
            np.random.default_rng([self.seed, int(number)]),
            self.prior,
            z_lens=self.z_lens,
            z_source=self.z_source,
            cosmology=self.cosmology,
        )

    def views(self, name: str) -> Iterator[HaloView | str]:
        """Returns the projection of a halo."""
        halo = self.draw(name)
        host = halo.host
        yield HaloView(
            name=name,
            halo=name,
            theta_E=halo.theta_E,
            kappa=halo.kappa,
            z_lens=halo.scales.z_lens,
            z_source=halo.scales.z_source,
            provenance=(
                f"halo model: M200 {host.halo.mass:.3g} M_sun, stars {host.stars.mass:.3g} M_sun, "
                f"{len(halo.subhalos)} subhaloes; {halo.scales.cosmology}"
            ),
        )

    def load(self, name: str) -> ScaledHalo:
        """Makes one, unless this process remembers it.

        Raises:
            InputError: If there is none of this name.
        """
        return _made(self, name)

    def state(self, name: str) -> Any:
        """Returns nothing: there are no files."""
        return None

    def recipe(self) -> dict[str, Any]:
        """Returns the settings, as JSON holds them, all but the number of haloes."""
        settings = asdict(self)
        settings.pop("count")
        return {"source": "halo model", **settings}


@lru_cache(maxsize=512)
def _made(haloes: ModelHaloes, name: str) -> ScaledHalo:
    (view,) = haloes.views(name)
    assert isinstance(view, HaloView)
    return scaled_halo(view)
