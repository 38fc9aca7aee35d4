"""Errors that shipped in well-known codes: one test for each, none of which may come back."""

import math

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from lensrim.grid import PixelGrid
from lensrim.lensing.convergence import KappaToAlpha
from lensrim.lensing.light import Gaussian, Sersic, sersic_b
from lensrim.lensing.mass import EPL, SIE, Multipole, Shear, pixel_average
from lensrim.lensing.noise import GaussianNoise
from lensrim.lensing.psf import PSF, convolve_subsampled, gaussian_psf
from lensrim.lensing.simulator import Simulator
from lensrim.lensing.source import PixelatedSource

H = 0.05


def gaussian_error(n: int, width: float, *, spacing: float = H) -> float:
    """Largest error of alpha, over its maximum, for a Gaussian kappa of ``width`` pixels."""
    grid, s = PixelGrid((n, n), spacing), width * spacing
    x, y = grid.coordinates(dtype=torch.float64)
    edges = [
        (torch.erf((c + spacing / 2) / s / 2**0.5) - torch.erf((c - spacing / 2) / s / 2**0.5))
        for c in (x, y)
    ]
    kappa = edges[0] * edges[1] * (s / spacing) ** 2 * math.pi / 2
    r2 = x**2 + y**2
    mean = torch.where(r2 > 1e-14, -2 * s**2 * torch.expm1(-r2 / 2 / s**2) / r2, 1.0)
    truth = torch.stack((x * mean, y * mean))
    alpha = torch.cat(KappaToAlpha(grid, dtype=torch.float64)(kappa[None, None]), 1)[0]
    return float((alpha - truth).norm(dim=0).max() / truth.norm(dim=0).max())


@pytest.mark.parametrize("n", [127, 128, 160, 161])
def test_trap_kernel_sampled_half_a_pixel_off(n: int):
    assert gaussian_error(n, 10.0) < 1e-4


@pytest.mark.parametrize("parity", [0, 1])
def test_trap_three_pixel_spacings_in_one_simulator(parity: int):
    # A spacing of FOV / (N - 1) would leave an error of 1 / N: 3 % at 32, 0.8 % at 128.
    errors = [gaussian_error(n + parity, 2.4) for n in (32, 64, 128)]
    assert max(errors) < 5e-3
    assert max(errors) < 1.01 * min(errors)
    # At a fixed field of view the error falls with the fourth power of the spacing.
    fine, coarse = gaussian_error(128, 10.0, spacing=H), gaussian_error(64, 5.0, spacing=2 * H)
    assert fine < coarse / 8


