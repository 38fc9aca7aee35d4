"""Machines on a device: the answers of the CPU, and nothing of them left on the host."""

from typing import Any

import pytest
import torch
from machines import EVERY, PROBLEMS, Given, Problem, awake
from pretend import DEVICE, pretended_device
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from lensrim.rim.networks import layers
from lensrim.rim.starts import Learnt, Zeros


def sent(given: Given, device: torch.device | str) -> Given:
    """The same draws on a device."""
    return Given(
        given.observation.to(device),
        {name: x.to(device) for name, x in given.target.items()},
        {name: x.to(device) for name, x in given.start.items()},
        None if given.conditioning is None else given.conditioning.to(device),
    )


def single(given: Given) -> Given:
    """The same draws in single precision."""
    return Given(
        given.observation.float(),
        {name: x.float() for name, x in given.target.items()},
        {name: x.float() for name, x in given.start.items()},
        None if given.conditioning is None else given.conditioning.float(),
    )


def from_all_starts(problem: Problem, given: Given, device: torch.device | str) -> list[Tensor]:
    """All states from a given and from a learnt start, with the score of the answer."""
    rim, given = awake(problem).to(device), sent(given, device)
    way = Learnt(Zeros(sizes=problem.sizes))
    path = given.run(rim, judged=True)
    other = rim(given.observation, given.score, way, given.conditioning)
    found = [x for s in (*path.states, *path.scores, *other.states) for x in s.values()]
    assert all(x.device.type == torch.device(device).type for x in found)
    return found


@EVERY
def test_nothing_is_left_on_the_host(problem: Problem):
    expected = from_all_starts(problem, problem.given(), "cpu")
    with pretended_device() as device, torch.no_grad():
        found = [x.cpu() for x in from_all_starts(problem, problem.given(), device)]
    for one, two in zip(found, expected, strict=True):
        torch.testing.assert_close(one, two.detach(), rtol=0, atol=1e-12)


@pytest.mark.gpu
@EVERY
def test_a_gpu_gives_the_answers_of_the_cpu(problem: Problem):
    expected = from_all_starts(problem, problem.given(), "cpu")
    found = from_all_starts(problem, problem.given(), "cuda")
    for one, two in zip(found, expected, strict=True):
        torch.testing.assert_close(one.cpu(), two, rtol=0, atol=1e-9)
    torch.stack([x.square().sum() for x in found]).sum().backward()


class Single(TorchDispatchMode):
    """Refuses numbers of double precision on the pretended device."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        for x in tree_leaves(out):
            if isinstance(x, Tensor) and x.device == DEVICE and x.dtype == torch.float64:
                raise TypeError(f"{func}: the device has no double precision")
        return out


@pytest.mark.parametrize("name", ["2-D", "1-D", "maps", "resized"])
def test_a_device_without_double_precision_will_do(name: str, monkeypatch: pytest.MonkeyPatch):
    problem = PROBLEMS[name]
    rim, given = awake(problem).float(), single(problem.given())
    expected = given.predict(rim)
    monkeypatch.setattr(layers, "WITHOUT_DOUBLE", (DEVICE.type,))
    with pretended_device() as device, Single(), torch.no_grad():
        found = {n: x.cpu() for n, x in sent(given, device).predict(rim.to(device)).items()}
    for one, two in zip(found.values(), expected.values(), strict=True):
        torch.testing.assert_close(one, two, rtol=0, atol=1e-5)
