"""Templates against the coolest package: accepted by it, and the same maps from its own code."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from lensrim.grid import PixelGrid
from lensrim.io.coolest import Galaxy, LensSystem, MassField, read_coolest, write_coolest
from lensrim.io.coolest.profiles import LIGHT, MASS
from lensrim.lensing import light, mass
from lensrim.lensing.mass import Sum

from .templates import LIGHTS, MASSES, PIXELS, PLACE, SHAPE, assert_same, observation

coolest = pytest.importorskip("coolest.template.json")
pytestmark = pytest.mark.oracle
X, Y = PixelGrid((41, 43), 0.1, (0.013, 0.007)).coordinates(dtype=torch.float64)


def load(path: Path, *, files: bool = True) -> Any:
    serializer = coolest.JSONSerializer(str(path.with_suffix("")), check_external_files=files)
    return serializer.load(verbose=False)


def parameters(profile: Any) -> dict[str, Any]:
    return {name: p.point_estimate.value for name, p in profile.parameters.items()}


def written(model: Any, folder: Path, **options: Any) -> Any:
    """Returns the package's profile of a model, from the file that we wrote."""
    which = "mass" if isinstance(model, mass.Mass) else "light"
    system = LensSystem([Galaxy("it", 0.5, **{which: [model]})], **options)
    write_coolest(system, folder / "lens.json")
    # The package misses the file of an image where there is none.
    return getattr(load(folder / "lens.json", files=False).lensing_entities[0], f"{which}_model")[
        0
    ]


@pytest.mark.parametrize("known", [MASS, LIGHT], ids=["mass", "light"])
def test_profiles_have_the_parameters_and_ranges_of_the_package(known):
    module = pytest.importorskip(
        f"coolest.template.classes.profiles.{'mass' if known is MASS else 'light'}"
    )
    for name, ranges in known.items():
        theirs = getattr(module, name)().parameters
        assert set(theirs) == set(ranges), name
        for key, (low, high) in ranges.items():
            if key in ("pixels", "phi", "phi_ext"):  # an angle needs no range
                continue
            found = theirs[key].definition_range
            assert (found.min_value, found.max_value) == (
                None if low == -np.inf else low,
                None if high == np.inf else high,
            ), (name, key)


@pytest.mark.parametrize(
    "model",
    [
        mass.EPL(1.1, 2.2, **SHAPE),
        mass.EPL(0.9, 1.7, -0.1, 0.3, **PLACE),
        mass.EPL(1.0, 2.0, 0.0, 0.0, **PLACE),
        mass.Shear(0.03, -0.05),
        mass.Shear(-0.1, 0.02),
        mass.MassSheet(-0.04),
    ],
    ids=repr,
)
def test_masses_are_those_of_the_package(model: mass.Mass, tmp_path: Path):
    profiles = pytest.importorskip("coolest.api.profiles.mass")
    found = written(model, tmp_path)
    theirs, p = getattr(profiles, found.type)(), parameters(found)
    x, y = X.numpy(), Y.numpy()

    def close(ours: Any, theirs: Any) -> None:
        np.testing.assert_allclose(ours, theirs, rtol=1e-6, atol=1e-7)

    close(model.convergence(X, Y), theirs.convergence(x, y, **p))
    close(torch.stack(model.deflection(X, Y)), theirs.deflection(x, y, **p))
    close(model.potential(X, Y), theirs.potential(x, y, **p))


def test_a_sie_is_the_power_law_of_the_package(tmp_path: Path):
    # which has no code for the SIE itself
    profiles = pytest.importorskip("coolest.api.profiles.mass")
    model = mass.SIE(1.2, **SHAPE)
    p = parameters(written(model, tmp_path)) | {"gamma": 2.0}
    theirs = profiles.PEMD().deflection(X.numpy(), Y.numpy(), **p)
    np.testing.assert_allclose(torch.stack(model.deflection(X, Y)), theirs, rtol=1e-6, atol=1e-7)


