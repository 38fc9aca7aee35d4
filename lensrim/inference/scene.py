"""What is known of an observation before its mass is, and the linear problem that it leaves."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from .frame import Array, Frame
from .inversion import ImageData
from .lens_light import LensLight
from .light_profile import light_factor


@dataclass(frozen=True)
class Scene:
    """Holds what the search needs to know of an observation.

    Arguments:
        frame: The image; its mask leaves out neighbours.
        light: Lens light and sky.
        arcs: Mask of the arcs, with shape (H, W).
        noise_scale: Factor on the noise, measured on the sky.
        neighbours: Mask of the neighbours, with shape (H, W).
        structure: Noise that stands for the structure of the lens galaxy, with shape (H, W).
        growth: Factor on the noise where it is correlated (:mod:`.sky_growth`).
        device: Where the macro-model is searched.
    """

    frame: Frame
    light: LensLight
    arcs: NDArray[np.bool_]
    noise_scale: float
    neighbours: NDArray[np.bool_]
    structure: Array
    growth: float = 1.0
    device: torch.device = torch.device("cpu")

    def tensor(self, values: NDArray[Any]) -> Tensor:
        """Puts an array on the device."""
        return torch.from_numpy(np.ascontiguousarray(values)).to(self.device)

    @property
    def sigma(self) -> Array:
        """Noise that is fitted with: of what passes the PSF, of the sky, and of the lens galaxy,
        with shape (H, W)."""
        return np.hypot(self.frame.sigma * self.noise_scale * self.growth, self.structure)

    @property
    def pixel_sigma(self) -> Array:
        """Noise of each pixel for itself, by which residuals are judged, with shape (H, W)."""
        return np.hypot(self.frame.sigma * self.noise_scale, self.structure)

    def expected(self, effective: float, pixels: int) -> float:
        """Returns the χ² per pixel that a right model leaves, in the noise of the pixels.

        Arguments:
            effective: Its effective number of parameters.
            pixels: Number of pixels.
        """
        return max(1 - self.growth**2 * effective / max(pixels, 1), 0.0)

    @property
    def arc_light(self) -> Array:
        """Image less lens light and sky inside the arc mask, never negative."""
        arcs = self.frame.image - self.light.image - self.light.sky
        return np.where(self.arcs & self.frame.mask, arcs, 0.0).clip(0.0)

    @property
    def template_factor(self) -> Array:
        """Prior of the change of the amplitudes of lens light and sky from the fit.

        That of the light follows its profile (:func:`.light_profile.light_factor`); the sky may
        change by half the noise of a pixel, as it is fitted.

        Returns:
            A factor F of the covariance, with shape (Q, Q).
        """
        light, q = self.light, len(self.light.amplitudes)
        factor = np.zeros((q, q))
        factor[:-1, :-1] = light_factor(light.amplitudes[:-1], light.precision)
        factor[-1, -1] = np.median(self.frame.sigma) * self.noise_scale * self.growth / 2
        return factor

    @property
    def templates(self) -> Array:
        """Images of lens light and sky whose amplitudes are standard normal: (Q, H, W)."""
        return np.einsum("qp,qhw->phw", self.template_factor, self.light.templates)

    def lights(self, change: Array) -> tuple[Array, float]:
        """Returns lens light (H, W) and sky after a change, in units of its prior, shape (Q)."""
        amplitudes = self.light.amplitudes + self.template_factor @ change
        changed = replace(self.light, amplitudes=amplitudes)
        return changed.image, changed.sky


def image_data(
    scene: Scene, *, subsample: int = 2, softening: float = 0.0, on_rays: bool = False
) -> ImageData:
    """Prepares the image for the inversion; lens light and sky become templates with a prior."""
    frame, light = scene.frame, scene.light
    operator = frame.ray_operator if on_rays else frame.operator
    sigma = np.hypot(scene.sigma, softening * scene.arc_light.max())
    weight = np.divide(1.0, sigma, out=np.zeros_like(sigma), where=frame.mask).ravel()
    templates = scene.templates
    left = np.where(frame.mask, frame.image - light.image - light.sky, 0.0).ravel()
    return ImageData(
        data=scene.tensor(left * weight),
        weight=scene.tensor(weight),
        shape=frame.grid.shape,
        subsample=subsample,
        psf=operator(subsample, scene.device),
        templates=scene.tensor((templates.reshape(len(templates), -1) * weight).T),
    )
