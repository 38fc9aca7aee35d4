"""Images of galaxies for a generator: in one frame, turned, scaled and shifted at random.

In the frame a galaxy stands in the middle, its half-light radius a tenth of the frame's side, or
nearly; its brightest pixel is 1, and it fades to zero at the edge of a disc.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from ..datasets.galaxies.clumpy import synthetic_galaxy
from ..datasets.galaxies.opening import open_galaxies
from ..datasets.galaxies.stamps import Galaxy
from ..datasets.psfs.kinds import block_mean
from ..datasets.splits import Duplicates, split
from ..errors import InputError

SYNTHETIC = 200
"""Synthetic galaxies of which images are made; each set has its own."""


@dataclass(frozen=True)
class SourceConfig:
    """Describes the images of galaxies that a generator learns from.

    Arguments:
        galaxies: Folder of FITS stamps; synthetic galaxies by default.
        duplicates: Which stamps show the same galaxy.
        synthetic: Share of synthetic galaxies where there are real ones.
        radius_min: Least half-light radius of a real galaxy [pixel of its stamp].
        radius: Range of the half-light radius [side of the frame] (log-uniform).
        shift: Largest shift of the centre along x and y [side of the frame] (uniform).
        seed: Seed of the sequence of batches.
    """

    galaxies: str | None = None
    duplicates: Duplicates | None = None
    synthetic: float = 0.2
    radius_min: float = 4.0
    radius: tuple[float, float] = (0.08, 0.125)
    shift: float = 0.02
    seed: int = 0

    def __post_init__(self) -> None:
        if not 0 <= self.synthetic <= 1:
            raise InputError(f"synthetic: must be a share, 0 to 1, found {self.synthetic}")
        if not 0 < self.radius[0] <= self.radius[1] < 0.5:
            raise InputError(
                "radius: must be a range between 0 and half of the frame's side, found "
                f"{list(self.radius)}; change it"
            )
        if not self.radius_min >= 0 or not 0 <= self.shift < 0.5:
            raise InputError(
                "radius_min and shift must be 0 or more, shift below 0.5, found "
                f"{self.radius_min} and {self.shift}; change them"
            )

    def images(self, which: str, side: int, batch_size: int, seed: int) -> "SourceImages":
        """Returns the sequence of batches of a set."""
        return SourceImages(self, which, side, batch_size, seed)

    def describe(self, which: str) -> str:
        """Says of what the images of a set are made."""
        if self.galaxies is None:
            return "synthetic galaxies"
        return f"{len(_real(self, which))} stamps of real galaxies of the {which} set"


@dataclass(frozen=True)
class SourceImages:
    """Creates a sequence of batches; ``images(i)`` depends on i and these arguments alone.

    Arguments:
        config: Of what, and how.
        which: Set: ``train``, ``validation`` or ``test``; galaxies are split before all else.
        side: Side of the images [pixels].
        batch_size: Images in a batch.
        seed: Seed of the sequence.
    """

    config: SourceConfig
    which: str
    side: int
    batch_size: int
    seed: int

    def __call__(self, index: int) -> Tensor:
        """Makes batch number ``index``, with shape (B, 1, S, S)."""
        config, n = self.config, self.batch_size
        rng = np.random.default_rng([self.seed, index])
        stamps, radii, real = _stamps(config, self.which, self.side)
        made = rng.uniform(size=n) < (config.synthetic if real else 1.0)
        which = np.where(
            made, real + rng.integers(SYNTHETIC, size=n), rng.integers(max(real, 1), size=n)
        )
        low, high = np.log(config.radius)
        radius = self.side * np.exp(rng.uniform(low, high, n))
        shift = self.side * config.shift * rng.uniform(-1, 1, (n, 2))
        angle, flip = rng.uniform(0, 2 * np.pi, n), rng.integers(2, size=n) * 2 - 1
        return placed(
            stamps[which],
            torch.from_numpy(radii[which] / radius),
            torch.from_numpy(angle),
            torch.from_numpy(flip),
            torch.from_numpy(shift),
            self.side,
        )


def placed(
    stamps: Tensor, scale: Tensor, angle: Tensor, flip: Tensor, shift: Tensor, side: int
) -> Tensor:
    """Puts stamps into the frame, their peak 1, faded at the edge.

    Arguments:
        stamps: Stamps, with shape (B, 1, P, P).
        scale: Pixels of the stamp to a pixel of the frame (B).
        angle: Counter-clockwise rotation [rad] (B).
        flip: -1 where the stamp is mirrored along x before the rotation, else 1 (B).
        shift: Place of the centre, x and y [pixel of the frame] (B, 2).
        side: Side of the frame [pixels].
    """
    axis = torch.arange(side) - (side - 1) / 2
    scale, angle, flip = (t.float()[:, None, None] for t in (scale, angle, flip))
    shift = shift.float()[..., None, None]
    x, y = axis[None, None, :] - shift[:, 0], axis[None, :, None] - shift[:, 1]
    cos, sin = angle.cos(), angle.sin()
    u = flip * (cos * x + sin * y) * scale
    v = (cos * y - sin * x) * scale
    points = torch.stack([u, v], -1) * (2 / stamps.shape[-1])
    images = F.grid_sample(stamps, points, mode="bicubic", align_corners=False).clamp(min=0)
    images = images * fading(side)
    return images / images.amax((1, 2, 3), keepdim=True).clamp(min=1e-9)


def fading(side: int, *, share: float = 0.2) -> Tensor:
    """Returns a window that is 1 in the middle and falls to 0 at the edge of a disc, (S, S)."""
    axis = (torch.arange(side) - (side - 1) / 2) / (side / 2)
    depth = ((1 - torch.hypot(axis[:, None], axis[None])) / share).clamp(0, 1)
    return depth**2 * (3 - 2 * depth)


class _Key:
    """Makes a description hashable by what it says."""

    def __init__(self, config: SourceConfig):
        self.config, self.text = config, repr(config)

    def __hash__(self) -> int:
        return hash(self.text)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Key) and other.text == self.text


def _real(config: SourceConfig, which: str) -> tuple[Galaxy, ...]:
    return _read(_Key(config), which)


@lru_cache(maxsize=3)
def _read(key: _Key, which: str) -> tuple[Galaxy, ...]:
    """Reads the real galaxies of a set that their stamps resolve."""
    config = key.config
    if config.galaxies is None:
        return ()
    folder = open_galaxies(config.galaxies)
    pairs = () if config.duplicates is None else config.duplicates.pairs()
    names = split(folder.names, pairs)[which]
    read = (folder.load(name) for name in names)
    kept = tuple(g for g in read if g.half_light_radius >= config.radius_min * g.pixel_scale)
    if not kept:
        raise InputError(
            f"{config.galaxies}: must hold galaxies for the {which} set with a half-light radius "
            f"of {config.radius_min} pixels (radius_min), found none of {len(names)}; give more "
            "stamps"
        )
    return kept


def _stamps(config: SourceConfig, which: str, side: int) -> tuple[Tensor, np.ndarray, int]:
    """Returns stamps on one padded side, real ones first, their radii [pixel], and how many are.

    Stamps that are finer than the frame by 2 or more are averaged first: no light is lost between
    the points.
    """
    return _bank(_Key(config), which, side)


@lru_cache(maxsize=4)
def _bank(key: _Key, which: str, side: int) -> tuple[Tensor, np.ndarray, int]:
    sets = ("train", "validation", "test")
    rng = np.random.default_rng([key.config.seed, 1, sets.index(which)])
    real = _real(key.config, which)
    made = [synthetic_galaxy(rng) for _ in range(SYNTHETIC)]
    return *_reduced([*real, *made], side * float(np.sqrt(np.prod(key.config.radius)))), len(real)


def _reduced(galaxies: Sequence[Galaxy], radius: float) -> tuple[Tensor, np.ndarray]:
    images, radii = [], []
    for galaxy in galaxies:
        own = galaxy.half_light_radius / galaxy.pixel_scale
        factor, image = max(1, int(own / radius)), galaxy.image
        if factor > 1:
            # An odd number of blocks about the middle pixel, so that the centre stays the centre.
            blocks = -(-image.shape[0] // factor)
            wanted = (blocks + 1 - blocks % 2) * factor
            before = (wanted - image.shape[0]) // 2
            image = np.pad(image, (before, wanted - image.shape[0] - before))
            image = block_mean(image, factor)
        images.append(image)
        radii.append(own / factor)
    largest = max(image.shape[0] for image in images)
    stack = np.zeros((len(images), 1, largest, largest), dtype=np.float32)
    for padded, image in zip(stack[:, 0], images, strict=True):
        low = (largest - image.shape[0]) // 2
        padded[low : low + image.shape[0], low : low + image.shape[0]] = image
    return torch.from_numpy(stack), np.asarray(radii)
