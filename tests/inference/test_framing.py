"""What is done before the fit: the cut-out, and the structure of the lens galaxy."""

import re
from dataclasses import replace

import numpy as np
import pytest
import torch

from lensrim.errors import InputError
from lensrim.evaluation.mocks import make_mock
from lensrim.grid import PixelGrid
from lensrim.inference import framing
from lensrim.inference.frame import Frame
from lensrim.inference.framing import coarsen, cut, frame_of, observe, structure_noise
from lensrim.inference.options import ReconstructOptions
from lensrim.inference.scene import Scene
from lensrim.inference.sighting import scene_of
from lensrim.io.observation import Observation

GRID = PixelGrid((61, 60), 0.05)
X, Y = (c.numpy() for c in GRID.coordinates(dtype=torch.float64))
RADIUS = np.hypot(X, Y)
LIGHT = 10 * np.exp(-RADIUS / 0.4)
SIGMA = 0.02


def frame() -> Frame:
    shape = GRID.shape
    psf = np.zeros((5, 5))
    psf[2, 2] = 1.0
    sigma, mask = np.full(shape, SIGMA), np.ones(shape, dtype=bool)
    return Frame(LIGHT, sigma, mask, GRID, psf, "effective", 0.1)


def noise(share: float) -> np.ndarray:
    rng = np.random.default_rng(0)
    return np.hypot(SIGMA, share * LIGHT) * rng.standard_normal(GRID.shape)


def test_structure_is_measured_whatever_the_arcs():
    residual = noise(0.05) + 3 * np.exp(-((RADIUS - 0.8) ** 2) / 0.05**2)
    structure = structure_noise(residual, LIGHT, frame(), RADIUS)
    bright = LIGHT > 20 * SIGMA
    assert np.median(structure[bright] / LIGHT[bright]) == pytest.approx(0.05, rel=0.25)


def test_a_galaxy_without_structure_adds_little_noise():
    structure = structure_noise(noise(0.0), LIGHT, frame(), RADIUS)
    assert np.median(structure) < 0.5 * SIGMA


def test_no_light_adds_no_noise():
    dark = np.zeros_like(LIGHT)
    assert not structure_noise(noise(0.0), dark, frame(), RADIUS).any()


MOCK = make_mock(3, shape=(32, 32), oversample=3)


def wide(shape: tuple[int, int], corner: tuple[int, int]) -> Observation:
    """The mock with its first pixel at ``corner`` (x, y) of a frame of noise."""
    mock = MOCK.observation
    sigma = np.full(shape, mock.sigma.min())
    image = sigma * np.random.default_rng(0).standard_normal(shape)
    (x, y), inner = corner, mock.shape
    place = (slice(y, y + inner[0]), slice(x, x + inner[1]))
    image[place], sigma[place] = mock.image, mock.sigma
    return Observation(image, sigma, mock.psf, np.ones(shape, dtype=bool), mock.pixel_scale)


def cut_to(observation: Observation, **options) -> tuple[Observation, list[str]]:
    choices = {"center": None, "size": None, "bin": None, "lens_light": True}
    return cut(observation, **(choices | options))


def test_a_size_alone_is_cut_about_the_lens():
    observation = wide((50, 54), (18, 5))
    galaxy = MOCK.truth.system.lens_light
    place = MOCK.observation.grid.to_index(galaxy.center_x, galaxy.center_y)
    column, row = place[0] + 18, place[1] + 5
    assert np.hypot(column - 26.5, row - 24.5) > 7  # from the middle of the frame
    fitted, notes = cut_to(observation, size=30 * observation.pixel_scale)
    assert fitted.shape == (30, 30)
    x, y = (c + (30 - 1) / 2 for c in fitted.corner)
    assert np.hypot(x - column, y - row) < 1.5
    size = 30 * observation.pixel_scale
    assert len(notes) == 1
    assert notes[0].startswith(f"cut out to {size:.2f} arcsec about pixel (3")


@pytest.mark.parametrize(
    ("options", "asked", "shape", "corner"),
    [
        ({}, True, (20, 20), (21, 6)),  # what is found decides
        ({"size": 24}, True, (24, 24), (19, 4)),  # the place is found, the side is the user's
        ({"size": 24, "center": (40.0, 20.0)}, False, (24, 24), (29, 9)),
        ({"size": 24, "lens_light": False}, False, (24, 24), (49, 40)),  # in the middle, as said
        ({"center": (40.0, 20.0)}, True, (20, 20), (31, 11)),
        ({"size": 122}, False, (104, 121), (0, 0)),  # nothing to cut
    ],
)
def test_what_is_cut_and_said(monkeypatch, options, asked, shape, corner):
    """The lens stands at (30, 15) of a frame of 121 x 104, and needs a side of 20 pixels."""
    calls = []

    def extent(observation, middle, locate, *_):
        calls.append(locate)
        return 20 * observation.pixel_scale, (30.0, 15.0) if locate else middle

    monkeypatch.setattr(framing, "_extent", extent)
    observation = wide((104, 121), (5, 5))
    options = dict(options)
    if "size" in options:
        options["size"] *= observation.pixel_scale
    fitted, notes = cut_to(observation, **options, bin=1)
    assert bool(calls) is asked
    assert (fitted.shape, fitted.corner) == (shape, corner)
    said = [n for n in notes if n.startswith("cut out to")]
    assert len(said) == (shape != observation.shape)
    if said:
        assert f"cut out to {shape[0] * observation.pixel_scale:.2f} arcsec about pixel" in said[0]


