"""A device that is not there: tensors on it refuse to meet those of the host, as a GPU's do.

Where there is no GPU, code for one can still be held to the rule that breaks it most often: all
tensors of an operation live on one device. Tensors of the pretended device say ``meta`` and hold
their values in host memory. Inside :func:`pretended_device`, whatever is made there or sent there
belongs to it; an operation that mixes it with tensors of the host is refused, with the exceptions
that CUDA makes too: numbers without dimensions, indices, and copies.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode, return_and_correct_aliasing
from torch.utils._pytree import tree_map

DEVICE = torch.device("meta")

_COPIES = {"aten::_to_copy", "aten::copy_"}
_TAKES_INDICES = {"aten::index", "aten::index_put", "aten::index_put_", "aten::_index_put_impl_"}


class _Held(Tensor):
    """A tensor of the pretended device."""

    held: Tensor

    @staticmethod
    def __new__(cls, held: Tensor):
        return Tensor._make_wrapper_subclass(  # pyright: ignore[reportAttributeAccessIssue]
            cls,
            held.size(),
            strides=held.stride(),
            storage_offset=held.storage_offset(),
            dtype=held.dtype,
            device=DEVICE,
        )

    def __init__(self, held: Tensor):
        self.held = held

    def __repr__(self, *_: Any, **__: Any) -> str:
        return f"pretended({self.held!r})"

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _run(func, args, kwargs or {})


class _Dispatch(TorchDispatchMode):
    """Sees the operations that make a tensor from none."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _run(func, args, kwargs or {})


class _Literals(TorchFunctionMode):
    """Moves lists of numbers to the device and from it, by way of a tensor of the host."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func in (torch.tensor, torch.as_tensor) and kwargs.get("device") is not None:
            device = kwargs["device"]
            if isinstance(args[0], Tensor):
                return args[0].to(**kwargs)
            return func(*args, **kwargs | {"device": "cpu"}).to(device)
        if func is Tensor.__getitem__:
            index = args[1] if isinstance(args[1], tuple) else (args[1],)
            index = (torch.tensor(i).long() if isinstance(i, list) else i for i in index)
            return func(args[0], tuple(index))
        if func is Tensor.tolist:  # as from a GPU
            return args[0].cpu().tolist()
        return func(*args, **kwargs)


@contextmanager
def pretended_device() -> Iterator[torch.device]:
    """Opens the context in which the device that it gives is the pretended one."""
    with _Literals(), _Dispatch():
        yield DEVICE


def _run(func: Any, args: tuple, kwargs: dict[str, Any]) -> Any:
    name = func._schema.name
    tensors = [t for t in torch.utils._pytree.tree_leaves((args, kwargs)) if isinstance(t, Tensor)]
    there = [t for t in tensors if isinstance(t, _Held)]
    target = kwargs.get("device")
    target = None if target is None else torch.device(target)
    if name in _COPIES:
        wrapped = bool(there) if target is None else target == DEVICE
    else:
        wrapped = bool(there) or target == DEVICE
        host = [t for t in tensors if not isinstance(t, _Held) and t.ndim]
        if name in _TAKES_INDICES:
            host = [t for t in host if t is args[0] or t.is_floating_point()]
        if there and host:
            raise RuntimeError(f"{name}: expected all tensors to be on the same device")
    if target is not None:
        kwargs = kwargs | {"device": torch.device("cpu")}
    plain_args, plain_kwargs = tree_map(
        lambda t: t.held if isinstance(t, _Held) else t, (args, kwargs)
    )
    out = func(*plain_args, **plain_kwargs)
    if not wrapped or name == "aten::_local_scalar_dense":
        return out
    out = tree_map(lambda t: _Held(t) if isinstance(t, Tensor) else t, out)
    return return_and_correct_aliasing(func, args, kwargs, out)
