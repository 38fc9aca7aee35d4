"""A product beside the truth of its observation, in words and in a picture."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ..io.product import Product
from .comparison import compare_known
from .known import Known
from .maps import maps_of
from .stated import LEVELS, MAPS, SCALARS, stated_known
from .truth_file import TruthFile, known_to

if TYPE_CHECKING:
    from matplotlib.figure import Figure

UNITS = {"theta_E": "arcsec", "macro_theta_E": "arcsec", "phi": "deg"}
"""Units of numbers that have one."""

ASKED = 0.68
"""Probability of the intervals whose coverage is told."""


@dataclass(frozen=True)
class Compared:
    """Holds a comparison.

    Arguments:
        product: The answer.
        known: The true maps.
        numbers: Of each number that both have, by name: ``truth``, ``found``, and where it is
            stated the ``error``; of an angle the truth is that of its turns nearest to what was
            found.
        maps: Errors of maps by name (:func:`~.comparison.compare_known`).
        stated: What stated errors are worth (:func:`~.stated.stated_known`).
    """

    product: Product
    known: Known
    numbers: Mapping[str, Mapping[str, float]]
    maps: Mapping[str, float]
    stated: Mapping[str, Any]

    @property
    def told(self) -> dict[str, Any]:
        """All numbers, for a file of JSON: ``null`` for what is none."""
        return {
            "name": self.product.name,
            "stage": self.product.value("STAGE"),
            "quality": self.product.value("QUALITY"),
            "numbers": {name: dict(each) for name, each in self.numbers.items()},
            "maps": {k: v if math.isfinite(v) else None for k, v in self.maps.items()},
            "covered": self.covered,
        }

    @property
    def covered(self) -> dict[str, float]:
        """Share of a map's pixels whose truth is within the 68 % error."""
        place = LEVELS.index(ASKED)
        return {name: part["coverage"][place] for name, part in self.stated["maps"].items()}


def compared(product: Product, truth: TruthFile) -> Compared:
    """Compares a product with the truth of its observation.

    Raises:
        InputError: If they do not belong together.
    """
    known, right = known_to(truth, product)
    numbers: dict[str, dict[str, float]] = {}
    for name, scalar in SCALARS.items():
        found, error = product.value(scalar.value), product.value(scalar.error)
        if name not in right or not _is_number(found):
            continue
        numbers[name] = {"truth": scalar.nearest(right[name], found), "found": float(found)}
        if _is_number(error):
            numbers[name]["error"] = float(error)
    maps = compare_known(known, maps_of(product))
    return Compared(product, known, numbers, maps, stated_known(known, right, product))


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)


def lines_of(found: Compared) -> list[str]:
    """Tells of a comparison: a line for each number, and for each map."""
    product, value = found.product, found.product.value
    h, w = product.image_grid.shape
    lines = [
        f"{product.name}: {h} x {w} pixels of {product.image_grid.spacing:.4g} arcsec, "
        f"stage {value('STAGE')}, {value('QUALITY')}",
        f"  {'':<15} {'found':>10}    {'error':<9} {'truth':>10}    off by",
    ]
    for name, each in found.numbers.items():
        lines.append(f"  {SCALARS[name].label:<15} " + _of_number(name, each))
    maps = found.maps
    lines += [
        f"  arcs            misfit D {maps['misfit']:.3f} on {int(found.known.arc_mask.sum())} "
        "pixels (0: the truth, 1: as far off as the data)",
        f"  deflection      {maps['alpha']:.2%} of the Einstein radius (rms on the arcs)",
        f"  κ               {maps['kappa']:.3f} dex (rms, 0.3 to 2 Einstein radii), "
        f"{maps['kappa_sheet']:.3f} after the best mass sheet",
        f"  source          {maps['source_l2']:.1%} (rms over that of the truth), "
        f"{maps['source_sheet']:.1%} after the best mass sheet",
        f"  source's radii  R_50 {maps['r50']:+.1%}, R_90 {maps['r90']:+.1%}",
    ]
    if covered := found.covered:
        shares = ", ".join(f"{MAPS[name]} {share:.0%}" for name, share in covered.items())
        lines.append(f"  within errors   {shares} of the pixels ({ASKED:.0%} of many lenses')")
    return lines


def _of_number(name: str, each: Mapping[str, float]) -> str:
    """Found, error and truth to the digits that the error has, and how far off it is."""
    true, found, error = each["truth"], each["found"], each.get("error")
    off = found - true
    scale = error or 1e-3 * max(abs(found), abs(true)) or 1.0
    digits = int(np.clip(1 - math.floor(math.log10(scale)), 0, 8))
    told = [] if not error else [f"{off / error:+.1f} errors"]
    if SCALARS[name].relative and true:
        told.append(f"{off / true:+.2%}")
    elif not error:
        told.append(f"{off:+.{digits}f}")
    plus = f"+- {error:<9.{digits}f}" if error is not None else 12 * " "
    unit = f" {UNITS[name]}" if name in UNITS else ""
    return f"{found:>10.{digits}f} {plus} {true:>10.{digits}f}{unit:<7} {', '.join(told)}"


def picture(found: Compared) -> "Figure":
    """Draws truth, answer and what is between them, of arcs, source and convergence."""
    from ..plotting import plot_truth

    product, known, maps = found.product, found.known, maps_of(found.product)
    stated = {
        "source": product.source_maps.get("SOURCE_STD"),
        "kappa": product.image_maps.get("KAPPA_STD"),
    }
    return plot_truth(
        (known.arcs, maps.model),
        (known.source_on(maps), maps.source),
        (known.kappa, maps.kappa),
        {"arcs": known.sigma, **{k: std for k, std in stated.items() if std is not None}},
        grid=known.grid,
        source_grid=maps.source_grid,
        unit=product.unit or "data units",
        heading=f"{product.name}, stage {product.value('STAGE')}, {product.value('QUALITY')}: "
        f"misfit D {found.maps['misfit']:.2f}, source {found.maps['source_l2']:.1%}, "
        f"κ {found.maps['kappa']:.3f} dex",
    )
