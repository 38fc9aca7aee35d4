"""Haloes whose deflection is known in closed form, made without any pixels."""

import numpy as np
import torch

from lensrim.datasets.haloes.macro_fits import Macro
from lensrim.datasets.haloes.polar_maps import nodes
from lensrim.datasets.haloes.scaled import HIGHEST, ScaledHalo

MACRO = Macro(1.0, 2.05, 0.12, -0.06, 0.01, -0.02, 0.03, 0.02)


def power_law(name: str = "a#0", halo: str = "a", macro: Macro = MACRO) -> ScaledHalo:
    """Returns a power law with shear as if it were the projection of a halo."""
    radius, angle = nodes()
    cos, sin = angle.cos(), angle.sin()
    ax, ay = macro.deflection(radius[:, None] * cos, radius[:, None] * sin)
    alpha = torch.stack([ax * cos + ay * sin, ay * cos - ax * sin]).numpy()
    steps = np.abs(alpha).max((1, 2)) / HIGHEST
    rings = np.rint(alpha / steps[:, None, None]).astype(np.int16)
    return ScaledHalo(
        name=name,
        halo=halo,
        rings=rings,
        steps=(float(steps[0]), float(steps[1])),
        macro=macro,
        rms=0.0,
        theta_E=1.3,
        z_lens=0.2,
        z_source=0.6,
        provenance="a power law",
    )
