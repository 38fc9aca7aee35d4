"""The package as it is installed: names, version, licence, and what an import costs."""

import subprocess
import sys
from importlib import metadata, resources

import pytest
from jaxtyping import TypeCheckError

import lensrim


def loaded_by(statement: str) -> set[str]:
    """Returns the top-level modules that a fresh interpreter holds after ``statement``."""
    code = f"import sys\n{statement}\nprint(*sorted({{m.split('.')[0] for m in sys.modules}}))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


def test_import_is_cheap() -> None:
    heavy = {"torch", "numpy", "scipy", "astropy", "matplotlib", "tyro"}
    assert loaded_by("import lensrim, lensrim.cli") & heavy == set()


def test_grid_needs_no_fits_and_no_plots() -> None:
    heavy = {"scipy", "astropy", "matplotlib"}
    assert loaded_by("from lensrim import PixelGrid") & heavy == set()


def test_annotations_hold_in_the_tests() -> None:
    with pytest.raises(TypeCheckError, match="Expected type: tuple"):
        lensrim.PixelGrid((3.0, 3), 1.0)


@pytest.mark.parametrize("name", lensrim.__all__)
def test_every_name_is_there_and_documented(name: str) -> None:
    assert name in dir(lensrim)
    assert getattr(lensrim, name).__doc__


def test_unknown_name() -> None:
    with pytest.raises(AttributeError, match="module 'lensrim' has no attribute 'reconstrct'"):
        lensrim.reconstrct  # noqa: B018


def test_installed_version() -> None:
    try:
        installed = metadata.version("lensrim")
    except metadata.PackageNotFoundError:
        pytest.skip("lensrim is imported from its folder, not installed")
    assert installed == lensrim.__version__


def test_cited_version() -> None:
    assert f"version: {lensrim.__version__}\n" in resources.files("lensrim").joinpath(
        "CITATION.cff"
    ).read_text(encoding="utf-8")
    assert lensrim.__version__ in lensrim.citation()


@pytest.mark.parametrize("name", ["LICENSE", "CITATION.cff", "py.typed"])
def test_package_data(name: str) -> None:
    assert resources.files("lensrim").joinpath(name).is_file()
