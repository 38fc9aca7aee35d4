r"""Deflection and convergence of a lens in closed form, in double precision.

These formulas share no line with :mod:`lensrim.lensing`: the elliptical power law is written with
the hypergeometric function of Tessore & Metcalf,

.. math::
    \alpha = \frac{2 b}{1 + q} \left( \frac{b}{R} \right)^{t - 1} e^{i \varphi} \,
    {}_2F_1\left(1, \tfrac{t}{2}; 2 - \tfrac{t}{2}; -f e^{2 i \varphi}\right) , \qquad
    f = \frac{1 - q}{1 + q} \, ,

in the frame of the major axis, with :math:`R^2 = q^2 x^2 + y^2`,
:math:`\varphi = \arg(q x + i y)`, :math:`b = \theta_E \sqrt{q}` and :math:`t = \gamma - 1`.

Maps of the pixel-averaged convergence come from the divergence theorem: the mean of :math:`\kappa`
over a square pixel of side :math:`h` is the flux of :math:`\alpha` through its edges, divided by
:math:`2 h^2`. It holds where the profile is singular, too; it is wrong only if a singular point
lies on an edge.

References:
    Tessore & Metcalf 2015, A&A 580, A79; Xu et al. 2015, MNRAS 447, 3189 (multipoles);
    Keeton 2001, astro-ph/0102341 (truncated isothermal, `pseudo-Jaffe').
"""

import numpy as np
from numpy.typing import NDArray

from ..datasets.haloes.scaled import PlacedHalo
from ..datasets.halos import Ellipsoid, Lens, Multipole, Subhalo
from ..grid import PixelGrid
from .halo_deflection import halo_deflection

Map = NDArray[np.float64]

ANGLES = 2048
"""Nodes of the periodic cubic spline of the hypergeometric function (error below 1e-10)."""


def _ellipsoid(lens: Ellipsoid, x: Map, y: Map) -> tuple[Map, Map]:
    """Deflection of the elliptical power law [arcsec]."""
    from scipy.interpolate import CubicSpline
    from scipy.special import hyp2f1

    t, f = lens.gamma - 1, (1 - lens.q) / (1 + lens.q)
    turn = np.exp(1j * lens.phi)
    z = (x - lens.center_x + 1j * (y - lens.center_y)) / turn
    w = lens.q * z.real + 1j * z.imag
    radius, angle = np.maximum(np.abs(w), 1e-9), np.angle(w)
    # The function depends on the angle only, with period pi: it is tabulated once.
    nodes = np.linspace(-np.pi, np.pi, ANGLES + 1)
    table = hyp2f1(1, t / 2, 2 - t / 2, -f * np.exp(2j * nodes))
    table[-1] = table[0]
    angular = CubicSpline(nodes, np.exp(1j * nodes) * table, bc_type="periodic")(angle)
    b = lens.theta_E * np.sqrt(lens.q)
    alpha = 2 * b / (1 + lens.q) * (b / radius) ** (t - 1) * angular * turn
    return alpha.real, alpha.imag


def _multipole(lens: Ellipsoid, part: Multipole, x: Map, y: Map) -> tuple[Map, Map]:
    """Deflection of ``psi = r a cos(m (phi - phi_m)) / (1 - m^2)`` [arcsec]."""
    dx, dy = x - lens.center_x, y - lens.center_y
    angle, m = np.arctan2(dy, dx), part.m
    scale = part.amplitude * lens.theta_E / (1 - m**2)
    radial = scale * np.cos(m * (angle - part.phi))
    tangential = -m * scale * np.sin(m * (angle - part.phi))
    return (
        radial * np.cos(angle) - tangential * np.sin(angle),
        radial * np.sin(angle) + tangential * np.cos(angle),
    )


def _subhalo(halo: Subhalo, x: Map, y: Map) -> tuple[Map, Map]:
    """Deflection ``b (r + t - sqrt(r^2 + t^2)) / r`` along the radius [arcsec]."""
    dx, dy = x - halo.center_x, y - halo.center_y
    r, t = np.maximum(np.hypot(dx, dy), 1e-9), halo.truncation
    scale = halo.theta_E * (r + t - np.hypot(r, t)) / r**2
    return scale * dx, scale * dy


