"""Adaptive smoothing: neighbours against a sort of all distances, kernels against their sum."""

import numpy as np
import pytest
from scipy.special import erf

from lensrim.datasets.hydro import smoothing
from lensrim.datasets.hydro.particles import Particles
from lensrim.datasets.hydro.smoothing import NARROWEST, spread, with_reach
from lensrim.errors import InputError

SHAPE = (37, 53)


def direct(column, row, mass, sigma, shape: tuple[int, int]) -> np.ndarray:
    """Averages each Gaussian over each pixel, one by one."""
    total = np.zeros(shape)
    for x, y, m, s in zip(column, row, mass, np.maximum(sigma, NARROWEST), strict=True):
        along = [
            np.diff(erf((np.arange(n + 1) - 0.5 - c) / (np.sqrt(2) * s))) / 2
            for n, c in zip(shape, (y, x), strict=True)
        ]
        total += m * np.outer(*along)
    return total


def scattered(n: int, sigma: float, seed: int = 0) -> tuple[np.ndarray, ...]:
    """Draws positions within two widths of the frame, and masses."""
    rng = np.random.default_rng(seed)
    column, row = (rng.uniform(-2 * sigma - 1, k + 2 * sigma, n) for k in SHAPE[::-1])
    return column, row, rng.uniform(0.5, 2, n), np.full(n, sigma)


@pytest.mark.parametrize(
    ("sigma", "accuracy"),
    [
        *[(s, 3e-6) for s in (0.0, 0.5, 1.7, 3.99)],
        *[(s, 4e-4) for s in (4.0, 5.0, 9.0, 16.0, 40.0, 300.0, 5000.0)],
    ],
)
def test_a_kernel_is_a_gaussian_averaged_over_pixels(sigma: float, accuracy: float) -> None:
    for seed in range(5):
        particle = scattered(1, sigma, seed)
        peak = particle[2][0] / (2 * np.pi * max(sigma, NARROWEST) ** 2)
        error = spread(*particle, SHAPE) - direct(*particle, SHAPE)
        assert np.abs(error).max() < accuracy * peak


def test_particles_add_up_whatever_their_order_and_the_blocks(monkeypatch) -> None:
    rng = np.random.default_rng(1)
    parts = [scattered(200, s, i) for i, s in enumerate((0.1, 1.0, 3.0, 7.0, 30.0))]
    column, row, mass, sigma = (np.concatenate(each) for each in zip(*parts, strict=True))
    expected = direct(column, row, mass, sigma, SHAPE)
    np.testing.assert_allclose(spread(column, row, mass, sigma, SHAPE), expected, rtol=1e-4)
    monkeypatch.setattr(smoothing, "CHUNK", 7)
    order = rng.permutation(1000)
    mixed = spread(column[order], row[order], mass[order], sigma[order], SHAPE)
    np.testing.assert_allclose(mixed, expected, rtol=1e-4)


def test_the_mass_of_kernels_inside_the_frame_is_kept() -> None:
    rng = np.random.default_rng(2)
    sigma = 10 ** rng.uniform(-2, 1.5, 3000)
    place = 256 + rng.uniform(-1, 1, (2, 3000)) * (250 - 5 * sigma)
    mass = rng.uniform(0, 1, 3000)
    total = spread(*place, mass, sigma, (512, 512)).sum()
    assert total == pytest.approx(mass.sum(), rel=1e-9)


def test_the_narrowest_kernel_is_no_wider_than_the_cloud_of_cloud_in_cell() -> None:
    point = [np.array([v]) for v in (20.0, 11.0, 1.0, 1e-9)]
    kept = spread(*point, SHAPE)[11, 20]
    # a normal variate of this width is within half a pixel: 0.9167, on both axes
    assert kept == pytest.approx(erf(0.5 / NARROWEST / np.sqrt(2)) ** 2)


def test_nothing_makes_an_empty_map() -> None:
    none, far = np.zeros(0), np.array([1e6])
    assert not spread(none, none, none, none, (5, 4)).any()
    assert not spread(far, far, np.ones(1), np.ones(1), (5, 4)).any()


@pytest.mark.gpu
def test_kernels_on_a_device() -> None:
    particles = scattered(1000, 2.0)
    there = spread(*particles, SHAPE, device="cuda")
    np.testing.assert_allclose(there, spread(*particles, SHAPE), rtol=1e-9, atol=1e-12)


def cloud(seed: int = 0) -> Particles:
    """Draws 500 particles: dark matter, stars, and three black holes."""
    rng = np.random.default_rng(seed)
    kind = np.array([1] * 300 + [4] * 197 + [5] * 3, dtype=np.int8)
    position = rng.normal(size=(500, 3)) * np.where(kind == 1, 10, 3)[:, None]
    return Particles(position, np.ones(500), rng.permutation(kind), "cloud", 0.5)


@pytest.mark.parametrize("neighbours", [2, 64])
def test_the_last_neighbour_is_of_the_same_kind_and_the_first_oneself(neighbours: int) -> None:
    particles = cloud()
    reach = with_reach(particles, neighbours=neighbours).reach
    assert reach is not None
    for i in range(0, 500, 7):
        # kinds of which there are too few look among all
        own = particles.kind == particles.kind[i]
        among = own if own.sum() >= neighbours else np.ones(500, dtype=bool)
        distance = np.linalg.norm(particles.position[among] - particles.position[i], axis=1)
        assert reach[i] == pytest.approx(np.sort(distance)[neighbours - 1])


def test_black_holes_are_searched_for_among_all() -> None:
    particles = cloud()
    reach = with_reach(particles).reach
    assert reach is not None and np.isfinite(reach).all() and (reach > 0).all()


def test_too_few_particles() -> None:
    with pytest.raises(InputError, match=r"cloud: smoothing over 501 neighbours .* found 500"):
        with_reach(cloud(), neighbours=501)
