"""What is told of what was judged: the lines of the table, and the rows of further tables."""

from collections.abc import Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor

from ..paper import NOT_FOUND, Line, Number, median
from .figures import GOOD
from .judging import MACRO, TUNED

ADDED = {
    "frame": "our network, loss and gauge, the source's own frame, a shear",
    "scores": "the score in two encodings, neither of them Adam's",
    "told": "residual, model, information; the noise and the PSF",
    "ours": "a macro-model to begin with; those before it have its frame of the source alone",
}
"""What each machine has beyond the one before it; the first is added to the published design."""

CODE = "as the public code stores it"

QUANTITIES = (
    ("chi2", "chi2 of the frame, median", f"about 1.5 to 1.7 (6000 lenses, {CODE})"),
    ("chi2 arc", "chi2 of the arcs, median", NOT_FOUND),
    ("relative L2", "relative error of the source, median", NOT_FOUND),
    ("RMSE", "error of the source over its peak, median", f"0.020, a smaller network, {CODE}"),
    ("kappa dex", "error of log10 kappa [dex], median", f"0.091, a smaller network, {CODE}"),
)


def table_lines(found: Mapping[str, Any]) -> list[Line]:
    """Makes the lines of the table."""
    measures = found["measures"]

    def line(quantity: str, paper: str, number: Any, tuned: bool = False) -> Line:
        names = [TUNED.format(n) if tuned else n for n in ("published", "ours")]
        # All in a line are of the same lenses: machines are fine-tuned to the first ones alone.
        count = len(measures[names[0]]["chi2"])
        of = [{k: v[:count] for k, v in measures[name].items()} for name in (*names, MACRO)]
        published, ours, macro = map(number, of)
        return Line(quantity, paper, published, ours, macro, MACRO)

    lines = [
        line(quantity, paper, partial(median_of, key=key)) for key, quantity, paper in QUANTITIES
    ]
    lines += [
        line(f"share with chi2 below {GOOD}", f"0.07 (6000 lenses, {CODE})", good_share),
        line("tuned: chi2 of the frame, median", NOT_FOUND, partial(median_of, key="chi2"), True),
        line(f"tuned: share with chi2 below {GOOD}", f"about 0.88, {CODE}", good_share, True),
        line(
            "tuned: error of log10 kappa [dex], median",
            NOT_FOUND,
            partial(median_of, key="kappa dex"),
            True,
        ),
        line("share with a theta_E, whose scatter and slope are told", NOT_FOUND, found_share),
        line("scatter of theta_E [arcsec]", f"about 0.04, {CODE}", theta_scatter),
        line("slope, found less true, median", f"2.15 - 2.35, {CODE}", slope_bias),
        line("radius of half the light, found over true, median", "1, 10 to 20 %", half_light),
        line(
            "radius of 99 % of the light, found over true, median",
            f"about 2, {CODE}",
            partial(half_light, radius="R99"),
        ),
    ]
    return lines


def finite(values: Tensor) -> Tensor:
    """Returns the values that are numbers; one that is none where there are no such."""
    known = values[torch.isfinite(values)]
    return known if len(known) else values.new_tensor([float("nan")])


def median_of(measures: Mapping[str, Tensor], key: str) -> Number:
    """Takes the median of a measure."""
    return Number.median(finite(measures[key]))


def good_share(measures: Mapping[str, Tensor]) -> Number:
    """Computes the share of lenses with χ² of the frame below what the paper calls good."""
    return Number.share(measures["chi2"] < GOOD)


def found_share(measures: Mapping[str, Tensor]) -> Number:
    """Computes the share of lenses in whose convergence a circle has a mean of 1."""
    return Number.share(torch.isfinite(measures["theta_E"]))


def theta_scatter(measures: Mapping[str, Tensor]) -> Number:
    """Computes half of the interval of errors of θ_E that holds 68 per cent of the lenses."""
    off = finite(measures["theta_E"] - measures["true theta_E"])
    low, high = torch.quantile(off, off.new_tensor([0.16, 0.84]))
    return Number(float(high - low) / 2)


def slope_bias(measures: Mapping[str, Tensor]) -> Number:
    """Computes the median error of the slope."""
    return Number.median(finite(measures["slope"] - measures["true slope"]))


def half_light(measures: Mapping[str, Tensor], radius: str = "R50") -> Number:
    """Computes the median ratio of a radius to the true one."""
    return Number.median(finite(measures[radius] / measures[f"true {radius}"]))


def measure_rows(found: Mapping[str, Any]) -> list[dict[str, object]]:
    """Makes the rows of all measures that are one number for each lens."""
    return [
        {
            "machine": name,
            "measure": key,
            "median": median(finite(value)),
            "mean": float(finite(value).mean()),
            "lenses": int(torch.isfinite(value).sum()),
        }
        for name, own in found["measures"].items()
        for key, value in own.items()
        if value.ndim == 1
    ]


def added_rows(
    found: Mapping[str, Any], minutes: Mapping[str, float], sizes: Mapping[str, int]
) -> list[dict[str, object]]:
    """Makes the rows of *what we add*: medians, from the published design to ours."""
    rows: list[dict[str, object]] = []
    for name in ("published", *ADDED):
        own = found["measures"][name]

        rows.append(
            {
                "machine": name,
                "added": ADDED.get(name, "the published design, narrower"),
                "parameters": sizes[name],
                "minutes": minutes[name],
                "chi2": median(finite(own["chi2"])),
                "chi2_arc": median(finite(own["chi2 arc"])),
                "D": median(finite(own["D"])),
                "source": median(finite(own["relative L2"])),
                "kappa_dex": median(finite(own["kappa dex"])),
                "theta_E_error": median(finite((own["theta_E"] - own["true theta_E"]).abs())),
                "no_theta_E": int((~torch.isfinite(own["theta_E"])).sum()),
            }
        )
    return rows
