"""Options of a calibration."""

from dataclasses import dataclass

from ...errors import InputError


@dataclass(frozen=True)
class CalibrateOptions:
    """Holds the options of a calibration."""

    n: int = 120
    """Number of validation mocks."""

    first: int = 0
    """Number of the first."""

    shard: str = "1/1"
    """Which part of the mocks this process does, i/n with i from 1 to n."""

    output: str = "calibration"
    """Folder of the results. Mocks that it holds are not repeated."""

    def indices(self) -> list[int]:
        """The mocks of this shard.

        Raises:
            InputError: If ``shard`` is not ``i/n`` with i from 1 to n, or a number is negative.
        """
        part, _, parts = self.shard.partition("/")
        if not (part.isdigit() and parts.isdigit() and 1 <= int(part) <= int(parts)):
            raise InputError(
                f"--shard: must be i/n with i from 1 to n, found {self.shard}; give such as 2/4"
            )
        if self.n < 1 or self.first < 0:
            raise InputError(
                f"--n, --first: must be 1 or more and 0 or more, found {self.n}, {self.first}"
            )
        return list(range(self.first + int(part) - 1, self.first + self.n, int(parts)))