def test_trap_non_square_images_change_shape():
    shape, b = (37, 31), 2
    grid, source_grid = PixelGrid(shape, 0.1), PixelGrid((9, 14), 0.1)
    kappa, image = torch.full((b, 1, *shape), 0.1), torch.rand(b, 1, *shape)
    source = torch.rand(b, 1, 9, 14)
    for k in (1, 2, 3):
        fine = (b, 1, k * shape[0], k * shape[1])
        op = KappaToAlpha(grid, subsample=k)
        for maps in (op(kappa), op.jacobian(kappa), op.shear(kappa), (op.potential(kappa),)):
            assert {tuple(m.shape) for m in maps} == {(b, 1, *shape)}
        assert {tuple(m.shape) for m in op.at_subrays(kappa)} == {fine}
        assert op.magnification(kappa).shape == (b, 1, *shape)
        for kind in ("effective", "optical"):
            psf = gaussian_psf(0.3, 0.1, 9)
            sim = Simulator(grid, source_grid, psf, psf_kind=kind, subsample=k)
            beta = sim.kappa_rays(kappa, torch.zeros(b, 2))
            assert sim(source, kappa).shape == image.shape
            assert sim.source(source, beta).shape == fine
            assert sim.trace_adjoint(image, beta).shape == source.shape
            assert sim.render(Gaussian(1.0, 0.3), beta).shape == image.shape
            assert sim.psf(image).shape == sim.psf.adjoint(image).shape == image.shape
            slow = convolve_subsampled(torch.rand(fine), psf.float(), k, psf_kind=kind)
            assert slow.shape == image.shape
    noise = GaussianNoise(torch.ones(shape))
    assert noise.residual(image, image).shape == noise.sample(image).shape == image.shape


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_trap_nan_at_the_centre_and_at_q_1(dtype: torch.dtype):
    grid = PixelGrid((5, 5), 0.1)
    theta = torch.zeros(6, dtype=dtype, requires_grad=True)
    e1, e2, cx, cy, a, b = theta.unbind()
    x, y = (c.requires_grad_() for c in grid.coordinates(dtype=dtype))
    models = [
        SIE(1.0, e1, e2, cx, cy),
        EPL(1.0, 2.2, e1, e2, cx, cy),
        Shear(a, b),
        Multipole(4, a, b, cx, cy),
    ]
    values = [
        v for m in models for v in (*m.deflection(x, y), m.convergence(x, y), m.potential(x, y))
    ]
    values.append(Sersic(1.0, 0.3, 4.0, e1, e2, cx, cy).surface_brightness(x, y))
    values.append(Gaussian(1.0, 0.3, e1, e2, cx, cy).surface_brightness(x, y))
    for value in values:
        assert bool(torch.isfinite(value).all())
        if value.requires_grad:
            gradients = torch.autograd.grad(
                value.sum(), (theta, x, y), retain_graph=True, allow_unused=True
            )
            assert all(bool(torch.isfinite(g).all()) for g in gradients if g is not None)


@pytest.mark.parametrize("kind", ["effective", "optical"])
@pytest.mark.parametrize("k", [1, 2, 3])
def test_trap_even_psf_stamps_shift_the_image(kind, k: int):
    for shape in ((4, 4), (4, 5), (5, 4)):
        with pytest.raises(ValueError, match="must have odd sides"):
            PSF(torch.ones(shape), (16, 16))
    for shape in ((32, 32), (37, 31)):
        image = torch.zeros(1, 1, *shape, dtype=torch.float64)
        image[..., 17, 14] = 1.0
        psf = PSF(
            gaussian_psf(2.5, 1.0, 11), shape, psf_kind=kind, subsample=k, dtype=torch.float64
        )
        seen = psf(image)[0, 0]
        row, column = (torch.arange(n).double() for n in shape)
        assert float((seen.sum(1) * row).sum() / seen.sum()) == pytest.approx(17, abs=1e-3)
        assert float((seen.sum(0) * column).sum() / seen.sum()) == pytest.approx(14, abs=1e-3)


def test_trap_rays_outside_the_map_are_not_lensed():
    grid = PixelGrid((32, 30), H)
    kappa = pixel_average(SIE(0.5, 0.1, 0.0), grid)[None, None]
    op = KappaToAlpha(grid, dtype=torch.float64)
    # Along a ray that crosses the last pixel's centre, the outer edge and the end of the margin.
    x = torch.linspace(0.5, 1.2, 2801, dtype=torch.float64)
    for y in (0.013, 0.3):
        alpha = torch.cat(op.at(kappa, x, torch.full_like(x, y)), 1)[0]
        # The slope of alpha is below 1 or so: no step is larger than its own length.
        assert float(alpha.diff(dim=-1).abs().max()) < 2 * float(x[1] - x[0])
        assert float(alpha[0].min()) > 0.1
    # At the pixel centres of the margin nothing is interpolated, so it is the sum over the map.
    around = PixelGrid((38, 36), H)
    px, py = around.coordinates(dtype=torch.float64)
    inside = torch.cat(op.at(kappa, px, py), 1)
    torch.testing.assert_close(inside, op.maps(kappa, margin=True))


