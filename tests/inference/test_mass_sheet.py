"""The mass sheet: what is expected of it, that no image tells it, and what it adds to errors."""

import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from symptoms import GOOD

from lensrim.errors import InputError
from lensrim.inference.answer import Answer, adapted, answer, maps_of, mass_maps_of
from lensrim.inference.answer_sheet import (
    bare_kappa,
    settled,
    sheet_direction,
    sheet_of,
    with_sheet,
)
from lensrim.inference.calibration import Calibration
from lensrim.inference.macro import MacroPrior, MacroState
from lensrim.inference.mass_sheet import (
    FITTED_WIDTH,
    RESPONSE,
    SLOPE,
    SLOPE_WIDTH,
    SPREAD,
    TAILS,
    WIDTH,
    InternalSheet,
    expected_sheet,
    without_sheet,
)
from lensrim.inference.options import ReconstructOptions
from lensrim.inference.scene import Scene
from lensrim.inference.source_system import SourceSystem
from lensrim.inference.together import prior_of
from lensrim.inference.uncertainty import Uncertainty, uncertainty_of
from lensrim.inference.view import Known, View, macro_maps, resample
from lensrim.metrics import effective_theta_E


@pytest.fixture(scope="module")
def prior(scene: Scene) -> MacroPrior:
    return prior_of(scene, has_light=False)


@pytest.fixture(scope="module")
def bare(scene: Scene, state: MacroState) -> Answer:
    return answer(scene, mass_maps_of(scene, state), state)


def test_the_expected_sheet_is_the_mean_of_what_is_known():
    """On a fine grid, without any formula."""
    slope, response = 2.31, -1.2
    t = np.linspace(-1.2, 1.2, 200_001)
    slopes = 1 + (slope - 1) * np.exp(response * t / (slope - 1))
    student = (1 + (t / WIDTH) ** 2 / TAILS) ** (-(TAILS + 1) / 2)
    density = student * np.exp(-0.5 * ((slopes - SLOPE) / SLOPE_WIDTH) ** 2)
    density /= density.sum()
    mean = float((density * t).sum())
    sheet = expected_sheet(slope, response, lowest=0.2)
    assert sheet.t == pytest.approx(mean, rel=1e-4)
    assert sheet.std == pytest.approx(math.sqrt((density * (t - mean) ** 2).sum()), rel=1e-4)
    assert sheet.slope == pytest.approx(1 + (slope - 1) * math.exp(response * sheet.t / 1.31))
    assert abs(sheet.slope - SLOPE) < abs(slope - SLOPE)
    # the profile bends alike where its slope is another
    other = expected_sheet(slope + 0.01, response * 1.32 / 1.31, lowest=0.2)
    assert other.t - sheet.t == pytest.approx(0.01 * sheet.follows, rel=0.02)
    # what is left of the response is that of the answer's own slope
    assert sheet.response == pytest.approx(response * (sheet.slope - 1) / (slope - 1))


def test_a_fit_with_the_slope_of_all_others_needs_no_sheet():
    sheet = expected_sheet(SLOPE, -1.1, lowest=0.1)
    assert abs(sheet.t) < 0.05 * sheet.std


def test_of_one_that_is_far_from_all_others_little_is_known():
    """Less than of a Gaussian's tails, which would not reach there."""
    near, far = expected_sheet(SLOPE, -1.2, 0.9), expected_sheet(1.45, -0.5, 0.9)
    assert far.t < -4 * WIDTH
    assert far.std > 3 * near.std
    assert far.std * -far.response > 1.5 * near.std * -near.response


@pytest.mark.parametrize("lowest", [0.0, 0.02, 0.3, 1.5])
def test_at_least_half_of_the_smallest_convergence_is_left(lowest: float):
    sheet = expected_sheet(1.5, -0.55, lowest)
    assert sheet.t <= 0
    left = 1 - sheet.scale * (1 - lowest)
    assert left >= 0.5 * lowest - 1e-12
    # where it is held, another slope gives the same
    assert (sheet.follows == 0) == (lowest < 0.5)
    free = expected_sheet(1.5, -0.55, lowest=0.9)
    assert sheet.std == pytest.approx(math.hypot(free.std, free.t - sheet.t))


def test_no_sheet_is_as_wrong_as_the_expected_one_is_large():
    sheet, none = expected_sheet(2.4, -1.1, lowest=0.2), without_sheet(2.4, -1.1)
    assert none.t == 0 and none.kappa == 0 and none.slope == pytest.approx(2.4)
    assert none.std == pytest.approx(math.hypot(sheet.std, sheet.t))
    # nor does the frame tell
    free = expected_sheet(1.6, -0.7, lowest=0.9)
    assert without_sheet(1.6, -0.7).std == pytest.approx(math.hypot(free.std, free.t))


def test_slopes_that_are_fitted_scatter_more_than_those_of_masses():
    rng = np.random.default_rng(0)
    slopes = rng.normal(SLOPE, SLOPE_WIDTH, 100_000) - RESPONSE * rng.normal(0, SPREAD, 100_000)
    assert slopes.std() == pytest.approx(FITTED_WIDTH, rel=0.01)


