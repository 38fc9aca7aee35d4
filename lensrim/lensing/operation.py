"""Functions with derivatives of their own, and when torch cannot follow them."""

import inspect
from typing import Any

import torch


class Operation(torch.autograd.Function):
    """Gives a subclass what is shared: batches under ``torch.func.vmap``, and quick calls.

    A subclass defines ``forward``, ``setup_context``, ``backward`` and, where it has one, ``jvp``,
    as static methods.
    """

    generate_vmap_rule = True

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        # torch reads the signature at every call, which takes longer than a small map's sum.
        cls.forward.__signature__ = inspect.signature(cls.forward)  # type: ignore[attr-defined]


def only_plain() -> bool:
    """Returns whether torch's own operations are to be used, whatever their derivatives cost.

    The compiler traces no function with a forward-mode derivative of its own, and forward mode
    within forward mode loses terms of it, without a word (torch 2.13).
    """
    if torch.compiler.is_compiling():
        return True
    if not torch._C._are_functorch_transforms_active():
        return False
    from torch._functorch.pyfunctorch import retrieve_all_functorch_interpreters

    kinds = [i.key().name for i in retrieve_all_functorch_interpreters()]
    return kinds.count("Jvp") > 1
