"""The prior of smooth profiles, and the amplitudes that it leads to."""

import numpy as np
import pytest
import torch
from scipy import optimize

from lensrim.inference.light_profile import (
    CURVATURE,
    LEEWAY,
    light_factor,
    roughness,
    smooth_amplitudes,
)

SIGMAS = np.geomspace(0.3, 25, 12)
PRECISION = roughness(SIGMAS)
R = np.linspace(1.0, 40, 300)
NOISE = np.random.default_rng(3).standard_normal(len(R))


def columns(noise: float = 0.01) -> np.ndarray:
    """Gaussians and a sky along a radius, in units of the noise."""
    return np.column_stack([*np.exp(-0.5 * (R / SIGMAS[:, None]) ** 2), np.ones_like(R)]) / noise


def solved(image: np.ndarray, templates: np.ndarray, precision: np.ndarray = PRECISION):
    return smooth_amplitudes(
        torch.from_numpy(templates), torch.from_numpy(image), precision
    ).numpy()


def sersic(n: float, radius: float = 12.0) -> np.ndarray:
    b = 2 * n - 1 / 3
    return np.exp(-b * ((R / radius) ** (1 / n) - 1))


@pytest.mark.parametrize("n", [1.0, 2.5, 4.0, 6.0])
def test_amplitudes_are_those_of_the_highest_posterior(n):
    templates, image = columns(), sersic(n) / 0.01 + NOISE + 3
    found = solved(image, templates)

    def cost(x: np.ndarray) -> tuple[float, np.ndarray]:
        a = np.append(np.exp(x[:-1]), x[-1])
        left = templates @ a - image
        slope = templates.T @ left
        slope[:-1] = slope[:-1] * a[:-1] + PRECISION @ x[:-1]
        return 0.5 * left @ left + 0.5 * x[:-1] @ PRECISION @ x[:-1], slope

    here = np.append(np.log(found[:-1]), found[-1])
    value, slope = cost(here)
    for start in (here, here + 0.3 * np.sin(np.arange(13.0))):
        other = optimize.minimize(cost, start, jac=True, method="BFGS", options={"gtol": 1e-4})
        assert value < other.fun + 1e-3
    assert np.abs(slope).max() < 0.01


@pytest.mark.parametrize("n", [1.0, 2.5, 4.0, 6.0])
def test_sersic_profiles_are_followed(n):
    noise = sersic(n).max() / 300
    templates, true = columns(noise), sersic(n) / noise
    left = templates @ solved(true + NOISE, templates) - true
    assert np.sqrt((left**2).mean()) < 0.35
    assert np.abs(left).max() < 2


def test_what_a_smooth_source_may_be_is_known_better():
    # bumps about the Einstein radius are projected out: the source may be any of them
    places = np.linspace(6, 18, 7)
    bumps, _ = np.linalg.qr(np.exp(-0.5 * ((R[:, None] - places) / 2.5) ** 2))
    true, templates = sersic(4.0) / 0.05, columns(0.05)
    without = np.eye(len(R)) - bumps @ bumps.T
    errors = []
    for seed in range(20):
        image = true + np.random.default_rng(seed).standard_normal(len(R))
        found = [solved(without @ image, without @ templates, w * PRECISION) for w in (1e-4, 1.0)]
        errors.append([((templates @ a - true)[np.abs(R - 12) < 4]).mean() for a in found])
    loose, smooth = np.sqrt(np.mean(np.square(errors), 0))
    assert smooth < 0.5 * loose


@pytest.mark.parametrize("scale", [1e-12, 1.0, 1e12])
def test_units_do_not_matter(scale):
    templates = columns()
    image = sersic(4.0) / 0.01 + NOISE
    usual = solved(image, templates)
    found = solved(image, templates / scale)
    np.testing.assert_allclose(found[:-1], scale * usual[:-1], rtol=1e-3)
    assert found[-1] == pytest.approx(scale * usual[-1], abs=1e-3 * scale)


def test_what_no_pixel_sees_is_left_out():
    templates = columns()
    templates[:, :2] = 0.0  # as under a mask on the core
    found = solved(sersic(2.5) / 0.01 + NOISE, templates)
    assert (found[:2] == 0).all()
    assert (found[2:-1] > 0).all()


def test_no_light_leaves_the_sky():
    found = solved(NOISE - 50, columns())
    light = columns()[:, :-1] @ found[:-1]
    assert np.isfinite(found).all()
    assert (light**2).sum() < 4
    assert found[-1] == pytest.approx(-0.5, abs=0.005)


def test_power_laws_cost_nothing_and_a_bend_costs_its_square():
    places = np.log(SIGMAS)
    assert (2 - 3 * places) @ PRECISION @ (2 - 3 * places) == pytest.approx(0, abs=1e-8)
    kink = np.where(np.arange(12) < 6, 0.0, np.arange(12) - 5.0)
    spacing = places[1] - places[0]
    expected = 1 / (CURVATURE * spacing**1.5) ** 2
    assert kink @ PRECISION @ kink == pytest.approx(expected)
    assert not roughness(SIGMAS[:2]).any()


def test_the_prior_is_the_same_for_any_number_of_gaussians():
    spread = []
    for count in (9, 17, 33):
        precision = roughness(np.geomspace(0.3, 25, count))
        # the ends held: how far the middle may be from the line between them
        inside = np.linalg.inv(precision[1:-1, 1:-1])
        spread.append(np.sqrt(inside[count // 2 - 1, count // 2 - 1]))
    np.testing.assert_allclose(spread, spread[-1], rtol=0.1)


def test_the_factor_is_that_of_the_prior():
    a = np.exp(np.sin(np.arange(12.0)) - 0.2 * np.arange(12))
    factor = light_factor(a, PRECISION)
    precision = np.linalg.inv(factor @ factor.T) * np.outer(a, a)  # of relative changes
    np.testing.assert_allclose(precision, PRECISION + np.eye(12) / LEEWAY**2, atol=1e-8)
