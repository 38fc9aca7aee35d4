"""``lensrim dataset``: many simulated lenses for training, in shards."""

from collections.abc import Iterator, Sequence
from concurrent.futures import Executor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
import tyro

from .._command_line import parsed, part_of
from .._weights import replacing
from ..datasets.galaxies.learnt import beside
from ..datasets.presets import PLACES
from ..datasets.shards.census import census
from ..datasets.shards.reading import Header, Shards
from ..datasets.shards.samples import Samples
from ..datasets.shards.writing import Plan, processes, write_shards
from ..errors import InputError
from ..progress import progress
from .simulate import chosen

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SHEET = 36
"""Images on the contact sheet."""


@dataclass(frozen=True)
class Dataset:
    """Write simulated lenses with their truth, for training, into HDF5 shards.

    A lens is a function of the population, the seed and its number: however the work is divided,
    the files are the same. Killed at any moment and run again, the command goes on; a damaged
    shard is made again. Beside the shards it writes index.json, census.txt (how many, and how they
    are distributed) and contact.png (what they look like).

    20 000 lenses as Euclid would see them, by two processes:
    $ lensrim dataset euclid --output shards --count 20000 --workers 2

    Your own galaxies, those of the training set alone:
    $ lensrim dataset slacs --galaxies stamps --set train

    In pieces, by the jobs of a SLURM array (1 to 16), into one folder:
    $ lensrim dataset recipe.toml --shard $SLURM_ARRAY_TASK_ID/16

    The presets are general, slacs, euclid, jwst, adam2023 and morningstar2019.
    """

    population: Annotated[str, tyro.conf.Positional] = "general"
    """A preset, or a recipe (*.toml)."""

    output: Annotated[Path, tyro.conf.arg(aliases=["-o"])] = Path("shards")
    """Folder of the shards."""

    count: int = 1000
    """Number of lenses. More of them later leave the full shards as they are."""

    per_shard: int = 250
    """Lenses in a shard."""

    seed: int = 0
    """Seed of the sequence of lenses."""

    shape: tuple[int, int] | None = None
    """Rows and columns of the images; the population's by default."""

    galaxies: str | None = None
    """Folder of FITS stamps of galaxies, or "learnt" for those of the packaged generator;
    synthetic ones by default."""

    psfs: str | None = None
    """Folder of FITS stamps of PSFs, used for half of the lenses; the population's own by default.
    They must be oversampled (FWHM of 3 of their pixels or more), and are brought to the
    population's width, unless a recipe's psf_stamp_scale says how large their pixels are."""

    noise: str | None = None
    """Folder of FITS images of blank sky, to cut the noise from; drawn by default."""

    haloes: str | None = None
    """File of haloes, from lensrim haloes, for the population's halo_share of the lenses; for all
    of them, where that is 0. By default those of the halo model."""

    set: Literal["all", "train", "validation", "test"] = "all"
    """Which set. Real galaxies are split by the hash of their names, those that the recipe's
    [duplicates] call the same together; give a training the same as its [data.duplicates]. Haloes
    are split by the hash of theirs, with all their projections. All else is drawn for each set
    independently."""

    workers: int = 1
    """Processes."""

    shard: str = "1/1"
    """Which part of the shards this command writes, i/n with i from 1 to n."""

    dask: str | None = None
    """Address of a Dask scheduler whose workers make the shards, in place of processes."""

    overwrite: bool = False
    """Make all shards again, even those of another recipe."""

    quiet: bool = False
    """Print errors only."""


def parse(args: Sequence[str]) -> Dataset:
    """Parses the words after ``lensrim dataset``."""
    return parsed(Dataset, prog="lensrim dataset", args=args)


def run(options: Dataset) -> None:
    """Writes the shards, the contact sheet and the census.

    Raises:
        InputError: If the recipe or a folder cannot be used, or the output is another data set.
    """
    for name, least in {"count": 1, "per_shard": 1, "seed": 0, "workers": 1}.items():
        if (found := getattr(options, name)) < least:
            raise InputError(f"--{name.replace('_', '-')}: must be {least} or more, found {found}")
    part = part_of(options.shard)
    folders = {name: getattr(options, name) for name in PLACES}
    which = None if options.set == "all" else options.set
    population = chosen(options.population, options.shape, folders)
    # A worker may run in another folder.
    given = {name: getattr(population, name) for name in PLACES}
    places = {n: beside(str(place), Path.cwd()) for n, place in given.items() if place is not None}
    samples = Samples(replace(population, **places), options.seed, which)
    plan = Plan(options.count, options.per_shard, options.seed, samples.recipe())
    headers = plan.headers(part)
    made = 0
    with progress("lenses", total=sum(h.count for h in headers), enabled=not options.quiet) as bar:

        def report(header: Header, new: bool) -> None:
            nonlocal made
            made += new
            bar.update(header.count)

        with executor_of(options) as executor:
            write_shards(
                options.output,
                samples,
                plan,
                part=part,
                executor=executor,
                overwrite=options.overwrite,
                report=report,
            )
    if not headers:  # there are fewer shards than parts
        if not options.quiet:
            print(f"{options.output}: no shards for this part, of {len(plan.headers())} in all")
        return
    shards = Shards.open(options.output, like=headers[0])
    text = census(shards)
    with replacing(options.output / "census.txt") as file:
        file.write(f"{text}\n".encode())
    with replacing(options.output / "contact.png") as file:
        sheet(shards).savefig(file, format="png", metadata={"Software": None})
    if not options.quiet:
        print(f"{options.output}: {made} shards made, {len(headers) - made} were there\n\n{text}")


@contextmanager
def executor_of(options: Dataset) -> Iterator[Executor | None]:
    """Opens what makes the shards: this process, others, or a Dask cluster."""
    if options.dask is not None:
        with dask_client(options.dask) as client:
            yield client.get_executor(pure=False)
    elif options.workers > 1:
        with processes(options.workers) as pool:
            yield pool
    else:
        yield None


def dask_client(address: str) -> Any:
    """Connects to a Dask scheduler.

    Raises:
        InputError: If Dask is not installed, or nobody answers.
    """
    try:
        from distributed import Client  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        raise InputError(
            "--dask: needs dask.distributed, which is not installed: pip install '.[dask]' in the "
            "checkout of lensrim"
        ) from error
    try:
        return Client(address)
    except (OSError, ValueError) as error:
        raise InputError(f"--dask: no scheduler answers at {address!r} ({error})") from error


def sheet(shards: Shards) -> "Figure":
    """Draws some of the samples, evenly over the data set."""
    from ..plotting import contact_sheet

    count = min(SHEET, len(shards))
    rows = [shards[k * len(shards) // count] for k in range(count)]
    titles = [
        f"macro θ_E {row['pixel_scale'] * np.exp(row['macro'][0]):.2f}″  S/N {row['snr']:.0f}"
        for row in rows
    ]
    noises = [float(row["sigma"].min()) for row in rows]
    images = [np.where(row["mask"] > 0, row["image"], np.nan)[0] for row in rows]
    return contact_sheet(images, titles, noises=noises, heading=f"{len(shards)} lenses")
