"""The mass models that the laws are tested on: kinds, parameters, and where their maps are taken.

A case is a kind and its parameters by name, so that a law can turn them into tensors, batches,
other types or leaves of a graph.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from lensrim.grid import PixelGrid
from lensrim.lensing import mass as models
from lensrim.lensing.mass import Mass

SHAPE = {"e1": 0.2, "e2": -0.15}
PLACE = {"center_x": 0.03, "center_y": -0.05}
METHODS = ("potential", "deflection", "convergence", "shear")


@dataclass(frozen=True)
class Case:
    """Creates one mass model of the list: its kind, numbers that vary, and what is fixed."""

    kind: Any
    numbers: Mapping[str, float]
    fixed: Mapping[str, Any] = field(default_factory=dict)

    def make(self, **changed: Any) -> Mass:
        return self.kind(**{**self.numbers, **changed}, **self.fixed)

    def tensors(self, dtype=torch.float64, *, grad: bool = False) -> dict[str, Tensor]:
        return {
            k: torch.tensor(v, dtype=dtype, requires_grad=grad) for k, v in self.numbers.items()
        }


def pixelated(strength: Any, center_x: Any, center_y: Any) -> Mass:
    """A potential on coarse pixels that leave out some of the positions of the tests."""
    grid = PixelGrid((6, 7), 0.8, (0.1, -0.2))
    x, y = grid.coordinates(dtype=torch.float64)
    psi = (x**2 + 1.5 * y**2 + 0.3 * x * y + 0.5).sqrt()
    strength = torch.as_tensor(strength)[..., None, None]
    return models.PixelatedPotential(strength * psi.to(strength), grid, center_x, center_y)


CASES: dict[str, Case] = {
    "SIS": Case(models.SIS, {"theta_E": 1.1, **PLACE}),
    "SIE": Case(models.SIE, {"theta_E": 1.2, **SHAPE, **PLACE}),
    "EPL steep": Case(models.EPL, {"theta_E": 1.1, "gamma": 2.3, **SHAPE, **PLACE}),
    "EPL shallow": Case(models.EPL, {"theta_E": 1.1, "gamma": 1.7, **SHAPE, **PLACE}),
    "NIE": Case(models.NIE, {"theta_E": 1.2, "core": 0.2, **SHAPE, **PLACE}),
    "DPIE": Case(models.DPIE, {"theta_E": 1.2, "core": 0.1, "truncation": 0.8, **SHAPE, **PLACE}),
    "NFW": Case(models.NFW, {"kappa_s": 0.3, "r_s": 1.2, **PLACE}),
    "TNFW": Case(models.TNFW, {"kappa_s": 0.3, "r_s": 0.7, "r_t": 1.5, **PLACE}),
    "TNFW, early": Case(models.TNFW, {"kappa_s": 0.8, "r_s": 0.4, "r_t": 0.1, **PLACE}),
    "Hernquist": Case(models.Hernquist, {"sigma_0": 0.5, "r_s": 0.8, **PLACE}),
    "point mass": Case(models.PointMass, {"theta_E": 0.7, **PLACE}),
    "Sersic disc": Case(
        models.SersicMass, {"kappa_e": 0.4, "R_sersic": 0.9, "n_sersic": 1.0, **SHAPE, **PLACE}
    ),
    "Sersic bulge": Case(
        models.SersicMass, {"kappa_e": 0.4, "R_sersic": 0.9, "n_sersic": 4.2, **SHAPE, **PLACE}
    ),
    "multipole 1": Case(models.Multipole, {"a": 0.02, "b": -0.01, "r_E": 1.3, **PLACE}, {"m": 1}),
    "multipole 3": Case(models.Multipole, {"a": 0.02, "b": -0.01, **PLACE}, {"m": 3}),
    "multipole 4": Case(models.Multipole, {"a": -0.03, "b": 0.01, **PLACE}, {"m": 4}),
    "shear": Case(models.Shear, {"gamma1": 0.05, "gamma2": -0.08, **PLACE}),
    "flexion": Case(models.Flexion, {"g1": 0.02, "g2": -0.01, "g3": 0.03, "g4": 0.01, **PLACE}),
    "mass sheet": Case(models.MassSheet, {"kappa": 0.1, **PLACE}),
    "pixelated potential": Case(pixelated, {"strength": 0.8, **PLACE}),
}


def points(n: int = 40, *, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Positions between 0.2 and 3 arcsec of the origin, as maps of one row."""
    generator = torch.Generator().manual_seed(seed)
    r, phi = torch.rand(2, 1, n, generator=generator, dtype=torch.float64)
    r, phi = 0.2 + 2.8 * r, 2 * math.pi * phi
    return r * phi.cos(), r * phi.sin()


def values(mass: Mass, x: Tensor, y: Tensor) -> dict[str, Tensor]:
    """All maps of a model, those with two components stacked."""
    out = {}
    for name in METHODS:
        value = getattr(mass, name)(x, y)
        out[name] = torch.stack(value) if isinstance(value, tuple) else value
    return out


def derivatives(value: Tensor, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """Derivatives of a map by its coordinates, zero where it does not depend on them."""
    return torch.autograd.grad(value.sum(), (x, y), retain_graph=True, materialize_grads=True)
