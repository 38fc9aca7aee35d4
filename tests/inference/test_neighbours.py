"""Neighbours: what is masked is said, with its place in the image of the file."""

import numpy as np

from lensrim.inference.neighbours import describe_neighbours
from lensrim.io.observation import Observation


def blank(shape: tuple[int, int], **changes) -> Observation:
    """An observation in which nothing is."""
    psf = np.zeros((3, 3))
    psf[1, 1] = 1.0
    ones = np.ones(shape)
    return Observation(np.zeros(shape), ones, psf, ones > 0, 0.05, **changes)


def test_the_largest_comes_first_in_pixels_of_the_file():
    mask = np.zeros((30, 40), dtype=bool)
    mask[2:4, 5:8] = True
    mask[20:25, 30:35] = True
    (line,) = describe_neighbours(mask, blank((30, 40)))
    assert line == (
        "31 pixels in 2 regions masked as neighbours, about pixel (32, 22), (6, 2), x y from 0 in"
        " the file; --mask to decide yourself"
    )
    moved = blank((30, 40), bin=2, corner=(100, 10))
    (line,) = describe_neighbours(mask, moved)
    assert "about pixel (164, 54), (112, 16), x y" in line


def test_many_are_not_all_named():
    mask = np.zeros((30, 40), dtype=bool)
    mask[::10, ::10] = True
    (line,) = describe_neighbours(mask, blank((30, 40)))
    assert line.startswith("12 pixels in 12 regions masked as neighbours, about pixel (0, 0), ")
    assert line.count("(") == 5
    assert ", ..., x y" in line


def test_what_is_ignored_anyway_does_not_count():
    mask = np.zeros((30, 40), dtype=bool)
    mask[0, 0] = True
    assert describe_neighbours(mask, blank((30, 40)).with_mask(~mask)) == []
    assert describe_neighbours(np.zeros_like(mask), blank((30, 40))) == []
    (line,) = describe_neighbours(mask, blank((30, 40)))
    assert line.startswith("1 pixel in 1 region masked as neighbours, about pixel (0, 0), x y")
