"""What is reported: the product's keywords, maps and stages, and a short table."""

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from .. import __version__, metrics
from ..io.frames import position_angle
from ..io.observation import Observation
from ..io.product import Product
from ..lensing.cosmology import lens_scales
from ..lensing.critical import critical_curves, jacobian_determinant, trace_to_source
from .answer import Answer
from .ascent import MacroProblem
from .macro import NAMES, MacroPrior, MacroState
from .magnification import total_magnification
from .search import Scene


def doubts(p: Mapping[str, float], prior: MacroPrior, theta_e: float) -> list[str]:
    """Names what is implausible in a macro-model, whatever its χ²: one line each.

    Arguments:
        p: Parameters by name (``NAMES``).
        prior: Their prior.
        theta_e: Radius of the circle of mean κ 1 [arcsec]; NaN if there is none.
    """
    low, high = (math.log(t) for t in prior.theta_E)
    center = math.hypot(p["center_x"] - prior.center[0], p["center_y"] - prior.center[1])
    found = {
        "the shear is above 0.3": math.hypot(p["gamma1"], p["gamma2"]) > 0.3,
        "the axis ratio is below 0.3": math.hypot(p["e1"], p["e2"]) > 0.54,
        "the centre of mass is more than 4 standard deviations from its prior": center
        > 4 * prior.center_width,
        "the Einstein radius is at the end of the range that was searched": not low + 0.02
        < p["log_theta_E"]
        < high - 0.02,
        "no circle in the frame has a mean convergence of 1": math.isnan(theta_e),
    }
    return [f"doubtful: {what}" for what, is_so in found.items() if is_so]


def quality(chi2_arc: float, chi2_fit: float, noise_scale: float, doubtful: bool) -> str:
    """Judges a fit by the arcs' χ², in two units of noise, and by its doubts.

    The noise that was fitted with follows the sky where less is stated or more, but it holds the
    structure of the lens galaxy as well, which is measured on what the fit leaves over: a bad fit
    makes it large. So the arcs must be fitted in units of the stated noise, too.

    Arguments:
        chi2_arc: χ² per pixel of the arcs with the stated noise.
        chi2_fit: The same with the noise that was fitted with.
        noise_scale: Noise of the sky over the stated one; above 1, the sky's counts as stated.
        doubtful: Whether the macro-model is implausible.
    """
    ratio = max(chi2_arc / max(noise_scale, 1.0) ** 2, chi2_fit)
    if doubtful:
        return "poor"
    return "good" if ratio < 1.4 else "fair" if ratio < 2.5 else "poor"


