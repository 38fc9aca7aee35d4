"""Templates of COOLEST: written and read back, their conventions, and what is refused."""

import json
import math
import re
from dataclasses import fields
from pathlib import Path
from typing import Any

import astropy.cosmology
import numpy as np
import pytest
import torch
from astropy.io import fits
from astropy.wcs import WCS
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from lensrim.errors import InputError
from lensrim.grid import PixelGrid
from lensrim.io import Observation
from lensrim.io.coolest import (
    Galaxy,
    LensSystem,
    MassField,
    conventions,
    read_coolest,
    write_coolest,
)
from lensrim.lensing import light, mass
from lensrim.lensing.interpolation import Bicubic
from lensrim.lensing.psf import gaussian_psf

from .conftest import celestial_header, gaussian

PLACE = {"center_x": 0.05, "center_y": -0.12}
SHAPE = {"e1": 0.15, "e2": -0.2, **PLACE}
GRID = PixelGrid((7, 9), 0.3, (0.2, -0.1))
PIXELS = torch.randn(7, 9, generator=torch.Generator().manual_seed(0)).double()
MASSES = [
    mass.SIE(1.2, **SHAPE),
    mass.SIE(1.2, 0.0, 0.0),
    mass.EPL(1.1, 2.2, **SHAPE),
    mass.NIE(1.2, 0.15, **SHAPE),
    mass.DPIE(1.2, 0.1, 2.0, **SHAPE),
    mass.NFW(0.2, 3.0, **PLACE),
    mass.Shear(0.03, -0.05),
    mass.MassSheet(-0.04),
    mass.PixelatedPotential(PIXELS, GRID),
]
LIGHTS = [
    light.Sersic(2.0, 0.7, 4.3, **SHAPE),
    light.Shapelets(torch.arange(10.0).double() - 3, 0.3, **PLACE),
    light.PointSource(*torch.tensor([[1.0, -0.7], [0.2, 0.4], [5.0, 3.0]]).double()),
    light.Pixelated(PIXELS, GRID),
]


def observation(shape: tuple[int, int] = (31, 37), **changed: Any) -> Observation:
    rng = np.random.default_rng(0)
    mask = np.ones(shape, dtype=bool)
    mask[3:5, 2:9] = False
    options: dict[str, Any] = {
        "image": rng.normal(size=shape),
        "sigma": 0.1 + rng.random(shape),
        "psf": gaussian((11, 11), 1.2),
        "mask": mask,
        "pixel_scale": 0.05,
        "wcs": WCS(celestial_header()),
        "unit": "electron/s",
        "zeropoint": 25.9,
    }
    return Observation(**{**options, **changed})


def around(system: LensSystem, folder: Path) -> LensSystem:
    write_coolest(system, folder / "lens.json")
    return read_coolest(folder / "lens.json")


def assert_same(ours: Any, theirs: Any) -> None:
    """Compares two models: their kind, and their parameters to rounding."""
    assert type(ours) is type(theirs)
    for f in fields(ours):
        a, b = getattr(ours, f.name), getattr(theirs, f.name)
        if isinstance(a, Tensor | float):
            torch.testing.assert_close(a, b, rtol=1e-14, atol=1e-15)
        elif isinstance(a, PixelGrid):
            assert a.shape == b.shape
            assert a.spacing == pytest.approx(b.spacing, rel=1e-14)
            assert a.center == pytest.approx(b.center, abs=1e-14)
        else:
            assert a == b


def entries(path: Path) -> list[dict[str, Any]]:
    """Numbers of the first entity's profiles, as they are in the file."""
    entity = json.loads(path.read_text())["lensing_entities"][0]
    profiles = entity["mass_model"] + entity.get("light_model", [])
    return [
        {k: v["point_estimate"]["value"] for k, v in p["parameters"].items() if k != "pixels"}
        for p in profiles
    ]


