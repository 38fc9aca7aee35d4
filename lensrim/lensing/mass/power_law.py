r"""Power laws: the elliptical power law and its isothermal and round cases."""

from dataclasses import dataclass

import torch
from torch import Tensor

from ..shortcut import Member, Quick, shortcut_to
from .base import CORE, Circular, Parameter, _maps, _times
from .isothermal import IsothermalDeflection, along_axes, edge_of
from .series import power_series


@dataclass(frozen=True)
class EPL:
    r"""Creates an elliptical power law.

    With :math:`t = \gamma - 1` and :math:`b = \theta_E \sqrt{1 - |\epsilon|^2}`,

    .. math::
        \kappa = \frac{2 - t}{2} \left(\frac{b}{|w|}\right)^t , \qquad
        \alpha = b \left(\frac{b}{|w|}\right)^{t - 1} \frac{w}{|w|} \sum_{n \geq 0} \Omega_n ,
        \qquad \Omega_n = - \frac{2 n - (2 - t)}{2 n + (2 - t)} \, \bar\epsilon \,
        \frac{w^2}{|w|^2} \, \Omega_{n - 1} , \quad \Omega_0 = 1 \, ,

    and :math:`\psi = (x \alpha_x + y \alpha_y) / (2 - t)`. The series converges as
    :math:`|\epsilon|^n`.

    Arguments:
        theta_E: Einstein radius :math:`\theta_E` on the intermediate axis [arcsec].
        gamma: Three-dimensional slope :math:`\gamma`, between 1 and 3 (both excluded).
        e1, e2: Ellipticity.
        center_x, center_y: Centre [arcsec].
        terms: Terms of the series; 32 leave 1e-7 of the deflection at :math:`q = 0.25`.

    References:
        Tessore & Metcalf 2015, A&A 580, A79 (here with the rotation absorbed in :math:`\epsilon`).
    """

    theta_E: Parameter
    gamma: Parameter
    e1: Parameter
    e2: Parameter
    center_x: Parameter = 0.0
    center_y: Parameter = 0.0
    terms: int = 32

    def _frame(self, x: Tensor, y: Tensor):
        theta_E, t, e1, e2, cx, cy = _maps(
            x, self.theta_E, self.gamma, self.e1, self.e2, self.center_x, self.center_y
        )
        x, y, t = x - cx, y - cy, t - 1
        b = theta_E * (1 - e1**2 - e2**2).sqrt()
        wx, wy = x - e1 * x - e2 * y, y + e1 * y - e2 * x
        r = (wx**2 + wy**2 + CORE**2).sqrt()
        return x, y, t, e1, e2, b, wx / r, wy / r, b / r

    def convergence(self, x: Tensor, y: Tensor) -> Tensor:
        r"""Computes :math:`\kappa`, dimensionless."""
        *_, t, _, _, _, _, _, ratio = self._frame(x, y)
        return (2 - t) / 2 * ratio**t

    def deflection(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        r"""Computes :math:`\alpha = \nabla \psi` [arcsec]."""
        *_, t, e1, e2, b, ux, uy, ratio = self._frame(x, y)
        # The series is a polynomial in epsilon-bar times exp(2 i angle of w).
        z = _times((e1, -e2), (ux**2 - uy**2, 2 * ux * uy))
        even = 2 * torch.arange(1, self.terms, dtype=x.dtype, device=x.device)
        even = even.reshape(-1, *[1] * t.ndim)
        # Products of ratios between 0 and 1, all at once, with alternating signs.
        size = ((even - (2 - t)) / (even + (2 - t))).log().cumsum(0).exp()
        first = torch.ones_like(t)[None]
        sx, sy = power_series(z, torch.cat((first, size * (1 - even % 4))))
        scale = b * ratio ** (t - 1)
        ax, ay = _times((ux, uy), (sx, sy))
        return scale * ax, scale * ay

    def shear(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        r"""Computes :math:`\gamma_1 = (\psi_{xx} - \psi_{yy}) / 2`, :math:`\gamma_2 = \psi_{xy}`.

        The deflection is homogeneous of degree :math:`1 - t`, so that Euler's theorem gives its
        derivatives from itself and :math:`\kappa`.
        """
        dx, dy, t, *_, ratio = self._frame(x, y)
        kappa = (2 - t) / 2 * ratio**t
        ax, ay = self.deflection(x, y)
        px, py = (1 - t) * ax - kappa * dx, (1 - t) * ay - kappa * dy
        r2 = dx**2 + dy**2 + CORE**2
        return (dx * px - dy * py) / r2, (dy * px + dx * py) / r2

    def potential(self, x: Tensor, y: Tensor) -> Tensor:
        r"""Computes :math:`\psi` [arcsec²]."""
        dx, dy, t, *_ = self._frame(x, y)
        ax, ay = self.deflection(x, y)
        return (dx * ax + dy * ay) / (2 - t)


@dataclass(frozen=True)
class SIE(Quick):
    r"""Creates a singular isothermal ellipsoid.

    .. math::
        \kappa = \frac{\theta_E \sqrt{1 - |\epsilon|^2}}{2 |w|} , \qquad
        \alpha = \frac{\theta_E \sqrt{1 - |\epsilon|^2}}{2 \sqrt{|\epsilon|}} \left(
        \arctan \frac{2 \sqrt{|\epsilon|} \, x}{|w|} + i \,
        \mathrm{artanh} \frac{2 \sqrt{|\epsilon|} \, y}{|w|} \right)

    in the frame of its axes. It is the :class:`EPL` with :math:`\gamma = 2`, whose series takes
    the place of the functions next to :math:`q = 1`. The mass inside the critical ellipse does not
    depend on the axis ratio.

    Arguments:
        theta_E: Einstein radius on the intermediate axis [arcsec].
        e1, e2: Ellipticity.
        center_x, center_y: Centre [arcsec].

    References:
        Kormann, Schneider & Bartelmann 1994, A&A 284, 285.
    """

    theta_E: Parameter
    e1: Parameter
    e2: Parameter
    center_x: Parameter = 0.0
    center_y: Parameter = 0.0

    def _frame(self, x: Tensor, y: Tensor):
        theta_E, e1, e2, cx, cy = _maps(
            x, self.theta_E, self.e1, self.e2, self.center_x, self.center_y
        )
        return x - cx, y - cy, theta_E * (1 - e1**2 - e2**2).sqrt(), e1, e2

    def shortcuts(self) -> list[Member]:
        place = self.center_x, self.center_y
        return [(IsothermalDeflection, (self.theta_E, self.e1, self.e2, *place))]

    def convergence(self, x: Tensor, y: Tensor) -> Tensor:
        r"""Computes :math:`\kappa`, dimensionless."""
        x, y, b, e1, e2 = self._frame(x, y)
        return b / 2 / _stretched(x, y, e1, e2)[2]

    def deflection(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        r"""Computes :math:`\alpha = \nabla \psi` [arcsec]."""
        quick = shortcut_to(self, x, y)
        if quick is not None:
            return quick[0], quick[1]
        edge = edge_of(x.dtype)
        x, y, b, e1, e2 = self._frame(x, y)
        is_round = e1**2 + e2**2 < edge**2
        ax, ay = along_axes(x, y, torch.where(is_round, edge, e1), torch.where(is_round, 0.0, e2))
        wx, wy, r = _stretched(x, y, e1, e2)
        ux, uy = wx / r, wy / r
        z = _times((e1, -e2), (ux**2 - uy**2, 2 * ux * uy))
        coefficients = torch.tensor([1, -1 / 3, 1 / 5, -1 / 7], dtype=x.dtype, device=x.device)
        sx, sy = _times((ux, uy), power_series(z, coefficients[:, None, None]))
        mask = is_round.to(x.dtype)
        return b * torch.lerp(ax, sx, mask), b * torch.lerp(ay, sy, mask)

    def shear(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        r"""Computes :math:`\gamma_1 = (\psi_{xx} - \psi_{yy})/2`, :math:`\gamma_2 = \psi_{xy}`.

        It is as large as :math:`\kappa` everywhere, and tangential.
        """
        x, y, b, e1, e2 = self._frame(x, y)
        scale = -b / _stretched(x, y, e1, e2)[2] / (x**2 + y**2 + CORE**2)
        return scale * (x**2 - y**2) / 2, scale * x * y

    def potential(self, x: Tensor, y: Tensor) -> Tensor:
        r"""Computes :math:`\psi = x \alpha_x + y \alpha_y` [arcsec²]."""
        ax, ay = self.deflection(x, y)
        x, y, *_ = self._frame(x, y)
        return x * ax + y * ay


def _stretched(x: Tensor, y: Tensor, e1: Tensor, e2: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Returns both components of w and its softened length."""
    wx, wy = x - e1 * x - e2 * y, y + e1 * y - e2 * x
    return wx, wy, (wx**2 + wy**2 + CORE**2).sqrt()


@dataclass(frozen=True)
class SIS(Circular):
    r"""Creates a singular isothermal sphere.

    .. math:: \kappa = \frac{\theta_E}{2 r} , \qquad \alpha = \theta_E \, \hat r , \qquad
              \psi = \theta_E \, r

    Arguments:
        theta_E: Einstein radius [arcsec].
        center_x, center_y: Centre [arcsec].
    """

    theta_E: Parameter
    center_x: Parameter = 0.0
    center_y: Parameter = 0.0

    def _kappa(self, r: Tensor) -> Tensor:
        return self._mean(r) / 2

    def _mean(self, r: Tensor) -> Tensor:
        (theta_E,) = _maps(r, self.theta_E)
        return theta_E / r

    def _psi(self, r: Tensor) -> Tensor:
        (theta_E,) = _maps(r, self.theta_E)
        return theta_E * r
