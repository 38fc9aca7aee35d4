"""Laws of the convolution of the rays with the PSF, for both kinds."""

import math

import pytest
import torch
from torch import Tensor

from lensrim.grid import PixelGrid
from lensrim.lensing.psf import PSF, gaussian_psf, moffat_psf, normalize_psf
from lensrim.lensing.ray_psf import RayPSF, ray_kernels, reach_of
from lensrim.lensing.simulator import Simulator

KINDS = pytest.mark.parametrize("kind", ["effective", "optical"])
RAYS = pytest.mark.parametrize("k", [1, 2, 3])


def random(*shape: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=generator, dtype=torch.float64)


def made(psf: Tensor, shape: tuple[int, int], kind, k: int) -> RayPSF:
    return RayPSF(psf, shape, psf_kind=kind, subsample=k, dtype=torch.float64)


def test_one_ray_per_pixel_is_the_convolution_with_the_stamp():
    psf, image = normalize_psf(random(7, 9, seed=5).square()), random(2, 1, 21, 18)
    other = PSF(psf, (21, 18), subsample=1, dtype=torch.float64)
    # The spline goes through the samples of the stamp, and falls to zero beyond it.
    inner = ray_kernels(psf, 1)[0, 1:-1, 1:-1]
    torch.testing.assert_close(inner / inner.sum(), psf, rtol=0, atol=1e-10)
    seen = made(psf, (21, 18), "effective", 1)(image)
    torch.testing.assert_close(seen, other(image), rtol=0, atol=1e-10)


@KINDS
@RAYS
def test_flux_is_conserved(kind, k: int):
    rays = torch.zeros(1, 1, 24 * k, 20 * k, dtype=torch.float64)
    rays[..., 12 * k, 10 * k] = 3.0 * k**2
    psf = 7 * gaussian_psf(2.0, 1.0, 9)
    assert float(ray_kernels(psf, k, psf_kind=kind).sum()) == pytest.approx(1.0)
    assert float(made(psf, (24, 20), kind, k)(rays).sum()) == pytest.approx(3.0, rel=0.02)


@RAYS
@pytest.mark.parametrize("stamp", [(7, 9), (41, 5)])
@pytest.mark.parametrize(
    "part",
    [(slice(5, 9), slice(4, 12)), (slice(0, 3), slice(15, 16)), (slice(0, 13), slice(2, 3))],
)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_part_is_seen_as_in_the_whole(k: int, stamp, part, dtype):
    psf = random(*stamp, seed=5).square()
    operator = RayPSF(psf, (13, 16), psf_kind="optical", subsample=k, dtype=dtype)
    rays = torch.zeros(2, k * k, 13, 16, dtype=dtype)
    rays[..., part[0], part[1]] = random(2, k * k, 13, 16).to(dtype)[..., part[0], part[1]]
    image, rows, columns = operator.gather_part(rays[..., part[0], part[1]], *part)
    expected = operator.gather(rays)
    torch.testing.assert_close(image, expected[..., rows, columns])
    expected[..., rows, columns] = 0
    assert float(expected.abs().max()) < 10 * torch.finfo(dtype).eps


@RAYS
@pytest.mark.parametrize("batch", [False, True])
def test_the_adjoint_is_the_adjoint_and_the_gradient(k: int, batch: bool):
    psf = random(*((2,) if batch else ()), 7, 9, seed=5).square()
    operator = made(psf, (13, 16), "optical", k)
    x, y = random(2, 1, 13 * k, 16 * k).requires_grad_(), random(2, 1, 13, 16, seed=1)
    inner = (operator(x) * y).sum()
    back = operator.adjoint(y)
    assert float(inner.detach()) == pytest.approx(float((x.detach() * back).sum()), rel=1e-12)
    torch.testing.assert_close(torch.autograd.grad(inner, x)[0], back)
    one = operator.adjoint(y[:1])  # of one image under each PSF
    again = operator.adjoint(y[:1].expand(2, -1, -1, -1))
    torch.testing.assert_close(one, again if batch else again[:1])


@pytest.mark.parametrize("batch", [False, True])
def test_channels_are_seen_through_the_psf_of_their_sample(batch: bool):
    psf = random(*((2,) if batch else ()), 7, 9, seed=5).square()
    rays = random(2, 3, 26, 32)
    seen = made(psf, (13, 16), "effective", 2)(rays)
    for i in range(2):
        operator = made(psf[i] if batch else psf, (13, 16), "effective", 2)
        torch.testing.assert_close(seen[i, :, None], operator(rays[i, :, None]))


def test_kernels_of_a_batch_are_those_of_its_stamps():
    stamps = random(2, 7, 9, seed=5).square()
    kernels = ray_kernels(stamps, 3, psf_kind="optical")
    for stamp, found in zip(stamps, kernels, strict=True):
        torch.testing.assert_close(found, ray_kernels(stamp, 3, psf_kind="optical"))


def test_kernels_of_a_large_stamp_take_little_memory():
    made = ray_kernels(gaussian_psf(3.0, 1.0, 201), 3)  # as one product: 80 GB
    small = ray_kernels(gaussian_psf(3.0, 1.0, 61), 3)
    torch.testing.assert_close(made[:, 70:-70, 70:-70], small, rtol=0, atol=1e-9)


