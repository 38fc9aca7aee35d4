r"""Machines in files: the weights, and plain JSON that says what they belong to.

The description names the class of every part (machine, fields, links, encodings, start, network)
and its arguments: for a module those of its property ``config``, for anything else those of the
frozen dataclass that it is. Nothing that is read is executed: names are looked up among the parts
of this package, torch's functions of numbers, and what the reader passes, which is how networks,
links or functions of the user's own come back.

A file that :func:`lensrim.training.loop.fit` writes is read, too, if the header that it was given
holds ``{"rim": describe(rim)}``.
"""

import dataclasses
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from numbers import Integral, Real
from types import BuiltinFunctionType, FunctionType, MappingProxyType, ModuleType
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from .._weights import read_weights, write_weights
from ..errors import InputError
from .core import RIM
from .fields import Field
from .links import (
    Bijection,
    Bounded,
    Exp,
    Identity,
    Log10,
    PerChannel,
    Sigmoid,
    Sinh,
    Softplus,
)
from .networks import NETWORKS
from .preconditioning import Adam, Arcsinh, Normalized, Raw, RMSProp
from .starts import ApproximateInverse, Learnt, Zeros
from .unroll import Unroll

OURS = {
    part.__name__: part
    for part in (
        *(RIM, Field, Unroll, *NETWORKS.values()),
        *(Identity, Log10, Exp, Softplus, Sigmoid, Sinh, Bounded, PerChannel, Bijection),
        *(Raw, Arcsinh, Normalized, RMSProp, Adam),
        *(Zeros, ApproximateInverse, Learnt),
    )
}
"""Parts that need not be passed to :func:`load_rim`."""

TORCHS: Mapping[str, Any] = MappingProxyType(
    {
        part.__name__: part
        for part in (
            *(torch.exp, torch.expm1, torch.exp2, torch.log, torch.log1p, torch.log2, torch.log10),
            *(torch.sqrt, torch.square, torch.neg, torch.reciprocal, torch.abs),
            *(torch.sin, torch.cos, torch.tan, torch.asin, torch.acos, torch.atan),
            *(torch.sinh, torch.cosh, torch.tanh, torch.asinh, torch.acosh, torch.atanh),
            *(torch.arcsin, torch.arccos, torch.arctan, torch.arcsinh, torch.arccosh),
            *(torch.arctanh, torch.sigmoid, torch.logit, torch.erf, torch.erfinv),
        )
    }
)
"""Torch's functions that a file may name: of numbers alone, so that a file can do no harm."""

HEADER = "rim"
"""Name of the description in the header of a file."""


@runtime_checkable
class Configured(Protocol):
    """A part that tells the arguments that make it again."""

    @property
    def config(self) -> Mapping[str, Any]:
        """The arguments of its class, by name."""
        ...


def describe(part: Any) -> Any:
    """Describes a machine or a part of it by what JSON can hold.

    Arguments:
        part: A number, text, ``None``, a class or a function with a name, a dataclass, anything
            with a ``config``, or sequences and mappings of these.

    Raises:
        InputError: If it is, or holds, something else.
    """
    part = getattr(part, "_orig_mod", part)  # what torch.compile wraps is what it is made of
    if part is None or isinstance(part, bool | int | float | str):
        return part
    if isinstance(part, Integral):
        return int(part)
    if isinstance(part, Real):
        return float(part)
    if isinstance(part, Mapping):
        return {"mapping": [[describe(key), describe(value)] for key, value in part.items()]}
    if isinstance(part, list | tuple):
        return [describe(each) for each in part]
    if isinstance(part, BuiltinFunctionType) and TORCHS.get(part.__name__) is part:
        return {"torch": part.__name__}
    # What is written in C may be the method of an object, which a name does not tell.
    free = not isinstance(part, BuiltinFunctionType) or isinstance(
        part.__self__, ModuleType | type | None
    )
    functions = FunctionType | BuiltinFunctionType | type
    if isinstance(part, functions) and part.__name__ != "<lambda>" and free:
        return {"function": part.__name__}
    if isinstance(part, Configured):
        arguments = dict(part.config)
    elif dataclasses.is_dataclass(part):
        arguments = {f.name: getattr(part, f.name) for f in dataclasses.fields(part) if f.init}
    else:
        raise InputError(
            "a part of a machine must be a dataclass, have a config or be a class or function "
            f"with a name, found {part!r}; make it one of these"
        )
    name = type(part).__name__
    if OURS.get(name, type(part)) is not type(part):
        raise InputError(
            f"a part of a machine must not have the name of another's class, found {name} of "
            f"{type(part).__module__}; rename it"
        )
    return {"class": name, "arguments": {key: describe(each) for key, each in arguments.items()}}


def rebuild(description: Any, known: Iterable[Any] = ()) -> Any:
    """Makes again what :func:`describe` described, with untrained weights.

    Arguments:
        description: The description; sequences come back as tuples.
        known: Classes and functions of the user's own that it names.

    Raises:
        InputError: If it names others, or they take other arguments.
    """
    return _rebuilt(description, OURS | {part.__name__: part for part in known})


