"""Every metric on a case whose answer is known."""

import numpy as np
import pytest
import torch

from lensrim import metrics
from lensrim.datasets.halos import Ellipsoid, Lens
from lensrim.evaluation.deflection import average_convergence
from lensrim.grid import PixelGrid

GRID = PixelGrid((60, 64), 0.1)


def kappa_of(**parameters: float) -> np.ndarray:
    return average_convergence(Lens(Ellipsoid(**parameters)), GRID)


def test_the_slope_of_a_profile_is_that_of_the_power_law_most_like_it() -> None:
    radius = np.linspace(0.3, 2.0, 60).reshape(6, 10)
    mask = radius < 1.5
    for gamma in (1.0, 1.6, 2.3):
        kappa = 0.4 * radius ** (1 - gamma)
        assert metrics.profile_slope(kappa, radius, mask) == pytest.approx(gamma)
        other = np.where(mask, kappa, 9.0)  # what is not compared does not count
        assert metrics.profile_slope(other, 7 * radius, mask) == pytest.approx(gamma)
    assert np.isnan(metrics.profile_slope(np.full((6, 10), np.nan), radius, mask))
    assert np.isnan(metrics.profile_slope(radius, radius, radius < 0))
    bent = 0.4 / radius * np.where(radius < 1, 1, radius**-1)
    assert 2 < metrics.profile_slope(bent, radius, mask) < 3


@pytest.mark.parametrize(("q", "ratio"), [(0.5, 0.971), (0.7, 0.992), (1.0, 1.0)])
def test_effective_einstein_radius_of_an_isothermal_ellipsoid(q: float, ratio: float) -> None:
    kappa = kappa_of(theta_E=1.3, q=q, phi=0.4)
    assert metrics.effective_theta_E(kappa, GRID) / 1.3 == pytest.approx(ratio, abs=1.5e-3)


@pytest.mark.parametrize("gamma", [1.7, 2.4])
def test_effective_einstein_radius_follows_centre_and_not_slope(gamma: float) -> None:
    kappa = kappa_of(theta_E=1.234, gamma=gamma, center_x=0.03, center_y=-0.04)
    assert metrics.effective_theta_E(kappa, GRID) == pytest.approx(1.234, rel=3e-3)


@pytest.mark.parametrize("offset", [0.3, 0.6])
def test_effective_einstein_radius_of_a_lens_off_the_middle(offset: float) -> None:
    kappa = kappa_of(theta_E=1.3, center_x=offset, center_y=-offset / 2)
    assert metrics.effective_theta_E(kappa, GRID) == pytest.approx(1.3, rel=4e-3)


@pytest.mark.parametrize("level", [0.0, 0.5, 2.0])
def test_no_effective_einstein_radius(level: float) -> None:
    assert np.isnan(metrics.effective_theta_E(np.full(GRID.shape, level), GRID))


def test_misfits() -> None:
    sigma, mask = np.full((5, 4), 0.1), np.zeros((5, 4), dtype=bool)
    mask[1:3] = True
    truth = np.ones((5, 4))
    assert metrics.misfit(truth, truth, sigma, mask) == 0
    assert metrics.misfit(truth + 0.2, truth, sigma, mask) == pytest.approx(4)
    outside = np.where(mask, truth, 99.0)
    assert metrics.chi2_nu(outside, truth, sigma, mask) == 0
    assert metrics.chi2_nu(torch.ones(5, 4), truth + 0.1, sigma, mask) == pytest.approx(1)
    assert np.isnan(metrics.chi2_nu(truth, truth, sigma, np.zeros_like(mask)))


def test_source_errors() -> None:
    truth = np.zeros((10, 10))
    truth[3:5, 3:5] = 2.0
    assert metrics.source_errors(truth, truth) == (0, 0)
    assert metrics.source_errors(0 * truth, truth) == pytest.approx((1, 0.2))
    assert metrics.source_errors(1.1 * truth, truth) == pytest.approx((0.1, 0.02))
    assert metrics.source_errors(truth, 0 * truth) == (np.inf, np.inf)


