"""The mass sheet: what is expected of it, that no image tells it, and what it adds to errors."""

import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch

from lensrim.inference.answer import Answer, SourceSystem, answer, mass_maps_of
from lensrim.inference.calibration import Calibration
from lensrim.inference.directions import macro_directions
from lensrim.inference.macro import MacroPrior, MacroState
from lensrim.inference.mass_sheet import SLOPE, SLOPE_WIDTH, WIDTH, MassSheet, expected_sheet
from lensrim.inference.scene import Scene
from lensrim.inference.sheeted import (
    bare_kappa,
    maps_of,
    sheet_direction,
    sheet_of,
    with_sheet,
)
from lensrim.inference.together import prior_of
from lensrim.inference.uncertainty import Uncertainty, uncertainty_of
from lensrim.inference.view import Known, View, resample
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
    t = np.linspace(-0.6, 0.6, 200_001)
    total = (slope + response * t - SLOPE) / SLOPE_WIDTH
    density = np.exp(-0.5 * (t / WIDTH) ** 2 - 0.5 * total**2)
    density /= density.sum()
    mean = float((density * t).sum())
    sheet = expected_sheet(slope, response, lowest=0.2)
    assert sheet.t == pytest.approx(mean, rel=1e-6)
    assert sheet.std == pytest.approx(math.sqrt((density * (t - mean) ** 2).sum()), rel=1e-6)
    assert sheet.slope == pytest.approx(slope + response * mean)
    assert abs(sheet.slope - SLOPE) < abs(slope - SLOPE)
    other = expected_sheet(slope + 0.01, response, lowest=0.2)
    assert other.t - sheet.t == pytest.approx(0.01 * sheet.follows)


def test_a_fit_with_the_slope_of_all_others_needs_no_sheet():
    assert expected_sheet(SLOPE, -1.1, lowest=0.1).t == 0


@pytest.mark.parametrize("lowest", [0.0, 0.02, 0.3, 1.5])
def test_at_least_half_of_the_smallest_convergence_is_left(lowest: float):
    sheet = expected_sheet(1.3, -1.1, lowest)
    assert sheet.t <= 0
    left = 1 - sheet.scale * (1 - lowest)
    assert left >= 0.5 * lowest - 1e-12


def test_no_sheet_is_as_wrong_as_the_expected_one_is_large():
    sheet = expected_sheet(2.4, -1.1, lowest=0.2)
    none = sheet.left_out
    assert none.t == 0 and none.kappa == 0 and none.slope == pytest.approx(2.4)
    assert none.std == pytest.approx(math.hypot(sheet.std, sheet.t))


@pytest.mark.parametrize("t", [-0.08, 0.15])
def test_no_image_tells_a_sheet(scene: Scene, state: MacroState, bare: Answer, t: float):
    """Through the forward model, from KAPPA, ALPHA and SOURCE alone; and for the evidence."""
    sheet = MassSheet(t)
    found = with_sheet(scene, bare, sheet, state.p[0])
    np.testing.assert_allclose(1 - found.kappa, math.exp(-t) * (1 - bare.kappa), rtol=1e-12)
    assert found.source_grid.fov[0] == pytest.approx(math.exp(-t) * bare.source_grid.fov[0])
    assert np.array_equal(found.source, bare.source)
    view = View.of(scene, maps_of(found), found.source_grid.fov[0], found.source_grid.center)
    seen = view.see(torch.from_numpy(found.source)[None])[0].numpy()
    np.testing.assert_allclose(seen, bare.arcs, atol=1e-10 * bare.arcs.max())
    np.testing.assert_allclose(view.gamma.numpy(), found.gamma, atol=1e-12)
    hyper = torch.tensor([found.source_prior], dtype=torch.float64)
    system = SourceSystem.of(scene, replace(state, hyper=hyper), view)
    assert float(system.solution.log_evidence[0]) == pytest.approx(bare.log_evidence, abs=1e-6)
    before, after = (effective_theta_E(each.kappa, scene.frame.grid) for each in (bare, found))
    assert after == pytest.approx(before, rel=2e-4)  # the mass within whole pixels
    np.testing.assert_allclose(bare_kappa(found).numpy(), bare.kappa, rtol=1e-12)


def test_a_sheet_of_nothing_changes_nothing(scene: Scene, state: MacroState, bare: Answer):
    found = with_sheet(scene, bare, MassSheet(), state.p[0])
    for name in ("kappa", "alpha_x", "alpha_y", "gamma", "source_prior"):
        np.testing.assert_allclose(getattr(found, name), getattr(bare, name), atol=1e-13)
    assert found.source_grid == bare.source_grid


def test_the_direction_is_the_derivative(
    scene: Scene, state: MacroState, bare: Answer, prior: MacroPrior
):
    p, grid, step = state.p[0], scene.frame.grid, 1e-5
    sheet = expected_sheet(2.3, -1.1, lowest=0.2)
    here, ahead = (
        with_sheet(scene, bare, replace(sheet, t=sheet.t + more), p) for more in (0.0, step)
    )
    own = sheet_direction(here, p, grid, macro_directions(p, prior, grid))
    before, after = maps_of(here), maps_of(ahead)
    torch.testing.assert_close(
        own.kappa[0], (after.kappa - before.kappa) / step, rtol=1e-4, atol=0
    )
    torch.testing.assert_close(
        own.alpha[0], (after.alpha - before.alpha) / step, rtol=1e-4, atol=1e-6
    )


Stated = Callable[[MassSheet], Uncertainty]


@pytest.fixture(scope="module")
def stated(scene: Scene, state: MacroState, bare: Answer, prior: MacroPrior) -> Stated:
    def of(sheet: MassSheet) -> Uncertainty:
        found = with_sheet(scene, bare, sheet, state.p[0])
        return uncertainty_of(scene, found, state, prior, calibration=Calibration())

    return of


def test_errors_hold_the_sheet_where_it_counts(
    scene: Scene, state: MacroState, prior: MacroPrior, stated: Stated
):
    """The source shrinks, and its flux with the square; the Einstein radius stays."""
    own = sheet_of(state.p[0], prior, scene.frame.grid, "expected")
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
    axis = stated(MassSheet(std=1.0)).posterior.source_axes[-1].numpy()
    for t in (step, -step):
        there = with_sheet(scene, bare, MassSheet(t), state.p[0])
        known = Known(torch.from_numpy(there.source), there.source_grid.fov[0], (0.0, 0.0))
        moved.append(resample(known, replace(bare.source_grid, center=(0.0, 0.0))).numpy())
    inside = np.s_[4:-4, 4:-4]  # beyond its edge the smaller map knows nothing
    change = (moved[0] - moved[1]) / (2 * step)
    np.testing.assert_allclose(axis[inside], change[inside], atol=0.01 * np.abs(change).max())


def test_the_expected_sheet_follows_the_slope(stated: Stated):
    """Masses that differ in slope differ less with the sheet that comes with it."""
    sheet = expected_sheet(2.1, -1.1, lowest=0.2)
    with_it, alone = stated(sheet), stated(replace(sheet, follows=0.0))
    axes = with_it.posterior.numbers["slope"].axes[:-1]
    before = alone.posterior.numbers["slope"].axes[:-1]
    assert 0 < float(axes.norm()) < float(before.norm())