def chameleon(r2: np.ndarray, *, b: float, s_c: float, s_t: float, **_: float) -> np.ndarray:
    return b / 2 * (1 / np.sqrt(r2 + s_c**2) - 1 / np.sqrt(r2 + s_t**2))


def nie(r2: np.ndarray, *, theta_E: float, r_core: float, **_: float) -> np.ndarray:
    # b is what makes the mean inside theta_E one: b (sqrt(s^2 + theta_E^2) - s) = theta_E^2
    b = theta_E**2 / (np.hypot(r_core, theta_E) - r_core)
    return b / 2 / np.sqrt(r2 + r_core**2)


@pytest.mark.parametrize(
    ("model", "kappa"),
    [(mass.DPIE(1.2, 0.1, 2.0, **SHAPE), chameleon), (mass.NIE(1.2, 0.15, **SHAPE), nie)],
)
def test_masses_are_those_of_the_documentation(model: mass.Mass, kappa: Any, tmp_path: Path):
    # formulas of the standard, in coordinates that its code turns
    util = pytest.importorskip("coolest.api.profiles.util")
    p = parameters(written(model, tmp_path))
    phi = util.eastofnorth2normalradians(p["phi"])
    x, y = util.shift_rotate_elliptical(
        X.numpy(), Y.numpy(), phi, p["q"], p["center_x"], p["center_y"]
    )
    np.testing.assert_allclose(model.convergence(X, Y), kappa(x**2 + y**2, **p), rtol=1e-6)


@pytest.mark.parametrize(
    "model",
    [
        light.Sersic(2.0, 0.7, 4.3, **SHAPE),
        light.Sersic(2.0, 0.4, 0.8, -0.1, 0.3, **PLACE),
        light.Exponential(2.0, 0.3, **SHAPE),
        light.Gaussian(2.0, 0.3, **SHAPE),
        LIGHTS[1],
    ],
    ids=lambda m: type(m).__name__,
)
def test_lights_are_those_of_the_package(model: light.Light, tmp_path: Path):
    profiles = pytest.importorskip("coolest.api.profiles.light")
    side = 0.08
    found = written(model, tmp_path, pixel_scale=side)
    theirs = getattr(profiles, found.type)()
    assert theirs.units == "per_ang"
    value = theirs.evaluate_surface_brightness(X.numpy(), Y.numpy(), **parameters(found))
    ours = model.surface_brightness(X, Y)
    np.testing.assert_allclose(ours, value * side**2, rtol=1e-6, atol=1e-7 * float(ours.max()))


@pytest.mark.parametrize("model", [MASSES[-1], LIGHTS[-1]], ids=["potential", "light"])
def test_maps_are_those_of_the_package(model: Any, tmp_path: Path):
    square = PixelGrid((7, 7), 0.3, (0.2, -0.1))
    found = written(type(model)(PIXELS[:, :7], square), tmp_path).parameters["pixels"]
    np.testing.assert_array_equal(found.get_pixels(str(tmp_path)), PIXELS[:, :7])
    assert found.pixel_size == pytest.approx(0.3)
    assert [*found.field_of_view_x, *found.field_of_view_y] == pytest.approx(square.extent)


