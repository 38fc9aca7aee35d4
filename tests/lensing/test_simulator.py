"""Laws of the forward model."""

import math

import pytest
import torch
from pretend import pretended_device
from torch import Tensor

from lensrim.grid import PixelGrid
from lensrim.lensing.lens_equation import image_positions
from lensrim.lensing.light import Gaussian, PointSource, Sersic
from lensrim.lensing.mass import EPL, SIE, Shear, Sum, pixel_average
from lensrim.lensing.psf import gaussian_psf
from lensrim.lensing.simulator import Simulator

SHAPES = [(32, 32), (37, 31), (24, 33)]
LENS = EPL(0.9, 2.1, 0.15, -0.1, 0.02, -0.03)
EVERY_SHAPE = pytest.mark.parametrize("shape", SHAPES)


def simulator(shape=(37, 31), *, dtype=torch.float64, fwhm: float | None = 0.25, **options):
    psf = None if fwhm is None else gaussian_psf(fwhm, 0.1, 11)
    return Simulator(PixelGrid(shape, 0.1), PixelGrid((20, 21), 0.06), psf, dtype=dtype, **options)


def random_source(batch: int = 2, *, dtype=torch.float64) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.rand(batch, 1, 20, 21, generator=generator, dtype=dtype)


def kappa_of(shape, batch: int = 2, *, dtype=torch.float64) -> Tensor:
    maps = [
        pixel_average(SIE(0.9 + 0.1 * i, 0.1, 0.05 * i), PixelGrid(shape, 0.1))
        for i in range(batch)
    ]
    return torch.stack(maps)[:, None].to(dtype)


SHEAR = torch.tensor([[0.03, -0.02], [-0.05, 0.01]], dtype=torch.float64)
CENTER = torch.tensor([[0.05, 0.02], [-0.03, 0.01]], dtype=torch.float64)


@EVERY_SHAPE
@pytest.mark.parametrize("k", [1, 2, 3])
def test_it_is_linear_in_the_source(shape, k: int):
    sim, kappa = simulator(shape, subsample=k), kappa_of(shape)
    a, b = random_source(), random_source().flip(-1)
    images = [sim(s, kappa, SHEAR, CENTER) for s in (a, b, 2 * a - b)]
    assert images[0].shape == (2, 1, *shape)
    torch.testing.assert_close(images[2], 2 * images[0] - images[1])


@EVERY_SHAPE
@pytest.mark.parametrize("k", [1, 2, 3])
def test_the_adjoint_is_the_adjoint(shape, k: int):
    sim, source = simulator(shape, subsample=k), random_source()
    beta = sim.kappa_rays(kappa_of(shape), SHEAR)
    image = sim.trace(source, beta, CENTER)
    v = torch.randn(image.shape, generator=torch.Generator().manual_seed(1)).double()
    back = sim.trace_adjoint(v, beta, CENTER)
    torch.testing.assert_close((image * v).sum(), (source * back).sum())


def test_samples_do_not_know_each_other():
    sim, kappa, source = simulator(), kappa_of((37, 31)), random_source()
    many = sim(source, kappa, SHEAR, CENTER)
    for i in range(2):
        j = slice(i, i + 1)
        torch.testing.assert_close(sim(source[j], kappa[j], SHEAR[j], CENTER[j])[0], many[i])
    order = [1, 0]
    torch.testing.assert_close(
        sim(source[order], kappa[order], SHEAR[order], CENTER[order]), many[order]
    )
    shared = sim(source[:1], kappa, SHEAR)
    torch.testing.assert_close(shared, sim(source[:1].expand(2, -1, -1, -1), kappa, SHEAR))


def test_each_sample_may_have_its_own_psf():
    grid, source_grid = PixelGrid((37, 31), 0.1), PixelGrid((20, 21), 0.06)
    stamps = torch.stack([gaussian_psf(f, 0.1, 11) for f in (0.2, 0.4)])
    many = Simulator(grid, source_grid, stamps, dtype=torch.float64)
    image = many(random_source(), kappa_of((37, 31)), SHEAR)
    for i, stamp in enumerate(stamps):
        one = Simulator(grid, source_grid, stamp, dtype=torch.float64)
        expected = one(random_source(), kappa_of((37, 31)), SHEAR)
        torch.testing.assert_close(image[i], expected[i])


