"""What functions share whose first derivative is written out, and when it is of use.

They keep maps and numbers for the backward pass, and leave whatever else is differentiated, or
looked on at, to torch's own operations.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch._C._functorch import is_legacy_batchedtensor  # pyright: ignore
from torch.utils._python_dispatch import _get_current_dispatch_mode

from .operation import forward_mode


def apart(both: Tensor) -> Iterable[Tensor]:
    """Returns what is in a tensor, each with a memory of its own."""
    # Of gradients that share their memory, to change one is to have changed the other.
    return (each.clone() for each in both.unbind())


def save(ctx: Any, *groups: Sequence[Any]) -> None:
    """Saves groups of tensors and numbers for the backward pass."""
    ctx.saved = [[None if isinstance(v, Tensor) else v for v in group] for group in groups]
    ctx.save_for_backward(*(v for group in groups for v in group if isinstance(v, Tensor)))


def saved(ctx: Any) -> list[tuple[Any, ...]]:
    """Returns what was saved, once: a checkpoint hands it out no more."""
    tensors = iter(ctx.saved_tensors)
    return [tuple(next(tensors) if v is None else v for v in group) for group in ctx.saved]


def like(
    parameters: Sequence[float | Tensor], numbers: Sequence[float], maps: Tensor
) -> list[Tensor | None]:
    """Turns slopes into tensors of the shapes of their parameters, if these are tensors."""
    slopes: list[Tensor | None] = []
    for p, number in zip(parameters, numbers, strict=True):
        if not isinstance(p, Tensor):
            slopes.append(None)
            continue
        slope = torch.scalar_tensor(number, dtype=maps.dtype, device="cpu")
        slopes.append(slope.reshape(p.shape) if p.ndim else slope)
    return slopes


def plain_slopes(
    function: Callable[..., Tensor], given: Sequence[Any], grad: Tensor, needed: Sequence[bool]
) -> tuple[Tensor | None, ...]:
    """Differentiates a function in those of its arguments that are needed, by torch's means.

    Not by ``torch.func``, which refuses to work where torch is told how to save tensors.
    """
    again = torch.is_grad_enabled()
    with torch.enable_grad():
        # An alias of each: one may be made of another, of which the way to it is no part.
        taken = [v.view_as(v) if n else v for v, n in zip(given, needed, strict=True)]
        value = function(*taken)
        varied = [v for v, n in zip(taken, needed, strict=True) if n]
        found = torch.autograd.grad(value, varied, grad, create_graph=again, allow_unused=True)
    slopes = iter(found)
    return tuple(next(slopes) if n else None for n in needed)


def wants_plain(grad: Tensor) -> bool:
    """Returns whether a gradient is to be taken by torch's operations.

    It is to be differentiated once more, or is one of many at once, or something looks on.
    """
    if _looks_on() or torch.is_grad_enabled() or forward_mode():
        return True
    return is_legacy_batchedtensor(grad)


def _looks_on() -> bool:
    """Returns whether torch does other than it is told: records, casts, or computes no numbers."""
    if torch.compiler.is_compiling() or torch.jit.is_tracing():  # pyright: ignore
        return True
    if torch.is_autocast_enabled("cpu"):
        return True
    return _get_current_dispatch_mode() is not None


def shortcut_is_open(x: Tensor, y: Tensor) -> bool:
    """Returns whether a shortcut is worth while for maps at the coordinates."""
    if _looks_on() or forward_mode():
        return False
    alike = x.shape == y.shape and x.dtype == y.dtype and x.device == y.device
    return alike and x.is_floating_point() and x.device.type == "cpu" and x.ndim >= 2