@pytest.mark.parametrize("model", MASSES, ids=lambda m: type(m).__name__)
def test_masses_come_back(model: Any, tmp_path: Path):
    back = around(LensSystem([Galaxy("lens", 0.5, [model])]), tmp_path)
    (found,) = back.entities[0].mass
    assert_same(model, found)


@pytest.mark.parametrize("seen", [None, observation()], ids=["alone", "with an image"])
@pytest.mark.parametrize("model", LIGHTS, ids=lambda m: type(m).__name__)
def test_lights_come_back(model: Any, seen: Observation | None, tmp_path: Path):
    system = LensSystem([Galaxy("source", 2.0, light=[model])], seen, pixel_scale=0.08)
    (entity,) = around(system, tmp_path).entities
    assert isinstance(entity, Galaxy)
    assert_same(model, entity.light[0])


def test_the_system_comes_back(tmp_path: Path):
    system = LensSystem(
        [
            Galaxy("lens", 0.5, MASSES[:1], LIGHTS[:1]),
            MassField("field", 0.5, [mass.Shear(0.1, 0.2)]),
            Galaxy("source", None, light=LIGHTS[:2]),
        ],
        observation(),
        cosmology=astropy.cosmology.FlatLambdaCDM(70.0, 0.3),
        instrument="ACS",
        band="F814W",
        mode="MOCK",
    )
    back = around(system, tmp_path)
    assert [(type(e), e.name, e.redshift) for e in back.entities] == [
        (type(e), e.name, e.redshift) for e in system.entities
    ]
    assert (back.instrument, back.band, back.mode) == ("ACS", "F814W", "MOCK")
    assert (back.cosmology.H0.value, back.cosmology.Om0) == (70.0, 0.3)
    assert back.cosmology.is_equivalent(system.cosmology)


@pytest.mark.parametrize("kind", ["effective", "optical"])
@pytest.mark.parametrize("shape", [(31, 37), (24, 24)])
def test_the_observation_comes_back(shape: tuple[int, int], kind: str, tmp_path: Path):
    seen = observation(shape, psf_kind=kind)
    back = around(LensSystem([], seen), tmp_path).observation
    assert back is not None
    for name in ("image", "mask"):
        np.testing.assert_array_equal(getattr(back, name), getattr(seen, name))
    np.testing.assert_array_equal(back.sigma[seen.mask], seen.sigma[seen.mask])
    np.testing.assert_allclose(back.psf, seen.psf, rtol=1e-14)
    for name in ("psf_kind", "noise_kind", "unit", "zeropoint"):
        assert getattr(back, name) == getattr(seen, name)
    assert back.pixel_scale == pytest.approx(seen.pixel_scale, rel=1e-14)
    assert back.wcs is not None and seen.wcs is not None
    here, there = (w.pixel_to_world_values(3.0, 4.0) for w in (seen.wcs, back.wcs))
    np.testing.assert_allclose(there, here, rtol=1e-12)


def test_the_mask_is_one_where_used_and_north_is_not_up(tmp_path: Path):
    seen = observation()
    write_coolest(LensSystem([], seen), tmp_path / "lens.json")
    mask = fits.getdata(tmp_path / "lens_mask.fits")
    np.testing.assert_array_equal(mask, np.where(seen.mask, 1, 0))
    origin = json.loads((tmp_path / "lens.json").read_text())["coordinates_origin"]
    assert seen.wcs is not None
    middle = seen.wcs.pixel_to_world(18, 15)
    assert origin["ra"] == middle.to_string("hmsdms", precision=6).split()[0]


