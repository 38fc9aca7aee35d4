"""A device that is not there: tensors on it refuse to meet those of the host, as a GPU's do.

Where there is no GPU, code for one can still be held to the rule that breaks it most often: all
tensors of an operation live on one device. Tensors of the pretended device say ``meta`` and hold
their values in host memory. Inside :func:`pretended_device`, whatever is made there or sent there
belongs to it; an operation that mixes it with tensors of the host is refused, and so are random
numbers there from a generator of the host. The exceptions are those of CUDA: copies, indices, and
numbers without dimensions where an operation works pixel by pixel or sets pixels to one value.

What it cannot see: operations and types for which the device has no kernel, its memory, its
nondeterminism and its rounding, and generators of its own, which it does not have.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode, return_and_correct_aliasing
from torch.utils._pytree import tree_leaves, tree_map

DEVICE = torch.device("meta")

_COPIES = {"aten::_to_copy", "aten::copy_"}
_PUTS = ("aten::index_put", "aten::index_put_", "aten::_index_put_impl_")
_INDICES = dict.fromkeys(("aten::index", *_PUTS), 1)
"""Operations one of whose arguments, of this position, may be tensors of the host."""
_VALUES = {
    "aten::fill": 1,
    "aten::fill_": 1,
    "aten::masked_fill": 2,
    "aten::masked_fill_": 2,
    **dict.fromkeys(_PUTS, 2),
}
"""Those one of whose arguments may be a number of the host, without dimensions."""


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
        if func is Tensor.new_tensor and isinstance(args[0], _Held):
            like = {"dtype": args[0].dtype, "device": args[0].device} | kwargs
            return torch.tensor(*args[1:], **like | {"device": "cpu"}).to(like["device"])
        if func in (Tensor.__getitem__, Tensor.__setitem__):
            index = args[1] if isinstance(args[1], tuple) else (args[1],)
            index = tuple(_index(i) if isinstance(i, list) else i for i in index)
            return func(args[0], index, *args[2:])
        if func is Tensor.tolist:  # as from a GPU
            return args[0].cpu().tolist()
        return func(*args, **kwargs)


@contextmanager
def pretended_device() -> Iterator[torch.device]:
    """Opens the context in which the device that it gives is the pretended one."""
    with _Literals(), _Dispatch():
        yield DEVICE


def _strangers(func: Any, args: tuple, kwargs: dict[str, Any]) -> bool:
    """Whether tensors of the host are among the arguments where CUDA would not take them."""
    name, schema = func._schema.name, func._schema.arguments
    pointwise = torch.Tag.pointwise in func.tags
    values = dict(enumerate(args)) | kwargs
    for place, value in values.items():
        host = [t for t in tree_leaves(value) if isinstance(t, Tensor)]
        host = [t for t in host if not isinstance(t, _Held)]
        argument = next(a for i, a in enumerate(schema) if place in (i, a.name))
        written = argument.alias_info is not None and argument.alias_info.is_write
        number = all(t.ndim == 0 for t in host) and not written
        if host and not (
            _INDICES.get(name) == place or (number and (pointwise or _VALUES.get(name) == place))
        ):
            return True
    return False


def _index(numbers: list) -> Tensor:
    """Makes the index that a list means: a mask of booleans, else whole numbers."""
    index = torch.tensor(numbers)
    return index if index.dtype == torch.bool else index.long()


def _run(func: Any, args: tuple, kwargs: dict[str, Any]) -> Any:
    name, leaves = func._schema.name, tree_leaves((args, kwargs))
    there = [t for t in leaves if isinstance(t, _Held)]
    target = kwargs.get("device")
    target = None if target is None else torch.device(target)
    wrapped = bool(there) if target is None else target == DEVICE
    if name not in _COPIES and there and _strangers(func, args, kwargs):
        raise RuntimeError(f"{name}: expected all tensors to be on the same device")
    if wrapped and any(isinstance(g, torch.Generator) for g in leaves):
        raise RuntimeError(f"{name}: expected a generator of the device, found one of the host")
    if target is not None:
        kwargs = kwargs | {"device": torch.device("cpu")}
    plain_args, plain_kwargs = tree_map(
        lambda t: t.held if isinstance(t, _Held) else t, (args, kwargs)
    )
    out = func(*plain_args, **plain_kwargs)
    if not wrapped or name == "aten::_local_scalar_dense":
        return out
    # What a tensor holds is no conjugate yet to be made: the device's own tensor would not know.
    out = tree_map(
        lambda t: _Held(t.resolve_conj().resolve_neg()) if isinstance(t, Tensor) else t, out
    )
    return return_and_correct_aliasing(func, args, kwargs, out)
