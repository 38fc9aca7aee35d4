"""Light of the lens, noise and what else is in an image, of a batch and on the device.

A contaminant is an object with the methods of :class:`Contaminant`; :class:`~lensrim.datasets.
pairs.Pairs` has a sequence of them, which see the finished image one after the other and return
another.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from torch import Tensor

from ..noise import unit_noise
from ..systems import System
from .drawn import Stream
from .sersic import galaxy
from .systems import Map


@dataclass(frozen=True)
class Exposure:
    """Holds images of B lenses, relative to the brightest pixel of their arcs.

    Arguments:
        image, sigma, mask: What the fit is given, with shape (B, 1, H, W).
        psf: The PSF that it is given, with shape (B, P, P).
        clean, light: Noise-free arcs and lens light, convolved, (B, 1, H, W): for reading only.
        true_psf: The PSF that made them, for reading only.
        center: Centre of the lens [pixel of the image, from its middle], (B, 2): for reading only.
    """

    image: Tensor
    sigma: Tensor
    mask: Tensor
    psf: Tensor
    clean: Tensor
    light: Tensor
    true_psf: Tensor
    center: Tensor


@runtime_checkable
class Contaminant(Protocol):
    """What a kind of contaminant can do."""

    def numbers(
        self, systems: Sequence[System], rng: np.random.Generator, shape: tuple[int, int]
    ) -> dict[str, Tensor]:
        """Draws what is added to the images of systems, with lengths in pixels; on the CPU.

        The names must be no other contaminant's. Random fields are not drawn here.
        """
        ...

    def apply(self, numbers: Mapping[str, Tensor], exposure: Exposure, stream: Stream) -> Exposure:
        """Changes images, on their device."""
        ...


def axes(shape: Sequence[int], like: Tensor) -> tuple[Tensor, Tensor]:
    """Returns the pixels' coordinates along x (W) and y (H, 1), 0 in the middle."""
    y, x = (torch.arange(n, device=like.device, dtype=torch.float32) - (n - 1) / 2 for n in shape)
    return x, y[:, None]


def smooth_fields(length: Tensor, shape: Sequence[int], stream: Stream) -> Tensor:
    """Draws smooth random maps of mean 0 and variance 1, with shape (B, 1, H, W).

    Arguments:
        length: Their correlation lengths [pixel], with shape (B).
        shape: Shape of the frame.
        stream: Where random numbers come from.
    """
    h, w = 2 * shape[0], 2 * shape[1]
    k2 = _wave_numbers(h, w, length.device)
    window = torch.exp(-0.25 * k2 * length[:, None, None] ** 2)
    white = stream.normal(len(length), h, w)
    maps = torch.fft.irfft2(torch.fft.rfft2(white) * window, s=(h, w))
    maps = maps[:, None, : shape[0], : shape[1]]
    maps = maps - maps.mean((-2, -1), keepdim=True)
    return maps / maps.std((-2, -1), keepdim=True)


@lru_cache(maxsize=8)
def _wave_numbers(h: int, w: int, device: torch.device) -> Tensor:
    ky = torch.fft.fftfreq(h, dtype=torch.float32)[:, None]
    kx = torch.fft.rfftfreq(w, dtype=torch.float32)[None]
    return ((2 * math.pi) ** 2 * (kx**2 + ky**2)).to(device)


def light_numbers(systems: Sequence[System]) -> dict[str, Tensor]:
    """Collects R_sersic, n_sersic, q, cos and sin of phi, centre and brightness: (B, 8)."""
    rows = []
    for system in systems:
        s = system.lens_light
        if s is None:
            rows.append((1.0, 1.0, 1.0, 1.0, 0.0, 0.0, 0.0, 0.0))
            continue
        turn = math.cos(s.phi), math.sin(s.phi)
        rows.append((s.R_sersic, s.n_sersic, s.q, *turn, s.center_x, s.center_y, s.brightness))
    return {"light": torch.tensor(rows).float()}


