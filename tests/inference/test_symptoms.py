"""Symptoms of wrong answers, each on a case in which it is known."""

from dataclasses import replace

import numpy as np
import pytest

from lensrim.evaluation.mocks import Mock
from lensrim.grid import PixelGrid
from lensrim.inference.answer import Answer, answer, mass_maps_of
from lensrim.inference.judgement import PEAK, core_lines, peak_line
from lensrim.inference.macro import MacroState
from lensrim.inference.multiplicity import multiply_imaged
from lensrim.inference.scene import Scene
from lensrim.inference.symptoms import (
    NO_RIVAL,
    Symptoms,
    border_of,
    candidates_of,
    correlation_of,
    judged,
    peak_of,
    rival_of,
    shape_of,
    smoothed,
    symptoms_of,
)
from lensrim.inference.together import prior_of
from lensrim.metrics import effective_theta_E

ALL = np.ones((60, 60), dtype=bool)


@pytest.fixture(scope="module")
def right(scene: Scene, state: MacroState) -> Answer:
    return answer(scene, mass_maps_of(scene, state), state)


def symptoms(scene: Scene, result: Answer, state: MacroState) -> Symptoms:
    radius = effective_theta_E(result.kappa, scene.frame.grid)
    return symptoms_of(scene, result, state, prior_of(scene, False), theta_E=radius)


def shrunk(state: MacroState, factor: float) -> MacroState:
    p = state.p.clone()
    p[:, 0] += float(np.log(factor))
    return replace(state, p=p)


def test_the_true_model_has_none(scene: Scene, right: Answer, state: MacroState):
    found = symptoms(scene, right, state)
    assert found.chi2 == pytest.approx(found.expected, abs=0.25)
    assert abs(found.correlation) < 0.1
    assert found.peak < 5
    assert found.multiple > 0.6
    assert found.size < 0.5
    assert found.hollow < 0.3
    assert found.border < 0.1
    assert found.offset < 2
    assert found.edge > 0.3
    assert found.ring
    assert found.rival == NO_RIVAL


@pytest.mark.parametrize("factor", [0.5, 1.5])
def test_a_wrong_radius_has_some(scene: Scene, state: MacroState, factor: float):
    wrong = shrunk(state, factor)
    result = answer(scene, mass_maps_of(scene, wrong), wrong)
    found = symptoms(scene, result, wrong)
    assert found.chi2 > 2 * found.expected
    assert found.excess > 10
    assert found.correlation > 0.05
    assert found.peak > 6


def test_the_misfit_is_the_worse_of_two_noises(scene: Scene, right: Answer, state: MacroState):
    """A fit must not hide what it leaves in the structure of the lens galaxy."""
    plain = symptoms(scene, right, state)
    hidden = replace(scene, structure=3 * scene.frame.sigma)
    assert symptoms(hidden, right, state).chi2 == pytest.approx(plain.chi2, rel=0.3)
    large = replace(scene, frame=replace(scene.frame, sigma=3 * scene.frame.sigma))
    large = replace(large, noise_scale=scene.noise_scale / 3)
    assert symptoms(large, right, state).chi2 == pytest.approx(plain.chi2, rel=0.1)