def _rebuilt(description: Any, parts: Mapping[str, Any]) -> Any:
    if isinstance(description, list | tuple):
        return tuple(_rebuilt(each, parts) for each in description)
    if not isinstance(description, Mapping):
        return description
    if "mapping" in description:
        return {_rebuilt(k, parts): _rebuilt(v, parts) for k, v in description["mapping"]}
    if "torch" in description:
        return _torchs(description["torch"])
    name = description.get("function", description.get("class"))
    if name not in parts:
        raise InputError(
            f"every part of a machine must be known, found {name!r}, which is none of this "
            "package's; pass the class or function of this name in known"
        )
    if "function" in description:
        return parts[name]
    arguments = {key: _rebuilt(each, parts) for key, each in description["arguments"].items()}
    try:
        return parts[name](**arguments)
    except (TypeError, ValueError) as error:
        raise InputError(
            f"{name} must take the arguments {sorted(arguments)} ({error}); give the version of "
            "it that wrote the file"
        ) from error


def _torchs(name: Any) -> Any:
    if name not in TORCHS:
        raise InputError(
            f"a function of torch's must be one of {sorted(TORCHS)}, found {name!r}; write the "
            "machine again, with a function of your own, and pass it in known"
        )
    return TORCHS[name]


def save_rim(
    path: str | os.PathLike[str], rim: RIM, *, header: Mapping[str, Any] | None = None
) -> str:
    """Writes a machine into a file, with all that makes it again.

    Arguments:
        path: The file; its folder must exist.
        rim: The machine. Its network must have a ``config``; functions must have names.
        header: What else the header of the file says: anything that JSON can hold.

    Returns:
        The SHA-256 of the file, in hexadecimal digits.

    Raises:
        InputError: As :func:`describe`.
    """
    return write_weights(path, rim.state_dict(), {**(header or {}), HEADER: describe(rim)})


def mismatch(make: Callable[[], Any], tensors: Mapping[str, Tensor]) -> str | None:
    """Says in what weights differ from what a module asks for, ``None`` where they do not.

    The module is made without memory for its weights: a header may ask for any size of it.

    Arguments:
        make: Makes the module.
        tensors: The weights, by name.
    """
    with torch.device("meta"):
        made = make()
    if not isinstance(made, nn.Module):
        return None
    wanted = {name: tuple(t.shape) for name, t in made.state_dict().items()}
    given = {name: tuple(t.shape) for name, t in tensors.items()}
    for name in sorted(wanted.keys() | given.keys()):
        if wanted.get(name) != given.get(name):
            shown = [s if s is not None else "none" for s in (wanted.get(name), given.get(name))]
            return f"{name}: {shown[0]} is asked for, {shown[1]} is in the file"
    return None


def load_rim(path: str | os.PathLike[str], *, known: Sequence[Any] = ()) -> RIM:
    """Reads a machine that :func:`save_rim` wrote: on the CPU, in the precision of the file, and
    ready for use (``eval()``).

    Arguments:
        path: The file.
        known: Classes and functions of the user's own that are parts of the machine.

    Raises:
        InputError: If the file is none of these, or holds parts that are not known.
    """
    tensors, header = read_weights(path, dtype=None, most=None)
    # as torch.compile names them in what a training wrote
    tensors = {name.replace("_orig_mod.", ""): value for name, value in tensors.items()}
    if HEADER not in header:
        raise InputError(
            f"{path}: the header must hold the description of a machine under {HEADER!r}, found "
            f"{sorted(header)}; give fit header={{'rim': describe(rim)}}; for weights that are "
            "there, make the machine as it was, then "
            "rim.load_state_dict(safetensors.torch.load_file(path))"
        )
    try:
        # what is the user's own may need more than shapes to be made
        different = None if known else mismatch(lambda: rebuild(header[HEADER]), tensors)
        rim = None if different else rebuild(header[HEADER], known)
    except InputError as error:
        raise InputError(f"{path}: {error}") from error
    except (KeyError, AttributeError, TypeError) as error:
        raise InputError(
            f"{path}: must hold a machine as describe describes it, found another description "
            f"({type(error).__name__}: {error}); write it with save_rim"
        ) from error
    if different is not None:
        raise InputError(
            f"{path}: must hold a machine and its weights, found another file ({different})"
        )
    if not isinstance(rim, RIM):
        raise InputError(
            f"{path}: must hold a machine and its weights, found a {type(rim).__name__}; write it "
            "with save_rim"
        )
    try:
        rim.load_state_dict(tensors, assign=True)
    except RuntimeError as error:
        reason = " ".join(str(error).split())[:300]
        raise InputError(
            f"{path}: must hold a machine and its weights, found another file ({reason})"
        ) from error
    return rim.eval()
