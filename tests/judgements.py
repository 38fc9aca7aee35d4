"""Machines to be judged, and judgements that are compared: what tests of several papers share."""

from collections.abc import Mapping
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor

from lensrim.reproduction.lensed import judging
from lensrim.reproduction.lensed.inversion import refine
from lensrim.reproduction.lensed.judging import Machine
from lensrim.reproduction.lensed.machines import Design


def machines_of(designs: Mapping[str, Design]) -> dict[str, Machine]:
    """Untrained machines."""
    found = {}
    for name, design in designs.items():
        torch.manual_seed(0)
        found[name] = Machine(design, design.machine().requires_grad_(False))
    return found


def shorten(monkeypatch: pytest.MonkeyPatch, *modules: Any) -> None:
    """Lets iterations of those who do without a machine be few, in modules that judge."""
    monkeypatch.setattr(judging, "END", 3)
    for module in modules:
        monkeypatch.setattr(module, "refine", partial(refine, steps=1))


def assert_alike(found: Any, expected: Any) -> None:
    """Compares tensors, in dictionaries to any depth, in the precision of iterations."""
    if isinstance(expected, Tensor):
        assert found.device.type == "cpu"
        torch.testing.assert_close(found, expected, rtol=2e-2, atol=2e-3)
    elif isinstance(expected, Mapping):
        assert list(found) == list(expected)
        for name, value in expected.items():
            assert_alike(found[name], value)
    else:
        assert found == expected
