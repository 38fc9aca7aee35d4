"""What is wrong in a template, or cannot be in one, is said in words."""

import math
import re
from pathlib import Path

import astropy.cosmology
import numpy as np
import pytest
import torch
from astropy.io import fits

from lensrim.errors import InputError
from lensrim.io.coolest import Galaxy, LensSystem, MassField, read_coolest, write_coolest
from lensrim.lensing import light, mass

from .templates import GRID, LIGHTS, PIXELS, edit, full_template, observation, one, setting

MASS_0 = ("lensing_entities", 0, "mass_model", 0)
LIGHT_0 = ("lensing_entities", 0, "light_model", 0)
PIXELS_0 = ("lensing_entities", 0, "light_model", 2, "parameters", "pixels")


@pytest.fixture
def template(tmp_path: Path) -> Path:
    return full_template(tmp_path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (setting("standard", value="OTHER"), 'standard: must be COOLEST, found "OTHER"'),
        (setting("mode", value="DOC"), 'mode: must be one of MAP, MOCK, found "DOC"'),
        (setting("observation", value=None), "must hold observation, it does not"),
        (setting("lensing_entities", value={}), "lensing_entities: must be a list, found {}"),
        (setting("lensing_entities", value=[3]), r"entities\[0\]: must be an object, found 3"),
        (setting("lensing_entities", 0, "type", value="Cloud"), "must be Galaxy or MassField"),
        (setting("lensing_entities", 0, "redshift", value=-1), "redshift: must be at least 0"),
        (setting("lensing_entities", 0, "name", value=3), "name: must be a text, found 3"),
        (
            setting(*MASS_0, "type", value="SPEMD"),
            r"mass_model\[0\].type: must be a profile that lensrim has too .* found \"SPEMD\"",
        ),
        (setting(*LIGHT_0, "type", value="Uniform"), 'that lensrim has too .* found "Uniform"'),
        (
            setting(*MASS_0, "parameters", "q", "point_estimate", "value", value=None),
            "parameters.q.point_estimate: must hold value",
        ),
        (
            setting(*MASS_0, "parameters", "q", "point_estimate", "value", value="1"),
            'q.point_estimate.value: must be a number, found "1"',
        ),
        (
            setting(*MASS_0, "parameters", "q", "point_estimate", "value", value=1.2),
            "value: must be from 0 to 1, found 1.2",
        ),
        (
            setting(*MASS_0, "parameters", "q", "point_estimate", "value", value=0),
            r"mass_model\[0\]: q must be more than 0",
        ),
        (
            setting(*MASS_0[:3], 1, "parameters", "q", "point_estimate", "value", value=0.8),
            "no elliptical NFW, found q = 0.8",
        ),
        (setting("meta", value={}), r"unit of rho_c, .* meta.unit_of_rho_c as .*, found none"),
        (setting("meta", "unit_of_rho_c", value="g/cm3"), "found 'g/cm3'"),
        (
            setting(*LIGHT_0[:3], 1, "parameters", "n_max", "point_estimate", "value", value=4),
            "amps must have .* = 15 numbers, found 10",
        ),
        (setting(*PIXELS_0, "fits_file", "path", value="no.fits"), "no such file"),
        (setting(*PIXELS_0, "fits_file", "path", value="/no.fits"), "relative to the folder"),
        (setting(*PIXELS_0, "num_pix_x", value=8), "must be those of .*, 9 and 7"),
        (setting(*PIXELS_0, "field_of_view_x", value=[1, 0]), "two growing numbers"),
        (setting(*PIXELS_0, "field_of_view_x", value=[0, 1]), "the pixels must be square"),
        (setting(*PIXELS_0, "num_pix_x", value=9.5), "must be those of .*, 9 and 7"),
        (
            setting(*MASS_0, "parameters", "theta_E", "point_estimate", "value", value=10**400),
            "theta_E.point_estimate.value: must be at least 0, found 1000",
        ),
        (
            setting(*LIGHT_0, "parameters", "theta_eff", "point_estimate", "value", value=0),
            r"light_model\[0\]: theta_eff must be more than 0",
        ),
        (
            setting(*LIGHT_0[:3], 1, "parameters", "beta", "point_estimate", "value", value=0),
            r"light_model\[1\]: beta must be more than 0",
        ),
        (setting("instrument", "pixel_size", value=0), "pixel_size: must be positive"),
        (setting("instrument", "pixel_size", value=0.06), "must be the pixel of the image, 0.05"),
        (
            setting("instrument", "psf", "type", value="Moffat"),
            "must be GaussianPSF or PixelatedPSF",
        ),
        (setting("meta", "psf_kind", value="fuzzy"), "must be effective or optical"),
        (setting("observation", "noise", "type", value="Loud"), "must be NoiseMap, Uniform"),
        (setting("cosmology", "astropy_name", value="w0waCDM"), "must be FlatLambdaCDM"),
        (setting("cosmology", "H0", value=0), "H0: must be positive"),
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


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("s_c", 2.5, "core s_c must be at most s_t, found 2.5 and 2: the convergence is negative"),
        ("s_t", 0, "s_t must be more than 0"),
    ],
)
def test_a_chameleon_of_negative_mass(key: str, value: float, message: str, tmp_path: Path):
    write_coolest(one(mass=[mass.DPIE(1.2, 0.1, 2.0)]), tmp_path / "a.json")
    change = setting(*MASS_0, "parameters", key, "point_estimate", "value", value=value)
    with pytest.raises(InputError, match=message):
        read_coolest(edit(tmp_path / "a.json", change))


