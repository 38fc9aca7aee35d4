"""Point spread functions: diffraction as in closed form, and changes that do what they say."""

import math
from dataclasses import astuple, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy import ndimage, special

from lensrim.datasets.instruments import HST_ACS, INSTRUMENTS, Instrument
from lensrim.datasets.psfs.changes import PsfChange, PsfChanges, change_psfs, draw_change
from lensrim.datasets.psfs.kinds import Psf, draw_psf, fine_psf, native_psf, read_psf_stamps
from lensrim.datasets.psfs.pupils import STATES, Pupil, diffraction, pupil_stamps
from lensrim.errors import InputError
from lensrim.lensing.psf import measure_fwhm

ROUND = Pupil(diameter=2.0, band=(0.8, 0.8))
TELESCOPES = {name: c for name, c in INSTRUMENTS.items() if c.pupil is not None}
telescopes = pytest.mark.parametrize("camera", TELESCOPES.values(), ids=TELESCOPES)


def radii(stamp: np.ndarray) -> np.ndarray:
    half = (stamp.shape[0] - 1) // 2
    y, x = np.mgrid[-half : half + 1, -half : half + 1]
    return np.hypot(x, y)


def enclosed(stamp: np.ndarray, scale: float, radius: float, within: float = 0.6) -> float:
    """The share of the light within a radius [arcsec], of that within another."""
    fine = np.repeat(np.repeat(stamp, 5, 0), 5, 1)
    place = ndimage.center_of_mass(np.where(fine > 0.05 * fine.max(), fine, 0))
    y, x = np.mgrid[: fine.shape[0], : fine.shape[1]]
    r = np.hypot(y - place[0], x - place[1]) * scale / 5
    return float(fine[r < radius].sum() / fine[r < within].sum())


@pytest.mark.parametrize("obscuration", [0.0, 0.33])
def test_a_round_pupil_makes_an_airy_disc(obscuration: float) -> None:
    pupil = replace(ROUND, obscuration=obscuration)
    stamp = diffraction(pupil)
    # radius in wavelengths over diameters, times pi
    v = np.pi * np.maximum(radii(stamp), 1e-6) * pupil.scale / pupil.width
    amplitude = 2 * special.j1(v) / v
    inner = 2 * special.j1(obscuration * v) / np.maximum(obscuration * v, 1e-9)
    expected = (amplitude - (obscuration**2 * inner if obscuration else 0)) ** 2
    expected = expected / expected.max()
    np.testing.assert_allclose(stamp / stamp.max(), expected, atol=2e-3)
    assert stamp.sum() == pytest.approx(1)


def test_the_pattern_grows_with_the_wavelength() -> None:
    red = replace(ROUND, band=(1.6, 1.6))
    assert red.width == pytest.approx(2 * ROUND.width)
    # on pixels that grow with it, it is the same
    np.testing.assert_allclose(diffraction(red), diffraction(ROUND), atol=1e-9)


def test_eighteen_segments_have_their_area_and_symmetry() -> None:
    pupil = Pupil(6.7, (2.0, 2.0), segment=1.32, gap=0.007)
    passed = pupil.transmission(400)
    area = passed.sum() * (pupil.diameter / 400) ** 2
    assert area == pytest.approx(18 * math.sqrt(3) / 2 * 1.32**2, rel=2e-3)
    stamp = diffraction(pupil)
    for angle, same in ((60.0, True), (30.0, False)):
        turned = ndimage.rotate(stamp, angle, reshape=False, order=3)
        ring = (radii(stamp) > 20) & (radii(stamp) < 60)
        alike = np.corrcoef(turned[ring], stamp[ring])[0, 1]
        assert (alike > 0.98) == same


def test_vanes_throw_spikes_across_themselves() -> None:
    pupil = replace(ROUND, band=(0.7, 0.9), vanes=(90.0, 270.0), vane_width=0.08)
    stamp = diffraction(pupil)
    half = (stamp.shape[0] - 1) // 2
    along, across = stamp[half + 25 :, half].sum(), stamp[half, half + 25 :].sum()
    assert across > 5 * along


