"""Laws of every public operator: any precision, any device, compiled, and under vmap."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from operators import MAPS, OPERATORS, Operator
from pretend import pretended_device
from torch.torch_version import TorchVersion
from torch.utils._pytree import tree_leaves

CPU = torch.device("cpu")
EVERY = pytest.mark.parametrize("operator", OPERATORS.values(), ids=OPERATORS.keys())
HELD = {name: operator for name, operator in OPERATORS.items() if not operator.functional}
EVERY_MAP = pytest.mark.parametrize("operator", MAPS.values(), ids=MAPS.keys())

# In a process of its own: the checks of types that the tests install cannot be compiled.
SCRIPT = """
import sys

import torch
from operators import OPERATORS

backend, pattern = sys.argv[1:]
cpu = torch.device("cpu")
for name, operator in OPERATORS.items():
    if pattern not in name:
        continue
    torch.compiler.reset()
    try:
        found = operator.outcome(
            torch.float64, cpu, lambda f: torch.compile(f, fullgraph=True, backend=backend)
        )
        right = operator.outcome(torch.float64, cpu, lambda f: f)
        torch.testing.assert_close(found, right, rtol=1e-7, atol=1e-9)
    except Exception as error:
        print(f"{name}: {error}")
"""


def same(f: Callable) -> Callable:
    return f


@EVERY_MAP
def test_vmap_is_a_loop(operator: Operator):
    function = operator.make(torch.float64, CPU)
    samples = [[v * (1 - 0.03 * i) for v in operator.inputs] for i in range(2)]
    many = [torch.stack(v) for v in zip(*samples, strict=True)]
    found = tree_leaves(torch.func.vmap(function)(*many))
    alone = [tree_leaves(function(*sample)) for sample in samples]
    for value, *parts in zip(found, *alone, strict=True):
        torch.testing.assert_close(value, torch.stack(parts))


TWICE = {name: operator for name, operator in MAPS.items() if name != "score"}
"""A score cannot be differentiated unless it is told so."""

READ = ("source, bilinear", "simulator", "likelihood")
"""Those that read a map bilinearly."""


@pytest.mark.filterwarnings("ignore:There is a performance drop")
@pytest.mark.parametrize("name", TWICE)
def test_second_derivatives_are_the_same_by_any_transform(name: str, request):
    if name in READ:
        request.getfixturevalue("second_derivatives")
    operator, func = TWICE[name], torch.func
    function = operator.make(torch.float64, CPU)
    along = [
        0.1 * float(v.abs().max()) * torch.cos(torch.arange(v.numel())) for v in operator.inputs
    ]

    def value(t: torch.Tensor) -> torch.Tensor:
        pairs = zip(operator.inputs, along, strict=True)
        out = tree_leaves(function(*(v + t * d.reshape(v.shape).to(v) for v, d in pairs)))
        return sum(v.square().sum() for v in out)

    here = torch.zeros((), dtype=torch.float64)
    true = torch.autograd.functional.hessian(value, here)
    assert float(true.abs()) > 0
    torch.testing.assert_close(func.jacrev(func.jacrev(value))(here), true)
    if name != "many haloes":  # they have no forward mode
        torch.testing.assert_close(func.hessian(value)(here), true)


@EVERY_MAP
def test_single_precision_is_double_precision_rounded(operator: Operator):
    single, double = (operator.outcome(t, CPU, same) for t in (torch.float32, torch.float64))
    for value, right in zip(single, double, strict=True):
        scale = float(right.abs().max())
        torch.testing.assert_close(value.double(), right, rtol=1e-3, atol=1e-4 * scale)


@EVERY
def test_types_follow_the_inputs(operator: Operator):
    for dtype in (torch.float32, torch.float64):
        assert {v.dtype for v in operator.outcome(dtype, CPU, same)} == {dtype}


@pytest.mark.parametrize("operator", HELD.values(), ids=HELD.keys())
def test_all_of_it_lives_on_one_device(operator: Operator):
    here = operator.outcome(torch.float64, CPU, same)
    with pretended_device() as device:
        there = operator.outcome(torch.float64, device, same)
        assert {v.device for v in there} == {device}
        found = [v.cpu() for v in there]
    torch.testing.assert_close(found, here)


COMPILES = pytest.mark.skipif(
    TorchVersion(torch.__version__) < "2.13", reason="torch 2.4 compiles no such operation"
)


def compile_all(root: Path, backend: str, pattern: str = "") -> str:
    """Compiles the operators whose names hold a pattern, and returns what went wrong."""
    path = os.pathsep.join([str(root), str(root / "tests")])
    run = subprocess.run(
        [sys.executable, "-c", SCRIPT, backend, pattern],
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
    )
    assert run.returncode == 0, run.stderr
    return run.stdout


@COMPILES
def test_the_simulator_is_one_graph(root: Path):
    assert compile_all(root, "eager", "simulator") == ""


@COMPILES
@pytest.mark.slow
def test_every_operator_and_its_gradient_are_one_graph(root: Path):
    assert compile_all(root, "aot_eager") == ""


@COMPILES
@pytest.mark.slow
@pytest.mark.parametrize("name", ["simulator", "likelihood", "mass: SIE", "mass: TNFW"])
def test_what_the_compiler_makes_of_it_is_the_same(root: Path, name: str):
    assert compile_all(root, "inductor", name) == ""


@pytest.mark.gpu
@EVERY
def test_a_gpu_gives_the_same_values_and_gradients(operator: Operator):
    here = operator.outcome(torch.float64, CPU, same)
    there = operator.outcome(torch.float64, torch.device("cuda"), same)
    assert all(v.is_cuda for v in there)
    torch.testing.assert_close([v.cpu() for v in there], here, rtol=1e-7, atol=1e-9)