def test_the_core_of_the_lens_galaxy_is_not_judged(scene: Scene, right: Answer, state: MacroState):
    """What is left over of its light tells nothing of the mass; of the arcs' own light it does."""
    plain, radius = symptoms(scene, right, state), float(state.p[0, 0].exp())
    wide = replace(scene, arcs=scene.frame.mask)
    distance = scene.frame.distance(scene.light.center)
    core = (distance < 0.3 * radius) & scene.frame.mask
    assert core.sum() > 10

    def with_more(more: np.ndarray) -> Scene:
        return replace(wide, frame=replace(scene.frame, image=scene.frame.image + more))

    left_over = 20 * core * scene.frame.sigma
    spoilt = with_more(left_over)
    assert symptoms(spoilt, right, state).chi2 > 2 * plain.chi2
    bright = np.where(core, 100 * np.abs(right.arcs).max(), 0.0)
    lit = replace(right, lens_light=bright)
    spoilt = with_more(bright + left_over)
    found = symptoms(spoilt, lit, state)
    assert found.chi2 < 1.2 and found.peak < 5
    assert found.pixels == (scene.frame.mask & ~core).sum()
    np.testing.assert_array_equal(judged(spoilt, lit, radius), scene.frame.mask & ~core)
    (line,) = core_lines(spoilt, lit, radius)
    assert f"{core.sum()} pixels" in line and "chi2 3" in line  # 400 and the noise
    assert core_lines(with_more(bright), lit, radius) == core_lines(scene, right, radius) == ()
    # beyond the core bright lens light excuses nothing
    far = (distance > 0.7 * radius) & (distance < 0.9 * radius)
    lit = replace(right, lens_light=np.where(far, 100 * np.abs(right.arcs).max(), 0.0))
    np.testing.assert_array_equal(judged(wide, lit, radius), scene.frame.mask)
    # little but core: all is judged
    only = replace(scene, arcs=core)
    only.arcs[5, 5] = True
    np.testing.assert_array_equal(
        judged(only, replace(right, lens_light=bright), radius), only.arcs
    )


def test_the_range_s_end_is_near(scene: Scene, right: Answer, state: MacroState):
    low = prior_of(scene, False).theta_E[0]
    small = shrunk(state, 1.01 * low / float(state.p[0, 0].exp()))
    assert symptoms(scene, right, small).edge == pytest.approx(np.log(1.01), abs=1e-6)


def test_white_noise_is_not_correlated_and_smooth_noise_is():
    from scipy.ndimage import gaussian_filter

    white = np.random.default_rng(0).standard_normal(ALL.shape)
    assert correlation_of(white, ALL) == pytest.approx(0, abs=0.03)
    smooth = gaussian_filter(white, 0.8)
    near, corner = np.exp(-1 / (4 * 0.64)), np.exp(-2 / (4 * 0.64))
    assert correlation_of(smooth, ALL) == pytest.approx((near + corner) / 2, abs=0.06)
    assert correlation_of(white, np.zeros_like(ALL)) == 0


def test_where_the_residual_stands_out_is_told(
    mock: Mock, scene: Scene, right: Answer, state: MacroState
):
    row, column = np.argwhere(scene.arcs & scene.frame.mask)[100]
    lump = np.zeros(scene.frame.grid.shape)
    lump[row, column] = 40 * scene.sigma[row, column]
    spoilt = replace(scene, frame=replace(scene.frame, image=scene.frame.image + lump))
    observation = replace(mock.observation, corner=(100, 200), bin=1)
    line = peak_line(spoilt, right, float(state.p[0, 0].exp()), observation)
    assert line.startswith(f"{PEAK}about pixel ({100 + column}, {200 + row}), x y from 0")
    assert f"({101 + column}, {201 + row}) in DS9" in line
    twice = replace(observation, bin=2)
    line = peak_line(spoilt, right, float(state.p[0, 0].exp()), twice)
    assert f"about pixel ({100.5 + 2 * column:.0f}, {200.5 + 2 * row:.0f})" in line


def test_a_peak_stands_out_of_noise():
    noise = np.random.default_rng(0).standard_normal(ALL.shape)
    blank = ALL.copy()
    blank[20:40, 20:40] = False
    before, _ = peak_of(noise, ~blank, blank, 2.355)
    assert before < 4.5
    y, x = np.mgrid[:60, :60]
    lump = np.exp(-((x - 30) ** 2 + (y - 30) ** 2) / 2)
    # matched: the sum of a unit Gaussian's squares is pi
    height, place = peak_of(8 * lump, ~blank, blank, 2.355)
    assert height == pytest.approx(8 * np.sqrt(np.pi), rel=0.02)
    assert place == np.unravel_index(lump.argmax(), lump.shape)
    assert peak_of(noise + 8 * lump, ~blank, blank, 2.355)[0] > 10
    assert peak_of(noise, np.zeros_like(ALL), blank, 2.355)[0] == 0


