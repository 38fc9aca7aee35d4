"""Functions with derivatives of their own, and when torch cannot follow them."""

from typing import Any

import torch
from torch import Tensor
from torch._C._functorch import is_legacy_batchedtensor  # pyright: ignore
from torch._functorch.utils import unwrap_dead_wrappers
from torch.autograd import forward_ad
from torch.utils._python_dispatch import _get_current_dispatch_mode

Tensors = tuple[Tensor, ...]


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
    """Gives a function on maps a first derivative that is written out, for quick calls.

    Its inputs are coordinates x and y, with shape (*), and parameters with shape (n), the last two
    of which are those of a centre. A subclass defines as static methods ``plain``, the function in
    operations of torch's, of which second derivatives are taken; ``values``, the same in fewer
    steps, with what is kept of them, first of all the positions relative to the centre, with shape
    (2, N); and ``slopes``, which turns the parameters, what is kept, and the gradients of the
    outputs into those of the positions, with shape (2, N), and of the parameters. Where
    :func:`shortcut_is_open` says no, the caller takes the plain way.
    """

    @staticmethod
    def plain(x: Tensor, y: Tensor, parameters: Tensor) -> Any:
        raise NotImplementedError

    @staticmethod
    def values(x: Tensor, y: Tensor, parameters: Tensor) -> tuple[Any, Tensors]:
        raise NotImplementedError

    @staticmethod
    def slopes(
        parameters: Tensor, kept: Tensors, grads: Tensors, needed: tuple[bool, bool]
    ) -> tuple[Tensor | None, Tensor | None]:
        raise NotImplementedError

    @classmethod
    def of(cls, x: Tensor, y: Tensor, parameters: Tensor) -> Any:
        """Computes the outputs, where a shortcut is open."""
        given = x, y, parameters
        return cls.apply(*given) if torch.is_grad_enabled() else cls.values(*given)[0]

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()

        # Functions, and no methods of a class: compiled autograd takes nothing else.
        def forward(ctx: Any, x: Tensor, y: Tensor, parameters: Tensor) -> Any:
            outputs, kept = cls.values(x, y, parameters)
            # Coordinates of which no gradient is wanted may be changed after the call, or be made
            # in inference mode; those relative to the centre stand for them.
            moving = any(ctx.needs_input_grad[:2])
            given = [x, y] if moving else []
            ctx.save_for_backward(parameters, *given, *kept)
            ctx.moving, ctx.shape = moving, x.shape
            return outputs

        def backward(ctx: Any, *grads: Tensor) -> Any:
            parameters, *saved = ctx.saved_tensors  # once: a checkpoint hands them out no more
            kept = tuple(saved[2 * ctx.moving :])
            if _wants_plain(grads):
                centre = parameters.detach()[-2:, None]
                x, y = saved[:2] if ctx.moving else (kept[0] + centre).view(2, *ctx.shape)
                back = torch.func.vjp(cls.plain, x, y, parameters)[1]
                return back(*grads if len(grads) == 1 else [grads])
            needed = ctx.moving, ctx.needs_input_grad[2]
            to_z, to_parameters = cls.slopes(parameters, kept, grads, needed)
            to_x, to_y = (None, None) if to_z is None else to_z.view(2, *ctx.shape)
            return to_x, to_y, to_parameters

        cls.forward, cls.backward = staticmethod(forward), staticmethod(backward)


def _wants_plain(grads: Tensors) -> bool:
    """Returns whether a gradient is to be taken by torch's operations.

    It is to be differentiated once more, or is one of many at once, or something looks on.
    """
    if _looks_on() or torch.is_grad_enabled() or forward_mode():
        return True
    return any(is_legacy_batchedtensor(g) for g in grads)


def _looks_on() -> bool:
    """Returns whether torch does other than it is told: records, casts, or computes no numbers."""
    if torch.compiler.is_compiling() or torch.is_autocast_enabled("cpu"):
        return True
    return _get_current_dispatch_mode() is not None


def shortcut_is_open(x: Tensor, y: Tensor) -> bool:
    """Returns whether a :class:`Shortcut` is worth while for maps at the coordinates.

    It is on a CPU, which may look at numbers without waiting for them, and where torch follows no
    other derivative than that of the backward pass. A profile takes it whose parameters are of one
    object, numbers or with shape (1); several in a batch go the plain way.
    """
    if _looks_on() or forward_mode():
        return False
    alike = x.shape == y.shape and x.dtype == y.dtype
    return alike and x.device.type == "cpu" and x.ndim >= 2
