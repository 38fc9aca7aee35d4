"""The pretended device refuses what a GPU refuses, and nothing else: one case per rule."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from pretend import DEVICE, pretended_device
from torch import Tensor

HOST = torch.arange(6.0).reshape(2, 3)
NUMBER = torch.tensor(2.0)
SAME = "expected all tensors to be on the same device"


def generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


REFUSED: dict[str, tuple[Callable[[Tensor], object], str]] = {
    "a sum": (lambda there: there + HOST, SAME),
    "a sum into the host": (lambda there: HOST.clone().add_(there), SAME),
    "a sum into a number of the host": (lambda there: NUMBER.clone().add_(there[0, 0]), SAME),
    "a product of matrices": (lambda there: there @ HOST.T, SAME),
    "an einsum": (lambda there: torch.einsum("ij,j->i", there, HOST[0]), SAME),
    "a stack with a number": (lambda there: torch.stack([there[0, 0], NUMBER]), SAME),
    "a concatenation": (lambda there: torch.cat([there, HOST]), SAME),
    "a mask of the host": (lambda there: torch.where(HOST > 1, there, there), SAME),
    "a fill by a mask of the host": (lambda there: there.masked_fill(HOST > 1, 0.0), SAME),
    "a gather": (lambda there: there.gather(0, torch.zeros(1, 3, dtype=torch.long)), SAME),
    "an index from the device": (lambda there: HOST[(there[:, 0] > 1)], SAME),
    "values set from the host": (
        lambda there: there.index_put_((NUMBER.long()[None],), HOST[:1]),
        SAME,
    ),
    "whole numbers set from the host": (
        lambda there: there.long().index_put_((torch.tensor([0]),), HOST[:1].long()),
        SAME,
    ),
    "random numbers of the host's generator": (
        lambda there: torch.randn(2, generator=generator(), device=there.device),
        "expected a generator of the device",
    ),
    "random numbers in place": (
        lambda there: there.normal_(generator=generator()),
        "expected a generator of the device",
    ),
    "values in numpy": (lambda there: there.numpy(), "numpy"),
}

ALLOWED: dict[str, tuple[Callable[[Tensor], Tensor], Callable[[Tensor], Tensor]]] = {
    "the parts of a conjugate": (
        lambda t: torch.view_as_real((t * 1j).conj() * 2),
        lambda t: torch.stack([0 * t, -2 * t], -1),
    ),
    "a sum with a number": (lambda t: t + NUMBER, lambda t: t + 2),
    "a choice of a number": (lambda t: torch.where(t > 1, t, NUMBER), lambda t: t.where(t > 1, 2)),
    "a fill by a number": (lambda t: t.masked_fill(t > 1, NUMBER), lambda t: t.where(t <= 1, 2)),
    "an index of the host": (lambda t: t[torch.tensor([1])], lambda t: t[1:]),
    "a mask of the host as index": (lambda t: t[HOST > 3], lambda t: t[1, 1:]),
    "a list as index": (lambda t: t[:, [0, 2]], lambda t: t[:, ::2]),
    "an empty list as index": (lambda t: t[[]], lambda t: t[:0]),
    "a list of booleans as index": (lambda t: t[[False, True]], lambda t: t[1:]),
    "a number set by a list": (lambda t: put(t, [False, True], 5.0), lambda t: put(t, 1, 5.0)),
    "a number of the host set": (
        lambda t: t.index_put((torch.tensor([1]),), NUMBER),
        lambda t: put(t, 1, 2.0),
    ),
    "a copy to the device": (lambda t: t + HOST.to(t.device), lambda t: t + HOST),
    "a copy into the device": (lambda t: torch.empty_like(t).copy_(HOST), lambda t: t),
    "numbers in a list": (lambda t: torch.tensor([1.0], device=t.device), lambda t: t[0, 1:2]),
    "zeros like those of the host": (
        lambda t: torch.zeros_like(HOST, device=t.device),
        torch.zeros_like,
    ),
}


def put(tensor: Tensor, index: object, value: float) -> Tensor:
    """Returns a copy with one part set."""
    tensor = tensor.clone()
    tensor[index] = value
    return tensor


@pytest.mark.parametrize("name", REFUSED)
def test_what_a_gpu_refuses(name: str):
    make, message = REFUSED[name]
    with pretended_device() as device:
        there = HOST.to(device)
        with pytest.raises((RuntimeError, TypeError), match=message):
            make(there)


@pytest.mark.parametrize("name", ALLOWED)
def test_what_a_gpu_allows(name: str):
    make, expected = ALLOWED[name]
    with pretended_device() as device:
        made = make(HOST.to(device))
        assert made.device == device
        found = made.cpu()
    assert found.device.type == "cpu"
    torch.testing.assert_close(found, expected(HOST))


def test_what_is_made_on_the_host_stays_there():
    with pretended_device() as device:
        there = HOST.to(device)
        for made in (
            torch.zeros_like(there, device="cpu"),
            there.new_ones(2, device="cpu"),
            there.to("cpu"),
            torch.empty(2, 3).copy_(there),
            torch.randn(2, generator=generator()),
        ):
            assert made.device.type == "cpu"
            assert np.isfinite(made.numpy()).all()
        for made in (torch.zeros_like(there), there.new_ones(2), torch.zeros(2, device=device)):
            assert made.device == DEVICE


def test_numbers_come_to_the_host():
    with pretended_device() as device:
        there = HOST.to(device)
        assert there[1, 2].item() == float(there.max()) == 5
        assert there[0].tolist() == [0, 1, 2]
        assert bool((there >= 0).all())
