"""The interferometer: closed forms, the adjoint, beams, and what is refused."""

import math

import pytest
import torch
from torch import Tensor

from lensrim.grid import PixelGrid
from lensrim.lensing.light import Gaussian
from lensrim.lensing.nufft import Direct, Nufft, Transform
from lensrim.lensing.simulator import Simulator
from lensrim.lensing.visibilities import ARCSEC, Interferometer, airy_beam, gaussian_beam

GRID = PixelGrid((33, 40), 0.05, (0.3, -0.2))
DIRECT = Direct()
TRANSFORMS = pytest.mark.parametrize("transform", [DIRECT, Nufft(1e-9)], ids=["direct", "nufft"])


def baselines(*lead: int, n: int = 50, reach: float = 0.5, seed: int = 0) -> Tensor:
    """Baselines of up to ``reach`` cycles per pixel along each axis [wavelengths]."""
    generator = torch.Generator().manual_seed(seed)
    cycles = 2 * reach * (torch.rand(*lead, n, 2, generator=generator, dtype=torch.float64) - 0.5)
    return cycles / (GRID.spacing * ARCSEC)


def random(*shape: int, dtype: torch.dtype = torch.float64, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def interferometer(uv: Tensor, **options) -> Interferometer:
    options = {"transform": DIRECT, "dtype": torch.float64, **options}
    return Interferometer(GRID, uv, **options)


@TRANSFORMS
@pytest.mark.parametrize(("row", "column"), [(0, 0), (16, 20), (32, 5)])
def test_a_point_source_has_its_flux_and_the_phase_of_its_place(
    transform: Transform, row: int, column: int
):
    uv = baselines()
    image = torch.zeros(1, 1, *GRID.shape, dtype=torch.float64)
    image[..., row, column] = 2.5
    found = interferometer(uv, subsample=1, transform=transform)(image)
    x, y = GRID.from_index(column, row)
    phase = -2 * math.pi * (uv[:, 0] * x + uv[:, 1] * y) * ARCSEC
    torch.testing.assert_close(found[0], torch.polar(torch.tensor(2.5).double(), phase))


@TRANSFORMS
@pytest.mark.parametrize("k", [1, 2, 3])
def test_an_elliptical_gaussian_is_one(transform: Transform, k: int):
    # Narrow enough to lie in the field, wide enough to have nothing beyond the pixels' reach.
    sigma, q, x0, y0 = 0.09, 0.8, 0.35, -0.1
    e1 = (1 - q) / (1 + q)
    grid, uv = GRID, baselines(reach=0.3)
    # Units of flux per arcsec² times the area of a pixel are flux per pixel.
    light = Gaussian(3.0 * grid.spacing**2, sigma, e1, 0.0, x0, y0)
    simulator = Simulator(grid, PixelGrid((4, 4), 0.1), subsample=k, dtype=torch.float64)
    image = simulator.render(light, simulator.theta)
    found = interferometer(uv, subsample=k, transform=transform)(image.reshape(1, 1, *grid.shape))
    # The product-average width: sigma / sqrt(q) along the major axis, which is that of x.
    u, v = uv.unbind(-1)
    a, b = sigma / math.sqrt(q) * ARCSEC, sigma * math.sqrt(q) * ARCSEC
    amplitude = 3.0 * torch.exp(-2 * math.pi**2 * ((a * u) ** 2 + (b * v) ** 2))
    expected = torch.polar(amplitude, -2 * math.pi * ARCSEC * (u * x0 + v * y0))
    torch.testing.assert_close(found[0], expected, rtol=0, atol=3e-5)


def test_without_the_response_of_the_pixels_it_would_be_wrong():
    simulator = Simulator(GRID, PixelGrid((4, 4), 0.1), subsample=3, dtype=torch.float64)
    light = Gaussian(GRID.spacing**2, 0.09, 0.0, 0.0, 0.3, -0.2)
    image = simulator.render(light).reshape(1, 1, *GRID.shape)
    uv = baselines(reach=0.3)
    right, wrong = (interferometer(uv, subsample=k)(image).abs() for k in (3, 1))
    expected = torch.exp(-2 * (math.pi * 0.09 * ARCSEC) ** 2 * uv.square().sum(-1))
    assert float((right - expected).abs().max()) < 3e-5
    assert float((wrong - expected).abs().max()) > 5e-3


@TRANSFORMS
def test_more_pixels_of_the_same_sky_have_the_same_visibilities(transform: Transform):
    uv = baselines(reach=0.2)
    found = []
    for factor in (1, 2):
        shape = tuple(n * factor for n in GRID.shape)
        grid = PixelGrid(shape, GRID.spacing / factor, GRID.center)
        x, y = grid.coordinates(dtype=torch.float64)
        image = Gaussian(grid.spacing**2, 0.1, 0.1, 0.2, 0.2, -0.1).surface_brightness(x, y)
        seen = Interferometer(grid, uv, subsample=1, transform=transform, dtype=torch.float64)
        found.append(seen(image[None, None]))
    torch.testing.assert_close(found[0], found[1], rtol=0, atol=1e-6)


@TRANSFORMS
@pytest.mark.parametrize("lead", [(), (2,)], ids=["shared", "own"])
@pytest.mark.parametrize("k", [1, 2])
def test_the_adjoint_is_the_adjoint(transform: Transform, lead: tuple, k: int):
    options = {"beam": gaussian_beam(GRID, 1.5), "subsample": k, "transform": transform}
    seen = interferometer(baselines(*lead), **options)
    image, v = random(2, 1, *GRID.shape), random(2, 50, dtype=torch.complex128)
    visibilities, back = seen(image), seen.adjoint(v)
    assert visibilities.shape == v.shape
    assert back.shape == image.shape
    torch.testing.assert_close((v.conj() * visibilities).real.sum(), (image * back).sum())


@pytest.mark.parametrize("lead", [(), (2,)], ids=["shared", "own"])
def test_the_gradient_is_the_adjoint(lead: tuple):
    seen = interferometer(baselines(*lead), beam=gaussian_beam(GRID, 1.5))
    image, v = random(2, 1, *GRID.shape).requires_grad_(), random(2, 50, dtype=torch.complex128)
    (gradient,) = torch.autograd.grad((v.conj() * seen(image)).real.sum(), image)
    torch.testing.assert_close(gradient, seen.adjoint(v))


@TRANSFORMS
def test_samples_do_not_know_each_other(transform: Transform):
    uv, image = baselines(2), random(2, 1, *GRID.shape)
    beams = torch.stack([gaussian_beam(GRID, fwhm)[None] for fwhm in (1.0, 2.0)])
    many = interferometer(uv, beam=beams, transform=transform)(image)
    shared = interferometer(uv[0], transform=transform)(image)
    one_sky = interferometer(uv, transform=transform)(image[:1])
    for i in range(2):
        one = interferometer(uv[i], beam=beams[i, 0], transform=transform)
        torch.testing.assert_close(one(image[i : i + 1])[0], many[i])
        one = interferometer(uv[0], transform=transform)
        torch.testing.assert_close(one(image[i : i + 1])[0], shared[i])
        one = interferometer(uv[i], transform=transform)
        torch.testing.assert_close(one(image[:1])[0], one_sky[i])


@TRANSFORMS
def test_single_precision_is_double_rounded(transform: Transform):
    image, uv = random(2, 1, *GRID.shape), baselines()
    double = interferometer(uv, transform=transform)(image)
    single = interferometer(uv, transform=transform, dtype=torch.float32)(image.float())
    assert single.dtype == torch.complex64
    assert float((single - double).norm() / double.norm()) < 3e-5


def test_the_primary_beam_multiplies_the_sky():
    uv, image, beam = baselines(), random(1, 1, *GRID.shape), gaussian_beam(GRID, 1.2)
    seen = interferometer(uv, beam=beam)
    torch.testing.assert_close(seen(image), interferometer(uv)(image * beam))


@pytest.mark.parametrize("lead", [(), (2,)], ids=["shared", "own"])
def test_the_diagonal_is_that_of_the_matrix(lead: tuple):
    grid = PixelGrid((4, 5), GRID.spacing)
    uv, weight = baselines(*lead, n=9), 1 + random(2, 9).square()
    beam = gaussian_beam(grid, 0.2)
    seen = Interferometer(grid, uv, beam=beam, transform=DIRECT, dtype=torch.float64)
    pixels = torch.eye(20, dtype=torch.float64).view(20, 1, 4, 5)
    columns = torch.stack([seen(p.expand(2, 1, 4, 5)) for p in pixels[:, None]], -1)
    expected = (weight[..., None] * columns.abs().square()).sum(1)
    torch.testing.assert_close(seen.diagonal(weight).flatten(1), expected)


def test_beams_have_their_widths_and_places():
    grid = PixelGrid((1, 1001), 0.01, (5.0, 0.0))
    x = grid.coordinates(dtype=torch.float64)[0][0]

    def width(beam: Tensor) -> float:
        return 2 * float(x[beam[0] < 0.5][0]) - grid.spacing

    assert width(gaussian_beam(grid, 5.0)) == pytest.approx(5.0, abs=0.02)
    # An Airy disc of 1.029 wavelengths over the diameter, with its first zero at 1.22.
    diameter = 1.029 / (5.0 * ARCSEC)
    airy = airy_beam(grid, diameter)
    assert width(airy) == pytest.approx(5.0, abs=0.02)
    assert float(x[airy[0].argmin()]) == pytest.approx(1.2197 / 1.029 * 5.0, abs=0.02)
    # Blocked in the middle, what is lit lies further out, so the beam is narrower.
    assert 4.5 < width(airy_beam(grid, diameter, blockage=0.4)) < 4.95
    moved = airy_beam(PixelGrid((3, 3), 0.5), diameter, center=(0.5, -0.5), blockage=0.1)
    assert float(moved[0, 2]) == float(moved.max()) == 1.0


@pytest.mark.parametrize(
    ("uv", "options", "message"),
    [
        (torch.zeros(3), {}, r"shape \(N, 2\) or \(B, N, 2\), got \(3,\)"),
        (torch.zeros(2, 3), {}, r"got \(2, 3\)"),
        (
            torch.tensor([[3e6, 0.0]]),
            {},
            "got 0.727 with pixels of 0.05 arcsec; take pixels of 0.034",
        ),
        (torch.tensor([[torch.nan, 0.0]]), {}, "must be finite"),
        (
            torch.zeros(1, 2),
            {"beam": torch.ones(40, 33)},
            r"\(33, 40\) of the grid, .*got \(40, 33\)",
        ),
        (
            torch.zeros(1, 2),
            {"beam": torch.ones(2, 33, 40)},
            r"or \(B, 1, H, W\), got \(2, 33, 40\)",
        ),
        (torch.zeros(1, 2), {"beam": torch.full((33, 40), torch.nan)}, "beam must be finite"),
    ],
)
def test_wrong_baselines_and_beams_are_refused(uv: Tensor, options: dict, message: str):
    with pytest.raises(ValueError, match=message):
        interferometer(uv, **options)


def test_images_of_another_shape_are_refused():
    with pytest.raises(ValueError, match=r"\(33, 40\) of the grid, got \(40, 33\)"):
        interferometer(baselines())(torch.zeros(1, 1, 40, 33))


def test_a_blockage_that_leaves_nothing_is_refused():
    with pytest.raises(ValueError, match=r"0 to below 1, got 1\.0"):
        airy_beam(GRID, 1e4, blockage=1.0)
