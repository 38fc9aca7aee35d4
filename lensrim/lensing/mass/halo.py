r"""Round haloes and bulges with a scale radius: NFW, truncated NFW, Hernquist; and a point mass.

With :math:`X = r / r_s` all of them are made of

.. math:: F(X) = \frac{\arctan \sqrt{X^2 - 1}}{\sqrt{X^2 - 1}} , \qquad
          G = \frac{1 - F}{X^2 - 1} , \qquad N = \frac{F + \ln (X / 2)}{X^2} , \qquad
          P = \ln^2 (X / 2) + (X^2 - 1) \, F^2 \, ,

which are smooth at :math:`X = 1`, where :math:`G = 1/3`, and finite or logarithmic at :math:`X =
0`. They are evaluated so that nothing cancels at either place; see :mod:`~.nfw_functions`.
Densities are normalised by a convergence, not by a mass: no cosmology is needed.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from .base import Circular, Parameter, _maps
from .nfw_functions import NFWFunctions, TruncatedFunctions


@dataclass(frozen=True)
class PointMass(Circular):
    r"""Creates a point mass.

    .. math:: \alpha = \theta_E^2 \, \hat r / r , \qquad \psi = \theta_E^2 \ln r

    The convergence is zero: the mass itself, at the centre, is in no map.

    Arguments:
        theta_E: Einstein radius [arcsec].
        center_x, center_y: Centre [arcsec].
    """

    theta_E: Parameter
    center_x: Parameter = 0.0
    center_y: Parameter = 0.0

    def _kappa(self, r: Tensor) -> Tensor:
        (theta_E,) = _maps(r, self.theta_E)
        return torch.zeros_like(theta_E * r)

    def _mean(self, r: Tensor) -> Tensor:
        (theta_E,) = _maps(r, self.theta_E)
        return (theta_E / r) ** 2

    def _psi(self, r: Tensor) -> Tensor:
        (theta_E,) = _maps(r, self.theta_E)
        return theta_E**2 * r.log()


@dataclass(frozen=True)
class NFW(Circular):
    r"""Creates the halo of Navarro, Frenk & White.

    .. math:: \rho = \frac{\rho_s}{(r / r_s) (1 + r / r_s)^2} , \qquad
              \kappa = 2 \kappa_s G , \qquad \alpha = 4 \kappa_s N \, r , \qquad
              \psi = 2 \kappa_s r_s^2 P

    Arguments:
        kappa_s: Characteristic convergence :math:`\kappa_s = \rho_s r_s / \Sigma_{cr}`; the
            deflection at :math:`r_s` is :math:`4 \kappa_s r_s (1 - \ln 2)`, lenstronomy's
            ``alpha_Rs``.
        r_s: Scale radius [arcsec].
        center_x, center_y: Centre [arcsec].

    References:
        Navarro, Frenk & White 1997, ApJ 490, 493; Bartelmann 1996, A&A 313, 697.
    """

    kappa_s: Parameter
    r_s: Parameter
    center_x: Parameter = 0.0
    center_y: Parameter = 0.0

    def _scaled(self, r: Tensor) -> tuple[Tensor, Tensor, NFWFunctions]:
        kappa_s, r_s = _maps(r, self.kappa_s, self.r_s)
        return kappa_s, r_s, NFWFunctions(r / r_s)

    def _kappa(self, r: Tensor) -> Tensor:
        kappa_s, _, f = self._scaled(r)
        return 2 * kappa_s * f.G()

    def _mean(self, r: Tensor) -> Tensor:
        kappa_s, _, f = self._scaled(r)
        return 4 * kappa_s * f.N()

    def _psi(self, r: Tensor) -> Tensor:
        kappa_s, r_s, f = self._scaled(r)
        return 2 * kappa_s * r_s**2 * f.P()


@dataclass(frozen=True)
class TNFW(Circular):
    r"""Creates a smoothly truncated NFW halo of finite mass.

    .. math:: \rho = \frac{\rho_s}{(r / r_s) (1 + r / r_s)^2} \, \frac{r_t^2}{r_t^2 + r^2}

    With :math:`\tau = r_t / r_s \to \infty` it is the :class:`NFW`.

    Arguments:
        kappa_s: Characteristic convergence :math:`\rho_s r_s / \Sigma_{cr}`, as for :class:`NFW`.
        r_s: Scale radius [arcsec].
        r_t: Truncation radius [arcsec].
        center_x, center_y: Centre [arcsec].

    References:
        Baltz, Marshall & Oguri 2009, JCAP 01, 015, appendix A, with n = 1.
    """

    kappa_s: Parameter
    r_s: Parameter
    r_t: Parameter
    center_x: Parameter = 0.0
    center_y: Parameter = 0.0

    def _scaled(self, r: Tensor) -> tuple[Tensor, Tensor, TruncatedFunctions]:
        kappa_s, r_s, r_t = _maps(r, self.kappa_s, self.r_s, self.r_t)
        tau = r_t / r_s
        return kappa_s * (tau / (1 + tau**2)) ** 2, r_s, TruncatedFunctions(r / r_s, tau)

    def _kappa(self, r: Tensor) -> Tensor:
        scale, _, f = self._scaled(r)
        return 2 * scale * f.convergence()

    def _mean(self, r: Tensor) -> Tensor:
        scale, _, f = self._scaled(r)
        return 4 * scale * f.mean()

    def _psi(self, r: Tensor) -> Tensor:
        scale, r_s, f = self._scaled(r)
        return 2 * scale * r_s**2 * f.potential()

    def total_mass(self) -> Parameter:
        r"""Computes the mass, in units of the critical density [arcsec²].

        .. math:: M = 4 \pi \kappa_s r_s^2 \, \frac{\tau^2}{(\tau^2 + 1)^2}
                  \left( (\tau^2 - 1) \ln \tau + \pi \tau - \tau^2 - 1 \right)
        """
        tau = torch.as_tensor(self.r_t) / self.r_s
        shape = (tau**2 - 1) * tau.log() + math.pi * tau - tau**2 - 1
        return 4 * math.pi * self.kappa_s * self.r_s**2 * (tau / (1 + tau**2)) ** 2 * shape


@dataclass(frozen=True)
class Hernquist(Circular):
    r"""Creates the bulge of Hernquist.

    .. math:: \rho \propto \frac{1}{(r / r_s) (1 + r / r_s)^3} , \qquad
              \kappa = \sigma_0 \, \frac{(2 + X^2) F - 3}{(X^2 - 1)^2} , \qquad
              \alpha = 2 \sigma_0 G \, r , \qquad \psi = 2 \sigma_0 r_s^2 X^2 N

    Its mass is :math:`2 \pi \sigma_0 r_s^2` in units of the critical density.

    Arguments:
        sigma_0: Characteristic convergence :math:`\sigma_0 = \rho_s r_s / \Sigma_{cr}`; the
            convergence at :math:`r_s` is :math:`4 \sigma_0 / 15`.
        r_s: Scale radius [arcsec]; half of the projected mass is within :math:`1.815 \, r_s`.
        center_x, center_y: Centre [arcsec].

    References:
        Hernquist 1990, ApJ 356, 359; Keeton 2001, arXiv:astro-ph/0102341, equations 47 to 50.
    """

    sigma_0: Parameter
    r_s: Parameter
    center_x: Parameter = 0.0
    center_y: Parameter = 0.0

    def _scaled(self, r: Tensor) -> tuple[Tensor, Tensor, NFWFunctions]:
        sigma_0, r_s = _maps(r, self.sigma_0, self.r_s)
        return sigma_0, r_s, NFWFunctions(r / r_s)

    def _kappa(self, r: Tensor) -> Tensor:
        sigma_0, _, f = self._scaled(r)
        return sigma_0 * f.H()

    def _mean(self, r: Tensor) -> Tensor:
        sigma_0, _, f = self._scaled(r)
        return 2 * sigma_0 * f.G()

    def _psi(self, r: Tensor) -> Tensor:
        sigma_0, r_s, f = self._scaled(r)
        return 2 * sigma_0 * r_s**2 * f.x**2 * f.N()
