"""A product beside the truth of its observation, in words and in a picture."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ..io.product import Product
from .comparison import compare_known
from .known import Known
from .maps import maps_of
from .stated import LEVELS, MAPS, SCALARS, beside, stated_maps
from .truth_file import TruthFile
from .truth_frame import doubts_of, known_to

if TYPE_CHECKING:
    from matplotlib.figure import Figure

ASKED = 0.68
"""Probability of the intervals whose coverage is told."""


@dataclass(frozen=True)
class Compared:
    """Holds a comparison.

    Arguments:
        product: The answer.
        known: The true maps.
        numbers: Of each number that both have, by name: truth (of an angle that of its turns
            which is nearest to what was found), value, and error where one is stated.
        maps: Errors of maps by name (:func:`~.comparison.compare_known`), but that of the flux,
            which is among the numbers.
        stated: What stated errors of maps are worth (:func:`~.stated.stated_maps`).
        doubts: What speaks against the truth (:func:`~.truth_frame.doubts_of`).
    """

    product: Product
    known: Known
    numbers: Mapping[str, tuple[float, float, float | None]]
    maps: Mapping[str, float]
    stated: Mapping[str, Mapping[str, Any]]
    doubts: Sequence[str] = ()

    @property
    def told(self) -> dict[str, Any]:
        """All numbers, for a file of JSON: ``null`` for what is none."""
        keys = ("truth", "found", "error")
        return {
            "name": self.product.name,
            "stage": self.product.value("STAGE"),
            "quality": self.product.value("QUALITY"),
            "numbers": {k: dict(zip(keys, v, strict=True)) for k, v in self.numbers.items()},
            "maps": {k: v if math.isfinite(v) else None for k, v in self.maps.items()},
            "covered": self.covered,
            "doubts": list(self.doubts),
        }

    @property
    def covered(self) -> dict[str, float]:
        """Share of a map's pixels whose truth is within the 68 % error."""
        place = LEVELS.index(ASKED)
        return {name: part["coverage"][place] for name, part in self.stated.items()}


def compared(product: Product, truth: TruthFile) -> Compared:
    """Compares a product with the truth of its observation.

    Raises:
        InputError: If they cannot belong together, or a map is missing.
    """
    known, right = known_to(truth, product)
    maps = compare_known(known, maps_of(product))
    del maps["flux"]
    return Compared(
        product=product,
        known=known,
        numbers=beside(right, product),
        maps=maps,
        stated=stated_maps(known, product),
        doubts=doubts_of(truth, known, product),
    )


def lines_of(found: Compared) -> list[str]:
    """Tells of a comparison: a line for each number, and for each kind of map."""
    product, value = found.product, found.product.value
    h, w = product.image_grid.shape
    lines = [
        f"{product.name}: {w} x {h} pixels of {product.image_grid.spacing:.4g} arcsec, "
        f"stage {value('STAGE')}, {value('QUALITY')}",
        f"  {'':<15} {'found':>10}    {'error':<9} {'truth':>10}    off by",
    ]
    for name, (true, own, error) in found.numbers.items():
        unit = (product.unit or "") if name == "flux" else SCALARS[name].unit
        told = _of_number(true, own, error, unit, relative=SCALARS[name].relative)
        lines.append(f"  {SCALARS[name].label:<15} {told}")
    maps = found.maps
    lines += [
        f"  arcs            misfit D {maps['misfit']:.3f} on {int(found.known.arc_mask.sum())} "
        "pixels (0: the truth, 1: off by as much as the noise)",
        f"  deflection      {maps['alpha']:.2%} of the Einstein radius (rms on the arcs)",
        f"  κ               {maps['kappa']:.3f} dex (rms, 0.3 to 2 Einstein radii), "
        f"{maps['kappa_sheet']:.3f} after the best mass sheet",
        f"  source          {maps['source_l2']:.1%} (rms over that of the truth), "
        f"{maps['source_sheet']:.1%} after the best mass sheet",
        f"  source's radii  R_50 {maps['r50']:+.1%}, R_90 {maps['r90']:+.1%}",
    ]
    if covered := found.covered:
        shares = ", ".join(f"{MAPS[name]} {share:.0%}" for name, share in covered.items())
        lines.append(
            f"  within errors   {shares} of the pixels ({ASKED:.0%} are expected over many lenses)"
        )
    return [*lines, *(f"  note: {doubt}" for doubt in found.doubts)]


def _of_number(true: float, own: float, error: float | None, unit: str, *, relative: bool) -> str:
    """Value, error and truth to the digits that the error has, and how far off the value is."""
    off = own - true
    scale = error or max(1e-2 * max(abs(own), abs(true)), 1e-3)
    digits = int(np.clip(1 - math.floor(math.log10(scale)), 0, 8))
    form = f".{digits}f" if scale >= 1e-6 and max(abs(own), abs(true)) < 1e5 else ".3e"
    told = [f"{off / error:+.1f} sigma"] if error else []
    if relative and true:
        told.append(f"{off / true:+.2%}")
    elif not error:
        told.append(format(off, f"+{form}"))
    spread = "" if error is None else f"+- {error:{form}}"
    return f"{own:>10{form}} {spread:<12} {true:>10{form}} {unit:<10} {', '.join(told)}"


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