def lens_light(numbers: Mapping[str, Tensor], shape: Sequence[int]) -> Tensor:
    """Computes the light of the lens galaxies before the PSF, of flux 1: (B, 1, H, W)."""
    table = numbers["light"]
    x, y = axes(shape, table)
    radius, n, q, cos, sin, cx, cy, _ = table[..., None, None].unbind(1)
    return galaxy(x, y, (cx, cy), radius=radius, n=n, q=q, cos=cos, sin=sin)[:, None]


def noise_numbers(
    systems: Sequence[System],
    rng: np.random.Generator,
    shape: tuple[int, int],
    fields: Sequence[Map] | None = None,
) -> dict[str, Tensor]:
    """Collects the levels of noise, and what fields of it are made of.

    Arguments:
        systems: The systems.
        rng: Source of random numbers.
        shape: Shape of the frame.
        fields: Real noise to cut from.

    Returns:
        ``noise``: S/N, share of photons and whether they are without the lens' light, (B, 3); and
        ``field`` (B, 1, H, W) of real noise, or ``correlation`` (B) where there is any.
    """
    levels = [s.noise for s in systems]
    rows = [(n.snr, n.poisson_share, float(n.without_light)) for n in levels]
    found = {"noise": torch.tensor(rows).float()}
    if fields is not None:
        cut = [unit_noise(rng, shape, fields=fields) for _ in systems]
        return found | {"field": torch.from_numpy(np.stack(cut)).float()[:, None]}
    lengths = [n.correlation for n in levels]
    if any(lengths):
        # The reach is a shape: it is not to be asked of a device.
        reach = torch.zeros(math.ceil(4 * max(lengths)), dtype=torch.float32)
        found |= {"correlation": torch.tensor(lengths).float(), "reach": reach}
    return found


def noise_maps(numbers: Mapping[str, Tensor], arcs: Tensor, light: Tensor) -> Tensor:
    """Standard deviations for arcs whose peak is 1: background, and photons of arcs and lens."""
    snr, share, alone = numbers["noise"].to(arcs.dtype)[..., None, None, None].unbind(1)
    photons = (arcs + light).clamp(min=0)
    top = photons.flatten(1).gather(1, arcs.flatten(1).argmax(1)[:, None])[..., None, None]
    top = torch.where(alone > 0, torch.ones_like(top), top)
    return ((1 - share) + share * photons / top).sqrt() / snr


def noise_fields(numbers: Mapping[str, Tensor], shape: Sequence[int], stream: Stream) -> Tensor:
    """Makes noise of variance 1, with shape (B, 1, H, W)."""
    if "field" in numbers:
        return numbers["field"]
    (h, w), size = shape, len(numbers["noise"])
    if "correlation" not in numbers:
        return stream.normal(size, 1, h, w)
    length, reach = numbers["correlation"], len(numbers["reach"])
    white = stream.normal(size, h + 2 * reach, w + 2 * reach)
    along_y, along_x = (_kernel_matrix(length, n, reach) for n in (h, w))
    return (along_y @ white @ along_x.mT)[:, None]


def _kernel_matrix(length: Tensor, n: int, reach: int) -> Tensor:
    """Returns the matrices of a Gaussian kernel along an axis, with shape (B, n, n + 2 reach).

    The kernel ends at four standard deviations, and gives white noise the variance 1.
    """
    like = {"device": length.device, "dtype": length.dtype}
    offset = torch.arange(n + 2 * reach, **like) - reach - torch.arange(n, **like)[:, None]
    s = length[:, None, None]
    kernel = torch.exp(-0.5 * (offset / s.clamp(min=1e-3)).square())
    kernel = kernel * (offset.abs() <= torch.ceil(4 * s))
    norm = kernel[:, :1].square().sum(-1, keepdim=True).sqrt()
    return kernel / norm
