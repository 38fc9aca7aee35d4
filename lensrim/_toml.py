"""Recipes as files: the one reader of TOML."""

import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from ._regular import check_regular
from .errors import InputError, line_of

T = TypeVar("T")


LONGEST = 2**20
"""Characters that a recipe may have."""


def read_toml(path: Path) -> dict[str, Any]:
    """Reads a recipe.

    Raises:
        InputError: If the file cannot be read, is no regular one, has more than :data:`LONGEST`
            characters, or is no TOML.
    """
    try:
        check_regular(path, "a recipe")
        with path.open(encoding="utf-8") as file:
            text = file.read(LONGEST + 1)
        if len(text) > LONGEST:
            raise InputError(
                f"{path}: a recipe must have {LONGEST} characters or less, found more; give one "
                "that you wrote"
            )
        return tomllib.loads(text)
    except OSError as error:
        raise InputError(f"{path}: a recipe must be a TOML file; {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InputError(f"{path}: a recipe must be a TOML file: {error}") from error


def recipe_of(path: Path, make: Callable[[dict[str, Any], Path], T]) -> T:
    """Reads a recipe, and makes of it what it describes.

    Arguments:
        path: The file.
        make: Makes it of the tables, and of the folder that paths are relative to.

    Raises:
        InputError: With the name of the file, if it is no TOML, or ``make`` refuses it.
    """
    content = read_toml(path)
    try:
        return make(content, path.parent)
    except InputError as error:
        raise InputError(f"{path}: {_short(str(error))}") from error


def _short(text: str, most: int = 600) -> str:
    """Makes a line of a text, without the middle where it is too long to be read: names and values
    of a recipe may hold anything."""
    text, half = line_of(text), most // 2
    return text if len(text) <= most else f"{text[:half]} ... {text[-half:]}"
