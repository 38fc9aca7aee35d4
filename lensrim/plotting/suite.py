"""The picture of a run of the standard mocks: errors, fits, scales, and stated errors."""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FormatStrFormatter, LogLocator, NullFormatter

from .panels import STYLE

COLORS = ("#35618f", "#c2571a", "#4f8a4c", "#8a5a9e", "#a08a2c", "#7d4a38", "#4aa3a8", "#777777")
FIXED = {"macro": "0.45", "answer": "black", "true_mass": "0.75"}
"""Stages that have colours of their own."""
LEFT_OUT = ("rim_inversion",)
"""Stages that are like another one, and are not drawn."""

Row = Mapping[str, Any]


def plot_suite(
    rows: Sequence[Row],
    *,
    settings: Sequence[str],
    snr_bins: Sequence[float],
    kappa_scales: Sequence[float],
    source_scales: Sequence[float],
    coverage: Mapping[str, tuple[Sequence[float], Sequence[float]]],
) -> Figure:
    """Draws what a run of the standard mocks has found.

    Above: the noise-free misfit, the error of the convergence and that of the source, against
    signal over noise, medians with the central 68 per cent of each setting; the macro-model's own
    answer in grey, the bars as dashed lines. In the middle: the excess of chi2 over what the fit
    should leave, and the coherence of convergence and source with the truth. Below: the radius of
    the source, the slope of the power laws, and how often the truth is within the stated errors.

    Arguments:
        rows: The rows of the run.
        settings: Names of the settings.
        snr_bins: Edges of the bins of signal over noise.
        kappa_scales, source_scales: Edges of the ranges of the wavelength [Einstein radii,
            half-light radii], in descending order.
        coverage: By quantity, levels and the shares that are covered.
    """
    good = [row for row in rows if "answer" in (row.get("stages") or {})]
    colors = dict(zip(settings, COLORS, strict=False))
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(13, 11), layout="constrained")
        axes = figure.subplots(3, 3)
        panels = {"misfit": "noise-free misfit D", "kappa": "log$_{10}$ κ rmse [dex]"}
        panels |= {"source_l2": "source relative L2"}
        limits = {"misfit": (0.3,), "kappa": (0.05, 0.04), "source_l2": (0.35, 0.25)}
        for axis, (key, label) in zip(axes[0], panels.items(), strict=True):
            _against_snr(axis, good, key, colors, snr_bins)
            axis.set_ylabel(label)
            # the narrower bar holds from S/N 50
            for bar, start in zip(limits[key], (snr_bins[0], 50.0), strict=False):
                axis.plot([start, snr_bins[-1]], [bar] * 2, "--", color="0.3", linewidth=0.9)
        if axes[0, 0].containers:
            axes[0, 0].legend(frameon=False, fontsize=8)
        _excess(axes[1, 0], good, colors)
        _coherence(axes[1, 1], good, "kappa", "-", kappa_scales)
        halos = [row for row in good if row.get("halo")]
        _coherence(axes[1, 1], halos, "angular", ":", kappa_scales)
        axes[1, 1].set(xlabel="wavelength [θ$_E$]", ylabel="coherence of log$_{10}$ κ")
        _note(axes[1, 1], "dotted: angular structure of haloes")
        _coherence(axes[1, 2], good, "source", "-", source_scales)
        axes[1, 2].set(xlabel="wavelength [R$_{50}$]", ylabel="coherence of the source")
        _against_snr(axes[2, 0], good, "r90", colors, snr_bins, signed=True)
        axes[2, 0].set_ylabel("bias of R$_{90}$")
        axes[2, 0].axhspan(-0.1, 0.1, color="0.92", zorder=0)
        _slopes(axes[2, 1], good, colors)
        _covered(axes[2, 2], coverage)
        figure.suptitle(f"{len(rows)} standard mocks, {len(rows) - len(good)} without an answer")
        return figure


def _note(axis: Axes, text: str) -> None:
    axis.set_title(text, fontsize=9, fontweight="normal", loc="right")


def _value(row: Row, key: str, stage: str = "answer") -> float:
    value = (row["stages"].get(stage) or {}).get(key)
    return np.nan if value is None else float(value)


def _against_snr(
    axis: Axes,
    rows: Sequence[Row],
    key: str,
    colors: Mapping[str, str],
    bins: Sequence[float],
    *,
    signed: bool = False,
) -> None:
    """Draws medians and the central 68 per cent in bins: of the settings and the macro-model."""
    groups = [(name, "answer", color) for name, color in colors.items()]
    for k, (name, stage, color) in enumerate([("macro-model", "macro", "0.6"), *groups]):
        own = [row for row in rows if name in ("macro-model", row.get("setting"))]
        points = []
        for low, high in pairwise(bins):
            found = [_value(r, key, stage) for r in own if low <= r["snr"] < high]
            found = [value for value in found if np.isfinite(value)]
            if found:
                middle = (low * high) ** 0.5 * 1.06 ** (k - 1.5)
                points.append((middle, *np.quantile(found, [0.16, 0.5, 0.84])))
        if points:
            x, below, middle, above = np.array(points).T
            errors = [middle - below, above - middle]
            marker = "s" if stage == "macro" else "o"
            axis.errorbar(x, middle, errors, fmt=marker, ms=4, color=color, label=name, lw=1.2)
    axis.set_xscale("log")
    if not signed:
        axis.set_yscale("log")
        axis.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axis.yaxis.set_major_formatter(FormatStrFormatter("%g"))
        axis.yaxis.set_minor_formatter(NullFormatter())
    axis.set_xlabel("signal over noise")
    axis.set_xticks(list(bins), [f"{b:g}" for b in bins], minor=False)
    axis.xaxis.set_minor_formatter(NullFormatter())
    axis.grid(color="0.92")