@pytest.mark.parametrize("follows", [False, True])
@pytest.mark.parametrize("t", [-0.08, 0.15])
def test_no_image_tells_a_sheet(
    scene: Scene, state: MacroState, bare: Answer, t: float, follows: bool
):
    """Through the forward model, from KAPPA, ALPHA and SOURCE alone; and for the evidence, also
    under a prior that follows the light."""
    bare = adapted(scene, bare) if follows else bare
    sheet = InternalSheet(t)
    found = with_sheet(scene, bare, sheet, state.p[0])
    np.testing.assert_allclose(1 - found.kappa, math.exp(-t) * (1 - bare.kappa), rtol=1e-12)
    assert found.source_grid.fov[0] == pytest.approx(math.exp(-t) * bare.source_grid.fov[0])
    assert np.array_equal(found.source, bare.source)
    view = View.of(scene, maps_of(found), found.source_grid.fov[0], found.source_grid.center)
    seen = view.see(torch.from_numpy(found.source)[None])[0].numpy()
    np.testing.assert_allclose(seen, bare.arcs, atol=1e-10 * bare.arcs.max())
    np.testing.assert_allclose(view.gamma.numpy(), found.gamma, atol=1e-12)
    hyper = torch.tensor([found.source_prior], dtype=torch.float64)
    system = SourceSystem.of(scene, hyper, view, found.modes)
    assert float(system.solution.log_evidence[0]) == pytest.approx(bare.log_evidence, abs=1e-6)
    system = SourceSystem.of(scene, hyper, view, found.modes, found.envelope)
    assert float(system.solution.effective[0]) == pytest.approx(bare.effective, abs=1e-6)
    before, after = (effective_theta_E(each.kappa, scene.frame.grid) for each in (bare, found))
    assert after == pytest.approx(before, rel=2e-4)  # the mass within whole pixels
    np.testing.assert_allclose(bare_kappa(found).numpy(), bare.kappa, rtol=1e-12)


def test_a_sheet_of_nothing_changes_nothing(scene: Scene, state: MacroState, bare: Answer):
    found = with_sheet(scene, bare, InternalSheet(), state.p[0])
    for name in ("kappa", "alpha_x", "alpha_y", "gamma", "source_prior"):
        np.testing.assert_allclose(getattr(found, name), getattr(bare, name), atol=1e-13)
    grid, expected = found.source_grid, bare.source_grid
    assert replace(grid, center=expected.center) == expected
    assert grid.center == pytest.approx(expected.center, abs=1e-13)


def test_the_direction_is_the_derivative(scene: Scene, state: MacroState, bare: Answer):
    p, grid, step = state.p[0], scene.frame.grid, 1e-5
    sheet = expected_sheet(2.3, -1.1, lowest=0.2)
    here, ahead = (
        with_sheet(scene, bare, replace(sheet, t=sheet.t + more), p) for more in (0.0, step)
    )
    own = sheet_direction(here, p, grid)
    before, after = maps_of(here), maps_of(ahead)
    torch.testing.assert_close(
        own.kappa[0], (after.kappa - before.kappa) / step, rtol=1e-4, atol=0
    )
    torch.testing.assert_close(
        own.alpha[0], (after.alpha - before.alpha) / step, rtol=1e-4, atol=1e-6
    )


Stated = Callable[[InternalSheet], Uncertainty]


@pytest.fixture(scope="module")
def stated(scene: Scene, state: MacroState, bare: Answer, prior: MacroPrior) -> Stated:
    def of(sheet: InternalSheet) -> Uncertainty:
        found = with_sheet(scene, bare, sheet, state.p[0])
        return uncertainty_of(scene, found, state, prior, GOOD, calibration=Calibration())

    return of


def test_errors_hold_the_sheet_where_it_counts(scene: Scene, state: MacroState, stated: Stated):
    """The source shrinks, and its flux with the square; the Einstein radius stays."""
    maps = mass_maps_of(scene, state)
    own = sheet_of(maps, state.p[0], scene.frame.grid, "expected")
    assert own.response == pytest.approx(-1.1, abs=0.3)
    free, held = stated(replace(own, follows=0.0)), stated(replace(own, std=0.0))
    arcs = scene.arcs
    added = np.sqrt(free.kappa_std[arcs] ** 2 - held.kappa_std[arcs] ** 2)
    expected = own.std * np.abs(1 - free.posterior.kappa[arcs])
    np.testing.assert_allclose(added, expected, rtol=1e-6, atol=1e-9)
    one, two = free.posterior.numbers, held.posterior.numbers

    def beyond(name: str) -> float:
        return math.sqrt(one[name].std ** 2 - two[name].std ** 2) / abs(one[name].value)

    assert one["slope"].value == own.slope
    assert beyond("slope") * own.slope == pytest.approx(-own.response * own.std, rel=0.1)
    assert beyond("flux") == pytest.approx(2 * own.std, rel=1e-6)
    assert beyond("magnification") == pytest.approx(2 * own.std, rel=1e-6)
    assert one["theta_E"].std == pytest.approx(two["theta_E"].std, rel=0.01)


