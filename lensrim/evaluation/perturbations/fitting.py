"""The prior of what lenses lack, by expectation maximisation."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...inference.perturbation import PerturbationPrior
from .measuring import Array, Measured, unit_prior

NOISE = 0.012
FREEDOM = 6.0
PSEUDO = 4
LEAST = 0.002
"""Standard deviation that every coefficient has at least."""


def fit(measured: Sequence[Measured], *, rounds: int = 30) -> PerturbationPrior:
    """Fits the prior to lenses."""
    bare = unit_prior()
    n, blocks = len(bare.nodes), [m for m, pair in enumerate(bare.covariances) for _ in pair]
    keep = [_beyond_macro(m, np.array(bare.nodes)) for m in blocks]
    found = [0.015**2 * np.eye(n) for _ in blocks]
    scales = [1.0]
    for _ in range(rounds):
        total, scales = [np.zeros((n, n)) for _ in blocks], []
        inverse = _block_diagonal([np.linalg.inv(each) for each in found])
        for lens in measured:
            scale = 1.0
            for _ in range(2):
                spread = np.linalg.inv(lens.gram / NOISE**2 + scale * inverse)
                mean = spread @ lens.moment / NOISE**2
                square = mean @ inverse @ mean + np.sum(spread * inverse)
                scale = (FREEDOM + len(mean)) / (FREEDOM + square)
            scales.append(scale)
            second = scale * (np.outer(mean, mean) + spread)
            for k, each in enumerate(total):
                each += second[k * n : (k + 1) * n, k * n : (k + 1) * n]
        count = len(measured)
        for k, each in enumerate(total):
            own = (each + PSEUDO / count * np.diag(np.diag(each))) / (count + PSEUDO)
            found[k] = keep[k] @ own @ keep[k] + LEAST**2 * np.eye(n)
    # a scale of its own for every lens leaves that of all undetermined: the median's is 1
    found = [each / np.median(scales) for each in found]
    orders = range(len(bare.covariances))
    pairs = ([c for c, m in zip(found, blocks, strict=True) if m == order] for order in orders)
    return PerturbationPrior(bare.nodes, tuple(tuple(pair) for pair in pairs))


def _beyond_macro(m: int, nodes: Array) -> Array:
    """Projects on what a macro-model cannot do, among the coefficients of an order."""
    one = np.ones_like(nodes)
    able = {0: [one, np.log(nodes)], 1: [1 / nodes], 2: [one]}.get(m)
    if able is None:
        return np.eye(len(nodes))
    basis, _ = np.linalg.qr(np.array(able).T)
    return np.eye(len(nodes)) - basis @ basis.T


def _block_diagonal(blocks: Sequence[NDArray[Any]]) -> Array:
    n = len(blocks[0])
    out = np.zeros((n * len(blocks), n * len(blocks)))
    for k, each in enumerate(blocks):
        out[k * n : (k + 1) * n, k * n : (k + 1) * n] = each
    return out