@telescopes
def test_the_states_of_a_telescope_are_in_its_range(camera: Instrument) -> None:
    assert camera.pupil is not None
    states = pupil_stamps(camera.pupil, camera.psf_fwhm)
    widths = np.array([width for _, width in states]) * camera.pupil.scale
    assert len(states) == STATES
    assert (np.diff(widths) > -0.01 * widths[0]).all()
    assert widths.min() > 0.97 * camera.psf_fwhm[0]
    assert widths.max() == pytest.approx(camera.psf_fwhm[1], rel=0.02)
    for stamp, _ in states:
        assert stamp.sum() == pytest.approx(1)
        assert stamp.min() >= 0


def test_a_pupil_is_drawn_as_wide_as_it_is_and_turned() -> None:
    rng = np.random.default_rng(0)
    made = [
        draw_psf(rng, fwhm=(1.4, 2.0), kinds=("pupil",), pupil=HST_ACS.pupil, pixel_scale=0.05)
        for _ in range(20)
    ]
    assert {psf.kind for psf in made} <= {f"pupil[{k}]" for k in range(STATES)}
    assert max(psf.phi for psf in made) > math.pi
    one = fine_psf(replace(made[0], phi=0.0), oversample=3)
    turned = fine_psf(replace(made[0], phi=math.pi / 2), oversample=3)
    # counter-clockwise, in an image whose rows go up
    np.testing.assert_allclose(turned, np.rot90(one, -1), atol=1e-4 * one.max())
    y, x = np.indices(one.shape) - (one.shape[0] - 1) / 2
    assert abs((one * x).sum()) < 3e-3 and abs((one * y).sum()) < 3e-3


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"diameter": 0.0}, "pupil: must have a diameter and a band above 0.* found 0.0 m"),
        ({"band": (0.9, 0.7)}, "pupil: must have a diameter and a band above 0, the lower first"),
        ({"obscuration": 1.0}, "pupil: must be obscured by 0 to 1, found 1.0"),
        ({"wavefront": -0.1}, "pupil: must have lengths of 0 or more"),
    ],
)
def test_impossible_pupils(changes: dict, match: str) -> None:
    with pytest.raises(InputError, match=match):
        replace(ROUND, **changes)
    with pytest.raises(InputError, match="pupil needs a telescope's pupil, found none"):
        replace(HST_ACS, pupil=None)


@pytest.fixture
def stars(root: Path) -> dict:
    folder = root.parent / "shared" / "data" / "psfs"
    if not folder.is_dir():
        pytest.skip("needs the empirical PSFs")
    every = read_psf_stamps(folder)
    return {name: stamp for name, stamp in every.items() if "emp_psf_f814w_4x" in name}


def test_hubble_is_as_stars_show_it(stars: dict) -> None:
    """ACS, F814W: effective stamps on quarters of a pixel."""
    assert HST_ACS.pupil is not None
    widths = [0.0125 * width for _, width in stars.values()]
    psf = draw_psf(
        np.random.default_rng(0),
        fwhm=(0.089 / 0.05,) * 2,
        kinds=("pupil",),
        pupil=HST_ACS.pupil,
        pixel_scale=0.05,
    )
    # fine pixels, each of which has seen what a whole one would
    seen = ndimage.uniform_filter(fine_psf(psf, oversample=9), 9, mode="constant")
    assert measure_fwhm(seen) * 0.05 / 9 == pytest.approx(np.median(widths), rel=0.05)
    for radius, tolerance in ((0.1, 0.07), (0.2, 0.03), (0.3, 0.03)):
        light = np.median([enclosed(stamp, 0.0125, radius) for stamp, _ in stars.values()])
        assert enclosed(seen, 0.05 / 9, radius) == pytest.approx(light, abs=tolerance)


def moments(stamp: np.ndarray, oversample: int = 1) -> tuple[np.ndarray, np.ndarray, float]:
    """Centroid, covariance and the third cumulant along x [pixels of the image]."""
    half = (stamp.shape[0] - 1) / 2
    y, x = (np.indices(stamp.shape) - half) / oversample
    weight = stamp / stamp.sum()
    mean = np.array([(weight * x).sum(), (weight * y).sum()])
    dx, dy = x - mean[0], y - mean[1]
    second = [[(weight * a * b).sum() for a in (dx, dy)] for b in (dx, dy)]
    return mean, np.array(second), float((weight * dx**3).sum())