def _excess(axis: Axes, rows: Sequence[Row], colors: Mapping[str, str]) -> None:
    """Draws the excess of chi2 in units of its expected scatter, beside a unit Gaussian.

    What is beyond the edges is put into the outermost bins.
    """
    edges = np.linspace(-6, 6, 25).tolist()
    for name, color in colors.items():
        own = [r for r in rows if r.get("setting") == name]
        pairs = np.array([(_value(r, "excess"), _value(r, "excess_width")) for r in own])
        pairs = pairs.reshape(-1, 2)
        pairs = pairs[np.isfinite(pairs).all(1)]
        if pairs.size:
            z = np.clip(pairs[:, 0] / pairs[:, 1], -5.9, 5.9)
            axis.hist(z, edges, density=True, histtype="step", color=color, lw=1.3)
    z = np.linspace(-6, 6, 121)
    axis.plot(z, np.exp(-(z**2) / 2) / np.sqrt(2 * np.pi), color="0.6", lw=1)
    axis.set(xlabel="χ²$_ν$ − (1 − p$_{eff}$/N) in its scatter", ylabel="density")


def _coherence(
    axis: Axes, rows: Sequence[Row], kind: str, style: str, edges: Sequence[float]
) -> None:
    """Draws the median coherence of the stages against the wavelength."""
    middles = [(a * b) ** 0.5 for a, b in pairwise(edges)]
    stages = dict.fromkeys(name for row in rows for name in row["stages"])
    others = [name for name in stages if name not in (*FIXED, *LEFT_OUT)]
    colors = FIXED | dict(zip(others, COLORS, strict=False))
    # The answer is that of another stage, and would cover it.
    for stage in sorted(set(stages) & set(colors), key=lambda name: name != "answer"):
        color = colors[stage]
        told = [(r["stages"].get(stage) or {}).get("coherence") for r in rows]
        found = np.array([t[kind] for t in told if t and kind in t], dtype=float)
        if found.size and np.isfinite(found).any(0).all():
            label = stage if style == "-" else None
            width = 2.4 if stage == "answer" else 1.2
            median = np.nanmedian(found, 0)
            axis.plot(middles, median, style, color=color, lw=width, marker=".", label=label)
    axis.set_xscale("log")
    axis.set_xticks(list(edges), [f"{e:g}" for e in edges], minor=False)
    axis.xaxis.set_minor_formatter(NullFormatter())
    axis.set_ylim(-0.3, 1.05)
    axis.axhline(0, color="0.6", lw=0.8)
    axis.grid(color="0.92")
    if axis.get_legend_handles_labels()[1]:
        axis.legend(frameon=False, fontsize=8)


def _slopes(axis: Axes, rows: Sequence[Row], colors: Mapping[str, str]) -> None:
    """Draws the slopes of power laws against the true ones; small where the noise is strong."""
    for name, color in colors.items():
        own = [r for r in rows if r.get("setting") == name and not r.get("halo")]
        own = [r for r in own if r.get("slope") is not None]
        size = [18 if r["snr"] > 50 else 5 for r in own]
        x, y = [r["gamma"] for r in own], [r["slope"] for r in own]
        axis.scatter(x, y, size, color=color, alpha=0.7, label=name, linewidths=0)
    axis.plot([1.6, 2.5], [1.6, 2.5], color="0.6", lw=1)
    axis.set(xlabel="true slope of power laws", ylabel="slope", xlim=(1.55, 2.55))
    axis.set_ylim(1.55, 2.55)
    _note(axis, "large: S/N > 50")


def _covered(axis: Axes, coverage: Mapping[str, tuple[Sequence[float], Sequence[float]]]) -> None:
    """Draws how often the truth is within the stated errors, against how often it should be."""
    axis.plot([0, 1], [0, 1], color="0.6", lw=1)
    for k, (label, (levels, shares)) in enumerate(coverage.items()):
        color = COLORS[k % len(COLORS)]
        style = "-" if k < len(COLORS) else "--"
        axis.plot([0, *levels], [0, *shares], style, color=color, lw=1.4, label=label)
    axis.set(xlabel="stated probability", ylabel="covered", xlim=(0, 1), ylim=(0, 1))
    axis.grid(color="0.92")
    if coverage:
        axis.legend(frameon=False, fontsize=8)