def test_the_gauge_of_a_mass_sheet_is_the_ratio_of_the_rays() -> None:
    grid = PixelGrid((9, 12), 0.3)
    x, y = grid.from_index(*np.meshgrid(np.arange(12), np.arange(9)))
    rng = np.random.default_rng(1)
    truth = tuple(rng.normal(size=(2, 9, 12)))
    weights = rng.uniform(size=(9, 12))
    own = tuple(t - (t - a) / 0.9 + 0.7 for t, a in zip((x, y), truth, strict=True))
    assert metrics.deflection_scale(own, truth, weights, grid) == pytest.approx(0.9)
    assert metrics.deflection_scale(truth, truth, weights, grid) == pytest.approx(1)


def test_constant_deflection_is_a_gauge() -> None:
    rng = np.random.default_rng(0)
    truth, mask = rng.normal(size=(2, 8, 9)), rng.uniform(size=(8, 9)) > 0.5
    moved = (truth[0] + 0.3, truth[1] - 0.1)
    assert metrics.deflection_gauge(moved, tuple(truth), mask) == pytest.approx((0.3, -0.1))
    assert metrics.deflection_error(moved, tuple(truth), mask) == pytest.approx(0, abs=1e-12)
    half = np.where(np.arange(9) % 2, 0.3, -0.3) * np.ones((8, 1))
    even = np.ones((8, 9), dtype=bool)
    even[:, -1] = False
    assert metrics.deflection_error((truth[0] + half, truth[1]), tuple(truth), even) == (
        pytest.approx(0.3)
    )


def test_annulus_has_its_area() -> None:
    mask = metrics.annulus(GRID, theta_E=1.2, center=(0.1, 0.2))
    assert mask.sum() * 0.01 == pytest.approx(np.pi * 1.2**2 * (2**2 - 0.3**2), rel=0.02)
    assert metrics.annulus(GRID, theta_E=9.0).sum() < mask.size


def test_convergence_error_in_dex_and_the_mass_sheet() -> None:
    truth = kappa_of(theta_E=1.2, q=0.7)
    mask = metrics.annulus(GRID, theta_E=1.2)
    assert metrics.log_kappa_rmse(truth, truth, mask) < 1e-12
    assert metrics.log_kappa_rmse(10**0.1 * truth, truth, mask) == pytest.approx(0.1)
    sheet = 0.8 * truth + 0.2
    assert metrics.log_kappa_rmse(sheet, truth, mask) > 0.05
    assert metrics.log_kappa_rmse(sheet, truth, mask, mass_sheet=True) < 1e-4


@pytest.mark.parametrize(
    ("successes", "trials", "low", "high"),
    # Closed forms for 0 of n and n of n; 1 of 10 from the table of Clopper & Pearson 1934.
    [
        (0, 100, 0.0, 1 - 0.025 ** (1 / 100)),
        (100, 100, 0.025 ** (1 / 100), 1.0),
        (1, 10, 0.0025, 0.4450),
    ],
)
def test_binomial_interval(successes: int, trials: int, low: float, high: float) -> None:
    interval = metrics.binomial_interval(successes, trials)
    assert interval == pytest.approx((low, high), abs=1e-4)


@pytest.mark.parametrize(("successes", "trials"), [(3, 2), (-1, 5), (0, 0)])
def test_binomial_interval_needs_trials(successes: int, trials: int) -> None:
    with pytest.raises(ValueError, match="successes"):
        metrics.binomial_interval(successes, trials)


def test_chi2_is_compared_with_what_a_fit_leaves() -> None:
    rng = np.random.default_rng(3)
    n, p = 400, 60
    basis = np.linalg.qr(rng.normal(size=(n, p)))[0]
    noise = rng.normal(size=(2000, n))
    left = noise - (noise @ basis) @ basis.T
    pairs = [metrics.chi2_excess(float(np.mean(r**2)), p, n) for r in left]
    excess = np.array([pair[0] for pair in pairs])
    assert excess.mean() == pytest.approx(0, abs=4 * pairs[0][1] / np.sqrt(2000))
    assert excess.std() == pytest.approx(pairs[0][1], rel=0.06)
    assert np.mean(left**2) < 0.9