@pytest.mark.parametrize(("rays", "sigma"), [(4, 0.3), (9, 0.15)])
def test_a_source_finer_than_a_pixel_is_where_the_integral_puts_it(rays: int, sigma: float):
    # A small Gaussian at any place within its pixel, through a Gaussian PSF, is a Gaussian.
    width = 2.4 / math.sqrt(8 * math.log(2))
    x, y = PixelGrid((24, 24), 1.0).coordinates(rays, dtype=torch.float64)
    px, py = PixelGrid((24, 24), 1.0).coordinates(dtype=torch.float64)
    psf = gaussian_psf(2.4, 1.0, 21)
    for cx, cy in [(0.0, 0.0), (0.31, -0.22)]:
        image = torch.exp(-((x - cx) ** 2 + (y - cy) ** 2) / 2 / sigma**2)[None, None]
        seen = made(psf, (24, 24), "effective", rays)(image)[0, 0]
        var = width**2 + sigma**2
        expected = torch.exp(-((px - cx) ** 2 + (py - cy) ** 2) / 2 / var) * sigma**2 / var
        assert float((seen - expected).abs().max() / expected.max()) < 4e-3
        averages = PSF(psf, (24, 24), subsample=rays, dtype=torch.float64)
        native = averages(image.unfold(2, rays, rays).unfold(3, rays, rays).mean((-2, -1)))[0, 0]
        assert (native - expected).abs().max() > 3 * (seen - expected).abs().max()


@pytest.mark.parametrize(("fwhm", "most"), [(1.4, 0.04), (1.7, 0.008), (2.4, 0.003)])
def test_the_spline_between_the_samples(fwhm: float, most: float):
    kernels = ray_kernels(gaussian_psf(fwhm, 1.0, 17), 2).reshape(2, 2, 19, 19)
    offset = torch.arange(-9, 10, dtype=torch.float64)
    for a, b in [(0, 0), (0, 1), (1, 1)]:
        y, x = (offset - (k - 0.5) / 2 for k in (a, b))
        true = torch.exp(-4 * math.log(2) * (y[:, None] ** 2 + x**2) / fwhm**2)
        found = kernels[a, b] / kernels[a, b].sum() * true.sum()
        assert float((found - true).abs().max()) < most


@KINDS
def test_a_periodic_grid_is_no_other_for_rays_that_are_dark_near_the_edges(kind):
    """And so is the adjoint, where those rays are."""
    psf, k, edge = random(7, 9, seed=5).square(), 3, reach_of((7, 9))
    plain, periodic = (
        RayPSF(psf, (21, 18), psf_kind=kind, subsample=k, dtype=torch.float64, periodic=p)
        for p in (False, True)
    )
    assert periodic.size < plain.size
    inner = (..., slice(k * edge, -k * edge), slice(k * edge, -k * edge))
    rays, image = torch.zeros(2, 1, 63, 54, dtype=torch.float64), random(2, 1, 21, 18, seed=1)
    rays[inner] = random(2, 1, 63 - 2 * k * edge, 54 - 2 * k * edge)
    torch.testing.assert_close(periodic(rays), plain(rays))
    torch.testing.assert_close(periodic.adjoint(image)[inner], plain.adjoint(image)[inner])


def test_an_optical_psf_is_averaged_over_the_pixel():
    # The mean of a Moffat profile over the pixel, by rays of its own.
    fine = moffat_psf(3.0, 1 / 9, 9 * 33, beta=2.5)
    pixel = normalize_psf(fine.reshape(33, 9, 33, 9).sum((1, 3)))
    optical = ray_kernels(moffat_psf(3.0, 1.0, 33, beta=2.5), 3, psf_kind="optical")
    effective = ray_kernels(pixel, 3)
    assert float((optical - effective).abs().max() / effective.max()) < 2e-3


def test_a_simulator_sees_a_smooth_source_alike_through_rays_and_averages():
    grid, source_grid = PixelGrid((32, 30), 1.0), PixelGrid((40, 40), 0.8)
    x, y = torch.broadcast_tensors(*source_grid.coordinates(dtype=torch.float64))
    source = torch.exp(-(x**2 + (y - 1) ** 2) / 18)[None, None]
    rays = torch.stack(torch.broadcast_tensors(*grid.coordinates(2, dtype=torch.float64)))[None]
    seen = [
        Simulator(
            grid, source_grid, gaussian_psf(2.5, 1.0, 13), psf_on_rays=on, dtype=torch.float64
        ).trace(source, rays)
        for on in (True, False)
    ]
    torch.testing.assert_close(*seen, rtol=0, atol=2e-3)


def test_the_adjoint_of_a_simulator_with_rays():
    grid, source_grid = PixelGrid((12, 14), 1.0), PixelGrid((9, 9), 1.1)
    psf = random(5, 7, seed=3).square()
    simulator = Simulator(grid, source_grid, psf, psf_on_rays=True, dtype=torch.float64)
    beta = 3 * random(1, 2, 24, 28, seed=1)
    source, image = random(1, 1, 9, 9), random(1, 1, 12, 14, seed=2)
    forward = float((simulator.trace(source, beta) * image).sum())
    backward = float((simulator.trace_adjoint(image, beta) * source).sum())
    assert forward == pytest.approx(backward, rel=1e-12)


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: ray_kernels(gaussian_psf(2.0, 1.0, 9), 0), "subsample must be at least 1, got 0"),
        (lambda: RayPSF(torch.ones(4, 5), (8, 8)), "must have odd sides"),
        (lambda: RayPSF(torch.ones(3, 1, 5, 5), (8, 8)), r"must have shape \(h, w\) or"),
        (
            lambda: Simulator(
                PixelGrid((8, 8), 1.0),
                PixelGrid((8, 8), 1.0),
                torch.ones(3, 3),
                psf_subsample=3,
                psf_on_rays=True,
            ),
            "psf_on_rays wants a PSF sampled on the image's pixels",
        ),
    ],
)
def test_what_is_wrong_is_refused(make, said: str):
    with pytest.raises(ValueError, match=said):
        make()
