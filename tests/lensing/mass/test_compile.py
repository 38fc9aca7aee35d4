"""Compiled mass models: one graph each, and the same values and gradients."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

# In a process of its own: the checks of types that the tests install cannot be compiled.
SCRIPT = """
import sys

import torch
from masses import CASES, points, values

for name, case in CASES.items():
    torch._dynamo.reset()
    x, y = (c.requires_grad_() for c in points(5))
    p = case.tensors(grad=True)

    def maps(p, x, y):
        return values(case.make(**p), x, y)

    compiled = torch.compile(maps, fullgraph=True, backend=sys.argv[1])
    ours, eager = compiled(p, x, y), maps(p, x, y)
    torch.testing.assert_close(ours, eager, msg=lambda m: f"{name}: {m}")
    gradients = [
        torch.autograd.grad(sum(v.sum() for v in out.values()), (x, y, *p.values()))
        for out in (ours, eager)
    ]
    torch.testing.assert_close(*gradients, msg=lambda m: f"{name}: {m}")
"""


def compiled(root: Path, backend: str) -> None:
    path = os.pathsep.join([str(root), str(root / "tests")])
    run = subprocess.run(
        [sys.executable, "-c", SCRIPT, backend],
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
    )
    assert run.returncode == 0, run.stderr


def test_every_model_is_one_graph(root: Path):
    compiled(root, "eager")


@pytest.mark.slow
def test_every_model_compiles_with_its_gradient(root: Path):
    compiled(root, "aot_eager")