def light(profile: str, grid: PixelGrid, *, x: float = 0.0, y: float = 0.0) -> np.ndarray:
    column, row = np.arange(grid.shape[1]), np.arange(grid.shape[0])
    u, v = grid.from_index(column, row[:, None])
    r = np.hypot(u - x, v - y)
    return {"gauss": np.exp(-0.5 * (r / 0.4) ** 2), "disc": (r < 0.7).astype(float)}[profile]


@pytest.mark.parametrize(
    ("profile", "r50", "r90"),
    [
        ("gauss", 0.4 * np.sqrt(2 * np.log(2)), 0.4 * np.sqrt(2 * np.log(10))),
        ("disc", 0.7 * np.sqrt(0.5), 0.7 * np.sqrt(0.9)),
    ],
)
def test_radii_that_hold_shares_of_the_light(profile: str, r50: float, r90: float) -> None:
    image = light(profile, GRID, x=0.23, y=-0.31)
    assert metrics.light_radii(image, GRID) == pytest.approx((r50, r90), rel=0.02)
    assert metrics.light_radii(3 * image, GRID, [0.9])[0] == pytest.approx(r90, rel=0.02)


def test_a_pedestal_widens_the_outer_radius_more() -> None:
    image = light("gauss", GRID)
    r50, r90 = metrics.light_radii(image, GRID)
    wide50, wide90 = metrics.light_radii(image + 0.002, GRID)
    assert 1 < wide50 / r50 < 1.1 < wide90 / r90
    assert np.isnan(metrics.light_radii(0 * image, GRID)).all()


EDGES = (4.0, 2.0, 1.0, 0.5)


def test_coherence_is_signed_and_does_not_see_a_factor() -> None:
    rng = np.random.default_rng(0)
    first, other = rng.normal(size=(2, *GRID.shape))
    assert metrics.coherence(first, 3 * first + 5, GRID, EDGES) == pytest.approx(np.ones(3))
    assert metrics.coherence(first, -first, GRID, EDGES) == pytest.approx(-np.ones(3))
    unrelated = metrics.coherence(first, other, GRID, EDGES)
    assert np.abs(unrelated).max() < 0.35
    half = metrics.coherence(first, first + other, GRID, EDGES)
    assert half[-1] == pytest.approx(1 / np.sqrt(2), abs=0.08)


def test_coherence_is_of_its_own_scale() -> None:
    x, y = np.meshgrid(*[np.arange(n) * GRID.spacing for n in GRID.shape[::-1]])
    long, short = np.sin(2 * np.pi * x / 2.8), np.sin(2 * np.pi * y / 0.7)
    found = metrics.coherence(long + short, long - short, GRID, EDGES)
    assert found[0] == pytest.approx(1, abs=0.01)
    assert found[2] == pytest.approx(-1, abs=0.01)
    nothing = metrics.coherence(long, long, GRID, (0.19, 0.15, 0.05, 0.04))
    assert np.isnan(nothing[-1])
    with pytest.raises(ValueError, match="descend"):
        metrics.coherence(long, short, GRID, (0.5, 1.0))


def test_moduli_score_the_same_for_unrelated_maps_whatever_they_are() -> None:
    rng = np.random.default_rng(0)
    first, other = rng.normal(size=(2, *GRID.shape))
    unrelated = metrics.coherence_of_moduli(first, other, GRID, EDGES)
    assert unrelated[-1] == pytest.approx(np.pi / 4, abs=0.03)
    assert unrelated.min() > 0.6
    for same in (first, -first):
        assert metrics.coherence_of_moduli(first, same, GRID, EDGES) == pytest.approx(np.ones(3))
    signed = metrics.coherence(first, other, GRID, EDGES)
    assert (np.abs(signed) < unrelated).all()
    with pytest.raises(ValueError, match="descend"):
        metrics.coherence_of_moduli(first, other, GRID, (0.5, 1.0))


