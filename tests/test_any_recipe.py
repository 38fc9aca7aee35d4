"""Recipes with anything in them: read, or refused in one line that names the file."""

import json
import math
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lensrim.errors import InputError
from lensrim.generation.masses import MassConfig
from lensrim.generation.recipe import GeneratorRecipe, read_generator_recipe
from lensrim.generation.sources import SourceConfig
from lensrim.inference.recipe import Recipe, read_recipe

READERS: dict[str, tuple[Callable[[Path], object], object]] = {
    "machine": (read_recipe, Recipe()),
    "sources": (read_generator_recipe, GeneratorRecipe(sources=SourceConfig())),
    "masses": (read_generator_recipe, GeneratorRecipe(masses=MassConfig())),
}
"""Readers of recipes, and one with the settings of its tables."""
SCALARS = st.one_of(
    st.integers(-(2**63), 2**63 - 1),
    st.integers(-2, 130),
    st.floats(),
    st.booleans(),
    st.text(max_size=8),
    st.sampled_from(["", "learnt", "macro", "plain", "..", "x" * 5000, "a\0b", "/dev/zero"]),
)
VALUES = st.one_of(
    SCALARS,
    st.lists(SCALARS, max_size=3),
    st.dictionaries(st.text(max_size=4), SCALARS, max_size=2),
)
RELAXED = settings(
    max_examples=150,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)


def toml(value: Any) -> str:
    """Writes a value as TOML does."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{json.dumps(k)} = {toml(v)}" for k, v in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(toml, value)) + "]"
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return json.dumps(value)


def known(recipe: Any) -> dict[str, list[str]]:
    """The settings of a recipe, by table."""
    tables = asdict(recipe)
    return {name: [*part] if isinstance(part, dict) else [] for name, part in tables.items()}


@st.composite
def recipes(draw: st.DrawFn, tables: dict[str, list[str]]) -> str:
    """A recipe of known tables and settings with any values, and now and then an unknown one."""
    lines: list[str] = []
    for name in draw(st.lists(st.sampled_from(sorted(tables)), max_size=3, unique=True)):
        names = st.one_of(st.sampled_from(tables[name] or ["x"]), st.text(max_size=4))
        if not tables[name] or draw(st.integers(0, 9)) == 0:
            lines.insert(0, f"{name} = {toml(draw(VALUES))}")
            continue
        lines.append(f"[{name}]")
        for key in draw(st.lists(names, max_size=3, unique=True)):
            lines.append(f"{json.dumps(key)} = {toml(draw(VALUES))}")
    return "\n".join(lines)


def check(reader: Callable[[Path], object], path: Path) -> None:
    """Reads, or is refused."""
    problem = ""
    try:
        reader(path)
    except InputError as error:
        problem = str(error)
    assert not problem or problem.startswith(f"{path}: ")
    assert problem.isprintable(), repr(problem)
    assert len(problem) < 1000


@pytest.mark.parametrize("which", READERS)
def test_any_settings(tmp_path: Path, which: str) -> None:
    reader, example = READERS[which]
    path, ends = tmp_path / "recipe.toml", []

    @RELAXED
    @given(text=recipes(known(example)))
    def each(text: str) -> None:
        path.write_text(text, encoding="utf-8")
        check(reader, path)
        ends.append(text)

    each()
    assert len(ends) > 50


@RELAXED
@given(content=st.binary(max_size=60))
def test_any_bytes(tmp_path: Path, content: bytes) -> None:
    (path := tmp_path / "recipe.toml").write_bytes(b"[data]\nshape = " + content)
    for reader in (read_recipe, read_generator_recipe):
        check(reader, path)
