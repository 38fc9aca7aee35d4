r"""Samples of the posterior, as far from the answer as its calibration has it.

A sample is the answer, moved along the axes of the mass by :math:`a` and along the whitened modes
of the source by :math:`e`, all standard normal, times one number that makes the whole Student's t,

.. math:: \sqrt{\nu / \chi^2_\nu} \, / \, t_\nu(0.8413) ,

so that 68.27 % of the samples of a quantity are within its stated error. Maps and numbers of a
sample belong together, up to the factors of the calibration, which differ among them. What is not
guaranteed: that a convergence stays positive.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from ..io.product import DATA_UNIT
from .calibration import ONE_SIGMA
from .frame import Array
from .uncertainty import Uncertainty

UNITS = {"theta_E": "arcsec", "macro_theta_E": "arcsec", "phi": "deg", "flux": DATA_UNIT}
"""Units of the numbers that have one."""


@dataclass(frozen=True)
class Samples:
    """Holds samples.

    Arguments:
        kappa: Convergence, with shape (N, H, W).
        alpha: Deflection [arcsec], less what a place of the source stands for, (N, 2, H, W).
        source: With shape (N, n, n).
        numbers: By the posterior's names, each with shape (N).
    """

    kappa: Array
    alpha: Array
    source: Array
    numbers: Mapping[str, Array]


def draw(uncertainty: Uncertainty, number: int, *, seed: int = 0) -> Samples:
    """Draws samples.

    Arguments:
        uncertainty: The errors.
        number: How many.
        seed: Seed; the same numbers on every device.
    """
    posterior, factor = uncertainty.posterior, uncertainty.factor
    generator = torch.Generator().manual_seed(seed)
    along, beside = (
        torch.randn(number, count, generator=generator, dtype=torch.float64)
        for count in (len(posterior.mass.kappa), len(posterior.scatter))
    )
    stretch = _stretch(uncertainty.calibration.dof_at(uncertainty.snr), number, seed)
    along, beside = along * stretch, beside * stretch

    def moved(by: Tensor, axes: Tensor) -> Array:
        return torch.einsum("nj,j...->n...", by, axes).numpy()

    alpha = posterior.mass.alpha - posterior.constant[..., None, None]
    source = factor("kappa") * moved(along, posterior.source_axes)
    source = source + moved(beside, posterior.scatter)
    changes = {
        name: factor(name) * (moved(along, each.axes) + moved(beside, each.scatter))
        for name, each in posterior.numbers.items()
    }
    # an axis that is turned by half a circle is the same
    changes["phi"] -= np.pi * np.round(changes["phi"] / np.pi)
    return Samples(
        kappa=posterior.kappa + factor("kappa") * moved(along, posterior.mass.kappa),
        alpha=posterior.alpha + factor("kappa") * moved(along, alpha),
        source=posterior.source + uncertainty.source_widening * source,
        numbers={name: each.value + changes[name] for name, each in posterior.numbers.items()},
    )


def _stretch(dof: float, number: int, seed: int) -> Tensor:
    """Returns what makes normal vectors Student's, with shape (number, 1)."""
    if not math.isfinite(dof):
        return torch.ones(number, 1, dtype=torch.float64)
    from scipy.stats import t

    square = np.random.default_rng(seed).chisquare(dof, size=(number, 1))
    return torch.from_numpy(np.sqrt(dof / square) / t(dof).ppf(ONE_SIGMA))


@dataclass(frozen=True)
class SampleMaps:
    """Holds samples as a product does.

    Arguments:
        image_maps, source_maps: By the names of their extensions.
        numbers: Numbers and their units.
    """

    image_maps: Mapping[str, Array] = field(default_factory=dict)
    source_maps: Mapping[str, Array] = field(default_factory=dict)
    numbers: Mapping[str, tuple[Array, str]] = field(default_factory=dict)


def sample_maps(
    uncertainty: Uncertainty, number: int, *, seed: int = 0, native: float = 1.0
) -> SampleMaps:
    """Draws samples for a product; nothing where none are wanted.

    Arguments:
        uncertainty: The errors.
        number: How many.
        seed: Seed.
        native: Native pixels in a pixel of the image, in which fluxes are counted.
    """
    if number == 0:
        return SampleMaps()
    drawn = draw(uncertainty, number, seed=seed)
    scales = {"flux": native, "phi": math.degrees(1.0)}
    images = {"KAPPA": drawn.kappa, "ALPHA_X": drawn.alpha[:, 0], "ALPHA_Y": drawn.alpha[:, 1]}
    return SampleMaps(
        image_maps={f"SAMPLES_{name}": values for name, values in images.items()},
        source_maps={"SAMPLES_SOURCE": drawn.source},
        numbers={
            name: (values * scales.get(name, 1.0), UNITS.get(name, ""))
            for name, values in drawn.numbers.items()
        },
    )