def test_coverage_of_gaussian_errors_is_its_level() -> None:
    rng = np.random.default_rng(1)
    std = rng.uniform(0.5, 2, 40_000)
    truth = std * rng.normal(size=std.size)
    for level in (0.68, 0.95):
        found = metrics.coverage(truth, 0, std, level=level)
        assert found == pytest.approx(level, abs=4 * np.sqrt(level * (1 - level) / std.size))
    assert metrics.coverage(truth, 0, std / 2, level=0.68) < 0.4
    assert metrics.coverage([0.0, 1.0], [0.0, 0.0], [0.0, 0.0], level=0.95) == 0.5
    assert np.isnan(metrics.coverage([], [], [], level=0.95))


@pytest.mark.parametrize("dof", [2.0, 5.0])
def test_coverage_of_students_errors_is_their_level(dof: float) -> None:
    rng = np.random.default_rng(3)
    truth = rng.standard_t(dof, size=40_000)
    std = float(np.quantile(np.abs(truth), 0.6827))
    for level in (0.68, 0.95):
        found = metrics.coverage(truth, 0, std, level=level, dof=dof)
        assert found == pytest.approx(level, abs=0.012)
    assert metrics.coverage(truth, 0, std, level=0.95) < 0.945
    assert metrics.half_width(0.6827, dof=dof) == pytest.approx(1.0, abs=1e-3)


def test_coverage_of_samples_is_their_level() -> None:
    rng = np.random.default_rng(4)
    samples = rng.normal(size=(400, 20_000))
    for level in (0.68, 0.95):
        found = metrics.coverage_of_samples(rng.normal(size=20_000), samples, level=level)
        assert found == pytest.approx(level, abs=0.02)
    assert metrics.coverage_of_samples(np.full(20_000, 9.0), samples, level=0.95) == 0
    assert np.isnan(metrics.coverage_of_samples([], np.zeros((3, 0)), level=0.95))


def test_the_width_of_gaussian_errors_is_their_deviation() -> None:
    errors = 0.3 * np.random.default_rng(2).normal(size=40_000)
    assert metrics.empirical_width(errors) == pytest.approx(0.3, rel=0.02)
    errors[:400] = 1e6
    assert metrics.empirical_width(errors) == pytest.approx(0.3, rel=0.04)


@pytest.mark.parametrize("sigma", [0.5, 2.0])
def test_ranked_probability_score(sigma: float) -> None:
    centre = sigma * (np.sqrt(2) - 1) / np.sqrt(np.pi)
    assert metrics.crps_gaussian(1.0, 1.0, sigma) == pytest.approx(centre)
    assert metrics.crps_gaussian(1.0, 4.0, 0.0) == 3
    # its definition: the squared distance of the distribution functions
    from scipy.integrate import quad
    from scipy.stats import norm

    below = quad(lambda x: norm.cdf(x, 0, sigma) ** 2, -20, 0.8)[0]
    above = quad(lambda x: norm.sf(x, 0, sigma) ** 2, 0.8, 20)[0]
    assert metrics.crps_gaussian(0.8, 0.0, sigma) == pytest.approx(below + above, rel=1e-6)
    samples = sigma * np.random.default_rng(0).normal(size=(40_000, 1))
    assert metrics.crps_samples([0.8], samples) == pytest.approx(below + above, rel=0.02)


@pytest.mark.parametrize("dof", [1.5, 4.0, 30.0])
def test_ranked_probability_score_of_students_t(dof: float) -> None:
    """By its definition, and where the degrees are many that of a Gaussian."""
    from scipy.integrate import quad
    from scipy.stats import norm, t

    scale = 0.7 / t.ppf(norm.cdf(1), dof)
    below = quad(lambda x: t.cdf(x, dof, 0, scale) ** 2, -np.inf, 0.8)[0]
    above = quad(lambda x: t.sf(x, dof, 0, scale) ** 2, 0.8, np.inf)[0]
    found = metrics.crps_student(0.8, 0.0, 0.7, dof=dof)
    assert found == pytest.approx(below + above, rel=1e-5)
    few = metrics.crps_student([0.8, 0.8, 4.0], 0.0, [0.7, 0.7, 0.0], dof=[dof, np.inf, dof])
    assert few == pytest.approx((found + metrics.crps_gaussian(0.8, 0.0, 0.7) + 4) / 3)
    many = metrics.crps_student(0.8, 0.0, 0.7, dof=1e9)
    assert many == pytest.approx(metrics.crps_gaussian(0.8, 0.0, 0.7), rel=1e-6)
    with pytest.raises(ValueError, match="above 1, got 1"):
        metrics.crps_student(0.8, 0.0, 0.7, dof=1.0)


