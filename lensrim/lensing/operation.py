"""Functions with derivatives of their own."""

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
