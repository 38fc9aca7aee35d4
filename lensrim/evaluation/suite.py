"""The suites: many mock observations reconstructed, each compared with its truth.

Results are one line of JSON per mock and method, appended when it is done, so that a run can be
interrupted, resumed, or divided among processes (``shard``). The summary is made of whatever lines
the output folder holds.

An output folder holds ``settings.json``, ``results*.jsonl`` (one file per shard), ``maps/`` (the
maps of each mock, for the pictures), ``summary.txt``, ``summary.csv`` and ``worst.png``; of the
standard mocks ``suite.png`` as well, and ``stages.csv``, ``coverage.csv`` and ``bars.csv``.
"""

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from .. import __version__
from .._weights import clear_leftovers, replacing
from ..errors import InputError
from ..inference.guess.starts import packaged_guesser
from ..inference.machine import load_machine
from ..inference.macro import NAMES
from ..io.observation import Observation
from ..io.product import Product
from ..progress import progress
from .comparison import compare, compare_all, compare_stages
from .known import Known
from .maps import maps_of
from .mass import structure
from .mocks import Mock, light_option
from .options import EvaluateOptions as EvaluateOptions
from .references import REFERENCES, Reference
from .report import GROUPS, STANDARD_GROUPS, format_table, summarise, worst_cases, write_csv
from .rows import CHAIN, append_row, read_rows, with_references, with_seconds
from .stages import format_stages
from .standard_report import write_standard
from .stated import stated_errors
from .suites import SIDE, SUITES

Reconstruct = Callable[[Observation, bool], Any]
"""Takes an observation and whether it holds lens light, as a user would say by ``--lens-light``;
what it returns has the product as ``.product``."""


