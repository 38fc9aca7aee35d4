"""What an outside method takes and returns."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

import numpy as np

from ... import metrics
from ...io.observation import Observation
from ...io.product import Product
from ..maps import Maps, maps_of
from ..mocks import Mock


@dataclass(frozen=True)
class Solved:
    """Creates what a method has found.

    Arguments:
        maps: Arcs, convergence, deflection and source.
        rest: All else that it models, lens light and sky, with the observation's shape or 0.
        effective: Effective number of fitted parameters; NaN where it is not known.
        timing: Where it begins with an answer of the chain: ``seconds`` on the clock and ``cpu``
            of its own work, and ``start_seconds`` of the chain's.
    """

    maps: Maps
    rest: np.ndarray | float = 0.0
    effective: float = float("nan")
    timing: Mapping[str, float] = field(default_factory=dict)

    @classmethod
    def of(cls, product: Product) -> "Solved":
        """Takes what is compared out of a product."""
        maps = product.image_maps
        rest = maps.get("LENS_LIGHT", 0.0) + maps.get("SKY", 0.0)
        peff = product.value("PEFF")
        return cls(maps_of(product), rest, float("nan") if peff is None else float(peff))

    def numbers(self, mock: Mock) -> dict[str, float]:
        """Computes the numbers that are compared beside the maps; the arcs are the true ones."""
        seen, model = mock.observation, self.maps.model + self.rest
        arcs = mock.truth.arc_mask & seen.mask
        return {
            "theta_E": metrics.effective_theta_E(self.maps.kappa, seen.grid),
            "chi2nu": metrics.chi2_nu(seen.image, model, seen.sigma, seen.mask),
            "chi2arc": metrics.chi2_nu(seen.image, model, seen.sigma, arcs),
            "peff": self.effective,
        }


@runtime_checkable
class Reference(Protocol):
    """An outside method."""

    @property
    def name(self) -> str:
        """What it is called, in options and tables."""
        ...

    def __call__(self, observation: Observation, lens_light: bool, /) -> Solved:
        """Solves an observation.

        Arguments:
            observation: What a user would have.
            lens_light: Whether it holds the light of the lens galaxy.
        """
        ...
