"""Options hold what their types say, whoever gave them: a terminal, a table or Python."""

import os
import reprlib
from dataclasses import fields
from numbers import Integral, Real
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

import numpy as np

from .errors import InputError

NAMES = {
    float: "a number",
    int: "a whole number",
    bool: "true or false",
    str: "text",
    tuple: "two numbers",
}
"""How types are called."""

LONGEST = 80
"""Letters of a value that are shown."""


def check_types(options: Any, *, words: bool = True) -> None:
    """Checks the types of a dataclass of options.

    Arguments:
        options: The options; their types are of :data:`NAMES`, literals, and ``None``.
        words: Whether they are called by their words at a terminal, not by their names in Python.

    Raises:
        InputError: If one holds something else.
    """
    hints = get_type_hints(type(options))
    for name in (f.name for f in fields(options)):
        value, kinds = getattr(options, name), kinds_of(hints[name])
        if not any(_is(value, kind) for kind in kinds):
            rule = " or ".join(_said(kind) for kind in kinds if kind is not NoneType)
            called = f"--{name.replace('_', '-')}" if words else name
            raise InputError(f"{called}: must be {rule}, found {shown(value)}; change it")


def shown(value: Any) -> str:
    """Returns what stands for a value in a message: a line, and not a long one."""
    is_text = isinstance(value, str)
    text = repr(value[: 2 * LONGEST]) if is_text else " ".join(reprlib.repr(value).split())
    return text if len(text) <= LONGEST else f"{text[:LONGEST]} ..."


def check_options(options: Any, kind: type) -> None:
    """Checks that options are of the kind that is asked for.

    Raises:
        InputError: If they are not.
    """
    if not isinstance(options, kind):
        raise InputError(
            f"options: must be {kind.__name__}, found {type(options).__name__}; give "
            f"lensrim.{kind.__name__}(...)"
        )


def check_path(given: Any) -> None:
    """Checks that something can be a path.

    Raises:
        InputError: If it is not.
    """
    if not isinstance(given, str | os.PathLike):
        raise InputError(
            f"observation: must be a path or an Observation, found {type(given).__name__}; give "
            "the path of a FITS file, or lensrim.Observation(image=..., sigma=..., psf=..., ...)"
        )


def as_text(value: Any) -> Any:
    """Returns the text of what may stand for a file or an HDU: a path, or a number."""
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    whole = isinstance(value, Integral) and not isinstance(value, bool)
    return str(value) if whole else value


def kinds_of(hint: Any) -> tuple[Any, ...]:
    """Returns the types that an option may have."""
    return get_args(hint) if get_origin(hint) in (Union, UnionType) else (hint,)


def _said(kind: Any) -> str:
    if get_origin(kind) is Literal:
        values = list(map(str, get_args(kind)))
        return f"{'one of ' if len(values) > 1 else ''}{', '.join(values)}"
    return NAMES[get_origin(kind) or kind]


def _is(value: Any, kind: Any) -> bool:
    if kind is NoneType:
        return value is None
    if get_origin(kind) is Literal:
        return isinstance(value, str) and value in get_args(kind)
    if kind is bool:
        return isinstance(value, bool | np.bool_)
    if kind in (float, int):
        number = Real if kind is float else Integral
        return isinstance(value, number) and not isinstance(value, bool)
    if kind is str:
        return isinstance(value, str)
    parts = get_args(kind)
    return (
        isinstance(value, tuple | list | np.ndarray)
        and not (isinstance(value, np.ndarray) and value.ndim != 1)
        and len(value) == len(parts)
        and all(map(_is, value, parts))
    )