def test_ranked_probability_score_of_few_samples_has_no_bias() -> None:
    samples = np.random.default_rng(0).normal(size=(3, 50_000))
    expected = metrics.crps_gaussian(0.4, 0.0, 1.0)
    assert metrics.crps_samples(np.full(50_000, 0.4), samples) == pytest.approx(expected, rel=0.02)
    pair = np.array([[1.0], [4.0]])
    assert metrics.crps_samples([2.0], pair) == pytest.approx(1.5 - 1.5)
    with pytest.raises(ValueError, match="2 or more"):
        metrics.crps_samples([0.0], [[1.0]])


def test_calibration_says_who_is_too_sure() -> None:
    truth = np.random.default_rng(5).normal(size=20_000)
    zero, std = np.zeros_like(truth), np.ones_like(truth)
    right, sure = (metrics.calibration(truth, zero, s) for s in (std, std / 3))
    assert right.covered == pytest.approx((0.68, 0.95), abs=0.012)
    assert right.ratio == pytest.approx(1, rel=0.03)
    assert sure.ratio == pytest.approx(1 / 3, rel=0.03)
    assert sure.covered[1] < 0.6
    assert sure.crps > right.crps
    heavy = metrics.calibration(truth, zero, std, np.full_like(truth, 3.0))
    assert heavy.covered[0] == pytest.approx(0.68, abs=0.012)
    assert heavy.covered[1] > right.covered[1] + 0.01


def test_calibration_takes_arrays_of_any_one_shape() -> None:
    rng = np.random.default_rng(6)
    arrays = [rng.normal(size=400), np.zeros(400), np.ones(400), rng.uniform(2, 9, 400)]
    expected = metrics.calibration(*arrays)
    for shape in ((20, 20), (400, 1)):
        assert metrics.calibration(*(a.reshape(shape) for a in arrays)) == expected
    one = metrics.calibration(arrays[0].reshape(20, 20), 0.0, 1.0, 5.0)
    assert one.n == 400
    assert one.covered == metrics.calibration(*arrays[:3], np.full(400, 5.0)).covered


def test_regression_tells_shrinkage() -> None:
    rng = np.random.default_rng(4)
    truth = rng.normal(2.08, 0.16, 4000)
    shrunk = 2.08 + 0.4 * (truth - 2.08) + rng.normal(0, 0.05, 4000)
    coefficient, error = metrics.regression(shrunk, truth)
    assert coefficient == pytest.approx(0.4, abs=4 * error)
    assert error == pytest.approx(0.05 / 0.16 / np.sqrt(4000), rel=0.05)
    with pytest.raises(ValueError, match="3 or more"):
        metrics.regression([1.0, 1.0, 1.0], [2.0, 2.0, 2.0])


@pytest.mark.parametrize("kind", [np.uint8, np.float32, np.int64])
def test_a_mask_may_be_of_numbers(kind: type) -> None:
    """They are no rows: FITS holds masks as bytes."""
    rng = np.random.default_rng(0)
    image, model = rng.random((2, 8, 8)) + 0.5
    mask = rng.random((8, 8)) > 0.5
    radius = np.hypot(*np.mgrid[1:9, 1:9])
    for error in (
        lambda m: metrics.chi2_nu(image, model, 0.1, m),
        lambda m: metrics.misfit(image, model, 0.1, m),
        lambda m: metrics.deflection_error((image, model), (model, model), m),
        lambda m: metrics.log_kappa_rmse(image, model, m),
        lambda m: metrics.profile_slope(image, radius, m),
    ):
        assert error(mask.astype(kind)) == error(mask)
