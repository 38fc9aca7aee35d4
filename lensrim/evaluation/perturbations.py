r"""How far lenses are from macro-models: the prior of the refinement, measured on mocks.

``python -m lensrim.evaluation.perturbations --output FOLDER`` measures the standard validation
mocks one by one, keeps what it has in the folder, so that it can be interrupted and resumed, and
writes the prior as ``perturbations.json``; the packaged one is
``lensrim/inference/perturbations.json``. With ``--of answers`` it measures what true masses have
besides the answers of the packaged machine, which are the start of a refinement after it:
``lensrim/inference/perturbations_of_answers.json``.

A refinement leaves the macro-model's own parameters free, so its prior is that of what no macro-
model explains. To the true convergence of a mock the nearest macro-model is fitted, by the
relative error :math:`e = \kappa / \kappa_p - 1` between ``INNER`` and ``OUTER`` Einstein radii,
each ring weighted alike; that of an answer is taken without a mass sheet, as it is when it is
refined, and any sheet is taken out of its error, too. What is left, :math:`e_\perp`, is

.. math:: e_\perp = B_\perp c + \eta \, , \qquad c \sim \mathcal{N}(0, C / u) \, ,

with the functions :math:`B` of :mod:`lensrim.inference.perturbation`, both without what
derivatives of :math:`\kappa_p` explain, white :math:`\eta` of ``NOISE``, and a scale :math:`u` of
each lens, :math:`\chi^2`-distributed with ``FREEDOM`` degrees, so that single lenses with much
structure do not decide (a multivariate t distribution); that of the median lens is 1. :math:`C`
follows by expectation maximisation. Its blocks are one for every order, of the cosine and of the
sine; each is drawn toward its own diagonal as ``PSEUDO`` more lenses would, and what a macro-model
can do is taken out of it: a factor and a slope in order 0, a shift in order 1, an ellipticity in
order 2.
"""

import json
import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any, Literal
from zipfile import BadZipFile

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from .. import __version__
from .._command_line import parsed, shared_out
from .._weights import replacing
from ..errors import InputError, status_of
from ..grid import PixelGrid
from ..inference.macro import mass_model
from ..inference.options import ReconstructOptions
from ..inference.perturbation import PerturbationPrior, along_axes, write_prior
from ..inference.reconstruct import reconstruct
from ..lensing.mass import pixel_average
from ..progress import progress
from ..zoo import DEFAULT, cards
from .mocks import Mock, light_option
from .standard import standard_mock

Array = NDArray[np.float64]

INNER, OUTER = 0.3, 2.5
NOISE = 0.012
FREEDOM = 6.0
PSEUDO = 4
LEAST = 0.002
"""Standard deviation that every coefficient has at least."""

FREE = (0, 1, 2, 3, 4, 7)
"""Parameters of the macro-model that change the convergence."""

NODES = tuple(0.3 * 1.5**j for j in range(6))
ORDERS = 6


@dataclass(frozen=True)
class Measured:
    """Holds what one lens says of the coefficients.

    Arguments:
        gram: :math:`B_\\perp B_\\perp^T`, with shape (P, P), and ...
        moment: ... :math:`B_\\perp e_\\perp`, with shape (P), of weights with mean square 1.
        rms: Root of the mean square of :math:`e_\\perp`.
    """

    gram: Array
    moment: Array
    rms: float


def unit_prior(nodes: Sequence[float] = NODES, orders: int = ORDERS) -> PerturbationPrior:
    """Returns the prior with variances of 1, whose functions are the bare ones."""
    eye = np.eye(len(nodes))
    return PerturbationPrior(tuple(nodes), ((eye,), *((eye, eye) for _ in range(orders))))


def first_guess(mock: Mock) -> Tensor:
    """Returns the parameters of a mock's ellipsoid in pixels, with shape (8)."""
    lens = mock.truth.system.in_pixels().lens
    host = lens.ellipsoid
    flat = (1 - host.q) / (1 + host.q)
    e1, e2 = flat * math.cos(2 * host.phi), flat * math.sin(2 * host.phi)
    p = [math.log(host.theta_E), e1, e2, host.center_x, host.center_y]
    return torch.tensor([*p, lens.gamma1, lens.gamma2, host.gamma], dtype=torch.float64)


def measure(kappa: Array, guess: Tensor, *, steps: int = 3) -> Measured:
    """Measures what no macro-model explains of a convergence.

    Arguments:
        kappa: True convergence, with shape (H, W).
        guess: Parameters in pixels to begin with, with shape (8).
        steps: Gauss-Newton steps of the macro-model.
    """
    grid = PixelGrid((kappa.shape[0], kappa.shape[1]), 1.0)
    p, truth = guess.clone(), torch.from_numpy(kappa)
    for step in range(steps + 1):
        region, weight = _rings(p, grid)
        error = (truth / _log_kappa(p, grid).exp() - 1)[region] * weight
        slopes = _slopes(p, grid)[:, region] * weight
        if step < steps:
            p[list(FREE)] += torch.linalg.lstsq(slopes.T, error).solution.clamp(-0.15, 0.15)
    return _left(error, slopes, _weighted_functions(p, grid, region, weight))