def test_single_precision_is_double_rounded():
    inputs = (random_source(), kappa_of((37, 31)), SHEAR, CENTER)
    double = simulator()(*inputs)
    single = simulator(dtype=torch.float32)(*(t.float() for t in inputs))
    assert single.dtype == torch.float32
    torch.testing.assert_close(single, double.float(), rtol=1e-3, atol=1e-4)


def test_an_analytic_shear_is_the_external_shear():
    sim = simulator(fwhm=None)
    mass = Shear(SHEAR[:, 0], SHEAR[:, 1])
    empty = torch.zeros(2, 1, 37, 31).double()
    torch.testing.assert_close(sim.rays(mass), sim.kappa_rays(empty, SHEAR))
    torch.testing.assert_close(sim.kappa_rays(empty), sim.theta.expand(2, -1, -1, -1))


def test_a_map_of_kappa_traces_as_its_profile_does():
    # A lens that ends inside the map, so that nothing is missing.
    shape, h = (80, 80), 0.05
    sim = Simulator(PixelGrid(shape, h), PixelGrid((20, 20), 0.06), dtype=torch.float64)
    kappa = pixel_average(SIE(0.8, 0.0, 0.0), sim.image_grid)
    x, y = sim.image_grid.coordinates(dtype=torch.float64)
    r = (sim.theta**2).sum(1, keepdim=True).sqrt()
    difference = sim.kappa_rays((kappa * ((x**2 + y**2) < 1.9**2))[None, None])
    difference = difference - sim.rays(SIE(0.8, 0.0, 0.0))
    assert float(difference.abs().masked_fill((r < 0.3) | (r > 1.7), 0.0).max()) < 5e-3


def test_a_batch_of_masses_traces_a_batch_of_rays():
    sim = simulator()
    theta_E = torch.tensor([0.8, 1.1]).double()
    many = sim.rays(Sum([SIE(theta_E, 0.1, 0.2), Shear(0.02, 0.01)]))
    assert many.shape == (2, 2, 74, 62)
    for i in range(2):
        one = sim.rays(Sum([SIE(float(theta_E[i]), 0.1, 0.2), Shear(0.02, 0.01)]))
        torch.testing.assert_close(one[0], many[i])


@pytest.mark.parametrize("turns", [1, 2, 3])
def test_turning_everything_turns_the_image(turns: int):
    shape = (24, 24)
    sim = Simulator(
        PixelGrid(shape, 0.1),
        PixelGrid((20, 20), 0.06),
        gaussian_psf(0.25, 0.1, 11),
        dtype=torch.float64,
    )
    source = random_source(1)[..., :20]
    kappa, shear = kappa_of(shape, 1), SHEAR[:1]
    image = sim(source, kappa, shear)
    # A quarter turn changes the sign of the shear, which has spin 2.
    turned = [t.rot90(turns, (-2, -1)) for t in (source, kappa)]
    result = sim(*turned, shear * (-1) ** turns)
    torch.testing.assert_close(result, image.rot90(turns, (-2, -1)))


def test_a_constant_deflection_is_a_shift_of_the_source():
    sim, source = simulator(), random_source(1)
    beta, shift = sim.rays(LENS), CENTER[:1]
    moved = sim.trace(source, beta - shift[:, :, None, None])
    torch.testing.assert_close(sim.trace(source, beta, shift), moved)


def test_unlensed_light_is_rendered_at_the_right_place():
    sim = simulator((41, 41))
    image = sim.render(Gaussian(1.0, 0.25, 0.0, 0.0, 0.4, -0.3))[0, 0]
    x, y = sim.image_grid.coordinates(dtype=torch.float64)
    total = image.sum()
    assert float(total) * 0.01 == pytest.approx(1.0, rel=1e-4)
    assert float((image * x).sum() / total) == pytest.approx(0.4, abs=1e-4)
    assert float((image * y).sum() / total) == pytest.approx(-0.3, abs=1e-4)
    p = 0.25 / math.sqrt(8 * math.log(2))
    second = float((image * (x - 0.4) ** 2).sum() / total)
    # The effective PSF holds the pixel, so nothing is added for it.
    assert second == pytest.approx(0.25**2 + p**2, rel=5e-3)


