r"""Stellar mass that follows a Sersic profile, constant on ellipses.

A thin elliptical ring deflects nothing inside, and outside as if its mass were spread between its
foci. Summed over the ellipses inside the one through :math:`z = x + i y`, whose radius is
:math:`R(z)`,

.. math::
    \bar\alpha = \frac{2}{z} \int_0^R \frac{\kappa(R') \, R' \, dR'}{\sqrt{1 - \rho \, p^2}} ,
    \qquad p = \frac{R'}{R} , \qquad
    \rho = \frac{4 \epsilon}{1 - |\epsilon|^2} \, \frac{R^2}{z^2} \, ,

exact for every :math:`\epsilon`, 0 included. Along the ray through :math:`z` it integrates to

.. math::
    \psi = 2 \, \mathrm{Re} \int_0^R \kappa(R') \, R' \, \left[
    \ln \frac{1 + \sqrt{1 - \rho p^2}}{1 + \sqrt{1 - \rho}} - \ln p \right] dR' \, .

The integrals are sums over 64 points in :math:`(R' / R_\mathrm{sersic})^{1 / n}`, placed for a
relative error below 1e-7 at :math:`0.5 \leq n \leq 10` and :math:`q \geq 0.3`; their derivatives,
and so the gradients, are as accurate. A map takes the memory of some 64 maps.

References:
    Bourassa & Kantowski 1975, ApJ 195, 13; Bray 1984, MNRAS 208, 511 (elliptical rings).
"""

from dataclasses import dataclass

import torch
from numpy.polynomial.legendre import leggauss
from torch import Tensor

from .base import CORE, Parameter, _maps, _over, _square_root, _times

NODES = 64
"""Points of the quadrature."""

Complex = tuple[Tensor, Tensor]
"""Real and imaginary part."""


def _quadrature() -> tuple[list[float], list[float]]:
    """Makes points in (0, 1) and weights of sum 1, dense at both ends.

    Gauss-Legendre points of s with t = s^3 (10 - 15 s + 6 s^2): the smooth step takes the edge off
    the power of t at 0 and off the branch points of the ellipses beyond 1.
    """
    s, weights = leggauss(NODES)
    s = (s + 1) / 2
    points = s**3 * (10 - 15 * s + 6 * s**2)
    return points.tolist(), (15 * weights * s**2 * (1 - s) ** 2).tolist()


_RULE = _quadrature()


