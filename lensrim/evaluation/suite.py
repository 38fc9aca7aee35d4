"""The standard suite: many mock observations reconstructed, each compared with its truth.

Results are one line of JSON per mock, appended when it is done, so that a run can be interrupted,
resumed, or divided among processes (``shard``). The summary is made of whatever lines the output
folder holds.

An output folder holds ``settings.json``, ``results*.jsonl`` (one file per shard), ``maps/`` (the
maps of each mock, for the pictures), ``summary.txt``, ``summary.csv`` and ``worst.png``.
"""

import json
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from .. import __version__
from ..datasets.galaxies.opening import open_galaxies
from ..datasets.priors import SystemPrior
from ..datasets.psfs.kinds import read_psf_stamps
from ..errors import InputError
from ..inference.learning import StageName
from ..inference.machine import load_machine
from ..inference.recipe import read_recipe
from ..io.observation import Observation
from ..io.product import Product
from ..progress import progress
from ..zoo import DEFAULT
from .comparison import compare, compare_stages, maps_of, structure, true_source
from .mocks import Mock, make_mock
from .report import format_table, summarise, worst_cases, write_csv
from .stages import format_stages

Reconstruct = Callable[[Observation, bool], Any]
"""Takes an observation and whether it holds lens light, as a user would say by ``--lens-light``;
what it returns has the product as ``.product``."""

SIDE = 64
"""Side of the mocks [pixels]."""


@dataclass(frozen=True)
class EvaluateOptions:
    """Creates the options of an evaluation; they are those of ``lensrim evaluate``.

    Arguments:
        suite: Which suite.
        recipe: Recipe of a training (TOML), in place of ``galaxies`` and ``psfs``: the galaxies of
            its test set, which no machine of that recipe has seen, and its PSFs.
        model: Trained machine, as for ``lensrim reconstruct``.
        stage: Last stage of the chain, as for ``lensrim reconstruct``.
        galaxies: Folder of FITS stamps of galaxies, or ``learnt``; synthetic galaxies by default.
        psfs: Folder of FITS stamps of PSFs, used for half of the mocks; analytic ones by default.
        n: Number of mocks.
        seed: Seed of the first mock; the others follow.
        output: Folder for the results. Mocks that it already holds are not repeated.
        shard: Which part of the mocks this process does, ``i/n`` with i from 1 to n.
        quiet: Whether to print nothing but the summary.

    Raises:
        InputError: If a number is out of range.
    """

    suite: Literal["first-light"] = "first-light"
    recipe: str | None = None
    model: str = DEFAULT
    stage: StageName = "macro"
    galaxies: str | None = None
    psfs: str | None = None
    n: int = 200
    seed: int = 0
    output: str = "evaluation"
    shard: str = "1/1"
    quiet: bool = False

    def __post_init__(self) -> None:
        if self.n < 1 or self.seed < 0:
            raise InputError(
                f"--n must be 1 or more and --seed 0 or more, got {self.n}, {self.seed}"
            )
        if self.recipe is not None and (self.galaxies or self.psfs):
            raise InputError(
                "--recipe: stands in place of --galaxies and --psfs; give one of them"
            )
        self.seeds()

    def seeds(self) -> list[int]:
        """The seeds of the mocks of this shard.

        Raises:
            InputError: If ``shard`` is not ``i/n`` with i from 1 to n.
        """
        part, _, parts = self.shard.partition("/")
        if not (part.isdigit() and parts.isdigit() and 1 <= int(part) <= int(parts)):
            raise InputError(
                f"--shard must be i/n with i from 1 to n, such as 2/4, got {self.shard!r}"
            )
        return list(range(self.seed + int(part) - 1, self.seed + self.n, int(parts)))


def _facts(mock: Mock, seed: int) -> dict[str, Any]:
    """What a row says of the mock itself."""
    truth, system = mock.truth, mock.truth.system
    return {
        "seed": seed,
        "snr": system.noise.snr,
        "lens_light": system.lens_light is not None,
        "galaxy": system.galaxy.name,
        "psf": system.psf.kind,
        "psf_fwhm": system.psf.fwhm,
        "pixel_scale": system.pixel_scale,
        "macro_theta_E": truth.macro_theta_E,
        "theta_E": truth.theta_E,
        "gamma": truth.gamma,
        "q": system.lens.ellipsoid.q,
        "magnification": truth.magnification,
        "narc": int(truth.arc_mask.sum()),
        "structure": structure(mock),
    }


def evaluate_one(
    mock: Mock, seed: int, reconstruct: Reconstruct, maps: Path | None = None
) -> dict[str, Any]:
    """Reconstructs one mock and makes its row; a failure becomes the row's status.

    Arguments:
        mock: The mock.
        seed: Its seed.
        reconstruct: The method under test.
        maps: Where to save the maps for the pictures (``.npz``), if anywhere.

    Returns:
        The row: facts of the mock, ``status`` (``"ok"`` or what went wrong), ``seconds`` and,
        where all went well, the values of :func:`compare`.
    """
    start, row = time.perf_counter(), _facts(mock, seed)
    try:
        result = reconstruct(mock.observation, row["lens_light"])
        product = result.product
        row["seconds"] = time.perf_counter() - start
        row |= {"macrote": float(product.header["MACROTE"][0])} | compare(mock, product)
        row["stages"] = compare_stages(mock, result)
        row["status"] = "ok"
    # The suite counts failures of the method; whatever they are, the other mocks go on.
    except Exception as error:
        row["seconds"] = time.perf_counter() - start
        return row | {"status": f"{type(error).__name__}: {error}"}
    if maps is not None:
        _save_maps(maps, mock, product)
    return row


