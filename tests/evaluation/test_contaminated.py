"""Contaminated mocks: neighbours as pairs have them, and files that are read without options."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from astropy.io import fits

from lensrim.datasets.contaminants import TRAINING
from lensrim.datasets.contamination import Contamination, Neighbour, Track
from lensrim.datasets.pairs.contamination import ContaminationBatch, neighbour_light
from lensrim.datasets.presets import population_of
from lensrim.datasets.priors import SystemPrior, draw_system
from lensrim.datasets.psfs.changes import PsfChange, PsfChanges
from lensrim.datasets.psfs.kinds import Psf, fine_psf, native_psf
from lensrim.evaluation.contaminated import neighbour_images
from lensrim.evaluation.mock_files import write_mock
from lensrim.evaluation.mocks import Mock, make_mock, render
from lensrim.evaluation.rendering import Canvas
from lensrim.grid import PixelGrid
from lensrim.io.read import read_observation
from lensrim.lensing.psf import PSF

SHAPE = (40, 44)
STAR = Neighbour(12.0, 3.0, 2.0, 0.0, 1.0, 1.0, 0.0, 1.0, 0.0)
GALAXY = Neighbour(-11.3, -14.2, 5.0, 4.0, 1.5, 0.7, 0.5, 0.0, 0.0)
SPOILED = Contamination(
    neighbours=(STAR, GALAXY),
    tracks=(Track(4.0, 12.0, 5.0, 0.5, 0.5, 50.0, True),),
    bad=((0, 0), (3, 30)),
    psf=PsfChange.of(2.0, width=0.04),
    noise=1.05,
)


@pytest.fixture(scope="module")
def both() -> tuple[Mock, Mock]:
    """A mock, and the same one spoiled, with the same noise."""
    system = make_mock(3, shape=SHAPE, oversample=3).truth.system
    systems = (system, replace(system, contamination=SPOILED))
    clean, spoiled = (
        render(s, shape=SHAPE, oversample=3, rng=np.random.default_rng(1)) for s in systems
    )
    return clean, spoiled


def test_neighbours_are_those_of_the_pairs() -> None:
    optical = fine_psf(Psf("gaussian", 2.2), oversample=5)
    canvas = Canvas(PixelGrid(SHAPE, 0.05), optical, 5)
    light, hidden = neighbour_images((STAR, GALAXY), canvas, 3.0)
    psf = torch.from_numpy(native_psf(optical, 5))[None].float()
    batch = ContaminationBatch.of([Contamination(neighbours=(STAR, GALAXY))], SHAPE)
    pairs = [
        3.0 * PSF(psf, SHAPE, subsample=1)(part)[0, 0].numpy()
        for part in neighbour_light(batch, PixelGrid(SHAPE, 1.0), psf)
    ]
    for mine, theirs in zip((light, hidden), pairs, strict=True):
        # the pairs' pixels are single points, and what is beyond the frame throws no light in
        assert np.abs(theirs - mine).max() < 0.16 * light.max()
        assert np.abs(theirs - mine).mean() < 3e-3 * light.max()
        assert theirs.sum() == pytest.approx(mine.sum(), rel=0.05)
    # between pixels
    assert light.max() == pytest.approx(6.0 * 0.85, rel=0.03)


@pytest.mark.parametrize("radius", [0.4, 1.0, 4.0])
@pytest.mark.parametrize("n", [0.7, 1.5, 4.0])
def test_galaxies_of_any_size_keep_their_light_in_pairs(radius: float, n: float) -> None:
    galaxy = Neighbour(3.3, -2.2, 1.0, radius, n, 0.6, 0.4, 1.0, 0.0)
    optical = fine_psf(Psf("gaussian", 2.2), oversample=5)
    expected, _ = neighbour_images((galaxy,), Canvas(PixelGrid(SHAPE, 0.05), optical, 5), 1.0)
    psf = torch.from_numpy(native_psf(optical, 5))[None].float()
    batch = ContaminationBatch.of([Contamination(neighbours=(galaxy,))], SHAPE)
    light, _ = neighbour_light(batch, PixelGrid(SHAPE, 1.0), psf)
    found = PSF(psf, SHAPE, subsample=1)(light)[0, 0].numpy()
    assert found.sum() == pytest.approx(expected.sum(), rel=0.08)
    assert found.max() == pytest.approx(expected.max(), rel=0.12)


def test_what_spoils_a_mock_is_in_it(both: tuple[Mock, Mock]) -> None:
    clean, spoiled = both
    truth, seen = spoiled.truth, spoiled.observation
    assert clean.truth.neighbours is None and clean.observation.mask.all()
    assert truth.neighbours is not None and truth.cosmic_rays is not None
    np.testing.assert_array_equal(truth.arcs, clean.truth.arcs)
    # photons of the neighbours add to the noise; what is stated is wrong by the factor
    sigma = seen.sigma / SPOILED.noise
    ratio = sigma / clean.observation.sigma
    assert (ratio >= 1 - 1e-9)[seen.mask].all() and ratio[seen.mask].max() > 1.01
    model = truth.arcs + truth.lens_light + truth.neighbours + truth.cosmic_rays
    residual = (seen.image - model) / sigma
    expected = clean.observation.image - clean.truth.arcs - clean.truth.lens_light
    expected = expected / clean.observation.sigma
    np.testing.assert_allclose(residual[seen.mask], expected[seen.mask], atol=1e-6)
    assert not seen.mask[0, 0] and not seen.mask[3, 30]
    star = (round((SHAPE[0] - 1) / 2 + STAR.y), round((SHAPE[1] - 1) / 2 + STAR.x))
    assert not seen.mask[star]
    assert seen.mask[round((SHAPE[0] - 1) / 2 + GALAXY.y), round((SHAPE[1] - 1) / 2 + GALAXY.x)]
    assert not seen.mask[truth.cosmic_rays > sigma].any()
    assert truth.psf is not None
    np.testing.assert_array_equal(truth.psf, clean.observation.psf)
    assert np.abs(seen.psf - truth.psf).max() > 0.01 * truth.psf.max()


def test_a_spoiled_mock_is_read_without_options(both: tuple[Mock, Mock], tmp_path: Path) -> None:
    for name, mock in zip(("clean", "spoiled"), both, strict=True):
        path = tmp_path / f"{name}.fits"
        write_mock(mock, path, seed=3, zero_point=25.0)
        read = read_observation(path)
        np.testing.assert_array_equal(read.mask, mock.observation.mask)
        np.testing.assert_allclose(read.sigma, mock.observation.sigma, rtol=1e-6)
        np.testing.assert_allclose(read.psf, mock.observation.psf, atol=1e-6)
        with fits.open(tmp_path / f"{name}_truth.fits") as truth:
            names = {hdu.name for hdu in truth}
        extra = {"NEIGHBOURS", "COSMIC_RAYS", "TRUE_PSF"}
        assert names & extra == (extra if name == "spoiled" else set())


def test_contaminants_leave_the_systems_of_old_seeds() -> None:
    plain = SystemPrior()
    spoiled = replace(plain, contaminants=TRAINING, psf_changes=PsfChanges(warped=1.0))
    for seed in range(5):
        rngs = [np.random.default_rng(seed) for _ in range(2)]
        one, other = (draw_system(r, prior=p) for r, p in zip(rngs, (plain, spoiled), strict=True))
        assert one.contamination is None and other.contamination is not None
        assert one.psf.change is None and other.psf.change is not None
        assert (one.lens, one.placement, one.noise) == (other.lens, other.placement, other.noise)
        assert replace(other.psf, change=None) == one.psf


def test_a_recipe_has_contaminants() -> None:
    found = population_of({"contaminants": {"neighbours": 0.25}, "psf_changes": {"warped": 0.5}})
    assert found.system.contaminants.neighbours == 0.25
    assert found.system.psf_changes.warped == 0.5
    with pytest.raises(ValueError, match=r"contaminants\.neighbour: must be one of neighbours, "):
        population_of({"contaminants": {"neighbour": 1}})
    with pytest.raises(ValueError, match=r"^contaminants\.neighbours: must be a share"):
        population_of({"contaminants": {"neighbours": 1.5}})