def test_a_lens_in_a_mosaic_is_looked_for_in_less_and_less_of_it(monkeypatch):
    """Averages of so many pixels may show no arcs."""
    observation, seen = wide((800, 800), (384, 384)), []

    def blurred(frame: Frame, **options) -> Scene:
        seen.append(round(frame.grid.spacing / observation.pixel_scale))
        if seen[-1] > 2:
            raise InputError("no arcs found")
        return observe(frame, **options)

    monkeypatch.setattr(framing, "observe", blurred)
    fitted, notes = cut_to(observation)
    assert seen == [8, 4, 2]
    assert max(fitted.shape) <= 100
    x, y = (c + (n - 1) / 2 for c, n in zip(fitted.corner, fitted.shape[::-1], strict=True))
    assert np.hypot(x - 399.5, y - 399.5) < 12
    assert notes[0].startswith("cut out to")
    noise = np.random.default_rng(2).standard_normal(observation.shape)
    empty = replace(observation, image=observation.sigma * noise)
    place = r"looked for about pixel .400, 400., in 800 x 800 pixels down to 100 x 100"
    with pytest.raises(InputError, match=f"no arcs found.*{place}"):
        cut_to(empty)


@pytest.mark.parametrize(
    ("factor", "right"), [(1e-33, False), (1e33, False), (2.0**-80, True), (2.0**40, True)]
)
def test_noise_that_single_precision_cannot_hold_is_told(factor: float, right: bool):
    mock = MOCK.observation
    small = replace(mock, image=mock.image * factor, sigma=mock.sigma * factor)
    if right:
        light, own = (observe(frame_of(o), lens_light=True).light for o in (mock, small))
        np.testing.assert_allclose(own.image / factor, light.image, atol=1e-4 * light.image.max())
        return
    with pytest.raises(InputError, match=r"^noise: must be between 1e-30 and 1e.30 of the data's"):
        cut_to(small)


def test_a_frame_that_is_too_small_is_told_as_such():
    mock = MOCK.observation.cutout((15.5, 15.5), (11, 32))
    for options in ({}, {"bin": 1}):
        with pytest.raises(InputError, match=r"^the frame must have 12 pixels .* found 32 x 11"):
            cut_to(mock, **options)


def test_an_undersampled_psf_of_large_pixels_is_told():
    for bin, narrow in ((1, False), (2, True)):
        _, notes = cut_to(MOCK.observation, bin=bin)
        said = [note for note in notes if f"--bin {bin - 1} is finer" in note]
        assert len(said) == narrow
    assert re.match(r"the PSF is 1\.\d\d binned pixels wide", said[0])


@pytest.mark.parametrize("side", [1e-9, 200.0])
def test_a_source_map_of_another_unit_is_refused(side: float):
    """Before the work, and not after it; pixels, or milliarcseconds, are taken for arcsec."""
    options = ReconstructOptions(source_fov=side, lens_light="none")
    pixel = MOCK.observation.pixel_scale
    message = f"--source-fov: must be between {pixel:.3g}, a pixel, and {32 * pixel:.3g} arcsec"
    with pytest.raises(InputError, match=message):
        scene_of(MOCK.observation, options)
    for bound in (f"{pixel:.3g}", f"{32 * pixel:.3g}"):  # what is told is taken
        scene_of(MOCK.observation, replace(options, source_fov=float(bound)))


@pytest.mark.parametrize(("lens_light", "advice"), [(True, "none if the"), (False, "auto if the")])
def test_the_advice_without_arcs_is_the_other_option(lens_light: bool, advice: str):
    mock = MOCK.observation
    noise = mock.sigma.min() * np.random.default_rng(0).standard_normal(mock.shape)
    with pytest.raises(InputError, match=f"no arcs found.* or give --lens-light {advice} lens"):
        observe(frame_of(replace(mock, image=noise)), lens_light=lens_light)


def test_every_round_of_the_lens_light_is_announced():
    rounds = []
    observe(frame_of(MOCK.observation), lens_light=True, tick=lambda: rounds.append(1))
    assert 1 <= len(rounds) <= 4


@pytest.mark.parametrize("shape", [(131, 130), (128, 133)])
def test_larger_pixels_are_where_the_small_ones_were(shape: tuple[int, int]):
    """An odd row that fills no block is cut off at one side, and moves the middle."""
    seen = wide(shape, (51, 48))
    scene = observe(frame_of(seen), lens_light=False)
    coarse = coarsen(scene, seen)
    assert coarse is not None and coarse.frame.grid.spacing > 1.9 * seen.pixel_scale

    def middle(light: np.ndarray, grid: PixelGrid) -> list[float]:
        return [float((c.numpy() * light).sum() / light.sum()) for c in grid.coordinates()]

    places = [middle(each.arc_light, each.frame.grid) for each in (scene, coarse)]
    np.testing.assert_allclose(*places, atol=0.1 * seen.pixel_scale)