def test_trap_shear_or_jacobian_detached_from_the_graph():
    grid = PixelGrid((6, 5), 0.3)
    op = KappaToAlpha(grid, dtype=torch.float64)
    generator = torch.Generator().manual_seed(0)
    kappa = (0.5 * torch.rand(1, 1, 6, 5, generator=generator).double()).requires_grad_()
    shear = torch.tensor([[0.03, -0.02]]).double().requires_grad_()
    x = torch.tensor([0.11, 0.4, 2.0]).double().requires_grad_()
    y = torch.tensor([0.2, -0.37, -1.0]).double().requires_grad_()
    for quantity in (op, op.at_subrays, op.jacobian, op.shear, op.potential):
        assert torch.autograd.gradcheck(quantity, (kappa,))
    for quantity in (op.inverse_magnification, op.magnification):
        assert torch.autograd.gradcheck(quantity, (kappa, shear))
    assert torch.autograd.gradcheck(op.at, (kappa, x, y))
    sim = Simulator(grid, grid, dtype=torch.float64)
    assert torch.autograd.gradcheck(sim.kappa_rays, (kappa, shear))


def test_trap_magnification_lost_its_sign():
    grid, theta_E = PixelGrid((64, 64), H), 0.8
    kappa = pixel_average(SIE(theta_E, 0.0, 0.0), grid)
    x, y = grid.coordinates(dtype=torch.float64)
    r = (x**2 + y**2).sqrt()
    # Cut to a disc, a round lens has no mass missing around.
    kappa = kappa * (r < 1.5)
    mu = KappaToAlpha(grid, dtype=torch.float64).magnification(kappa[None, None])[0, 0]
    outside, inside = (r > 1.1 * theta_E) & (r < 1.4), (r < 0.9 * theta_E) & (r > 0.2)
    assert bool((mu[outside] > 1).all())
    assert bool((mu[inside] < 0).all())
    torch.testing.assert_close(mu[outside], 1 / (1 - theta_E / r[outside]), rtol=0.02, atol=0)


