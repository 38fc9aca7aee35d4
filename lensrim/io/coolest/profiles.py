"""The profiles that both sides have, and how to go from one to the other."""

from collections.abc import Mapping
from dataclasses import dataclass, fields, is_dataclass
from math import pi, sqrt
from numbers import Real
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lensrim.errors import InputError
from lensrim.lensing import light, mass

from . import conventions
from .grids import Pixels
from .node import ANY, POSITIVE, Range

Values = Mapping[str, Any]
"""Parameters of a profile by COOLEST's names: numbers, lists of numbers, and maps."""

CENTER: Mapping[str, Range] = {"center_x": ANY, "center_y": ANY}
ELLIPSE: Mapping[str, Range] = {"q": (0.0, 1.0), "phi": ANY, **CENTER}
MASS: Mapping[str, Mapping[str, Range]] = {
    "SIE": {"theta_E": POSITIVE, **ELLIPSE},
    "PEMD": {"gamma": (1.0, 3.0), "theta_E": POSITIVE, **ELLIPSE},
    "NIE": {"theta_E": POSITIVE, "r_core": POSITIVE, **ELLIPSE},
    "Chameleon": {"b": POSITIVE, "s_c": POSITIVE, "s_t": POSITIVE, **ELLIPSE},
    "NFW": {"r_s": POSITIVE, "rho_c": POSITIVE, **ELLIPSE},
    "ExternalShear": {"gamma_ext": (0.0, 1.0), "phi_ext": ANY},
    "ConvergenceSheet": {"kappa_s": (-1e8, 1e8)},
    "PixelatedRegularGridPotential": {"pixels": ANY},
}
"""The masses that both sides have: COOLEST's parameters, and their ranges there."""
LIGHT: Mapping[str, Mapping[str, Range]] = {
    "Sersic": {"I_eff": POSITIVE, "theta_eff": POSITIVE, "n": conventions.N_SERSIC, **ELLIPSE},
    "Shapelets": {"n_max": POSITIVE, "beta": POSITIVE, **CENTER, "amps": ANY},
    "LensedPS": {"ra_list": ANY, "dec_list": ANY, "amps": POSITIVE},
    "PixelatedRegularGrid": {"pixels": ANY},
}
"""The same of lights."""
LISTS = {"amps", "ra_list", "dec_list"}
"""Parameters that are lists of numbers."""
NONZERO = ("q", "s_t", "r_s", "theta_eff", "beta")
"""Parameters that are not zero, where COOLEST's ranges begin."""
_COORDINATES = {"center_x": 0, "center_y": 1, "ra_list": 0, "dec_list": 1}
"""Parameters that move with the origin, and along which axis."""
_DIMENSIONS: Mapping[type, Mapping[str, int]] = {
    light.Shapelets: {"amp": 1},
    light.PointSource: {"x": 1, "y": 1, "flux": 1},
    light.Pixelated: {"pixels": 2},
    mass.PixelatedPotential: {"pixels": 2},
}
"""Dimensions of the parameters of one lens that are no numbers."""


@dataclass(frozen=True)
class Units:
    """What amplitudes are multiplied by on the way to COOLEST.

    Arguments:
        pixel: Those per pixel: the square of the binning, as data are per native pixel here.
        arcsec2: Those of profiles, which are per arcsec² there.
    """

    pixel: float
    arcsec2: float


def check(values: Values) -> None:
    """Makes sure that parameters within COOLEST's ranges describe a profile.

    Raises:
        InputError: If one is zero that is divided by, or the mass is negative.
    """
    for key in NONZERO:
        if key in values:
            _nonzero(key, values[key])
    if "s_c" in values and values["s_c"] > values["s_t"]:
        raise InputError(
            f"the core s_c must be at most s_t, found {values['s_c']:g} and {values['s_t']:g}: the"
            " convergence is negative; exchange them"
        )


def moved(values: Values, x: float, y: float) -> Values:
    """Moves a profile by so many arcsec."""
    result, by = dict(values), (x, y)
    for key in _COORDINATES.keys() & values.keys():
        value, step = values[key], by[_COORDINATES[key]]
        result[key] = [v + step for v in value] if key in LISTS else value + step
    if "pixels" in values:
        result["pixels"] = values["pixels"].moved(x, y)
    return result


def undeflected(model: Any) -> tuple[float, float] | None:
    """Returns the point that a shear or a sheet does not deflect, where COOLEST has its origin."""
    if not isinstance(model, mass.Shear | mass.MassSheet):
        return None
    m = _plain(model)
    return m.center_x, m.center_y


