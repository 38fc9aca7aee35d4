"""Options of a calibration."""

from dataclasses import dataclass

from ..._command_line import shared_out
from ...errors import InputError
from ...inference.learning import StageName
from ..standard import Split


@dataclass(frozen=True)
class CalibrateOptions:
    """Holds the options of a calibration."""

    n: int = 120
    """Number of mocks."""

    split: Split = "validation"
    """Set of the mocks, each in a folder of its own. To validation mocks a calibration is fitted;
    on test mocks that of the package is judged."""

    first: int = 0
    """Number of the first."""

    shard: str = "1/1"
    """Which part of the mocks this process does, i/n with i from 1 to n."""

    recipe: str | None = None
    """Recipe of a training (TOML), whose galaxies, those of the set, and PSFs take the place of
    the standard ones. Such mocks are kept beside the standard ones, and a calibration is fitted
    to both."""

    stage: StageName = "final"
    """Last stage of the reconstructions: the macro-model's answer is measured, and the last
    one's."""

    output: str = "calibration"
    """Folder of the results. Mocks that it holds are not repeated."""

    @property
    def what(self) -> str:
        """What is measured: rows of something else are not mixed in."""
        return "errors"

    def indices(self) -> list[int]:
        """The mocks of this shard.

        Raises:
            InputError: If ``shard`` is not ``i/n`` with i from 1 to n, or a number is negative.
        """
        if self.n < 1 or self.first < 0:
            raise InputError(
                f"--n, --first: must be 1 or more and 0 or more, found {self.n}, {self.first}"
            )
        return shared_out(self.first, self.n, self.shard)
