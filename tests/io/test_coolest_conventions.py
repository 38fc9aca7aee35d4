"""What COOLEST means by its numbers, and what of it only others write."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from astropy.io import fits
from hypothesis import given
from hypothesis import strategies as st

from lensrim.io.coolest import Galaxy, LensSystem, conventions, read_coolest, write_coolest
from lensrim.lensing import light, mass
from lensrim.lensing.psf import gaussian_psf

from .conftest import celestial_header, gaussian
from .templates import (
    GRID,
    LIGHTS,
    MASSES,
    PIXELS,
    around,
    edit,
    entries,
    full_template,
    observation,
)


@pytest.fixture
def template(tmp_path: Path) -> Path:
    return full_template(tmp_path)


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


@pytest.mark.parametrize("shift", [(0.025, 0.025), (-0.025, 0.3)])
def test_an_image_off_the_origin_takes_all_with_it(shift: tuple[float, float], tmp_path: Path):
    dx, dy = shift
    potential = mass.PixelatedPotential(PIXELS / 10, GRID)
    masses = [MASSES[0], mass.Shear(0.03, -0.05), mass.MassSheet(0.1), potential]
    system = LensSystem([Galaxy("lens", 0.5, masses, LIGHTS)], observation((24, 24)))
    write_coolest(system, tmp_path / "lens.json")

    def change(t: dict) -> None:
        for part in (
            t["observation"]["pixels"],
            t["observation"]["noise"]["noise_map"],
            t["likelihoods"][0]["mask"],
        ):
            part["field_of_view_x"] = [v + dx for v in part["field_of_view_x"]]
            part["field_of_view_y"] = [v + dy for v in part["field_of_view_y"]]

    back = read_coolest(edit(tmp_path / "lens.json", change))
    (galaxy,) = back.entities
    assert isinstance(galaxy, Galaxy) and back.observation is not None
    # The middle of the image, at the shift in the template, is (0, 0) of what was read.
    x, y = back.observation.grid.coordinates(dtype=torch.float64)
    ours, theirs = mass.Sum(masses), mass.Sum(galaxy.mass)
    torch.testing.assert_close(theirs.deflection(x, y), ours.deflection(x + dx, y + dy))
    for a, b in zip(LIGHTS, galaxy.light, strict=True):
        if isinstance(a, light.PointSource) and isinstance(b, light.PointSource):
            torch.testing.assert_close((b.x, b.y), (a.x - dx, a.y - dy))
        elif isinstance(a, light.Light) and isinstance(b, light.Light):
            torch.testing.assert_close(
                b.surface_brightness(x, y), a.surface_brightness(x + dx, y + dy)
            )
    # And it is written as it was.
    write_coolest(back, tmp_path / "again.json")
    again = json.loads((tmp_path / "again.json").read_text())
    for axis, middle in zip("xy", shift, strict=True):
        ends = again["observation"]["pixels"][f"field_of_view_{axis}"]
        assert sum(ends) / 2 == pytest.approx(middle)
    for a, b in zip(
        entries(tmp_path / "again.json"), entries(tmp_path / "lens.json"), strict=True
    ):
        for key, value in a.items():
            assert value == pytest.approx(b[key]), key


def test_a_byte_order_mark_is_read(template: Path):
    template.write_bytes(b"\xef\xbb\xbf" + template.read_bytes())
    assert read_coolest(template).entities[0].name == "lens"


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


def test_a_psf_whose_core_is_off_its_middle_is_told(template: Path):
    """It moves all positions, as that of an observation in FITS does."""
    before = read_coolest(template).observation
    assert before is not None and not any("PSF" in note for note in before.notes)
    path = template.parent / "lens_psf.fits"
    stamp = fits.getdata(path)
    moved = 0.7 * stamp + 0.3 * np.roll(stamp, 1, axis=1)
    fits.writeto(path, moved, overwrite=True)
    seen = read_coolest(template).observation
    assert seen is not None
    (note,) = [note for note in seen.notes if "PSF" in note]
    told = "the core of lens_psf.fits[0] is off its middle by +0.29 in x and +0.00 in y"
    assert told in note


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