def build_product(
    observation: Observation,
    scene: Scene,
    problem: MacroProblem,
    state: MacroState,
    result: Answer,
    *,
    notes: tuple[str, ...],
    settings: tuple[str, ...],
    redshifts: tuple[float | None, float | None, str],
) -> Product:
    """Puts maps and numbers into the product of the contract."""
    frame, grid = scene.frame, scene.frame.grid
    residual = (observation.image - result.arcs - result.lens_light - result.sky) / frame.sigma
    residual = np.where(frame.mask, residual, 0.0)
    arcs = scene.arcs & frame.mask
    chi2 = float((residual[frame.mask] ** 2).mean())
    chi2_arc = float((residual[arcs] ** 2).mean())
    chi2_fit = float(((residual * frame.sigma / scene.sigma)[arcs] ** 2).mean())
    theta_e = metrics.effective_theta_E(result.kappa, grid)
    p: dict[str, float] = dict(zip(NAMES, state.p[0].tolist(), strict=True))
    covariance = problem.covariance(state)[0]
    deviations = covariance.diagonal().clamp(min=0).sqrt()
    errors = dict(zip(NAMES, deviations.tolist(), strict=True))
    magnification, magnification_std = total_magnification(problem, state, covariance)
    questions = doubts(p, problem.prior, theta_e)
    macro_theta = math.exp(p["log_theta_E"])
    ellipticity = math.hypot(p["e1"], p["e2"])
    phi = 0.5 * math.atan2(p["e2"], p["e1"])
    shear_phi = 0.5 * math.atan2(p["gamma2"], p["gamma1"])
    determinant = jacobian_determinant(result.alpha_x, result.alpha_y, grid)
    curves = tuple(critical_curves(determinant, grid))
    header: dict[str, tuple[Any, str]] = {
        "THETAE": (theta_e, "[arcsec] circle of mean kappa 1"),
        "MACROTE": (macro_theta, "[arcsec] macro-model, intermediate axis"),
        "MACROTER": (macro_theta * errors["log_theta_E"], "[arcsec] its standard deviation"),
        "GAMMA1": (result.gamma[0], "external shear, with the map"),
        "GAMMA2": (result.gamma[1], "external shear, with the map"),
        "MACROG1": (p["gamma1"], "external shear, macro-model"),
        "MACROG2": (p["gamma2"], "external shear, macro-model"),
        "MACROQ": ((1 - ellipticity) / (1 + ellipticity), "axis ratio, macro-model"),
        "MACROPHI": (math.degrees(phi) % 180, "[deg] major axis from +x, counter-clockwise"),
        "MACROSL": (p["gamma"], "3-D slope, macro-model"),
        "CHI2NU": (chi2, "chi2 per used pixel of the frame"),
        "CHI2ARC": (chi2_arc, "chi2 per pixel of the arcs"),
        "NARC": (int(arcs.sum()), "pixels of the arcs"),
        "NNEIGH": (
            int((scene.neighbours & observation.mask).sum()),
            "pixels masked as neighbours",
        ),
        "PEFF": (result.effective, "effective number of linear parameters"),
        "SKYNOISE": (scene.noise_scale, "noise of the sky over SIGMA"),
        "MAGTOT": (magnification, "lensed over source flux, where detected"),
        "MAGTOTER": (magnification_std, "its standard deviation"),
        "QUALITY": (
            quality(chi2_arc, chi2_fit, scene.noise_scale, bool(questions)),
            "good, fair or poor",
        ),
        "MODEL": ("macro", "model that gave the answer"),
        "MODELSHA": ("none", "sha256 of its weights"),
        "VERSION": (__version__, "version of lensrim"),
        "NOISKIND": (observation.noise_kind, "kind of noise that was read"),
        "PSFKIND": (observation.psf_kind, "whether the PSF holds the pixel"),
        "BIN": (observation.bin, "native pixels along a pixel"),
        "STAGE": ("macro", "last stage"),
    }
    if observation.wcs is not None:
        header["MACROPA"] = (
            position_angle(phi, observation.wcs, grid),
            "[deg] E of N, major axis",
        )
        header["SHEARPA"] = (
            position_angle(shear_phi, observation.wcs, grid),
            "[deg] E of N, shear",
        )
    header |= _magnitudes(observation, result, magnification) | _masses(redshifts, theta_e)
    shape = grid.shape
    return Product(
        name=observation.name,
        header=header,
        image_maps={
            "DATA": observation.image,
            "SIGMA": frame.sigma,
            "MASK": frame.mask.astype(np.uint8),
            "LENS_LIGHT": result.lens_light,
            "SKY": np.full(shape, result.sky),
            "MODEL": result.arcs,
            "RESIDUAL": residual,
            "KAPPA": result.kappa,
            "ALPHA_X": result.alpha_x,
            "ALPHA_Y": result.alpha_y,
            "MAGNIFICATION": 1 / np.where(np.abs(determinant) < 1e-12, 1e-12, determinant),
        },
        source_maps={"SOURCE": result.source, "SOURCE_STD": result.source_std},
        psf=observation.psf,
        image_grid=grid,
        source_grid=result.source_grid,
        wcs=observation.wcs,
        unit=observation.unit,
        stages={
            "lens_light": {
                "center": list(scene.light.center),
                "ellipticity": scene.light.ellipticity.tolist(),
                "sky": result.sky,
                "noise_scale": scene.noise_scale,
            },
            "macro": {
                **p,
                "errors": errors,
                "log_evidence": float(state.value[0]),
                "log_strength_length_size_core": state.hyper[0].tolist(),
            },
            "inversion": {
                "log_evidence": result.log_evidence,
                "chi2nu": chi2,
                "chi2arc": chi2_arc,
                "chi2arc_fitted_noise": chi2_fit,
                "peff": result.effective,
            },
        },
        history=(*settings, *notes, *questions),
        critical_curves=curves,
        caustics=tuple(trace_to_source(curves, result.alpha_x, result.alpha_y, grid)),
        neighbours=scene.neighbours,
    )


def timed(product: Product, seconds: Mapping[str, float]) -> Product:
    """Adds the times of the stages, and their sum.

    Arguments:
        product: What :func:`build_product` returned.
        seconds: Time of each stage of the chain [s]; reading does not count.
    """
    spent = {
        "lens_light": seconds["lens light"],
        "macro": seconds["search"] + seconds.get("lens light with arcs", 0.0),
        "inversion": seconds["source"],
        "report": seconds["report"],
    }
    total = round(sum(spent.values()), 2)
    return replace(
        product,
        header={**product.header, "SECONDS": (total, "[s] wall time, less reading and writing")},
        stages={k: {**product.stages.get(k, {}), "seconds": v} for k, v in spent.items()},
    )


