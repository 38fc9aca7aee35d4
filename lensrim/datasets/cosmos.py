"""Stamps of real galaxies, made ready to be lensed.

A folder holds FITS images of one galaxy each, in any of the usual forms: cut out on a zero
background, or with sky, noise and neighbours around it. Each is brought to one form: background
removed, the object at the centre segmented, its edge tapered so that no step remains, cropped, and
divided by its peak. The point spread function of the survey that took the image is left in.
"""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError

Map = NDArray[np.float64]


@dataclass(frozen=True)
class Galaxy:
    """Creates a galaxy to be lensed.

    Arguments:
        name: Name, unique in its collection.
        image: Surface brightness relative to its peak, square, centred on the centroid, zero at
            the border.
        pixel_scale: Side of a pixel [arcsec].
        half_light_radius: Radius about the centre that holds half of the light [arcsec].
    """

    name: str
    image: Map
    pixel_scale: float
    half_light_radius: float


def half_light_radius(image: Map) -> float:
    """Radius about the middle of a map that holds half of its sum [pixels]."""
    h, w = image.shape
    radius = np.hypot(*np.mgrid[-(h - 1) / 2 : h / 2, -(w - 1) / 2 : w / 2]).ravel()
    order = np.argsort(radius)
    light = np.cumsum(image.ravel()[order])
    return float(np.interp(0.5 * light[-1], light, radius[order]))


def _background(image: Map) -> tuple[float, float]:
    """Level and noise of the sky: clipped median and scatter of what is not blank.

    A stamp that was cut out on zeros has neither.
    """
    values = image[image != 0]
    if values.size < 0.7 * image.size:
        return 0.0, 0.0
    for _ in range(10):
        level = float(np.median(values))
        noise = 1.4826 * float(np.median(np.abs(values - level)))
        values = values[np.abs(values - level) <= 2.5 * noise]
    return level, noise


def isolate(image: Map, *, taper: int = 4) -> Map:
    """Removes the background and everything but the object nearest to the middle of a stamp.

    Arguments:
        image: Stamp, with shape (H, W); non-finite pixels count as blank.
        taper: Width of the edge over which the object fades to zero [pixels].

    Returns:
        The object on zeros, divided by its peak: square, odd, cropped, centred on its centroid.

    Raises:
        ValueError: If there is no object.
    """
    from scipy import ndimage

    image = np.where(np.isfinite(image), image, 0.0)
    level, noise = _background(image)
    blank = image == 0
    signal = np.where(blank, 0.0, image - level)
    smooth = ndimage.gaussian_filter(signal, 1.5) if noise else signal
    above = smooth > max(1.5 * noise, 1e-3 * signal.max())
    # Opening cuts the bridges of noise between neighbours.
    above = ndimage.binary_opening(above, iterations=2) if noise else above
    labelled: Any = ndimage.label(above)
    labels, count = labelled
    if not count:
        raise ValueError("no object stands above the background")
    h, w = image.shape
    distance = np.hypot(*np.mgrid[-(h - 1) / 2 : h / 2, -(w - 1) / 2 : w / 2])
    # The galaxy is what is bright near the middle; a fainter speck nearer to it is not.
    chosen = labels.flat[
        np.argmax(np.where(labels > 0, smooth, 0) * np.exp(-((6 * distance / h) ** 2)))
    ]
    inside = ndimage.binary_fill_holes(labels == chosen)
    if noise:
        inside = ndimage.binary_dilation(inside, iterations=taper)
        neighbours = (labels > 0) & (labels != chosen)
        inside &= np.logical_not(ndimage.binary_dilation(neighbours, iterations=1))
    depth = np.asarray(ndimage.distance_transform_edt(inside)) / (taper + 1)
    depth = np.clip(depth, 0, 1)
    galaxy = np.clip(signal, 0, None) * depth**2 * (3 - 2 * depth)
    if not galaxy.max() > 0:
        raise ValueError("no object is larger than the taper")
    return _centred(galaxy / galaxy.max())


def _centred(galaxy: Map) -> Map:
    """Crops to an odd square about the pixel of the centroid, with a border of two zeros."""
    rows, columns = np.nonzero(galaxy)
    weights = galaxy[rows, columns]
    row = round(float(np.average(rows, weights=weights)))
    column = round(float(np.average(columns, weights=weights)))
    half = 2 + max(np.abs(rows - row).max(), np.abs(columns - column).max())
    padded = np.pad(galaxy, half)
    return padded[row : row + 2 * half + 1, column : column + 2 * half + 1]


