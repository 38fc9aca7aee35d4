"""Neighbours: what is masked is said, with its place in the image of the file."""

import numpy as np
import pytest

from lensrim.grid import PixelGrid
from lensrim.inference.frame import Frame
from lensrim.inference.neighbours import describe_neighbours, part_neighbours
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


@pytest.mark.parametrize(("peak", "masked"), [(3.9, False), (4.1, True)])
def test_what_is_far_and_faint_is_noise(peak: float, masked: bool):
    found = np.zeros((41, 41), dtype=bool)
    found[18:23, 24:28] = True
    found[4:8, 4:8] = True
    smooth = np.where(found, 3.0, 0.0)
    smooth[20, 26], smooth[5, 5] = 20.0, peak
    psf = np.zeros((3, 3))
    psf[1, 1] = 1.0
    ones = np.ones(found.shape)
    frame = Frame(smooth, ones, ones > 0, PixelGrid(found.shape, 0.05), psf, "effective", 0.1)
    arcs, neighbours = part_neighbours(found, smooth, frame.distance((0.0, 0.0)), frame, smooth)
    assert arcs[20, 26] and int(arcs.sum()) == 20
    assert int(neighbours.sum()) == (16 if masked else 0)
    hidden = frame.mask.copy()
    hidden[5, 5] = False  # a bad pixel is no neighbour
    frame = Frame(smooth, ones, hidden, frame.grid, psf, "effective", 0.1)
    _, neighbours = part_neighbours(found, smooth, frame.distance((0.0, 0.0)), frame, smooth)
    assert not neighbours.any()
