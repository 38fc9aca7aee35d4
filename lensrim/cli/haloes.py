"""``lensrim haloes``: lenses from simulated haloes, or from the halo model, in one file."""

import json
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import tyro

from .._command_line import parsed
from .._weights import replacing
from ..datasets.halo_model.prior import HaloPrior
from ..datasets.haloes.bank import HaloBank
from ..datasets.haloes.making import BankPlan, make_bank
from ..datasets.haloes.modelled import COUNT, ModelHaloes
from ..datasets.haloes.scaled import ScaledHalo, scaled_kappa
from ..datasets.haloes.simulated import PROJECTIONS, SimulatedHaloes
from ..datasets.hydro.maps import HaloFolder
from ..datasets.hydro.projection import KappaMap
from ..errors import InputError
from ..grid import PixelGrid
from ..progress import progress

SHEET = 24
"""Projections on the contact sheet."""
MOST = 300
"""Haloes in the picture of the population."""
FRAME = PixelGrid((120, 120), 5 / 120)
"""What it shows of each [Einstein radii]."""
TOLD = 8
"""Reasons that are printed; all are in the file."""


@dataclass(frozen=True)
class Haloes:
    """Make lenses of haloes, for lensrim simulate, lensrim dataset and lensrim train.

    Each projection of a halo is put on pixels, turned into a deflection in units of its Einstein
    radius, and kept in one file, from which lenses of any size, orientation and external shear are
    drawn. What has no Einstein radius is left out. Killed at any moment and run again, the command
    goes on.

    500 haloes of the halo model, by two processes, with pictures:
    $ lensrim haloes --count 500 --workers 2 --figure

    Your own, each from six directions, at the redshift of their simulation, before a source at 2:
    $ lensrim haloes cutouts --projections 6 --z-source 2 --output tng.safetensors

    Of those the ones that are lenses of 0.7 to 2 arcsec by themselves:
    $ lensrim haloes cutouts --theta-e 0.7 2 --output tng.safetensors

    Then, for example, lensrim dataset adam2023 --haloes tng.safetensors --set train.
    """

    source: Annotated[Path | None, tyro.conf.Positional] = None
    """Folder of haloes: cutouts or snapshots in the layout of IllustrisTNG (*.hdf5), one file each
    or one numbered series, or tables (*.fits) with the columns x, y, z [kpc] and mass [M_sun]. The
    halo model by default."""

    output: Annotated[Path, tyro.conf.arg(aliases=["-o"])] = Path("haloes.safetensors")
    """File that is written, *.safetensors."""

    projections: int | None = None
    """Random directions from which each halo of the source is seen; 3 by default. A halo of the
    halo model has one."""

    count: int | None = None
    """Number of haloes of the halo model; 300 by default."""

    z_lens: float | None = None
    """Redshift of the lenses; by default that of the simulation, or those of the halo model."""

    z_source: float | None = None
    """Redshift of the sources; by default 2 for simulated haloes, or those of the halo model."""

    theta_e: tuple[float, float] | None = None
    """Range of the Einstein radii that the haloes have themselves [arcsec]; others are left out.
    All by default, or 0.65 to 1.8 of the halo model, whose haloes are drawn by the Einstein radius
    of their smooth part: with what else is in them some are a few per cent beyond."""

    cosmology: str = "Planck18"
    """One of astropy's cosmologies."""

    same: Path | None = None
    """JSON file {"pairs": [{"a": "halo", "b": "halo"}, ...]} of names of haloes that are the same,
    such as one halo in two snapshots: they go into one set. A name is the path of the file below
    the folder, without its extension. Tables whose headers name one HALO do so unasked."""

    seed: int = 0
    """Seed of the directions, or of the halo model."""

    workers: int = 1
    """Processes; each holds the particles of one halo."""

    figure: bool = False
    """Write pictures, too: a contact sheet of the convergence, *.png; of the halo model also its
    population beside published ones, *_population.png."""

    overwrite: bool = False
    """Replace an existing file."""

    quiet: bool = False
    """Print errors only."""


def parse(args: Sequence[str]) -> Haloes:
    """Parses the words after ``lensrim haloes``."""
    return parsed(Haloes, prog="lensrim haloes", args=args)


def source_of(options: Haloes) -> SimulatedHaloes | ModelHaloes:
    """Returns what the lenses are made of.

    Raises:
        InputError: If it cannot be used, or an option has no effect on it.
    """
    if options.source is not None:
        if options.count is not None:
            raise InputError(
                "--count: is that of the halo model, and has no effect on a folder, found "
                f"{options.count}; leave it out"
            )
        projections = options.projections
        return SimulatedHaloes(
            HaloFolder(options.source),
            projections=PROJECTIONS if projections is None else projections,
            z_source=2.0 if options.z_source is None else options.z_source,
            z_lens=options.z_lens,
            cosmology=options.cosmology,
            seed=options.seed,
        )
    if options.projections is not None:
        raise InputError(
            "--projections: a halo of the halo model has one, and the option no effect, found "
            f"{options.projections}; leave it out, or name a folder of haloes"
        )
    prior = HaloPrior()
    return ModelHaloes(
        count=COUNT if options.count is None else options.count,
        seed=options.seed,
        prior=prior if options.theta_e is None else HaloPrior(theta_E=options.theta_e),
        z_lens=options.z_lens,
        z_source=options.z_source,
        cosmology=options.cosmology,
    )


def read_pairs(path: Path) -> list[tuple[str, str]]:
    """Reads pairs of names of haloes.

    Raises:
        InputError: If the file is not such a list.
    """
    try:
        pairs = json.loads(path.read_text())["pairs"]
        return [(str(pair["a"]), str(pair["b"])) for pair in pairs]
    except (OSError, KeyError, TypeError, ValueError) as error:
        raise InputError(
            f'{path}: expected JSON with "pairs" of {{"a": "halo", "b": "halo"}}, found {error!r}'
        ) from error


