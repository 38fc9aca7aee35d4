"""Cleaning of stamps with known truth: what noise, neighbours and edges do to a galaxy."""

import numpy as np
import pytest

from lensrim.datasets.galaxies.denoising import WHITE, denoise, starlet
from lensrim.datasets.galaxies.quality import box_share, quality
from lensrim.datasets.galaxies.stamps import THOROUGH, Cleaning, clean, half_light_radius

SIDE = 121
Y, X = np.mgrid[:SIDE, :SIDE] - (SIDE - 1) / 2
RADIUS = np.hypot(X, Y)


def disc(radius: float, *, x: float = 0.0, y: float = 0.0, q: float = 0.7) -> np.ndarray:
    """An exponential disc of half-light radius ``radius`` in a PSF of 2.4 pixels, peak 1."""
    from scipy import ndimage

    r = np.sqrt(q * (X - x) ** 2 + (Y - y) ** 2 / q)
    image = ndimage.gaussian_filter(np.exp(-1.678 * r / radius), 1.0)
    return image / image.max()


def spiral() -> np.ndarray:
    """Two arms with knots on them, which stand out of the disc by a factor of two, peak 1."""
    from scipy import ndimage

    angle = np.arctan2(Y, X)
    image = np.exp(-RADIUS / 9) * (1 + 0.8 * np.cos(2 * (angle - 3 * np.log(RADIUS + 1))))
    rng = np.random.default_rng(0)
    for r, t in zip(rng.uniform(5, 25, 12), rng.uniform(0, 2 * np.pi, 12), strict=True):
        knot = np.exp(-((X - r * np.cos(t)) ** 2 + (Y - r * np.sin(t)) ** 2) / 3)
        image += np.exp(-r / 9) * knot
    image = ndimage.gaussian_filter(image, 1.0)
    return image / image.max()


TRUTHS = {"small disc": disc(4), "large disc": disc(9), "spiral": spiral()}


def sky(truth: np.ndarray, noise: float, *, level: float = 0.3, seed: int = 1) -> np.ndarray:
    return truth + level + noise * np.random.default_rng(seed).standard_normal(truth.shape)


def test_starlet_parts_add_up_and_noise_is_as_tabled() -> None:
    noise = np.random.default_rng(0).standard_normal((400, 400))
    *details, rest = starlet(noise, 5)
    assert np.allclose(sum(details, rest), noise, rtol=0, atol=1e-12)
    assert [part.std() for part in details] == pytest.approx(WHITE, rel=0.1)


@pytest.mark.parametrize("peak", [20, 50, 200])
@pytest.mark.parametrize("name", TRUTHS)
def test_denoising_leaves_the_galaxy_and_takes_the_sky(name: str, peak: int) -> None:
    truth, noise = TRUTHS[name], 1 / peak
    seen = sky(truth, noise, level=0)
    found = denoise(seen, noise=noise, sky=RADIUS > 45)
    bright = truth > 0.5 * noise
    allowed = 0.01 + 2 * noise * np.sqrt(bright.sum()) / truth[bright].sum()
    assert found[bright].sum() / truth[bright].sum() == pytest.approx(1, abs=allowed)
    radius = half_light_radius(truth * bright)
    assert half_light_radius(found * bright) == pytest.approx(radius, rel=0.03)
    error = np.sqrt(np.mean((found - truth)[bright] ** 2))
    assert error < 0.65 * noise
    assert (found - truth)[RADIUS > 45].std() < 0.2 * noise


def test_denoising_measures_correlated_noise_on_the_sky() -> None:
    from scipy import ndimage

    white = np.random.default_rng(2).standard_normal((SIDE, SIDE))
    drizzled = ndimage.gaussian_filter(white, 0.8)
    drizzled /= drizzled.std() * 50
    blank = RADIUS > 45
    seen = TRUTHS["large disc"] + drizzled
    told = denoise(seen, noise=1 / 50, sky=blank)
    untold = denoise(seen, noise=1 / 50)
    error = [np.std((each - TRUTHS["large disc"])[blank]) for each in (told, untold)]
    assert error[0] < 0.8 * error[1]


def test_nothing_is_done_without_noise() -> None:
    assert denoise(TRUTHS["spiral"], noise=0.0) is TRUTHS["spiral"]
    cut = np.where(TRUTHS["spiral"] > 0.02, TRUTHS["spiral"], 0.0)
    left = clean(cut, Cleaning())
    assert np.array_equal(clean(cut, Cleaning(denoise=3.0)).image, left.image)
    assert (left.noise, left.left) == (0, 0)