CHANGES = {
    "jitter": PsfChange.of(2.4, blur=(0.6, 0.2), phi=0.7),
    "warp": PsfChange.of(2.4, ellipticity=(0.03, -0.02), coma=(0.1, 0.05)),
    "wider": PsfChange.of(2.4, width=0.05, shift=(0.07, -0.03)),
    "narrower": PsfChange.of(2.4, width=-0.04),
}


@pytest.mark.parametrize("oversample", [1, 3])
@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_a_change_adds_its_cumulants(change: PsfChange, oversample: int) -> None:
    psf = fine_psf(Psf("gaussian", 2.4), oversample=oversample)
    numbers = torch.tensor([astuple(change)], dtype=torch.float64)
    changed = change_psfs(torch.from_numpy(psf)[None], numbers, oversample=oversample)[0].numpy()
    assert changed.sum() == pytest.approx(1)
    (mean, second, third), (mean_0, second_0, _) = (moments(s, oversample) for s in (changed, psf))
    np.testing.assert_allclose(mean - mean_0, [change.shift_x, change.shift_y], atol=1e-3)
    added = [[change.xx, change.xy], [change.xy, change.yy]]
    np.testing.assert_allclose(second - second_0, added, atol=4e-3)
    if oversample > 1:  # what whole pixels do not resolve rings, far from the centre
        assert third == pytest.approx(change.coma_x, abs=5e-3)


def test_a_change_has_the_size_it_is_asked_for() -> None:
    psf = fine_psf(Psf("gaussian", 2.4), oversample=9)
    numbers = [
        astuple(PsfChange.of(2.4, **size))
        for size in ({"width": 0.05}, {"ellipticity": (0.04, 0.0)}, {"wings": 0.03})
    ]
    stamps = torch.from_numpy(psf).expand(3, -1, -1)
    wide, flat, winged = change_psfs(stamps, torch.tensor(numbers).double(), oversample=9).numpy()
    assert measure_fwhm(wide) == pytest.approx(1.05 * measure_fwhm(psf), rel=2e-3)
    second = moments(flat, 9)[1]
    q = math.sqrt(second[1, 1] / second[0, 0])
    assert (1 - q) / (1 + q) == pytest.approx(0.04, rel=0.02)
    far = radii(psf) / 9 > 3 * 2.4 / 2.355
    assert winged[far].sum() - psf[far].sum() == pytest.approx(0.03 * math.exp(-0.45), rel=0.05)


def test_changes_are_drawn_with_their_shares() -> None:
    rng = np.random.default_rng(0)
    assert draw_change(rng, PsfChanges(), 2.0) is None
    assert rng.uniform() == np.random.default_rng(0).uniform()
    drawn = [draw_change(rng, PsfChanges(jittered=0.5, warped=0.5), 2.0) for _ in range(200)]
    assert 30 < sum(change is None for change in drawn) < 70
    sigma = 2.0 / math.sqrt(8 * math.log(2))
    for change in (c for c in drawn if c is not None):
        assert -0.11 * sigma**2 < change.xx < 0.36 * sigma**2
        assert math.hypot(change.coma_x, change.coma_y) < 0.21 * sigma**3
    with pytest.raises(InputError, match="jittered: must be a share from 0 to 1, found 2"):
        PsfChanges(jittered=2.0)


def test_a_change_is_in_the_stamp() -> None:
    change = PsfChange.of(2.0, shift=(0.5, 0.0))
    plain, moved = (
        native_psf(fine_psf(Psf("moffat", 2.0, change=c), oversample=5), 5) for c in (None, change)
    )
    assert moments(moved)[0][0] - moments(plain)[0][0] == pytest.approx(0.5, abs=0.02)


def test_stamps_of_a_known_scale_keep_their_width() -> None:
    stamp = fine_psf(Psf("gaussian", 2.0), oversample=5)
    stamps = {"star[0]": (stamp, measure_fwhm(stamp))}
    rng, given = np.random.default_rng(0), {"fwhm": (4.0, 5.0), "stamps": stamps}
    for scale, width in ((0.0, 4.5), (0.01, 2.0)):
        made = [
            draw_psf(rng, **given, pixel_scale=0.05, stamp_scale=scale)  # type: ignore[arg-type]
            for _ in range(20)
        ]
        widths = [psf.fwhm for psf in made if psf.stamp is not None]
        assert np.mean(widths) == pytest.approx(width, rel=0.1 if scale == 0 else 0.02)