class GalaxyFolder:
    """Creates a collection of galaxies from a folder, read one by one when asked for.

    Arguments:
        root: Folder searched, with its subfolders, for ``*.fits`` and ``*.fits.gz``.
        pixel_scale: Side of a pixel [arcsec], of all stamps or by the name of their subfolder. It
            only gives the galaxies an absolute size.
        names: Names to be kept; all by default.

    Raises:
        InputError: If the folder does not exist or holds no stamp.
    """

    def __init__(
        self,
        root: str | Path,
        *,
        pixel_scale: float | Mapping[str, float] = 0.05,
        names: Iterable[str] | None = None,
    ):
        self.root = Path(root)
        if not self.root.is_dir():
            raise InputError(
                f"{self.root}: galaxies must be a folder of FITS stamps; no such folder"
            )
        found = [p for p in sorted(self.root.rglob("*")) if p.name.endswith((".fits", ".fits.gz"))]
        paths = {str(p.relative_to(self.root)).split(".fits")[0]: p for p in found}
        kept = paths if names is None else [name for name in names if name in paths]
        self._paths = {name: paths[name] for name in kept}
        self._pixel_scale = pixel_scale
        if not self._paths:
            raise InputError(f"{self.root}: expected FITS stamps (*.fits, *.fits.gz), found none")
        self.load = lru_cache(maxsize=None)(self._load)

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the galaxies: their paths below the folder, without the extension."""
        return tuple(self._paths)

    def __len__(self) -> int:
        return len(self._paths)

    def _load(self, name: str) -> Galaxy:
        """Reads one galaxy; the public ``load`` remembers it.

        Raises:
            InputError: If the file is not FITS, or holds no two-dimensional image or no object.
        """
        from astropy.io import fits

        path, scale = self._paths[name], self._pixel_scale
        try:
            with fits.open(path) as hdus:
                data: list[Any] = [getattr(hdu, "data", None) for hdu in hdus]
        except OSError as error:
            raise InputError(f"{path}: a galaxy stamp must be a FITS file: {error}") from error
        images = [each for each in data if each is not None and each.ndim == 2]
        if not images:
            raise InputError(f"{path}: a galaxy stamp must be a two-dimensional image, found none")
        try:
            image = isolate(np.asarray(images[0], dtype=np.float64))
        except ValueError as error:
            raise InputError(f"{path}: {error}; leave this file out of the folder") from error
        if isinstance(scale, Mapping):
            scale = scale[name.split("/")[0]]
        return Galaxy(name, image, scale, half_light_radius(image) * scale)


def _groups(names: Sequence[str], pairs: Iterable[tuple[str, str]]) -> dict[str, str]:
    """Maps each name to the first name (in sorted order) of its group of duplicates."""
    parent = {name: name for name in names}

    def root(name: str) -> str:
        while parent.setdefault(name, name) != name:
            name = parent[name]
        return name

    for a, b in pairs:
        first, second = sorted((root(a), root(b)))
        parent[second] = first
    return {name: root(name) for name in names}


def split(
    names: Sequence[str],
    duplicate_pairs: Iterable[tuple[str, str]] = (),
    *,
    fractions: tuple[float, float, float] = (0.8, 0.1, 0.1),
) -> dict[str, tuple[str, ...]]:
    """Splits galaxies into training, validation and test sets.

    A galaxy's set is decided by the hash of its name, so that it does not change when galaxies are
    added. Galaxies connected by a chain of duplicate pairs go together.

    Arguments:
        names: Names of the galaxies.
        duplicate_pairs: Pairs of names that show the same galaxy; a name not in ``names`` still
            connects.
        fractions: Expected shares of the three sets.

    Returns:
        The names in ``"train"``, ``"validation"`` and ``"test"``.

    Raises:
        ValueError: If the shares do not add up to 1.
    """
    if abs(sum(fractions) - 1) > 1e-9 or min(fractions) < 0:
        raise ValueError(f"fractions must be three shares that add up to 1, got {fractions}")
    sets: dict[str, list[str]] = {"train": [], "validation": [], "test": []}
    for name, group in _groups(names, duplicate_pairs).items():
        u = int.from_bytes(hashlib.sha256(group.encode()).digest()[:8], "big") / 2**64
        which = (u >= fractions[0]) + (u >= fractions[0] + fractions[1])
        sets[("train", "validation", "test")[which]].append(name)
    return {key: tuple(value) for key, value in sets.items()}


@dataclass(frozen=True)
class Duplicates:
    """Creates the description of a list of stamps that show the same galaxy.

    Arguments:
        file: JSON file, as :func:`read_duplicate_pairs` takes it.
        folders: What precedes the number in the names of the stamps, by kind.
        digits: Digits to which the number is padded, by kind.
    """

    file: str
    folders: Mapping[str, str]
    digits: Mapping[str, int] = field(default_factory=dict)

    def pairs(self) -> tuple[tuple[str, str], ...]:
        """Reads the pairs of names.

        Raises:
            InputError: If the file is not such a list, or names an unknown kind.
        """
        return tuple(read_duplicate_pairs(self.file, self.folders, digits=self.digits))


def pairs_digest(pairs: Iterable[tuple[str, str]]) -> str | None:
    """Computes the SHA-256 of pairs of names, whatever their order; None of none."""
    lines = sorted({" ".join(sorted(map(repr, pair))) for pair in pairs})
    return hashlib.sha256("\n".join(lines).encode()).hexdigest() if lines else None


def read_duplicate_pairs(
    path: str | Path, folders: Mapping[str, str], *, digits: Mapping[str, int] | None = None
) -> list[tuple[str, str]]:
    """Reads pairs of duplicates from a JSON list of ``{"a": "kind/number", "b": "kind/number"}``.

    Arguments:
        path: File with the key ``pairs``.
        folders: What precedes the number in the names of a :class:`GalaxyFolder`, by kind, for
            instance ``{"cand": "candels/f814w_gal"}``.
        digits: Digits to which the number is padded, by kind.

    Returns:
        The pairs of names.

    Raises:
        InputError: If the file is not such a list, or names an unknown kind.
    """
    import json

    def name(entry: str) -> str:
        kind, number = entry.split("/")
        return f"{folders[kind]}{number.zfill((digits or {}).get(kind, 1))}"

    try:
        pairs = json.loads(Path(path).read_text())["pairs"]
        return [(name(pair["a"]), name(pair["b"])) for pair in pairs]
    except (OSError, AttributeError, KeyError, TypeError, ValueError) as error:
        raise InputError(
            f"{path}: expected JSON with 'pairs' of 'kind/number', kinds {sorted(folders)},"
            f" found {error!r}"
        ) from error
