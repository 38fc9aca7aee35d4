r"""Shapelets: the orthonormal functions of the harmonic oscillator, in two dimensions.

.. math:: \phi_n(t) = \left(2^n n! \sqrt\pi\right)^{-1/2} H_n(t) \, e^{-t^2/2} , \qquad
          \phi_{n + 1} = \sqrt{\tfrac{2}{n + 1}} \, t \, \phi_n
          - \sqrt{\tfrac{n}{n + 1}} \, \phi_{n - 1} \, .

The recursion runs on the normalised functions, which stay below one, where Hermite polynomials and
factorials overflow. It starts from :math:`e^{-t^2/2}`, which is zero beyond :math:`|t|` of 13 in
single and 38 in double precision: orders above 80 (700) lose their outer lobes.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from ..mass import Parameter, _maps


@dataclass(frozen=True)
class Shapelets:
    r"""Creates a sum of Cartesian shapelets,

    .. math:: I = \sum_{n_1 + n_2 \leq n_\max} a_{n_1 n_2} \, \phi_{n_1}(x / \beta) \,
              \phi_{n_2}(y / \beta) \, .

    The coefficients come in lenstronomy's order: :math:`(n_1, n_2)` = (0, 0), (1, 0), (0, 1),
    (2, 0), (1, 1), (0, 2), ... The functions are orthonormal in :math:`x / \beta`, so that
    :math:`\int I^2 = \beta^2 \sum a^2`.

    Arguments:
        amp: Coefficients :math:`a` [data units per image pixel], with shape :math:`(*, N)`,
            :math:`N = (n_\max + 1)(n_\max + 2) / 2`.
        beta: Scale :math:`\beta` [arcsec].
        center_x, center_y: Centre [arcsec].

    References:
        Refregier 2003, MNRAS 338, 35. The same as lenstronomy's ``SHAPELETS``.

    Raises:
        ValueError: If the number of coefficients is no triangular number.
    """

    amp: Tensor
    beta: Parameter
    center_x: Parameter = 0.0
    center_y: Parameter = 0.0

    def __post_init__(self):
        count = self.amp.shape[-1] if self.amp.ndim else 0
        if count == 0 or (self.n_max + 1) * (self.n_max + 2) // 2 != count:
            raise ValueError(
                "amp must hold (n_max + 1) (n_max + 2) / 2 = 1, 3, 6, 10, ... coefficients along "
                f"its last dimension, got shape {tuple(self.amp.shape)}"
            )

    @property
    def n_max(self) -> int:
        r"""Highest order :math:`n_\max`."""
        return (math.isqrt(8 * self.amp.shape[-1] + 1) - 3) // 2

    def surface_brightness(self, x: Tensor, y: Tensor) -> Tensor:
        """Computes the surface brightness, with the shape of the coordinates."""
        beta, cx, cy = _maps(x, self.beta, self.center_x, self.center_y)
        phi_x, phi_y = (hermite((t - c) / beta, self.n_max) for t, c in ((x, cx), (y, cy)))
        # The coefficients as a matrix (n_2, n_1), zero where n_1 + n_2 > n_max.
        n = self.n_max + 1
        place = [[_place(n1, n2) if n1 + n2 < n else -1 for n1 in range(n)] for n2 in range(n)]
        index = torch.tensor(place, device=x.device)
        amp = self.amp.to(x)[..., index.clamp(min=0)] * (index >= 0)
        return torch.einsum("...ji,...ihw,...jhw->...hw", amp, phi_x, phi_y)


def hermite(t: Tensor, n_max: int) -> Tensor:
    r"""Computes :math:`\phi_0 \ldots \phi_{n_\max}`.

    Arguments:
        t: Where, dimensionless, with shape :math:`(*, H, W)`.
        n_max: Highest order.

    Returns:
        The functions, with shape :math:`(*, n_\max + 1, H, W)`.
    """
    phi = [math.pi**-0.25 * torch.exp(-(t**2) / 2)]
    for n in range(n_max):
        following = math.sqrt(2 / (n + 1)) * t * phi[n]
        if n:
            following = following - math.sqrt(n / (n + 1)) * phi[n - 1]
        phi.append(following)
    return torch.stack(phi, -3)


def _place(n1: int, n2: int) -> int:
    """Position of a coefficient: by its order, then by its second index."""
    order = n1 + n2
    return order * (order + 1) // 2 + n2
