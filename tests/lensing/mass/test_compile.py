"""Compiled mass models: one graph each, and the same values."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

# In a process of its own: the checks of types that the tests install cannot be compiled.
SCRIPT = """
import torch
from masses import CASES, points, values

for name, case in CASES.items():
    torch._dynamo.reset()
    x, y = points(5)
    p = case.tensors()

    def maps(p, x, y):
        return values(case.make(**p), x, y)

    compiled = torch.compile(maps, fullgraph=True, backend="eager")
    torch.testing.assert_close(compiled(p, x, y), maps(p, x, y), msg=lambda m: f"{name}: {m}")
"""


@pytest.mark.slow
@pytest.mark.slow
def test_every_model_is_one_graph(root: Path):
    path = os.pathsep.join([str(root), str(root / "tests")])
    run = subprocess.run(
        [sys.executable, "-c", SCRIPT],
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
    )
    assert run.returncode == 0, run.stderr
