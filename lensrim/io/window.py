"""The part of a mosaic that is read: a square about the pixel of a lens.

An image of more pixels than are held in memory (:data:`lensrim.io.fits.LARGEST`) is refused,
unless it is said where in it the lens is. Then the rows and columns about it are read, of the
image and of all planes that belong to it, and nothing else of them. Smaller images are always read
as a whole.
"""

from dataclasses import dataclass

from lensrim.errors import InputError

SIDE = 256
"""Side [pixels] of what is read about a lens whose cut-out has no size yet: 26 arcsec of Euclid's
pixels, 13 of Hubble's, 8 of Webb's, several Einstein radii in each."""


@dataclass(frozen=True)
class Window:
    """Creates a square of pixels.

    Arguments:
        center: Indices (x, y) of the pixel in its middle, 0 at the centre of the first pixel.
        side: Number of pixels along a side, where the image does not end before.
    """

    center: tuple[float, float]
    side: int = SIDE

    def within(self, shape: tuple[int, int]) -> tuple[slice, slice]:
        """Returns the rows and the columns of an image of this shape that are in the square.

        Raises:
            InputError: If the middle lies outside the image.
        """
        (x, y), (h, w) = self.center, shape
        if not (0 <= x < w and 0 <= y < h):
            raise InputError(
                f"--center: must lie in the frame of {w} x {h} pixels, found {x:g} {y:g}: give the"
                " pixel indices x y, counted from 0"
            )
        firsts = (round(c - (self.side - 1) / 2) for c in (y, x))
        rows, columns = (
            slice(max(first, 0), min(first + self.side, n))
            for first, n in zip(firsts, shape, strict=True)
        )
        return rows, columns
