"""Functions with derivatives of their own, and when torch cannot follow them."""

from typing import Any

import torch
from torch._functorch.utils import unwrap_dead_wrappers
from torch.autograd import forward_ad


class Operation(torch.autograd.Function):
    """Gives a subclass what is shared: batches under ``torch.func.vmap``, and quick calls.

    A subclass defines ``forward``, ``setup_context``, ``backward`` and, where it has one, ``jvp``,
    as static methods. The compiler of torch 2.4 takes none of it; that of 2.13 does.
    """

    generate_vmap_rule = True

    @classmethod
    def apply(cls, *args: Any) -> Any:
        """Computes the outcome; all arguments are given, by their places."""
        if torch.compiler.is_compiling() or torch._C._are_functorch_transforms_active():
            return super().apply(*args)
        # As torch does, but for the arguments: it reads the signature of ``forward`` at every
        # call to find those left out, which takes as long as the transform of a small map.
        quick: Any = super(torch.autograd.Function, cls)
        return quick.apply(*unwrap_dead_wrappers(args))


def only_plain() -> bool:
    """Returns whether torch's own operations are to be used, whatever their derivatives cost.

    The compiler traces no function with a forward-mode derivative of its own, and forward mode
    within forward mode loses terms of it, without a word (torch 2.13).
    """
    if torch.compiler.is_compiling():
        return True
    if not torch._C._are_functorch_transforms_active():
        return no_derivative()
    return _transforms().count("Jvp") > 1


def carried_along() -> bool:
    """Returns whether a derivative in forward mode is carried along."""
    if torch._C._are_functorch_transforms_active():
        return "Jvp" in _transforms()
    return forward_ad._current_level >= 0


def second_derivative() -> bool:
    """Returns whether there may be derivatives of derivatives by ``torch.func``, as its hessian.

    A function with a derivative of its own must not be used there if it is given a tuple, or keeps
    ``None`` for its backward pass: torch's batches of it fail (torch 2.13).
    """
    if not torch._C._are_functorch_transforms_active():
        return False
    kinds = _transforms()
    return kinds.count("Jvp") + kinds.count("Grad") > 1


def _transforms() -> list[str]:
    """Names the transforms of ``torch.func`` that are at work."""
    from torch._functorch.pyfunctorch import retrieve_all_functorch_interpreters

    return [i.key().name for i in retrieve_all_functorch_interpreters()]


def no_derivative() -> bool:
    """Returns whether nothing is differentiated, so that a function of its own only costs time."""
    return not (torch.is_grad_enabled() or forward_mode())


def forward_mode() -> bool:
    """Returns whether there may be a derivative in forward mode to carry along."""
    return forward_ad._current_level >= 0 or torch._C._are_functorch_transforms_active()
