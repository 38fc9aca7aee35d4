"""The linear inversion against dense algebra, and its gradients against differences."""

import math
from dataclasses import fields, replace

import pytest
import torch

from lensrim.grid import PixelGrid
from lensrim.inference import inversion
from lensrim.inference.inversion import Design, ImageData, design, lit_part, solve
from lensrim.inference.source_modes import SourceModes
from lensrim.lensing.psf import PSF, gaussian_psf
from lensrim.lensing.ray_psf import RayPSF

HYPER = torch.tensor([[0.3, math.log(0.1), 0.2, math.log(0.05)]], dtype=torch.float64)


def make_image(templates: int = 1, kind: type[PSF] | type[RayPSF] = PSF) -> ImageData:
    grid = PixelGrid((12, 11), 0.1)
    n = grid.shape[0] * grid.shape[1]
    generator = torch.Generator().manual_seed(1)
    psf = kind(gaussian_psf(0.2, 0.1, 7), grid.shape, subsample=2, dtype=torch.float64)
    return ImageData(
        data=torch.randn(n, generator=generator, dtype=torch.float64),
        weight=torch.full((n,), 3.0, dtype=torch.float64),
        shape=grid.shape,
        subsample=2,
        psf=psf,
        templates=torch.randn(n, templates, generator=generator, dtype=torch.float64),
    )


def make_position(image: ImageData) -> torch.Tensor:
    generator = torch.Generator().manual_seed(2)
    n = image.shape[0] * image.shape[1]
    return 0.8 * torch.rand(1, 4, n, 2, generator=generator, dtype=torch.float64) - 0.4


def test_the_evidence_is_that_of_the_marginal_gaussian():
    image, modes = make_image(), SourceModes(5)
    system = design(image, modes, make_position(image), HYPER[:, 3].exp())
    solution = solve(system, modes, HYPER)
    c = system.columns[0]
    prior = torch.cat([modes.power(HYPER)[0], torch.ones(1, dtype=torch.float64)])
    covariance = torch.eye(len(c), dtype=torch.float64) + c * prior @ c.T
    quadratic = image.data @ torch.linalg.solve(covariance, image.data)
    expected = -0.5 * (quadratic + torch.logdet(covariance))
    torch.testing.assert_close(solution.log_evidence[0], expected)
    mean = prior[:, None] * c.T @ torch.linalg.solve(covariance, image.data)[:, None]
    torch.testing.assert_close(solution.mean[0], mean[:, 0])
    residual = image.data - c @ solution.mean[0]
    torch.testing.assert_close(solution.chi2[0], residual @ residual)
    hat = torch.eye(len(c), dtype=torch.float64) - torch.linalg.inv(covariance)
    torch.testing.assert_close(solution.effective[0], hat.trace())


@pytest.mark.parametrize("kind", [PSF, RayPSF])
def test_its_columns_are_the_modes_seen_through_the_psf(kind):
    image, modes = make_image(kind=kind), SourceModes(4)
    position, core = make_position(image), HYPER[:, 3].exp()
    columns = design(image, modes, position, core).columns[0, :, : len(modes)]
    h, w = image.shape
    for k in (0, 3, len(modes) - 1):
        rays = modes.draw_rays(position, core)[:, k].reshape(1, 2, 2, h, w)
        fine = rays.permute(0, 3, 1, 4, 2).reshape(1, 1, 2 * h, 2 * w)
        if kind is PSF:
            fine = torch.nn.functional.avg_pool2d(fine, 2)
        torch.testing.assert_close(columns[:, k], 3 * image.psf(fine).flatten())


@pytest.mark.parametrize("kind", [PSF, RayPSF])
def test_its_gradient_in_the_positions_of_the_rays(kind):
    image, modes = make_image(kind=kind), SourceModes(4)
    position = make_position(image).requires_grad_()

    def evidence(p: torch.Tensor) -> torch.Tensor:
        return solve(design(image, modes, p, HYPER[:, 3].exp()), modes, HYPER).log_evidence[0]

    (gradient,) = torch.autograd.grad(evidence(position), position)
    direction = torch.randn(
        position.shape, generator=torch.Generator().manual_seed(3), dtype=torch.float64
    )
    with torch.no_grad():
        up, down = (evidence(position + s * 1e-6 * direction) for s in (1, -1))
    assert float((gradient * direction).sum()) == pytest.approx(float(up - down) / 2e-6, rel=1e-5)