def write_mass(model: Any) -> tuple[str, Values]:
    """Returns COOLEST's name and parameters of a mass model.

    Raises:
        InputError: If there is no such profile, or it cannot be this one.
    """
    m = _plain(model)
    match model:
        case mass.SIE():
            return "SIE", {"theta_E": m.theta_E, **_ellipse(m)}
        case mass.SIS():
            return "SIE", {"theta_E": m.theta_E, **_round(m)}
        case mass.EPL():
            return "PEMD", {"gamma": m.gamma, "theta_E": m.theta_E, **_ellipse(m)}
        case mass.NIE():
            theta_E = conventions.to_cored_radius(m.theta_E, m.core)
            if np.isnan(theta_E):
                raise InputError(
                    "COOLEST's NIE is given by its Einstein radius, which exists for a core of"
                    f" at most half of theta_E, found core {m.core:g} and theta_E {m.theta_E:g}:"
                    " write a PixelatedPotential of it"
                )
            return "NIE", {"theta_E": theta_E, "r_core": m.core, **_ellipse(m)}
        case mass.DPIE():
            radii = {"b": m.theta_E, "s_c": m.core, "s_t": m.truncation}
            return "Chameleon", {**radii, **_ellipse(m)}
        case mass.NFW():
            _nonzero("r_s", m.r_s)
            return "NFW", {"r_s": m.r_s, "rho_c": m.kappa_s / m.r_s, **_round(m)}
        case mass.Shear():
            size, phi = conventions.to_polar(m.gamma1, m.gamma2)
            return "ExternalShear", {"gamma_ext": size, "phi_ext": phi}
        case mass.MassSheet():
            return "ConvergenceSheet", {"kappa_s": m.kappa}
        case mass.PixelatedPotential():
            pixels = Pixels(m.pixels, m.grid, unit="arcsec2").moved(m.center_x, m.center_y)
            return "PixelatedRegularGridPotential", {"pixels": pixels}
    raise InputError(
        f"COOLEST has no mass profile for a {type(model).__name__}: write its potential on a grid,"
        " as a PixelatedPotential"
    )


def read_mass(name: str, p: Values) -> mass.Mass:
    """Makes a mass model from COOLEST's name and parameters, and the centre of any."""
    match name:
        case "SIE":
            return mass.SIE(p["theta_E"], **_shape(p))
        case "PEMD":
            return mass.EPL(p["theta_E"], p["gamma"], **_shape(p))
        case "NIE":
            theta_E = conventions.from_cored_radius(p["theta_E"], p["r_core"])
            return mass.NIE(theta_E, p["r_core"], **_shape(p))
        case "Chameleon":
            return mass.DPIE(p["b"], p["s_c"], p["s_t"], **_shape(p))
        case "NFW":
            if p["q"] != 1:
                raise InputError(
                    f"lensrim has no elliptical NFW, found q = {p['q']:g}: make it round"
                )
            return mass.NFW(p["rho_c"] * p["r_s"], p["r_s"], **_center(p))
        case "ExternalShear":
            gamma1, gamma2 = conventions.from_polar(p["gamma_ext"], p["phi_ext"])
            return mass.Shear(gamma1, gamma2, **_center(p))
        case "ConvergenceSheet":
            return mass.MassSheet(p["kappa_s"], **_center(p))
        case _:
            return mass.PixelatedPotential(torch.from_numpy(p["pixels"].array), p["pixels"].grid)


