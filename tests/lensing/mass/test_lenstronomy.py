"""Every analytic mass model against lenstronomy: deflection, convergence, shear, potential."""

import math

import numpy as np
import pytest
import torch
from masses import points
from torch import Tensor

from lensrim.lensing import mass as models
from lensrim.lensing.light import sersic_b
from lensrim.lensing.mass import Mass

PLACE = {"center_x": 0.05, "center_y": -0.03}
ELLIPTICITIES = [(0.0, 0.0), (0.2, -0.15), (-1 / 3, 0.0)]
EXACT = 1e-6


def compare(
    ours: Mass,
    name: str,
    numbers: dict,
    *,
    positions: tuple[Tensor, Tensor] | None = None,
    approximate: dict[str, float] | None = None,
) -> None:
    """Compares all maps, relative to their largest values and point by point.

    Arguments:
        ours: Our model.
        name: The name of lenstronomy's.
        numbers: Its parameters.
        positions: Where, instead of 0.2 to 3 arcsec from the origin.
        approximate: Tolerance of the quantities that lenstronomy only approximates.
    """
    profiles = pytest.importorskip("lenstronomy.LensModel.lens_model")
    x, y = positions or points()
    model, kwargs = profiles.LensModel([name]), [numbers]
    args = (x[0].numpy(), y[0].numpy(), kwargs)
    psi = ours.potential(x, y)
    alpha, shear = ours.deflection(x, y), ours.shear(x, y)
    pairs = {
        "alpha": (torch.stack(alpha), np.stack(model.alpha(*args))),
        "kappa": (ours.convergence(x, y), model.kappa(*args)),
        "shear": (torch.stack(shear), np.stack(model.gamma(*args))),
    }
    potential = model.potential(*args)
    pairs["psi"] = (psi - psi.mean(), potential - potential.mean())
    for quantity, (mine, theirs) in pairs.items():
        theirs = torch.from_numpy(np.asarray(theirs)).reshape(mine.shape)
        tolerance = (approximate or {}).get(quantity, EXACT)
        scale = float(theirs.abs().max())
        torch.testing.assert_close(
            mine,
            theirs,
            rtol=tolerance,
            atol=tolerance * 0.1 * scale,
            msg=lambda m, q=quantity: f"{q}: {m}",
        )


@pytest.mark.oracle
@pytest.mark.parametrize(("e1", "e2"), ELLIPTICITIES)
@pytest.mark.parametrize("gamma", [1.3, 1.7, 2.0, 2.3, 2.7])
def test_power_law(gamma: float, e1: float, e2: float):
    numbers = {"theta_E": 1.2, "gamma": gamma, "e1": e1, "e2": e2, **PLACE}
    compare(models.EPL(**numbers), "EPL", numbers)


@pytest.mark.oracle
@pytest.mark.parametrize(("e1", "e2"), ELLIPTICITIES[1:])
def test_isothermal_ellipsoid(e1: float, e2: float):
    numbers = {"theta_E": 1.2, "e1": e1, "e2": e2, **PLACE}
    compare(models.SIE(**numbers), "EPL", {**numbers, "gamma": 2.0})


@pytest.mark.oracle
def test_isothermal_sphere():
    numbers = {"theta_E": 1.2, **PLACE}
    compare(models.SIS(**numbers), "SIS", numbers)


# lenstronomy differentiates the deflection of its NIE with a step of 1e-10.
@pytest.mark.oracle
@pytest.mark.parametrize("core", [0.01, 0.2, 1.0])
@pytest.mark.parametrize(("e1", "e2"), ELLIPTICITIES[1:])
def test_cored_isothermal_ellipsoid(core: float, e1: float, e2: float):
    numbers = {"theta_E": 1.2, "e1": e1, "e2": e2, **PLACE}
    ours = models.NIE(core=core, **numbers)
    theirs = {**numbers, "s_scale": core}
    compare(ours, "NIE", theirs, approximate={"kappa": 1e-4, "shear": 1e-4})


@pytest.mark.oracle
@pytest.mark.parametrize(("core", "truncation"), [(0.01, 0.5), (0.2, 1.5), (0.5, 20.0)])
def test_dual_pseudo_isothermal_sphere(core: float, truncation: float):
    sigma0 = 0.7
    theta_E = 2 * sigma0 * core * truncation / (truncation - core)
    ours = models.DPIE(theta_E, core, truncation, 0.0, 0.0, *PLACE.values())
    compare(ours, "PJAFFE", {"sigma0": sigma0, "Ra": core, "Rs": truncation, **PLACE})


@pytest.mark.oracle
@pytest.mark.parametrize("core", [0.05, 0.4])
@pytest.mark.parametrize(("e1", "e2"), ELLIPTICITIES[1:])
def test_dual_pseudo_isothermal_ellipsoid(core: float, e1: float, e2: float):
    # The elliptical one is a difference of two NIE, which lenstronomy has.
    profiles = pytest.importorskip("lenstronomy.LensModel.lens_model")
    shape = {"e1": e1, "e2": e2, **PLACE}
    x, y = points()
    model = profiles.LensModel(["NIE", "NIE"])
    kwargs = [
        {"theta_E": 1.2, "s_scale": core, **shape},
        {"theta_E": -1.2, "s_scale": 0.9, **shape},
    ]
    alpha = torch.from_numpy(np.stack(model.alpha(x[0].numpy(), y[0].numpy(), kwargs)))[:, None]
    ours = torch.stack(models.DPIE(1.2, core, 0.9, **shape).deflection(x, y))
    torch.testing.assert_close(ours, alpha, rtol=EXACT, atol=1e-8)