def test_the_source_shrinks_as_the_sheet_grows(
    scene: Scene, state: MacroState, bare: Answer, stated: Stated
):
    """Against answers with more and less of it, on the pixels of the answer about one centre."""
    step, moved = 0.01, []
    axis = stated(InternalSheet(std=1.0)).posterior.source_axes[-1].numpy()
    for t in (step, -step):
        there = with_sheet(scene, bare, InternalSheet(t), state.p[0])
        known = Known(torch.from_numpy(there.source), there.source_grid.fov[0], (0.0, 0.0))
        moved.append(resample(known, replace(bare.source_grid, center=(0.0, 0.0))).numpy())
    inside = np.s_[4:-4, 4:-4]  # beyond its edge the smaller map knows nothing
    change = (moved[0] - moved[1]) / (2 * step)
    np.testing.assert_allclose(axis[inside], change[inside], atol=0.01 * np.abs(change).max())


@pytest.mark.parametrize("slope", [1.6, 2.08, 2.4, 2.6])
def test_the_slope_of_the_mass_follows_that_of_the_fit(slope: float):
    """Of profiles that bend alike, as it is found of the sheets of neighbouring slopes."""
    bend, step = -1.1, 1e-3
    ahead, sheet, back = (
        expected_sheet(each, bend * (each - 1), lowest=0.0)
        for each in (slope + step, slope, slope - step)
    )
    change = (ahead.slope - back.slope) / (2 * step)
    assert sheet.steeper + sheet.response * sheet.follows == pytest.approx(change, abs=1e-3)


def test_the_expected_sheet_follows_the_slope(stated: Stated):
    """Along every axis the sheet moves with the slope of the fit, and all that it changes."""
    sheet = expected_sheet(2.1, -1.1, lowest=0.2)
    follows, alone = stated(sheet).posterior, stated(replace(sheet, follows=0.0)).posterior
    slopes = alone.numbers["slope"].axes[:-1]
    response = float(alone.numbers["slope"].axes[-1]) / sheet.std
    moved = slopes * (1 + sheet.follows * response / sheet.steeper)
    torch.testing.assert_close(follows.numbers["slope"].axes[:-1], moved)
    t = sheet.follows * slopes / sheet.steeper
    for name, power in {"flux": -2, "magnification": 2}.items():
        number = alone.numbers[name]
        moved = number.axes[:-1] + power * number.value * t
        torch.testing.assert_close(follows.numbers[name].axes[:-1], moved)
    own = alone.mass.kappa[-1] / sheet.std
    moved = alone.mass.kappa[:-1] + t[:, None, None] * own
    torch.testing.assert_close(follows.mass.kappa[:-1], moved)


@pytest.mark.parametrize("name", ["macro_theta_E", "q", "phi", "macro_gamma1", "macro_gamma2"])
def test_numbers_of_the_fit_know_of_no_sheet(stated: Stated, name: str):
    free, held = stated(InternalSheet(std=0.1, follows=0.2)), stated(InternalSheet())
    assert free.errors[name] == pytest.approx(held.errors[name])


def test_errors_without_the_sheet_scale_with_the_source_plane(stated: Stated):
    """What a mass may do beside its sheet is as likely with one: the image is the same."""
    here, there = (stated(InternalSheet(t)) for t in (0.0, 0.12))
    ratio = there.kappa_std.mean() / here.kappa_std.mean()
    assert ratio == pytest.approx(math.exp(-0.12), rel=0.02)
    assert there.errors["slope"] == pytest.approx(here.errors["slope"], rel=0.03)


def test_every_answer_has_the_sheet_and_the_slope_of_its_own_mass(
    scene: Scene, state: MacroState, bare: Answer
):
    p, grid = state.p[0], scene.frame.grid
    steeper = p.clone()
    steeper[-1] += 0.1
    maps = macro_maps(steeper, grid)
    x, y = maps.alpha.numpy()
    other = replace(bare, kappa=maps.kappa.numpy(), alpha_x=x, alpha_y=y)
    sheet = expected_sheet(float(p[-1]), -1.1, lowest=0.2)
    found = settled(scene, {"macro": bare, "final": other}, maps_of(bare), sheet, p)
    assert found["macro"].sheet == sheet
    assert found["final"].sheet.t == sheet.t
    assert found["final"].sheet.slope == pytest.approx(sheet.slope + 0.1, abs=0.01)
    kappa = 1 - sheet.scale * (1 - other.kappa)
    np.testing.assert_allclose(found["final"].kappa, kappa, rtol=1e-12)


def test_a_wrong_name_is_refused():
    options = ReconstructOptions()
    object.__setattr__(options, "mass_sheet", "some")  # as from Python without type checks
    with pytest.raises(InputError, match="--mass-sheet: must be one of expected, none, found 'so"):
        options.check()
