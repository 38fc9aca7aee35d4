r"""Pixelated convergence: from a map of :math:`\kappa` to the potential and its derivatives.

.. math::
    \psi(\theta) = \frac{1}{\pi} \int \kappa(\theta') \ln |\theta - \theta'| \, d^2\theta' \, ,
    \qquad \alpha = \nabla \psi = \frac{1}{\pi} \int \kappa(\theta')
    \frac{\theta - \theta'}{|\theta - \theta'|^2} \, d^2\theta'

are convolutions, done exactly (no periodic images) on a zero-padded grid. :math:`\kappa` is zero
outside the map, and its values are averages over the pixels. The sums run over the pixels as if
their mass sat in their centres. What this misses at the singular centre of the kernel is, per
order in the spacing :math:`h`, a number of the lattice times a derivative of :math:`\kappa`, and
is put back by changing the kernel at its centre and the four nearest pixels:
:math:`\pm (1 + \pi/6) / 4h` is added to that of :math:`\alpha`, of which :math:`\pi/6` undoes the
averaging. The remaining error is :math:`O(h^4)`.

Not guaranteed: accuracy within about two pixels of a singularity of :math:`\kappa`, or of the
map's edge where :math:`\kappa` does not vanish there.
"""

import math
from typing import Literal, get_args

import torch
from torch import Tensor, nn

from ..grid import PixelGrid
from .fourier import convolve, fast_length, transfer_function
from .shapes import check_pixels, check_shape

Samples = Literal["averages", "points"]
MARGIN = 3
"""Pixels around the map on which the deflection is computed too."""
CHUNK = 1 << 22
"""Pairs of a position and a pixel that are summed at once."""
# Regularised lattice sums over Z^2 without 0, from the Epstein zeta function 4 zeta(s/2)
# beta(s/2): -sum ln|n| and -sum |n|^2 ln|n|.
_LOG_SUM = -0.5 * math.log(2 * math.pi) - math.log(
    math.gamma(0.25) ** 2 / (2 * math.pi * math.sqrt(2))
)
_LOG_SUM_2 = -0.915965594177219 / (3 * math.pi)


def deflection_kernel(nx: Tensor, ny: Tensor, *, samples: Samples = "averages") -> Tensor:
    r"""Returns the kernel :math:`h \, \theta / |\theta|^2` at whole-pixel offsets, corrected.

    Arguments:
        nx, ny: Offsets, target minus source [pixels], with shape :math:`(*)`.
        samples: Whether the map holds ``averages`` over pixels or ``points`` at their centres.

    Returns:
        The components along x and y, with shape :math:`(2, *)`.
    """
    if samples not in get_args(Samples):
        raise ValueError(f"samples must be one of {get_args(Samples)}, got {samples!r}")
    r2 = nx**2 + ny**2
    extra = (1 + math.pi / 6) / 4 if samples == "averages" else 1 / 4
    weight = torch.where(r2 == 1, 1 + extra, 1 / r2.clamp(min=1))
    return torch.stack((nx * weight, ny * weight))


def potential_kernel(nx: Tensor, ny: Tensor, *, samples: Samples = "averages") -> Tensor:
    r"""Returns the kernel :math:`\ln |\theta / h|` at whole-pixel offsets, corrected.

    Arguments:
        nx, ny: Offsets, target minus source [pixels], with shape :math:`(*)`.
        samples: Whether the map holds ``averages`` over pixels or ``points`` at their centres.
    """
    r2 = nx**2 + ny**2
    second = _LOG_SUM_2 / 4
    centre = _LOG_SUM - 4 * second - (math.pi / 12 if samples == "averages" else 0.0)
    kernel = torch.where(r2 == 1, second, 0.5 * r2.clamp(min=1).log())
    return torch.where(r2 == 0, centre, kernel)


