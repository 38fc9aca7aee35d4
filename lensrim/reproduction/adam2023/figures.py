"""The figures of the paper: systems, χ², Einstein radii and slopes, coherence, radii; and ours of
what each change adds."""

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from .judging import MACRO, TUNED
from .measures import RANGES, WAVES

if TYPE_CHECKING:
    from matplotlib.figure import Figure

COLORS = {
    "published": "C0",
    TUNED.format("published"): "C9",
    "ours": "k",
    TUNED.format("ours"): "0.5",
    MACRO: "C1",
}
"""Those that are compared, and their colours."""

GOOD = 1.13
"""χ² per pixel below which the paper counts a fit as good."""


def systems_figure(found: Mapping[str, Any], pixel_scale: float) -> "Figure":
    """Draws lenses, a row each: image, residuals, convergence and source, true and found."""
    from matplotlib.figure import Figure

    shown = {name: value.numpy() for name, value in found["shown"].items()}
    names = ("published", TUNED.format("published"), "ours")
    count = len(shown["image"])
    columns = ["image"]
    columns += [f"residual, {name}" for name in names]
    columns += [f"κ, {name}" for name in ("truth", *names)]
    columns += [f"source, {name}" for name in ("truth", *names)]
    figure = Figure(figsize=(1.15 * len(columns), 1.2 * count + 0.3), layout="constrained")
    panels: Any = figure.subplots(count, len(columns), squeeze=False)
    for i, row in enumerate(panels):
        axes = iter(row)
        next(axes).imshow(shown["image"][i, 0], origin="lower", cmap="magma")
        for name in names:
            rest = (shown["image"] - shown[f"{name}: image"]) / shown["sigma"]
            next(axes).imshow(rest[i, 0], origin="lower", cmap="coolwarm", vmin=-5, vmax=5)
        for name in ("truth", *names):
            kappa = shown[f"{name}: log_kappa"][i, 0]
            next(axes).imshow(kappa, origin="lower", vmin=-1.0, vmax=1.0)
        for name in ("truth", *names):
            half = float(shown[f"{name}: side"][i]) * pixel_scale / 2
            ax, top = next(axes), float(shown["truth: source"][i].max())
            source, extent = shown[f"{name}: source"][i, 0], (-half, half, -half, half)
            ax.imshow(source, origin="lower", cmap="magma", vmin=0, vmax=top, extent=extent)
            ax.set(xlim=(-1.0, 1.0), ylim=(-1.0, 1.0), facecolor="k")
        row[0].set_ylabel(f"S/N {1 / float(found['noise'][i]):.0f}", fontsize=7)
        for ax in row:
            ax.set(xticks=[], yticks=[])
    for ax, title in zip(panels[0], columns, strict=True):
        ax.set_title(title.replace(", ", "\n", 1), fontsize=7)
    return figure


def chi2_figure(found: Mapping[str, Any]) -> "Figure":
    """Draws the distributions of χ² of the frame, before and after fine-tuning."""
    import numpy as np
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6, 3.6), layout="constrained")
    axes: Any = figure.subplots()
    for name, color in COLORS.items():
        values = np.sort(found["measures"][name]["chi2"].numpy())
        shares = (np.arange(len(values)) + 1) / len(values)
        axes.step(values, shares, where="post", color=color, label=name)
    axes.axvline(1, color="0.7", zorder=0)
    axes.axvline(GOOD, color="0.7", ls=":", zorder=0)
    axes.set(xscale="log", xlabel="χ² per pixel of the frame", ylabel="share of lenses below")
    axes.legend(fontsize="small")
    return figure


