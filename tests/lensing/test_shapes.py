"""Maps that are on other pixels are told: they would broadcast, or be cut, to a wrong image."""

import numpy as np
import pytest
import torch

from lensrim import PixelGrid
from lensrim.lensing.convergence import KappaToAlpha
from lensrim.lensing.likelihood import log_likelihood, score
from lensrim.lensing.mass import MassSheet, Shear, Sum
from lensrim.lensing.noise import CorrelatedNoise, GaussianNoise, PoissonNoise
from lensrim.lensing.psf import PSF
from lensrim.lensing.ray_psf import RayPSF
from lensrim.lensing.simulator import Simulator

SIMULATOR = Simulator(PixelGrid((16, 14), 0.1), PixelGrid((12, 12), 0.05))
KAPPA, SOURCE = torch.full((2, 1, 16, 14), 0.5), torch.rand(2, 1, 12, 12)
RAYS = SIMULATOR.kappa_rays(KAPPA)


@pytest.mark.parametrize(
    "shape", [(2, 1, 8, 7), (2, 1, 32, 28), (2, 1, 1, 1), (2, 16, 14), (16, 14)]
)
def test_a_convergence_on_other_pixels(shape: tuple[int, ...]) -> None:
    with pytest.raises(
        ValueError, match=r"kappa must have shape \(B, 1, 16, 14\), that of image_"
    ):
        SIMULATOR(SOURCE, torch.full(shape, 0.5))


@pytest.mark.parametrize("shape", [(2, 1, 24, 24), (2, 12, 12), (12, 12)])
def test_a_source_on_other_pixels(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"source must have shape \(B, C, 12, 12\), that of sour"):
        SIMULATOR(torch.rand(shape), KAPPA)


def test_many_maps_of_one_lens_are_seen_together() -> None:
    many = torch.rand(1, 5, 12, 12)
    images = SIMULATOR.trace(many, RAYS[:1])
    assert images.shape == (1, 5, 16, 14)
    torch.testing.assert_close(images[:, 3:4], SIMULATOR.trace(many[:, 3:4], RAYS[:1]))
    with pytest.raises(ValueError, match=r"image must have shape \(B, 1, 16, 14\)"):
        SIMULATOR.trace_adjoint(images, RAYS[:1])


def test_shear_and_center_of_one_number() -> None:
    with pytest.raises(ValueError, match=r"shear must have shape \(B, 2\), gamma1 and gamma2"):
        SIMULATOR(SOURCE, KAPPA, torch.zeros(2))
    with pytest.raises(ValueError, match=r"source_center must have shape \(B, 2\), x and y, got"):
        SIMULATOR(SOURCE, KAPPA, None, torch.zeros(2, 1))
    with pytest.raises(ValueError, match=r"beyond must have shape \(B, 2, 16, 14\)"):
        SIMULATOR.kappa_rays(KAPPA, beyond=torch.zeros(2, 1, 16, 14))


def test_rays_and_images_of_another_frame() -> None:
    few = RAYS[..., :30, :26]
    for apply, given in ((SIMULATOR.trace, SOURCE), (SIMULATOR.trace_adjoint, KAPPA)):
        with pytest.raises(ValueError, match=r"beta must have shape \(B, 2, 32, 28\)"):
            apply(given, few)
    for apply in (SIMULATOR.trace_adjoint, SIMULATOR.spread):
        with pytest.raises(ValueError, match=r"image must have shape \(B, 1, 16, 14\)"):
            apply(KAPPA[..., 1:], RAYS)
    with pytest.raises(ValueError, match=r"surface_brightness must have shape \(B, C, 32, 28\)"):
        SIMULATOR.observe(torch.rand(2, 1, 30, 28))


@pytest.mark.parametrize(
    "noise",
    [
        GaussianNoise(torch.tensor(0.1)),
        PoissonNoise(torch.tensor(0.1), torch.tensor(100.0)),
        CorrelatedNoise(torch.ones(16, 14)),
    ],
    ids=["gaussian", "poisson", "correlated"],
)
def test_an_image_that_would_broadcast(noise: GaussianNoise) -> None:
    model = SIMULATOR(SOURCE, KAPPA)
    assert log_likelihood(model, model[:1], noise).shape == (2,)  # one image, many models
    state = {"source": SOURCE, "kappa": KAPPA}
    for image in (model[:, 0], model[0, 0], model[..., :1, :1], model.repeat(2, 1, 1, 1)):
        with pytest.raises(ValueError, match=r"image must have the shape of the model's images"):
            log_likelihood(model, image, noise)
        with pytest.raises(ValueError, match=r"image must have the shape of the model's images"):
            score(SIMULATOR, image, noise)(state)


OPERATOR = KappaToAlpha(PixelGrid((16, 14), 0.1))


@pytest.mark.parametrize(
    "shape", [(16, 14), (2, 16, 14), (1, 2, 16, 14), (1, 1, 8, 7), (1, 1, 40, 40), (1, 1, 14, 16)]
)
@pytest.mark.parametrize(
    "call",
    [
        OPERATOR,
        OPERATOR.at_subrays,
        OPERATOR.magnification,
        OPERATOR.potential,
        lambda kappa: OPERATOR.at(kappa, torch.zeros(3), torch.zeros(3)),
    ],
    ids=["forward", "at_subrays", "magnification", "potential", "at"],
)
def test_a_convergence_on_other_pixels_than_the_operator(shape: tuple, call) -> None:
    with pytest.raises(ValueError, match=r"kappa must have shape \(B, 1, 16, 14\)"):
        call(torch.rand(shape))


def test_maps_may_be_vectorised_and_of_the_right_pixels() -> None:
    kappa = torch.rand(3, 1, 16, 14)
    each = torch.func.vmap(OPERATOR.maps)(kappa)
    torch.testing.assert_close(each, OPERATOR.maps(kappa))
    with pytest.raises(ValueError, match=r"kappa must have 16 x 14 pixels, those of the operator"):
        OPERATOR.maps(torch.rand(3, 1, 14, 16))


def test_a_psf_of_other_images() -> None:
    stamp = torch.ones(3, 3)
    for size in ((8, 7), (32, 28), (14, 16)):
        with pytest.raises(ValueError, match=r"image must have 16 x 14 pixels, those of the PSF"):
            PSF(stamp, (16, 14))(torch.rand(1, 1, *size))
        with pytest.raises(ValueError, match=r"rays must have 48 x 42 pixels, the rays"):
            RayPSF(stamp, (16, 14))(torch.rand(1, 1, *size))


@pytest.mark.parametrize("sigma", [0.1, np.full((16, 14), 0.1), None])
def test_a_noise_that_is_no_tensor_is_told(sigma, types_unchecked) -> None:
    with pytest.raises(TypeError, match=r"sigma must be a tensor or a noise model, got a .*torch"):
        log_likelihood(torch.zeros(1, 1, 16, 14), torch.zeros(1, 1, 16, 14), sigma)


def test_components_that_vary_with_different_parameters() -> None:
    sheet = MassSheet(0.1, center_x=torch.tensor([0.1, 0.2]))
    for mass in (sheet, Sum([sheet, Shear(0.01, 0.02)])):
        rays = SIMULATOR.rays(mass)
        for i in range(2):
            one = MassSheet(0.1, center_x=float(sheet.center_x[i]))
            alone = one if mass is sheet else Sum([one, Shear(0.01, 0.02)])
            torch.testing.assert_close(rays[i], SIMULATOR.rays(alone)[0])
