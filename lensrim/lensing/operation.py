"""Functions with derivatives of their own, and when torch cannot follow them."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch._C._functorch import is_legacy_batchedtensor  # pyright: ignore
from torch._functorch.utils import unwrap_dead_wrappers
from torch.autograd import forward_ad

Tensors = tuple[Tensor, ...]


class Operation(torch.autograd.Function):
    """Gives a subclass what is shared: batches under ``torch.func.vmap``, and quick calls.

    A subclass defines ``forward``, ``setup_context``, ``backward`` and, where it has one, ``jvp``,
    as static methods.
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
    from torch._functorch.pyfunctorch import retrieve_all_functorch_interpreters

    kinds = [i.key().name for i in retrieve_all_functorch_interpreters()]
    return kinds.count("Jvp") > 1


def no_derivative() -> bool:
    """Returns whether nothing is differentiated, so that a function of its own only costs time."""
    return not (torch.is_grad_enabled() or forward_mode())


def forward_mode() -> bool:
    """Returns whether there may be a derivative in forward mode to carry along."""
    return forward_ad._current_level >= 0 or torch._C._are_functorch_transforms_active()


class Shortcut(torch.autograd.Function):
    """Gives a function of tensors a first derivative that is written out, for quick calls.

    A subclass defines as static methods ``plain``, the function in operations of torch's, of which
    second derivatives are taken; ``values``, the same in fewer steps, with what is kept of them;
    and ``slopes``, which turns the inputs, what is kept, and the gradients of the outputs into
    those of the inputs. Where :func:`shortcut_is_open` says no, the caller takes the plain way.
    """

    @staticmethod
    def plain(*inputs: Tensor) -> Any:
        raise NotImplementedError

    @staticmethod
    def values(*inputs: Tensor) -> tuple[Any, tuple[Tensor, ...]]:
        raise NotImplementedError

    @staticmethod
    def slopes(inputs: Tensors, kept: Tensors, grads: Tensors, needed: Sequence[bool]) -> Any:
        raise NotImplementedError

    @classmethod
    def of(cls, *inputs: Tensor) -> Any:
        """Computes the outputs, where a shortcut is open."""
        return cls.apply(*inputs) if torch.is_grad_enabled() else cls.values(*inputs)[0]

    @classmethod
    def forward(cls, ctx: Any, *inputs: Tensor) -> Any:
        outputs, kept = cls.values(*inputs)
        ctx.save_for_backward(*inputs, *kept)
        ctx.count = len(inputs)
        return outputs

    @classmethod
    def backward(cls, ctx: Any, *grads: Tensor) -> Any:
        inputs, kept = ctx.saved_tensors[: ctx.count], ctx.saved_tensors[ctx.count :]
        # To be differentiated once more, or for many gradients at once: by torch's operations.
        many = any(is_legacy_batchedtensor(g) for g in grads)
        if many or torch.is_grad_enabled() or torch._C._are_functorch_transforms_active():
            return torch.func.vjp(cls.plain, *inputs)[1](*grads)
        return cls.slopes(inputs, kept, grads, ctx.needs_input_grad)


def shortcut_is_open(x: Tensor, y: Tensor) -> bool:
    """Returns whether a :class:`Shortcut` is worth while for maps at the coordinates.

    It is on a CPU, which may look at numbers without waiting for them, and where torch follows no
    other derivative than that of the backward pass.
    """
    if torch.compiler.is_compiling() or forward_mode():
        return False
    return x.device.type == "cpu" and x.ndim >= 2 and x.shape == y.shape
