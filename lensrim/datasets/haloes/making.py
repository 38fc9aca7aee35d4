"""Making of banks: haloes one by one, in parallel, and again where it was interrupted.

What is made of a halo depends on the halo and on the settings alone. It is kept in a file of its
own, in the folder ``<bank>.parts`` beside the bank, until all are there: a process may be killed
at any moment, and the next run makes what is missing. A bank is the same however its haloes were
divided.
"""

import hashlib
import json
import shutil
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import as_completed
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from ..._weights import read_header
from ...errors import InputError
from ..shards.writing import processes
from .bank import HaloBank, same_haloes, write_bank
from .scaled import HaloView, ScaledHalo, scaled_halo


@runtime_checkable
class HaloSource(Protocol):
    """Where the projections of a bank come from; it may be sent to other processes."""

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the haloes."""
        ...

    def views(self, name: str) -> Iterator[HaloView | str]:
        """Returns the projections of a halo; in place of one that is none, the reason."""
        ...

    def state(self, name: str) -> Any:
        """Returns, as JSON holds it, what changes when the files of a halo do."""
        ...

    def recipe(self) -> dict[str, Any]:
        """Returns the settings, as JSON holds them."""
        ...


@dataclass(frozen=True)
class BankPlan:
    """Creates the description of a bank that is to be made.

    Arguments:
        source: Where the projections come from.
        theta_E: Range of the haloes' own Einstein radii [arcsec]; others are left out. All by
            default.

    Raises:
        InputError: If the range is not one of positive numbers.
    """

    source: HaloSource
    theta_E: tuple[float, float] | None = None

    def __post_init__(self) -> None:
        if self.theta_E is not None and not 0 < self.theta_E[0] <= self.theta_E[1] < float("inf"):
            raise InputError(
                "theta_E: must be a range of positive numbers of arcsec, the lower first, found "
                f"{list(self.theta_E)}; change it"
            )

    @property
    def made(self) -> dict[str, Any]:
        """What the bank will say it was made of."""
        theta_E = None if self.theta_E is None else list(self.theta_E)
        return json.loads(json.dumps({**self.source.recipe(), "theta_E": theta_E}))

    def part(self, folder: Path, name: str) -> Path:
        """Returns the file of what is made of a halo."""
        return folder / f"{hashlib.sha256(name.encode()).hexdigest()[:16]}.safetensors"

    def is_there(self, folder: Path, name: str) -> bool:
        """Whether what is made of a halo is there, and is that of these settings and files."""
        path = self.part(folder, name)
        try:
            return path.exists() and read_header(path)["made"] == self._identity(name)
        except (InputError, KeyError):
            return False

    def make(self, folder: Path, name: str) -> str:
        """Makes the projections of a halo, writes them, and returns its name."""
        kept, left_out = self.projections(name)
        write_bank(self.part(folder, name), kept, made=self._identity(name), left_out=left_out)
        return name

    def projections(self, name: str) -> tuple[list[ScaledHalo], list[str]]:
        """Makes the projections of a halo; for those that are left out, the reasons."""
        kept: list[ScaledHalo] = []
        left_out: list[str] = []
        try:
            for view in self.source.views(name):
                if isinstance(view, str):
                    left_out.append(view)
                elif self.theta_E and not self.theta_E[0] <= view.theta_E <= self.theta_E[1]:
                    left_out.append(
                        f"{view.name}: its Einstein radius of {view.theta_E:.2f} arcsec is not "
                        f"from {self.theta_E[0]:g} to {self.theta_E[1]:g}"
                    )
                else:
                    try:
                        kept.append(scaled_halo(view))
                    except InputError as error:
                        left_out.append(str(error))
        except InputError as error:  # of a file that cannot be read
            left_out.append(str(error) if name in str(error) else f"{name}: {error}")
        return kept, left_out

    def _identity(self, name: str) -> dict[str, Any]:
        state = json.loads(json.dumps(self.source.state(name)))
        return {**self.made, "halo": name, "state": state}


def make_bank(
    plan: BankPlan,
    path: str | Path,
    *,
    same: Iterable[tuple[str, str]] = (),
    workers: int = 1,
    overwrite: bool = False,
    report: Callable[[str, bool], None] = lambda name, new: None,
) -> HaloBank:
    """Makes a bank.

    Arguments:
        plan: What it is made of.
        path: The file, ``*.safetensors``; its folder is made.
        same: Pairs of names of haloes that are the same.
        workers: Processes.
        overwrite: Whether a file that is there is replaced.
        report: Called with the name of each halo that is done, and whether it is new.

    Returns:
        The bank.

    Raises:
        InputError: If the file exists, or no projection is left.
    """
    path = Path(path)
    if path.suffix != ".safetensors":
        raise InputError(f"{path}: a bank must be a file *.safetensors; rename it")
    if path.exists() and not overwrite:
        raise InputError(
            f"{path}: a bank is not replaced unasked, found an existing file; choose another "
            "output or give --overwrite"
        )
    folder = path.with_name(f"{path.name}.parts")
    folder.mkdir(parents=True, exist_ok=True)
    names = plan.source.names
    missing = []
    for name in names:
        if plan.is_there(folder, name):
            report(name, False)
        else:
            missing.append(name)
    with processes(workers) if workers > 1 and missing else nullcontext() as pool:
        if pool is None:
            for name in missing:
                report(plan.make(folder, name), True)
        else:
            for done in as_completed([pool.submit(plan.make, folder, name) for name in missing]):
                report(done.result(), True)
    kept: list[ScaledHalo] = []
    left_out: list[str] = []
    for name in names:
        part = HaloBank(str(plan.part(folder, name)))
        kept += [part.load(each) for each in part.rows]
        left_out += part.header["left_out"]
    if not kept:
        raise InputError(
            f"{path}: a bank must have projections, found none; the first of {len(left_out)} "
            f"reasons: {left_out[0] if left_out else 'there is no halo'}"
        )
    write_bank(path, same_haloes(kept, same), made=plan.made, left_out=left_out)
    shutil.rmtree(folder)
    return HaloBank(str(path))
