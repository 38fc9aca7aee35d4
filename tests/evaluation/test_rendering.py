"""The renderer: point spread functions, flux, convergence in the number of rays, another code."""

import numpy as np
import pytest

from lensrim.datasets.galaxies.stamps import Galaxy, half_light_radius
from lensrim.datasets.halos import Ellipsoid, Lens
from lensrim.datasets.psfs.kinds import Psf, block_mean, fine_psf, native_psf
from lensrim.datasets.systems import Placement, SersicLight
from lensrim.evaluation.deflection import pixel_coordinates
from lensrim.evaluation.rendering import (
    Canvas,
    TrueSource,
    sersic,
)
from lensrim.grid import PixelGrid


def gaussian(sigma: float, side: int, *, x0: float = 0.0) -> np.ndarray:
    y, x = np.mgrid[:side, :side] - (side - 1) / 2
    return np.exp(-((x - x0) ** 2 + y**2) / (2 * sigma**2))


STAMP = gaussian(4.0, 81, x0=0.4)
PSFS = {
    "gaussian": Psf("gaussian", 2.0),
    "elliptical": Psf("gaussian", 2.5, q=0.8, phi=0.6),
    "moffat": Psf("moffat", 1.6, beta=3.0),
    "stamp": Psf("x", 2.0, stamp=STAMP, stamp_fwhm=4.0 * np.sqrt(8 * np.log(2))),
}
GALAXY_IMAGE = gaussian(9.0, 101) * (gaussian(9.0, 101) > 1e-4)
GALAXY = Galaxy("round", GALAXY_IMAGE, 0.03, half_light_radius(GALAXY_IMAGE) * 0.03)


def moments(image: np.ndarray) -> tuple[float, float, float]:
    """Centroid in x and y, and mean second moment per axis [pixels]."""
    y, x = (
        np.mgrid[: image.shape[0], : image.shape[1]]
        - (np.array(image.shape) - 1)[:, None, None] / 2
    )
    total = image.sum()
    cx, cy = (image * x).sum() / total, (image * y).sum() / total
    return cx, cy, (image * ((x - cx) ** 2 + (y - cy) ** 2)).sum() / total / 2


@pytest.mark.parametrize("psf", PSFS.values(), ids=PSFS)
@pytest.mark.parametrize("oversample", [5, 7])
def test_psfs_are_odd_centred_and_normalised(psf: Psf, oversample: int) -> None:
    fine = fine_psf(psf, oversample=oversample)
    native = native_psf(fine, oversample)
    for stamp in (fine, native):
        assert stamp.shape[0] == stamp.shape[1]
        assert stamp.shape[0] % 2 == 1
        assert stamp.sum() == pytest.approx(1)
        assert stamp.min() >= 0
        assert np.abs(moments(stamp)[:2]).max() < 2e-3
    assert fine.shape[0] == oversample * native.shape[0]


@pytest.mark.parametrize("name", ["gaussian", "stamp"])
def test_effective_psf_holds_the_pixel_once(name: str) -> None:
    native = native_psf(fine_psf(PSFS[name], oversample=9), 9)
    sigma = 2.0 / np.sqrt(8 * np.log(2))
    assert moments(native)[2] == pytest.approx(sigma**2 + 1 / 12, rel=0.01)