@dataclass(frozen=True)
class SersicMass:
    r"""Creates a Sersic profile of mass, elliptical in the convergence.

    .. math:: \kappa = \kappa_e \exp \left( - b_n \left(
              (R / R_\mathrm{sersic})^{1/n} - 1 \right) \right)

    Arguments:
        kappa_e: Convergence :math:`\kappa_e` at ``R_sersic``.
        R_sersic: Half-mass radius, product-average [arcsec].
        n_sersic: Index :math:`n`, from 0.5 to 10.
        e1, e2: Ellipticity.
        center_x, center_y: Centre [arcsec].

    References:
        Cardone 2004, A&A 415, 839. lenstronomy's ``SERSIC`` is the round case, but for its
        :math:`b_n = 1.9992 n - 0.3271`.
    """

    kappa_e: Parameter
    R_sersic: Parameter
    n_sersic: Parameter
    e1: Parameter = 0.0
    e2: Parameter = 0.0
    center_x: Parameter = 0.0
    center_y: Parameter = 0.0

    def convergence(self, x: Tensor, y: Tensor) -> Tensor:
        r"""Computes :math:`\kappa`, dimensionless."""
        return _Ellipses(self, x, y).kappa()

    def deflection(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        r"""Computes :math:`\alpha = \nabla \psi` [arcsec]."""
        f = _Ellipses(self, x, y)
        mass, log_p = f.rings()
        ix, iy = _over((mass, torch.zeros_like(mass)), f.root(log_p))
        ax, ay = _times(f.inverse, (2 * ix.sum(0), 2 * iy.sum(0)))
        return ax, -ay

    def shear(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        r"""Computes :math:`\gamma_1 = (\psi_{xx} - \psi_{yy}) / 2`, :math:`\gamma_2 = \psi_{xy}`.

        The derivative of :math:`\bar\alpha` with respect to :math:`z`: the ring through the point,
        and the integral with the power -3/2 of its root.
        """
        f = _Ellipses(self, x, y)
        mass, log_p = f.rings()
        root = f.root(log_p)
        cube = _times(root, _times(root, root))
        ix, iy = _over((mass, torch.zeros_like(mass)), cube)
        inner = _times(_times(f.inverse, f.inverse), (2 * ix.sum(0), 2 * iy.sum(0)))
        kappa, (sx, sy) = f.kappa(), f.edge
        size2 = sx**2 + sy**2 + CORE**2
        g1 = kappa * (sx**2 - sy**2) / size2 - inner[0]
        return g1, kappa * 2 * sx * sy / size2 + inner[1]

    def potential(self, x: Tensor, y: Tensor) -> Tensor:
        r"""Computes :math:`\psi`, zero at the centre [arcsec²]."""
        f = _Ellipses(self, x, y)
        mass, log_p = f.rings()
        (rx, ry), (ox, oy) = f.root(log_p), f.root(torch.zeros_like(log_p[:1]))
        logs = (((1 + rx) ** 2 + ry**2) / ((1 + ox) ** 2 + oy**2)).log() / 2
        return 2 * (mass * (logs - log_p)).sum(0)


class _Ellipses:
    """Holds the ellipse through each point, and lays the rings inside it."""

    def __init__(self, mass: SersicMass, x: Tensor, y: Tensor) -> None:
        from ..light import sersic_b  # here, as that module imports this package

        self.kappa_e, self.scale, self.n, e1, e2, cx, cy = _maps(
            x,
            mass.kappa_e,
            mass.R_sersic,
            mass.n_sersic,
            mass.e1,
            mass.e2,
            mass.center_x,
            mass.center_y,
        )
        self.b = sersic_b(self.n)
        x, y = x - cx, y - cy
        rest = 1 - e1**2 - e2**2
        wx, wy = x - e1 * x - e2 * y, y + e1 * y - e2 * x
        r2 = (wx**2 + wy**2) / rest + CORE**2
        # the logarithm of (R / R_sersic)^(1 / n)
        self.log_y = (r2.log() / 2 - self.scale.log()) / self.n
        z2 = x**2 + y**2 + CORE**2
        self.inverse: Complex = x / z2, -y / z2
        fx, fy = _times((e1, e2), _times(self.inverse, self.inverse))
        self.rho: Complex = 4 * r2 / rest * fx, 4 * r2 / rest * fy
        # z sqrt(1 - rho), which is (w - e conj(w)) / (1 - |e|^2); its scale does not matter
        self.edge: Complex = wx - e1 * wx - e2 * wy, wy + e1 * wy - e2 * wx

    def kappa(self) -> Tensor:
        return self.kappa_e * torch.exp(-self.b * (self.log_y.exp() - 1))

    def rings(self) -> tuple[Tensor, Tensor]:
        """Returns kappa R' dR' and ln p of the rings, along a new first dimension."""
        points, weights = (
            torch.tensor(a, dtype=self.log_y.dtype, device=self.log_y.device).reshape(
                -1, *[1] * self.log_y.ndim
            )
            for a in _RULE
        )
        # where next to nothing of the profile is left
        most = ((36 + 6 * self.n) / self.b).log()
        log_end = torch.minimum(self.log_y, most)
        log_t = points.log()
        exponent = self.b * (1 - points * log_end.exp())
        exponent = exponent + 2 * self.n * log_end + (2 * self.n - 1) * log_t
        mass = self.n * self.scale**2 * self.kappa_e * weights * exponent.exp()
        return mass, self.n * (log_t + log_end - self.log_y)

    def root(self, log_p: Tensor) -> Complex:
        """Computes the root of 1 - rho p^2."""
        p2 = (2 * log_p).exp()
        return _square_root((1 - self.rho[0] * p2, -self.rho[1] * p2))