def test_positions_and_fluxes_of_different_lengths(tmp_path: Path):
    write_coolest(LensSystem([Galaxy("quasar", light=LIGHTS[2:3])]), tmp_path / "a.json")
    change = setting(*LIGHT_0, "parameters", "amps", "point_estimate", "value", value=[1.0])
    with pytest.raises(InputError, match="of one length, found 2, 2 and 1"):
        read_coolest(edit(tmp_path / "a.json", change))


def test_what_is_no_template(tmp_path: Path):
    with pytest.raises(InputError, match="no such file"):
        read_coolest(tmp_path / "none.json")
    with pytest.raises(InputError, match="must be a regular file, found a folder"):
        read_coolest(tmp_path)
    for text in ("{", "[" * 100_000):
        (tmp_path / "bad.json").write_text(text)
        with pytest.raises(InputError, match="must be a JSON file, it is not"):
            read_coolest(tmp_path / "bad.json")


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
        (one(mass=[mass.MassSheet(0.1, 0.2)]), r"centred on the origin, .* found \(0.2, 0\)"),
        (one(mass=[mass.PixelatedPotential(PIXELS / 0, GRID)]), "must be finite, found 63"),
        (one(mass=[mass.NFW(1.0, 0.0)]), "NFW: r_s must be more than 0, found 0"),
        (one(mass=[mass.DPIE(1.0, 2.0, 0.1)]), "core s_c must be at most s_t, found 2 and 0.1"),
        (one(mass=[mass.SIE(1.0, 1.0, 0.0)]), "SIE: q must be more than 0, found 0"),
        (one(light=[light.Gaussian(1.0, 0.0)]), "Gaussian: sigma must be more than 0, found 0"),
        (one(light=[light.Gaussian(1.0, 1e-200)]), "I_eff must be at least 0, found inf"),
        (one(light=[light.Sersic(1.0, 0.0, 4.0)]), "theta_eff must be more than 0, found 0"),
        (one(light=[light.PointSource(*map(torch.ones, (2, 3, 2)))]), "PointSource: .* broadcast"),
        (one(name="\ud800"), r"every text must be one of Unicode, found '\\ud800'"),
        (LensSystem([], observation(zeropoint=math.nan)), "zeropoint must be finite, found nan"),
        (
            one(mass=[mass.Shear(0.1, 0.0), mass.MassSheet(0.1, 0.2)]),
            r"shears and sheets have one centre, found \(0, 0\) and \(0.2, 0\)",
        ),
        (
            LensSystem(one(mass=[mass.Shear(0.1, 0.0, math.nan)]).entities, observation()),
            "centre of shears and sheets must be finite, found nan",
        ),
        (
            LensSystem([], cosmology=astropy.cosmology.FlatLambdaCDM(math.nan, 0.3)),
            "cosmology: H0 must be at least 0, found nan",
        ),
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


@pytest.mark.usefixtures("types_unchecked")
@pytest.mark.parametrize(
    ("kind", "options", "message"),
    [
        (LensSystem, {"pixel_scale": 0.0}, "pixel_scale must be positive"),
        (LensSystem, {"pixel_scale": math.inf}, "pixel_scale must be a number of .*, found inf"),
        (LensSystem, {"mode": "X"}, "mode must be one of MAP, MOCK, found 'X'"),
        (LensSystem, {"band": None}, "band must be a text, found None"),
        (LensSystem, {"instrument": 3}, "instrument must be a text, found 3"),
        (LensSystem, {"observation": "a.fits"}, "must be an Observation, found 'a.fits'"),
        (LensSystem, {"entities": Galaxy("it")}, "entities must be a list of a Galaxy or"),
        (LensSystem, {"entities": [mass.Shear(0.1, 0.2)]}, r"Field each, found \[Shear"),
        (Galaxy, {"name": None}, "name must be a text, found None"),
        (MassField, {"name": 3}, "name must be a text, found 3"),
        (
            Galaxy,
            {"redshift": -0.1},
            "redshift of 'it' must be a number of at least 0, found -0.1",
        ),
        (MassField, {"redshift": math.nan}, "redshift of 'it' must be .*, found nan"),
        (Galaxy, {"redshift": "0.5"}, "redshift of 'it' must be .*, found '0.5'"),
        (Galaxy, {"redshift": torch.ones(2)}, r"redshift of 'it' must be .*, found tensor"),
        (
            Galaxy,
            {"mass": mass.SIE(1.0, 0.0, 0.0)},
            r"mass of 'it' must be a list .*, found SIE\(",
        ),
        (Galaxy, {"light": [mass.SIE(1.0, 0.0, 0.0)]}, r"light of 'it' must be a list of lights"),
        (MassField, {"mass": [light.Sersic(1.0, 1.0, 1.0)]}, "must be a list of mass models"),
    ],
)
def test_what_makes_no_system(kind: type, options: dict, message: str):
    required = {"entities": []} if kind is LensSystem else {"name": "it"}
    with pytest.raises(InputError, match=message):
        kind(**{**required, **options})


@pytest.mark.parametrize("name", ["lens.txt", "lens_pyAPI.json"])
def test_names_that_a_template_cannot_have(name: str, tmp_path: Path):
    with pytest.raises(InputError, match=re.escape("must end in .json")):
        write_coolest(LensSystem([]), tmp_path / name)
