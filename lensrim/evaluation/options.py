"""The options of an evaluation."""

from dataclasses import dataclass
from typing import Literal

from .._command_line import shared_out
from ..errors import InputError
from ..inference.fit import SearchName
from ..inference.learning import StageName
from ..inference.refinement import RefineName
from ..zoo import DEFAULT
from .references import check_references

QUICK = 60
"""Mocks of ``--quick``."""

COUNTS = {"first-light": 200, "standard": 1000}
"""The suites, and how many mocks each has unless something else is said."""

LONGEST = 2.0
"""Correlation length of the noise, at most [pixel]: more of it would look like arcs."""


@dataclass(frozen=True)
class EvaluateOptions:
    """Creates the options of an evaluation; they are those of ``lensrim evaluate``.

    Arguments:
        suite: Which suite: first-light, of one population, or standard, the frozen mocks of three
            settings that published numbers are of.
        split: Set of the standard mocks: decisions are made on the validation set.
        recipe: Recipe of a training (TOML), in place of ``galaxies`` and ``psfs``: the galaxies of
            its test set (or validation set), which no machine of that recipe has seen, and its
            PSFs.
        model: Trained machine, as for ``lensrim reconstruct``.
        stage: Last stage of the chain, as for ``lensrim reconstruct``.
        refine: What is done to its answer, likewise.
        search: Where the search begins, likewise.
        galaxies: Folder of FITS stamps of galaxies, or ``learnt``. By default, first-light has
            synthetic galaxies, standard half synthetic and half learnt ones; of a folder it takes
            those of the set by the hash of their names.
        psfs: Folder of FITS stamps of PSFs, used for half of the mocks; by default, first-light
            has analytic ones, standard those of telescopes' pupils.
        noise_length: Standard deviation of the Gaussian that correlates the noise of neighbouring
            pixels [pixel], as drizzling does: 0.5 for noise as in drizzled images of Hubble. Of
            standard mocks alone.
        reference: Outside methods that do the same mocks, by name: adam and lbfgs (descent on the
            pixels without a prior, for as long as the machine takes), lenstronomy (a parametric
            fit, minutes a mock; the extra oracle).
        n: Number of mocks; 200 of first-light and 1000 of standard by default.
        quick: Whether to do 60, for daily work.
        seed: Seed of the first mock (its number, of the standard ones); the others follow.
        output: Folder for the results. Mocks that it already holds are not repeated.
        shard: Which part of the mocks this process does, ``i/n`` with i from 1 to n.
        quiet: Whether to print nothing but the summary.
    """

    suite: Literal["first-light", "standard"] = "first-light"
    split: Literal["test", "validation"] = "test"
    recipe: str | None = None
    model: str = DEFAULT
    stage: StageName = "macro"
    refine: RefineName = "none"
    search: SearchName = "auto"
    galaxies: str | None = None
    psfs: str | None = None
    noise_length: float = 0.0
    reference: tuple[str, ...] = ()
    n: int | None = None
    quick: bool = False
    seed: int = 0
    output: str = "evaluation"
    shard: str = "1/1"
    quiet: bool = False

    def check(self) -> None:
        """Checks them: before, a command line is to be read whole.

        Raises:
            InputError: If a number is out of range, or two options contradict each other.
        """
        if self.n is not None and self.quick:
            raise InputError(f"--quick: stands in place of --n {self.n}; give one of them")
        if self.count < 1 or self.seed < 0:
            raise InputError(
                f"--n must be 1 or more and --seed 0 or more, got {self.count}, {self.seed}"
            )
        if self.recipe is not None and (self.galaxies or self.psfs):
            raise InputError(
                "--recipe: stands in place of --galaxies and --psfs; give one of them"
            )
        if self.split != "test" and self.suite != "standard":
            raise InputError(
                f"--split: only the standard mocks have sets, found --suite {self.suite}; give "
                "--suite standard, or other seeds"
            )
        if not 0 <= self.noise_length <= LONGEST:
            raise InputError(
                f"--noise-length must be from 0 to {LONGEST:g} pixels, got {self.noise_length}"
            )
        if self.suite != "standard" and self.noise_length:
            raise InputError(
                f"--noise-length: only the standard mocks have it, found --suite {self.suite}; "
                "give --suite standard, or a recipe of such noise"
            )
        check_references(self.reference)
        self.seeds()

    @property
    def count(self) -> int:
        """Number of mocks of all shards."""
        return self.n if self.n is not None else QUICK if self.quick else COUNTS[self.suite]

    def seeds(self) -> list[int]:
        """The seeds of the mocks of this shard.

        Raises:
            InputError: If ``shard`` is not ``i/n`` with i from 1 to n.
        """
        return shared_out(self.seed, self.count, self.shard)
