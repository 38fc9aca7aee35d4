r"""Arrival times of a point source's light: the Fermat potential and the time-delay surface.

.. math::
    \phi(\theta, \beta) = \frac{|\theta - \beta|^2}{2} - \psi(\theta) \, , \qquad
    t(\theta, \beta) = \frac{D_{\Delta t}}{c} \, \phi(\theta, \beta) \, , \qquad
    D_{\Delta t} = (1 + z_l) \frac{D_l D_s}{D_{ls}} \, .

Images are the stationary points of :math:`\phi` in :math:`\theta`: minima, saddle points and
maxima. The constant of :math:`\psi`, and so that of :math:`t`, is arbitrary: only differences
between images of one source can be observed.
"""

from typing import Any

import torch
from torch import Tensor

from .cosmology import ARCSEC, lens_scales
from .mass import Mass
from .missing import replaced

DAYS_PER_MPC = 3.0856775814913674e22 / (299_792_458.0 * 86_400.0)
"""Time in which light travels one Mpc [days]."""


def time_delay_distance(z_lens: float, z_source: float, *, cosmology: Any = "Planck18") -> float:
    r"""Computes :math:`D_{\Delta t} = (1 + z_l) D_l D_s / D_{ls}` [Mpc].

    Arguments:
        z_lens: Redshift of the lens.
        z_source: Redshift of the source.
        cosmology: One of astropy's cosmologies, or the name of one.

    References:
        Refsdal 1964, MNRAS 128, 307; Suyu+ 2010, ApJ 711, 201.

    Raises:
        InputError: If the redshifts are not finite with 0 < z_lens < z_source, or the cosmology is
            unknown.
    """
    scales = lens_scales(z_lens, z_source, cosmology=cosmology)
    return (1 + z_lens) * scales.D_lens * scales.D_source / scales.D_lens_source


def fermat_potential(mass: Mass, x: Tensor, y: Tensor, beta_x: Tensor, beta_y: Tensor) -> Tensor:
    r"""Computes :math:`\phi = |\theta - \beta|^2 / 2 - \psi(\theta)` [arcsec²].

    Arguments:
        mass: Mass model, its parameters numbers or of shape :math:`(*)`.
        x, y: Positions :math:`\theta` in the image plane [arcsec], with shape :math:`(*, H, W)`.
            NaN stands for no image, and gives NaN, which no gradient knows of.
        beta_x, beta_y: Position of the source [arcsec], of a shape that broadcasts with them.
    """
    missing, x, y = replaced(x, y)
    potential = ((x - beta_x) ** 2 + (y - beta_y) ** 2) / 2 - mass.potential(x, y)
    return torch.where(missing, torch.nan, potential)


def arrival_time(
    mass: Mass,
    x: Tensor,
    y: Tensor,
    beta_x: Tensor,
    beta_y: Tensor,
    *,
    distance: float | Tensor,
) -> Tensor:
    r"""Computes the time-delay surface :math:`t(\theta, \beta)` [days], up to a constant.

    Arguments:
        mass: Mass model, its parameters numbers or of shape :math:`(*)`.
        x, y: Positions in the image plane [arcsec], with shape :math:`(*, H, W)`: images, NaN
            where there is none, or all the pixels of a map.
        beta_x, beta_y: Position of the source [arcsec], of a shape that broadcasts with them.
        distance: Time-delay distance [Mpc], of :func:`time_delay_distance`; a tensor if it is to
            be inferred, of a shape that broadcasts with the positions.
    """
    # beside the distance, too, a potential that is NaN would make its gradient NaN
    missing, x, y = replaced(x, y)
    times = (DAYS_PER_MPC * ARCSEC**2) * distance * fermat_potential(mass, x, y, beta_x, beta_y)
    return torch.where(missing, torch.nan, times)


def relative_delays(times: Tensor) -> Tensor:
    r"""Subtracts the arrival time of the first image to come.

    Arguments:
        times: Arrival times [days], one row per source, with shape :math:`(*, n)`. NaN stands for
            no image.

    Returns:
        The delays [days], 0 for the first image, with shape :math:`(*, n)`.
    """
    missing = times.isnan()
    if not missing.shape[-1]:  # no source has an image
        return times
    first = torch.where(missing, torch.inf, times).amin(-1, keepdim=True)
    return torch.where(missing, torch.nan, times - first)
