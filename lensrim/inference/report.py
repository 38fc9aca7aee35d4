"""What is reported: the product's keywords, maps and stages."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any

import numpy as np

from .. import __version__
from ..io.frames import position_angle, sky_axes
from ..io.observation import Observation
from ..io.product import Product
from ..io.wcs import placed
from ..lensing.cosmology import lens_scales
from ..lensing.critical import critical_curves, jacobian_determinant, trace_to_source
from .answer import Answer
from .judgement import core_lines, judge, noise_lines, numbers_of, peak_line, residual_of
from .learning import Outcome
from .machine import Machine
from .macro import NAMES, MacroPrior, MacroState
from .refinement import REFINED
from .scene import Scene
from .source_modes import SourceModes
from .stated import Stated, stated_of
from .symptoms import Candidate, symptoms_of


def build_product(
    observation: Observation,
    scene: Scene,
    prior: MacroPrior,
    state: MacroState,
    outcome: Outcome,
    machine: Machine | None,
    *,
    notes: tuple[str, ...],
    settings: tuple[str, ...],
    redshifts: tuple[float | None, float | None, str],
    samples: int = 0,
    seed: int = 0,
    candidates: Sequence[Candidate] = (),
    errors: bool = True,
) -> Product:
    """Puts maps and numbers into the product of the contract.

    Arguments:
        observation: As it was fitted.
        scene: The same, with lens light and noise.
        prior, state: Prior and parameters of the macro-model.
        outcome: The answers of the stages.
        machine: The machine that was asked for.
        notes, settings: Lines for the history.
        redshifts: Of lens and source, and the cosmology's name.
        samples, seed: How many samples of the posterior are kept, and the seed of them.
        candidates: Macro-models that the search ended with.
        errors: Whether errors are stated, and what needs a posterior: magnification and flux.
    """
    frame, grid, result = scene.frame, scene.frame.grid, outcome.last
    residual = residual_of(scene, result)
    arcs = scene.arcs & frame.mask
    numbers: dict[str, dict[str, Any]] = {
        name: numbers_of(scene, each) | _prior_of(each) for name, each in outcome.answers.items()
    }
    if outcome.refined is not None and "descent" in numbers:
        numbers["descent"] |= outcome.refined.numbers
    number = numbers[outcome.stage]
    chi2, chi2_arc = number["chi2nu"], number["chi2arc"]
    theta_e = number["theta_E"]
    used = machine if outcome.begun != "macro" else None
    p: dict[str, float] = dict(zip(NAMES, state.p[0].tolist(), strict=True))
    sheet, native = result.sheet, observation.bin**2
    symptoms = symptoms_of(scene, result, state, prior, candidates, theta_E=theta_e)
    stated = Stated(sheet.slope if math.isfinite(sheet.slope) else p["gamma"])
    if errors:
        kept = {"samples": samples, "seed": seed, "native": native}
        stated = stated_of(scene, result, state, prior, symptoms, **kept)
    judgement = judge(symptoms, refused=machine is not None and used is None)
    macro_theta = math.exp(p["log_theta_E"])
    ellipticity = math.hypot(p["e1"], p["e2"])
    phi = 0.5 * math.atan2(p["e2"], p["e1"])
    shear_phi = 0.5 * math.atan2(p["gamma2"], p["gamma1"])
    determinant = jacobian_determinant(result.alpha_x, result.alpha_y, grid)
    curves = tuple(critical_curves(determinant, grid))
    header: dict[str, tuple[Any, str]] = {
        "THETAE": (theta_e, "[arcsec] circle of mean kappa 1"),
        "MACROTE": (macro_theta, "[arcsec] macro-model, intermediate axis"),
        "GAMMA1": (result.gamma[0], "external shear, with the map"),
        "GAMMA2": (result.gamma[1], "external shear, with the map"),
        "MACROG1": (p["gamma1"], "external shear, macro-model"),
        "MACROG2": (p["gamma2"], "external shear, macro-model"),
        "MACROQ": ((1 - ellipticity) / (1 + ellipticity), "axis ratio, macro-model"),
        "MACROPHI": (math.degrees(phi) % 180, "[deg] major axis from +x, counter-clockwise"),
        "MACROSL": (p["gamma"], "3-D slope, macro-model"),
        "SLOPE": (stated.slope, "3-D slope of the mass"),
        "SHEET": (sheet.kappa, "kappa of the sheet; 1 - SHEET scales the rest"),
        "SHEETSTD": (sheet.std, "std of ln(1 - SHEET), given MACROSL"),
        "CHI2NU": (chi2, "chi2 per used pixel of the frame"),
        "CHI2ARC": (chi2_arc, "chi2 per pixel of the arcs"),
        "NARC": (int(arcs.sum()), "pixels of the arcs"),
        "CHI2EXP": (number["chi2nu_expected"], "CHI2NU of a right model where SIGMA is right"),
        "ARCEXP": (number["chi2arc_expected"], "CHI2ARC of a right model where SIGMA is right"),
        "NNEIGH": (
            int((scene.neighbours & observation.mask).sum()),
            "pixels masked as neighbours",
        ),
        "PEFF": (number["peff"], "effective number of linear parameters"),
        "SKYNOISE": (scene.noise_scale, "noise of the sky over SIGMA"),
        "SKYGROW": (scene.growth, "noise over a PSF over that of white noise"),
        "QUALITY": (judgement.quality, "good, doubtful or failed"),
        "QSCORE": (judgement.score, "share of such mocks with theta_E off by > 10 %"),
        "QREASONS": (judgement.codes, "why"),
        "MODEL": (used.name if used else "macro", "model that gave the answer"),
        "MODELSHA": (used.sha256 if used else "none", "sha256 of its weights"),
        "VERSION": (__version__, "version of lensrim"),
        "NOISKIND": (observation.noise_kind, "kind of noise that was read"),
        "NOISFACT": (observation.noise_factor, "factor on the noise that was read"),
        "PSFKIND": (observation.psf_kind, "whether the PSF holds the pixel"),
        "BIN": (observation.bin, "native pixels along a pixel"),
        "STAGE": (outcome.stage, "last stage"),
    }
    wcs = observation.plain_wcs
    if wcs is not None and wcs.has_celestial:
        sky = sky_axes(wcs, grid)
        header["MACROPA"] = (position_angle(phi, sky), "[deg] E of N, major axis")
        header["SHEARPA"] = (position_angle(shear_phi, sky), "[deg] E of N, macro-model's shear")
    header |= (
        dict(stated.cards)
        | _magnitudes(observation, result, stated.cards)
        | _masses(redshifts, theta_e, stated.cards)
        | position_of(observation, p)
    )
    told = noise_lines(chi2, measured=bool(observation.noise_growth)) + core_lines(
        scene, result, macro_theta
    )
    if "PEAK" in judgement.reasons:
        told += (peak_line(scene, result, macro_theta, observation),)
    shape = grid.shape
    return Product(
        name=observation.name,
        header=header,
        image_maps={
            "DATA": observation.image,
            "SIGMA": frame.sigma,
            "MASK": frame.mask,
            "LENS_LIGHT": result.lens_light,
            "SKY": np.full(shape, result.sky),
            "MODEL": result.arcs,
            "RESIDUAL": residual,
            "KAPPA": result.kappa,
            "ALPHA_X": result.alpha_x,
            "ALPHA_Y": result.alpha_y,
            "MAGNIFICATION": 1 / np.where(np.abs(determinant) < 1e-12, 1e-12, determinant),
            **stated.image_maps,
        },
        source_maps={"SOURCE": result.source, **stated.source_maps},
        samples=stated.samples,
        psf=observation.psf,
        image_grid=grid,
        source_grid=result.source_grid,
        wcs=wcs,
        unit=observation.unit,
        stages={
            "lens_light": {
                "center": list(scene.light.center),
                "ellipticity": scene.light.ellipticity.tolist(),
                "sky": result.sky,
                "noise_scale": scene.noise_scale,
                "noise_growth": scene.growth,
            },
            "macro": {
                **p,
                "log_evidence": float(state.value[0]),
                "log_strength_length_size_core": state.hyper[0].tolist(),
                "mass_sheet": asdict(sheet),
            },
            # the macro-model's own inversion, which is kept for comparison where there is one
            **({"inversion": numbers.pop("macro")} if "macro" in numbers else {}),
            **numbers,
            "report": {"reasons": dict(judgement.reasons), "symptoms": asdict(symptoms)},
        },
        history=(*settings, *notes, *told, *judgement.lines),
        critical_curves=curves,
        caustics=tuple(trace_to_source(curves, result.alpha_x, result.alpha_y, grid)),
        neighbours=scene.neighbours,
    )


def _prior_of(result: Answer) -> dict[str, Any]:
    """Tells the source prior of an answer: how many modes, and strength and length with an
    envelope that follows the light, if it has one."""
    follows = result.envelope
    return {
        "modes": len(SourceModes(result.modes)),
        "log_strength_length_following": follows and [follows.strength, follows.length],
    }


def timed(product: Product, seconds: Mapping[str, float], learnt: Mapping[str, float]) -> Product:
    """Adds the times of the stages, and their sum.

    Arguments:
        product: What :func:`build_product` returned.
        seconds: Time of each stage of the chain [s]; reading does not count.
        learnt: Of that of the machine the part of each of its stages; none where its answer was
            refused.
    """
    spent = {
        "lens_light": seconds["lens light"],
        "macro": seconds["search"] + seconds.get("lens light with arcs", 0.0),
        "inversion": seconds["source"],
        "report": seconds["report"],
    }
    if "machine" in seconds:
        begins = next(iter(learnt), "machine")
        rest = seconds["machine"] - sum(learnt.values())
        spent |= {**learnt, begins: learnt.get(begins, 0.0) + rest}
    if "quick" in seconds:
        spent = {"quick": seconds["quick"], **spent}
    if "refinement" in seconds:
        made = (name for name in REFINED if name in product.stages)
        spent[next(made, "refinement")] = seconds["refinement"]
    total = round(sum(spent.values()), 2)
    return replace(
        product,
        header={**product.header, "SECONDS": (total, "[s] wall time, less reading and writing")},
        stages={**product.stages}
        | {k: {**product.stages.get(k, {}), "seconds": v} for k, v in spent.items()},
    )


def _magnitudes(
    observation: Observation,
    result: Answer,
    stated: Mapping[str, tuple[Any, str]],
) -> dict[str, tuple[Any, str]]:
    """Lensed and source magnitude, where a zeropoint is known, each where its flux is positive."""
    if observation.zeropoint is None:
        return {}
    found = {"MAGZERO": (observation.zeropoint, "[mag] of unit flux in a native pixel")}
    # Pixel values are means over binned pixels; the zeropoint is that of a native one.
    lensed = float(result.arcs.sum()) * observation.bin**2
    if not lensed > 0:
        return found
    magnitude = observation.zeropoint - 2.5 * math.log10(lensed)
    found["MAGLENS"] = magnitude, "[mag] of the arcs"
    if "FLUXSRC" in stated and stated["MAGTOT"][0] > 0 and (flux := stated["FLUXSRC"][0]) > 0:
        error = 2.5 / math.log(10) * stated["FLUXSRCE"][0] / flux
        found["MAGSRC"] = (observation.zeropoint - 2.5 * math.log10(flux), "[mag] of the source")
        found["MAGSRCER"] = (error, "[mag] error of MAGSRC")
    return found


def position_of(observation: Observation, p: Mapping[str, float]) -> dict[str, tuple[Any, str]]:
    """Says where the macro-model's centre is: in the frame, in the file's image, on the sky."""
    x, y = p["center_x"], p["center_y"]
    column, row = (float(index) for index in observation.grid.to_index(x, y))
    place = observation.to_file(column, row)
    found: dict[str, tuple[Any, str]] = {
        "MACROX": (x, "[arcsec] centre of mass off the frame's, in x"),
        "MACROY": (y, "[arcsec] centre of mass off the frame's, in y"),
        "LENSX": (place[0], "its column in the file's image, from 0"),
        "LENSY": (place[1], "its row in the file's image, from 0"),
    }
    wcs = observation.wcs
    if wcs is not None and wcs.has_celestial and placed(wcs, column, row):
        sky = wcs.celestial.pixel_to_world(column, row).icrs
        found["LENSRA"] = float(sky.ra.deg), "[deg] its right ascension (ICRS)"
        found["LENSDEC"] = float(sky.dec.deg), "[deg] its declination (ICRS)"
    return found


def _masses(
    redshifts, theta_e: float, stated: Mapping[str, tuple[Any, str]]
) -> dict[str, tuple[Any, str]]:
    """Einstein mass and lengths, with what theta_E's error makes of them, for known redshifts."""
    z_lens, z_source, cosmology = redshifts
    if z_lens is None:
        return {}
    scales = lens_scales(z_lens, z_source, cosmology=cosmology)
    mass, kpc, errors = scales.einstein_mass(theta_e), scales.kpc_per_arcsec_lens, {}
    if "THETAEER" in stated:
        error = stated["THETAEER"][0]
        errors = {
            "MEINSTER": (2 * error / theta_e * mass, "[M_sun] error of MEINST"),
            "THETAKPE": (error * kpc, "[kpc] error of THETAKPC"),
        }
    found: dict[str, tuple[Any, str]] = {
        "ZLENS": (z_lens, "redshift of the lens"),
        "ZSOURCE": (z_source, "redshift of the source"),
        "COSMO": (cosmology, "cosmology"),
        "SIGMACR": (scales.sigma_critical, "[M_sun/arcsec2] critical density"),
        "MEINST": (mass, "[M_sun] within THETAE"),
        "THETAKPC": (theta_e * kpc, "[kpc] THETAE at the lens"),
        "KPCSRC": (scales.kpc_per_arcsec_source, "[kpc/arcsec] at the source"),
    }
    return found | errors
