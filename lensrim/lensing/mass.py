r"""Analytic mass models: convergence, deflection and potential in closed form.

Each model is a thin class whose attributes are its parameters, Python floats or tensors with shape
:math:`(*)`, and whose methods take coordinates [arcsec] with shape :math:`(*, H, W)` or
:math:`(H, W)`. The definitions are those of COOLEST: ``theta_E`` is the intermediate-axis Einstein
radius, ``gamma`` the three-dimensional logarithmic slope (2 is isothermal), and the ellipticity is

.. math:: \epsilon = e_1 + i e_2 = \frac{1 - q}{1 + q} \, e^{2 i \phi} \, ,

with :math:`\phi` the position angle of the major axis, counter-clockwise from :math:`+x`.

Positions are complex numbers :math:`z = x + i y` relative to the centre. With
:math:`w = z - \epsilon \bar z` every formula is free of angles, so that values and derivatives
are exact at :math:`q = 1`. A softening of 1e-6 arcsec keeps the singular centre finite; values
within it are not physical.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

from ..grid import PixelGrid

CORE = 1e-6
"""Softening of the singular centre [arcsec]."""

Parameter = float | Tensor


@runtime_checkable
class Mass(Protocol):
    """What every mass model can do."""

    def potential(self, x: Tensor, y: Tensor) -> Tensor: ...

    def deflection(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]: ...

    def convergence(self, x: Tensor, y: Tensor) -> Tensor: ...


def _maps(like: Tensor, *parameters: Parameter) -> tuple[Tensor, ...]:
    """Gives parameters with shape ``(*)`` two trailing dimensions, to broadcast over maps."""
    return tuple(
        torch.as_tensor(p, dtype=like.dtype, device=like.device)[..., None, None]
        for p in parameters
    )


def _times(a: tuple[Tensor, Tensor], b: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
    """Multiplies two complex numbers given as (real, imaginary) pairs."""
    return a[0] * b[0] - a[1] * b[1], a[0] * b[1] + a[1] * b[0]


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
        # The series is a polynomial in epsilon-bar times exp(2 i angle of w): Horner's scheme.
        zx, zy = _times((e1, -e2), (ux**2 - uy**2, 2 * ux * uy))
        coefficients = [torch.ones_like(t)]
        for n in range(1, self.terms):
            coefficients.append(-coefficients[-1] * (2 * n - (2 - t)) / (2 * n + (2 - t)))
        sx, sy = coefficients[-1], torch.zeros_like(t)
        for c in coefficients[-2::-1]:
            sx, sy = (
                torch.addcmul(torch.addcmul(c, zx, sx), zy, sy, value=-1),
                torch.addcmul(zx * sy, zy, sx),
            )
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
class SIE:
    r"""Creates a singular isothermal ellipsoid.

    .. math:: \kappa = \frac{\theta_E \sqrt{1 - |\epsilon|^2}}{2 |w|}

    It is the :class:`EPL` with :math:`\gamma = 2`. The mass inside the critical ellipse does not
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

    def _epl(self) -> EPL:
        return EPL(self.theta_E, 2.0, self.e1, self.e2, self.center_x, self.center_y)

    def convergence(self, x: Tensor, y: Tensor) -> Tensor:
        r"""Computes :math:`\kappa`, dimensionless."""
        return self._epl().convergence(x, y)

    def deflection(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        r"""Computes :math:`\alpha = \nabla \psi` [arcsec]."""
        return self._epl().deflection(x, y)

    def potential(self, x: Tensor, y: Tensor) -> Tensor:
        r"""Computes :math:`\psi` [arcsec²]."""
        return self._epl().potential(x, y)


@dataclass(frozen=True)
class Shear:
    r"""Creates an external shear, :math:`\psi = \gamma_1 (x^2 - y^2) / 2 + \gamma_2 x y`.

    Arguments:
        gamma1, gamma2: Components of the shear, dimensionless. Its origin is (0, 0).
    """

    gamma1: Parameter
    gamma2: Parameter

    def convergence(self, x: Tensor, y: Tensor) -> Tensor:
        r"""Returns zero: a shear has no mass inside the map."""
        g1, _ = _maps(x, self.gamma1, self.gamma2)
        return torch.zeros_like(g1 * x * y)

    def deflection(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        r"""Computes :math:`\alpha = \nabla \psi` [arcsec]."""
        g1, g2 = _maps(x, self.gamma1, self.gamma2)
        return g1 * x + g2 * y, g2 * x - g1 * y

    def potential(self, x: Tensor, y: Tensor) -> Tensor:
        r"""Computes :math:`\psi` [arcsec²]."""
        g1, g2 = _maps(x, self.gamma1, self.gamma2)
        return g1 * (x**2 - y**2) / 2 + g2 * x * y


@dataclass(frozen=True)
class Multipole:
    r"""Creates angular structure of order :math:`m \geq 2` on an isothermal profile.

    .. math::
        \kappa = \frac{a_m \cos m\varphi + b_m \sin m\varphi}{2 r} , \qquad
        \psi = \frac{r \, (a_m \cos m\varphi + b_m \sin m\varphi)}{1 - m^2}

    Arguments:
        m: Order.
        a, b: Amplitudes :math:`a_m, b_m` [arcsec]; divided by :math:`\theta_E`, the relative
            departure of the iso-density contours from a circle.
        center_x, center_y: Centre [arcsec].

    References:
        Chu+ 2013, ApJ 765, 134; the same as lenstronomy's ``MULTIPOLE``.
    """

    m: int
    a: Parameter
    b: Parameter
    center_x: Parameter = 0.0
    center_y: Parameter = 0.0

    def _frame(self, x: Tensor, y: Tensor):
        a, b, cx, cy = _maps(x, self.a, self.b, self.center_x, self.center_y)
        x, y = x - cx, y - cy
        r = (x**2 + y**2 + CORE**2).sqrt()
        unit = (x / r, y / r)
        cos, sin = unit
        for _ in range(self.m - 1):
            cos, sin = _times((cos, sin), unit)
        return r, unit, a * cos + b * sin, b * cos - a * sin

    def convergence(self, x: Tensor, y: Tensor) -> Tensor:
        r"""Computes :math:`\kappa`, dimensionless."""
        r, _, wave, _ = self._frame(x, y)
        return wave / (2 * r)

    def deflection(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        r"""Computes :math:`\alpha = \nabla \psi` [arcsec]."""
        _, (cos, sin), wave, turned = self._frame(x, y)
        norm = 1 / (1 - self.m**2)
        radial, tangential = norm * wave, norm * self.m * turned
        return radial * cos - tangential * sin, radial * sin + tangential * cos

    def potential(self, x: Tensor, y: Tensor) -> Tensor:
        r"""Computes :math:`\psi` [arcsec²]."""
        r, _, wave, _ = self._frame(x, y)
        return r * wave / (1 - self.m**2)


@dataclass(frozen=True)
class Sum:
    """Creates the sum of mass models.

    Arguments:
        components: The models that are added.
    """

    components: Sequence[Mass]

    def convergence(self, x: Tensor, y: Tensor) -> Tensor:
        r"""Computes :math:`\kappa`, dimensionless."""
        return torch.stack(
            torch.broadcast_tensors(*(c.convergence(x, y) for c in self.components))
        ).sum(0)

    def deflection(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        r"""Computes :math:`\alpha = \nabla \psi` [arcsec]."""
        parts = [c.deflection(x, y) for c in self.components]
        ax, ay = parts[0]
        for bx, by in parts[1:]:
            ax, ay = ax + bx, ay + by
        return ax, ay

    def potential(self, x: Tensor, y: Tensor) -> Tensor:
        r"""Computes :math:`\psi` [arcsec²]."""
        return torch.stack(
            torch.broadcast_tensors(*(c.potential(x, y) for c in self.components))
        ).sum(0)


def pixel_average(mass: Mass, grid: PixelGrid, *, nodes: int = 4, dtype=torch.float64) -> Tensor:
    r"""Averages the convergence over the pixels of a grid.

    By the theorem of Gauss the mean over a pixel of side :math:`h` is the flux of the deflection
    through its edges,

    .. math:: \langle \kappa \rangle = \frac{1}{2 h^2} \oint \alpha \cdot n \, dl \, ,

    which stays smooth where :math:`\kappa \sim 1/r` is singular. The edges of the 5 × 5 pixels
    around the maximum of the map get 128 points each: the singularity may be close to one.

    Arguments:
        mass: Mass model whose parameters are unbatched.
        grid: Pixels to average over.
        nodes: Gauss-Legendre points along an edge.
        dtype: Type of the result.

    Returns:
        The map of :math:`\kappa`, with shape :math:`(H, W)`.
    """
    h, w = grid.shape
    kappa = flux_average(mass, grid, nodes, dtype)
    peak = int(kappa.argmax())
    row, column = min(max(peak // w, 2), h - 3), min(max(peak % w, 2), w - 3)
    if row < 2 or column < 2:  # a map smaller than the patch: refine all of it
        return flux_average(mass, grid, 128, dtype)
    patch = PixelGrid((5, 5), grid.spacing, grid.from_index(column, row))
    kappa[row - 2 : row + 3, column - 2 : column + 3] = flux_average(mass, patch, 128, dtype)
    return kappa


def flux_average(mass: Mass, grid: PixelGrid, nodes: int, dtype=torch.float64) -> Tensor:
    r"""Averages the convergence over pixels as :func:`pixel_average` does, all edges alike.

    Arguments:
        mass: Mass model, its parameters unbatched or of shape (B).
        grid: Pixels to average over.
        nodes: Gauss-Legendre points along an edge.
        dtype: Type of the result.

    Returns:
        The map of :math:`\kappa`, with shape (H, W) or (B, H, W).
    """
    (h, w), (left, right, bottom, top), n = grid.shape, grid.extent, nodes
    points, weights = (torch.as_tensor(a, dtype=dtype) for a in _gauss_legendre(n))
    along_x, along_y = (
        ((torch.arange(k, dtype=dtype)[:, None] + points) * grid.spacing).reshape(-1) + start
        for k, start in ((w, left), (h, bottom))
    )
    edge_x = torch.linspace(left, right, w + 1, dtype=dtype)
    edge_y = torch.linspace(bottom, top, h + 1, dtype=dtype)
    across = mass.deflection(edge_x[None, :].expand(h * n, -1), along_y[:, None])[0]
    upward = mass.deflection(along_x[None, :], edge_y[:, None].expand(-1, w * n))[1]
    flux_x = torch.einsum("...hne,n->...he", across.unflatten(-2, (h, n)), weights)
    flux_y = torch.einsum("...ewn,n->...ew", upward.unflatten(-1, (w, n)), weights)
    return (flux_x.diff(dim=-1) + flux_y.diff(dim=-2)) / (2 * grid.spacing)


def _gauss_legendre(n: int):
    """Returns points in (0, 1) and weights of sum 1."""
    from numpy.polynomial.legendre import leggauss

    points, weights = leggauss(n)
    return (points + 1) / 2, weights / 2