def names_elsewhere(
    pairs: Sequence[tuple[str, str]], source: SimulatedHaloes | ModelHaloes, path: Path
) -> list[str]:
    """Returns the names in a list of haloes that are the same of which none is in the source.

    Raises:
        InputError: If that is all of them: then they are not the names of these haloes.
    """
    here = set(source.names)
    with suppress(InputError):  # a file that cannot be read is told of when its turn comes
        here |= set(source.halos.values())
    named = sorted({name for pair in pairs for name in pair})
    missing = [name for name in named if name not in here]
    if named and len(missing) == len(named):
        raise InputError(
            f"{path}: must name haloes of the source, such as {source.names[0]!r}, found none of "
            f"them, but {named[0]!r}; write their names as they are there"
        )
    return missing


def run(options: Haloes) -> None:
    """Makes the file, the pictures, and says what was left out.

    Raises:
        InputError: If the source or an option cannot be used, or a file exists.
    """
    if options.workers < 1:
        raise InputError(f"--workers: must be 1 or more, found {options.workers}")
    source = source_of(options)
    if options.figure and not options.overwrite:
        for path in _names_of_pictures(source, options.output):
            if path.exists():
                raise InputError(
                    f"{path}: a picture is not replaced unasked, found an existing file; choose "
                    "another --output or give --overwrite"
                )
    same, elsewhere = [], []
    if options.same is not None:
        same = read_pairs(options.same)
        elsewhere = names_elsewhere(same, source, options.same)
    # the model draws haloes within the range
    plan = BankPlan(source, None if options.source is None else options.theta_e)
    made = 0
    with progress("haloes", total=len(source.names), enabled=not options.quiet) as bar:

        def report(name: str, new: bool) -> None:
            nonlocal made
            made += new
            bar.update()

        bank = make_bank(
            plan,
            options.output,
            same=same,
            workers=options.workers,
            overwrite=options.overwrite,
            report=report,
        )
    files = [options.output]
    if options.figure:
        files += _pictures(bank, source, options.output)
    if not options.quiet:
        print(summary(bank))
        if elsewhere:
            print(f"--same names {len(elsewhere)} that are not here, such as {elsewhere[0]!r}")
        print("Written:", *files, sep="\n  ")


def summary(bank: HaloBank) -> str:
    """Says what is in a bank, and what was left out of it."""
    macros = [bank.load(name).macro for name in bank.rows]
    flat = [np.hypot(macro.e1, macro.e2) for macro in macros]
    rows, left_out = list(bank.rows.values()), bank.header["left_out"]
    columns = {
        "theta_E [arcsec]": [row["theta_E"] for row in rows],
        "slope": [macro.gamma for macro in macros],
        "axis ratio": [(1 - f) / (1 + f) for f in flat],
        "shear": [np.hypot(macro.gamma1, macro.gamma2) for macro in macros],
        "misfit [theta_E]": [row["rms"] for row in rows],
    }
    lines = [
        f"{len(rows)} projections of {len(set(bank.halos.values()))} haloes, "
        f"{Path(bank.path).stat().st_size / 1e6:.1f} MB",
        " " * 18 + "".join(f"{name:>9}" for name in ("16 %", "median", "84 %")),
    ]
    for name, values in columns.items():
        marks = np.quantile(values, [0.16, 0.5, 0.84])
        lines.append(f"{name:<18}" + "".join(f"{mark:>9.3g}" for mark in marks))
    lines.append("slope, axis ratio and shear are those of the power law that is most like each")
    if left_out:
        lines.append(f"{len(left_out)} left out:")
        lines += [f"  {reason}" for reason in left_out[:TOLD]]
        lines += [f"  and {len(left_out) - TOLD} more"] if len(left_out) > TOLD else []
    return "\n".join(lines)


def _names_of_pictures(source: SimulatedHaloes | ModelHaloes, path: Path) -> list[Path]:
    """The files of :func:`_pictures`."""
    others = [path.with_name(f"{path.stem}_population.png")]
    return [path.with_suffix(".png"), *(others if isinstance(source, ModelHaloes) else [])]


def _pictures(bank: HaloBank, source: SimulatedHaloes | ModelHaloes, path: Path) -> list[Path]:
    """Writes the contact sheet; of the halo model, also how it compares with real lenses."""
    from ..plotting.halo_population import halo_population, kappa_sheet

    maps = [shown(bank.load(name)) for name in evenly(list(bank.rows), SHEET)]
    heading = f"{len(bank)} projections of {len(set(bank.halos.values()))} haloes"
    figures = [kappa_sheet(maps, heading=heading)]
    if isinstance(source, ModelHaloes):
        halos = [source.draw(name) for name in evenly(list(bank.rows), MOST)]
        figures.append(halo_population(halos))
    files = _names_of_pictures(source, path)
    for file, figure in zip(files, figures, strict=True):
        with replacing(file) as stream:
            figure.savefig(stream, format="png", metadata={"Software": None})
    return files


def evenly(names: Sequence[str], most: int) -> list[str]:
    """Chooses names evenly over all of them."""
    count = min(most, len(names))
    return [names[k * len(names) // count] for k in range(count)]


def shown(halo: ScaledHalo) -> KappaMap:
    """Puts a projection on the pixels of the contact sheet, in arcsec."""
    return KappaMap(
        kappa=scaled_kappa(halo, FRAME),
        pixel_scale=FRAME.spacing * halo.theta_E,
        theta_E=halo.theta_E,
        halo=halo.name,
        rotation=np.eye(3),
        z_lens=halo.z_lens,
        z_source=halo.z_source,
    )
