"""Templates of COOLEST come back as they were written."""

import json
from pathlib import Path
from typing import Any

import astropy.cosmology
import numpy as np
import pytest
import torch

from lensrim.errors import InputError
from lensrim.grid import PixelGrid
from lensrim.io import Observation
from lensrim.io.coolest import Galaxy, LensSystem, MassField, read_coolest, write_coolest
from lensrim.lensing import light, mass
from lensrim.lensing.interpolation import Bicubic

from .templates import (
    GRID,
    LIGHTS,
    MASSES,
    PIXELS,
    PLACE,
    SHAPE,
    around,
    assert_same,
    observation,
    one,
)


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


SHIFTED = mass.Shear(0.03, -0.05, 0.025, -0.025)


def test_shears_and_sheets_off_the_middle_come_back_with_all_else(tmp_path: Path):
    entities = [
        Galaxy("lens", 0.5, [*MASSES[:2], MASSES[-1], SHIFTED], LIGHTS),
        MassField("field", 0.5, [mass.MassSheet(0.1, SHIFTED.center_x, SHIFTED.center_y)]),
    ]
    seen = observation((24, 24))
    back = around(LensSystem(entities, seen), tmp_path)
    for ours, theirs in zip(entities, back.entities, strict=True):
        for which in ("mass", "light"):
            pairs = zip(getattr(ours, which, ()), getattr(theirs, which, ()), strict=True)
            for a, b in pairs:
                assert_same(a, b)
    content = json.loads((tmp_path / "lens.json").read_text())
    # the origin is the centre of a pixel, and the place on the sky is of this
    left, right = content["observation"]["pixels"]["field_of_view_x"]
    assert (left, right) == pytest.approx((-0.625, 0.575))
    assert seen.wcs is not None
    sky = seen.wcs.pixel_to_world(12, 11).to_string("hmsdms", precision=6).split()
    assert list(content["coordinates_origin"].values()) == sky


def scalars(value: float) -> list[Any]:
    return [np.float32(value), np.float64(value), torch.tensor(value), np.array(value)]


@pytest.mark.usefixtures("types_unchecked")
@pytest.mark.parametrize("kind", range(4))
def test_numbers_may_be_scalars_of_other_libraries(kind: int, tmp_path: Path):
    half = scalars(0.5)[kind]
    grid = PixelGrid((np.int64(7), np.int64(9)), half, (half, half))  # type: ignore[arg-type]
    galaxy = Galaxy(
        "one",
        half,
        [mass.SIE(half, 0.0, 0.0, half), mass.PixelatedPotential(PIXELS, grid)],
        [light.Sersic(half, half, half)],
    )
    seen = observation(zeropoint=half, pixel_scale=half)
    back = around(LensSystem([galaxy], seen, pixel_scale=half), tmp_path)
    (found,) = back.entities
    assert found.redshift == 0.5
    assert_same(found.mass[0], mass.SIE(0.5, 0.0, 0.0, 0.5))
    assert back.observation is not None and back.observation.zeropoint == 0.5


@pytest.mark.usefixtures("types_unchecked")
def test_redshifts_may_be_whole_numbers_of_a_table(tmp_path: Path):
    (back,) = around(LensSystem([Galaxy("one", np.int64(2))]), tmp_path).entities  # type: ignore[arg-type]
    assert back.redshift == 2


def test_a_single_point_comes_back_as_a_list(tmp_path: Path):
    x, y, flux = torch.tensor([0.1, 0.2, 3.0]).double()
    point = light.PointSource(x, y, flux)
    (back,) = around(LensSystem([Galaxy("quasar", light=[point])]), tmp_path).entities
    assert isinstance(back, Galaxy)
    assert_same(back.light[0], light.PointSource(x[None], y[None], flux[None]))


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
    # The maps of the old one are gone with it.
    assert list(path.parent.iterdir()) == [path]


def test_maps_of_others_stay(tmp_path: Path):
    write_coolest(LensSystem([], observation()), tmp_path / "lens.json")
    others = [
        *write_coolest(LensSystem([], observation()), tmp_path / "lens_0.json"),
        tmp_path / "lens_raw.fits",
        tmp_path / "lens_0-galaxy-light-0.fits",
    ]
    for file in others[-2:]:
        file.write_bytes(b"")
    write_coolest(one(), tmp_path / "lens.json", overwrite=True)
    assert sorted(tmp_path.iterdir()) == sorted([*others, tmp_path / "lens.json"])
