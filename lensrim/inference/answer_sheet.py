"""Answers with a mass sheet, and what it lets their mass do (:mod:`~.mass_sheet`)."""

from collections.abc import Mapping
from dataclasses import replace

import torch
from torch import Tensor

from ..grid import PixelGrid
from ..lensing.beyond import shear_of_map
from ..lensing.convergence import KappaToAlpha
from .answer import Answer, maps_of
from .directions import Directions, likest, macro_deflections, near
from .macro import GAMMA
from .mass_sheet import InternalSheet, SheetName, expected_sheet, without_sheet
from .scene import Scene
from .view import MassMaps


def sheet_of(maps: MassMaps, p: Tensor, grid: PixelGrid, which: SheetName) -> InternalSheet:
    """Finds the sheet of the answers that begin with a macro-model.

    Arguments:
        maps: The macro-model on the pixels.
        p: Its parameters, with shape (8).
        grid: The pixels.
        which: Whether answers have the expected sheet, or none and the error of that.
    """
    slope, (response,) = float(p[GAMMA]), _slopes(_change(maps, p, grid).alpha[None], p, grid)
    if which == "none":
        return without_sheet(slope, response)
    return expected_sheet(slope, response, float(maps.kappa.min()))


def _change(maps: MassMaps, p: Tensor, grid: PixelGrid) -> MassMaps:
    """Returns the change of a mass by a sheet, per unit of t."""
    return MassMaps(1 - maps.kappa, _from_center(p, grid) - maps.alpha)


def _slopes(alpha: Tensor, p: Tensor, grid: PixelGrid) -> list[float]:
    """Returns by how much changes of a deflection, (P, 2, H, W), change the slope most like it."""
    return likest(alpha, macro_deflections(p, grid), near(p, grid))[:, GAMMA].tolist()


def _from_center(p: Tensor, grid: PixelGrid) -> Tensor:
    """Positions from the centre of a macro-model [arcsec], with shape (2, H, W)."""
    return torch.stack(grid.coordinates(dtype=torch.float64)) - p[3:5, None, None]


def settled(
    scene: Scene, answers: Mapping[str, Answer], macro: MassMaps, sheet: InternalSheet, p: Tensor
) -> dict[str, Answer]:
    """Gives all answers the sheet of their macro-model, each with the slope of its own mass.

    Arguments:
        scene: The observation.
        answers: By stage, without a sheet.
        macro: Their macro-model on the pixels.
        sheet: The sheet.
        p: Its parameters, with shape (8).
    """
    changes = torch.stack([maps_of(result).alpha - macro.alpha for result in answers.values()])
    steeper = _slopes(changes, p, scene.frame.grid)
    return {
        name: with_sheet(
            scene, result, replace(sheet, slope=sheet.slope + sheet.steeper * more), p
        )
        for (name, result), more in zip(answers.items(), steeper, strict=True)
    }


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
    grid = scene.frame.grid
    mass = sheeted(maps_of(result), sheet.scale, p, grid)
    arc = torch.from_numpy(scene.arc_light / scene.arc_light.sum())[None, None]
    operator = KappaToAlpha(grid, dtype=torch.float64)
    gamma, _ = shear_of_map(mass.alpha[None], mass.kappa[None, None], arc, operator)
    strength, length, size, core = result.source_prior
    return replace(
        result,
        kappa=mass.kappa.numpy(),
        alpha_x=mass.alpha[0].numpy(),
        alpha_y=mass.alpha[1].numpy(),
        gamma=(float(gamma[0, 0]), float(gamma[0, 1])),
        source_grid=shrunk(result.source_grid, sheet.scale, p),
        source_prior=(strength, length, size - sheet.t, core),
        sheet=sheet,
    )


def sheeted(maps: MassMaps, scale: float, p: Tensor, grid: PixelGrid) -> MassMaps:
    """Adds a sheet to the maps of a mass.

    Arguments:
        maps: The maps, without a sheet.
        scale: What :math:`1 - \\kappa` is multiplied by.
        p: Parameters of the macro-model, about whose centre the source shrinks, with shape (8).
        grid: The pixels.
    """
    theta = _from_center(p, grid)
    return MassMaps(1 - scale * (1 - maps.kappa), theta - scale * (theta - maps.alpha))


def shrunk(source: PixelGrid, scale: float, p: Tensor) -> PixelGrid:
    """Returns the pixels of a source with a sheet, whose values stay: see :func:`sheeted`."""
    x, y = (c + scale * (s - c) for c, s in zip(p[3:5].tolist(), source.center, strict=True))
    return replace(source, spacing=scale * source.spacing, center=(x, y))


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