@pytest.mark.parametrize("shape", [(24, 24), (31, 37)])
def test_the_package_accepts_what_we_write_and_we_what_it_writes(shape, tmp_path: Path):
    seen = observation(shape)
    # The package takes rows for x, and refuses maps that are not square if it looks at them.
    square, pixels = PixelGrid((7, 7), 0.3), PIXELS[:, :7]
    system = LensSystem(
        [
            Galaxy("lens", 0.5, [*MASSES[:-1], mass.PixelatedPotential(pixels, square)]),
            MassField("field", 0.5, [mass.Shear(0.1, 0.2)]),
            Galaxy("source", 2.0, light=[*LIGHTS[:-1], light.Pixelated(pixels, square)]),
        ],
        seen,
        cosmology="Planck18",
        instrument="ACS",
        band="F814W",
    )
    write_coolest(system, tmp_path / "lens.json")
    template = load(tmp_path / "lens.json", files=shape[0] == shape[1])
    assert template.observation.pixels.shape == shape[::-1]
    mask = template.likelihoods[0].get_mask_pixels(str(tmp_path))
    np.testing.assert_array_equal(mask == 1, seen.mask)

    coolest.JSONSerializer(str(tmp_path / "theirs"), template).dump_simple()
    back = read_coolest(tmp_path / "theirs.json")
    assert back.observation is not None
    np.testing.assert_array_equal(back.observation.image, seen.image)
    np.testing.assert_array_equal(back.observation.mask, seen.mask)
    assert back.band == "F814W" and back.cosmology.H0.value == pytest.approx(67.66)
    for ours, theirs in zip(system.entities, back.entities, strict=True):
        assert type(ours) is type(theirs) and ours.name == theirs.name
        for which in ("mass", "light"):
            pairs = zip(getattr(ours, which, ()), getattr(theirs, which, ()), strict=True)
            for a, b in pairs:
                assert_same(a, b)


def test_a_template_that_the_package_made(tmp_path: Path):
    lazy: Any = pytest.importorskip("coolest.template.lazy")
    standard = pytest.importorskip("coolest.template.standard")
    lens = lazy.Galaxy(
        "lens", 0.5, mass_model=lazy.MassModel("PEMD"), light_model=lazy.LightModel("Sersic")
    )
    numbers = {"theta_E": 1.3, "gamma": 1.9, "q": 0.7, "phi": -34.0, "center_x": 0.1}
    for key, value in {**numbers, "center_y": -0.2}.items():
        lens.mass_model[0].parameters[key].set_point_estimate(value)
    sersic = {"I_eff": 3.0, "theta_eff": 0.8, "n": 2.5, "q": 0.8, "phi": 61.0, "center_x": 0.0}
    for key, value in {**sersic, "center_y": 0.1}.items():
        lens.light_model[0].parameters[key].set_point_estimate(value)
    outer = lazy.MassField("field", 0.5, mass_model=lazy.MassModel("ExternalShear"))
    outer.mass_model[0].parameters["gamma_ext"].set_point_estimate(0.07)
    outer.mass_model[0].parameters["phi_ext"].set_point_estimate(80.0)
    template = standard.COOLEST(
        "MAP",
        lazy.CoordinatesOrigin("00h11m20.24s", "-08d45m51.48s"),
        lazy.LensingEntityList(lens, outer),
        lazy.Observation(),
        lazy.Instrument(0.08),
    )
    coolest.JSONSerializer(str(tmp_path / "lens"), template).dump_simple()
    system = read_coolest(tmp_path / "lens.json")
    assert system.observation is None and system.cosmology is None
    ours = Sum([m for e in system.entities for m in e.mass])

    profiles = pytest.importorskip("coolest.api.profiles.mass")
    x, y = X.numpy(), Y.numpy()
    theirs = np.stack(profiles.PEMD().deflection(x, y, **parameters(lens.mass_model[0])))
    shear = parameters(outer.mass_model[0])
    theirs = theirs + np.stack(profiles.ExternalShear().deflection(x, y, **shear))
    np.testing.assert_allclose(torch.stack(ours.deflection(X, Y)), theirs, rtol=1e-6, atol=1e-7)

    lights = pytest.importorskip("coolest.api.profiles.light")
    value = lights.Sersic().evaluate_surface_brightness(x, y, **parameters(lens.light_model[0]))
    (galaxy, _) = system.entities
    assert isinstance(galaxy, Galaxy)
    found = galaxy.light[0]
    assert isinstance(found, light.Sersic)
    np.testing.assert_allclose(found.surface_brightness(X, Y), value * 0.08**2, rtol=1e-6)
