"""Options with anything in them: what is taken has the types it says, the rest is told."""

import math
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lensrim.errors import InputError
from lensrim.inference.options import ReconstructOptions

NAMES = [f.name for f in fields(ReconstructOptions)]
WORDS = ["auto", "none", "macro", "rim", "final", "quick", "descent", "weights", "cpu", "Planck18"]
SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.complex_numbers(),
    st.sampled_from(WORDS),
    st.text(max_size=8),
    st.binary(max_size=4),
    st.sampled_from([Path("x"), np.float32(0.5), np.int64(3), np.nan, object, math.inf]),
)
ANYTHING = st.one_of(
    SCALARS,
    st.lists(SCALARS, max_size=3),
    st.tuples(SCALARS, SCALARS),
    st.dictionaries(st.text(max_size=2), SCALARS, max_size=2),
    st.sampled_from([np.zeros(2), np.zeros((2, 2)), np.array("x"), {1}, range(2)]),
)
RELAXED = settings(
    max_examples=300,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)


def told(call: Callable[[], Any], kind: type[BaseException]) -> BaseException | None:
    """What a call raises of a kind, ``None`` where nothing."""
    try:
        call()
    except kind as error:
        return error
    return None


@pytest.mark.usefixtures("types_unchecked")
@RELAXED
@given(given_options=st.dictionaries(st.sampled_from(NAMES), ANYTHING, max_size=3))
def test_any_values(given_options: dict[str, Any]) -> None:
    options = ReconstructOptions(**given_options)
    if error := told(options.check, InputError):
        assert "--" in str(error)
        assert "\n" not in str(error)
        return
    assert 0 <= options.seed < 2**63
    assert 0 <= options.samples <= 1000
    assert isinstance(options.model, str)
    assert isinstance(options.strict, bool | np.bool_)
    assert options.source_fov is None or 0 < options.source_fov < math.inf
