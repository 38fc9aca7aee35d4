"""What FITS files hold: their HDUs as announced, and images with their headers."""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from astropy.io import fits
from jaxtyping import Float64

from lensrim.errors import InputError
from lensrim.io.stream import one_line


@dataclass(frozen=True)
class Entry:
    """One HDU as its header announces it: index, EXTNAME (upper case or ""), EXTVER, shape; and
    whether others of the file have its name, or its name and version."""

    index: int
    name: str
    version: int
    shape: tuple[int, ...]
    namesakes: bool = False
    twins: bool = False

    @property
    def is_image(self) -> bool:
        """Whether the HDU holds one 2-D image, axes of length 1 in front of it not counted."""
        planes, axes = self.shape[:-2], self.shape[-2:]
        return len(axes) == 2 and min(axes) > 0 and all(n == 1 for n in planes)

    def __str__(self) -> str:
        if not self.name or self.twins:
            return str(self.index)
        return f"{self.name},{self.version}" if self.namesakes else self.name


@dataclass(frozen=True)
class Plane:
    """A 2-D image read from a file.

    Arguments:
        array: Pixels, with shape :math:`(H, W)`.
        header: Header of the HDU.
        primary: Header of the file's first HDU, where keywords common to all HDUs are kept.
        label: The file and HDU, for messages.
        name: EXTNAME in upper case, or "".
        path: The file.
        corner: Column and row of its first pixel in the image of the file.
        frame: Rows and columns of that image.
    """

    array: Float64[np.ndarray, "h w"]
    header: fits.Header
    primary: fits.Header
    label: str
    name: str
    path: Path
    corner: tuple[int, int]
    frame: tuple[int, int]

    @property
    def bare(self) -> "Plane":
        """The plane without its pixels, which take memory where its headers alone are needed."""
        return replace(self, array=np.empty((0, 0)))

    @property
    def short(self) -> str:
        """The file without its folder, and the HDU, for notes."""
        return self.path.name + self.label.removeprefix(str(self.path))

    def keyword(self, *names: str) -> tuple[str, object] | None:
        """Returns the first of these keywords with a value, in the HDU or the primary header."""
        for header in (self.header, self.primary):
            for name in names:
                try:
                    value = header.get(name)
                except fits.VerifyError as error:
                    raise InputError(
                        f"{self.label}: keyword {name} cannot be read ({one_line(error)}):"
                        " correct it"
                    ) from None
                if value is not None and not isinstance(value, fits.card.Undefined):
                    return name, value
        return None

    def number(self, *names: str) -> tuple[str, float] | None:
        """Returns the first of these keywords and its value as a finite number.

        Raises:
            InputError: If the keyword holds anything else.
        """
        found = self.keyword(*names)
        if found is None:
            return None
        try:
            value = float(str(found[1]))
        except ValueError:
            value = float("nan")
        if not np.isfinite(value):
            raise InputError(
                f"{self.label}: keyword {found[0]} must be a finite number, found {found[1]!r}:"
                " correct the header"
            )
        return found[0], value

    @property
    def unit(self) -> str | None:
        """Content of BUNIT, or None."""
        found = self.keyword("BUNIT")
        return str(found[1]).strip() or None if found else None
