"""Answers with a mass sheet, and what it lets their mass do (:mod:`~.mass_sheet`)."""

from collections.abc import Mapping
from dataclasses import replace

import torch
from torch import Tensor

from ..grid import PixelGrid
from ..lensing.beyond import part_shear
from ..lensing.convergence import KappaToAlpha
from .answer import Answer, maps_of
from .directions import Directions, macro_directions, near, other_directions
from .macro import GAMMA, MacroPrior
from .mass_sheet import InternalSheet, SheetName, expected_sheet, without_sheet
from .scene import Scene
from .view import MassMaps, macro_maps


def sheet_of(p: Tensor, prior: MacroPrior, grid: PixelGrid, which: SheetName) -> InternalSheet:
    """Finds the sheet of the answers that begin with a macro-model.

    Arguments:
        p: Its parameters, with shape (8).
        prior: The prior of them.
        grid: The pixels.
        which: Whether answers have the expected sheet, or none and the error of that.
    """
    maps, macro = macro_maps(p, grid), macro_directions(p, prior, grid)
    slope, response = float(p[GAMMA]), _slope_of(_change(maps, p, grid), p, grid, macro)
    if which == "none":
        return without_sheet(slope, response)
    return expected_sheet(slope, response, float(maps.kappa.min()))


def _change(maps: MassMaps, p: Tensor, grid: PixelGrid) -> MassMaps:
    """Returns the change of a mass by a sheet, per unit of t."""
    return MassMaps(1 - maps.kappa, _from_center(p, grid) - maps.alpha)


def _slope_of(change: MassMaps, p: Tensor, grid: PixelGrid, macro: Directions) -> float:
    """Returns by how much a change of the mass changes the slope of what is most like it."""
    found = other_directions(change.kappa[None], change.alpha[None], macro, near(p, grid))
    return float(found.parameters[0, GAMMA])


def _from_center(p: Tensor, grid: PixelGrid) -> Tensor:
    """Positions from the centre of a macro-model [arcsec], with shape (2, H, W)."""
    theta = torch.broadcast_tensors(*grid.coordinates(dtype=torch.float64))
    return torch.stack(theta) - p[3:5, None, None]


def settled(
    scene: Scene,
    answers: Mapping[str, Answer],
    sheet: InternalSheet,
    p: Tensor,
    prior: MacroPrior,
) -> dict[str, Answer]:
    """Gives all answers the sheet of their macro-model, each with the slope of its own mass.

    Arguments:
        scene: The observation.
        answers: By stage, without a sheet; that of the macro-model is ``macro``.
        sheet: The sheet.
        p, prior: Parameters of the macro-model, with shape (8), and their prior.
    """
    found, grid = {}, scene.frame.grid
    there, macro = macro_maps(p, grid), macro_directions(p, prior, grid)
    for name, result in answers.items():
        own = sheet
        if name != "macro":
            here = maps_of(result)
            change = MassMaps(here.kappa - there.kappa, here.alpha - there.alpha)
            own = replace(sheet, slope=sheet.slope + _slope_of(change, p, grid, macro))
        found[name] = with_sheet(scene, result, own, p)
    return found


def with_sheet(scene: Scene, result: Answer, sheet: InternalSheet, p: Tensor) -> Answer:
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


def sheet_direction(result: Answer, p: Tensor, grid: PixelGrid) -> Directions:
    """Returns the change of an answer by its sheet, per unit of t.

    Of the macro-model's numbers only the slope is taken for the mass's; the others are those of
    the fit, which has no sheet.

    Arguments:
        result: The answer.
        p: Parameters of its macro-model, with shape (8).
        grid: The pixels.
    """
    change, parameters = _change(maps_of(result), p, grid), torch.zeros_like(p)
    parameters[GAMMA] = result.sheet.response
    one = p.new_ones(1)
    return Directions(change.kappa[None], change.alpha[None], parameters[None], one)