def noise_figure(found: Mapping[str, Any]) -> "Figure":
    """Draws χ² of the frame against the noise, before and after fine-tuning, of those lenses to
    which machines were fine-tuned."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8.5, 3.4), layout="constrained")
    panels: Any = figure.subplots(1, 2, sharey=True)
    for axes, name in zip(panels, ("published", "ours"), strict=True):
        after = found["measures"][TUNED.format(name)]["chi2"].numpy()
        before = found["measures"][name]["chi2"].numpy()[: len(after)]
        noise = found["noise"].numpy()[: len(after)]
        axes.vlines(noise, after, before, color="0.8", lw=0.8)
        axes.plot(noise, before, "o", ms=4, color="C0", label="before")
        axes.plot(noise, after, ".", color="k", label="after fine-tuning")
        axes.axhline(1, color="0.7", zorder=0)
        axes.set(xscale="log", yscale="log", title=name)
        axes.set_xlabel("noise, relative to the brightest pixel")
    panels[0].set_ylabel("χ² per pixel of the frame")
    panels[0].legend(fontsize="small")
    return figure


def recovered_figure(found: Mapping[str, Any]) -> "Figure":
    """Draws Einstein radii and slopes, as they were found, against the true ones."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8.5, 4), layout="constrained")
    panels: Any = figure.subplots(1, 2)
    for axes, key in zip(panels, ("theta_E", "slope"), strict=True):
        low, high = math.inf, -math.inf
        for name in (TUNED.format("published"), "ours", MACRO):
            own = found["measures"][name]
            true, seen = own[f"true {key}"].numpy(), own[key].numpy()
            axes.plot(true, seen, ".", color=COLORS[name], label=name)
            low, high = min(low, float(true.min())), max(high, float(true.max()))
        axes.plot([low, high], [low, high], color="0.7", zorder=0)
    panels[0].set(xlabel="true Einstein radius [arcsec]", ylabel="found [arcsec]")
    panels[1].set(xlabel="true slope", ylabel="found")
    panels[0].legend(fontsize="small")
    return figure


def coherence_figure(found: Mapping[str, Any]) -> "Figure":
    """Draws coherences by wavelength: by the right formula, and by that of the paper, also of
    maps that have nothing to do with each other."""
    import numpy as np
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 6), layout="constrained")
    panels: Any = figure.subplots(2, 2, sharex=True, sharey=True)
    places = np.arange(RANGES)
    for row, label in zip(panels, ("coherence", "moduli"), strict=True):
        for axes, what in zip(row, ("kappa", "source"), strict=True):
            key = f"{label} of {what}"
            for name in ("published", TUNED.format("published"), "ours", MACRO):
                mean = np.nanmean(found["measures"][name][key].numpy(), 0)
                axes.plot(places, mean, "o-", ms=4, color=COLORS[name], label=name)
            other = np.nanmean(found["unrelated"][key].numpy(), 0)
            axes.plot(places, other, "s--", ms=4, color="C3", label="another lens")
            axes.axhline(math.pi / 4 if label == "moduli" else 0, color="0.7", zorder=0)
            axes.set_title(f"{what}: {'Re X*Y' if label == 'coherence' else '|X*Y|'}", fontsize=9)
    for axes in panels[1]:
        axes.set_xticks(places, [f"1/{1 / wave:.0f}" for wave in WAVES[1:]])
        axes.set_xlabel("wavelengths above this share of the map's side")
    panels[0, 0].set_ylabel("coherence")
    panels[1, 0].set_ylabel("by moduli")
    panels[0, 0].legend(fontsize="small")
    return figure


def radii_figure(found: Mapping[str, Any]) -> "Figure":
    """Draws the radii that hold shares of the sources' light, over the true ones."""
    import numpy as np
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 3.6), layout="constrained")
    axes: Any = figure.subplots()
    radii = ("R50", "R90", "R99")
    for k, (name, color) in enumerate(COLORS.items()):
        own = found["measures"][name]
        ratios = [(own[r] / own[f"true {r}"]).numpy() for r in radii]
        ratios = [ratio[np.isfinite(ratio)] for ratio in ratios]
        places = [i + 0.16 * (k - 2) for i in range(len(radii))]
        boxes = axes.boxplot(ratios, positions=places, widths=0.12, sym=".", whis=(5, 95))
        for part in (part for parts in boxes.values() for part in parts):
            part.set(color=color, markeredgecolor=color, markersize=3)
        axes.plot([], color=color, label=name)
    axes.axhline(1, color="0.7", zorder=0)
    axes.set(yscale="log", ylabel="radius, found over true", xticks=range(len(radii)))
    axes.set_xticklabels(radii)
    axes.legend(fontsize="x-small")
    return figure


def added_figure(rows: Sequence[Mapping[str, Any]]) -> "Figure":
    """Draws what each change adds: medians of errors, from the published design to ours."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8.5, 3.6), layout="constrained")
    axes: Any = figure.subplots()
    places = range(len(rows))
    for key, label in (
        ("chi2_arc", "χ² of the arcs"),
        ("D", "D"),
        ("source", "relative error of the source"),
        ("kappa_dex", "error of log κ [dex]"),
        ("theta_E_error", "error of θ_E [arcsec]"),
    ):
        axes.plot(places, [row[key] for row in rows], "o-", label=label)
    axes.set(yscale="log", xticks=places)
    axes.set_xticklabels([str(row["machine"]) for row in rows])
    axes.legend(fontsize="x-small")
    return figure