def test_a_binned_observation_is_written_per_its_own_pixel(tmp_path: Path):
    seen = observation((32, 32)).binned(2)
    source = light.Sersic(2.0, 0.7, 1.5)
    x, y = seen.grid.coordinates(dtype=torch.float64)
    system = LensSystem([Galaxy("source", light=[source, light.Pixelated(PIXELS, GRID)])], seen)
    back = around(system, tmp_path)
    (entity,) = back.entities
    assert isinstance(entity, Galaxy) and back.observation is not None
    assert back.observation.bin == 1
    # The sum over the image is the flux, which does not depend on the binning.
    np.testing.assert_allclose(back.observation.image, 4 * seen.image)
    for ours, theirs in zip(system.entities[0].light, entity.light, strict=True):  # type: ignore
        torch.testing.assert_close(
            theirs.surface_brightness(x, y), 4 * ours.surface_brightness(x, y)
        )
    # Per arcsec² it is that of the native pixel.
    amp = entries(tmp_path / "lens.json")[0]["I_eff"]
    assert amp == pytest.approx(conventions.to_sersic(2.0, 0.7, 1.5)[0] / 0.05**2)


@pytest.mark.parametrize(
    ("ours", "kind"),
    [
        (light.Exponential(2.0, 0.3, **SHAPE), light.Sersic),
        (light.Gaussian(2.0, 0.3, **SHAPE), light.Sersic),
        (mass.SIS(1.1, **PLACE), mass.SIE),
    ],
    ids=lambda v: getattr(type(v), "__name__", None),
)
def test_special_cases_come_back_as_the_general_profile(ours: Any, kind: type, tmp_path: Path):
    models = {"light": [ours]} if isinstance(ours, light.Light) else {"mass": [ours]}
    (entity,) = around(LensSystem([Galaxy("one", **models)]), tmp_path).entities
    found = (*entity.mass, *entity.light)[0]  # type: ignore[union-attr]
    assert type(found) is kind
    x, y = PixelGrid((20, 22), 0.1).coordinates(dtype=torch.float64)
    method = "surface_brightness" if "light" in models else "deflection"
    torch.testing.assert_close(getattr(found, method)(x, y), getattr(ours, method)(x, y))


def test_sums_and_offsets_of_maps_are_taken_apart(tmp_path: Path):
    moved = mass.PixelatedPotential(PIXELS, GRID, 0.3, -0.4)
    ours = mass.Sum([mass.Sum([MASSES[0], moved]), mass.Shear(0.1, 0.0)])
    (entity,) = around(LensSystem([Galaxy("lens", 0.5, [ours])]), tmp_path).entities
    assert [type(m) for m in entity.mass] == [mass.SIE, mass.PixelatedPotential, mass.Shear]
    x, y = GRID.coordinates(3, dtype=torch.float64)
    torch.testing.assert_close(mass.Sum(entity.mass).deflection(x, y), ours.deflection(x, y))


def test_maps_of_light_are_read_between_their_pixels_in_the_default_way(tmp_path: Path):
    smooth = light.Pixelated(PIXELS, GRID, 0.1, 0.2, Bicubic())
    (entity,) = around(LensSystem([Galaxy("source", light=[smooth])]), tmp_path).entities
    assert isinstance(entity, Galaxy)
    grid = PixelGrid(GRID.shape, GRID.spacing, (0.3, 0.1))
    assert_same(light.Pixelated(PIXELS, grid), entity.light[0])


@pytest.mark.parametrize("degrees", [-90, -60, 0, 30, 45, 90])
def test_position_angles_are_from_y_counter_clockwise(degrees: float, tmp_path: Path):
    # along the major axis the convergence falls slowest
    along = math.radians(degrees + 90)
    phi = 2 * along
    lens = mass.SIE(1.0, 0.3 * math.cos(phi), 0.3 * math.sin(phi))
    shear = mass.Shear(0.1 * math.cos(phi), 0.1 * math.sin(phi))
    write_coolest(LensSystem([Galaxy("lens", 0.5, [lens, shear])]), tmp_path / "lens.json")
    sie, outer = entries(tmp_path / "lens.json")
    assert sie["q"] == pytest.approx(0.7 / 1.3)
    difference = (sie["phi"] - degrees + 90) % 180 - 90
    assert difference == pytest.approx(0, abs=1e-9)
    assert outer == pytest.approx({"gamma_ext": 0.1, "phi_ext": sie["phi"]})
    ring = torch.linspace(0, math.pi, 721, dtype=torch.float64)[None]
    brightest = ring[0, lens.convergence(ring.cos(), ring.sin()).argmax()]
    assert math.sin(float(brightest) - along) == pytest.approx(0, abs=1e-6)