def write_light(model: Any, units: Units) -> tuple[str, Values]:
    """Returns COOLEST's name and parameters of a light.

    Raises:
        InputError: If there is no such profile, or it cannot be this one.
    """
    m, per = _plain(model), units.arcsec2
    match model:
        case light.Sersic():
            amp, radius = conventions.to_sersic(m.amp, m.R_sersic, m.n_sersic)
            return "Sersic", {**_sersic(per * amp, radius, m.n_sersic), **_ellipse(m)}
        case light.Exponential():
            amp, radius = conventions.sersic_of(m.amp, m.R_d, 1.0)
            return "Sersic", {**_sersic(per * amp, radius, 1.0), **_ellipse(m)}
        case light.Gaussian():
            _nonzero("sigma", m.sigma)
            central, scale = m.amp / (2 * pi) / m.sigma / m.sigma, sqrt(2) * m.sigma
            amp, radius = conventions.sersic_of(central, scale, 0.5)
            return "Sersic", {**_sersic(per * amp, radius, 0.5), **_ellipse(m)}
        case light.Shapelets():
            numbers = {"n_max": model.n_max, "beta": m.beta, **_center(vars(m))}
            return "Shapelets", {**numbers, "amps": (per * m.amp).tolist()}
        case light.PointSource():
            arrays = np.atleast_1d(m.x, m.y, units.pixel * m.flux)
            x, y, flux = np.broadcast_arrays(*arrays)
            lists = {"ra_list": x, "dec_list": y, "amps": flux}
            return "LensedPS", {k: v.tolist() for k, v in lists.items()}
        case light.Pixelated():
            pixels = Pixels(units.pixel * m.pixels, m.grid).moved(m.center_x, m.center_y)
            return "PixelatedRegularGrid", {"pixels": pixels}
    raise InputError(
        f"COOLEST has no light profile for a {type(model).__name__}: write its surface brightness"
        " on a grid, as a Pixelated"
    )


def read_light(name: str, p: Values, units: Units) -> light.Light | light.PointSource:
    """Makes a light from COOLEST's name and parameters."""
    match name:
        case "Sersic":
            amp, radius = conventions.from_sersic(p["I_eff"], p["theta_eff"], p["n"])
            return light.Sersic(amp / units.arcsec2, radius, p["n"], **_shape(p))
        case "Shapelets":
            count = (p["n_max"] + 1) * (p["n_max"] + 2) / 2
            if len(p["amps"]) != count:
                raise InputError(
                    f"amps must have (n_max + 1) (n_max + 2) / 2 = {count:g} numbers, found"
                    f" {len(p['amps'])}: correct one of them"
                )
            return light.Shapelets(_tensor(p["amps"]) / units.arcsec2, p["beta"], **_center(p))
        case "LensedPS":
            x, y, flux = (_tensor(p[k]) for k in ("ra_list", "dec_list", "amps"))
            if not len(x) == len(y) == len(flux):
                raise InputError(
                    "ra_list, dec_list and amps must be of one length, found"
                    f" {len(x)}, {len(y)} and {len(flux)}: correct them"
                )
            return light.PointSource(x, y, flux / units.pixel)
        case _:
            pixels = torch.from_numpy(p["pixels"].array) / units.pixel
            return light.Pixelated(pixels, p["pixels"].grid)


def _plain(model: Any) -> SimpleNamespace:
    """Turns the parameters of one lens into floats and arrays; what else there is stays."""
    if not is_dataclass(model):
        return SimpleNamespace()
    dimensions, plain = _DIMENSIONS.get(type(model), {}), {}
    for name in (f.name for f in fields(model)):
        value = getattr(model, name)
        if isinstance(value, Tensor | np.ndarray | Real):
            value = _single(name, value, dimensions.get(name, 0))
        plain[name] = value
    return SimpleNamespace(**plain)


def _single(name: str, value: Any, dimensions: int) -> Any:
    array = torch.as_tensor(value, dtype=torch.float64).detach().cpu().numpy()
    shape = array.shape[max(array.ndim - dimensions, 0) :]
    if array.size != np.prod(shape):
        raise InputError(
            f"{name} must be that of one lens, found a batch of shape {array.shape}: write a"
            " template for each"
        )
    return array.reshape(shape) if dimensions else array.item()


def _nonzero(name: str, value: float) -> None:
    if value == 0:
        raise InputError(f"{name} must be more than 0, found 0: correct it")


def _tensor(values: list[float]) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


def _sersic(amp: float, radius: float, n: float) -> Values:
    return {"I_eff": amp, "theta_eff": radius, "n": n}


def _ellipse(m: SimpleNamespace) -> Values:
    """Returns COOLEST's shape and place of a model of ours."""
    q, phi = conventions.to_axis_ratio(m.e1, m.e2)
    return {"q": q, "phi": phi, **_center(vars(m))}


def _round(m: SimpleNamespace) -> Values:
    return {"q": 1.0, "phi": 0.0, **_center(vars(m))}


def _shape(p: Values) -> dict[str, Any]:
    """Returns the shape and place of a model of ours from COOLEST's."""
    e1, e2 = conventions.from_axis_ratio(p["q"], p["phi"])
    return {"e1": e1, "e2": e2, **_center(p)}


def _center(p: Values) -> dict[str, Any]:
    return {"center_x": p["center_x"], "center_y": p["center_y"]}
