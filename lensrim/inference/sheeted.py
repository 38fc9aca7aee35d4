"""Answers with a mass sheet, and what it lets their mass do (:mod:`~.mass_sheet`)."""

from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from ..grid import PixelGrid
from ..lensing.beyond import part_shear
from ..lensing.convergence import KappaToAlpha
from .answer import Answer
from .directions import Directions, macro_directions, near, other_directions
from .macro import GAMMA, MacroPrior
from .mass_sheet import MassSheet, SheetName, expected_sheet
from .scene import Scene
from .view import MassMaps, macro_maps


def sheet_of(p: Tensor, prior: MacroPrior, grid: PixelGrid, which: SheetName) -> MassSheet:
    """Finds the sheet of the answers that begin with a macro-model.

    Arguments:
        p: Its parameters, with shape (8).
        prior: The prior of them.
        grid: The pixels.
        which: Whether answers have the expected sheet, or none and the error of that.
    """
    maps, macro = macro_maps(p, grid), macro_directions(p, prior, grid)
    response = _direction(maps, p, grid, macro).parameters[0, GAMMA]
    sheet = expected_sheet(float(p[GAMMA]), float(response), float(maps.kappa.min()))
    return sheet if which == "expected" else sheet.left_out


def _direction(maps: MassMaps, p: Tensor, grid: PixelGrid, macro: Directions) -> Directions:
    """Returns the change of a mass by a sheet, per unit of t."""
    kappa, alpha = 1 - maps.kappa, _from_center(p, grid) - maps.alpha
    return other_directions(kappa[None], alpha[None], macro, near(p, grid))


def _from_center(p: Tensor, grid: PixelGrid) -> Tensor:
    """Positions from the centre of a macro-model [arcsec], with shape (2, H, W)."""
    theta = torch.broadcast_tensors(*grid.coordinates(dtype=torch.float64))
    return torch.stack(theta) - p[3:5, None, None]


def with_sheet(scene: Scene, result: Answer, sheet: MassSheet, p: Tensor) -> Answer:
    """Adds a sheet to an answer.

    Its model image stays as it is, and so do the source and its errors on their pixels, which
    shrink.

    Arguments:
        scene: The observation.
        result: The answer, without a sheet.
        sheet: The sheet.
        p: Parameters of the macro-model, about whose centre the source shrinks, with shape (8).
    """
    grid, scale, maps = scene.frame.grid, sheet.scale, maps_of(result)
    theta = _from_center(p, grid)
    kappa, alpha = 1 - scale * (1 - maps.kappa), theta - scale * (theta - maps.alpha)
    arc = torch.from_numpy(scene.arc_light / scene.arc_light.sum())[None, None]
    mapped = KappaToAlpha(grid, dtype=torch.float64).maps(kappa[None, None])
    gamma, _ = part_shear(alpha[None] - mapped, grid, arc)
    source, center = result.source_grid, p[3:5].tolist()
    x, y = (c + scale * (s - c) for c, s in zip(center, source.center, strict=True))
    strength, length, size, core = result.source_prior
    return replace(
        result,
        kappa=kappa.numpy(),
        alpha_x=alpha[0].numpy(),
        alpha_y=alpha[1].numpy(),
        gamma=(float(gamma[0, 0]), float(gamma[0, 1])),
        source_grid=replace(source, spacing=scale * source.spacing, center=(x, y)),
        source_prior=(strength, length, size - sheet.t, core),
        sheet=sheet,
    )


def bare_kappa(result: Answer) -> Tensor:
    """Returns the convergence of an answer without its sheet, with shape (H, W)."""
    return 1 - (1 - torch.from_numpy(result.kappa)) / result.sheet.scale


def sheet_direction(result: Answer, p: Tensor, grid: PixelGrid, macro: Directions) -> Directions:
    """Returns the change of an answer by its sheet, per unit of t.

    Arguments:
        result: The answer.
        p: Parameters of its macro-model, with shape (8).
        grid: The pixels.
        macro: Directions of the macro-model.
    """
    return _direction(maps_of(result), p, grid, macro)


def maps_of(result: Answer) -> MassMaps:
    """Returns what bends the rays in an answer."""
    alpha = np.stack([result.alpha_x, result.alpha_y])
    return MassMaps(torch.from_numpy(result.kappa), torch.from_numpy(alpha))