@given(e1=st.floats(-0.6, 0.6), e2=st.floats(-0.6, 0.6))
def test_ellipticities_come_back_with_angles_in_range(e1: float, e2: float):
    q, phi = conventions.to_axis_ratio(e1, e2)
    assert 0 < q <= 1 and -90 < phi <= 90
    assert conventions.from_axis_ratio(q, phi) == pytest.approx((e1, e2), abs=1e-14)


@given(n=st.floats(0.5, 10.0), amp=st.floats(0.01, 100.0), radius=st.floats(0.1, 10.0))
def test_a_sersic_is_the_same_function_with_either_b(n: float, amp: float, radius: float):
    theirs = conventions.to_sersic(amp, radius, n)
    assert conventions.from_sersic(*theirs, n) == pytest.approx((amp, radius), rel=1e-12)
    r = torch.tensor([[0.01, 0.5, 1.0, 3.0]]).double() * radius
    b = 1.9992 * n - 0.3271
    value = theirs[0] * torch.exp(-b * ((r / theirs[1]) ** (1 / n) - 1))
    ours = light.Sersic(amp, radius, n).surface_brightness(r, torch.zeros_like(r))
    torch.testing.assert_close(value, ours, rtol=1e-6, atol=0)


@pytest.mark.parametrize("core", [0.0, 0.1, 0.55])
def test_a_cored_lens_is_given_by_the_ellipse_of_mean_convergence_one(core: float):
    lens = mass.NIE(1.2, core, 0.2, 0.1)
    radius = conventions.to_cored_radius(1.2, core)
    assert conventions.from_cored_radius(radius, core) == pytest.approx(1.2)
    # the mean over the ellipse is that over a circle of the round lens
    r = torch.linspace(0, radius, 20001, dtype=torch.float64)[None]
    kappa = mass.NIE(lens.theta_E, core).convergence(r, torch.zeros_like(r))
    mean = torch.trapezoid(2 * kappa * r, r) / radius**2
    assert float(mean) == pytest.approx(1, abs=1e-4)


def edit(path: Path, change: Any) -> Path:
    """Changes a template as JSON."""
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))
    return path


@pytest.fixture
def template(tmp_path: Path) -> Path:
    entities = [Galaxy("lens", 0.5, [MASSES[0], MASSES[5]], LIGHTS[:2] + LIGHTS[3:])]
    system = LensSystem(entities, observation(), cosmology="Planck18")
    write_coolest(system, tmp_path / "lens.json")
    return tmp_path / "lens.json"


def test_uniform_noise(template: Path):
    def change(t: dict) -> None:
        t["observation"]["noise"] = {"type": "UniformGaussianNoise", "std_dev": 0.3}

    seen = read_coolest(edit(template, change)).observation
    assert seen is not None
    np.testing.assert_array_equal(seen.sigma, 0.3)


def test_noise_of_a_drizzled_image(template: Path):
    def change(t: dict) -> None:
        exposure = t["observation"]["noise"]["noise_map"]
        t["observation"]["noise"] = {
            "type": "DrizzledNoise",
            "background_rms": 0.3,
            "wht_map": exposure,
        }

    seen = read_coolest(edit(template, change)).observation
    assert seen is not None and seen.noise_kind == "background+exposure"
    time = observation().sigma[seen.mask]
    expected = np.sqrt(0.09 + np.maximum(seen.image[seen.mask], 0) / time)
    np.testing.assert_allclose(seen.sigma[seen.mask], expected)


def test_a_gaussian_psf_has_its_width_in_pixels(template: Path):
    def change(t: dict) -> None:
        t["instrument"]["psf"] = {"type": "GaussianPSF", "fwhm": 2.5, "description": None}

    seen = read_coolest(edit(template, change)).observation
    assert seen is not None
    expected = gaussian_psf(2.5, 1.0, seen.psf.shape[0]).numpy()
    np.testing.assert_allclose(seen.psf, expected)
    assert seen.psf[0].max() < 1e-4 * seen.psf.max()


