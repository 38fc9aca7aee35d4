"""``python -m lensrim.evaluation.perturbations``: measures mocks, fits, and writes the prior."""

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Literal
from zipfile import BadZipFile

import numpy as np

from ... import __version__
from ..._command_line import parsed, shared_out
from ..._weights import replacing
from ...errors import InputError, status_of
from ...inference.options import ReconstructOptions
from ...inference.perturbation import PerturbationPrior, write_prior
from ...inference.reconstruct import reconstruct
from ...progress import progress
from ...zoo import DEFAULT, cards
from ..mocks import Mock, light_option
from ..standard import standard_mock
from .fitting import fit
from .measuring import Measured, first_guess, measure, measure_answer


def _of_mass(mock: Mock) -> Measured:
    return measure(mock.truth.kappa, first_guess(mock))


def _of_answer(mock: Mock) -> Measured | None:
    options = ReconstructOptions(
        model=DEFAULT,
        stage="final",
        lens_light=light_option(mock.lit),
        errors=False,
        mass_sheet="none",
    )
    found = reconstruct(mock.observation, options)
    if found.scene is None or found.state is None or "final" not in found.answers:
        return None  # the machine was not used
    kappa, grid = found.answers["final"].kappa, found.scene.frame.grid
    return measure_answer(mock.truth.kappa, kappa, found.state.p[0].cpu(), grid)


KINDS = {"masses": _of_mass, "answers": _of_answer}
NAMES = {"masses": "perturbations.json", "answers": "perturbations_of_answers.json"}
ABOUT = {"masses": "macro-models", "answers": f"answers of {DEFAULT}"}


@dataclass(frozen=True)
class PriorOptions:
    """Measures the prior of the refinement on standard validation mocks.

    Arguments:
        of: Whether what true masses have besides macro-models, or besides the answers of the
            packaged machine.
        output: Folder of what is measured, and of the prior.
        first: Number of the first mock; those before it are left to choose and to test with.
        n: Number of mocks.
        shard: Which part of them this process measures, ``i/n``; the prior is of all there are.
    """

    of: Literal["masses", "answers"] = "masses"
    output: str = "perturbations"
    first: int = 1000
    n: int = 144
    shard: str = "1/1"


REFUSED = Measured(np.zeros((0, 0)), np.zeros(0), float("nan"))
"""In the place of what was measured where the machine was not used."""


def run(options: PriorOptions) -> PerturbationPrior:
    """Measures what is left to measure, fits, and writes the prior.

    Raises:
        InputError: If the folder holds what another version or machine has left, or nothing was
            measured.
    """
    folder = Path(options.output)
    folder.mkdir(parents=True, exist_ok=True)
    paths = {
        i: folder / f"{options.of}-{i:05d}.npz"
        for i in range(options.first, options.first + options.n)
    }
    own, by = shared_out(options.first, options.n, options.shard), _by(options.of)
    # what cannot be used is told before the work
    held = {i: _read(path, by) for i, path in paths.items() if path.exists()}
    todo = [i for i in own if i not in held]
    with progress("mocks", total=len(todo)) as bar:
        for number in todo:
            lens = KINDS[options.of](standard_mock(number, split="validation")) or REFUSED
            with replacing(paths[number]) as file:
                np.savez(file, gram=lens.gram, moment=lens.moment, rms=lens.rms, by=by)
            bar.update()
    # those of now, and of other shards since then
    held |= {i: _read(p, by) for i, p in paths.items() if i not in held and p.exists()}
    lenses = [held[i] for i in sorted(held) if held[i].moment.size]
    if not lenses:
        raise InputError(
            f"{folder}: must hold mocks that were measured, found none of {options.n} from number "
            f"{options.first}; give other --first and --n"
        )
    prior = fit(lenses)
    rms = [lens.rms for lens in lenses]
    card = {
        "about": f"prior of what {ABOUT[options.of]} lack, measured on standard validation mocks",
        "command": f"python -m lensrim.evaluation.perturbations --of {options.of} --first "
        f"{options.first} --n {options.n}",
        "mocks": f"{len(lenses)} from number {options.first}",
        "left": f"median {np.median(rms):.4f} of kappa",
        "version": __version__,
        "date": date.today().isoformat(),
    }
    (folder / NAMES[options.of]).write_text(write_prior(prior, card))
    print(json.dumps(card, indent=1))
    return prior


def _by(of: str) -> str:
    """Says what measures: answers depend on the version and the machine, masses do not."""
    return f"{__version__} {cards()[DEFAULT].sha256[:16]}" if of == "answers" else "mass"


def _read(path: Path, by: str) -> Measured:
    """Reads what was measured of a mock.

    Raises:
        InputError: If it was measured by another version or machine, or the file is damaged.
    """
    try:
        with path.open("rb") as file, np.load(file) as held:
            found = str(held["by"])
            lens = Measured(held["gram"], held["moment"], float(held["rms"]))
    except (OSError, ValueError, KeyError, BadZipFile, EOFError) as error:
        raise InputError(
            f"{path}: must hold what was measured here, found another file; remove it"
        ) from error
    if found != by:
        raise InputError(f"{path}: must be measured by {by}, found {found}; take another --output")
    return lens


def main(args: Sequence[str] | None = None) -> None:
    """Runs the command."""
    prog = "python -m lensrim.evaluation.perturbations"
    run(parsed(PriorOptions, prog=prog, args=sys.argv[1:] if args is None else args))


if __name__ == "__main__":
    sys.exit(status_of(main))
