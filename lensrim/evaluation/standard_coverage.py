"""How often the truth is within what is stated of it, by group, in a run of the standard mocks."""

from collections.abc import Mapping, Sequence
from itertools import product

from .. import metrics
from .bars import map_coverage, map_crps, map_ratio, number_coverage, numbers
from .crossed import Table, aligned, crossed_groups
from .report import GROUPS, Row
from .stated import LEVELS, MAPS, SCALARS

SHOWN = (0.68, 0.95)
"""Levels of the table that is printed."""

LEGEND = """\
*: beyond 65 to 71, or 93 to 97; in a bin of S/N where the 95 % interval of the share does not hold
68, or 95 (never of maps, whose pixels are no trials). width: median stated error over the
errors made. crps: of Student's t, in units of the mean truth of maps, of the truth of numbers that
have a scale."""


def coverage_table(rows: Sequence[Row]) -> Table:
    """Makes a line for each stated quantity and group that has it: coverage, width and CRPS.

    CRPS is in units of the mean truth of maps, and of the truth of numbers that have a scale.
    """
    lines = []
    for name, (group, belongs) in product((*MAPS, *SCALARS), crossed_groups().items()):
        members = [row for row in rows if belongs(row)]
        if name in MAPS:
            covered, ratio = map_coverage(members, name), map_ratio(members, name)
            crps, n = map_crps(members, name), _stated(members, name)
        else:
            found = numbers(members, name)
            n = len(found)
            if n:
                covered = [number_coverage(members, name, level) for level in LEVELS]
                of_all = metrics.calibration(*found.T)
                ratio, crps = of_all.ratio, of_all.crps
        if not n:
            continue
        line = {"quantity": name, "group": group, "n": str(n)}
        line |= _bounds(members, name)
        for level, share in zip(LEVELS, covered, strict=True):
            line[f"{level:.0%}"] = f"{share:.4f}"
        lines.append(line | {"width": f"{ratio:.3f}", "crps": f"{crps:.4g}"})
    return lines


def _bounds(rows: Sequence[Row], name: str) -> dict[str, str]:
    """Returns the 95 per cent intervals of the shares that are covered.

    Pixels of a map are no independent trials: it has none.
    """
    found, bounds = numbers(rows, name), {}
    for level in SHOWN:
        ends = "", ""
        if name not in MAPS:
            inside = round(len(found) * number_coverage(rows, name, level))
            low, high = metrics.binomial_interval(inside, len(found))
            ends = f"{low:.3f}", f"{high:.3f}"
        bounds |= {f"{level:.0%} from": ends[0], f"{level:.0%} to": ends[1]}
    return bounds


def printed_coverage(lines: Table) -> str:
    """Formats the coverage of all mocks, and of each bin of S/N, with what is asked of it."""
    bins = ["all", *(name for name in GROUPS if name.startswith("S/N"))]
    found = {(line["quantity"], line["group"]): line for line in lines}
    cells = [["covered, 68 / 95 %", *bins, "width", "crps"]]
    for name in dict.fromkeys(line["quantity"] for line in lines):
        own = [_covered(found.get((name, group))) for group in bins]
        whole = found[name, "all"]
        cells.append([name, *own, whole["width"], whole["crps"]])
    return f"{aligned(cells)}\n{LEGEND}"


def _covered(line: Mapping[str, str] | None) -> str:
    """Returns the per cent of truths within 68 and 95 % intervals, marked where it is too far."""
    if line is None:
        return ""
    parts = []
    for level, room in zip(SHOWN, (0.03, 0.02), strict=True):
        share = float(line[f"{level:.0%}"])
        ends = [line[f"{level:.0%} {end}"] for end in ("from", "to")]
        if line["group"] == "all":
            far = abs(share - level) > room + 1e-9
        else:
            far = bool(ends[0]) and not float(ends[0]) <= level <= float(ends[1])
        parts.append(f"{100 * share:.1f}{'*' if far else ''}")
    return " / ".join(parts)


def _stated(rows: Sequence[Row], name: str) -> int:
    return sum(name in ((row.get("stated") or {}).get("maps") or {}) for row in rows)


def expected_coverage(rows: Sequence[Row]) -> Mapping[str, tuple[list[float], list[float]]]:
    """Returns, for each quantity of which something is asked, by its label, levels and the shares
    that are covered."""
    found = {}
    for name, label in MAPS.items():
        if _stated(rows, name):
            found[label] = list(LEVELS), map_coverage(rows, name)
    for name, scalar in SCALARS.items():
        if scalar.asked and len(numbers(rows, name)):
            shares = [number_coverage(rows, name, level) for level in LEVELS]
            found[scalar.label] = list(LEVELS), shares
    return found