def _alpha_at_scale(kappa_s: float, r_s: float) -> float:
    return 4 * kappa_s * r_s * (1 - math.log(2))


def _about_scale(r_s: float) -> tuple[Tensor, Tensor]:
    """Positions about r = r_s of a centred halo, as near as 1e-4, and at 0.01 to 30 r_s."""
    r = r_s * torch.tensor([0.01, 0.1, 0.5, 0.8, 0.9, 0.9999, 1.0001, 1.1, 1.25, 2, 2.01, 5, 30])
    phi = torch.linspace(0.1, 6.0, len(r)).double()
    return (r.double() * phi.cos())[None], (r.double() * phi.sin())[None]


@pytest.mark.oracle
@pytest.mark.parametrize("r_s", [0.3, 1.0, 15.0])
def test_nfw(r_s: float):
    numbers = {"Rs": r_s, "alpha_Rs": _alpha_at_scale(0.2, r_s)}
    compare(models.NFW(0.2, r_s, *PLACE.values()), "NFW", {**numbers, **PLACE})
    compare(models.NFW(0.2, r_s), "NFW", numbers, positions=_about_scale(r_s))


@pytest.mark.oracle
@pytest.mark.parametrize("r_s", [0.3, 1.0, 15.0])
@pytest.mark.parametrize("tau", [0.3, 1.0, 4.0, 50.0])
def test_truncated_nfw(r_s: float, tau: float):
    numbers = {"Rs": r_s, "alpha_Rs": _alpha_at_scale(0.2, r_s), "r_trunc": tau * r_s}
    compare(models.TNFW(0.2, r_s, tau * r_s, *PLACE.values()), "TNFW", {**numbers, **PLACE})
    compare(models.TNFW(0.2, r_s, tau * r_s), "TNFW", numbers, positions=_about_scale(r_s))


# lenstronomy differentiates the deflection of its Hernquist profile numerically.
@pytest.mark.oracle
@pytest.mark.parametrize("r_s", [0.3, 1.0, 15.0])
def test_hernquist(r_s: float):
    ours, numbers = models.Hernquist(0.4, r_s), {"sigma0": 0.4, "Rs": r_s}
    loose = {"kappa": 1e-4, "shear": 1e-4}
    compare(ours, "HERNQUIST", numbers, approximate=loose)
    compare(ours, "HERNQUIST", numbers, positions=_about_scale(r_s), approximate=loose)


@pytest.mark.oracle
def test_point_mass():
    numbers = {"theta_E": 0.8, **PLACE}
    compare(models.PointMass(**numbers), "POINT_MASS", numbers)


# lenstronomy differentiates the deflection with a step of 1e-5, and sums a series for psi.
@pytest.mark.oracle
@pytest.mark.parametrize("n", [0.6, 1.0, 2.5, 4.0])
def test_round_sersic(n: float):
    # The same profile by another b_n: b (r / R)^(1/n) and kappa at the centre are kept.
    ours, theirs = float(sersic_b(torch.tensor(n, dtype=torch.float64))), 1.9992 * n - 0.3271
    numbers = {
        "k_eff": 0.5 * math.exp(ours - theirs),
        "R_sersic": 0.7 * (theirs / ours) ** n,
        "n_sersic": n,
        **PLACE,
    }
    mass = models.SersicMass(0.5, 0.7, n, 0.0, 0.0, *PLACE.values())
    loose = {"kappa": 3e-4, "shear": 3e-4, "psi": 1e-5}
    compare(mass, "SERSIC", numbers, approximate=loose)


@pytest.mark.oracle
@pytest.mark.parametrize("m", [1, 3, 4])
def test_multipole(m: int):
    a, phi = 0.03, 0.4
    numbers = {"m": m, "a_m": a, "phi_m": phi, "r_E": 1.3, **PLACE}
    components = (a * math.cos(m * phi), a * math.sin(m * phi))
    compare(models.Multipole(m, *components, *PLACE.values(), 1.3), "MULTIPOLE", numbers)


@pytest.mark.oracle
def test_shear_flexion_and_sheet():
    shear = {"gamma1": 0.04, "gamma2": -0.06}
    origin = dict(zip(("ra_0", "dec_0"), PLACE.values(), strict=True))
    compare(models.Shear(**shear, **PLACE), "SHEAR", {**shear, **origin})
    flexion = {"g1": 0.02, "g2": -0.01, "g3": 0.03, "g4": 0.01}
    compare(models.Flexion(**flexion, **PLACE), "FLEXION", {**flexion, **origin})
    compare(models.MassSheet(0.1, **PLACE), "CONVERGENCE", {"kappa": 0.1, **origin})
