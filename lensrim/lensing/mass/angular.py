r"""Angular structure and the fields of distant mass: multipoles, shear, flexion, mass sheet."""

from dataclasses import dataclass

import torch
from torch import Tensor

from ..shortcut import Member, Quick, shortcut_to
from .base import CORE, Parameter, _maps, _times
from .linear import ShearDeflection


@dataclass(frozen=True)
class Shear(Quick):
    r"""Creates an external shear, :math:`\psi = \gamma_1 (x^2 - y^2) / 2 + \gamma_2 x y`.

    Arguments:
        gamma1, gamma2: Components of the shear, dimensionless.
        center_x, center_y: Point :math:`x = y = 0`, which it does not deflect [arcsec].
    """

    gamma1: Parameter
    gamma2: Parameter
    center_x: Parameter = 0.0
    center_y: Parameter = 0.0

    def shortcuts(self) -> list[Member]:
        place = self.center_x, self.center_y
        return [(ShearDeflection, (self.gamma1, self.gamma2, *place))]

    def _frame(self, x: Tensor, y: Tensor) -> tuple[Tensor, ...]:
        g1, g2, cx, cy = _maps(x, self.gamma1, self.gamma2, self.center_x, self.center_y)
        return g1, g2, x - cx, y - cy

    def convergence(self, x: Tensor, y: Tensor) -> Tensor:
        r"""Returns zero: a shear has no mass inside the map."""
        g1, _, x, y = self._frame(x, y)
        return torch.zeros_like(g1 * x * y)

    def deflection(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        r"""Computes :math:`\alpha = \nabla \psi` [arcsec]."""
        quick = shortcut_to(self, x, y)
        if quick is not None:
            return quick[0], quick[1]
        g1, g2, x, y = self._frame(x, y)
        return g1 * x + g2 * y, g2 * x - g1 * y

    def shear(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        r"""Returns :math:`\gamma_1, \gamma_2`, the same everywhere."""
        g1, g2, x, y = self._frame(x, y)
        nothing = torch.zeros_like(g1 * x * y)
        return g1 + nothing, g2 + nothing

    def potential(self, x: Tensor, y: Tensor) -> Tensor:
        r"""Computes :math:`\psi` [arcsec²]."""
        g1, g2, x, y = self._frame(x, y)
        return g1 * (x**2 - y**2) / 2 + g2 * x * y


@dataclass(frozen=True)
class MassSheet:
    r"""Creates a uniform sheet of mass, :math:`\psi = \kappa_0 |\theta - \theta_0|^2 / 2`.

    Arguments:
        kappa: Convergence :math:`\kappa_0`.
        center_x, center_y: Point :math:`\theta_0` that it does not deflect [arcsec].
    """

    kappa: Parameter
    center_x: Parameter = 0.0
    center_y: Parameter = 0.0

    def _frame(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        kappa, cx, cy = _maps(x, self.kappa, self.center_x, self.center_y)
        return kappa, x - cx, y - cy

    def convergence(self, x: Tensor, y: Tensor) -> Tensor:
        r"""Returns :math:`\kappa_0`, the same everywhere."""
        kappa, x, y = self._frame(x, y)
        return kappa + torch.zeros_like(x * y)

    def deflection(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        r"""Computes :math:`\alpha = \nabla \psi` [arcsec]."""
        kappa, x, y = self._frame(x, y)
        return kappa * x, kappa * y

    def shear(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        r"""Returns zero: a uniform sheet has no shear."""
        kappa, x, y = self._frame(x, y)
        return torch.zeros_like(kappa * x * y), torch.zeros_like(kappa * x * y)

    def potential(self, x: Tensor, y: Tensor) -> Tensor:
        r"""Computes :math:`\psi` [arcsec²]."""
        kappa, x, y = self._frame(x, y)
        return kappa * (x**2 + y**2) / 2


@dataclass(frozen=True)
class Flexion:
    r"""Creates the gradient of an external convergence and shear.

    .. math:: \psi = \frac{1}{6} \left(
              g_1 x^3 + 3 g_2 x^2 y + 3 g_3 x y^2 + g_4 y^3 \right)

    about the centre, so that :math:`g_1 \ldots g_4` are :math:`\psi_{xxx}, \psi_{xxy}, \psi_{xyy},
    \psi_{yyy}`. It has no mass inside the map if :math:`g_3 = - g_1` and :math:`g_4 = - g_2`.

    Arguments:
        g1, g2, g3, g4: Third derivatives of the potential [1 / arcsec].
        center_x, center_y: Origin of the expansion [arcsec].

    References:
        Bacon+ 2006, MNRAS 365, 414; the same as lenstronomy's ``FLEXION``.
    """

    g1: Parameter
    g2: Parameter
    g3: Parameter
    g4: Parameter
    center_x: Parameter = 0.0
    center_y: Parameter = 0.0

    def _hessian(self, x: Tensor, y: Tensor):
        """Returns the offsets and the second derivatives xx, xy, yy of the potential."""
        g1, g2, g3, g4 = _maps(x, self.g1, self.g2, self.g3, self.g4)
        cx, cy = _maps(x, self.center_x, self.center_y)
        x, y = x - cx, y - cy
        return x, y, g1 * x + g2 * y, g2 * x + g3 * y, g3 * x + g4 * y

    def convergence(self, x: Tensor, y: Tensor) -> Tensor:
        r"""Computes :math:`\kappa`, dimensionless."""
        *_, xx, _, yy = self._hessian(x, y)
        return (xx + yy) / 2

    def deflection(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        r"""Computes :math:`\alpha = \nabla \psi` [arcsec]."""
        x, y, xx, xy, yy = self._hessian(x, y)
        return (xx * x + xy * y) / 2, (xy * x + yy * y) / 2

    def shear(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        r"""Computes :math:`\gamma_1 = (\psi_{xx} - \psi_{yy})/2`, :math:`\gamma_2 = \psi_{xy}`."""
        *_, xx, xy, yy = self._hessian(x, y)
        return (xx - yy) / 2, xy

    def potential(self, x: Tensor, y: Tensor) -> Tensor:
        r"""Computes :math:`\psi` [arcsec²]."""
        x, y, xx, xy, yy = self._hessian(x, y)
        return (xx * x**2 + 2 * xy * x * y + yy * y**2) / 6


@dataclass(frozen=True)
class Multipole:
    r"""Creates angular structure of order :math:`m \geq 1` on an isothermal profile.

    .. math::
        \kappa = \frac{a_m \cos m\varphi + b_m \sin m\varphi}{2 r} , \qquad
        \psi = \begin{cases}
        r \, (a_m \cos m\varphi + b_m \sin m\varphi) / (1 - m^2) & m \geq 2 \\
        r \, (a_1 \cos \varphi + b_1 \sin \varphi) \ln(r / r_E) / 2 & m = 1
        \end{cases}

    A multipole of order 1 adds a uniform deflection that depends on :math:`r_E`; no observation
    can tell it from a shift of the source.

    Arguments:
        m: Order.
        a, b: Amplitudes :math:`a_m, b_m` [arcsec]; divided by :math:`\theta_E`, the relative
            departure of the iso-density contours from a circle.
        center_x, center_y: Centre [arcsec].
        r_E: Radius :math:`r_E` of vanishing potential [arcsec]; for :math:`m = 1` alone.

    Raises:
        ValueError: If the order is less than 1.

    References:
        Chu+ 2013, ApJ 765, 134; Xu+ 2015, MNRAS 447, 3189; as lenstronomy's ``MULTIPOLE``.
    """

    m: int
    a: Parameter
    b: Parameter
    center_x: Parameter = 0.0
    center_y: Parameter = 0.0
    r_E: Parameter = 1.0

    def __post_init__(self) -> None:
        if self.m < 1:
            raise ValueError(f"the order m must be at least 1, got {self.m}: use MassSheet or SIS")

    def _frame(self, x: Tensor, y: Tensor):
        """Returns the distance, its direction, and the wave in phase and a quarter ahead."""
        a, b, cx, cy = _maps(x, self.a, self.b, self.center_x, self.center_y)
        x, y = x - cx, y - cy
        r = (x**2 + y**2 + CORE**2).sqrt()
        unit = (x / r, y / r)
        cos, sin = unit
        for _ in range(self.m - 1):
            cos, sin = _times((cos, sin), unit)
        return r, unit, a * cos + b * sin, b * cos - a * sin

    def _log(self, r: Tensor) -> Tensor:
        (r_E,) = _maps(r, self.r_E)
        return (r / r_E).log()

    def convergence(self, x: Tensor, y: Tensor) -> Tensor:
        r"""Computes :math:`\kappa`, dimensionless."""
        r, _, wave, _ = self._frame(x, y)
        return wave / (2 * r)

    def deflection(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        r"""Computes :math:`\alpha = \nabla \psi` [arcsec]."""
        r, unit, wave, turned = self._frame(x, y)
        if self.m == 1:  # (a, b) / 2 times the logarithm, without a way through the angle
            a, b, log = *_maps(x, self.a, self.b), self._log(r)
            return (a * log + wave * unit[0]) / 2, (b * log + wave * unit[1]) / 2
        norm = 1 / (1 - self.m**2)
        return _times((norm * wave, norm * self.m * turned), unit)

    def shear(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        r"""Computes :math:`\gamma_1 = (\psi_{xx} - \psi_{yy})/2`, :math:`\gamma_2 = \psi_{xy}`."""
        r, unit, wave, _ = self._frame(x, y)
        cos, sin = _times(unit, unit)
        g1, g2 = -wave * cos, -wave * sin
        if self.m == 1:
            h1, h2 = _times(_maps(x, self.a, self.b), unit)  # type: ignore[arg-type]
            g1, g2 = g1 + h1, g2 + h2
        return g1 / (2 * r), g2 / (2 * r)

    def potential(self, x: Tensor, y: Tensor) -> Tensor:
        r"""Computes :math:`\psi` [arcsec²]."""
        r, _, wave, _ = self._frame(x, y)
        return r * wave * (self._log(r) / 2 if self.m == 1 else 1 / (1 - self.m**2))