def test_a_batch_of_lights_is_a_batch_of_images():
    sim, amp = simulator(), torch.tensor([1.0, 3.0]).double()
    beta = sim.rays(LENS)
    many = sim.render(Sersic(amp, 0.3, 1.0), beta)
    torch.testing.assert_close(many[1], 3 * many[0])
    assert many.shape == (2, 1, 37, 31)


@EVERY_SHAPE
def test_gradients_of_every_argument(shape):
    small = Simulator(
        PixelGrid((7, 6), 0.5),
        PixelGrid((5, 4), 0.4),
        gaussian_psf(1.2, 0.5, 5),
        dtype=torch.float64,
    )
    generator = torch.Generator().manual_seed(2)
    source, kappa, shear, center = (
        torch.rand(s, generator=generator, dtype=torch.float64).requires_grad_()
        for s in ((1, 1, 5, 4), (1, 1, 7, 6), (1, 2), (1, 2))
    )
    scaled = (source, kappa * 0.3, shear * 0.1, center * 0.1)
    inputs = tuple(t.detach().requires_grad_() for t in scaled)
    assert torch.autograd.gradcheck(small, inputs)


# Forward-mode differentiation loads parts of torch that warn about themselves.
@pytest.mark.filterwarnings("ignore:.*torch.jit.script:DeprecationWarning")
def test_forward_mode_is_the_difference_quotient():
    sim, source, kappa = simulator(), random_source(), kappa_of((37, 31))
    direction = (source.flip(-1), 0.1 * kappa, SHEAR)
    _, tangent = torch.func.jvp(sim, (source, kappa, SHEAR), direction)
    step = 1e-6
    up, down = (
        sim(*(a + s * d for a, d in zip((source, kappa, SHEAR), direction, strict=True)))
        for s in (step, -step)
    )
    difference = (up - down) / (2 * step)
    # Rays that cross the line between source pixels within the step are off.
    assert float((tangent - difference).abs().median()) < 1e-7
    assert float((tangent - difference).norm() / tangent.norm()) < 1e-3


def test_it_works_under_vmap():
    sim, source, kappa = simulator(), random_source(), kappa_of((37, 31))
    many = torch.func.vmap(lambda *a: sim(*(t[None] for t in a))[0])(source, kappa, SHEAR)
    torch.testing.assert_close(many, sim(source, kappa, SHEAR))


def test_two_rays_per_side_leave_no_pixel_of_the_source_unseen():
    grid, source_grid = PixelGrid((128, 128), 0.06), PixelGrid((128, 128), 3.0 / 128)
    unseen = []
    for k in (1, 2):
        sim = Simulator(grid, source_grid, subsample=k, dtype=torch.float64)
        beta = sim.rays(SIE(1.2, 0.1, 0.05))
        weight = sim.trace_adjoint(torch.ones(1, 1, 128, 128).double(), beta)
        unseen.append(float((weight == 0).double().mean()))
    assert unseen[1] < 0.02 < unseen[0]