def test_a_finer_psf_is_put_on_the_pixels_of_the_image(template: Path):
    fine = gaussian((31, 31), 3.6)
    fits.writeto(template.parent / "lens_psf.fits", fine, overwrite=True)

    def change(t: dict) -> None:
        half = 31 * 0.05 / 3 / 2
        t["instrument"]["psf"]["pixels"] |= {
            "field_of_view_x": [-half, half],
            "field_of_view_y": [-half, half],
            "num_pix_x": 31,
            "num_pix_y": 31,
        }

    seen = read_coolest(edit(template, change)).observation
    assert seen is not None
    offset = np.arange(seen.psf.shape[0]) - seen.psf.shape[0] // 2
    # in its own pixels, with the box of the larger pixel less that of the finer one
    variance = 3.6**2 / 9 + (1 - 1 / 9) / 12
    assert float(seen.psf.sum(0) @ offset**2) == pytest.approx(variance, rel=0.01)


def test_a_frame_on_the_sky_of_another_scale_is_left_out(template: Path):
    image = template.parent / "lens_image.fits"
    data = fits.getdata(image)
    fits.writeto(image, data, celestial_header(0.06), overwrite=True)
    seen = read_coolest(template).observation
    assert seen is not None and seen.wcs is None
    assert any("WCS left out" in note for note in seen.notes)


def test_no_psf_and_no_mask(template: Path):
    def change(t: dict) -> None:
        t["instrument"]["psf"] = {"type": None, "description": None}
        t["likelihoods"] = None

    seen = read_coolest(edit(template, change)).observation
    assert seen is not None
    np.testing.assert_array_equal(seen.psf, [[1.0]])
    assert seen.mask.all()


def test_a_grid_whose_rows_are_counted_as_x_is_read(template: Path):
    def change(t: dict) -> None:
        pixels = t["observation"]["pixels"]
        pixels["num_pix_x"], pixels["num_pix_y"] = pixels["num_pix_y"], pixels["num_pix_x"]

    seen = read_coolest(edit(template, change)).observation
    assert seen is not None and seen.shape == (31, 37)


def _set(*keys: Any, value: Any) -> Any:
    def change(content: Any) -> None:
        for key in keys[:-1]:
            content = content[key]
        content[keys[-1]] = value

    return change


