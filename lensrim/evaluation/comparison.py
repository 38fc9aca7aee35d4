"""A reconstruction compared with its truth: errors of maps, stage by stage."""

from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import numpy as np
import torch

from .. import metrics
from ..inference.answer import Answer, adapted, answer
from ..inference.judgement import numbers_of
from ..inference.learning import ROUNDS
from ..inference.macro import MacroState
from ..inference.scene import Scene
from ..inference.view import MassMaps
from ..io.product import Product
from .known import Known
from .maps import Maps, maps_of, with_margin
from .mass import ellipsoid_kappa, region_of, shear_of_map, slope_of_map, true_shear
from .mocks import Mock

SOURCE_SIDE = 0.4
"""Side of the source's frame relative to the image's; a map that is larger is its own frame.

Root mean square errors need a frame that is the same for all: a map that ends where its light ends
has larger ones, and does not show the light that it lacks.
"""


def compare(mock: Mock, product: Product) -> dict[str, float]:
    """Computes the errors of a product.

    Returns:
        By name: ``macro_error`` and ``theta_error`` (relative errors of the Einstein radii),
        ``misfit`` (D on the true arcs' mask), ``chi2nu``, ``chi2arc``, ``peff``, ``kappa`` and
        ``kappa_sheet`` (log10 RMSE in 0.3 to 2 Einstein radii, the latter after the best mass
        sheet), ``alpha`` (deflection error on the arcs, in Einstein radii), ``slope_error``
        (absolute, of the slopes of the maps of the convergence: :func:`~.mass.slope_of_map`),
        ``shear_error`` (modulus of the error of the shear that belongs to the map:
        :func:`~.mass.shear_of_map`), ``source_l2``, ``source_rmse`` (of the peak) and
        ``source_sheet`` (relative L2 after the best mass sheet; all three in the source's usual
        frame, :data:`SOURCE_SIDE`), and with their signs, relative to the truth, ``r50``, ``r90``
        (radii of the source on its own pixels) and ``flux`` (of the source, against that of the
        whole galaxy).

    Raises:
        ValueError: If the product is not on the mock's pixels.
    """
    maps, value = product.image_maps, {key: entry[0] for key, entry in product.header.items()}
    truth = mock.truth
    if np.shape(maps["MODEL"]) != mock.observation.image.shape:
        raise ValueError(
            f"the product has {np.shape(maps['MODEL'])} pixels, not those of the mock"
        )
    return {
        "macro_error": abs(float(value["MACROTE"]) / truth.macro_theta_E - 1),
        "theta_error": abs(float(value["THETAE"]) / truth.theta_E - 1),
        "chi2nu": float(value["CHI2NU"]),
        "chi2arc": float(value["CHI2ARC"]),
        "peff": float(value["PEFF"]),
    } | compare_maps(mock, maps_of(product))


def compare_maps(mock: Mock, maps: Maps) -> dict[str, float]:
    """Computes the errors of maps: those that :func:`compare` names which need no header."""
    truth = mock.truth
    shear = np.subtract(shear_of_map(mock, maps.kappa, maps.alpha), true_shear(mock))
    slopes = slope_of_map(mock, maps.kappa), slope_of_map(mock, truth.kappa)
    return compare_known(Known.of(mock), maps) | {
        "slope_error": abs(slopes[0] - slopes[1]),
        "shear_error": float(np.hypot(*shear)),
    }


def compare_known(known: Known, maps: Maps) -> dict[str, float]:
    """Computes the errors of maps that need no model of the true mass: those of :func:`compare`
    but for slope and shear."""
    region = known.region
    source = known.source_on(maps)
    framed = with_margin(maps, SOURCE_SIDE * min(known.grid.fov))
    source_l2, source_rmse = metrics.source_errors(framed.source, known.source_on(framed))
    own, true = (metrics.light_radii(s, maps.source_grid) for s in (maps.source, source))
    flux = float(maps.source.sum()) * maps.source_grid.spacing**2
    scaled = known.source_on(framed, mass_sheet=True)
    sheet, _ = metrics.source_errors(framed.source, scaled)
    return {
        "misfit": metrics.misfit(maps.model, known.arcs, known.sigma, known.arc_mask),
        "kappa": metrics.log_kappa_rmse(maps.kappa, known.kappa, region),
        "kappa_sheet": metrics.log_kappa_rmse(maps.kappa, known.kappa, region, mass_sheet=True),
        "alpha": metrics.deflection_error(maps.alpha, known.alpha, known.arc_mask) / known.theta_E,
        "source_l2": source_l2,
        "source_rmse": source_rmse,
        "source_sheet": sheet,
        "r50": own[0] / true[0] - 1,
        "r90": own[1] / true[1] - 1,
        "flux": flux / known.source.flux - 1,
    }


KAPPA_SCALES = (4.0, 2.0, 1.0, 0.5, 0.25)
"""Ranges of the wavelength in which the convergence is compared [Einstein radii]."""

SOURCE_SCALES = (8.0, 4.0, 2.0, 1.0, 0.5)
"""Ranges of the wavelength in which the source is compared [half-light radii]."""


