"""Where images come from: dead leaves, the user's photographs, and one that matplotlib brings."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from torch import Tensor

from ...errors import InputError
from ...evaluation.problems.leaves import dead_leaves

SUFFIXES = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp")


@runtime_checkable
class Pictures(Protocol):
    """A population of images."""

    def draw(self, batch: int, size: int, rng: torch.Generator) -> Tensor:
        """Draws images with values in [0, 1], with shape (B, 1, N, N)."""
        ...

    @property
    def digest(self) -> str:
        """Checksum of what is drawn from."""
        ...


@dataclass(frozen=True)
class Leaves:
    """Creates the population of dead leaves."""

    def draw(self, batch: int, size: int, rng: torch.Generator) -> Tensor:
        return dead_leaves(batch, size, rng)

    @property
    def digest(self) -> str:
        return "dead leaves"


@dataclass(frozen=True)
class Photographs:
    """Creates the population of patches of photographs.

    Arguments:
        images: The photographs in shades of grey, with values in [0, 1].
    """

    images: Sequence[Tensor]

    @classmethod
    def of(cls, folder: Path, size: int) -> "Photographs":
        """Reads a folder.

        Raises:
            InputError: If it holds no image, or one that cannot be read or is smaller than a
                patch.
        """
        paths = sorted(p for p in folder.glob("*") if p.suffix.lower() in SUFFIXES)
        if not paths:
            raise InputError(
                f"{folder}: must hold images ({', '.join(SUFFIXES)}), found none; choose another"
            )
        images = [read_grey(path) for path in paths]
        for path, image in zip(paths, images, strict=True):
            if min(image.shape) < size:
                raise InputError(
                    f"{path}: must have sides of {size} pixels or more, found "
                    f"{tuple(image.shape)}; remove it"
                )
        return cls(images)

    def draw(self, batch: int, size: int, rng: torch.Generator) -> Tensor:
        patches = []
        for _ in range(batch):
            image = self.images[int(torch.randint(len(self.images), (), generator=rng))]
            y, x = (int(torch.randint(n - size + 1, (), generator=rng)) for n in image.shape)
            patches.append(image[y : y + size, x : x + size])
        return torch.stack(patches)[:, None]

    @property
    def digest(self) -> str:
        found = hashlib.sha256()
        for image in self.images:
            found.update(str(tuple(image.shape)).encode() + image.numpy().tobytes())
        return found.hexdigest()


def read_grey(path: Path) -> Tensor:
    """Reads an image in shades of grey, with values in [0, 1] and shape (H, W).

    Raises:
        InputError: If it cannot be read.
    """
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(path) as image:
            return torch.from_numpy(np.asarray(image.convert("L"), np.float32) / 255)
    except (OSError, UnidentifiedImageError) as error:
        raise InputError(f"{path}: must be an image, found another file; remove it") from error


def hopper(size: int) -> Tensor:
    """Returns the face in a photograph of Grace Hopper (US Navy, in the public domain), which
    matplotlib brings, with shape (1, 1, N, N)."""
    from matplotlib.cbook import get_sample_data

    image = read_grey(Path(str(get_sample_data("grace_hopper.jpg", asfileobj=False))))
    y, x = (image.shape[0] - size) // 4, (image.shape[1] - size) // 2
    return image[y : y + size, x : x + size][None, None].clone()