def test_trap_flux_times_area():
    fluxes, brightness = [], []
    lens, light = EPL(0.8, 2.0, 0.1, 0.05), Gaussian(1.0, 0.15, 0.1, 0.0, 0.1, 0.05)
    source_grid = PixelGrid((60, 60), 0.02)
    source = light.surface_brightness(*source_grid.coordinates(dtype=torch.float64))[None, None]
    for spacing, n in ((0.1, 40), (0.05, 80)):
        psf = gaussian_psf(0.25, spacing, 2 * round(0.6 / spacing) + 1)
        sim = Simulator(
            PixelGrid((n, n), spacing), source_grid, psf, subsample=4, dtype=torch.float64
        )
        image = sim.trace(source, sim.rays(lens))
        fluxes.append(float(image.sum()) * spacing**2)
        brightness.append(torch.nn.functional.avg_pool2d(image, n // 40))
    assert fluxes[0] == pytest.approx(fluxes[1], rel=1e-3)
    peak = float(brightness[0].max())
    # The larger effective pixel sees through the same PSF, but is here averaged from four.
    torch.testing.assert_close(brightness[0], brightness[1], rtol=0, atol=0.05 * peak)
    # Without a lens the image of the source is the source.
    flat = sim.trace(source, sim.rays(Shear(0.0, 0.0)))
    assert float(flat.sum()) * 0.05**2 == pytest.approx(float(source.sum()) * 0.02**2, rel=1e-3)


@pytest.mark.parametrize("kind", ["effective", "optical"])
@pytest.mark.parametrize("k", [1, 2, 3, 4])
def test_trap_pixel_response_applied_twice(kind, k: int):
    fwhm, shape = 1.0, (41, 43)
    # As narrow as a pixel, a PSF is known from finer samples only.
    psf = gaussian_psf(fwhm, 1 / 4, 41)
    operator = PSF(psf, shape, psf_kind=kind, subsample=k, psf_subsample=4, dtype=torch.float64)
    expected = fwhm**2 / (8 * math.log(2)) + (1 / 12 if kind == "optical" else 0.0)
    fast = slow = torch.zeros(2, dtype=torch.float64)
    for j in range(k):
        # A point source at each ray of a pixel in turn; moments about its true position.
        fine = torch.zeros(1, 1, shape[0] * k, shape[1] * k, dtype=torch.float64)
        fine[..., 20 * k, 21 * k + j] = k**2
        position = 21 + (2 * j + 1 - k) / (2 * k)
        image = operator(torch.nn.functional.avg_pool2d(fine, k))
        fast = fast + _moments(image, position)
        if k in (2, 4):
            stamp = gaussian_psf(fwhm, 1 / k, 10 * k + 1)
            image = convolve_subsampled(fine, stamp, k, psf_kind=kind, psf_subsample=k)
            slow = slow + _moments(image, position)
    assert float(fast[1] / fast[0]) == pytest.approx(expected, rel=0.01)
    if k == 4:
        assert float(slow[1] / slow[0]) == pytest.approx(expected, rel=0.01)


def _moments(image: Tensor, position: float) -> Tensor:
    """Flux, and second moment along x about a position."""
    profile = image[0, 0].sum(0)
    offset = torch.arange(len(profile)).double() - position
    return torch.stack((profile.sum(), (profile * offset**2).sum()))


@pytest.mark.parametrize("q", [1.0, 0.5])
def test_trap_sersic_radius_on_another_axis(q: float):
    # Half the light is inside the ellipse of semi-axes R / sqrt(q) and R sqrt(q).
    grid, e = PixelGrid((1600, 1600), 0.01), (1 - q) / (1 + q)
    x, y = grid.coordinates(dtype=torch.float64)
    light = Sersic(1.0, 0.5, 1.0, e, 0.0).surface_brightness(x, y)
    inside = q * x**2 + y**2 / q < 0.5**2
    assert float(light[inside].sum() / light.sum()) == pytest.approx(0.5, abs=1e-3)
    b = float(sersic_b(torch.tensor(1.0)))
    flux = 2 * math.pi * 0.5**2 * math.exp(b) / b**2
    assert float(light.sum()) * 1e-4 == pytest.approx(flux, rel=1e-3)


@pytest.mark.oracle
def test_trap_sersic_radius_on_another_axis_in_lenstronomy():
    models = pytest.importorskip("lenstronomy.LightModel.light_model")
    x, y = PixelGrid((60, 60), 0.05).coordinates(dtype=torch.float64)
    e = 1 / 3
    ours = Sersic(1.0, 0.5, 1.0, e, 0.0).surface_brightness(x, y)
    kwargs = {"amp": 1.0, "R_sersic": 0.5, "n_sersic": 1.0, "e1": e, "e2": 0.0}
    kwargs |= {"center_x": 0.0, "center_y": 0.0}
    theirs = models.LightModel(["SERSIC_ELLIPSE"]).surface_brightness(
        x.flatten().numpy(), y.flatten().numpy(), [kwargs]
    )
    # lenstronomy's b_n is an approximation, good to half a percent.
    torch.testing.assert_close(ours.flatten(), torch.from_numpy(theirs), rtol=1e-2, atol=1e-4)
    assert float(ours.sum()) == pytest.approx(float(theirs.sum()), rel=5e-3)


class _Operations(TorchDispatchMode):
    """Records the names of the operations that run."""

    def __init__(self):
        super().__init__()
        self.names: set[str] = set()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.names.add(str(func))
        return func(*args, **(kwargs or {}))


def test_trap_psf_convolved_in_real_space():
    psf, image = PSF(gaussian_psf(2.5, 1.0, 21), (32, 32)), torch.rand(1, 1, 32, 32)
    image.requires_grad_()
    with _Operations() as operations:
        psf(image).sum().backward()
    assert any("_fft_" in name for name in operations.names)
    assert not any("conv" in name for name in operations.names)


def test_trap_a_source_beyond_its_grid_is_not_repeated():
    source = PixelatedSource(PixelGrid((4, 4), 1.0))
    far = torch.tensor([[2.6, -2.6, 9.0], [0.0, 0.0, 0.0]])[None, :, None]
    assert source(torch.ones(1, 1, 4, 4), far).tolist() == [[[[0.0, 0.0, 0.0]]]]