def measure_answer(kappa: Array, answer: Array, p: Tensor, grid: PixelGrid) -> Measured:
    """Measures what an answer lacks of a convergence, but for what a macro-model or a mass sheet
    explains.

    Arguments:
        kappa: True convergence, with shape (H, W).
        answer: That of the answer, without its own mass sheet, with shape (H, W).
        p: Parameters of its macro-model, with shape (8).
        grid: The pixels.
    """
    region, weight = _rings(p, grid)
    given = torch.from_numpy(answer)
    error = (torch.from_numpy(kappa) / given - 1)[region] * weight
    # a change of the macro-model is added to the answer, whose convergence is another
    macro = _log_kappa(p, grid).exp() / given
    sheet = (1 - given) / given
    slopes = torch.cat([_slopes(p, grid) * macro, sheet[None]])[:, region] * weight
    return _left(error, slopes, _weighted_functions(p, grid, region, weight))


def _slopes(p: Tensor, grid: PixelGrid) -> Tensor:
    """Derivatives of ln kappa by the free parameters, with shape (F, H, W)."""
    logarithm = _log_kappa(p, grid)
    moved = p.expand(len(FREE), -1).clone()
    moved[range(len(FREE)), list(FREE)] += 1e-4
    return torch.stack([(_log_kappa(q, grid) - logarithm) / 1e-4 for q in moved])


def _rings(p: Tensor, grid: PixelGrid) -> tuple[Tensor, Tensor]:
    """The pixels that are measured, and their weights, which are alike for every ring."""
    radius = torch.hypot(*along_axes(grid, p))
    region = (radius > INNER) & (radius < OUTER)
    weight = 1 / radius[region]
    return region, weight / weight.square().mean().sqrt()


def _weighted_functions(p: Tensor, grid: PixelGrid, region: Tensor, weight: Tensor) -> Tensor:
    return unit_prior().functions(*along_axes(grid, p))[:, region] * weight


def _left(error: Tensor, slopes: Tensor, functions: Tensor) -> Measured:
    """Takes what the slopes explain out of an error and of the functions."""
    explained, _ = torch.linalg.qr(slopes.T)
    error = error - explained @ (explained.T @ error)
    functions = functions - (functions @ explained) @ explained.T
    return Measured(
        (functions @ functions.T).numpy(),
        (functions @ error).numpy(),
        float(error.square().mean().sqrt()),
    )


def _log_kappa(p: Tensor, grid: PixelGrid) -> Tensor:
    return pixel_average(mass_model(p), grid).log()


def fit(measured: Sequence[Measured], *, rounds: int = 30) -> PerturbationPrior:
    """Fits the prior to lenses."""
    bare = unit_prior()
    n, blocks = len(bare.nodes), [m for m, pair in enumerate(bare.covariances) for _ in pair]
    keep = [_beyond_macro(m, np.array(bare.nodes)) for m in blocks]
    found = [0.015**2 * np.eye(n) for _ in blocks]
    scales = [1.0]
    for _ in range(rounds):
        total, scales = [np.zeros((n, n)) for _ in blocks], []
        inverse = _block_diagonal([np.linalg.inv(each) for each in found])
        for lens in measured:
            scale = 1.0
            for _ in range(2):
                spread = np.linalg.inv(lens.gram / NOISE**2 + scale * inverse)
                mean = spread @ lens.moment / NOISE**2
                square = mean @ inverse @ mean + np.sum(spread * inverse)
                scale = (FREEDOM + len(mean)) / (FREEDOM + square)
            scales.append(scale)
            second = scale * (np.outer(mean, mean) + spread)
            for k, each in enumerate(total):
                each += second[k * n : (k + 1) * n, k * n : (k + 1) * n]
        count = len(measured)
        for k, each in enumerate(total):
            own = (each + PSEUDO / count * np.diag(np.diag(each))) / (count + PSEUDO)
            found[k] = keep[k] @ own @ keep[k] + LEAST**2 * np.eye(n)
    # a scale of its own for every lens leaves that of all undetermined: the median's is 1
    found = [each / np.median(scales) for each in found]
    orders = range(len(bare.covariances))
    pairs = ([c for c, m in zip(found, blocks, strict=True) if m == order] for order in orders)
    return PerturbationPrior(bare.nodes, tuple(tuple(pair) for pair in pairs))


def _beyond_macro(m: int, nodes: Array) -> Array:
    """Projects on what a macro-model cannot do, among the coefficients of an order."""
    one = np.ones_like(nodes)
    able = {0: [one, np.log(nodes)], 1: [1 / nodes], 2: [one]}.get(m)
    if able is None:
        return np.eye(len(nodes))
    basis, _ = np.linalg.qr(np.array(able).T)
    return np.eye(len(nodes)) - basis @ basis.T


def _block_diagonal(blocks: Sequence[NDArray[Any]]) -> Array:
    n = len(blocks[0])
    out = np.zeros((n * len(blocks), n * len(blocks)))
    for k, each in enumerate(blocks):
        out[k * n : (k + 1) * n, k * n : (k + 1) * n] = each
    return out


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
    own = shared_out(options.first, options.n, options.shard)
    for path in paths.values():  # what cannot be used is told before the work
        if path.exists():
            _read(path, _by(options.of))
    todo = [i for i in own if not paths[i].exists()]
    with progress("mocks", total=len(todo)) as bar:
        for number in todo:
            lens = KINDS[options.of](standard_mock(number, split="validation")) or REFUSED
            with replacing(paths[number]) as file:
                np.savez(
                    file, gram=lens.gram, moment=lens.moment, rms=lens.rms, by=_by(options.of)
                )
            bar.update()
    held = [_read(path, _by(options.of)) for path in paths.values() if path.exists()]
    lenses = [each for each in held if each.moment.size]
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
    run(parsed(PriorOptions, args=sys.argv[1:] if args is None else args))


if __name__ == "__main__":
    sys.exit(status_of(main))