def direct_deflection(
    kappa: Tensor, grid: PixelGrid, x: Tensor, y: Tensor
) -> tuple[Tensor, Tensor]:
    r"""Sums the deflections of all pixels, taken as point masses, at any position.

    The cost is the number of pixels times that of positions. Exact to :math:`O(h^4)` at more than
    a pixel from the mass, so outside the map; inside, it lacks the corrections of the kernel.

    Arguments:
        kappa: Maps of :math:`\kappa`, with shape :math:`(B, 1, H, W)`.
        grid: Grid of the maps.
        x, y: Positions [arcsec], with shape :math:`(B, P)` or :math:`(P)`.

    Returns:
        The components of :math:`\alpha` [arcsec], with shape :math:`(B, P)`.
    """
    gx, gy = (c.flatten() for c in grid.coordinates(device=kappa.device, dtype=kappa.dtype))
    mass = kappa.flatten(1)[:, None] * grid.spacing**2 / math.pi

    def some(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        dx, dy = x[..., None] - gx, y[..., None] - gy
        r2 = dx**2 + dy**2
        at_pixel = r2 < (1e-3 * grid.spacing) ** 2
        weight = torch.where(at_pixel, 0.0, 1 / torch.where(at_pixel, 1.0, r2)) * mass
        return (dx * weight).sum(-1), (dy * weight).sum(-1)

    per = max(1, CHUNK // mass.numel())
    if torch.compiler.is_compiling() or x.shape[-1] <= per:
        return some(x, y)
    parts = [some(*each) for each in zip(x.split(per, -1), y.split(per, -1), strict=True)]
    ax, ay = (torch.cat(each, -1) for each in zip(*parts, strict=True))
    return ax, ay


class KappaToAlpha(nn.Module):
    r"""Creates the operator from maps of :math:`\kappa` to the deflection and its derivatives.

    Arguments:
        grid: Grid of the maps, any :math:`(H, W)`.
        subsample: Number :math:`k` of rays along each side of a pixel.
        samples: Whether a map holds ``averages`` over pixels or ``points`` at their centres.
        dtype: Type of the maps. The kernels are always made in double precision.
        device: Device of the maps.

    All methods take :math:`\kappa` with shape :math:`(B, 1, H, W)`, are linear in it (but for the
    magnification), and give components along x and y [arcsec] of positive sign away from the mass;
    they raise ``ValueError`` for another shape.
    """

    transfer: Tensor
    transfer_margin: Tensor
    rows: Tensor
    columns: Tensor

    def __init__(
        self,
        grid: PixelGrid,
        *,
        subsample: int = 2,
        samples: Samples = "averages",
        dtype: torch.dtype = torch.float32,
        device: torch.device | str | None = None,
    ):
        super().__init__()
        self.grid, self.subsample = grid, subsample
        self.samples: Samples = samples
        # Without a margin a map of 2^n pixels is transformed on a grid of 2^(n + 1), the fastest.
        self.sizes = {m: _size(grid, m) for m in (0, MARGIN)}
        for name, margin in (("transfer", 0), ("transfer_margin", MARGIN)):
            kernel = deflection_kernel(*_lags(grid, margin, self.sizes[margin]), samples=samples)
            transfer = transfer_function(kernel * (grid.spacing / math.pi))
            self.register_buffer(name, transfer.to(device, dtype), persistent=False)
        for name, n in (("rows", grid.shape[0]), ("columns", grid.shape[1])):
            matrix = _ray_matrix(n, subsample).to(device, dtype)
            self.register_buffer(name, matrix, persistent=False)

    def forward(self, kappa: Tensor) -> tuple[Tensor, Tensor]:
        r"""Computes :math:`\alpha` at the pixel centres.

        Returns:
            The components, each with the shape of ``kappa``.
        """
        alpha = self.maps(self._checked(kappa))
        return alpha[:, :1], alpha[:, 1:]

    def at_subrays(self, kappa: Tensor) -> tuple[Tensor, Tensor]:
        r"""Computes :math:`\alpha` at the rays.

        Returns:
            The components, each with shape :math:`(B, 1, kH, kW)`, at
            ``grid.coordinates(subsample)``.
        """
        alpha = self.interpolate(self.maps(self._checked(kappa)))
        return alpha[:, :1], alpha[:, 1:]

    def _checked(self, kappa: Tensor) -> Tensor:
        """Makes sure that the components of what is made of maps are told apart."""
        check_shape("kappa", kappa, (1, *self.grid.shape), "the pixels of the operator")
        return kappa

    def maps(self, kappa: Tensor, *, margin: bool = False) -> Tensor:
        r"""Computes both components of :math:`\alpha` at the pixel centres.

        Arguments:
            kappa: Maps with shape :math:`(B, 1, H, W)`.
            margin: Whether the maps are larger by :math:`m` = ``MARGIN`` pixels on each side.

        Returns:
            The maps, with shape :math:`(B, 2, H, W)` or :math:`(B, 2, H + 2m, W + 2m)`.
        """
        check_pixels("kappa", kappa, self.grid.shape, "those of the operator")
        m = MARGIN if margin else 0
        shape = (self.grid.shape[0] + 2 * m, self.grid.shape[1] + 2 * m)
        transfer = self.transfer_margin if margin else self.transfer
        return convolve(kappa, transfer, self.sizes[m], shape)

    def interpolate(self, maps: Tensor) -> Tensor:
        r"""Interpolates maps by polynomials of third degree along each axis.

        Rays between the outermost pixel centres and the edge are extrapolated.

        Arguments:
            maps: Maps with shape :math:`(B, C, H, W)`.

        Returns:
            Their values at the rays, with shape :math:`(B, C, kH, kW)`.
        """
        if self.subsample == 1:
            return maps
        # Products with (mostly empty) matrices are faster than any convolution of torch's.
        return self.rows @ (maps @ self.columns.mT)

    def at(
        self, kappa: Tensor, x: Tensor, y: Tensor, *, outside: bool | None = None
    ) -> tuple[Tensor, Tensor]:
        r"""Computes :math:`\alpha` at any position, also outside the map.

        Inside, the map of :math:`\alpha` is interpolated by Keys' bicubic convolution; outside,
        the pixels are summed. Differentiable in ``kappa`` and the positions.

        Arguments:
            kappa: Maps with shape :math:`(B, 1, H, W)`.
            x, y: Positions [arcsec], with shape :math:`(B, 1, *)` or :math:`(*)`.
            outside: Whether positions may lie outside of the map, for which the pixels are summed
                at all positions. By default the positions tell; under ``torch.func.vmap`` they
                cannot, and the compiler sums always.

        Returns:
            The components, each with shape :math:`(B, 1, *)`. Positions outside of the map get
            the value at its margin if it is said that there are none, NaN positions NaN.

        References:
            Keys 1981, IEEE Trans. Acoust. Speech Signal Process. 29, 1153.
        """
        batch, positions = kappa.shape[0], x.shape if x.ndim < 3 else x.shape[2:]
        x, y = (c.expand(batch, 1, *positions).reshape(batch, -1) for c in (x, y))
        # where there is no image: NaN must not meet any pixel, or all gradients are
        nowhere = x.isnan() | y.isnan()
        x, y = (torch.where(nowhere, c, p) for c, p in zip(self.grid.center, (x, y), strict=True))
        column, row = (c + MARGIN for c in self.grid.to_index(x, y))
        # Two pixels from the map, where this ends, the corrected kernel is the plain one.
        h, w = (n + 2 * MARGIN for n in self.grid.shape)
        inside = (column >= 1) & (column <= w - 2) & (row >= 1) & (row <= h - 2)
        alpha = _bicubic(
            self.maps(self._checked(kappa), margin=True),
            column.clamp(1, w - 2),
            row.clamp(1, h - 2),
        )
        if outside is None:
            outside = torch.compiler.is_compiling() or not bool(inside.all())
        if outside:
            direct = direct_deflection(kappa, self.grid, x, y)
            alpha = torch.where(inside[:, None], alpha, torch.stack(direct, 1))
        alpha = torch.where(nowhere[:, None], math.nan, alpha).reshape(batch, 2, *positions)
        return alpha[:, :1], alpha[:, 1:]

    def jacobian(self, kappa: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        r"""Computes the derivatives of :math:`\alpha` by central differences.

        Returns:
            :math:`\partial_x \alpha_x, \partial_y \alpha_x, \partial_x \alpha_y,
            \partial_y \alpha_y`, each with the shape of ``kappa``, to :math:`O(h^4)`.
        """
        alpha = self.maps(self._checked(kappa), margin=True)
        dx = _difference(alpha[..., MARGIN:-MARGIN, :], -1, self.grid)
        dy = _difference(alpha[..., MARGIN:-MARGIN], -2, self.grid)
        return dx[:, :1], dy[:, :1], dx[:, 1:], dy[:, 1:]

    def shear(self, kappa: Tensor) -> tuple[Tensor, Tensor]:
        r"""Computes the shear :math:`\gamma_1, \gamma_2` of the map.

        .. math:: \gamma_1 = (\partial_x \alpha_x - \partial_y \alpha_y) / 2 \, , \qquad
                  \gamma_2 = (\partial_y \alpha_x + \partial_x \alpha_y) / 2
        """
        xx, yx, xy, yy = self.jacobian(kappa)
        return (xx - yy) / 2, (yx + xy) / 2

    def inverse_magnification(self, kappa: Tensor, shear: Tensor | None = None) -> Tensor:
        r"""Computes :math:`\mu^{-1} = \det(1 - \partial \alpha / \partial \theta)`, with its sign.

        Arguments:
            kappa: Maps with shape :math:`(B, 1, H, W)`.
            shear: External shear :math:`(\gamma_1, \gamma_2)`, with shape :math:`(B, 2)`.
        """
        xx, yx, xy, yy = self.jacobian(kappa)
        if shear is not None:
            g1, g2 = (g[:, None, None, None] for g in shear.unbind(-1))
            xx, yy, yx, xy = xx + g1, yy - g1, yx + g2, xy + g2
        return (1 - xx) * (1 - yy) - yx * xy

    def magnification(self, kappa: Tensor, shear: Tensor | None = None) -> Tensor:
        r"""Computes the signed magnification :math:`\mu`; it diverges on critical curves."""
        return 1 / self.inverse_magnification(kappa, shear)

    def potential(self, kappa: Tensor) -> Tensor:
        r"""Computes :math:`\psi` [arcsec²] at the pixel centres.

        Its constant is that of the integral. The kernel is made anew for each call: no step of a
        fit needs the potential.
        """
        self._checked(kappa)
        step = self.grid.spacing
        lags = _lags(self.grid, 0, self.sizes[0])
        kernel = potential_kernel(*lags, samples=self.samples) + math.log(step)
        transfer = transfer_function(kernel * (step**2 / math.pi)).to(kappa)
        return convolve(kappa, transfer, self.sizes[0], self.grid.shape)


def _size(grid: PixelGrid, margin: int) -> tuple[int, int]:
    """Periodic grid on which nothing wraps around into the map and its margin."""
    h, w = (fast_length(2 * (n + margin) - 1) for n in grid.shape)
    return h, w


def _lags(grid: PixelGrid, margin: int, sizes: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """Offsets (x, y), target minus source, at each pixel of a periodic kernel."""
    lags = []
    for n, size in zip(grid.shape, sizes, strict=True):
        lag = torch.arange(size, dtype=torch.float64)
        lags.append(torch.where(lag < n + 2 * margin, lag, lag - size) - margin)
    ny, nx = torch.meshgrid(*lags, indexing="ij")
    return nx, ny


def _ray_matrix(n: int, subsample: int) -> Tensor:
    """Lagrange weights of the four nearest pixels at each ray of an axis; shape (k n, n)."""
    count = min(4, n)
    t = (torch.arange(subsample * n, dtype=torch.float64) + 0.5) / subsample - 0.5
    first = (t.floor() - 1).clamp(0, n - count)
    weights = torch.ones(subsample * n, count, dtype=torch.float64)
    for a in range(count):
        for b in set(range(count)) - {a}:
            weights[:, a] *= (t - first - b) / (a - b)
    nodes = first.long()[:, None] + torch.arange(count)
    return torch.zeros(subsample * n, n, dtype=torch.float64).scatter_(1, nodes, weights)


def _difference(values: Tensor, dim: int, grid: PixelGrid) -> Tensor:
    """Central difference of fourth order, which consumes the margin along ``dim``."""
    n = values.shape[dim] - 2 * MARGIN
    near, far = (
        values.narrow(dim, MARGIN + s, n) - values.narrow(dim, MARGIN - s, n) for s in (1, 2)
    )
    return (8 * near - far) / (12 * grid.spacing)


def _bicubic(maps: Tensor, column: Tensor, row: Tensor) -> Tensor:
    """Interpolates maps (B, C, H, W) at fractional indices (B, P), to (B, C, P)."""
    h, w = maps.shape[-2:]
    i, j = (c.detach().floor().clamp(1, n - 3) for c, n in ((row, h), (column, w)))
    wy, wx = _keys(row - i), _keys(column - j)
    base = (i * w + j).long()
    flat = maps.flatten(2)
    result = torch.zeros((), dtype=maps.dtype, device=maps.device)
    for a in range(4):
        for b in range(4):
            index = (base + (a - 1) * w + (b - 1))[:, None].expand(-1, maps.shape[1], -1)
            result = result + flat.gather(2, index) * (wy[a] * wx[b])[:, None]
    return result


def _keys(t: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Weights of the pixels -1, 0, 1, 2 at the fraction t between the middle two."""
    return (
        ((2 - t) * t - 1) * t / 2,
        ((3 * t - 5) * t * t + 2) / 2,
        ((4 - 3 * t) * t + 1) * t / 2,
        (t - 1) * t * t / 2,
    )
