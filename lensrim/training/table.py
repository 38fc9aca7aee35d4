"""Settings from the tables of a file, as TOML and JSON hold them."""

import math
from collections.abc import Mapping
from dataclasses import MISSING, fields, is_dataclass
from types import NoneType, UnionType
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

from ..errors import InputError

T = TypeVar("T")

KINDS = {
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    str: "text, in quotes",
}
"""What a value must be for a field of each type."""


INFINITE = {"inf": math.inf, "-inf": -math.inf}
"""Numbers that JSON does not have, by the words that stand for them."""


def from_table(kind: type[T], values: Any, *, table: str = "") -> T:
    """Creates a dataclass from a table; defaults for what it lacks.

    Arguments:
        kind: The dataclass, of numbers, text, tuples and mappings of these, and dataclasses; each
            may be ``None`` if its field says so.
        values: The table.
        table: Its name, for messages; none for the whole of a file.

    Raises:
        InputError: If it is no table, lacks a key, has one that is unknown, or a value that is
            not of its field's type or range.
    """
    if not isinstance(values, Mapping):
        raise InputError(f"{table}: must be a table, found {values!r}; write [{table}] above it")
    where, hints = f"[{table}] " if table else "", get_type_hints(kind)
    known = {field.name: field for field in fields(kind)}  # pyright: ignore[reportArgumentType]
    if unknown := sorted(map(str, set(values) - set(known))):
        raise InputError(
            f"{where}{', '.join(unknown)}: must be among {', '.join(known)}; remove or rename"
        )
    for name, field in known.items():
        needed = field.default is MISSING and field.default_factory is MISSING
        if needed and name not in values:
            raise InputError(f"{where}{name}: must be given, found nothing; add it")
    given = {}
    for name, value in values.items():
        inner = f"{table}.{name}" if table else name
        given[name] = _taken(hints[name], value, where + name, inner)
    try:
        return kind(**given)
    except ValueError as error:
        raise InputError(f"{where}{error}") from error


def _taken(hint: Any, value: Any, name: str, table: str) -> Any:
    """Brings a value to the type of its field."""
    if isinstance(hint, UnionType):
        if value is None:
            return None
        (hint,) = (each for each in get_args(hint) if each is not NoneType)
    if is_dataclass(hint):
        return value if isinstance(value, hint) else from_table(hint, value, table=table)  # pyright: ignore
    origin, inner = get_origin(hint), get_args(hint)
    if hint is float and isinstance(value, str):
        value = INFINITE.get(value, value)
    if origin is tuple:
        long = isinstance(value, list | tuple) and (inner[1] is ... or len(value) == len(inner))
        if not long or not all(_alike(inner[0], each) for each in value):
            number = "a list" if inner[1] is ... else f"a list of {len(inner)}"
            raise InputError(
                f"{name}: must be {number}, each {KINDS[inner[0]]}, found {value!r}; change it"
            )
        return tuple(value)
    if origin is not None:  # a mapping
        if not isinstance(value, Mapping) or not all(_alike(inner[1], v) for v in value.values()):
            raise InputError(
                f"{name}: must be a table, each value {KINDS[inner[1]]}, found {value!r}; change "
                "it"
            )
        return dict(value)
    if not _alike(hint, value):
        raise InputError(f"{name}: must be {KINDS[hint]}, found {value!r}; change it")
    return value


def _alike(kind: type, value: Any) -> bool:
    """Tells whether a value is of a type, where a whole number may be for any number."""
    if isinstance(value, bool):
        return kind is bool
    return isinstance(value, int | float if kind is float else kind)