@pytest.mark.oracle
@pytest.mark.filterwarnings(
    "ignore::DeprecationWarning", "ignore::UserWarning", "ignore::FutureWarning"
)
@pytest.mark.parametrize("shape", [(40, 40), (41, 41)])
def test_rendering_is_that_of_caustics(shape):
    caustics = pytest.importorskip("caustics")
    cosmology = caustics.FlatLambdaCDM(name="cosmology")
    lens = caustics.SinglePlane(
        cosmology=cosmology,
        lenses=[
            caustics.SIE(
                cosmology=cosmology, name="sie", x0=0.02, y0=-0.03, q=0.7, phi=0.4, Rein=0.9
            ),
            caustics.ExternalShear(
                cosmology=cosmology, name="shear", x0=0.0, y0=0.0, gamma_1=0.04, gamma_2=-0.02
            ),
        ],
        name="lens",
        z_l=0.5,
        z_s=1.5,
    )
    source = caustics.Sersic(
        name="source", x0=0.05, y0=0.03, q=0.6, phi=1.1, n=1.0, Re=0.3 / math.sqrt(0.6), Ie=2.0
    )
    theirs = caustics.LensSource(
        lens=lens,
        source=source,
        pixelscale=0.1,
        pixels_x=shape[1],
        pixels_y=shape[0],
        upsample_factor=4,
    )().detach()
    e_lens, e_source = (0.3 / 1.7, 0.4), (0.4 / 1.6, 1.1)
    e = [(a * math.cos(2 * p), a * math.sin(2 * p)) for a, p in (e_lens, e_source)]
    sim = Simulator(
        PixelGrid(shape, 0.1), PixelGrid((2, 2), 1.0), subsample=4, dtype=torch.float64
    )
    mass = Sum([SIE(0.9, *e[0], 0.02, -0.03), Shear(0.04, -0.02)])
    ours = sim.render(Sersic(2.0, 0.3, 1.0, *e[1], 0.05, 0.03), sim.rays(mass))[0, 0]
    torch.testing.assert_close(ours, theirs.double(), rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("moved", [True, False])
def test_all_of_it_lives_on_one_device(moved: bool):
    here = simulator()(random_source(), kappa_of((37, 31)), SHEAR, CENTER)
    with pretended_device() as device:
        sim = simulator().to(device) if moved else simulator(device=device)
        source, kappa, shear, center = (
            t.to(device).requires_grad_()
            for t in (random_source(), kappa_of((37, 31)), SHEAR, CENTER)
        )
        image = sim(source, kappa, shear, center)
        gradients = torch.autograd.grad(image.square().sum(), (source, kappa, shear, center))
        assert all(g.device == device for g in gradients)
        there = image.detach().cpu()
    torch.testing.assert_close(there, here)


@pytest.mark.gpu
@pytest.mark.parametrize("moved", [True, False])
def test_a_gpu_gives_the_same_images_and_gradients(moved: bool):
    results = []
    for device in ("cpu", "cuda"):
        sim = simulator().to(device) if moved else simulator(device=device)
        source, kappa = (
            t.to(device).requires_grad_() for t in (random_source(), kappa_of((37, 31)))
        )
        image = sim(source, kappa, SHEAR.to(device), CENTER.to(device))
        gradients = torch.autograd.grad(image.square().sum(), (source, kappa))
        results.append([t.cpu() for t in (image, *gradients)])
    for here, there in zip(*results, strict=True):
        torch.testing.assert_close(there, here)


def test_a_lensed_point_is_the_psf_at_each_of_its_images():
    place = torch.tensor([0.06]).double(), torch.tensor([-0.02]).double()
    sim = simulator((40, 40), fwhm=None)
    images = image_positions(SIE(0.9, 0.2, 0.05), *place, sim.image_grid)
    assert images.count == 4
    psf = gaussian_psf(0.35, 0.1, 21)
    sim = Simulator(sim.image_grid, sim.source_grid, psf, dtype=torch.float64, points=True)
    flux = 3 * images.magnification.abs()
    found = sim.render_points(PointSource(images.x, images.y, flux))
    x, y = sim.image_grid.coordinates(dtype=torch.float64)
    r2 = (x - images.x[0, :, None, None]) ** 2 + (y - images.y[0, :, None, None]) ** 2
    wide = 0.35**2 / (4 * math.log(2))
    expected = (flux[0, :, None, None] * 0.01 / (math.pi * wide) * (-r2 / wide).exp()).sum(0)
    torch.testing.assert_close(found[0, 0], expected, rtol=0, atol=1e-3 * float(expected.max()))


def test_points_have_to_be_asked_for():
    points = PointSource(*torch.zeros(3, 1).unbind())
    with pytest.raises(ValueError, match="points=True, got it without"):
        simulator().render_points(points)
    with pytest.raises(ValueError, match="through a PSF, got none"):
        simulator(fwhm=None, points=True)
