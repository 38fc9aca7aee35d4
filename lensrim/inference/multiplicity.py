"""How often places of the arcs are seen: what is behind a lens is seen more than once."""

import numpy as np
import torch
from numpy.typing import NDArray

from .answer import Answer
from .frame import Array
from .scene import Scene

Mask = NDArray[np.bool_]

CORE = 1.5
"""Distance from the centre of mass within which no image is looked for [pixel]."""

PLACES = 300
"""Pixels of the arcs whose images are counted, at most about."""

FAINT = 0.05
"""Brightness of the arcs below which their images are not counted, relative to their peak."""


def multiply_imaged(
    scene: Scene, result: Answer, arcs: Mask, center: tuple[float, float]
) -> float:
    """Measures the share of the arcs' light whose place in the source is seen elsewhere, too.

    Squares between four pixels, each cut into two triangles, are traced to the source plane: a
    place is seen as often as triangles cover it. The middle of the lens, within ``CORE`` pixels of
    its centre [arcsec], is left out: what is seen there is demagnified to nothing.
    """
    x, y = _coordinates(scene)
    rays = np.stack([x - result.alpha_x, y - result.alpha_y], -1)
    light = np.where(arcs, result.arcs, 0.0)
    bright = np.argwhere(light > FAINT * max(float(light.max()), 1e-300))
    if not bright.size:
        return 0.0
    bright = bright[:: -(-len(bright) // PLACES)]
    far = np.hypot(x - center[0], y - center[1]) > CORE * scene.frame.grid.spacing
    corners = [rays[:-1, :-1], rays[:-1, 1:], rays[1:, :-1], rays[1:, 1:]]
    whole = far[:-1, :-1] & far[:-1, 1:] & far[1:, :-1] & far[1:, 1:]
    a, b, c, d = (each[whole] for each in corners)
    triangles = np.concatenate([np.stack([a, b, c]), np.stack([d, c, b])], axis=1)
    weights = light[bright[:, 0], bright[:, 1]]
    # off the corners, where a place would be on the border of several triangles
    places = rays[bright[:, 0], bright[:, 1]] + 1e-3 * scene.frame.grid.spacing
    seen = covers_of(triangles, places)
    return float(weights[seen > 1].sum() / weights.sum())


def covers_of(triangles: Array, places: Array) -> NDArray[np.int_]:
    """Counts the triangles (3, T, 2) that each of some points (P, 2) lies in."""
    (left, low), (right, high) = triangles.min(0).T, triangles.max(0).T
    x, y = places.T[..., None]
    # few have a point in their box: only of those it is looked at closely
    place, triangle = np.nonzero((left < x) & (x < right) & (low < y) & (y < high))
    a, b, c = triangles[:, triangle] - places[place]
    sides = [p[:, 0] * q[:, 1] - p[:, 1] * q[:, 0] for p, q in ((a, b), (b, c), (c, a))]
    inside = (np.min(sides, axis=0) > 0) | (np.max(sides, axis=0) < 0)
    return np.bincount(place[inside], minlength=len(places))


def _coordinates(scene: Scene) -> tuple[Array, Array]:
    """Coordinates of the pixels' centres [arcsec], each with shape (H, W)."""
    grid = scene.frame.grid
    x, y = (c.numpy() for c in grid.coordinates(dtype=torch.float64))
    return np.broadcast_to(x, grid.shape), np.broadcast_to(y, grid.shape)
