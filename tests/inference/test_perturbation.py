"""Perturbations of the mass: functions, maps, and the Gaussian about an answer."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from lensrim.errors import InputError
from lensrim.grid import PixelGrid
from lensrim.inference.perturbation import (
    MACRO,
    PerturbationPrior,
    Perturbations,
    PerturbedMass,
    at_rays,
    packaged_prior,
    read_prior,
    write_prior,
)
from lensrim.inference.view import MassMaps, macro_maps

EYE = np.eye(4)
BARE = PerturbationPrior((0.4, 0.8, 1.6, 3.2), ((EYE,), (EYE, EYE), (EYE, EYE)))
GRID = PixelGrid((32, 30), 0.1)
P = torch.tensor([0.0, 0.1, 0.15, 0.05, -0.02, 0.03, 0.01, 2.1], dtype=torch.float64)
PACKAGED = packaged_prior()


@pytest.fixture(scope="module")
def mass() -> PerturbedMass:
    own = Perturbations.of(PACKAGED, macro_maps(P, GRID).kappa, P, GRID)
    mean = torch.cat([P, torch.zeros(len(own), dtype=torch.float64)])
    return PerturbedMass(mean, GRID, own)


def test_the_rings_of_an_order_add_up_to_its_angular_function():
    angle, radius = torch.meshgrid(
        torch.linspace(0, 6, 7, dtype=torch.float64),
        torch.linspace(0.4, 9.0, 20, dtype=torch.float64),
        indexing="ij",
    )
    found = BARE.functions(radius * torch.cos(angle), radius * torch.sin(angle))
    total = found.unflatten(0, (5, 4)).sum(1)
    waves = [torch.ones_like(angle)]
    waves += [turn(m * angle) for m in (1, 2) for turn in (torch.cos, torch.sin)]
    torch.testing.assert_close(total, torch.stack(waves))
    assert found[:4, :, 0].abs().sum() == pytest.approx(7)  # one ring alone at a node


@pytest.mark.parametrize("radius", [0.0, 1e-12, 0.14])
def test_nothing_is_changed_within_the_first_ring(radius: float):
    x = torch.tensor([radius], dtype=torch.float64)
    assert not BARE.functions(x, x).any()


def test_the_coefficients_are_in_units_of_the_prior():
    spread = np.diag([0.1, 0.2, 0.3, 0.4]) ** 2 + 0.005
    prior = PerturbationPrior(BARE.nodes, ((spread,),))
    point = torch.tensor(BARE.nodes, dtype=torch.float64)
    values = prior.functions(point, torch.zeros_like(point))
    np.testing.assert_allclose(values.T @ values, spread, atol=1e-12)
    assert prior.count == 4 and BARE.count == 20 and BARE.without_rings().count == 16


def test_functions_turn_with_the_macro_model():
    square = PixelGrid((33, 33), 0.1)
    turned = P.clone()
    turned[[1, 2]] *= -1  # by a right angle
    turned[3], turned[4] = -P[4], P[3]
    one, two = (
        Perturbations.of(BARE, torch.ones(33, 33, dtype=torch.float64), p, square)
        for p in (P, turned)
    )
    for k in range(4, len(one)):
        same = torch.rot90(one.kappa[k], -1, (-2, -1))
        # the axis is told up to half a turn, which changes the sign of odd orders
        sign = torch.sign((same * two.kappa[k]).sum())
        torch.testing.assert_close(two.kappa[k], sign * same)


def test_the_rays_are_those_of_the_pixels(mass: PerturbedMass):
    own = mass.perturbations
    assert own is not None
    h, w = GRID.shape
    centers = at_rays(own.alpha, GRID, 1)
    torch.testing.assert_close(centers[0], own.alpha.reshape(-1, 2, h * w).permute(2, 1, 0))
    mean = own.rays.mean(0).reshape(h, w, 2, -1).permute(3, 2, 0, 1)
    # but for the cusp, which no polynomial follows
    far = torch.hypot(*(c - m for c, m in zip(GRID.coordinates(), P[3:5], strict=True))) > 0.35
    torch.testing.assert_close(mean[..., far], own.alpha[..., far], atol=1e-3, rtol=0.0)


def test_an_order_by_effect_leaves_the_prior_as_it_is(mass: PerturbedMass):
    own = mass.perturbations
    assert own is not None
    h, w = GRID.shape
    weight = torch.full((h * w,), (h * w) ** -0.5, dtype=torch.float64)
    turned, seen = own.by_effect(weight, 1e-8)
    assert 0 < seen < len(own)
    torch.testing.assert_close(turned.kappa.square().sum(0), own.kappa.square().sum(0))
    torch.testing.assert_close(turned.alpha.square().sum(0), own.alpha.square().sum(0))
    effect = (turned.alpha - turned.alpha.mean((-2, -1), keepdim=True)).square().sum((1, 2, 3))
    assert effect[0] > effect[3] > effect[seen] and effect[seen:].sum() < 1e-2 * effect.sum()


def test_a_mass_is_linear_in_its_coefficients(mass: PerturbedMass):
    own = mass.perturbations
    assert own is not None
    base, changed = mass.maps, mass.parameters.clone()
    torch.testing.assert_close(base.alpha, macro_maps(P, GRID).alpha)
    changed[MACRO + 5] = 2.0
    moved = replace(mass, parameters=changed).maps
    torch.testing.assert_close(moved.kappa - base.kappa, 2 * own.kappa[5])
    torch.testing.assert_close(moved.alpha - base.alpha, 2 * own.alpha[5])
    beside = replace(mass, parameters=changed, offset=MassMaps(base.kappa, base.alpha))
    torch.testing.assert_close(beside.maps.kappa, moved.kappa + base.kappa)


def test_changes_have_the_size_of_the_prior():
    drawn = PACKAGED.changes(P, GRID, 200, torch.Generator().manual_seed(0))
    assert drawn.shape == (200, 1, 32, 30)
    x, y = (c / P[0].exp() for c in GRID.coordinates(dtype=torch.float64))
    expected = PACKAGED.functions(x, y).square().sum(0).sqrt() / np.log(10)
    ratio = drawn.std(0)[0].mean() / expected.mean()
    assert float(ratio) == pytest.approx(1, abs=0.15)


def test_a_prior_is_read_as_it_was_written():
    again = read_prior(write_prior(PACKAGED, {"about": "a test"}))
    assert again.nodes == PACKAGED.nodes
    for one, two in zip(again.covariances, PACKAGED.covariances, strict=True):
        for a, b in zip(one, two, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-3)


@pytest.mark.parametrize("text", ["", "{}", '{"nodes": 1, "covariances": []}'])
def test_what_is_no_prior_is_refused(text: str):
    with pytest.raises(InputError, match="prior: must be JSON with nodes and covariances"):
        read_prior(text)


@pytest.mark.parametrize(
    ("covariances", "match"),
    [
        (((EYE, EYE),), "order 0 must have 1 or 0, found 2"),
        (((EYE,), (EYE,)), "order 1 must have 2 or 0, found 1"),
        (((-EYE,),), "each must be positive"),
        (((np.eye(3),),), r"shape \(4, 4\), found shape \(3, 3\)"),
    ],
)
def test_an_impossible_prior_is_refused(covariances, match: str):
    with pytest.raises(InputError, match=match):
        PerturbationPrior(BARE.nodes, covariances)
