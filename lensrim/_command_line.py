"""Options of commands, from the words of a command line.

Tyro makes the options of a dataclass. Of its help three things are put right here: an option that
may be left out is not said to be ``{None}|FLOAT``, nor to be None by default, and a text of
several lines in the source is one paragraph.
"""

import inspect
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Annotated, Any, TypeVar

from .errors import InputError

Options = TypeVar("Options")


def parsed(
    options: Callable[..., Options] | Any,
    *,
    prog: str | None = None,
    description: str | None = None,
    args: Sequence[str] | None = None,
) -> Options:
    """Reads the options of a command.

    Arguments:
        options: The dataclass, or a union of those of subcommands.
        prog: Name of the command.
        description: What the help begins with; the dataclass's docstring by default.
        args: The words; those of the process by default.

    Raises:
        SystemExit: After ``--help``, and with status 2 for words that are no options.
    """
    # Takes a tenth of a second to load, which those who only use the dataclasses are spared.
    import tyro
    from tyro.constructors import ConstructorRegistry, StructConstructorSpec, StructTypeInfo

    registry, within = ConstructorRegistry(), []

    @registry.struct_rule
    def _one_paragraph(info: StructTypeInfo) -> StructConstructorSpec | None:
        if info.type in within:
            return None  # that rule is asked for below
        within.append(info.type)
        try:
            found = ConstructorRegistry.get_struct_spec(info)
        finally:
            within.pop()
        if not isinstance(found, StructConstructorSpec):
            return None
        silent = tyro.conf.arg(help_behavior_hint="")
        fields = [
            replace(
                field,
                type=Annotated[field.type, silent] if field.default is None else field.type,
                helptext=partial(_unbroken, field.helptext),
            )
            for field in found.fields
        ]
        return replace(found, fields=tuple(fields))

    config = (tyro.conf.FlagCreatePairsOff, tyro.conf.DisallowNone)
    given: dict[str, Any] = {"prog": prog, "description": description, "args": args}
    return tyro.cli(options, config=config, registry=registry, **given)


def _unbroken(text: str | Callable[[], str | None] | None) -> str | None:
    """Joins the lines of each paragraph of a text."""
    text = text() if callable(text) else text
    if text is None:
        return None
    paragraphs = inspect.cleandoc(text).split("\n\n")
    return "\n\n".join(" ".join(paragraph.split()) for paragraph in paragraphs)


def part_of(shard: str) -> tuple[int, int]:
    """Reads ``--shard``.

    Raises:
        InputError: If it is not i/n with i from 1 to n.
    """
    part, _, parts = shard.partition("/")
    if not (part.isdecimal() and parts.isdecimal() and 1 <= int(part) <= int(parts)):
        raise InputError(f"--shard: must be i/n with i from 1 to n, such as 2/4, found {shard!r}")
    return int(part), int(parts)


def shared_out(first: int, n: int, shard: str) -> list[int]:
    """Returns those of ``n`` numbers from ``first`` on that are a shard's: every so-many-th.

    Raises:
        InputError: If the shard is not i/n with i from 1 to n.
    """
    part, parts = part_of(shard)
    return list(range(first + part - 1, first + n, parts))
