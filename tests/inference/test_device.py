"""The search on a device: nothing of it stays on the host, and the answer is the same."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from pretend import pretended_device

import lensrim
from lensrim import ReconstructOptions
from lensrim.errors import InputError
from lensrim.evaluation.mocks import make_mock
from lensrim.inference.answer import Answer, answer
from lensrim.inference.framing import frame_of, observe
from lensrim.inference.macro import MacroState
from lensrim.inference.magnification import total_magnification
from lensrim.inference.reconstruct import prior_of, together
from lensrim.inference.search import STAGES, Scene, search


@pytest.fixture(scope="module")
def scene() -> Scene:
    mock = make_mock(3, shape=(32, 32), oversample=3)
    return observe(frame_of(mock.observation), lens_light=True)


def run(scene: Scene) -> tuple[Scene, MacroState, Answer, tuple[float, float]]:
    """The whole search with few modes and steps, and what follows it."""
    prior = prior_of(scene, True)
    stages = (
        replace(STAGES[0], modes=4, steps=2, keep=2),
        replace(STAGES[-1], modes=6, steps=2, keep=1),
    )
    problem, state = search(scene, prior, stages=stages)
    scene, problem, state = together(scene, problem, state, prior)
    spread = problem.covariance(state)[0]
    return (
        scene,
        state,
        answer(scene, problem, state),
        total_magnification(problem, state, spread),
    )


def test_the_search_lives_on_one_device(scene: Scene):
    _, state, here, magnification = run(scene)
    with pretended_device() as device:
        there_scene, there_state, there, there_magnification = run(replace(scene, device=device))
        assert there_scene.device == there_state.p.device == device
        found = there_state.p.cpu()
    torch.testing.assert_close(found, state.p, rtol=1e-5, atol=1e-5)
    for name in ("kappa", "source", "source_std", "arcs", "lens_light"):
        np.testing.assert_allclose(getattr(there, name), getattr(here, name), atol=1e-4)
    np.testing.assert_allclose(there_magnification, magnification, rtol=1e-4)


def test_a_missing_gpu_is_said():
    if torch.cuda.is_available():
        pytest.skip("there is one")
    with pytest.raises(InputError, match="--device cuda: torch finds no CUDA device"):
        ReconstructOptions(device="cuda").check()


@pytest.mark.gpu
def test_a_gpu_finds_the_same_lens(root: Path):
    here, there = (
        lensrim.reconstruct(root / "data/ring.fits", ReconstructOptions(device=device)).product
        for device in ("cpu", "cuda")
    )
    np.testing.assert_allclose(there.value("MACROTE"), here.value("MACROTE"), rtol=2e-3)
    np.testing.assert_allclose(there.value("CHI2NU"), here.value("CHI2NU"), rtol=0.02)