@pytest.mark.parametrize("fwhm", [1.0, 1.3, 2.0, 3.0])
def test_a_smoothed_residual_is_in_units_of_its_noise(fwhm: float):
    """Of narrow PSFs, too, and where the frame ends or the mask is full of holes."""
    rng = np.random.default_rng(1)
    mask = rng.random((12, 12)) < 0.8
    mask[:4] = True
    drawn = [smoothed(rng.standard_normal((12, 12)), mask, fwhm)[mask] for _ in range(2000)]
    np.testing.assert_allclose(np.std(drawn, axis=0), 1.0, atol=0.08)


def test_the_images_of_a_weaker_lens_are_single(scene: Scene, state: MacroState):
    """Within the radius of the arcs a weak lens has no second image of them."""
    arcs, center = scene.arcs & scene.frame.mask, tuple(state.p[0, 3:5].tolist())
    shares = []
    for factor in (0.05, 0.5, 0.8, 1.0):
        weak = shrunk(state, factor)
        result = answer(scene, mass_maps_of(scene, weak), weak)
        shares.append(multiply_imaged(scene, result, arcs, center))
    assert shares == sorted(shares)
    assert shares[0] == 0
    assert shares[1] < 0.5
    assert shares[3] > 0.8


def test_the_images_of_an_isothermal_sphere_are_two_within_its_radius(
    scene: Scene, right: Answer, state: MacroState
):
    """Where the source is within an Einstein radius of the axis, and one where it is not."""
    round_ = replace(state, p=state.p.clone())
    round_.p[:, 1:3] = round_.p[:, 5:7] = 0.0
    round_.p[:, 7] = 2.0
    center, radius = round_.p[0, 3:5].numpy(), float(round_.p[0, 0].exp())
    maps = mass_maps_of(scene, round_)
    alpha_x, alpha_y = maps.alpha.numpy()
    grid = scene.frame.grid
    x, y = grid.from_index(np.arange(48)[None, :], np.arange(48)[:, None])
    distance = np.hypot(x - center[0], y - center[1])
    for inner, outer, share in ((1.2, 1.5, 1.0), (2.15, 2.5, 0.0), (0.4, 0.8, 1.0)):
        ring = (distance > inner * radius) & (distance < outer * radius)
        seen = replace(right, alpha_x=alpha_x, alpha_y=alpha_y, arcs=ring.astype(float))
        found = multiply_imaged(scene, seen, ring, (float(center[0]), float(center[1])))
        assert found == pytest.approx(share, abs=0.03)


def pictured(right: Answer, source: np.ndarray) -> Answer:
    return replace(right, source=source, source_grid=PixelGrid(source.shape, 0.02))


def test_the_shape_of_a_source(right: Answer):
    y, x = np.mgrid[:80, :80] - 39.5
    r = np.hypot(x + 4, y - 3)
    half, hollow = shape_of(pictured(right, np.exp(-(r**2) / (2 * 5**2))))
    assert half == pytest.approx(0.02 * 5 * 1.12, rel=0.05)  # of what is above a twentieth
    assert hollow == 0
    half, hollow = shape_of(pictured(right, np.exp(-((r - 15) ** 2) / 8)))
    assert half == pytest.approx(0.02 * 15, rel=0.05)
    assert hollow > 0.95
    assert shape_of(pictured(right, np.zeros((80, 80)))) == (0.0, 0.0)


def test_light_at_the_border():
    source = np.zeros((9, 9))
    source[4, 4] = 2.0
    assert border_of(source) == 0
    source[0, 3] = 1.0
    assert border_of(source) == 0.5
    assert border_of(-source) == 0


def test_the_best_other_minimum_is_the_rival(state: MacroState):
    assert rival_of([]) == (NO_RIVAL, 0.0)
    assert rival_of([(1.0, -np.inf), (2.0, -np.inf)]) == (NO_RIVAL, 0.0)
    assert rival_of([(1.0, -50.0), (1.02, -51.0)]) == (NO_RIVAL, 0.0)
    gap, change = rival_of([(1.5, -70.0), (1.0, -50.0), (0.5, -57.0), (1.02, -51.0)])
    assert gap == 7
    assert change == pytest.approx(-0.5)
    ((radius, value),) = candidates_of(state)
    assert radius == pytest.approx(float(state.p[0, 0].exp()))
    assert value == 0
