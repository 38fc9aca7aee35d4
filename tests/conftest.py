"""What the whole suite shares: the repository's root and the sample observation."""

import os
from collections.abc import Iterator
from pathlib import Path

if "PYTEST_XDIST_WORKER" in os.environ:
    # Processes side by side, and what they start, have one core each. Before torch is imported.
    os.environ.setdefault("OMP_NUM_THREADS", "1")

import pytest
from hypothesis import settings
from jaxtyping import config, install_import_hook

import lensrim.lensing.fourier  # noqa: F401

# Equal runs try equal examples.
settings.register_profile("repeatable", derandomize=True, deadline=None)
settings.load_profile("repeatable")

# The tests hold every call to its annotations (an int is a float, too); elsewhere nothing looks at
# them. What is imported above, before the hook, stays as it is: the Fourier transforms, most of
# all calls, with which the tests of the simulator would take 14 per cent longer instead of 4.
install_import_hook(
    "lensrim", "beartype.beartype(conf=beartype.BeartypeConf(is_pep484_tower=True))"
)

ROOT = Path(__file__).parent.parent
WORKERS = 8
"""Processes of ``pytest -n auto``, at most: each takes a gigabyte, and long to import torch."""


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int | None:
    if "PYTEST_XDIST_AUTO_NUM_WORKERS" in os.environ:
        return None  # xdist's own choice, which follows it
    own = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return min(WORKERS, own or 1)


@pytest.fixture(scope="session")
def root() -> Path:
    """The root of the repository."""
    return ROOT


@pytest.fixture(autouse=True)
def _skip_without_device(request: pytest.FixtureRequest) -> None:
    """Skips the tests marked ``gpu`` where there is no CUDA device."""
    if request.node.get_closest_marker("gpu"):
        import torch

        if not torch.cuda.is_available():
            pytest.skip("needs a CUDA device")


@pytest.fixture
def second_derivatives() -> None:
    """Skips where torch has no second derivative in the positions at which a map is read."""
    import torch
    from torch.torch_version import TorchVersion

    if TorchVersion(torch.__version__) < "2.13":
        pytest.skip("the second derivative in the position needs torch 2.13")


@pytest.fixture
def types_unchecked() -> Iterator[None]:
    """Lets arguments of a wrong type through, to the code's own refusal of them."""
    config.update("jaxtyping_disable", True)
    yield
    config.update("jaxtyping_disable", False)
