"""Stamps of the point spread functions of a batch, and their widths, on the device.

The effective PSF is the optical one integrated over the image's pixels: averaged over
:data:`POINTS` x :data:`POINTS` points of each. Analytic kinds are computed there; a real stamp is
read by cubic convolution, about its centroid. What :func:`lensrim.datasets.psfs.kinds.fine_psf`
does for one, on the CPU, is the same but for the spline of the stamps.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import astuple
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from ...lensing.interpolation import Bicubic
from ..pairs.systems import Map
from .changes import change_psfs
from .kinds import Psf

POINTS = 5
"""Points of a pixel along each side, at which an optical PSF is computed."""

UPSAMPLED, WINDOW = 8, 10
"""Points of a pixel at which a width is measured, and pixels on each side of the middle one."""


def psf_numbers(psfs: Sequence[Psf], side: int) -> dict[str, Tensor]:
    """Collects what PSFs are made of.

    Arguments:
        psfs: The PSFs.
        side: Odd side of the stamps that will be made [pixels].

    Returns:
        ``psf``: fwhm, beta, q, cos and sin of phi, whether it is Gaussian, and the radius of the
        stamp, (B, 7); of real ones ``psf_row`` (R), ``psf_scale``, the stamp's pixels to one
        of the image, (R), and ``psf_stamp`` (R, 1, S, S); of changed ones ``psf_changed`` (C) and
        the changes ``psf_change`` (C, 9).
    """
    rows = [
        (p.fwhm, p.beta, p.q, math.cos(p.phi), math.sin(p.phi), float(p.kind == "gaussian"),
         min(math.ceil(p.reach * p.fwhm), side // 2))
        for p in psfs
    ]  # fmt: skip
    found = {"psf": torch.tensor(rows).float()}
    changes = [(i, astuple(p.change)) for i, p in enumerate(psfs) if p.change is not None]
    if changes:
        found["psf_changed"] = torch.tensor([i for i, _ in changes])
        found["psf_change"] = torch.tensor([c for _, c in changes]).float()
    real = [(i, p, p.stamp) for i, p in enumerate(psfs) if p.stamp is not None]
    if not real:
        return found
    scales = [p.stamp_fwhm / p.fwhm for _, p, _ in real]
    # What the frame sees of the stamp, turned or not, and the four pixels that a point reads.
    halves = [
        math.ceil((side / 2 + 1) * c * (math.sqrt(2) if p.phi else 1)) + 2
        for (_, p, _), c in zip(real, scales, strict=True)
    ]
    cut = [_cut(s, half) for (_, _, s), half in zip(real, halves, strict=True)]
    most = max(len(s) for s in cut)
    padded = [np.pad(s, (most - len(s)) // 2) for s in cut]
    return found | {
        "psf_row": torch.tensor([i for i, _, _ in real]),
        "psf_scale": torch.tensor(scales).float(),
        "psf_stamp": torch.from_numpy(np.stack(padded)).float()[:, None],
    }


def _cut(stamp: Map, half: int) -> Map:
    """Cuts the middle of an odd stamp."""
    middle = len(stamp) // 2
    first = max(0, middle - half)
    return stamp[first : len(stamp) - first, first : len(stamp) - first]


def effective_stamps(numbers: Mapping[str, Tensor], side: int) -> Tensor:
    """Makes the stamps, with sum 1 and shape (B, side, side), in single precision.

    Arguments:
        numbers: From :func:`psf_numbers`, on the device.
        side: Their odd side [pixels].
    """
    table = numbers["psf"]
    fwhm, beta, q, cos, sin, gaussian, radius = table[..., None, None].unbind(1)
    axis = _axis(side, POINTS, table)
    x, y = axis, axis[:, None]
    major, minor = x * cos + y * sin, y * cos - x * sin
    r2 = (q * major.square() + minor.square() / q) / fwhm**2
    width = 4 * (2 ** (1 / beta) - 1)
    moffat = -beta * torch.log1p(width * r2)
    fine = torch.exp(torch.where(gaussian > 0, -4 * math.log(2) * r2, moffat))
    if "psf_row" in numbers:
        rows = numbers["psf_row"]
        fine[rows] = _real(numbers, side, radius[rows])
    inside = (axis.abs() < radius[:, 0] + 0.5).to(fine.dtype)
    fine = fine * inside[:, None] * inside[..., None]
    stamps = fine.unflatten(-1, (side, POINTS)).unflatten(-3, (side, POINTS)).mean((-3, -1))
    stamps = stamps / stamps.sum((-2, -1), keepdim=True)
    if "psf_changed" in numbers:
        rows = numbers["psf_changed"]
        stamps = stamps.index_copy(0, rows, change_psfs(stamps[rows], numbers["psf_change"]))
    return stamps


def _axis(side: int, points: int, like: Tensor) -> Tensor:
    """Returns places along an axis, 0 in the middle [pixel]."""
    n = side * points
    return (torch.arange(n, device=like.device, dtype=like.dtype) - (n - 1) / 2) / points


def _real(numbers: Mapping[str, Tensor], side: int, radius: Tensor) -> Tensor:
    """Reads real stamps about their centroids, with shape (R, 5 side, 5 side)."""
    shift = radius.new_zeros(len(radius), 2)
    # The centroid depends on what the radius cuts off.
    for _ in range(3):
        axis = _axis(side, 2, shift)
        light = _read(numbers, axis, shift) * (
            (axis.abs() < radius + 0.5) & (axis[:, None].abs() < radius + 0.5)
        )
        light = light / light.sum((-2, -1), keepdim=True)
        off = [(light.sum(d) * axis).sum(-1) for d in (-2, -1)]
        shift = shift + torch.stack(off, 1)
    return _read(numbers, _axis(side, POINTS, shift), shift)


def _read(numbers: Mapping[str, Tensor], axis: Tensor, shift: Tensor) -> Tensor:
    """Reads real stamps at a square of places, with shape (R, n, n)."""
    stamps, scale = numbers["psf_stamp"], numbers["psf_scale"][:, None]
    x, y = ((axis + s[:, None]) * scale * (2 / stamps.shape[-1]) for s in shift.unbind(1))
    x, y = x[:, None], y[..., None]
    cos, sin = (numbers["psf"][numbers["psf_row"], k, None, None] for k in (3, 4))
    places = torch.stack([cos * x + sin * y, cos * y - sin * x], -1)
    return Bicubic().sample(stamps, places)[:, 0].clamp(min=0)


def widths(stamps: Tensor) -> Tensor:
    """Measures the full widths at half maximum of stamps (B, side, side) [pixels]: (B).

    As :func:`lensrim.lensing.psf.measure_fwhm`, from the area in which the same spline lies above
    half of its peak, whose edge is placed between the points by the slope there. The area lies
    within ``WINDOW`` of the middle.
    """
    spline = _spline(stamps.shape[-1], stamps.device)
    fine = spline @ stamps.float() @ spline.mT
    half = fine.amax((-2, -1), keepdim=True) / 2
    x, y = torch.gradient(fine, dim=(-1, -2))
    slope = torch.hypot(x, y).clamp(min=1e-12)
    area = ((fine - half) / slope + 0.5).clamp(0, 1).sum((-2, -1)) / UPSAMPLED**2
    return 2 * (area / math.pi).sqrt()


@lru_cache(maxsize=8)
def _spline(side: int, device: torch.device) -> Tensor:
    """Returns the matrix of a spline of order 5 through the pixels of an axis."""
    from scipy import ndimage

    reach = min(side // 2, WINDOW)
    points = side // 2 + np.arange(-UPSAMPLED * reach, UPSAMPLED * reach + 1) / UPSAMPLED
    lines = [ndimage.map_coordinates(line, [points], order=5) for line in np.eye(side)]
    return torch.from_numpy(np.stack(lines, 1)).float().to(device)
