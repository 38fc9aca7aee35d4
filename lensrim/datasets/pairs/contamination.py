r"""Contaminants in images: batched, in torch, on any device; and one at a time for mocks.

Neighbours are light before the PSF; cosmic rays are not convolved. What is masked: neighbours
where the light of those that are seen, after the PSF, is above ``FADED`` of the noise; tracks that
are found, and saturated cores, both grown by a pixel; bad pixels and strips, which hold no data
and are set to zero.

:class:`~.contaminated.Contaminated` puts all of it into the batches of
:class:`lensrim.datasets.pairs.pairs.Pairs`.
"""

from collections.abc import Sequence
from dataclasses import astuple, dataclass, fields

import torch
from torch import Tensor
from torch.nn import functional as F

from ...grid import PixelGrid
from ..contamination import Contamination, LightErrors, Neighbour, Strip, Track
from ..psfs.changes import PsfChange, change_psfs
from .sersic import galaxy, point

FADED = 0.5
"""Light of a neighbour, in standard deviations of the noise, down to which it is masked."""


@dataclass(frozen=True)
class ContaminationBatch:
    """Creates the contaminants of B observations, as tensors.

    Places without a contaminant are filled with ones that do nothing.

    Arguments:
        neighbours: The numbers of :class:`Neighbour`, with shape (B, K, 9).
        tracks: Those of :class:`Track`, with shape (B, T, 7).
        strips: Those of :class:`Strip`, with shape (B, S, 3).
        bad: Numbers of bad pixels, row by row, or -1, with shape (B, M).
        core: Radius of the masked core [pixel], with shape (B).
        light: The numbers of :class:`LightErrors`, with shape (B, 9).
        psf: Those of :class:`PsfChange`, with shape (B, ``NUMBERS``).
        noise: Stated noise over the true one, with shape (B).
    """

    neighbours: Tensor
    tracks: Tensor
    strips: Tensor
    bad: Tensor
    core: Tensor
    light: Tensor
    psf: Tensor
    noise: Tensor

    @classmethod
    def of(
        cls, each: Sequence[Contamination | None], shape: tuple[int, int]
    ) -> "ContaminationBatch":
        """Packs contaminants of frames of a shape (H, W)."""
        some = [Contamination() if c is None else c for c in each]
        absent = Track(0.0, 0.0, 0.0, 0.0, 1.0, 0.0, False)
        dark = Neighbour(0.0, 0.0, 0.0, 1.0, 1.0, 1.0, 0.0, 0.0, 0.0)
        nowhere = Strip(0.0, 1e6, 0.0)
        bad = [[row * shape[1] + column for row, column in c.bad] for c in some]
        most = max(1, *(len(b) for b in bad))
        return cls(
            neighbours=_filled([c.neighbours for c in some], dark),
            tracks=_filled([c.tracks for c in some], absent),
            strips=_filled([c.strips for c in some], nowhere),
            bad=torch.tensor([b + [-1] * (most - len(b)) for b in bad]),
            core=torch.tensor([c.core for c in some], dtype=torch.float32),
            light=torch.tensor([astuple(c.light or LightErrors(0.0)) for c in some]).float(),
            psf=torch.tensor([astuple(c.psf or PsfChange()) for c in some]).float(),
            noise=torch.tensor([c.noise for c in some], dtype=torch.float32),
        )

    def rows(self, row: Tensor) -> "ContaminationBatch":
        """Returns some of the observations."""
        return ContaminationBatch(*(getattr(self, f.name)[row] for f in fields(self)))


def _filled(rows: Sequence[Sequence[object]], empty: object) -> Tensor:
    """Puts rows of dataclasses of numbers into a tensor (B, most, numbers)."""
    most = max(1, *(len(row) for row in rows))
    values = [[astuple(e) for e in [*row, *[empty] * (most - len(row))]] for row in rows]  # type: ignore[call-overload]
    return torch.tensor(values, dtype=torch.float32)


def neighbour_light(
    batch: ContaminationBatch, grid: PixelGrid, psf: Tensor
) -> tuple[Tensor, Tensor]:
    """Draws the neighbours before the PSF: stars, and galaxies (:func:`~.sersic.galaxy`).

    Arguments:
        batch: The contaminants.
        grid: Pixels of side 1.
        psf: True PSFs, with shape (B, P, P); their peaks say how much light a brightness is.

    Returns:
        The light of all, and of what a mask has to cover, each with shape (B, 1, H, W).
    """
    numbers = batch.neighbours[..., None, None]
    x, y, brightness, radius, n, q, phi, masked, side = numbers.unbind(2)
    columns, rows = grid.coordinates(device=psf.device)
    columns, rows, dx, dy = columns[0], rows[:, :1], columns - x, rows - y
    shape = {"n": n, "q": q, "cos": phi.cos(), "sin": phi.sin()}
    wide = galaxy(columns, rows, (x, y), radius=radius.clamp(min=0.1), **shape)
    flux = brightness / psf.amax((-2, -1))[:, None, None, None]
    light = flux * torch.where(radius > 0, wide, point(dx, dy))
    towards = dx * side.cos() + dy * side.sin() > 0
    hidden = light * ((masked == 1) | ((masked == 0.5) & towards))
    return light.sum(1, keepdim=True), hidden.sum(1, keepdim=True)