def deflection(lens: Lens | PlacedHalo, x: Map, y: Map, *, shear: bool = True) -> tuple[Map, Map]:
    """Computes the deflection of a lens.

    Arguments:
        lens: The lens, or a halo as one.
        x, y: Coordinates [arcsec], with any shape.
        shear: Whether the external shear is included. It is centred on the origin, not on the
            lens.

    Returns:
        The components along x and y [arcsec], each with the shape of the coordinates.
    """
    if isinstance(lens, PlacedHalo):
        return halo_deflection(lens, x, y, shear=shear)
    parts = [_ellipsoid(lens.ellipsoid, x, y)]
    parts += [_multipole(lens.ellipsoid, part, x, y) for part in lens.multipoles]
    parts += [_subhalo(halo, x, y) for halo in lens.subhalos]
    if shear:
        g1, g2 = lens.gamma1, lens.gamma2
        parts.append((g1 * x + g2 * y, g2 * x - g1 * y))
    return np.sum([part[0] for part in parts], axis=0), np.sum([part[1] for part in parts], axis=0)


def convergence(lens: Lens, x: Map, y: Map) -> Map:
    """Computes the convergence of a lens at points, with the shape of the coordinates [arcsec]."""
    host = lens.ellipsoid
    dx, dy = x - host.center_x, y - host.center_y
    major = dx * np.cos(host.phi) + dy * np.sin(host.phi)
    minor = dy * np.cos(host.phi) - dx * np.sin(host.phi)
    t = host.gamma - 1
    kappa = (2 - t) / 2 * (host.theta_E / np.sqrt(host.q * major**2 + minor**2 / host.q)) ** t
    r, angle = np.hypot(dx, dy), np.arctan2(dy, dx)
    for part in lens.multipoles:
        kappa = kappa + part.amplitude * host.theta_E / (2 * r) * np.cos(
            part.m * (angle - part.phi)
        )
    for halo in lens.subhalos:
        r = np.hypot(x - halo.center_x, y - halo.center_y)
        kappa = kappa + halo.theta_E / 2 * (1 / r - 1 / np.hypot(r, halo.truncation))
    return kappa


def pixel_coordinates(grid: PixelGrid, subsample: int = 1) -> tuple[Map, Map]:
    """Coordinates [arcsec] of the (sub-)pixel centres of a grid, each with shape (kH, kW)."""
    h, w = grid.shape
    column = (np.arange(w * subsample) + 0.5) / subsample - 0.5
    row = (np.arange(h * subsample) + 0.5) / subsample - 0.5
    x, y = grid.from_index(column, row)
    across, down = np.meshgrid(x, y)  # a list, before numpy 2
    return across, down


def average_convergence(lens: Lens | PlacedHalo, grid: PixelGrid, *, order: int = 8) -> Map:
    """Computes the mean convergence of each pixel from the deflection through its edges.

    Arguments:
        lens: The lens.
        grid: The pixels, with shape (H, W).
        order: Gauss-Legendre nodes on an edge.

    Returns:
        The map, with shape (H, W).
    """
    (h, w), spacing = grid.shape, grid.spacing
    nodes, weights = np.polynomial.legendre.leggauss(order)
    nodes, weights = nodes / 2, weights / 2
    edge, rows = np.arange(w + 1) - 0.5, np.arange(h)[:, None] + nodes
    x, y = grid.from_index(edge[None, None, :], rows[:, :, None])
    across = deflection(lens, *np.broadcast_arrays(x, y), shear=False)[0]
    flux_x = np.einsum("hnw,n->hw", across, weights)
    edge, columns = np.arange(h + 1) - 0.5, np.arange(w)[:, None] + nodes
    x, y = grid.from_index(columns[None, :, :], edge[:, None, None])
    across = deflection(lens, *np.broadcast_arrays(x, y), shear=False)[1]
    flux_y = np.einsum("hwn,n->hw", across, weights)
    return (np.diff(flux_x, axis=1) + np.diff(flux_y, axis=0)) / (2 * spacing)
