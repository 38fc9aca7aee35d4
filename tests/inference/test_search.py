"""The candidates of the search: how they are drawn, and which are followed."""

import numpy as np
import torch

from lensrim.inference.macro import MacroPrior, MacroState
from lensrim.inference.search import CORES, DRAWS, FLATTEST, RADII, distinct, draw

PRIOR = MacroPrior(center=(0.1, -0.1), center_width=0.05, theta_E=(0.3, 2.0))


def state(radii: list[float], values: list[float], e1: list[float]) -> MacroState:
    p = torch.zeros(len(radii), 8, dtype=torch.float64)
    p[:, 0], p[:, 1] = torch.tensor(radii).log(), torch.tensor(e1)
    value = torch.tensor(values, dtype=torch.float64)
    return MacroState(p, torch.zeros(len(radii), 4).double(), value, value * 0)


def test_candidates_cover_every_radius_shape_and_core():
    light = np.array([0.49, 0.49])  # as flat as a fit of the light may be
    drawn = draw(PRIOR, light, amplitude=1.0, size=1.0)
    radius = drawn.p[:, 0].exp().reshape(RADII, DRAWS)
    assert bool((radius > 0.3).all()) and bool((radius < 2.0).all())
    assert bool((radius[1:].amin(1) >= radius[:-1].amax(1)).all())
    shape = drawn.p[:, 1].hypot(drawn.p[:, 2]).reshape(RADII, DRAWS)
    assert float(shape.max()) < FLATTEST + 1e-9
    assert bool((shape[:, 0] == 0).all())
    cores = drawn.hyper[:, 3].exp().reshape(RADII, DRAWS)
    for parity in (0, 1):  # about the light, and about zero
        np.testing.assert_allclose(np.unique(cores[0, parity::2].round(decimals=6)), CORES)
    assert torch.equal(drawn.p[:, 3], torch.full_like(drawn.p[:, 3], 0.1))


def test_the_same_seed_draws_the_same():
    a, b, c = (draw(PRIOR, np.zeros(2), amplitude=1.0, size=1.0, seed=s).p for s in (1, 1, 2))
    assert torch.equal(a, b) and not torch.equal(a, c)


def test_repetitions_and_the_hopeless_are_dropped():
    candidates = state(
        [1.0, 1.01, 1.01, 0.5, 0.3], [0.0, -5.0, -0.5, -40.0, -400.0], [0.0, 0.01, 0.2, 0.0, 0.0]
    )
    # the second is the first again by its shape, the third by its evidence
    kept = distinct(candidates, 5, np.inf)
    np.testing.assert_allclose(kept.p[:, 0].exp(), [1.0, 0.5, 0.3])
    kept = distinct(candidates, 5, 100.0)
    np.testing.assert_allclose(kept.p[:, 0].exp(), [1.0, 0.5])
    assert len(distinct(candidates, 1, np.inf).p) == 1
