r"""The forward model, from source and mass to the noise-free image.

.. math:: F(s, \kappa, \gamma) = B \, A \, L(\kappa, \gamma) \, s \, , \qquad
          \beta = \theta - \alpha_\kappa(\theta) - \begin{pmatrix} \gamma_1 & \gamma_2 \\
          \gamma_2 & -\gamma_1 \end{pmatrix} \theta \, ,

where :math:`L` reads the source at :math:`\beta` for :math:`k \times k` rays per pixel, :math:`A`
averages them over the pixel, and :math:`B` is the convolution with the PSF. Lensing conserves
surface brightness, so no factor of area appears. Mask and noise belong to
:mod:`lensrim.lensing.likelihood`.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..grid import PixelGrid
from .convergence import KappaToAlpha
from .interpolation import Bilinear, Interpolation
from .jacobian import Deflector
from .lensed import lensed_brightness
from .light import Light, PointPSF, PointSource
from .mass import stacked_deflection
from .operation import Operation, only_plain
from .psf import PSF, PSFKind
from .ray_psf import RayPSF
from .shapes import check_shape
from .source import PixelatedSource


class Simulator(nn.Module):
    r"""Creates the forward model :math:`F`.

    Arguments:
        image_grid: Grid of the image and of the map of :math:`\kappa`.
        source_grid: Grid of the source.
        psf: PSF, with shape :math:`(h, w)`, or :math:`(B, h, w)` for one per sample, odd sides;
            none if ``None``.
        psf_kind: ``effective`` if the PSF holds the pixel response, ``optical`` if not.
        psf_subsample: Number of samples of the PSF along each side of an image pixel.
        psf_on_rays: Whether the PSF acts on the rays (:mod:`~lensrim.lensing.ray_psf`), not on
            their averages: slower, and right where the source is finer than two pixels.
        subsample: Number :math:`k` of rays along each side of a pixel. With one, some pixels of
            the source are seen by no ray.
        interpolation: How the source is read between its pixels.
        points: Whether point sources are seen, too (:meth:`render_points`).
        dtype: Type of all maps. What is kept from call to call is made in double precision.
        device: Device of all maps.

    Raises:
        ValueError: If the PSF has an even side or no positive sum, points have no PSF, or a PSF
            with finer samples is to act on the rays.
    """

    theta: Tensor
    theta_pixels: Tensor

    def __init__(
        self,
        image_grid: PixelGrid,
        source_grid: PixelGrid,
        psf: Tensor | None = None,
        *,
        psf_kind: PSFKind = "effective",
        psf_subsample: int = 1,
        psf_on_rays: bool = False,
        subsample: int = 2,
        interpolation: Interpolation = Bilinear(),
        points: bool = False,
        dtype: torch.dtype = torch.float32,
        device: torch.device | str | None = None,
    ):
        super().__init__()
        self.image_grid, self.source_grid, self.subsample = image_grid, source_grid, subsample
        self.source = PixelatedSource(source_grid, interpolation)
        self.kappa_to_alpha = KappaToAlpha(
            image_grid, subsample=subsample, dtype=dtype, device=device
        )
        self.psf = None
        if psf_on_rays and psf_subsample != 1:
            raise ValueError(
                "psf_on_rays wants a PSF sampled on the image's pixels, got psf_subsample "
                f"{psf_subsample}; leave one of them at its default"
            )
        if psf is not None and psf_on_rays:
            self.psf = RayPSF(
                psf,
                image_grid.shape,
                psf_kind=psf_kind,
                subsample=subsample,
                dtype=dtype,
                device=device,
            )
        elif psf is not None:
            self.psf = PSF(
                psf,
                image_grid.shape,
                psf_kind=psf_kind,
                subsample=subsample,
                psf_subsample=psf_subsample,
                dtype=dtype,
                device=device,
            )
        self.point_psf = None
        if points:
            if psf is None:
                raise ValueError("points are seen through a PSF, got none: give psf")
            self.point_psf = PointPSF(
                psf,
                image_grid,
                psf_kind=psf_kind,
                psf_subsample=psf_subsample,
                dtype=dtype,
                device=device,
            )
        for name, k in (("theta", subsample), ("theta_pixels", 1)):
            theta = torch.stack(image_grid.coordinates(k, dtype=dtype, device=device))
            self.register_buffer(name, theta[None], persistent=False)

    def forward(
        self,
        source: Tensor,
        kappa: Tensor,
        shear: Tensor | None = None,
        source_center: Tensor | None = None,
    ) -> Tensor:
        r"""Computes :math:`F(s, \kappa, \gamma)`.

        Arguments:
            source: Surface brightness :math:`s`, with shape :math:`(B, 1, n_y, n_x)`.
            kappa: Convergence :math:`\kappa`, averages over pixels, with shape
                :math:`(B, 1, H, W)`.
            shear: External shear :math:`(\gamma_1, \gamma_2)`, with shape :math:`(B, 2)`.
            source_center: Offset of the source grid [arcsec], with shape :math:`(B, 2)`.

        Returns:
            The noise-free images, with shape :math:`(B, 1, H, W)`.

        Raises:
            ValueError: If one has another shape.
        """
        return self.trace(source, self.kappa_rays(kappa, shear), source_center)

    def kappa_rays(
        self, kappa: Tensor, shear: Tensor | None = None, beyond: Tensor | None = None
    ) -> Tensor:
        r"""Traces the rays back through a map of :math:`\kappa` and an external shear.

        Arguments:
            kappa: Convergence, with shape :math:`(B, 1, H, W)`.
            shear: External shear, with shape :math:`(B, 2)`.
            beyond: Deflection of mass beyond the map at the pixels' centres [arcsec], with shape
                :math:`(B, 2, H, W)`. A shear does not stand for all of it: the mass of an
                isothermal lens outside a frame of four Einstein radii bends what is left at the
                arcs by a tenth of a pixel.

        Returns:
            Their positions :math:`\beta_x, \beta_y` [arcsec], with shape :math:`(B, 2, kH, kW)`.

        Raises:
            ValueError: If one has another shape.
        """
        (h, w), theta = self.image_grid.shape, self.theta_pixels
        check_shape("kappa", kappa, (1, h, w), "that of image_grid")
        if shear is not None:
            check_shape("shear", shear, (2,), "gamma1 and gamma2")
        if beyond is not None:
            check_shape("beyond", beyond, (2, h, w), "x and y on image_grid")
        beta = theta - self.kappa_to_alpha.maps(kappa)
        if shear is not None:
            g1, g2 = shear[..., None, None].unbind(-3)
            x, y = theta[:, 0], theta[:, 1]
            beta = beta - torch.stack((g1 * x + g2 * y, g2 * x - g1 * y), 1)
        if beyond is not None:
            beta = beta - beyond
        # The interpolation is exact for what is linear in position.
        return self.kappa_to_alpha.interpolate(beta)

    def rays(self, mass: Deflector) -> Tensor:
        r"""Traces the rays back through an analytic mass model, or several in many planes.

        Arguments:
            mass: Mass model, its parameters numbers or of shape :math:`(B)`; or a
                :class:`~lensrim.lensing.multi_plane.MultiPlane` of such models.

        Returns:
            Their positions :math:`\beta_x, \beta_y` [arcsec], with shape :math:`(B, 2, kH, kW)`.
        """
        x, y = self.theta[0]
        alpha = stacked_deflection(mass, x, y)
        return self.theta - alpha.reshape(-1, 2, *x.shape)

    def trace(self, source: Tensor, beta: Tensor, source_center: Tensor | None = None) -> Tensor:
        r"""Applies :math:`B A L`, linear in the source, for given rays.

        Arguments:
            source: Surface brightness :math:`s`, with shape :math:`(B, 1, n_y, n_x)`, or several
                maps, :math:`(B, C, n_y, n_x)`, each seen through the same rays.
            beta: Positions of the rays [arcsec], with shape :math:`(B, 2, kH, kW)`.
            source_center: Offset of the source grid [arcsec], with shape :math:`(B, 2)`.

        Returns:
            The noise-free images, with shape :math:`(B, 1, H, W)`, or :math:`(B, C, H, W)`.

        Raises:
            ValueError: If one has another shape.
        """
        check_shape("source", source, (None, *self.source_grid.shape), "that of source_grid")
        self._check_rays(beta, source_center)
        return self.observe(self.source(source, beta, center=source_center))

    def trace_adjoint(
        self, image: Tensor, beta: Tensor, source_center: Tensor | None = None
    ) -> Tensor:
        r"""Applies :math:`L^T A^T B^T`.

        Arguments:
            image: Images, with shape :math:`(B, 1, H, W)`.
            beta, source_center: As for :meth:`trace`.

        Returns:
            Maps on the source's pixels, with shape :math:`(B, 1, n_y, n_x)`.

        Raises:
            ValueError: If one has another shape.
        """
        self._check_image(image)
        self._check_rays(beta, source_center)
        return self.source.adjoint(self._transpose(image), beta, center=source_center)

    def spread(self, image: Tensor, beta: Tensor, source_center: Tensor | None = None) -> Tensor:
        r"""Applies :math:`L^T A^T`: adds pixels up where the source is seen by them.

        Shapes are those of :meth:`trace_adjoint`.

        Raises:
            ValueError: If one has another shape.
        """
        self._check_image(image)
        self._check_rays(beta, source_center)
        return self.source.adjoint(_spread(image, self.subsample), beta, center=source_center)

    def observe(self, surface_brightness: Tensor) -> Tensor:
        r"""Applies :math:`B A` to values at the rays.

        Arguments:
            surface_brightness: The values, with shape :math:`(B, C, kH, kW)`.

        Returns:
            The noise-free images, with shape :math:`(B, C, H, W)`.

        Raises:
            ValueError: If they have another shape.
        """
        image = surface_brightness
        check_shape("surface_brightness", image, (None, *self._fine), "that of the rays")
        if isinstance(self.psf, RayPSF):
            return self.psf(image)
        if self.subsample > 1:
            image = _average(image, self.subsample)
        return image if self.psf is None else self.psf(image)

    @property
    def _fine(self) -> tuple[int, int]:
        h, w = self.image_grid.shape
        return self.subsample * h, self.subsample * w

    def _check_image(self, image: Tensor) -> None:
        check_shape("image", image, (1, *self.image_grid.shape), "that of image_grid")

    def _check_rays(self, beta: Tensor, source_center: Tensor | None) -> None:
        check_shape("beta", beta, (2, *self._fine), "x and y of the rays")
        if source_center is not None:
            check_shape("source_center", source_center, (2,), "x and y")

    def render(self, light: Light, beta: Tensor | None = None) -> Tensor:
        r"""Computes the image of an analytic light profile.

        Arguments:
            light: Light profile, its parameters numbers or of shape :math:`(B)`.
            beta: Rays at which it is seen [arcsec], with shape :math:`(B, 2, kH, kW)`; the
                unlensed ones (light of the lens galaxy) if ``None``.

        Returns:
            The noise-free images, with shape :math:`(B, 1, H, W)`.
        """
        beta = self.theta if beta is None else beta
        # Parameters have the batch as their only dimension, maps a channel after it.
        return self.observe(light.surface_brightness(*beta.unbind(1)).unsqueeze(1))

    def lensed(self, light: Light, mass: Deflector) -> Tensor:
        r"""Computes the image of an analytic light behind an analytic mass.

        It is ``render(light, rays(mass))``. For one lens on a CPU, of models that have shortcuts
        (:class:`~lensrim.lensing.mass.SIE`, :class:`~lensrim.lensing.mass.Shear` and
        :class:`~lensrim.lensing.light.Sersic` and their sums), its gradient takes about a
        tenth less time.

        Arguments:
            light: Light profile, its parameters numbers or of shape :math:`(B)`.
            mass: Mass model, likewise, or many planes of them.

        Returns:
            The noise-free images, with shape :math:`(B, 1, H, W)`.
        """
        brightness = lensed_brightness(light, mass, self.theta[0])
        if brightness is None:
            return self.render(light, self.rays(mass))
        return self.observe(brightness[None, None])

    def _transpose(self, image: Tensor) -> Tensor:
        r"""Applies :math:`A^T B^T` to images with shape :math:`(B, 1, H, W)`."""
        if isinstance(self.psf, RayPSF):
            return self.psf.adjoint(image)
        return _spread(image if self.psf is None else self.psf.adjoint(image), self.subsample)

    def render_points(self, points: PointSource) -> Tensor:
        r"""Computes the image of point sources, with shape :math:`(B, 1, H, W)`.

        A lensed point is at the images that :mod:`~lensrim.lensing.lens_equation` finds, each with
        :math:`|\mu|` times its flux; the result is added to that of what is extended.

        Arguments:
            points: Positions on the sky and fluxes.

        Raises:
            ValueError: If the simulator was not made for points.
        """
        if self.point_psf is None:
            raise ValueError(
                "a simulator sees points where it was made with points=True, got it without"
            )
        return self.point_psf(points)


def _average(fine: Tensor, k: int) -> Tensor:
    """Averages over k x k rays."""
    return _sum_of_slices(fine, k) if only_plain() else _Average.apply(fine, k)


def _sum_of_slices(fine: Tensor, k: int) -> Tensor:
    rows = sum(fine[..., j::k, :] for j in range(1, k)) + fine[..., ::k, :]
    return (sum(rows[..., j::k] for j in range(1, k)) + rows[..., ::k]) / k**2


class _Average(Operation):
    # Sums of slices are several times faster than the pooling of torch, but not their gradient.
    @staticmethod
    def forward(fine: Tensor, k: int) -> Tensor:
        return _sum_of_slices(fine, k)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple, output: Tensor) -> None:
        ctx.k = inputs[1]

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple:
        return _spread(grad, ctx.k), None

    @staticmethod
    def jvp(ctx: Any, d_fine: Tensor, _: None) -> Tensor:
        return _Average.apply(d_fine, ctx.k)


def _spread(image: Tensor, k: int) -> Tensor:
    """Adjoint of the average over k x k rays."""
    if k == 1:
        return image
    return F.interpolate(image / k**2, scale_factor=k, mode="nearest")
