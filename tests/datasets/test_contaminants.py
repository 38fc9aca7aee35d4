"""Contaminants: drawn in their ranges, and in images what their numbers say."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.integrate import trapezoid

from lensrim.datasets.contaminants import NONE, TRAINING, Contaminants, draw_contaminants
from lensrim.datasets.contamination import Contamination, LightErrors, Neighbour, Strip, Track
from lensrim.datasets.pairs.contamination import (
    ContaminationBatch,
    cosmic_rays,
    given_psfs,
    light_errors,
    neighbour_light,
    usable,
)
from lensrim.datasets.pairs.sersic import sersic_density
from lensrim.datasets.psfs.changes import PsfChange
from lensrim.datasets.psfs.kinds import Psf, fine_psf, native_psf
from lensrim.errors import InputError
from lensrim.grid import PixelGrid
from lensrim.lensing.psf import PSF, measure_fwhm

SHAPE = (48, 56)
GRID = PixelGrid(SHAPE, 1.0)
ALWAYS = replace(
    TRAINING,
    neighbours=1.0,
    cosmic_rays=1.0,
    bad_pixels=1.0,
    bad_columns=1.0,
    gaps=1.0,
    saturated=1.0,
    psf_errors=1.0,
    noise_errors=1.0,
)


def drawn(seed: int, prior: Contaminants = ALWAYS, **changes) -> Contamination | None:
    frame = {"shape": SHAPE, "theta_E": 10.0, "fwhm": 2.0, **changes}
    return draw_contaminants(np.random.default_rng(seed), prior, **frame)


def packed(*each: Contamination | None) -> ContaminationBatch:
    return ContaminationBatch.of(each, SHAPE)


def stamps(count: int = 1) -> torch.Tensor:
    psf = native_psf(fine_psf(Psf("gaussian", 2.0), oversample=5), 5)
    return torch.from_numpy(psf).float().expand(count, -1, -1)


def masks(batch: ContaminationBatch, hidden: torch.Tensor | None = None) -> tuple:
    """Masks over a noise of 1, without tracks."""
    nothing = torch.zeros(len(batch.core), 1, *SHAPE)
    return usable(
        batch,
        GRID,
        hidden=nothing if hidden is None else hidden,
        sigma=torch.ones_like(nothing),
        rays=nothing,
        center=torch.zeros(len(batch.core), 2),
    )


def test_what_has_no_share_draws_no_number() -> None:
    rng = np.random.default_rng(3)
    frame = {"shape": SHAPE, "theta_E": 10.0, "fwhm": 2.0}
    assert draw_contaminants(rng, NONE, **frame) is None
    assert rng.uniform() == np.random.default_rng(3).uniform()
    only = replace(NONE, noise_errors=1.0)
    made = draw_contaminants(rng, only, **frame)
    assert made is not None and made == Contamination(noise=made.noise)


def test_contaminants_are_reproducible_and_in_range() -> None:
    for seed in range(20):
        made = drawn(seed)
        assert made is not None and made == drawn(seed)
        assert 1 <= len(made.neighbours) <= ALWAYS.neighbours_max
        for each in made.neighbours:
            assert 0.03 <= each.brightness <= 10
            assert each.radius == 0 or 0.5 <= each.radius <= 4
            assert each.brightness > 0.1 or each.masked == 0
        assert all(5 <= t.charge <= 300 for t in made.tracks)
        assert all(0 <= r < SHAPE[0] and 0 <= c < SHAPE[1] for r, c in made.bad)
        assert 1 <= len(made.bad) <= 0.01 * SHAPE[0] * SHAPE[1] + 1
        assert 1.0 <= made.core <= 4.5
        assert made.psf is not None and math.hypot(made.psf.shift_x, made.psf.shift_y) <= 0.1
        assert made.light is not None and 0.003 <= made.light.size <= 0.03
        dark = drawn(seed, lit=False)
        assert dark is not None and dark.core == 0 and dark.light is None
    everyone = [n for seed in range(100) for n in drawn(seed).neighbours]  # type: ignore[union-attr]
    near = np.mean([math.hypot(n.x, n.y) < 15 for n in everyone])
    assert 0.005 < near < 0.12
    assert np.mean([n.radius == 0 for n in everyone]) == pytest.approx(0.3, abs=0.1)


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"neighbours": 2.0}, "neighbours: must be a share from 0 to 1, found 2.0"),
        ({"neighbour_radius": (0.0, 1.0)}, "neighbour_radius: must be a range of finite numbers"),
        ({"neighbours_max": 0}, "neighbours_max: must be 1 or more, found 0; for none set neigh"),
        ({"cosmic_rays_max": -1}, "cosmic_rays_max: must be 1 or more, found -1; for none set"),
        ({"psf_wings": -0.1}, "psf_wings: must be a share from 0 to 1"),
        ({"noise_error": math.inf}, "noise_error: must be finite"),
    ],
)
def test_impossible_populations(changes: dict, match: str) -> None:
    with pytest.raises(InputError, match=match):
        replace(TRAINING, **changes)


def test_a_batch_is_its_observations() -> None:
    each = [drawn(seed) for seed in range(3)] + [None]
    together = packed(*each)
    psf = stamps(4)
    light, hidden = neighbour_light(together, GRID, psf)
    rays, found = cosmic_rays(together, GRID)
    used, held = masks(together)
    for k, one in enumerate(each):
        alone = packed(one)
        for got, expected in zip(
            (light, hidden, rays, found, used, held, given_psfs(together, psf)),
            (
                *neighbour_light(alone, GRID, psf[:1]),
                *cosmic_rays(alone, GRID),
                *masks(alone),
                given_psfs(alone, psf[:1]),
            ),
            strict=True,
        ):
            torch.testing.assert_close(got[k], expected[0])
    assert float(light[3].abs().max()) == float(rays[3].abs().max()) == 0
    assert bool((used[3] == 1).all())
    some = together.rows(torch.tensor([2, 0]))
    torch.testing.assert_close(cosmic_rays(some, GRID)[0], rays[[2, 0]])


@pytest.mark.parametrize("n", [0.8, 1.0, 2.5, 4.0])
def test_a_galaxy_has_its_flux(n: float) -> None:
    radius = 3.0
    b, r = 2 * n - 1 / 3, np.linspace(0, 600, 2_000_001)[1:]
    profile = np.exp(-b * ((r / radius) ** (1 / n) - 1)) * 2 * np.pi * r
    density = float(sersic_density(torch.tensor(radius), torch.tensor(n)))
    assert density * trapezoid(profile, r) == pytest.approx(1, rel=0.01)


STAR = Neighbour(5.3, -4.6, 2.0, 0.0, 1.0, 1.0, 0.0, 1.0, 0.0)


def test_a_star_has_its_brightness_and_place() -> None:
    psf = stamps()
    light, hidden = neighbour_light(packed(Contamination(neighbours=(STAR,))), GRID, psf)
    seen = PSF(psf, SHAPE, subsample=1)(light)[0, 0]
    assert float(light.sum()) == pytest.approx(2.0 / float(psf.max()), rel=1e-5)
    assert float(seen.max()) == pytest.approx(2.0, rel=0.15)
    x, y = GRID.coordinates()
    assert float((seen * x).sum() / seen.sum()) == pytest.approx(5.3, abs=1e-3)
    assert float((seen * y).sum() / seen.sum()) == pytest.approx(-4.6, abs=1e-3)
    torch.testing.assert_close(hidden, light)


@pytest.mark.parametrize(("masked", "share"), [(0.0, 0.0), (0.5, 0.5), (1.0, 1.0)])
def test_neighbours_are_masked_as_far_as_they_are_seen(masked: float, share: float) -> None:
    galaxy = Neighbour(5.0, -4.0, 2.0, 3.0, 1.0, 0.8, 0.4, masked, 1.0)
    batch = packed(Contamination(neighbours=(galaxy,)))
    light, hidden = neighbour_light(batch, GRID, stamps())
    assert float(hidden.sum() / light.sum()) == pytest.approx(share, abs=0.03)
    blur = PSF(stamps(), SHAPE, subsample=1)
    used, held = masks(batch, 50 * blur(hidden))
    assert bool((held == 1).all())
    if masked == 1:
        # what is outside the mask has faded
        assert float((50 * blur(light) * used).max()) < 0.5
    assert bool((used == 0).any()) == (masked > 0)


def test_a_track_has_its_length_and_height() -> None:
    track = Track(3.0, -5.0, 9.0, 0.6, 0.5, 80.0, True)
    missed = replace(track, x=-15.0, found=False)
    rays, found = cosmic_rays(packed(Contamination(tracks=(track, missed))), GRID)
    x, _ = GRID.coordinates()
    one = rays * (x > -6)
    total = float(one.sum())
    across = math.sqrt(2 * math.pi) * 0.5
    assert total == pytest.approx(80 * across * (9 + across), rel=0.05)
    assert float((one * x).sum()) / total == pytest.approx(3.0, abs=0.1)
    assert 70 < float(rays.max()) <= 80
    covered = found == 1
    assert float(one[~covered].max()) < 0.5
    assert not bool(covered[..., x < -6].any())


def test_what_has_no_data_is_masked() -> None:
    spoiled = Contamination(
        strips=(Strip(0.0, 10.5, 0.6), Strip(math.pi / 2, 22.0, 3.0)),
        bad=((0, 0), (47, 55), (3, 9)),
        core=2.5,
    )
    used, held = masks(packed(spoiled, None))
    lost = held[0, 0] == 0
    assert bool(lost[:, 38].all()) and int(lost[20].sum()) == 1
    # from 19 upwards: rows 43 to 47
    assert bool(lost[43:].all()) and not bool(lost[42, :37].any())
    assert bool(lost[0, 0] and lost[3, 9] and lost[47, 55])
    core = (used[0, 0] == 0) & ~lost
    assert int(core.sum()) == int((torch.hypot(*GRID.coordinates()) < 2.5).sum())
    assert bool((held[1] == 1).all())


@pytest.mark.parametrize("part", ["waves", "dipole", "quadrupole", "ring", "boxiness"])
def test_what_is_left_of_the_light_has_its_size_and_shape(part: str) -> None:
    x, y = GRID.coordinates()
    r = torch.hypot(x, y)
    light = torch.exp(-((r / 6 + 0.1) ** 0.5) * 4)[None, None]
    numbers = torch.tensor([[6.0, 2.0, 0.0, 0.0]])
    waves = torch.randn(1, 1, *SHAPE, generator=torch.Generator().manual_seed(0))
    errors = LightErrors(0.02, **{"waves": 0.0, part: 1.0})
    batch = packed(Contamination(light=errors))
    pattern = light_errors(batch, light, numbers, waves, GRID)
    rms = ((pattern.square() * light).sum() / light.sum()).sqrt()
    assert float(rms) == pytest.approx(0.02, rel=1e-5)
    turns = {"dipole": (2, -1), "quadrupole": (2, 1), "ring": (1, 1), "boxiness": (1, 1)}
    if part in turns:
        k, sign = turns[part]
        square = pattern[..., 4:-4] if SHAPE[1] > SHAPE[0] else pattern
        turned = torch.rot90(square, k, (-2, -1))
        torch.testing.assert_close(turned, sign * square, atol=1e-6, rtol=1e-3)
    quiet = light_errors(packed(None), light, numbers, waves, GRID)
    assert float(quiet.abs().max()) == 0


def test_the_given_psf_is_not_the_true_one() -> None:
    change = PsfChange.of(2.0, width=0.05, shift=(0.08, 0.0))
    psf = stamps(2)
    given = given_psfs(packed(Contamination(psf=change), None), psf)
    assert measure_fwhm(given[0]) == pytest.approx(
        math.hypot(measure_fwhm(psf[0]), 2.0 * math.sqrt(1.05**2 - 1)), rel=0.01
    )
    torch.testing.assert_close(given[1], psf[1], atol=1e-6, rtol=1e-4)
    torch.testing.assert_close(given.sum((1, 2)), torch.ones(2))
