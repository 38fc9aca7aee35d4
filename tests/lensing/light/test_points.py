"""Point sources: the PSF itself, anywhere between the pixels."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from lensrim.grid import PixelGrid
from lensrim.lensing.lens_equation import image_positions
from lensrim.lensing.light import PointPSF, PointSource
from lensrim.lensing.mass import SIE
from lensrim.lensing.psf import gaussian_psf

GRID = PixelGrid((25, 30), 0.1, (0.3, -0.2))
SAMPLINGS = pytest.mark.parametrize(
    ("fwhm", "p"), [(4.0, 1), (1.5, 4), (1.5, 5)], ids=["native", "4 samples", "5 samples"]
)
KINDS = pytest.mark.parametrize("kind", ["effective", "optical"])


def vector(*values: float) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


def skewed(h: int = 5, w: int = 7) -> Tensor:
    generator = torch.Generator().manual_seed(5)
    return torch.rand(h, w, generator=generator, dtype=torch.float64)


def gaussian(fwhm: float, p: int, kind="effective") -> PointPSF:
    """A Gaussian with a FWHM in pixels, so wide a stamp that nothing is cut off."""
    reach = math.ceil(2.9 * fwhm * p)
    psf = gaussian_psf(fwhm * GRID.spacing, GRID.spacing / p, 2 * reach + 1)
    return PointPSF(psf, GRID, psf_kind=kind, psf_subsample=p, dtype=torch.float64)


def closed_form(points: PointSource, fwhm: float, kind: str) -> Tensor:
    """The sum of Gaussians, or of their integrals over the pixels."""
    sigma = fwhm / math.sqrt(8 * math.log(2))
    image = torch.zeros(GRID.shape, dtype=torch.float64)
    columns, rows = GRID.to_index(points.x, points.y)
    for column, row, flux in zip(columns, rows, points.flux, strict=True):
        factors = []
        for index, n in ((row, GRID.shape[0]), (column, GRID.shape[1])):
            d = torch.arange(n).double() - index
            if kind == "effective":
                values = torch.exp(-(d**2) / 2 / sigma**2) / math.sqrt(2 * math.pi) / sigma
            else:
                upper, lower = (torch.erf((d + s) / sigma / 2**0.5) for s in (0.5, -0.5))
                values = (upper - lower) / 2
            factors.append(values)
        image += flux * factors[0][:, None] * factors[1]
    return image


@KINDS
@SAMPLINGS
@settings(deadline=None)
@given(x=st.floats(-1.0, 1.6), y=st.floats(-1.2, 0.8))
def test_a_gaussian_is_where_it_should_be(kind, fwhm: float, p: int, x: float, y: float):
    points = PointSource(vector(x, 0.3), vector(y, -0.15), vector(2.0, 0.5))
    image = gaussian(fwhm, p, kind)(points)[0, 0]
    torch.testing.assert_close(image, closed_form(points, fwhm, kind), rtol=0, atol=3e-6)


@pytest.mark.parametrize(("row", "column"), [(12, 14), (0, 0), (24, 29), (3, 28)])
def test_on_a_pixel_centre_the_image_is_the_stamp(row: int, column: int):
    psf = skewed()
    x, y = GRID.from_index(column, row)
    image = PointPSF(psf, GRID, dtype=torch.float64)(
        PointSource(vector(x), vector(y), vector(3.0))
    )
    padded = torch.zeros(25 + 4, 30 + 6, dtype=torch.float64)
    padded[row : row + 5, column : column + 7] = 3 * psf / psf.sum()
    torch.testing.assert_close(image[0, 0], padded[2:-2, 3:-3])


@KINDS
@SAMPLINGS
def test_flux_is_conserved_and_the_centroid_is_the_position(kind, fwhm: float, p: int):
    # A Gaussian holds no pixel response, which would vanish at one cycle per pixel.
    left = math.exp(-2 * (math.pi * fwhm) ** 2 / (8 * math.log(2)))
    error = 2e-6 if kind == "optical" or p == 1 else 5 * left
    x, y = vector(0.3), vector(-0.2)
    for dx, dy in ((0.0, 0.0), (0.03, -0.05), (0.05, 0.017)):
        image = gaussian(fwhm, p, kind)(PointSource(x + dx, y + dy, vector(2.0)))[0, 0]
        assert float(image.sum()) == pytest.approx(2.0, abs=2 * error)
        for position, coordinate in zip(
            (x + dx, y + dy), GRID.coordinates(dtype=torch.float64), strict=True
        ):
            centroid = float((image * coordinate).sum() / image.sum())
            assert centroid == pytest.approx(float(position), abs=(1e-3 + error) * GRID.spacing)


@pytest.mark.parametrize("p", [1, 2, 3])
def test_points_far_outside_are_not_seen(p: int):
    psf = PointPSF(skewed(), GRID, psf_subsample=p, dtype=torch.float64)
    left, right, bottom, top = GRID.extent
    for x, y in ((right + 0.4, 0.0), (left - 0.4, 0.0), (0.0, top + 0.3), (1e9, -1e9)):
        image = psf(PointSource(vector(x), vector(y), vector(1.0)))
        assert float(image.abs().max()) == 0.0
    inside = psf(PointSource(vector(left + 0.01), vector(bottom), vector(1.0)))[0, 0]
    # Nothing of a point at one edge comes in at the other, but for the ringing of this PSF.
    assert float(inside[-8:, -8:].abs().max()) < 0.02 * float(inside.abs().max())


def test_each_sample_has_its_own_points_and_psf():
    generator = torch.Generator().manual_seed(0)
    x, y, flux = torch.rand(3, 2, 4, generator=generator, dtype=torch.float64)
    stamps = torch.stack([skewed(), skewed().flip(0)])
    many = PointPSF(stamps, GRID, dtype=torch.float64)(PointSource(x, y, flux))
    assert many.shape == (2, 1, *GRID.shape)
    for i in range(2):
        one = PointPSF(stamps[i], GRID, dtype=torch.float64)
        torch.testing.assert_close(one(PointSource(x[i], y[i], flux[i]))[0], many[i])
        parts = [one(PointSource(*(t[i, j : j + 1] for t in (x, y, flux)))) for j in range(4)]
        torch.testing.assert_close(sum(parts[1:], parts[0])[0], many[i])


def test_an_image_that_is_not_there_is_not_seen():
    """As :func:`image_positions` lists them, or with a flux that is NaN."""
    psf, nan = PointPSF(skewed(), GRID, dtype=torch.float64), math.nan
    x, y, flux = (
        torch.tensor(values, dtype=torch.float64, requires_grad=True)
        for values in ([[0.1, -0.2], [0.3, nan]], [[0.0, 0.1], [0.2, nan]], [[1.0, 2.0], [3, nan]])
    )
    image = psf(PointSource(x, y, flux))
    alone = psf(PointSource(*(each[1:, :1] for each in (x, y, flux))))
    torch.testing.assert_close(image[1:], alone)
    image.square().sum().backward()
    for each in (x, y, flux):
        assert each.grad is not None and bool(each.grad.isfinite().all())
        assert each.grad[1, 1] == 0
    behind = (vector(0.05, 0.8), vector(0.02, 0.1))
    found = image_positions(SIE(1.0, 0.1, 0.05), *behind, PixelGrid((40, 40), 0.1))
    assert found.count.tolist() == [4, 2] and bool((found.magnification[1, 2:] == 0).all())
    bright = torch.tensor(2.0, dtype=torch.float64, requires_grad=True)  # of both sources
    psf(PointSource(found.x, found.y, found.magnification.abs() * bright)).sum().backward()
    assert bright.grad is not None and bool(bright.grad.isfinite())


def test_gradients_in_position_and_flux():
    psf = PointPSF(skewed(), PixelGrid((6, 7), 0.1), psf_subsample=2, dtype=torch.float64)
    x, y, flux = (vector(*v).requires_grad_() for v in ((0.0, 0.12), (0.1, -0.07), (1.0, 2.0)))
    assert torch.autograd.gradcheck(lambda *p: psf(PointSource(*p)), (x, y, flux))


def test_it_works_under_vmap_and_in_single_precision():
    generator = torch.Generator().manual_seed(0)
    x, y, flux = torch.rand(3, 5, 4, generator=generator, dtype=torch.float64)
    double = PointPSF(skewed(), GRID, dtype=torch.float64)
    together = double(PointSource(x, y, flux))
    mapped = torch.func.vmap(lambda *p: double(PointSource(*p))[0])(x, y, flux)
    torch.testing.assert_close(mapped, together)
    single = PointPSF(skewed(), GRID)(PointSource(x.float(), y.float(), flux.float()))
    assert single.dtype == torch.float32
    torch.testing.assert_close(single.double(), together, rtol=0, atol=1e-5)


@pytest.mark.usefixtures("types_unchecked")
def test_stamps_kinds_and_samplings_that_are_none_are_refused():
    with pytest.raises(ValueError, match="psf_kind must be one of"):
        PointPSF(skewed(), GRID, psf_kind="measured")
    with pytest.raises(ValueError, match="at least 1"):
        PointPSF(skewed(), GRID, psf_subsample=0)
    with pytest.raises(ValueError, match="odd sides"):
        PointPSF(torch.ones(4, 5), GRID)
    with pytest.raises(ValueError, match="shape"):
        PointPSF(torch.ones(1, 1, 3, 3), GRID)
