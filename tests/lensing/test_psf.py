"""Laws of the convolution with the PSF, for both kinds."""

import math

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from lensrim.lensing.psf import (
    PSF,
    convolve_subsampled,
    gaussian_psf,
    measure_fwhm,
    moffat_psf,
    native_kernel,
    normalize_psf,
)

SHAPES = [(32, 32), (37, 31), (16, 41)]
KINDS = pytest.mark.parametrize("kind", ["effective", "optical"])


def random(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def skewed(h: int = 7, w: int = 9) -> Tensor:
    """A PSF without any symmetry."""
    return random(h, w, seed=5).square()


def arcs(shape: tuple[int, int], k: int) -> Tensor:
    """A smooth surface brightness at k x k rays per pixel, away from the edges."""
    y, x = (
        (torch.arange(n * k, dtype=torch.float64) + 0.5) / k - n / 2 for n in (shape[0], shape[1])
    )
    return torch.exp(-((x - 1.3) ** 2 + 1.5 * (y[:, None] + 0.8) ** 2) / 2 / 2.5**2)[None, None]


@KINDS
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("k", [1, 2, 3])
def test_flux_is_conserved(kind, shape, k: int):
    image = torch.zeros(1, 1, *shape, dtype=torch.float64)
    image[..., shape[0] // 2, shape[1] // 2] = 3.0
    psf = PSF(7 * gaussian_psf(2.0, 1.0, 9), shape, psf_kind=kind, subsample=k, dtype=image.dtype)
    # Part of the kernel of a real PSF reaches over the edge, so its sum is looked at as well.
    assert float(psf(image).sum()) == pytest.approx(3.0, rel=1e-3)
    kernel = native_kernel(skewed(), k, psf_kind=kind)
    assert float(kernel.sum()) == pytest.approx(1.0)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("stamp", [(7, 9), (41, 3), (75, 91)])
def test_it_is_the_convolution_with_the_stamp(shape, stamp):
    # With one ray per pixel the kernel of an effective PSF is the PSF itself.
    psf, image = normalize_psf(skewed(*stamp)), random(2, 1, *shape)
    padding = (stamp[0] // 2, stamp[1] // 2)
    expected = F.conv2d(image, psf.flip(0, 1)[None, None], padding=padding)
    result = PSF(psf, shape, subsample=1, dtype=torch.float64)(image)
    torch.testing.assert_close(result, expected)


@KINDS
@pytest.mark.parametrize("shape", SHAPES)
def test_the_adjoint_is_the_adjoint(kind, shape):
    psf = PSF(skewed(), shape, psf_kind=kind, dtype=torch.float64)
    x, v = random(2, 1, *shape, seed=1), random(2, 1, *shape, seed=2)
    torch.testing.assert_close((psf(x) * v).sum(), (x * psf.adjoint(v)).sum())


def test_it_moves_with_the_image():
    psf = PSF(skewed(), (37, 31), dtype=torch.float64)
    image = torch.zeros(1, 1, 37, 31, dtype=torch.float64)
    image[..., 15, 14] = 1.0
    moved = image.roll((3, -2), (-2, -1))
    result = psf(image).roll((3, -2), (-2, -1))
    inner = (..., slice(5, -5), slice(5, -5))
    torch.testing.assert_close(psf(moved)[inner], result[inner], rtol=1e-6, atol=1e-9)


def test_each_sample_has_its_own_psf():
    stamps = torch.stack([skewed(), gaussian_psf(2.0, 1.0, 9)[1:-1]])
    images = random(2, 1, 20, 17)
    batch = PSF(stamps, (20, 17), dtype=torch.float64)
    for i in range(2):
        one = PSF(stamps[i], (20, 17), dtype=torch.float64)
        torch.testing.assert_close(batch(images)[i], one(images)[i])
        torch.testing.assert_close(batch(images[:1])[i], one(images[:1])[0])
    # One image through many PSFs: its adjoint has as many samples.
    assert batch.adjoint(images[:1]).shape == images.shape


def test_types_follow_the_operator():
    single, double = (PSF(skewed(), (12, 13), dtype=t) for t in (torch.float32, torch.float64))
    image = random(1, 1, 12, 13)
    assert single(image.float()).dtype == torch.float32
    torch.testing.assert_close(single(image.float()), double(image).float(), rtol=1e-5, atol=1e-6)
    assert single.to(torch.float64)(image).dtype == torch.float64


@KINDS
@pytest.mark.parametrize("k", [2, 3, 4])
@pytest.mark.parametrize("fwhm", [2.5, 4.0])
def test_the_fast_path_is_the_slow_one_for_what_pixels_resolve(kind, k: int, fwhm: float):
    psf, shape = gaussian_psf(fwhm, 1.0, 23), (33, 36)
    fine = arcs(shape, k)
    fast = PSF(psf, shape, psf_kind=kind, subsample=k, dtype=fine.dtype)(F.avg_pool2d(fine, k))
    slow = convolve_subsampled(fine, psf, k, psf_kind=kind)
    torch.testing.assert_close(fast, slow, rtol=0, atol=2e-5)


@KINDS
@pytest.mark.parametrize("k", [2, 3])
def test_the_slow_path_is_the_gaussian_integral(kind, k: int):
    # A Gaussian of width s seen through one of width p has width sqrt(s^2 + p^2).
    s, fwhm, shape = 1.8, 2.5, (35, 32)
    x = (torch.arange(shape[1] * k, dtype=torch.float64) + 0.5) / k - shape[1] / 2
    y = (torch.arange(shape[0] * k, dtype=torch.float64) + 0.5) / k - shape[0] / 2
    p = fwhm / math.sqrt(8 * math.log(2))
    fine = torch.exp(-(x**2 + y[:, None] ** 2) / 2 / s**2)
    width = math.sqrt(s**2 + p**2)

    def profile(u: Tensor) -> Tensor:
        if kind == "effective":
            return torch.exp(-(u**2) / 2 / width**2) * (s / width)
        edges = (torch.erf((u + d) / width / math.sqrt(2)) for d in (0.5, -0.5))
        upper, lower = edges
        return (upper - lower) * s * math.sqrt(math.pi / 2)

    cx, cy = (torch.arange(n, dtype=torch.float64) + 0.5 - n / 2 for n in (shape[1], shape[0]))
    expected = profile(cy)[:, None] * profile(cx)
    for stamp, sampling in ((gaussian_psf(fwhm, 1.0, 21), 1), (gaussian_psf(fwhm, 1 / k, 41), k)):
        slow = convolve_subsampled(fine, stamp, k, psf_kind=kind, psf_subsample=sampling)
        torch.testing.assert_close(slow, expected, rtol=0, atol=1e-4)


def test_gradients_reach_image_and_psf():
    image = random(1, 1, 6, 5).requires_grad_()
    stamp = skewed(3, 3).requires_grad_()
    assert torch.autograd.gradcheck(
        lambda x, p: PSF(p, (6, 5), dtype=torch.float64)(x), (image, stamp)
    )


@pytest.mark.parametrize("size", [5, 21])
def test_stamps_have_the_stated_width(size: int):
    for psf in (gaussian_psf(0.4, 0.1, size), moffat_psf(0.4, 0.1, size, beta=2.5)):
        assert float(psf.sum()) == pytest.approx(1.0)
        middle = size // 2
        assert float(psf[middle, middle + 2] / psf[middle, middle]) == pytest.approx(0.5)


@pytest.mark.parametrize("profile", [gaussian_psf, moffat_psf])
@pytest.mark.parametrize(("fwhm", "rel"), [(2.0, 0.01), (2.7, 0.01), (8.0, 2e-3), (30.0, 2e-3)])
def test_the_width_of_a_stamp_is_measured(profile, fwhm: float, rel: float):
    stamp = profile(fwhm, 1.0, 2 * int(1.5 * fwhm) + 9)
    assert measure_fwhm(stamp) == pytest.approx(fwhm, rel=rel)
    # Neither scale, nor type, nor the place of the peak, nor the stamp's sides matter.
    assert measure_fwhm(1e-9 * stamp.numpy()[::-1]) == pytest.approx(fwhm, rel=rel)
    moved = F.pad(stamp.float(), (0, 11, 3, 2)).requires_grad_()
    assert measure_fwhm(moved) == pytest.approx(fwhm, rel=rel)


@pytest.mark.parametrize("profile", [gaussian_psf, moffat_psf])
@pytest.mark.parametrize(("fwhm", "rel"), [(2.0, 0.15), (3.0, 0.03), (8.0, 2e-3), (30.0, 2e-3)])
def test_the_width_of_a_stamp_whose_peak_lies_between_pixels(profile, fwhm: float, rel: float):
    # Every fourth sample of a finer stamp: the peak lies half a pixel off along both axes.
    fine = profile(4 * fwhm, 1.0, 8 * int(1.5 * fwhm) + 33)
    assert measure_fwhm(fine[2::4, 2::4]) == pytest.approx(fwhm, rel=rel)


@pytest.mark.parametrize("angle", [0.0, 0.5, math.pi / 4])
@pytest.mark.parametrize(
    ("long", "short", "rel"), [(20.0, 4.0, 2e-3), (40.0, 3.0, 0.01), (20.0, 2.0, 0.04)]
)
def test_all_of_a_narrow_ellipse_is_measured(long: float, short: float, rel: float, angle: float):
    """A trailed star."""
    y, x = torch.meshgrid(*[torch.arange(-50.0, 51)] * 2, indexing="ij")
    u, v = (
        math.cos(angle) * x + math.sin(angle) * y,
        math.cos(angle) * y - math.sin(angle) * x,
    )
    stamp = torch.exp(-4 * math.log(2) * ((u / long) ** 2 + (v / short) ** 2))
    assert measure_fwhm(stamp) == pytest.approx(math.sqrt(long * short), rel=rel)


def test_the_width_of_an_ellipse_is_the_mean_of_its_axes():
    x = torch.arange(-20.0, 21.0)
    ellipse = torch.exp(-4 * math.log(2) * ((x / 4) ** 2 + (x[:, None] / 9) ** 2))
    assert measure_fwhm(ellipse) == pytest.approx(6.0, rel=5e-3)


@pytest.mark.parametrize("size", [4, 20])
def test_even_sizes_are_refused(size: int):
    with pytest.raises(ValueError, match="odd sides"):
        gaussian_psf(2.0, 1.0, size)


@pytest.mark.parametrize(
    "bad", [torch.zeros(3, 3), torch.full((3, 3), torch.nan), -torch.ones(3, 3)]
)
def test_a_psf_without_positive_sum_is_refused(bad: Tensor):
    with pytest.raises(ValueError, match="finite and have a positive sum"):
        PSF(bad, (8, 8))


@pytest.mark.usefixtures("types_unchecked")
def test_unknown_kinds_and_samplings_are_refused():
    with pytest.raises(ValueError, match="psf_kind must be one of"):
        native_kernel(skewed(), 2, psf_kind="measured")
    with pytest.raises(ValueError, match="at least 1"):
        native_kernel(skewed(), 0)
    with pytest.raises(ValueError, match="shape"):
        PSF(torch.ones(1, 1, 3, 3), (8, 8))
    with pytest.raises(ValueError, match="psf_subsample must be 1 or"):
        convolve_subsampled(torch.ones(8, 8), skewed(), 2, psf_subsample=3)
    with pytest.raises(ValueError, match="divisible by 2"):
        convolve_subsampled(torch.ones(8, 7), skewed(), 2)