def test_a_point_source_is_rendered_as_its_psf() -> None:
    canvas = Canvas(PixelGrid((31, 27), 0.1), fine_psf(PSFS["moffat"], oversample=5), 5)
    point = np.zeros([n * 5 for n in canvas.padded.shape])
    point[point.shape[0] // 2, point.shape[1] // 2] = 25.0
    image = canvas.expose(point)
    psf, r = native_psf(canvas.psf, 5), canvas.margin - 1
    assert image.shape == (31, 27)
    np.testing.assert_allclose(image[15 - r : 16 + r, 13 - r : 14 + r], psf, atol=1e-12)


def test_light_beyond_the_frame_is_scattered_into_it() -> None:
    canvas = Canvas(PixelGrid((20, 20), 0.1), fine_psf(PSFS["gaussian"], oversample=5), 5)
    uniform = canvas.expose(np.ones([n * 5 for n in canvas.padded.shape]))
    np.testing.assert_allclose(uniform, 1.0, rtol=1e-9)


def test_source_has_its_size_place_orientation_and_flux() -> None:
    long = GALAXY_IMAGE * (np.abs(np.mgrid[:101, :101][0] - 50) < 6)
    galaxy = Galaxy("long", long, 0.03, half_light_radius(long) * 0.03)
    source = TrueSource(galaxy, Placement(0.2, -0.1, np.pi / 2, False, 0.3), scale=3.0)
    grid = PixelGrid((160, 161), 0.02)
    image = source.on_grid(grid)
    assert image.max() == pytest.approx(3.0, rel=0.02)
    assert image.sum() * 0.02**2 == pytest.approx(source.flux, rel=5e-3)
    cx, cy, _ = moments(image)
    assert (cx * 0.02, cy * 0.02) == pytest.approx((0.2, -0.1), abs=2e-3)
    y, x = np.nonzero(image > 1.5)
    assert np.ptp(y) > 1.5 * np.ptp(x)
    coarse = source.on_grid(PixelGrid((24, 24), 0.1))
    assert coarse.sum() * 0.1**2 == pytest.approx(source.flux, rel=5e-3)


def test_flip_mirrors_the_stamp() -> None:
    lopsided = GALAXY_IMAGE * np.linspace(0, 1, 101)
    galaxy = Galaxy("lopsided", lopsided / lopsided.max(), 0.03, 0.2)
    x, y = pixel_coordinates(PixelGrid((41, 41), 0.03))
    images = [
        TrueSource(galaxy, Placement(0, 0, 0, flip, 0.2)).brightness(x, y)
        for flip in (False, True)
    ]
    np.testing.assert_allclose(images[0], images[1][:, ::-1], atol=1e-12)


def test_magnification_of_a_ring() -> None:
    # Behind an isothermal sphere a point at b < theta_E is magnified by 2 theta_E / b in total;
    # for a Gaussian on the axis, <1/b> = sqrt(pi / 2) / sigma.
    source = TrueSource(GALAXY, Placement(0, 0, 0, False, 0.2))
    canvas = Canvas(PixelGrid((80, 80), 0.05), fine_psf(PSFS["gaussian"], oversample=5), 5)
    image = canvas.expose(canvas.arcs(Lens(Ellipsoid(theta_E=1.0)), source))
    sigma = 9.0 * source.stamp_scale
    magnification = image.sum() * 0.05**2 / source.flux
    assert magnification == pytest.approx(2 * np.sqrt(np.pi / 2) / sigma, rel=0.02)


def test_sersic_is_one_at_its_radius_and_finite_at_its_centre() -> None:
    light = SersicLight(0.5, 4.0, 0.7, 0.3, 0.0, 0.0, 1.0)
    grid = PixelGrid((41, 41), 0.05)
    image = block_mean(sersic(light, grid, 5), 5)
    reference = block_mean(sersic(light, grid, 25), 25)
    np.testing.assert_allclose(image, reference, rtol=0.01)
    assert np.unravel_index(image.argmax(), image.shape) == (20, 20)


@pytest.mark.oracle
def test_images_are_those_of_lenstronomy() -> None:
    pytest.importorskip("lenstronomy")
    from lenstronomy.LensModel.lens_model import LensModel
    from lenstronomy.LightModel.light_model import LightModel

    k, grid = 5, PixelGrid((50, 44), 0.08)
    light = SersicLight(0.4, 2.5, 0.6, 0.5, 0.05, -0.02, 1.0)
    x, y = pixel_coordinates(grid, k)
    e = (1 - 0.6) / (1 + 0.6)
    ellipse = {"e1": e * np.cos(1.0), "e2": e * np.sin(1.0), "center_x": 0.05, "center_y": -0.02}
    model = LightModel(["SERSIC_ELLIPSE"])
    values = [{"amp": 1.0, "R_sersic": 0.4, "n_sersic": 2.5} | ellipse]
    away = np.hypot(x - 0.05, y + 0.02) > 0.2
    np.testing.assert_allclose(
        sersic(light, grid, k)[away], model.surface_brightness(x, y, values)[away], rtol=1e-3
    )

    lens = Lens(Ellipsoid(1.1, 2.1, 0.7, 0.4, 0.03, 0.0), gamma1=0.03, gamma2=-0.05)
    source = TrueSource(GALAXY, Placement(0.1, 0.05, 0, False, 0.25))
    canvas = Canvas(grid, fine_psf(PSFS["gaussian"], oversample=k), k)
    x, y = pixel_coordinates(canvas.padded, k)
    e = (1 - 0.7) / (1 + 0.7)
    epl = {"theta_E": 1.1, "gamma": 2.1, "e1": e * np.cos(0.8), "e2": e * np.sin(0.8)}
    lens_model = LensModel(["EPL", "SHEAR"])
    bx, by = lens_model.ray_shooting(
        x,
        y,
        [epl | {"center_x": 0.03, "center_y": 0.0}, {"gamma1": 0.03, "gamma2": -0.05}],
    )
    sigma = 9.0 * source.stamp_scale
    amp = 2 * np.pi * sigma**2
    shape = {"amp": amp, "sigma": sigma, "center_x": 0.1, "center_y": 0.05}
    expected = LightModel(["GAUSSIAN"]).surface_brightness(bx, by, [shape])
    np.testing.assert_allclose(canvas.arcs(lens, source), expected, atol=2e-3)
