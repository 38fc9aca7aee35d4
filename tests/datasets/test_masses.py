"""Masses on a frame: few evaluations give what many do, and kinds mix in a batch."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch
from torch import Tensor

from lensrim.datasets.pairs.mass_fields import MARGIN, add_patches, at_rays, from_flux, wider
from lensrim.datasets.pairs.masses import AnalyticMasses, Fields
from lensrim.datasets.pairs.pairs import RAYS, PairPrior, Pairs
from lensrim.datasets.priors import SystemPrior
from lensrim.datasets.systems import System
from lensrim.grid import PixelGrid
from lensrim.lensing.mass import EPL, SIS, Multipole, Shear, Sum, flux_average
from lensrim.lensing.subhalos import Subhalos

PAIRS = Pairs(
    6, shape=(40, 52), prior=PairPrior(SystemPrior(pixel_scale=(1.0, 1.0), theta_E=(12.0, 20.0)))
)


@pytest.fixture(scope="module")
def both() -> tuple[Fields, Sum]:
    """The maps of masses, and their models in double precision, evaluated directly."""
    systems, _ = PAIRS._systems(3)
    numbers = AnalyticMasses().numbers(systems)
    log_theta, e1, e2, cx, cy, g1, g2, gamma = numbers["macro"].unbind(1)
    parts: list = [EPL(log_theta.exp(), gamma, e1, e2, cx, cy), Shear(g1, g2)]
    for m, wave in zip((3, 4), numbers["waves"].double().unbind(1), strict=True):
        parts.append(Multipole(m, wave[:, 0], wave[:, 1], cx, cy))
    halos = torch.zeros(len(systems), 20, 4, dtype=torch.float64)
    halos[..., 1] = 1.0
    for i in range(len(systems)):
        own = numbers["halos"][numbers["owner"] == i]
        halos[i, : len(own)] = own
    assert len(numbers["halos"]) > 25
    model = Sum([*parts, Subhalos(*halos.unbind(-1))])
    return AnalyticMasses().fields(numbers, PAIRS.grid, RAYS), model


def test_the_deflection_is_exact_to_a_thousandth_of_a_pixel(both):
    fields, model = both
    expected = torch.stack(model.deflection(*PAIRS.grid.coordinates(RAYS, dtype=torch.float64)), 1)
    error = (fields.traced - expected).abs()
    assert float(error.max()) < 1e-3
    assert float(error.square().mean().sqrt()) < 2e-5
    expected = torch.stack(model.deflection(*PAIRS.grid.coordinates(dtype=torch.float64)), 1)
    assert float((fields.alpha - expected).abs().max()) < 1e-3


def test_the_convergence_is_exact_and_its_sum_more_so(both):
    fields, model = both
    expected = flux_average(model, PAIRS.grid, 16)
    ratio = fields.kappa[:, 0] / expected
    # a pixel whose edge is next to a cusp
    assert float((ratio - 1).abs().max()) < 0.03
    assert float((ratio - 1).abs().flatten().quantile(0.99)) < 1e-4
    total = fields.kappa.sum((1, 2, 3)) / expected.sum((1, 2))
    assert float((total - 1).abs().max()) < 1e-5


def test_polynomials_of_degree_five_are_interpolated_exactly():
    grid = PixelGrid((7, 11), 1.0)

    def field(x: Tensor, y: Tensor) -> Tensor:
        x, y = x / 8, y / 8
        # a gradient: of x^6 + x^3 y^3 + y^6
        return torch.stack([6 * x**5 + 3 * x**2 * y**3, 6 * y**5 + 3 * x**3 * y**2])[None]

    alpha = field(*wider(grid).coordinates())
    assert alpha.shape[-2:] == (7 + 2 * MARGIN, 11 + 2 * MARGIN)
    expected = field(*grid.coordinates(3))
    torch.testing.assert_close(at_rays(alpha, 3), expected, atol=1e-5, rtol=1e-5)
    x, y = grid.coordinates(15)
    u, v = x / 8, y / 8
    local = (30 * u**4 + 6 * u * v**3 + 30 * v**4 + 6 * u**3 * v) / 16
    mean = torch.nn.functional.avg_pool2d(local[None, None], 15)[0]
    torch.testing.assert_close(from_flux(alpha), mean, atol=2e-4, rtol=1e-3)


def test_patches_end_at_the_edge():
    maps = torch.zeros(2, 1, 5, 6)
    row, column = torch.tensor([-1, 3, 9]), torch.tensor([4, -2, 0])
    add_patches(maps, torch.ones(3, 1, 3, 3), torch.tensor([0, 1, 1]), row, column)
    expected = torch.zeros(2, 1, 5, 6)
    expected[0, 0, :2, 4:] = 1
    expected[1, 0, 3:, :1] = 1
    assert torch.equal(maps, expected)


@dataclass(frozen=True)
class Spheres:
    """Round masses, for the lenses that are rounder than some axis ratio."""

    q: float

    def takes(self, system: System) -> bool:
        return system.lens.ellipsoid.q > self.q

    def numbers(self, systems: Sequence[System]) -> dict[str, Tensor]:
        return {"theta": torch.tensor([s.lens.ellipsoid.theta_E for s in systems])}

    def fields(self, numbers: Mapping[str, Tensor], grid: PixelGrid, rays: int) -> Fields:
        mass = SIS(numbers["theta"])
        kappa = flux_average(mass, grid, 4, torch.float32)[:, None]
        alpha, traced = (torch.stack(mass.deflection(*grid.coordinates(k)), 1) for k in (1, rays))
        return Fields(kappa, alpha, traced)


@pytest.mark.parametrize("q", [0.75, 0.0, 1.0])
def test_a_batch_mixes_kinds_of_mass(q: float):
    prior = replace(PAIRS.prior, rough=0.0)
    pairs = replace(PAIRS, prior=prior, masses=(Spheres(q), AnalyticMasses()))
    systems, rng = pairs._systems(0)
    mixed = pairs.render(pairs.collect(systems, rng))
    plain = replace(pairs, masses=(AnalyticMasses(),))(0)
    round_ = torch.tensor([s.lens.ellipsoid.q > q for s in systems])
    assert int(round_.sum()) in ({0.0: [6], 1.0: [0]}.get(q, range(1, 6)))
    theta = mixed["macro"][:, 0].exp().float()[:, None, None]
    same = ((mixed["kappa"] / plain["kappa"] - 1).abs() < 1e-3).flatten(1).all(1)
    assert torch.equal(same, ~round_)
    radius = mixed["alpha"].norm(dim=1)
    assert bool(((radius - theta).abs() < 1e-3)[round_].flatten(1).float().mean(1).gt(0.99).all())
    torch.testing.assert_close(mixed["macro"], plain["macro"])


def test_a_centre_far_outside_adds_its_own_deflection_alone():
    systems, _ = PAIRS._systems(1)
    numbers = AnalyticMasses().numbers(systems[:1])
    far = torch.tensor([[0.5, 1.0, 300.0, -200.0]])
    with_far = dict(numbers, halos=torch.cat([numbers["halos"], far]))
    with_far["owner"] = torch.cat([numbers["owner"], torch.zeros(1, dtype=torch.long)])
    one, other = (AnalyticMasses().fields(n, PAIRS.grid, RAYS) for n in (numbers, with_far))
    expected = torch.stack(
        Subhalos(*far[:, :, None].unbind(1)).deflection(*PAIRS.grid.coordinates(RAYS)), 1
    )
    torch.testing.assert_close(other.traced - one.traced, expected, atol=1e-5, rtol=1e-3)
    np.testing.assert_allclose(other.kappa, one.kappa, atol=1e-5)
