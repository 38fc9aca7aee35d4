"""The short table of a product's numbers, which a person reads first."""

import math

from ..io.product import Product


def summary_of(product: Product, notes: tuple[str, ...]) -> str:
    """Writes the table that a person reads first; of what was not found it says so."""
    v = product.value

    def known(key: str) -> bool:
        return v(key) is not None and math.isfinite(v(key))

    def error(key: str, form: str) -> str:
        return f" +- {v(key):{form}}" if known(key) else ""

    expected = f"expected {v('CHI2EXP'):.3f}; " if known("CHI2EXP") else ""
    of_arcs = f" (expected {v('ARCEXP'):.3f}; p_eff {v('PEFF'):.0f})" if known("ARCEXP") else ""
    sky = v("SKYNOISE") ** 2
    rows = [
        (
            "theta_E",
            f"{v('THETAE'):.4f}{error('THETAEER', '.4f')} arcsec (circle of mean kappa 1)"
            if known("THETAE")
            else "none (no circle in the frame has a mean kappa of 1)",
        ),
        (
            "macro theta_E",
            f"{v('MACROTE'):.4f}{error('MACROTER', '.4f')} arcsec, slope {v('MACROSL'):.2f}",
        ),
        (
            "slope",
            f"{v('SLOPE'):.2f}{error('SLOPEERR', '.2f')} "
            f"(with a mass sheet of {v('SHEET'):+.3f} +- {v('SHEETSTD'):.3f})",
        ),
        (
            "axis ratio",
            f"{v('MACROQ'):.3f}{error('MACROQER', '.3f')}, major axis {v('MACROPHI'):.0f}"
            f"{error('MACROPHE', '.0f')} deg from +x",
        ),
        (
            "shear",
            f"({v('MACROG1'):+.3f}{error('MACROG1E', '.3f')}, "
            f"{v('MACROG2'):+.3f}{error('MACROG2E', '.3f')})",
        ),
        ("chi2 frame", f"{v('CHI2NU'):.3f} ({expected}sky alone {sky:.3f})"),
        ("chi2 arc", f"{v('CHI2ARC'):.3f} over {v('NARC')} pixels{of_arcs}"),
    ]
    if known("MAGTOT"):
        rows.append(("magnification", f"{v('MAGTOT'):.2f}{error('MAGTOTER', '.2f')}"))
    elif "MAGTOT" in product.header:
        rows.append(("magnification", "none (no part of the source is detected)"))
    if known("MEINST"):
        mass = f"{v('MEINST'):.3e}{error('MEINSTER', '.1e')} M_sun"
        rows.append(("mass", f"{mass} in {v('THETAKPC'):.2f} kpc"))
    if known("MAGLENS"):
        source = f"{v('MAGSRC'):.2f}" if known("MAGSRC") else "none"
        rows.append(("magnitudes", f"source {source}, lensed {v('MAGLENS'):.2f}"))
    times = ", ".join(
        f"{name} {stage['seconds']:.1f}"
        for name, stage in product.stages.items()
        if "seconds" in stage
    )
    if v("STAGE") != "macro":
        rows.append(("answer", f"stage {v('STAGE')} of model {v('MODEL')}"))
    reasons = "" if v("QREASONS") == "none" else f" ({v('QREASONS')})"
    spent = f"{v('SECONDS'):.1f}" + (f" ({times})" if times else "")
    rows += [("quality", f"{v('QUALITY')}{reasons}"), ("seconds", spent)]
    (h, w), spacing = product.image_grid.shape, product.image_grid.spacing
    return "\n".join(
        [
            f"{product.name}: {w} x {h} pixels of {spacing:.4f} arcsec",
            *(f"  {label:<14}{text}" for label, text in rows),
            *(f"  note: {note}" for note in notes),
        ]
    )