MASS_0 = ("lensing_entities", 0, "mass_model", 0)
LIGHT_0 = ("lensing_entities", 0, "light_model", 0)
PIXELS_0 = ("lensing_entities", 0, "light_model", 2, "parameters", "pixels")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (_set("mode", value="DOC"), 'mode: must be one of MAP, MOCK, found "DOC"'),
        (_set("observation", value=None), "must hold observation, it does not"),
        (_set("lensing_entities", value={}), "lensing_entities: must be a list, found {}"),
        (_set("lensing_entities", value=[3]), r"entities\[0\]: must be an object, found 3"),
        (_set("lensing_entities", 0, "type", value="Cloud"), "must be Galaxy or MassField"),
        (_set("lensing_entities", 0, "redshift", value=-1), "redshift: must be at least 0"),
        (_set("lensing_entities", 0, "name", value=3), "name: must be a text, found 3"),
        (
            _set(*MASS_0, "type", value="SPEMD"),
            r"mass_model\[0\].type: must be a profile that lensrim has too .* found \"SPEMD\"",
        ),
        (_set(*LIGHT_0, "type", value="Uniform"), 'that lensrim has too .* found "Uniform"'),
        (
            _set(*MASS_0, "parameters", "q", "point_estimate", "value", value=None),
            "parameters.q.point_estimate: must hold value",
        ),
        (
            _set(*MASS_0, "parameters", "q", "point_estimate", "value", value="1"),
            'q.point_estimate.value: must be a number, found "1"',
        ),
        (
            _set(*MASS_0, "parameters", "q", "point_estimate", "value", value=1.2),
            "value: must be from 0 to 1, found 1.2",
        ),
        (
            _set(*MASS_0, "parameters", "q", "point_estimate", "value", value=0),
            r"mass_model\[0\]: q must be more than 0",
        ),
        (
            _set(*MASS_0[:3], 1, "parameters", "q", "point_estimate", "value", value=0.8),
            "no elliptical NFW, found q = 0.8",
        ),
        (_set("meta", value={}), r"unit of rho_c, .* meta.unit_of_rho_c as .*, found none"),
        (_set("meta", "unit_of_rho_c", value="g/cm3"), "found 'g/cm3'"),
        (
            _set(*LIGHT_0[:3], 1, "parameters", "n_max", "point_estimate", "value", value=4),
            "amps must have .* = 15 numbers, found 10",
        ),
        (_set(*PIXELS_0, "fits_file", "path", value="no.fits"), "no such file"),
        (_set(*PIXELS_0, "fits_file", "path", value="/no.fits"), "relative to the folder"),
        (_set(*PIXELS_0, "num_pix_x", value=8), "must be those of .*, 9 and 7"),
        (_set(*PIXELS_0, "field_of_view_x", value=[1, 0]), "two growing numbers"),
        (_set(*PIXELS_0, "field_of_view_x", value=[0, 1]), "the pixels must be square"),
        (_set("instrument", "pixel_size", value=0), "pixel_size: must be positive"),
        (_set("instrument", "pixel_size", value=0.06), "must be the pixel of the image, 0.05"),
        (_set("instrument", "psf", "type", value="Moffat"), "must be GaussianPSF or PixelatedPSF"),
        (_set("meta", "psf_kind", value="fuzzy"), "must be effective or optical"),
        (_set("observation", "noise", "type", value="Loud"), "must be NoiseMap, Uniform"),
        (_set("observation", "pixels", "field_of_view_x", value=[0.0, 1.85]), "be centred on"),
        (_set("cosmology", "astropy_name", value="w0waCDM"), "must be FlatLambdaCDM"),
        (_set("cosmology", "H0", value=0), "H0: must be positive"),
    ],
)
def test_what_is_wrong_in_a_template_is_said_with_its_place(change, message, template: Path):
    with pytest.raises(InputError, match=message) as caught:
        read_coolest(edit(template, change))
    assert "\n" not in str(caught.value)
    assert str(template.parent) in str(caught.value)


@pytest.mark.parametrize(
    ("name", "array", "message"),
    [
        ("lens_0-galaxy-light-2.fits", np.full((7, 9), np.nan), "must be finite, found 63"),
        ("lens_mask.fits", np.full((31, 37), 2), "must hold 0 .* and 1"),
        ("lens_psf.fits", np.ones((10, 10)), "must be those of"),
    ],
)
def test_what_is_wrong_in_a_map_is_said(name: str, array, message: str, template: Path):
    fits.writeto(template.parent / name, array, overwrite=True)
    with pytest.raises(InputError, match=message):
        read_coolest(template)


def test_maps_that_do_not_belong_together(template: Path):
    def change(t: dict) -> None:
        t["observation"]["noise"]["noise_map"] = t["instrument"]["psf"]["pixels"]

    with pytest.raises(
        InputError, match=r"must have the shape of .* \(31, 37\), found \(11, 11\)"
    ):
        read_coolest(edit(template, change))


def test_a_psf_of_other_pixels(template: Path):
    def change(t: dict) -> None:
        fov = {"field_of_view_x": [-0.5, 0.5], "field_of_view_y": [-0.5, 0.5]}
        t["instrument"]["psf"]["pixels"] |= fov

    with pytest.raises(InputError, match="a whole number of times into one of the image"):
        read_coolest(edit(template, change))


