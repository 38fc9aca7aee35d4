r"""A reconstruction as a lens system, for other codes: its macro-model, its source, what it saw.

With its mass sheet :math:`\kappa_s` (``SHEET``) a macro-model of convergence :math:`\kappa` and
shear :math:`\gamma` is

.. math:: (1 - \kappa_s) \, \kappa + \kappa_s \, , \qquad (1 - \kappa_s) \, \gamma \, ,

a power law of Einstein radius :math:`\theta_E (1 - \kappa_s)^{1 / (\gamma_{3D} - 1)}`, a shear,
and a sheet, through which the source on its pixels makes the arcs that the product has as
``MODEL``. The image is the one without the light of the lens and the sky, which no template needs
to know.
"""

import math
from dataclasses import replace

import numpy as np
import torch

from lensrim.errors import InputError
from lensrim.io.observation import Observation
from lensrim.io.product import Product
from lensrim.lensing import light, mass

from .system import Galaxy, LensSystem, MassField


def system_of(product: Product) -> LensSystem:
    """Returns the lens system of a product, fresh or read back.

    Arguments:
        product: A product whose answer is the macro-model's; others have a mass that is a map.

    Raises:
        InputError: If its mass is a map, or it lacks the numbers of a macro-model.
    """
    stage = product.value("STAGE")
    if stage != "macro":
        raise InputError(
            f"{product.name}: the mass of stage {stage!r} is the map KAPPA and no profile: give a"
            " reconstruction of --stage macro"
        )
    names = ("MACROTE", "MACROSL", "MACROQ", "MACROPHI", "MACROX", "MACROY", "MACROG1", "MACROG2")
    numbers = [product.value(name) for name in names]
    if None in numbers:
        missing = names[numbers.index(None)]
        raise InputError(
            f"{product.name}: a product must hold {missing}, it does not: reconstruct it again"
        )
    theta_E, slope, q, phi, x, y, gamma1, gamma2 = map(float, numbers)
    sheet = float(product.value("SHEET") or 0.0)
    scale, size = 1 - sheet, (1 - q) / (1 + q)
    e1, e2 = (size * turn(2 * math.radians(phi)) for turn in (math.cos, math.sin))
    ellipsoid = mass.EPL(theta_E * scale ** (1 / (slope - 1)), slope, e1, e2, x, y)
    beside: list[mass.Mass] = [mass.Shear(scale * gamma1, scale * gamma2)]
    if sheet:
        beside.append(mass.MassSheet(sheet))
    # a product's sheet is about its mass, a template's about where the shear is none, the origin
    grid = product.source_grid
    grid = replace(grid, center=(grid.center[0] - sheet * x, grid.center[1] - sheet * y))
    z_lens, z_source = (product.value(name) for name in ("ZLENS", "ZSOURCE"))
    pixels = torch.as_tensor(np.asarray(product.source_maps["SOURCE"], dtype=np.float64))
    return LensSystem(
        [
            Galaxy("lens", z_lens, [ellipsoid]),
            MassField("environment", z_lens, beside),
            Galaxy("source", z_source, light=[light.Pixelated(pixels, grid)]),
        ],
        observation_of(product),
    )


def observation_of(product: Product) -> Observation:
    """Returns what was fitted, without the light of the lens and the sky."""
    maps = product.image_maps
    return Observation(
        image=maps["DATA"] - maps["LENS_LIGHT"] - maps["SKY"],
        sigma=maps["SIGMA"],
        psf=product.psf,
        mask=np.asarray(maps["MASK"]) != 0,
        pixel_scale=float(product.image_grid.spacing),
        psf_kind="optical" if product.value("PSFKIND") == "optical" else "effective",
        wcs=product.wcs,
        unit=product.unit,
        zeropoint=product.value("MAGZERO"),
        name=product.name,
        bin=int(product.value("BIN") or 1),
    )