@pytest.mark.parametrize("middle", [(0.0, 0.0), (0.3, -0.5), (-0.6, 0.6)])
def test_no_less_is_seen_where_only_the_lit_part_is_computed(monkeypatch, middle):
    image, modes = make_image(3, kind=RayPSF), SourceModes(4)
    image = replace(image, weight=torch.rand(132, dtype=torch.float64))
    x, y = PixelGrid(image.shape, 0.1).coordinates(2, dtype=torch.float64)
    place = torch.stack([x.expand(24, 22), y.expand(24, 22)], -1) - torch.tensor(middle)
    position = place.reshape(12, 2, 11, 2, 2).permute(1, 3, 0, 2, 4).reshape(1, 4, 132, 2)
    position = torch.cat([1.3 * position, 1.6 * position])
    core = HYPER[:, 3].exp().expand(2)
    rows, columns = lit_part(position, image.shape)
    assert rows.stop - rows.start < 10
    assert columns.stop - columns.start < 10

    def found() -> tuple[Design, torch.Tensor]:
        p = position.clone().requires_grad_()
        system = design(image, modes, p, core)
        evidence = solve(system, modes, HYPER.expand(2, -1)).log_evidence.sum()
        return system, torch.autograd.grad(evidence, p)[0]

    parts, pull = found()
    monkeypatch.setattr(inversion, "PART", 0.0)
    whole, expected = found()
    for each in fields(Design):
        a, b = (getattr(system, each.name).detach() for system in (parts, whole))
        torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(pull, expected, rtol=1e-8, atol=1e-10)


def test_where_no_ray_hits_the_source_nothing_is_left_out():
    image = make_image(kind=RayPSF)
    assert lit_part(make_position(image) + 2, image.shape) is None
    assert lit_part(make_position(image), image.shape) is None


def test_the_slope_of_the_source():
    modes = SourceModes(6)
    generator = torch.Generator().manual_seed(4)
    position = 0.6 * torch.rand(2, 1, 9, 2, generator=generator, dtype=torch.float64) - 0.3
    z = torch.randn(2, len(modes), generator=generator, dtype=torch.float64)
    core = torch.tensor([0.05, 0.2], dtype=torch.float64)
    step = torch.tensor([1e-6, 0.0], dtype=torch.float64)
    for axis, shift in enumerate((step, step.flip(0))):
        up, down = (modes.draw(position + s * shift, core) for s in (1, -1))
        expected = torch.einsum("bk,bkr->br", z, up - down) / 2e-6
        slope = modes.slope(position, core, z)[:, 0, :, axis]
        torch.testing.assert_close(slope, expected, rtol=1e-6, atol=1e-6)


def test_the_modes_end_on_the_border_and_have_no_axes():
    modes, core = SourceModes(6), torch.tensor([0.05], dtype=torch.float64)
    angle = torch.linspace(0, 6.2, 30, dtype=torch.float64)
    circle = torch.stack([angle.cos(), angle.sin()], dim=-1)[None, None]
    assert float(modes.draw(0.5 * circle, core).abs().max()) < 1e-12
    assert float(modes.draw(0.7 * circle, core).abs().max()) == 0
    # the first mode is nearly round: coordinates are stretched along the radius
    first = modes.draw(0.2 * circle, core)[0, 0]
    assert float(first.max() / first.min()) < 1.2
    middle = modes.draw(torch.zeros(1, 1, 1, 2, dtype=torch.float64), core)
    assert bool(torch.isfinite(middle).all())


def test_the_prior_has_the_stated_strength():
    # far from the border the variance of the field without warp and fade is A²
    modes = SourceModes(200)
    hyper = torch.tensor([0.3, math.log(0.02), 0.0, 0.0], dtype=torch.float64)
    sine = torch.sin(math.pi * torch.arange(1, 201, dtype=torch.float64) * 0.5) ** 2
    variance = (modes.power(hyper) * sine[modes.m - 1] * sine[modes.n - 1]).sum()
    assert float(variance) == pytest.approx(math.exp(0.6), rel=0.02)


def test_no_data_leaves_the_prior():
    modes = SourceModes(4)
    k = len(modes)
    empty = Design(
        torch.zeros(1, 3, k, dtype=torch.float64),
        torch.zeros(1, k, k, dtype=torch.float64),
        torch.zeros(1, k, dtype=torch.float64),
        torch.tensor(0.0, dtype=torch.float64),
    )
    solution = solve(empty, modes, HYPER)
    assert float(solution.log_evidence[0]) == 0
    assert float(solution.effective[0]) == pytest.approx(0, abs=1e-9)
