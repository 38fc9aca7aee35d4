"""What the numbers of a population may be, checked where they are given, and how they are drawn.

Each check takes a frozen dataclass and the names of some of its fields.

Raises:
    InputError: From all checks, if a number is impossible.
"""

import math

import numpy as np

from ..errors import InputError


def check_ranges(prior: object, *names: str) -> None:
    """Checks ranges of positive numbers, the lower first; none where it is left out."""
    for name in names:
        found = getattr(prior, name)
        if found is not None and not 0 < found[0] <= found[1] < math.inf:
            raise InputError(
                f"{name}: must be a range of finite numbers above 0, the lower first, found "
                f"{list(found)}; change it"
            )


def check_shares(prior: object, *names: str) -> None:
    """Checks shares of a whole."""
    for name in names:
        if not 0 <= getattr(prior, name) <= 1:
            raise InputError(
                f"{name}: must be a share from 0 to 1, found {getattr(prior, name)}; change it"
            )


def check_sizes(prior: object, *names: str) -> None:
    """Checks numbers that may be zero, but not less."""
    for name in names:
        if not 0 <= getattr(prior, name) < math.inf:
            raise InputError(
                f"{name}: must be finite and 0 or more, found {getattr(prior, name)}; change it"
            )


def log_uniform(rng: np.random.Generator, low: float, high: float) -> float:
    """Draws a positive number whose logarithm is uniform."""
    return float(np.exp(rng.uniform(np.log(low), np.log(high))))