def _save_maps(path: Path, mock: Mock, product: Product) -> None:
    """Saves what the pictures show, in single precision."""
    truth, fit = mock.truth, product.image_maps
    arrays = {
        "data": mock.observation.image,
        "arcs": truth.arcs,
        "model": fit["MODEL"],
        "residual": fit["RESIDUAL"],
        "true_kappa": truth.kappa,
        "kappa": fit["KAPPA"],
        "true_source": true_source(mock, maps_of(product)),
        "source": product.source_maps["SOURCE"],
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    singles: dict[str, Any] = {key: np.asarray(value, np.float32) for key, value in arrays.items()}
    np.savez_compressed(path, **singles)


def _finite(row: Mapping[str, Any]) -> dict[str, Any]:
    """Replaces NaN and infinity, which JSON does not know, by null."""

    def known(value: Any) -> Any:
        if isinstance(value, Mapping):
            return _finite(value)
        return None if isinstance(value, float) and not math.isfinite(value) else value

    return {key: known(value) for key, value in row.items()}


def read_rows(folder: Path) -> list[dict[str, Any]]:
    """Reads all rows of an output folder, by seed. Lines that were cut off are left out."""
    rows = {}
    for path in sorted(folder.glob("results*.jsonl")):
        for line in path.read_text().splitlines():
            try:
                row = json.loads(line)
            except json.JSONDecodeError:
                continue
            rows[row["seed"]] = row
    return [rows[seed] for seed in sorted(rows)]


def _append(path: Path, row: Mapping[str, Any]) -> None:
    """Appends a row on a line of its own, even after a line that was cut off."""
    cut = path.exists() and path.stat().st_size > 0 and not path.read_bytes().endswith(b"\n")
    with path.open("a") as file:
        file.write(("\n" if cut else "") + json.dumps(_finite(row)) + "\n")


def _prepare(options: EvaluateOptions) -> Path:
    """Makes the output folder, or checks that what is there belongs to the same mocks.

    Raises:
        InputError: If the folder holds results of other mocks.
    """
    folder = Path(options.output)
    folder.mkdir(parents=True, exist_ok=True)
    settings = {"suite": options.suite, "galaxies": options.galaxies, "psfs": options.psfs}
    settings |= {"recipe": options.recipe, "stage": options.stage}
    # A model that cannot be loaded is told before the work, and one that is trained on is another.
    settings["model"] = "none" if options.stage == "macro" else load_machine(options.model).sha256
    settings |= {"version": __version__, "side": SIDE}
    path = folder / "settings.json"
    if path.exists() and (found := json.loads(path.read_text())) != settings:
        raise InputError(
            f"{path}: an output folder holds results of one kind of mocks, found {found},"
            f" asked for {settings}; choose another --output"
        )
    path.write_text(json.dumps(settings, indent=1) + "\n")
    return folder


def _whole_chain(options: EvaluateOptions) -> Reconstruct:
    from ..inference.reconstruct import ReconstructOptions, reconstruct

    chain = ReconstructOptions(model=options.model, stage=options.stage)

    def run_chain(observation: Observation, lens_light: bool) -> Any:
        light = "auto" if lens_light else "none"
        return reconstruct(observation, replace(chain, lens_light=light))

    return run_chain


def _ingredients(options: EvaluateOptions) -> dict[str, Any]:
    """Returns what mocks are made of: galaxies, PSFs, and the recipe's share of haloes."""
    if options.recipe is not None:
        data = read_recipe(options.recipe).data
        galaxies, names, psfs = data.read("test")
        haloes, projections = data.read_haloes("test")
        masses = {"haloes": haloes, "projections": projections}
        masses |= {"prior": SystemPrior(halo_share=data.halo_share)} if data.halo_share else {}
        return {"galaxies": galaxies, "names": names, "psfs": psfs, **masses}
    galaxies = open_galaxies(options.galaxies) if options.galaxies else None
    psfs = read_psf_stamps(options.psfs) if options.psfs else None
    return {"galaxies": galaxies, "psfs": psfs}


def run(options: EvaluateOptions, reconstruct: Reconstruct | None = None) -> list[dict[str, Any]]:
    """Runs a suite, or what is left of it, and writes and prints the summary.

    Arguments:
        options: What to run.
        reconstruct: The method under test; the whole chain by default.

    Returns:
        The rows of all mocks that the output folder holds.

    Raises:
        InputError: If a folder cannot be used.
    """
    method = _whole_chain(options) if reconstruct is None else reconstruct
    folder = _prepare(options)
    ingredients = _ingredients(options)
    done = {row["seed"] for row in read_rows(folder)}
    todo = [seed for seed in options.seeds() if seed not in done]
    part = options.shard.replace("/", "of")
    with progress("mocks", total=len(todo), enabled=not options.quiet) as bar:
        for seed in todo:
            mock = make_mock(seed, shape=(SIDE, SIDE), **ingredients)
            row = evaluate_one(mock, seed, method, folder / "maps" / f"mock{seed:04d}.npz")
            _append(folder / f"results-{part}.jsonl", row)
            bar.update()
    rows = read_rows(folder)
    summary = summarise(rows)
    table = "\n\n".join(filter(None, [format_table(summary), format_stages(rows)]))
    (folder / "summary.txt").write_text(table + "\n")
    write_csv(summary, folder / "summary.csv")
    figure = worst_cases(rows, folder / "maps")
    if figure is not None:
        figure.savefig(folder / "worst.png", dpi=80)
    print(table)
    return rows
