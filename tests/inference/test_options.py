"""Options that are impossible are told before anything is computed."""

import pytest

from lensrim import ReconstructOptions
from lensrim.errors import InputError


def options_with(name: str, value: object) -> ReconstructOptions:
    """Options as of a user whom no type checker stops; the tests' own does at creation."""
    options = ReconstructOptions()
    object.__setattr__(options, name, value)
    return options


@pytest.mark.parametrize(
    ("name", "value", "known"),
    [
        ("stage", "inversion", "macro, rim, final"),
        ("refine", "steps", "none, descent, weights"),
        ("device", "tpu", "auto, cpu, cuda"),
        ("lens_light", True, "auto, none"),
        ("search", "slow", "auto, full, quick"),
        ("mass_sheet", "some", "expected, none"),
    ],
)
def test_what_is_not_known_is_told_with_what_is(name: str, value: object, known: str):
    option = name.replace("_", "-")
    with pytest.raises(InputError, match=f"^--{option}: must be one of {known}, found {value!r}"):
        options_with(name, value).check()


def test_a_cosmology_is_known_even_where_nothing_asks_for_it():
    with pytest.raises(InputError, match=r"--cosmology must be one of .*Planck18.*'Plank18'"):
        ReconstructOptions(cosmology="Plank18").check()


@pytest.mark.parametrize("name", ["seed", "samples"])
@pytest.mark.parametrize("value", [5.5, True, "3"])
def test_numbers_are_whole(name: str, value: object):
    with pytest.raises(InputError, match=f"^--{name}: must be a whole number, found {value!r}"):
        options_with(name, value).check()


def test_what_insists_on_a_machine_needs_one():
    with pytest.raises(InputError, match=r"--strict: is for --stage rim or final, found"):
        ReconstructOptions(strict=True).check()
    ReconstructOptions(strict=True, stage="final").check()


def test_samples_need_errors():
    with pytest.raises(InputError, match="--samples: needs errors, found --samples 3 and"):
        ReconstructOptions(samples=3, errors=False).check()
