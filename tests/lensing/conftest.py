"""What the tests of the simulator share: those of a transform need its library."""

import pytest

from lensrim.lensing.nufft import Nufft


@pytest.fixture(autouse=True)
def _skip_without_nufft(request: pytest.FixtureRequest) -> None:
    """Skips the tests of the transform ``Nufft`` where the extra ``vis`` is not installed."""
    named = "transform" in request.fixturenames
    if named and isinstance(request.getfixturevalue("transform"), Nufft):
        pytest.importorskip("finufft")