def _facts(mock: Mock, seed: int) -> dict[str, Any]:
    """What a row says of the mock itself."""
    truth, system = mock.truth, mock.truth.system
    return {
        "seed": seed,
        "method": CHAIN,
        **mock.facts,
        "galaxy": system.galaxy.name,
        "psf": system.psf.kind,
        "psf_fwhm": system.psf.fwhm,
        "pixel_scale": system.pixel_scale,
        "macro_theta_E": truth.macro_theta_E,
        "theta_E": truth.theta_E,
        "gamma": truth.gamma,
        "pixels": int(mock.observation.mask.sum()),
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
        The row: facts of the mock, ``status`` (``"ok"`` or what went wrong), ``seconds`` on the
        clock and ``cpu`` of all cores, and, where all went well, the values of :func:`compare`,
        what the product says of the slope, the shear and its own quality, the ``stages`` of
        :func:`compare_stages` and what is ``stated`` of errors (:func:`stated_errors`).
    """
    row = _facts(mock, seed)
    start = _Clock()
    try:
        result = reconstruct(mock.observation, row["lens_light"])
        product = result.product
        row |= start.read()
        row |= {"macrote": float(product.header["MACROTE"][0])} | compare(mock, product)
        row |= _said(product) | {"stages": compare_stages(mock, result)}
        row |= {"stated": stated_errors(mock, product), "status": "ok"}
    # The suite counts failures of the method; whatever they are, the other mocks go on.
    except Exception as error:
        return start.read() | row | {"status": f"{type(error).__name__}: {error}"}
    if maps is not None:
        _save_maps(maps, mock, product)
    return row


def evaluate_reference(mock: Mock, seed: int, reference: Reference) -> dict[str, Any]:
    """Solves one mock by an outside method and makes its row; a failure becomes its status.

    Returns:
        The row: ``seed``, ``method``, ``status``, ``seconds``, ``cpu`` and, where all went well,
        the errors of :func:`lensrim.evaluation.comparison.compare_all` as ``errors``; the arcs of
        its ``chi2arc`` are the true ones. The times are those of its own work where it begins with
        an answer of the chain, which took ``start_seconds``.
    """
    row: dict[str, Any] = {"seed": seed, "method": reference.name}
    start = _Clock()
    try:
        solved = reference(mock.observation, mock.lit)
        row |= start.read() | dict(solved.timing)
        row["errors"] = compare_all(mock, solved.maps, solved.numbers(mock))
        row["status"] = "ok"
    except Exception as error:  # as above
        return start.read() | row | {"status": f"{type(error).__name__}: {error}"}
    return row


class _Clock:
    """Creates a clock of both kinds of time, which runs."""

    def __init__(self) -> None:
        self._began = time.perf_counter(), time.process_time()

    def read(self) -> dict[str, float]:
        """Returns the seconds since then, on the clock and of all cores."""
        clock, cpu = self._began
        return {"seconds": time.perf_counter() - clock, "cpu": time.process_time() - cpu}


def _said(product: Product) -> dict[str, Any]:
    """What a product says of itself; nothing of what it does not say."""
    row: dict[str, Any] = {}
    for name, key in {"slope": "SLOPE", "quality": "QUALITY", "score": "QSCORE"}.items():
        if (value := product.value(key)) is not None:
            row[name] = value
    row["stage_seconds"] = {
        name: stage["seconds"] for name, stage in product.stages.items() if "seconds" in stage
    }
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
        "true_source": Known.of(mock).source_on(maps_of(product)),
        "source": product.source_maps["SOURCE"],
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    singles: dict[str, Any] = {key: np.asarray(value, np.float32) for key, value in arrays.items()}
    np.savez_compressed(path, **singles)


def _prepare(options: EvaluateOptions, digest: str) -> Path:
    """Makes the output folder, or checks that what is there belongs to the same mocks.

    Arguments:
        options: What to run.
        digest: Checksum of what the mocks are made of: a recipe may be changed in its place.

    Raises:
        InputError: If the folder holds results of other mocks.
    """
    folder = Path(options.output)
    folder.mkdir(parents=True, exist_ok=True)
    settings = {"suite": options.suite, "galaxies": options.galaxies, "psfs": options.psfs}
    settings |= {"recipe": options.recipe, "stage": options.stage, "split": options.split}
    # A model that cannot be loaded is told before the work, and one that is trained on is another.
    settings |= {"model": "none", "parameters": len(NAMES)}
    if options.stage != "macro":
        machine = load_machine(options.model)
        settings["model"] = machine.sha256
        settings["parameters"] = sum(p.numel() for p in machine.rim.parameters())
    if options.search != "full":
        settings["parameters"] += sum(p.numel() for p in packaged_guesser().parameters())
    settings |= {"version": __version__, "side": SIDE}
    settings |= {"refine": options.refine, "search": options.search}
    settings |= {"noise_length": options.noise_length, "made_of": digest}
    path = folder / "settings.json"
    # Folders of before there were refinements do not say that there was none, those of before a
    # network guessed not that all of the prior was searched, older ones not that noise was white.
    old = {"refine": "none", "search": "full", "noise_length": 0.0}
    found = old | _read_settings(path) if path.exists() else settings
    # Where galaxies, PSFs and recipes lie is told, but not what mocks are made of.
    compared = [key for key in settings | found if key not in ("galaxies", "psfs", "recipe")]
    other = [key for key in compared if found.get(key) != settings.get(key)]
    if other:
        there, asked = (
            ", ".join(f"{key} {each.get(key)}" for key in other) for each in (found, settings)
        )
        raise InputError(
            f"{path}: an output folder holds results of one kind of mocks, found {there},"
            f" asked for {asked}; choose another --output"
        )
    if not path.exists():  # another shard may read it meanwhile
        clear_leftovers(path)
        with replacing(path) as file:
            file.write((json.dumps(settings, indent=1) + "\n").encode())
    return folder


def _read_settings(path: Path) -> dict[str, Any]:
    try:
        return dict(json.loads(path.read_text(encoding="utf-8")))
    except (ValueError, TypeError) as error:
        raise InputError(
            f"{path}: must say what the results in its folder are of, as JSON, found {error}; "
            "choose another --output"
        ) from error


def _whole_chain(options: EvaluateOptions) -> Reconstruct:
    from ..inference.options import ReconstructOptions
    from ..inference.reconstruct import reconstruct

    chain = ReconstructOptions(
        model=options.model,
        stage=options.stage,
        refine=options.refine,
        search=options.search,
    )
    chain.check()  # else every mock would fail by what no mock can mend

    def run_chain(observation: Observation, lens_light: bool) -> Any:
        return reconstruct(observation, replace(chain, lens_light=light_option(lens_light)))

    return run_chain


def run(options: EvaluateOptions, reconstruct: Reconstruct | None = None) -> list[dict[str, Any]]:
    """Runs a suite, or what is left of it, and writes and prints the summary.

    Arguments:
        options: What to run.
        reconstruct: The method under test; the whole chain by default.

    Returns:
        The rows of all mocks that the output folder holds.

    Raises:
        InputError: If an option is impossible, or a folder cannot be used.
    """
    options.check()
    method = _whole_chain(options) if reconstruct is None else reconstruct
    suite = SUITES[options.suite](options)
    # once nothing else is wrong: the folder is of these mocks from then on
    folder = _prepare(options, suite.digest)
    part = options.shard.replace("/", "of")
    results = folder / f"results-{part}.jsonl"
    outside = [REFERENCES[name] for name in options.reference]
    done = {name: {row["seed"] for row in read_rows(folder, name)} for name in options.reference}
    done[CHAIN] = {row["seed"] for row in read_rows(folder)}
    todo = [seed for seed in options.seeds() if any(seed not in seeds for seeds in done.values())]
    with progress("mocks", total=len(todo), enabled=not options.quiet) as bar:
        for seed in todo:
            mock = suite.mock(seed)
            if seed not in done[CHAIN]:
                row = evaluate_one(mock, seed, method, folder / "maps" / f"mock{seed:04d}.npz")
                append_row(results, row | suite.facts(seed))
            for reference in outside:
                if seed not in done[reference.name]:
                    append_row(results, evaluate_reference(mock, seed, reference))
            bar.update()
    others = [read_rows(folder, name) for name in REFERENCES]
    rows = with_references(with_seconds(read_rows(folder)), others)
    _report(options, folder, rows)
    return rows


def _report(options: EvaluateOptions, folder: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Writes and prints what was found."""
    standard = options.suite == "standard"
    summary = summarise(rows, STANDARD_GROUPS if standard else GROUPS)
    if standard:
        settings = json.loads((folder / "settings.json").read_text())
        last = write_standard(rows, folder, parameters=settings["parameters"])
    else:
        last = format_stages(rows)
    parts = [format_table(summary), last]
    table = "\n\n".join(filter(None, parts))
    (folder / "summary.txt").write_text(table + "\n")
    write_csv(summary, folder / "summary.csv")
    figure = worst_cases(rows, folder / "maps")
    if figure is not None:
        figure.savefig(folder / "worst.png", dpi=80)
    print(table)