def cosmic_rays(batch: ContaminationBatch, grid: PixelGrid) -> tuple[Tensor, Tensor]:
    """Draws the tracks.

    Returns:
        Their charge [standard deviations of the noise], and 1 where a mask covers those that are
        found, each with shape (B, 1, H, W).
    """
    numbers = batch.tracks[..., None, None]
    x, y, length, phi, width, charge, found = numbers.unbind(2)
    dx, dy = (c - o for c, o in zip(grid.coordinates(device=numbers.device), (x, y), strict=True))
    along, across = dx * phi.cos() + dy * phi.sin(), dy * phi.cos() - dx * phi.sin()
    beyond = (along.abs() - length / 2).clamp(min=0)
    light = charge * torch.exp(-(beyond**2 + across**2) / (2 * width**2))
    covered = ((light * found) > FADED).float().amax(1, keepdim=True)
    return light.sum(1, keepdim=True), _grown(covered)


def light_errors(
    batch: ContaminationBatch, light: Tensor, numbers: Tensor, waves: Tensor, grid: PixelGrid
) -> Tensor:
    """Draws what fits leave of lens lights, in parts of the light.

    Arguments:
        batch: The contaminants.
        light: The light after the PSF, with shape (B, 1, H, W).
        numbers: R_sersic, n_sersic, center_x, center_y of each [pixel], with shape (B, 4).
        waves: Smooth random maps of variance 1, with shape (B, 1, H, W).
        grid: Pixels of side 1.

    Returns:
        Maps whose root mean square, weighted by the light, is what was drawn, of the same shape.
    """
    errors = batch.light[:, :, None, None, None]
    size, wavy, dipole, quadrupole, ring, boxiness, one, two, four = errors.unbind(1)
    r_e, n, cx, cy = numbers.to(light)[:, :, None, None, None].unbind(1)
    x, y = grid.coordinates(device=light.device)
    dx, dy = x - cx, y - cy
    r, angle = (dx**2 + dy**2 + 0.5).sqrt(), torch.atan2(dy, dx)
    r_e = r_e.clamp(min=0.3)
    t = (r / r_e) ** (1 / n.clamp(min=0.3))
    shapes = (
        (wavy, waves),
        (dipole, t * r_e / r * torch.cos(angle - one)),
        (quadrupole, t * torch.cos(2 * (angle - two))),
        (ring, t * torch.log(r / r_e)),
        (boxiness, torch.cos(4 * (angle - four))),
    )
    pattern = sum(w * _unit(m, light) for w, m in shapes)
    return size * _unit(torch.as_tensor(pattern), light)


def _unit(pattern: Tensor, light: Tensor) -> Tensor:
    """Scales maps to a root mean square of 1, weighted by the light."""
    weight = light.sum((-2, -1), keepdim=True).clamp(min=1e-20)
    rms = ((pattern.square() * light).sum((-2, -1), keepdim=True) / weight).sqrt()
    return pattern / rms.clamp(min=1e-9)


def usable(
    batch: ContaminationBatch,
    grid: PixelGrid,
    *,
    hidden: Tensor,
    sigma: Tensor,
    rays: Tensor,
    center: Tensor,
) -> tuple[Tensor, Tensor]:
    """Draws the masks.

    Arguments:
        batch: The contaminants.
        grid: Pixels of side 1.
        hidden: Light that is to be masked, after the PSF, with shape (B, 1, H, W).
        sigma: The noise, of the same shape.
        rays: 1 where tracks are found, of the same shape.
        center: Centres of the lenses [pixel], with shape (B, 2).

    Returns:
        1 where a pixel is used, and 1 where it holds data at all, each with shape (B, 1, H, W).
    """
    x, y = grid.coordinates(device=sigma.device)
    phi, offset, half = batch.strips[..., None, None].unbind(2)
    strip = ((x * phi.cos() + y * phi.sin() - offset).abs() < half).any(1, keepdim=True)
    size, (h, w) = len(sigma), grid.shape
    flat = sigma.new_zeros(size, h * w + 1)
    # what is nowhere goes behind the last pixel
    places = batch.bad % (h * w + 1)
    lost = flat.scatter(1, places, 1.0)[:, :-1].reshape(size, 1, h, w)
    held = 1 - torch.maximum(lost, strip.float())
    cx, cy = center.to(sigma)[:, :, None, None, None].unbind(1)
    core = batch.core[:, None, None, None]
    burnt = (torch.hypot(x - cx, y - cy) < core).float()
    covered = _grown((hidden > FADED * sigma).float())
    return held * (1 - torch.maximum(torch.maximum(covered, burnt), rays)), held


def given_psfs(batch: ContaminationBatch, psf: Tensor) -> Tensor:
    """Returns the PSFs that a fit is given in place of the true ones (B, P, P)."""
    return change_psfs(psf, batch.psf)


def _grown(mask: Tensor) -> Tensor:
    """Grows masks by a pixel."""
    return F.max_pool2d(mask, 3, stride=1, padding=1)
