"""Contaminants in mock observations: neighbours on the fine pixels of the arcs, and all the rest.

Neighbours are rendered as the arcs are, by the mocks' own code. Tracks, masks, and what is given
wrongly are those of :mod:`lensrim.datasets.pairs.contamination`, which has nothing to do with
lensing.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray

from ..datasets.contamination import Contamination, Neighbour
from ..datasets.pairs.contamination import (
    ContaminationBatch,
    cosmic_rays,
    given_psfs,
    usable,
)
from ..datasets.pairs.sersic import sersic_density
from ..datasets.psfs.kinds import native_psf
from ..datasets.systems import SersicLight
from ..grid import PixelGrid
from ..io.observation import Observation
from .deflection import pixel_coordinates
from .rendering import Canvas, sersic

Map = NDArray[np.float64]


def neighbour_images(
    neighbours: Sequence[Neighbour], canvas: Canvas, peak: float
) -> tuple[Map, Map]:
    """Renders neighbours.

    Arguments:
        neighbours: Their numbers.
        canvas: The frame's fine pixels.
        peak: Brightness of the arcs [data unit].

    Returns:
        The light of all, and of what a mask has to cover, of the frame's shape.
    """
    grid, fine = canvas.padded, canvas.oversample
    x, y = (c / grid.spacing for c in pixel_coordinates(grid, fine))
    unit = peak / float(native_psf(canvas.psf, fine).max())
    light, hidden = np.zeros(x.shape), np.zeros(x.shape)
    for each in neighbours:
        if each.radius == 0:
            image = _star(each, x, y) * fine**2
        else:
            image = sersic(_profile(each, grid.spacing), grid, fine)
            density = sersic_density(torch.tensor(each.radius), torch.tensor(each.n))
            image = image * float(density)
        image = image * (unit * each.brightness)
        light += image
        if each.masked == 1:
            hidden += image
        elif each.masked > 0:
            towards = (x - each.x) * np.cos(each.side) + (y - each.y) * np.sin(each.side) > 0
            hidden += image * towards
    return canvas.expose(light), canvas.expose(hidden)


def _star(star: Neighbour, x: Map, y: Map) -> Map:
    """Puts a flux of 1 on the fine pixel that is next to a star, if the frame holds it."""
    image = np.zeros(x.shape)
    distance = np.maximum(np.abs(x - star.x), np.abs(y - star.y))
    place = np.unravel_index(np.argmin(distance), x.shape)
    step = x.flat[1] - x.flat[0]
    if distance[place] <= step:
        image[place] = 1.0
    return image


def _profile(galaxy: Neighbour, spacing: float) -> SersicLight:
    return SersicLight(
        R_sersic=galaxy.radius * spacing,
        n_sersic=galaxy.n,
        q=galaxy.q,
        phi=galaxy.phi,
        center_x=galaxy.x * spacing,
        center_y=galaxy.y * spacing,
        brightness=galaxy.brightness,
    )


def spoil(
    observation: Observation,
    contamination: Contamination,
    hidden: Map,
    center: tuple[float, float],
) -> tuple[Observation, Map]:
    """Adds tracks and masks, and exchanges PSF and noise for those that are given.

    Arguments:
        observation: The image with its neighbours and noise.
        contamination: What spoils it.
        hidden: The light that a mask has to cover, of the image's shape.
        center: Centre of the lens [arcsec].

    Returns:
        The observation, and the light of the tracks [data unit].
    """
    shape, unit = observation.shape, observation.pixel_scale
    batch, grid = ContaminationBatch.of([contamination], shape), PixelGrid(shape, 1.0)
    charge, found = cosmic_rays(batch, grid)
    rays = charge[0, 0].double().numpy() * float(observation.sigma.min())
    used, held = usable(
        batch,
        grid,
        hidden=torch.from_numpy(hidden)[None, None],
        sigma=torch.from_numpy(observation.sigma)[None, None],
        rays=found,
        center=torch.tensor([center]) / unit,
    )
    psf = observation.psf
    if contamination.psf is not None:
        psf = given_psfs(batch, torch.from_numpy(psf)[None])[0].numpy()
    spoiled = replace(
        observation,
        image=np.where(held[0, 0].numpy() > 0, observation.image + rays, 0.0),
        sigma=observation.sigma * contamination.noise,
        psf=psf,
        mask=used[0, 0].numpy() > 0,
    )
    return spoiled, rays
