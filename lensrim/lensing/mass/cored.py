r"""Isothermal ellipsoids with a core, and truncated ones.

With :math:`R^2 = |w|^2 / (1 - |\epsilon|^2)` (see :mod:`lensrim.lensing.mass`) and
:math:`G = \sqrt{s^2 + R^2}`, a core of radius :math:`s` turns the isothermal ellipsoid into

.. math::
    \kappa = \frac{\theta_E}{2 G} , \qquad
    \alpha = \theta_E \, \frac{w}{G + s} \, A(X) , \qquad
    X = \frac{\bar\epsilon}{1 - |\epsilon|^2} \, \frac{w^2}{(G + s)^2} , \qquad
    A(X) = \frac{\arctan \sqrt X}{\sqrt X} = \sum_{n \geq 0} \frac{(-X)^n}{2 n + 1} \, .

As :math:`|X| \leq |\epsilon|` the series converges everywhere as :math:`|\epsilon|^n`, and no
quantity is singular for :math:`s > 0` or at :math:`q = 1`.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from .base import CORE, Parameter, _maps, _over, _times
from .series import Complex, power_series


class _Frame:
    """Holds what the formulas of one core radius share."""

    def __init__(self, mass: "NIE | DPIE", core: Parameter, x: Tensor, y: Tensor) -> None:
        self.core, e1, e2, cx, cy = _maps(x, core, mass.e1, mass.e2, mass.center_x, mass.center_y)
        self.x, self.y = x, y = x - cx, y - cy
        self.e, self.e_squared = (e1, e2), e1**2 + e2**2
        self.w = wx, wy = x - e1 * x - e2 * y, y + e1 * y - e2 * x
        r2 = (wx**2 + wy**2) / (1 - self.e_squared)
        self.G = (self.core**2 + r2 + CORE**2).sqrt()
        self.ratio = wx / (self.G + self.core), wy / (self.G + self.core)

    def argument(self, a: Complex, b: Complex) -> Complex:
        """Multiplies two ratios and the conjugate ellipticity: X, if both are the ratio."""
        e = self.e[0] / (1 - self.e_squared), -self.e[1] / (1 - self.e_squared)
        return _times(e, _times(a, b))

    def shear(self) -> Complex:
        """Differentiates the deflection, for an Einstein radius of 1."""
        outer = self.G + self.core
        wx, wy = self.w
        ex, ey = _times(self.e, (wx, -wy))
        sx, sy = _times(self.w, (wx - ex, wy - ey))
        scale = 2 * (1 - self.e_squared) * self.G * outer**2
        px, py = self.argument(self.ratio, self.ratio)
        bracket = (-self.e[0] / outer - sx / scale, -self.e[1] / outer - sy / scale)
        return _over(bracket, (1 + px, py))

    def logarithm(self) -> Tensor:
        """Computes what the core takes from the potential, for an Einstein radius of 1."""
        s = self.core
        flat = 2 * s**2 * (1 + self.e_squared) / (1 - self.e_squared)
        return s / 2 * (self.x**2 + self.y**2 + 2 * self.G * s + flat + CORE**2).log()


def _arctan_over_root(z: Complex, terms: int) -> Complex:
    """Sums the series of A(X)."""
    n = torch.arange(terms, dtype=z[0].dtype, device=z[0].device)
    coefficients = (1 - 2 * (n % 2)) / (2 * n + 1)
    return power_series(z, coefficients[:, None, None])


@dataclass(frozen=True)
class NIE:
    r"""Creates an isothermal ellipsoid with a core.

    .. math:: \kappa = \frac{\theta_E}{2 \sqrt{s^2 + R^2}}

    where :math:`R^2 = q x'^2 + y'^2 / q`. With :math:`s = 0` it is the :class:`SIE`.

    Arguments:
        theta_E: Einstein radius :math:`\theta_E` it would have without the core, on the
            intermediate axis [arcsec].
        core: Core radius :math:`s`, on the intermediate axis [arcsec].
        e1, e2: Ellipticity.
        center_x, center_y: Centre [arcsec].
        terms: Terms of the series; 32 leave 1e-7 of the deflection at :math:`q = 0.25`.

    References:
        Kormann, Schneider & Bartelmann 1994, A&A 284, 285; Keeton & Kochanek 1998, ApJ 495, 157;
        the same as lenstronomy's ``NIE``.
    """

    theta_E: Parameter
    core: Parameter
    e1: Parameter = 0.0
    e2: Parameter = 0.0
    center_x: Parameter = 0.0
    center_y: Parameter = 0.0
    terms: int = 32

    def convergence(self, x: Tensor, y: Tensor) -> Tensor:
        r"""Computes :math:`\kappa`, dimensionless."""
        (theta_E,) = _maps(x, self.theta_E)
        return theta_E / 2 / _Frame(self, self.core, x, y).G

    def deflection(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        r"""Computes :math:`\alpha = \nabla \psi` [arcsec]."""
        (theta_E,) = _maps(x, self.theta_E)
        f = _Frame(self, self.core, x, y)
        ax, ay = _times(f.ratio, _arctan_over_root(f.argument(f.ratio, f.ratio), self.terms))
        return theta_E * ax, theta_E * ay

    def shear(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        r"""Computes :math:`\gamma_1 = (\psi_{xx} - \psi_{yy})/2`, :math:`\gamma_2 = \psi_{xy}`."""
        (theta_E,) = _maps(x, self.theta_E)
        g1, g2 = _Frame(self, self.core, x, y).shear()
        return theta_E * g1, theta_E * g2

    def potential(self, x: Tensor, y: Tensor) -> Tensor:
        r"""Computes :math:`\psi` up to a constant [arcsec²]."""
        (theta_E,) = _maps(x, self.theta_E)
        f = _Frame(self, self.core, x, y)
        ax, ay = self.deflection(x, y)
        return f.x * ax + f.y * ay - theta_E * f.logarithm()


@dataclass(frozen=True)
class DPIE:
    r"""Creates a dual pseudo-isothermal ellipsoid, the pseudo-Jaffe profile with a core.

    .. math:: \kappa = \frac{\theta_E}{2} \left( \frac{1}{\sqrt{c^2 + R^2}}
                       - \frac{1}{\sqrt{t^2 + R^2}} \right)

    the difference of two :class:`NIE`: flat inside the core :math:`c`, isothermal up to the
    truncation :math:`t`, and :math:`\propto R^{-3}` beyond. Its mass is :math:`\pi \theta_E
    (t - c)` in units of the critical density. Lenstool calls it PIEMD.

    Arguments:
        theta_E: Einstein radius :math:`\theta_E` it would have without core and truncation, on
            the intermediate axis [arcsec]; :math:`2 \sigma_0 c t / (t - c)` in the terms of
            lenstronomy's ``PJAFFE``, which is the round case.
        core: Core radius :math:`c` [arcsec].
        truncation: Truncation radius :math:`t`, larger than the core [arcsec].
        e1, e2: Ellipticity.
        center_x, center_y: Centre [arcsec].
        terms: Terms of the series; 32 leave 1e-7 of the deflection at :math:`q = 0.25`.

    References:
        Kassiola & Kovner 1993, ApJ 417, 450; Eliasdottir+ 2007, arXiv:0710.5636, appendix A.
    """

    theta_E: Parameter
    core: Parameter
    truncation: Parameter
    e1: Parameter = 0.0
    e2: Parameter = 0.0
    center_x: Parameter = 0.0
    center_y: Parameter = 0.0
    terms: int = 32

    def _parts(self, x: Tensor, y: Tensor):
        c, t = _maps(x, self.core, self.truncation)
        inner, outer = _Frame(self, self.core, x, y), _Frame(self, self.truncation, x, y)
        # G_t - G_c without the cancellation far out
        return *_maps(x, self.theta_E), c, t, inner, outer, (t**2 - c**2) / (inner.G + outer.G)

    def convergence(self, x: Tensor, y: Tensor) -> Tensor:
        r"""Computes :math:`\kappa`, dimensionless."""
        theta_E, _, _, inner, outer, wider = self._parts(x, y)
        return theta_E / 2 * wider / (inner.G * outer.G)

    def deflection(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        r"""Computes :math:`\alpha = \nabla \psi` [arcsec]."""
        theta_E, c, t, inner, outer, wider = self._parts(x, y)
        # arctan a - arctan b = arctan (a - b) / (1 + a b): accurate however far from the centre
        size = (wider + t - c) / ((inner.G + c) * (outer.G + t))
        px, py = inner.argument(inner.ratio, outer.ratio)
        difference = _over((size * inner.w[0], size * inner.w[1]), (1 + px, py))
        series = _arctan_over_root(inner.argument(difference, difference), self.terms)
        ax, ay = _times(difference, series)
        return theta_E * ax, theta_E * ay

    def shear(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        r"""Computes :math:`\gamma_1 = (\psi_{xx} - \psi_{yy})/2`, :math:`\gamma_2 = \psi_{xy}`."""
        theta_E, _, _, inner, outer, _ = self._parts(x, y)
        (a1, a2), (b1, b2) = inner.shear(), outer.shear()
        return theta_E * (a1 - b1), theta_E * (a2 - b2)

    def potential(self, x: Tensor, y: Tensor) -> Tensor:
        r"""Computes :math:`\psi` up to a constant [arcsec²]."""
        theta_E, _, _, inner, outer, _ = self._parts(x, y)
        ax, ay = self.deflection(x, y)
        logarithms = inner.logarithm() - outer.logarithm()
        return inner.x * ax + inner.y * ay - theta_E * logarithms
