"""The search on a device: nothing of it stays on the host, and the answer is the same."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from pretend import pretended_device
from torch import Tensor

import lensrim
from lensrim import ReconstructOptions
from lensrim.datasets.priors import SystemPrior
from lensrim.errors import InputError
from lensrim.evaluation.mocks import make_mock
from lensrim.inference import fit as fitting
from lensrim.inference import options as choices
from lensrim.inference.answer import Answer, answer, mass_maps_of
from lensrim.inference.devices import is_out_of_memory
from lensrim.inference.framing import frame_of, observe
from lensrim.inference.macro import MacroState
from lensrim.inference.scene import Scene
from lensrim.inference.search import STAGES, search
from lensrim.inference.together import prior_of, together
from lensrim.io.observation import Observation


@pytest.fixture(scope="module")
def scene() -> Scene:
    mock = make_mock(3, shape=(32, 32), oversample=3)
    return observe(frame_of(mock.observation), lens_light=True)


def run(scene: Scene) -> tuple[Scene, MacroState, Answer, Tensor]:
    """The whole search with few modes and steps, and what follows it."""
    prior = prior_of(scene, True)
    stages = (
        replace(STAGES[0], modes=4, steps=2, keep=2),
        replace(STAGES[-1], modes=6, steps=2, keep=1),
    )
    problem, state = search(scene, prior, stages=stages)
    scene, problem, state = together(scene, problem, state, prior, stages[-1])
    return (
        scene,
        state,
        answer(scene, mass_maps_of(scene, state), state),
        problem.derivatives(state)[1][0].diagonal().rsqrt().cpu(),
    )


def test_the_search_lives_on_one_device(scene: Scene):
    _, state, here, errors = run(scene)
    with pretended_device() as device:
        there_scene, there_state, there, there_errors = run(replace(scene, device=device))
        assert there_scene.device == there_state.p.device == device
        found = there_state.p.cpu()
    torch.testing.assert_close(found, state.p, rtol=1e-5, atol=1e-5)
    for name in ("kappa", "source", "source_std", "arcs", "lens_light"):
        np.testing.assert_allclose(getattr(there, name), getattr(here, name), atol=1e-4)
    torch.testing.assert_close(there_errors, errors, rtol=1e-3, atol=0)


def test_a_missing_gpu_is_said():
    if torch.cuda.is_available():
        pytest.skip("there is one")
    with pytest.raises(InputError, match="--device cuda: torch finds no CUDA device"):
        ReconstructOptions(device="cuda").check()


def test_a_gpu_that_does_not_compute_is_said(monkeypatch: pytest.MonkeyPatch):
    def zeros(*_: object, **__: object):
        raise RuntimeError("no kernel image is available for execution on the device\nhint")

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch, "zeros", zeros)
    with pytest.raises(
        InputError,
        match=r"--device cuda: the CUDA device must compute, it fails \(no kernel image is .* hint"
        r"\): give --device cpu",
    ):
        ReconstructOptions(device="cuda").check()


@pytest.fixture(scope="module")
def large() -> Observation:
    """Large enough for a coarse frame; without lens light, which takes no time then."""
    prior = SystemPrior(light_share=0.0)
    return make_mock(1, shape=(96, 96), oversample=3, prior=prior).observation


@pytest.mark.parametrize(("device", "expected"), [("cuda", "cuda"), ("cpu", "cpu")])
def test_the_search_is_given_the_device(
    large: Observation, monkeypatch: pytest.MonkeyPatch, device: str, expected: str
):
    given = {}

    class Given(Exception):
        pass

    def search(scene: Scene, *_: object, coarse: Scene | None, **__: object):
        given.update(scene=scene, coarse=coarse)
        raise Given("the search")

    monkeypatch.setattr(choices, "check_cuda", lambda: None)
    monkeypatch.setattr(fitting, "search", search)
    with pytest.raises(Given, match="the search"):
        lensrim.reconstruct(large, ReconstructOptions(device=device, lens_light="none"))
    assert {name: scene.device.type for name, scene in given.items()} == {
        "scene": expected,
        "coarse": expected,
    }


@pytest.mark.parametrize(
    "error",
    [
        torch.cuda.OutOfMemoryError("tried to allocate 2.00 GiB"),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling cublasCreate"),
    ],
)
def test_a_gpu_without_the_memory_is_said(
    large: Observation, monkeypatch: pytest.MonkeyPatch, error: RuntimeError
):
    def search(*_: object, **__: object):
        raise error

    monkeypatch.setattr(choices, "check_cuda", lambda: None)
    monkeypatch.setattr(fitting, "search", search)
    with pytest.raises(
        InputError,
        match=r"--device cuda: .* the memory for 96 x 96 pixels, found too little \("
        r".*(?i:alloc).*\): give --device cpu",
    ):
        lensrim.reconstruct(large, ReconstructOptions(device="cuda", lens_light="none"))


@pytest.mark.gpu
def test_a_gpu_finds_the_same_lens(root: Path):
    def product(device: str):
        options = ReconstructOptions(device=device)
        return lensrim.reconstruct(root / "data/ring.fits", options).product

    here = product("cpu")
    torch.cuda.reset_peak_memory_stats()
    there = product("cuda")
    assert torch.cuda.max_memory_allocated() > 0
    np.testing.assert_allclose(there.value("MACROTE"), here.value("MACROTE"), rtol=2e-3)
    np.testing.assert_allclose(there.value("CHI2NU"), here.value("CHI2NU"), rtol=0.02)


@pytest.mark.parametrize(
    ("said", "full"),
    [
        ("CUDA error: out of memory", True),
        ("CUDA driver error: out of memory", True),
        ("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`", True),
        ("cuFFT error: CUFFT_ALLOC_FAILED", True),
        ("cusolver error: CUSOLVER_STATUS_ALLOC_FAILED", True),
        ("CUDA error: invalid argument", False),
    ],
)
def test_what_says_that_a_gpu_is_full(said: str, full: bool):
    cause = RuntimeError(said)
    assert is_out_of_memory(cause) == full
    error = InputError("--device cuda: no")
    error.__cause__ = cause
    assert is_out_of_memory(error) == full
