"""Times the transforms of visibilities in turns with the libraries that are installed.

``python -m lensrim.evaluation.bench.nufft`` prints what the table of :mod:`lensrim.lensing.nufft`
holds: for each contender the shortest time of a transform and an adjoint in single precision on
one thread, and the largest error of both. Of the others (pytorch-finufft, torchkbnufft, ducc0)
those take part that are installed.
"""

import importlib
import importlib.util
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor

from ...lensing.nufft import Direct, Nufft, Transform
from .timing import Contender, Result, difference, keep_memory, time_in_turns

EPS = 1e-5
LARGEST_SUM = 100_000
"""Frequencies from which on the direct sum is left out."""

Pair = tuple[Callable[[Tensor], Any], Callable[[Tensor], Any]]
"""A transform of an image (H, W), and an adjoint of values (N)."""


def rows(side: int, n: int, *, seconds: float = 10.0) -> dict[str, tuple[float, float]]:
    """Times images of ``side`` pixels with n frequencies: milliseconds and error by contender."""
    shape, generator = (side, side), torch.Generator().manual_seed(0)
    image = torch.rand(shape, generator=generator)
    values = torch.randn(n, generator=generator, dtype=torch.complex64)
    # Crowded in the middle, as an array's are.
    points = torch.randn(n, 2, generator=generator).clamp(-3, 3) * torch.pi / 3
    fine = _ours(Nufft(1e-12), points.double(), shape)
    right = _results(fine, image.double(), values.to(torch.complex128))
    pairs = {"Nufft": _ours(Nufft(EPS), points, shape)}
    if n <= LARGEST_SUM:
        pairs["Direct"] = _ours(Direct(), points, shape)
    for name, make in PEERS.items():
        if importlib.util.find_spec(name.split(".")[0]):
            pairs[name] = make(importlib.import_module(name), points, shape)
    contenders = {name: Contender(partial(_both, p, image, values)) for name, p in pairs.items()}
    timings = time_in_turns(contenders, device=torch.device("cpu"), seconds=seconds)
    return {
        name: (1e3 * min(timings[name].seconds), difference(_results(p, image, values), right))
        for name, p in pairs.items()
    }


def _both(pair: Pair, image: Tensor, values: Tensor) -> tuple[Any, Any]:
    return pair[0](image), pair[1](values)


def _results(pair: Pair, image: Tensor, values: Tensor) -> Result:
    return [torch.as_tensor(found).squeeze().numpy() for found in _both(pair, image, values)]


def _ours(transform: Transform, points: Tensor, shape: tuple[int, int]) -> Pair:
    p = points[None]
    return (
        lambda image: transform.forward(image[None], p),
        lambda values: transform.adjoint(values[None], p, shape),
    )


def _plan(library: Any, points: Tensor, shape: tuple[int, int]) -> Pair:
    plans = []
    for kind, sign in ((2, -1), (1, 1)):
        options = {"dtype": "complex64", "nthreads": 1, "upsampfac": 1.25, "showwarn": 0}
        plan = library.Plan(kind, shape, eps=EPS, isign=sign, **options)
        plan.setpts(points[:, 1].numpy().copy(), points[:, 0].numpy().copy())
        plans.append(plan)
    return (
        lambda image: plans[0].execute(_complex(image).numpy()),
        lambda values: plans[1].execute(values.numpy()).real,
    )


def _pytorch_finufft(library: Any, points: Tensor, shape: tuple[int, int]) -> Pair:
    p = points.flip(-1).mT.contiguous()
    options = {"eps": EPS, "nthreads": 1, "upsampfac": 1.25, "showwarn": 0, "modeord": 0}
    return (
        lambda image: library.finufft_type2(p, _complex(image), isign=-1, **options),
        lambda values: library.finufft_type1(p, values, shape, isign=1, **options).real,
    )


def _torchkbnufft(library: Any, points: Tensor, shape: tuple[int, int]) -> Pair:
    p = points.flip(-1).mT.contiguous()
    forward, adjoint = library.KbNufft(shape), library.KbNufftAdjoint(shape)
    return (
        lambda image: forward(_complex(image)[None, None], p),
        lambda values: adjoint(values[None, None], p).real,
    )


def _ducc0(library: Any, points: Tensor, shape: tuple[int, int]) -> Pair:
    options = {"coord": points.flip(-1).numpy().copy(), "epsilon": EPS, "nthreads": 1}
    out = torch.zeros(shape, dtype=torch.complex64).numpy()
    return (
        lambda image: library.u2nu(grid=_complex(image).numpy(), forward=True, **options),
        lambda values: library.nu2u(points=values.numpy(), forward=False, out=out, **options).real,
    )


def _complex(image: Tensor) -> Tensor:
    return torch.complex(image, torch.zeros_like(image))


PEERS: dict[str, Callable[[Any, Tensor, tuple[int, int]], Pair]] = {
    "finufft": _plan,
    "pytorch_finufft.functional": _pytorch_finufft,
    "torchkbnufft": _torchkbnufft,
    "ducc0.nufft": _ducc0,
}
"""How each of the others is called; finufft itself with a plan that is kept between calls."""


if __name__ == "__main__":
    torch.set_num_threads(1)
    keep_memory()
    for side in (64, 128, 256):
        for n in (10**3, 10**4, 10**5, 10**6):
            found = rows(side, n)
            each = "  ".join(f"{name} {ms:.3g} ms ({e:.0e})" for name, (ms, e) in found.items())
            print(f"{side}² {n:>7}  {each}", flush=True)
