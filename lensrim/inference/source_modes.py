r"""The modes of the source prior: a cuspy Gaussian random field on a disc.

The source is a Gaussian random field on a disc of diameter :math:`S` in the source plane,

.. math::
    s(\beta) = e(r) \sum_{mn} z_{mn} \sin \pi m (U + \tfrac12) \, \sin \pi n (V + \tfrac12) ,
    \qquad z_{mn} \sim \mathcal{N}\big(0, P(k_{mn})\big) , \qquad
    P(k) \propto \frac{A^2 \ell^2}{(1 + k^2 \ell^2)^{\nu + 1}} \, ,

with :math:`(u, v) = (\beta - c) / S`, :math:`r = |(u, v)|`, and :math:`k = \pi |(m, n)| / S`.
Galaxies are cuspy: they have more structure, and more light, toward their middle. The coordinate
is therefore stretched there, :math:`(U, V) = (u, v) R(r) / r` with
:math:`R = \mathrm{asinh}(r / \rho) / 2\, \mathrm{asinh}(1 / 2\rho)`, and the envelope
:math:`e = (1 + r^2/\rho^2)^{-3/4} (1 - 4 r^2)` fades outward, to zero on the border. Within the
core :math:`\rho` the field is a Matern field with standard deviation :math:`A` and correlation
length :math:`\ell` (of the stretched coordinate).
"""

import math
from dataclasses import dataclass, field

import torch
from torch import Tensor

from ..grid import PixelGrid

FADE = 0.75
"""Exponent of the envelope: far out the prior's standard deviation falls as r^-1.5."""

TINY = 1e-12
"""Softening of the squared radius of the warp, in units of the disc."""

MODES, TUNED = 22, 18
"""Highest orders of the source modes: of an answer, and where the source prior of a machine's
start, or of an answer, climbs."""

FINER, FULL = 32, 0.5
"""Highest order of an answer that determines more parameters than this share of its modes. Mocks
determine up to 0.48, and with more modes have the same evidence, to 9 of 2 000; SLACS J1430+4105
determines 0.77, and its log-evidence rises by 286, with a chi2 of the arcs of 1.00 in the place of
1.41 (by another 19 with 42)."""

NU = 1.0
"""Smoothness of the source prior: spectral index 2 (nu + 1) = 4."""


def cusp_of(r2: Tensor, core: Tensor) -> Tensor:
    """Returns the envelope but for what ends it at the border of the disc.

    Arguments:
        r2: Squared radius, in units of the disc, with shape (*).
        core: Core, in the same units.
    """
    return (core**2 / (r2 + core**2)) ** FADE


@dataclass(frozen=True)
class SourceModes:
    """Creates the modes of the source.

    Arguments:
        count: Highest order along an axis; orders with :math:`m^2 + n^2 \\leq` ``count²`` are
            kept.
    """

    count: int
    m: Tensor = field(init=False, repr=False)
    n: Tensor = field(init=False, repr=False)

    def __post_init__(self):
        order = torch.arange(1, self.count + 1)
        m, n = torch.meshgrid(order, order, indexing="ij")
        keep = m**2 + n**2 <= self.count**2 + 1
        object.__setattr__(self, "m", m[keep])
        object.__setattr__(self, "n", n[keep])

    def __len__(self) -> int:
        return len(self.m)

    @property
    def row_lengths(self) -> list[int]:
        """Number of orders n, from 1, that belong to each order m; the modes are in that order."""
        return torch.bincount(self.m, minlength=self.count + 1)[1:].tolist()

    def power(self, hyper: Tensor) -> Tensor:
        r"""Returns the prior variance of the coefficient of every mode, with shape :math:`(*, K)`.

        The modes are used without their factor :math:`2/S`, which is put into the variance
        instead.

        Arguments:
            hyper: :math:`\log A`, :math:`\log \ell / S`, :math:`\log S` and :math:`\log \rho`,
                with shape :math:`(*, 4)`.
        """
        order = math.pi * torch.sqrt((self.m**2 + self.n**2).to(hyper))
        amplitude, ratio = hyper[..., :2].exp()[..., None].unbind(-2)
        return (
            16 * math.pi * NU * (amplitude * ratio) ** 2 / (1 + (order * ratio) ** 2) ** (NU + 1)
        )

    def warp(self, position: Tensor, core: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        r"""Returns the sines along both warped axes and the envelope.

        Arguments:
            position: Position from the centre in units of the side, with shape
                :math:`(B, S, R, 2)`.
            core: Core :math:`\rho` of the warp in units of the side, with shape :math:`(B)`.

        Returns:
            Two tensors with shape :math:`(B, M, S, R)`, and the envelope, zero outside the
            disc, with shape :math:`(B, S, R)`.
        """
        core = core[:, None, None]
        r2 = position.square().sum(-1)
        radius = (r2 + TINY).sqrt()
        stretch = torch.asinh(radius / core) / (2 * radius * torch.asinh(0.5 / core))
        order = math.pi * torch.arange(
            1, self.count + 1, dtype=position.dtype, device=position.device
        )
        warped = (position * stretch[..., None] + 0.5)[:, None]
        x, y = torch.sin(warped * order[:, None, None, None]).unbind(-1)
        return x, y, cusp_of(r2, core) * (1 - 4 * r2).clamp(min=0)

    def draw(self, position: Tensor, core: Tensor) -> Tensor:
        """Evaluates every mode, averaged over the rays S, with shape (B, K, R)."""
        x, y, envelope = self.warp(position, core)
        x = x * (envelope / x.shape[2])[:, None]
        rows = [(x[:, m : m + 1] * y[:, :n]).sum(2) for m, n in enumerate(self.row_lengths)]
        return torch.cat(rows, dim=1)

    def draw_rays(self, position: Tensor, core: Tensor) -> Tensor:
        """Evaluates every mode at every ray, with shape (B, K, S, R)."""
        x, y, envelope = self.warp(position, core)
        x = x * envelope[:, None]
        rows = [x[:, m : m + 1] * y[:, :n] for m, n in enumerate(self.row_lengths)]
        return torch.cat(rows, dim=1)

    def on_pixels(self, grid: PixelGrid, scale: Tensor, core: Tensor) -> Tensor:
        """Draws every mode on the pixels of a grid about the centre, with shape (B, K, h, w).

        Arguments:
            grid: The pixels.
            scale: Length of the grid's unit in units of the disc, with shape (B).
            core: Core of the warp in units of the disc, with shape (B).
        """
        x, y = grid.coordinates(dtype=core.dtype, device=core.device)
        position = torch.stack(torch.broadcast_tensors(x, y), -1).reshape(1, 1, -1, 2)
        return self.draw(position * scale[:, None, None, None], core).unflatten(-1, grid.shape)

    def slope(self, position: Tensor, core: Tensor, z: Tensor) -> Tensor:
        """Returns the gradient of the source with coefficients z (B, K), shape (B, S, R, 2)."""
        with torch.enable_grad():
            position = position.detach().requires_grad_()
            x, y, envelope = self.warp(position, core)
            source = envelope * torch.einsum("bmsr,bmn,bnsr->bsr", x, self.square(z), y)
            return torch.autograd.grad(source.sum(), position)[0]

    def square(self, z: Tensor) -> Tensor:
        """Lays coefficients (K) out as a matrix (M, M), zero where none is kept."""
        out = z.new_zeros(*z.shape[:-1], self.count, self.count)
        out[..., self.m - 1, self.n - 1] = z
        return out
