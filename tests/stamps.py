"""Samples for shards that other processes can make, because they can import this module."""

import time
from typing import Any

import numpy as np


def stamp(index: int) -> dict[str, Any]:
    """Makes a sample with all that a shard can hold, a function of its number."""
    rng = np.random.default_rng(index)
    side = 3 + index % 4
    return {
        "kappa": rng.normal(size=(1, 8, 6)).astype(np.float32),
        "stamp": rng.integers(0, 99, (side, side + 1)),
        "used": rng.uniform(size=5) < 0.5,
        "theta_E": np.float64(rng.uniform(1, 2)),
        "halo": f"halo-{index:03d}-é",
    }


def slow_stamp(index: int) -> dict[str, Any]:
    """Makes the same in 2 ms, to be caught at it."""
    time.sleep(2e-3)
    return stamp(index)