@pytest.mark.parametrize("peak", [20, 50, 200])
@pytest.mark.parametrize("name", TRUTHS)
def test_thorough_is_nearer_to_the_truth(name: str, peak: int) -> None:
    """The reason why new data sets clean their stamps thoroughly."""
    truth, seen = TRUTHS[name], sky(TRUTHS[name], 1 / peak)
    before, after = clean(seen), clean(seen, THOROUGH)
    missing = [1 - each.flux / truth.sum() for each in (before, after)]
    assert 0 <= missing[1] < 0.9 * missing[0]
    bright = truth > 0.1 / peak
    error = [np.sqrt(np.mean((each.kept - truth)[bright] ** 2)) for each in (before, after)]
    assert error[1] < 0.75 * error[0]
    assert after.left < 0.3 / peak
    assert after.neighbours == 0
    assert after.snr == pytest.approx(after.flux * peak / np.sqrt(after.inside.sum()), rel=0.25)


def test_noise_that_is_known_is_not_measured() -> None:
    seen = sky(TRUTHS["small disc"], 0.02)
    assert clean(seen).noise == pytest.approx(0.02, rel=0.1)
    assert clean(seen, noise=0.025).noise == 0.025


def test_a_neighbour_that_touches_is_cut_off() -> None:
    seen = sky(disc(5) + 0.6 * disc(4, x=22, y=6), 0.01)
    alone = clean(sky(disc(5), 0.01), THOROUGH)
    left, cut = clean(seen), clean(seen, THOROUGH)
    assert left.flux > 1.2 * alone.flux
    assert cut.neighbours == 1
    assert cut.flux == pytest.approx(alone.flux, rel=0.08)
    assert cut.others[60 + 6, 60 + 22] and not cut.inside[60 + 6, 60 + 22]


def test_knots_are_no_neighbours() -> None:
    cut = np.where(TRUTHS["spiral"] > 0.01, TRUTHS["spiral"], 0.0)
    assert clean(cut, THOROUGH).neighbours == 0


def test_the_sky_of_a_stamp_that_is_half_off_the_detector_is_taken_away() -> None:
    """What has no data is no sky that was cut away."""
    seen = sky(disc(5), 0.02) + 0.5
    whole = clean(seen)
    seen[:, :45] = np.nan
    found = clean(seen)
    assert found.noise == pytest.approx(0.02, rel=0.15)
    assert half_light_radius(found.image) == pytest.approx(half_light_radius(whole.image), rel=0.1)
    assert found.flux == pytest.approx(whole.flux, rel=0.1)
    with pytest.raises(ValueError, match="no object stands above"):
        clean(np.full((21, 21), np.nan))


def test_a_hot_pixel_in_the_corner_changes_nothing() -> None:
    seen = sky(disc(5), 0.02)
    hot = seen.copy()
    hot[4, 4] = 30.0
    assert clean(hot, THOROUGH).flux == pytest.approx(clean(seen, THOROUGH).flux, rel=0.01)


BOX = np.where(disc(12) > 0.002, disc(12), 0.0)
BOX[:, :45] = BOX[:, 76:] = BOX[:45] = BOX[76:] = 0
OFF = sky(disc(6, x=48), 0.01)
CORNER = sky(disc(6), 0.01)
CORNER[:, 70:] = np.nan


@pytest.mark.parametrize(
    ("stamp", "width", "verdict", "reason"),
    [
        (sky(disc(5), 0.01), 2.4, "good", None),
        (sky(disc(5), 0.01), None, "good", None),
        (sky(disc(5), 0.01), 8.0, "fair", "unresolved"),
        (sky(disc(5), 0.01), 14.0, "bad", "unresolved"),
        (sky(disc(2, q=1.0), 0.01), None, "fair", "small"),
        (sky(disc(4), 0.15), None, "fair", "faint"),
        (BOX, 2.4, "fair", "box-shaped edge"),
        (np.where(disc(12) > 0.35, disc(12), 0.0), 2.4, "bad", "hard edge"),
        (OFF, 2.4, "bad", "runs off the stamp"),
        (CORNER, 2.4, "bad", "runs off the stamp"),
        (sky(disc(6) + disc(6, x=14, y=14), 0.01), 2.4, "fair", "neighbour cut off"),
    ],
)
def test_verdicts(stamp: np.ndarray, width: float | None, verdict: str, reason: str) -> None:
    found = quality(clean(stamp, THOROUGH), psf_fwhm=width)
    assert (found.psf_widths is None) == (width is None)
    assert reason is None or reason in found.reasons, found
    if reason != "box-shaped edge":  # which is a hard one too
        assert found.verdict == verdict, found


@pytest.mark.parametrize(
    ("region", "share"),
    [
        (RADIUS < 5, 0),
        (RADIUS < 40, 0),
        (np.hypot(X, Y / 0.2) < 50, 0),
        (np.hypot((X + Y) / 1.4, (X - Y) / 0.6) < 50, 0),
        ((np.abs(X) < 20) & (np.abs(Y) < 17), 1),
        ((RADIUS < 40) & (X < 20), 69.3 / 210),
    ],
)
def test_straight_edges(region: np.ndarray, share: float) -> None:
    assert box_share(region) == pytest.approx(share, abs=0.1)