def _magnitudes(
    observation: Observation, result: Answer, magnification: float
) -> dict[str, tuple[Any, str]]:
    """Lensed and source magnitude, where a zeropoint is known, each where its flux is positive."""
    if observation.zeropoint is None:
        return {}
    # Pixel values are means over binned pixels; the zeropoint is that of a native one.
    lensed = float(result.arcs.sum()) * observation.bin**2
    if not lensed > 0:
        return {}
    magnitude = observation.zeropoint - 2.5 * math.log10(lensed)
    found = {"MAGLENS": (magnitude, "[mag] of the arcs")}
    if magnification > 0:
        found["MAGSRC"] = (magnitude + 2.5 * math.log10(magnification), "[mag] of the source")
    return found


def _masses(redshifts, theta_e: float) -> dict[str, tuple[Any, str]]:
    """Einstein mass and lengths, where redshifts are given."""
    z_lens, z_source, cosmology = redshifts
    if z_lens is None:
        return {}
    scales = lens_scales(z_lens, z_source, cosmology=cosmology)
    return {
        "ZLENS": (z_lens, "redshift of the lens"),
        "ZSOURCE": (z_source, "redshift of the source"),
        "COSMO": (cosmology, "cosmology"),
        "SIGMACR": (scales.sigma_critical, "[M_sun/arcsec2] critical density"),
        "MEINST": (scales.einstein_mass(theta_e), "[M_sun] within THETAE"),
        "THETAKPC": (theta_e * scales.kpc_per_arcsec_lens, "[kpc] THETAE at the lens"),
        "KPCSRC": (scales.kpc_per_arcsec_source, "[kpc/arcsec] at the source"),
    }


def summary_of(product: Product, notes: tuple[str, ...]) -> str:
    """Writes the table that a person reads first; of what was not found it says so."""
    v = product.value

    def known(key: str) -> bool:
        return v(key) is not None and math.isfinite(v(key))

    expected = 1 - v("PEFF") / int(product.image_maps["MASK"].sum())
    slope, sky = v("MACROSL"), v("SKYNOISE") ** 2
    rows = [
        (
            "theta_E",
            f"{v('THETAE'):.4f} arcsec (circle of mean kappa 1)"
            if known("THETAE")
            else "none (no circle in the frame has a mean kappa of 1)",
        ),
        ("macro theta_E", f"{v('MACROTE'):.4f} +- {v('MACROTER'):.4f} arcsec, slope {slope:.2f}"),
        ("axis ratio", f"{v('MACROQ'):.3f}, major axis {v('MACROPHI'):.0f} deg from +x"),
        ("shear", f"({v('MACROG1'):+.3f}, {v('MACROG2'):+.3f})"),
        ("chi2 frame", f"{v('CHI2NU'):.3f} (expected {expected:.3f}; sky alone {sky:.3f})"),
        ("chi2 arc", f"{v('CHI2ARC'):.3f} over {v('NARC')} pixels, p_eff {v('PEFF'):.0f}"),
        (
            "magnification",
            f"{v('MAGTOT'):.2f} +- {v('MAGTOTER'):.2f}"
            if known("MAGTOT")
            else "none (no part of the source is detected)",
        ),
    ]
    if known("MEINST"):
        rows.append(("mass", f"{v('MEINST'):.3e} M_sun in {v('THETAKPC'):.2f} kpc"))
    if known("MAGLENS"):
        source = f"{v('MAGSRC'):.2f}" if known("MAGSRC") else "none"
        rows.append(("magnitudes", f"source {source}, lensed {v('MAGLENS'):.2f}"))
    times = ", ".join(f"{name} {stage['seconds']:.1f}" for name, stage in product.stages.items())
    rows += [("quality", str(v("QUALITY"))), ("seconds", f"{v('SECONDS'):.1f} ({times})")]
    (h, w), spacing = product.image_grid.shape, product.image_grid.spacing
    return "\n".join(
        [
            f"{product.name}: {w} x {h} pixels of {spacing:.4f} arcsec",
            *(f"  {label:<14}{text}" for label, text in rows),
            *(f"  note: {note}" for note in notes),
        ]
    )
