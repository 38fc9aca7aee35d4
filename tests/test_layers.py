"""Imports point down: each file's imports are read, none is executed."""

import ast
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

LAYERS = [
    {"errors"},
    {"_regular"},
    {"_weight_files"},
    {"grid", "_weights", "_toml", "_processes", "progress", "option_types", "_command_line"},
    {"lensing", "rim"},
    {"io", "datasets", "metrics"},
    {"plotting", "zoo", "training"},
    {"inference", "generation"},
    {"evaluation", "survey"},
    {"reproduction"},
    {"cli"},
]
"""Modules and packages from the bottom up; those of one set do not know each other."""
LEVEL = {unit: level for level, units in enumerate(LAYERS) for unit in units}
HEAVY = {"matplotlib", "astropy", "h5py", "dask"}
"""What the lowest layers, and so every import of the package, must not load."""
TOP_LEVEL = {"lensrim", "tests", "data", "notebooks", "pyproject.toml", "README.md"}

PACKAGE = Path(__file__).parent.parent / "lensrim"
FILES = sorted(PACKAGE.rglob("*.py"))


@dataclass(frozen=True)
class Import:
    """One imported module, by its absolute name, and whether importing the file loads it."""

    module: str
    line: int
    at_import: bool


def _target(node: ast.ImportFrom, package: list[str]) -> list[str]:
    """Resolves ``from x import a, b``; a name below the package itself counts as a module."""
    base = package[: len(package) - node.level + 1] if node.level else []
    module = ".".join([*base, *([node.module] if node.module else [])])
    if module == "lensrim":
        return [f"lensrim.{alias.name}" for alias in node.names]
    return [module]


def read_imports(source: str, package: list[str]) -> list[Import]:
    """Reads the imports of a file of ``package``, those inside functions too."""
    found: list[Import] = []

    def visit(node: ast.AST, at_import: bool) -> None:
        modules: list[str] = []
        if isinstance(node, ast.Import):
            modules = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            modules = _target(node, package)
        found.extend(Import(m, node.lineno, at_import) for m in modules)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            at_import = False
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            at_import = False
        for child in ast.iter_child_nodes(node):
            visit(child, at_import)

    visit(ast.parse(source), True)
    return found


def violations(source: str, path: Path) -> list[str]:
    """Lists what a file of the package, at ``path`` below it, imports against the rule."""
    parts = path.with_suffix("").parts
    unit = parts[0]
    broken = []
    for found in read_imports(source, ["lensrim", *parts[:-1]]):
        top, *rest = found.module.split(".")
        if top in HEAVY and found.at_import and LEVEL[unit] < LEVEL["io"]:
            broken.append(f"line {found.line}: {top} outside a function")
        if top != "lensrim" or rest in (["__version__"], ["citation"]):
            continue  # of the package itself
        target = rest[0] if rest else "lensrim"
        if target != unit and (target not in LEVEL or LEVEL[target] >= LEVEL[unit]):
            broken.append(f"line {found.line}: {unit} imports {target}")
    return broken


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_imports_point_down(path: Path) -> None:
    relative = path.relative_to(PACKAGE)
    if relative.name == "__init__.py" and relative.parent == Path("."):
        pytest.skip("the package itself names every layer, and loads none: see test_package.py")
    assert relative.with_suffix("").parts[0] in LEVEL, "a new module needs its place in LAYERS"
    assert violations(path.read_text(encoding="utf-8"), relative) == []


@pytest.mark.parametrize(
    ("path", "source", "expected"),
    [
        ("lensing/psf.py", "from ..grid import PixelGrid", None),
        ("lensing/psf.py", "from .mass import SIE", None),
        ("lensing/psf.py", "from ..io.read import ReadOptions", "lensing imports io"),
        ("lensing/psf.py", "def f():\n    import lensrim.rim.core", "lensing imports rim"),
        ("lensing/psf.py", "from lensrim import plotting", "lensing imports plotting"),
        ("lensing/psf.py", "from lensrim import __version__", None),
        ("lensing/psf.py", "import lensrim", "lensing imports lensrim"),
        ("lensing/cosmology.py", "import astropy.units", "astropy outside a function"),
        ("lensing/cosmology.py", "def f():\n    import astropy.units", None),
        ("grid.py", "from .progress import progress", "grid imports progress"),
        ("grid.py", "from .errors import InputError", None),
        ("training/loop.py", "from .. import zoo", "training imports zoo"),
    ],
)
def test_the_rule_itself(path: str, source: str, expected: str | None) -> None:
    broken = violations(source, Path(path))
    assert len(broken) == (expected is not None)
    assert not broken or expected in broken[0]


def test_top_level_holds_only_what_was_agreed(root: Path) -> None:
    if not (root / ".git").exists():
        pytest.skip("not a git checkout")
    listing = subprocess.run(
        ["git", "ls-files"], cwd=root, capture_output=True, text=True, check=True
    ).stdout
    top = {line.split("/")[0] for line in listing.splitlines()}
    assert {name for name in top if not name.startswith(".")} <= TOP_LEVEL
