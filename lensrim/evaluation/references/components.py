"""The profiles of a parametric fit: their numbers, first guesses and ranges.

Names of profiles and numbers are those of lenstronomy. Lengths are in arcsec.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ...io.observation import Observation

Numbers = dict[str, float]
KINDS = {
    "kwargs_lens": ("lens_model_list", "lens_model"),
    "kwargs_source": ("source_light_model_list", "source_model"),
    "kwargs_lens_light": ("lens_light_model_list", "lens_light_model"),
}
"""Kinds of profiles: what lenstronomy calls their numbers, their list and their ranges."""


@dataclass(frozen=True)
class Range:
    """Holds the range of a number.

    Arguments:
        width: Of the first guess.
        low, high: Bounds.
    """

    width: float
    low: float
    high: float


@dataclass(frozen=True)
class Components:
    """Holds the profiles of a fit.

    Arguments:
        names: Names of the profiles, by kind.
        numbers: First guesses or best values of each profile, by kind.
        limits: Ranges of what is free in each profile, by kind.
        fixed: What is not free in each profile, by kind.
        joined: Profiles of the source that share numbers, as lenstronomy takes them.
    """

    names: Mapping[str, list[str]]
    numbers: Mapping[str, list[Numbers]]
    limits: Mapping[str, list[dict[str, Range]]]
    fixed: Mapping[str, list[Numbers]]
    joined: list[list[Any]]

    @property
    def profiles(self) -> dict[str, list[str]]:
        """The names, as lenstronomy takes them."""
        return {KINDS[kind][0]: names for kind, names in self.names.items()}

    @property
    def free(self) -> int:
        """Number of free numbers, without the amplitudes."""
        shared = sum(len(names) for *_, names in self.joined)
        return sum(len(each) for kind in self.limits.values() for each in kind) - shared

    def ranges(self) -> dict[str, list[list[Numbers]]]:
        """First guesses, their widths, fixed values and bounds, as lenstronomy takes them."""
        table = {}
        for kind, limits in self.limits.items():
            parts = [
                [{name: getattr(r, part) for name, r in each.items()} for each in limits]
                for part in ("width", "low", "high")
            ]
            guesses = [
                {name: given[name] for name in (*each, *held)}
                for given, each, held in zip(
                    self.numbers[kind], limits, self.fixed[kind], strict=True
                )
            ]
            table[KINDS[kind][1]] = [guesses, parts[0], self.fixed[kind], *parts[1:]]
        return table


ELLIPSE = {"e1": Range(0.1, -0.5, 0.5), "e2": Range(0.1, -0.5, 0.5)}
ROUND = {"e1": 0.0, "e2": 0.0}


def _centre(width: float, bound: float) -> dict[str, Range]:
    return {name: Range(width, -bound, bound) for name in ("center_x", "center_y")}


def first_guess(seen: Observation, lens_light: bool) -> Components:
    """Returns the profiles of the first fit, and guesses from the image alone.

    Arguments:
        seen: The observation.
        lens_light: Whether it holds the light of the lens galaxy.
    """
    pixel, side = seen.grid.spacing, min(seen.grid.fov)
    ring = ring_radius(seen)
    middle = {"center_x": 0.0, "center_y": 0.0}
    tide = {name: Range(0.05, -0.3, 0.3) for name in ("gamma1", "gamma2")}
    power = {"theta_E": Range(0.2 * ring, 0.4 * ring, 1.8 * ring), "gamma": Range(0.1, 1.5, 2.6)}
    sersic = {
        "R_sersic": Range(2 * pixel, 0.3 * pixel, 0.3 * side),
        "n_sersic": Range(0.5, 0.4, 6.0),
    }
    lights = {
        "R_sersic": Range(0.3 * ring, 0.5 * pixel, 2 * side),
        "n_sersic": Range(1.0, 0.4, 8.0),
    }
    near = _centre(pixel, 6 * pixel)
    return Components(
        names={
            "kwargs_lens": ["EPL", "SHEAR"],
            "kwargs_source": ["SERSIC_ELLIPSE"],
            "kwargs_lens_light": ["SERSIC_ELLIPSE"] if lens_light else [],
        },
        numbers={
            "kwargs_lens": [
                {"theta_E": ring, "gamma": 2.05, **ROUND, **middle},
                {"gamma1": 0.0, "gamma2": 0.0, "ra_0": 0.0, "dec_0": 0.0},
            ],
            "kwargs_source": [{"R_sersic": 3 * pixel, "n_sersic": 1.5, **ROUND, **middle}],
            "kwargs_lens_light": [{"R_sersic": 0.7 * ring, "n_sersic": 3.0, **ROUND, **middle}]
            if lens_light
            else [],
        },
        limits={
            "kwargs_lens": [{**power, **ELLIPSE, **near}, tide],
            "kwargs_source": [{**sersic, **ELLIPSE, **_centre(4 * pixel, 0.3 * side)}],
            "kwargs_lens_light": [{**lights, **ELLIPSE, **near}] if lens_light else [],
        },
        fixed={
            "kwargs_lens": [{}, {"ra_0": 0.0, "dec_0": 0.0}],
            "kwargs_source": [{}],
            "kwargs_lens_light": [{}] if lens_light else [],
        },
        joined=[],
    )


def with_shapelets(plain: Components, n_max: int) -> Components:
    """Adds shapelets about the centre of the source, as wide as it is.

    Arguments:
        plain: Profiles with a single one of the source, and their best values.
        n_max: Highest order.
    """
    host, limits = plain.numbers["kwargs_source"][0], plain.limits["kwargs_source"][0]
    size, low = host["R_sersic"], limits["R_sersic"].low
    places = {name: host[name] for name in ("center_x", "center_y")}
    free = {"beta": Range(0.3 * size, min(low, 0.3 * size), 3 * size)}
    free |= {name: limits[name] for name in places}

    def more(held: Mapping[str, Any], new: Any) -> dict[str, Any]:
        return {**held, "kwargs_source": [*held["kwargs_source"], new]}

    return replace(
        plain,
        names=more(plain.names, "SHAPELETS"),
        numbers=more(plain.numbers, {"n_max": n_max, "beta": 0.6 * size, **places}),
        limits=more(plain.limits, free),
        fixed=more(plain.fixed, {"n_max": n_max}),
        joined=[[0, 1, list(places)]],
    )


def ring_radius(seen: Observation) -> float:
    """Guesses the radius of the arcs about the middle of the frame [arcsec].

    It is the mean distance of what is brighter than the median of its ring by three standard
    deviations, weighted by how much, beyond two pixels of the middle: that of the arcs, if the
    lens is nearly round. Without any it is a quarter of the frame.
    """
    grid, (h, w) = seen.grid, seen.grid.shape
    x, y = grid.from_index(np.arange(w), np.arange(h)[:, None])
    radius = np.hypot(x, y)
    ring = (radius / grid.spacing).astype(int)
    median = np.array([np.median(seen.image[ring == i]) for i in range(ring.max() + 1)])
    excess = np.where(seen.mask, seen.image - median[ring], 0.0)
    weight = np.where((excess > 3 * seen.sigma) & (ring > 2), excess, 0.0)
    total = weight.sum()
    return float((weight * radius).sum() / total) if total > 0 else min(grid.fov) / 4