def coherences(mock: Mock, maps: Maps) -> dict[str, list[float]]:
    """Computes the signed coherence with the truth against scale.

    Returns:
        By name, for each range of the wavelength: ``kappa``, of log10 of the convergence;
        ``angular``, of the same less that of the true ellipsoid and less its mean on each ring
        about the centre, in 0.3 to 2 Einstein radii: what multipoles, subhaloes and the shapes of
        haloes add to the ellipsoid, whatever the slope and the mass sheet; ``source``, in the
        gauge of the map.
    """
    truth, grid = mock.truth, mock.observation.grid
    size = truth.system.placement.half_light_radius
    kappa, true, smooth = (
        np.log10(np.maximum(k, metrics.KAPPA_FLOOR))
        for k in (maps.kappa, truth.kappa, ellipsoid_kappa(mock))
    )
    waves = [scale * truth.macro_theta_E for scale in KAPPA_SCALES]
    own = [scale * size for scale in SOURCE_SCALES]
    source = Known.of(mock).source_on(maps)
    angular, wanted = (_angular(mock, k - smooth) for k in (kappa, true))
    return {
        "kappa": metrics.coherence(kappa, true, grid, waves).tolist(),
        "angular": metrics.coherence(angular, wanted, grid, waves).tolist(),
        "source": metrics.coherence(maps.source, source, maps.source_grid, own).tolist(),
    }


def _angular(mock: Mock, difference: np.ndarray) -> np.ndarray:
    """Takes the mean of each ring about the lens off a map, which is zero beyond the annulus."""
    grid, host = mock.observation.grid, mock.truth.system.lens.ellipsoid
    (h, w), center = grid.shape, (host.center_x, host.center_y)
    region = region_of(mock)
    x, y = grid.from_index(np.arange(w), np.arange(h)[:, None])
    ring = (np.hypot(x - center[0], y - center[1])[region] / grid.spacing).astype(int)
    mean = np.bincount(ring, difference[region]) / np.maximum(np.bincount(ring), 1)
    flat = np.zeros(grid.shape)
    flat[region] = difference[region] - mean[ring]
    return flat


def compare_stages(mock: Mock, result: Any) -> dict[str, dict[str, Any]]:
    """Computes the errors of every stage of a chain, by its name, and of its ``answer``.

    Beside them ``true_mass`` is the source that is solved for given the true deflection: what is
    left to whoever knows the mass, but no more of the source than the inversion's prior. A quick
    answer keeps no stages: it is its product's.
    """
    answers, product = getattr(result, "answers", None), result.product
    if answers is None:
        return {}
    if not answers:
        value, keys = product.value, {"theta_E": "THETAE", "chi2nu": "CHI2NU"}
        keys |= {"chi2arc": "CHI2ARC", "peff": "PEFF", "chi2nu_expected": "CHI2EXP"}
        numbers = {n: float(value(k)) for n, k in keys.items() if value(k) is not None}
        own = compare_all(mock, maps_of(product), numbers)
        return {str(value("STAGE")): own, "answer": own}
    found = {
        name: _compare_answer(mock, each, product.stages["inversion" if name == "macro" else name])
        for name, each in answers.items()
    }
    found["answer"] = found[product.header["STAGE"][0]]
    if len(answers) > 1 and getattr(result, "scene", None) is not None:
        with suppress(RuntimeError):  # of a matrix: no failure of the chain
            best = with_true_mass(mock, result.scene, result.state)
            found["true_mass"] = _compare_answer(mock, best, numbers_of(result.scene, best))
    return found


def _compare_answer(mock: Mock, found: Any, numbers: Mapping[str, Any]) -> dict[str, Any]:
    alpha = (found.alpha_x, found.alpha_y)
    maps = Maps(found.arcs, found.kappa, alpha, found.source, found.source_grid)
    return compare_all(mock, maps, numbers)


def compare_all(mock: Mock, maps: Maps, numbers: Mapping[str, float]) -> dict[str, Any]:
    """Computes all that is said of one stage of a chain, or of another method.

    Arguments:
        mock: The mock.
        maps: Its maps.
        numbers: Its ``theta_E``, ``chi2nu``, ``chi2arc`` and ``peff``, and ``chi2nu_expected``
            where that is not 1 - p_eff / N.

    Returns:
        The errors of :func:`compare_maps`, ``theta_error``, the other three numbers, ``excess``
        and ``excess_width`` (:func:`lensrim.metrics.chi2_excess`, of the frame), and
        ``coherence`` (:func:`coherences`).
    """
    pixels = int(mock.observation.mask.sum())
    left = numbers.get("chi2nu_expected", 1 - numbers["peff"] / pixels)
    excess, width = metrics.chi2_excess(numbers["chi2nu"], (1 - left) * pixels, pixels)
    return compare_maps(mock, maps) | {
        "theta_error": abs(numbers["theta_E"] / mock.truth.theta_E - 1),
        "chi2nu": numbers["chi2nu"],
        "chi2arc": numbers["chi2arc"],
        "peff": numbers["peff"],
        "excess": excess,
        "excess_width": width,
        "coherence": coherences(mock, maps),
    }


def with_true_mass(mock: Mock, scene: Scene, state: MacroState) -> Answer:
    """Solves for the source of a mock, given its true deflection."""
    truth = mock.truth
    alpha = torch.from_numpy(np.stack([truth.alpha_x, truth.alpha_y]))
    mass = MassMaps(torch.from_numpy(truth.kappa), alpha)
    return adapted(scene, answer(scene, mass, state, tune=ROUNDS))