def test_positions_and_fluxes_of_different_lengths(tmp_path: Path):
    write_coolest(LensSystem([Galaxy("quasar", light=LIGHTS[2:3])]), tmp_path / "a.json")
    change = _set(*LIGHT_0, "parameters", "amps", "point_estimate", "value", value=[1.0])
    with pytest.raises(InputError, match="of one length, found 2, 2 and 1"):
        read_coolest(edit(tmp_path / "a.json", change))


def test_what_is_no_template(tmp_path: Path):
    with pytest.raises(InputError, match="no such file"):
        read_coolest(tmp_path / "none.json")
    with pytest.raises(InputError, match="cannot be opened"):
        read_coolest(tmp_path)
    (tmp_path / "bad.json").write_text("{")
    with pytest.raises(InputError, match="must be a JSON file, it is not"):
        read_coolest(tmp_path / "bad.json")


def one(**models: Any) -> LensSystem:
    return LensSystem([Galaxy("it", **models)])


@pytest.mark.parametrize(
    ("system", "message"),
    [
        (one(mass=[mass.PointMass(1.0)]), "'it': PointMass: COOLEST has no mass profile for a"),
        (one(light=[light.CoreSersic(1.0, 1.0, 0.1, 4.0, 0.1)]), "no light profile for a CoreS"),
        (one(mass=[mass.SIE(torch.ones(2), 0.0, 0.0)]), r"of one lens, .* batch of shape \(2,\)"),
        (one(mass=[mass.SIE(-1.0, 0.0, 0.0)]), "theta_E must be at least 0, found -1"),
        (one(mass=[mass.SIE(1.0, 0.8, 0.8)]), "q must be from 0 to 1, found -0.06"),
        (one(mass=[mass.SIE(1.0, 0.0, 0.0, math.inf)]), "center_x must be finite, found inf"),
        (one(mass=[mass.NIE(-1.0, 0.0)]), "core of at most half of theta_E, found core 0"),
        (one(light=[light.Sersic(1.0, 1.0, 0.1)]), "n must be from 0.5 to 10, found 0.1"),
        (one(mass=[mass.NIE(1.0, 0.6)]), "core of at most half of theta_E, found core 0.6"),
        (one(mass=[mass.MassSheet(0.1, 0.2)]), "centred on the origin, found one centred on"),
        (one(mass=[mass.PixelatedPotential(PIXELS / 0, GRID)]), "must be finite, found 63"),
        (one(redshift=-0.1), "redshift must be at least 0, found -0.1"),
        (LensSystem([], cosmology="Planck99"), "one of .*, found 'Planck99'"),
        (
            LensSystem([], cosmology=astropy.cosmology.LambdaCDM(70, 0.3, 0.6)),
            "flat one of matter .* found a LambdaCDM",
        ),
    ],
)
def test_what_a_template_cannot_hold_is_refused(system: LensSystem, message: str, tmp_path: Path):
    with pytest.raises(InputError, match=message):
        write_coolest(system, tmp_path / "lens.json")
    assert not list(tmp_path.iterdir())


def test_a_pixel_scale_that_is_none():
    with pytest.raises(InputError, match="pixel_scale must be positive"):
        LensSystem([], pixel_scale=0.0)


@pytest.mark.parametrize("name", ["lens.txt", "lens_pyAPI.json"])
def test_names_that_a_template_cannot_have(name: str, tmp_path: Path):
    with pytest.raises(InputError, match=re.escape("must end in .json")):
        write_coolest(LensSystem([]), tmp_path / name)


def test_nothing_is_replaced_unasked(tmp_path: Path):
    system, path = LensSystem([], observation()), tmp_path / "new" / "lens.json"
    written = write_coolest(system, path)
    assert sorted(path.parent.iterdir()) == sorted(written)
    before = path.read_text()
    with pytest.raises(InputError, match="is not replaced unasked"):
        write_coolest(one(), path)
    assert path.read_text() == before
    write_coolest(one(), path, overwrite=True)
    assert read_coolest(path).entities[0].name == "it"
