"""The pixel convention."""

import numpy as np
import pytest
import torch

from lensrim.grid import PixelGrid

GRIDS = [
    PixelGrid((4, 4), 0.5),
    PixelGrid((5, 3), 0.1),
    PixelGrid((37, 31), 0.05, (1.0, -2.0)),
    PixelGrid((1, 1), 2.0),
]


@pytest.mark.parametrize("grid", GRIDS)
@pytest.mark.parametrize("subsample", [1, 2, 3])
def test_sub_pixels_average_to_their_pixel(grid: PixelGrid, subsample: int):
    (h, w), k = grid.shape, subsample
    centres = grid.coordinates(dtype=torch.float64)
    fine = grid.coordinates(k, dtype=torch.float64)
    for coarse, values in zip(centres, fine, strict=True):
        assert values.shape == (k * h, k * w)
        torch.testing.assert_close(values.reshape(h, k, w, k).mean((1, 3)), coarse)


@pytest.mark.parametrize("grid", GRIDS)
def test_pixel_centres_lie_half_a_pixel_inside_the_outer_edges(grid: PixelGrid):
    x, y = grid.coordinates(dtype=torch.float64)
    left, right, bottom, top = grid.extent
    half = grid.spacing / 2
    bounds = [x.min() - half, x.max() + half, y.min() - half, y.max() + half]
    assert [float(b) for b in bounds] == pytest.approx([left, right, bottom, top])
    assert grid.fov == pytest.approx((right - left, top - bottom))


@pytest.mark.parametrize("grid", GRIDS)
def test_index_and_coordinates_are_inverse(grid: PixelGrid):
    x, y = grid.coordinates(dtype=torch.float64)
    column, row = grid.to_index(x, y)
    h, w = grid.shape
    torch.testing.assert_close(column[0], torch.arange(w, dtype=torch.float64))
    torch.testing.assert_close(row[:, 0], torch.arange(h, dtype=torch.float64))
    torch.testing.assert_close(torch.stack(grid.from_index(column, row)), torch.stack((x, y)))


def test_x_runs_along_columns_and_y_along_rows():
    x, y = PixelGrid((3, 4), 1.0).coordinates()
    assert bool((x.diff(dim=1) == 1).all())
    assert bool((x.diff(dim=0) == 0).all())
    assert bool((y.diff(dim=0) == 1).all())


def test_the_type_is_that_asked_for():
    grid = PixelGrid((101, 101), 0.05)
    single, double = (grid.coordinates(dtype=t)[0] for t in (torch.float32, torch.float64))
    assert single.dtype == torch.float32
    torch.testing.assert_close(single, double.float(), rtol=0, atol=0)


@pytest.mark.usefixtures("types_unchecked")
@pytest.mark.parametrize("shape", [(0, 3), (3,), (3, 3, 3), (3.5, 4), 5])
def test_a_shape_without_pixels_is_refused(shape):
    with pytest.raises(ValueError, match="two positive whole numbers"):
        PixelGrid(shape, 1.0)


@pytest.mark.parametrize("spacing", [0.0, -0.1, float("inf"), float("nan")])
def test_a_spacing_that_is_not_positive_is_refused(spacing: float):
    with pytest.raises(ValueError, match="spacing must be a positive number"):
        PixelGrid((3, 3), spacing)


@pytest.mark.usefixtures("types_unchecked")
@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"spacing": "1"}, "spacing must be a positive number of arcsec, got '1'"),
        ({"center": None}, r"center must be two numbers of arcsec \(x, y\), got None"),
        ({"center": (0.0,)}, "center must be two numbers"),
        ({"center": (float("nan"), 0.0)}, "center must be two numbers"),
    ],
)
def test_other_numbers_are_refused(given, message):
    with pytest.raises(ValueError, match=message):
        PixelGrid(**{"shape": (3, 4), "spacing": 1.0, **given})


@pytest.mark.usefixtures("types_unchecked")
def test_a_list_makes_the_same_grid():
    grid = PixelGrid([3, 4], 1.0, [0.5, 0.0])
    for other in (torch.tensor(1.0), np.float32(1)):
        assert PixelGrid(np.array([3, 4]), other, np.array([0.5, 0])) == grid
    assert grid == PixelGrid((3, 4), 1.0, (0.5, 0.0))
    assert hash(grid) == hash(PixelGrid((3, 4), 1.0, (0.5, 0.0)))
