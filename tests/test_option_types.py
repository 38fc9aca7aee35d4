"""Options of a wrong type are told in a line, whoever gives them."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lensrim import ReadOptions, ReconstructOptions
from lensrim.errors import InputError
from lensrim.option_types import as_text, check_options, check_path

Options = ReadOptions | ReconstructOptions


def with_value(options: Options, name: str, value: object) -> Options:
    """Options as of a user whom no type checker stops; the tests' own does at creation."""
    object.__setattr__(options, name, value)
    return options


@pytest.mark.parametrize(
    ("options", "name", "value", "rule"),
    [
        (ReconstructOptions(), "size", "3", "a number"),
        (ReconstructOptions(), "size", [3], "a number"),
        (ReconstructOptions(), "size", True, "a number"),
        (ReconstructOptions(), "bin", "2", "a whole number"),
        (ReconstructOptions(), "bin", 2.0, "a whole number"),
        (ReconstructOptions(), "center", "34", "two numbers"),
        (ReconstructOptions(), "center", (1, 2, 3), "two numbers"),
        (ReconstructOptions(), "center", (36, "a"), "two numbers"),
        (ReconstructOptions(), "z_lens", "0.3", "a number"),
        (ReconstructOptions(), "model", None, "text"),
        (ReconstructOptions(), "errors", "no", "true or false"),
        (ReconstructOptions(), "stage", "inversion", "one of macro, rim, final"),
        (ReadOptions(), "noise", 5.5, "text"),
        (ReadOptions(), "pixel_scale", "sky", "a number"),
        (ReadOptions(), "pixel_scale", (0.05, 0.05), "a number"),
        (ReadOptions(), "background", [1.0], "a number"),
        (ReadOptions(), "zeropoint", "a", "a number"),
        (ReadOptions(), "rescale_noise", None, "a number or sky"),
        (ReadOptions(), "psf_oversampling", None, "a whole number"),
        (ReadOptions(), "psf_kind", "sharp", "one of effective, optical"),
    ],
)
def test_a_wrong_type_is_told(options: Options, name: str, value: object, rule: str) -> None:
    option = name.replace("_", "-")
    with pytest.raises(InputError) as caught:
        with_value(options, name, value).check()
    assert str(caught.value) == f"--{option}: must be {rule}, found {value!r}; change it"


def test_numbers_of_numpy_are_numbers() -> None:
    values: dict[str, Any] = {
        "size": np.float32(3),
        "bin": np.int64(2),
        "center": [np.int32(3), 4.5],
    }
    options = ReconstructOptions()
    for name, value in values.items():
        with_value(options, name, value)
    options.check()


@pytest.mark.parametrize(
    ("value", "text"), [(2, "2"), (np.int64(3), "3"), (Path("a.fits"), "a.fits"), ("SCI", "SCI")]
)
def test_an_hdu_is_named_by_a_number_or_a_path_too(value: object, text: str) -> None:
    assert as_text(value) == text
    options = with_value(ReadOptions(), "noise", value)
    options.__post_init__()
    options.check()
    assert options.noise == text
    assert as_text(True) is True and as_text(5.5) == 5.5 and as_text(None) is None


def test_other_objects_are_told() -> None:
    with pytest.raises(InputError, match="options: must be ReconstructOptions, found ReadOptions"):
        check_options(ReadOptions(), ReconstructOptions)
    for given in (np.zeros(3), ["a.fits"], None):
        with pytest.raises(InputError, match="observation: must be a path or an Observation, fou"):
            check_path(given)
    check_path(Path("a.fits"))
    check_options(ReadOptions(), ReadOptions)
