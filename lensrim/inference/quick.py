"""Many lenses at once: no search, and a machine.

For surveys. Three steps, of which the first and the last are of one lens and any process, and the
second is of a batch of lenses of one size, on a device:

1. :func:`look`: cut-out, lens light, arcs;
2. :func:`answers`: macro-models that climb together from what a network reads off the images
   (:mod:`lensrim.inference.amortised`), and what a machine makes of them;
3. :func:`finish`: the product, and what is thought of it.

The lens light is that of its first fit: its amplitudes are solved for together with the source,
but its shapes are not fitted again with the arcs, as they are in the chain. What comes of it is
judged by the chain's own symptoms, but for other minima, of which a climb knows none; what is not
good is for the chain. Errors are stated as the chain states them, by factors that were measured on
its answers.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from time import perf_counter

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from ..io.observation import Observation
from ..io.product import Product
from .amortised import amortised_start
from .answer import Answer, mass_maps_of
from .answer_sheet import settled, sheet_of
from .apply import Square, StateMaps, batch_without, measured
from .frame import Array
from .learning import Outcome
from .learnt import prepare, score_of, shown, simulator_of, start_state
from .machine import Machine
from .macro import MacroPrior, MacroState
from .options import ReconstructOptions
from .report import build_product
from .scene import Scene
from .sighting import scene_of
from .together import prior_of
from .view import Known, MassMaps, View, are_finite

STAGE = "rim"
"""The stage of such answers."""


@dataclass(frozen=True)
class Seen:
    """Holds what was seen of a lens before any fit of its mass.

    Arguments:
        observation: As it is fitted.
        scene: The same, with lens light, arcs and noise.
        prior: Prior of the macro-model.
        batch: The form of the training pairs, of one lens, as arrays.
        notes: What was decided, a line each.
    """

    observation: Observation
    scene: Scene
    prior: MacroPrior
    batch: Mapping[str, np.ndarray]
    notes: tuple[str, ...]

    @property
    def square(self) -> Square:
        """How the frame lies in the machine's."""
        return Square(self.scene.frame.grid.shape)

    @property
    def spacing(self) -> float:
        """Side of a pixel [arcsec]."""
        return self.scene.frame.grid.spacing


class NoAnswer(RuntimeError):
    """A machine's numbers are none."""


@dataclass(frozen=True)
class Found:
    """Holds what was found of a lens, on its frame, as arrays that other processes are sent.

    Arguments:
        kappa, alpha: What bends the rays: see :class:`~.view.MassMaps`.
        source, fov, center: The source: see :class:`~.view.Known`.
        p, hyper: The macro-model that the machine began with [arcsec], and its source prior: see
            :class:`~.macro.MacroState`.
        effective: Effective number of linear parameters of what it began with.
        change: Change of the amplitudes of lens light and sky: see
            :meth:`~.scene.Scene.lights`.
    """

    kappa: Array
    alpha: Array
    source: Array
    fov: float
    center: tuple[float, float]
    p: Array
    hyper: Array
    effective: float
    change: Array

    @classmethod
    def of(
        cls, maps: MassMaps, known: Known, state: MacroState, effective: float, change: Array
    ) -> "Found":
        """Takes the arrays of a lens out of those of its batch."""
        return cls(
            kappa=maps.kappa.numpy().copy(),
            alpha=maps.alpha.numpy().copy(),
            source=known.source.numpy().copy(),
            fov=known.fov,
            center=known.center,
            p=state.p.numpy(),
            hyper=state.hyper.numpy(),
            effective=effective,
            change=change,
        )

    @property
    def maps(self) -> MassMaps:
        """What bends the rays."""
        return MassMaps(torch.from_numpy(self.kappa), torch.from_numpy(self.alpha))

    @property
    def known(self) -> Known:
        """The source."""
        return Known(torch.from_numpy(self.source), self.fov, self.center)

    @property
    def state(self) -> MacroState:
        """The macro-model; its evidence was not kept."""
        p, hyper = torch.from_numpy(self.p), torch.from_numpy(self.hyper)
        return MacroState(p, hyper, p.new_full((1,), torch.nan), p.new_zeros(1))


def look(observation: Observation, options: ReconstructOptions) -> Seen:
    """Cuts a lens out, and finds its light, sky and arcs.

    Raises:
        InputError: If the observation or an option cannot be used.
    """
    has_light = options.lens_light != "none"
    fitted, scene, notes = scene_of(observation, options)
    batch = batch_without(scene, scene.light.image, scene.light.sky, has_light)
    arrays = {name: value.numpy() for name, value in batch.items()}
    square = Square(scene.frame.grid.shape)
    arrays["templates"] = torch.cat([square.pad(t, 0.0) for t in scene.templates], 1).numpy()
    return Seen(fitted, scene, prior_of(scene, has_light), arrays, (*fitted.notes, *notes))


def unfit(machine: Machine, seen: Seen) -> list[str]:
    """Says what a machine is not valid for, as far as no fit is needed to see it."""
    batch = {name: torch.from_numpy(value) for name, value in seen.batch.items()}
    inside = torch.tensor([[machine.valid["theta_E"][0] * seen.spacing]]).log()
    return machine.beyond(measured(batch, inside, seen.spacing))


def answers(machine: Machine, seen: Sequence[Seen]) -> list[Found]:
    """Answers to lenses whose frames have one longer side, where the machine is.

    Arguments:
        machine: The machine.
        seen: The lenses.
    """
    device = next(machine.rim.parameters()).device
    batch = joined([each.batch for each in seen], device)
    centers = [np.asarray(s.prior.center) / s.spacing - np.asarray(s.square.offset) for s in seen]
    widths = [s.prior.center_width / s.spacing for s in seen]
    start, state = amortised_start(
        batch,
        torch.from_numpy(np.stack(centers)).to(device),
        torch.tensor(widths, dtype=torch.float64, device=device),
    )
    assert start.effective is not None and start.amplitudes is not None
    light = torch.einsum("bq,bqhw->bhw", start.amplitudes, batch["templates"].double())
    batch["image"] = batch["image"] - light[:, None].float()
    prepared = shown(prepare(batch, start), machine.config)
    simulator = simulator_of(prepared)
    last = machine.rim.predict(
        prepared["observation"],
        score_of(prepared, simulator),
        start_state(prepared),
        prepared["conditioning"],
    )
    maps, state = StateMaps.of(prepared, simulator, last), state.to(torch.device("cpu"))
    effective, changes = start.effective.tolist(), start.amplitudes.cpu().numpy()
    return [
        Found.of(
            *maps.at(i, each.square, each.spacing),
            in_arcsec(state.select([i]), each.square, each.spacing),
            effective[i],
            changes[i, : each.batch["templates"].shape[1]],
        )
        for i, each in enumerate(seen)
    ]


def quick_answer(
    machine: Machine, observation: Observation, options: ReconstructOptions
) -> tuple[Product, tuple[str, ...], tuple[str, ...]]:
    """Does all three steps of one lens.

    Returns:
        What :func:`finish` returns, and what was decided on the way, a line each.

    Raises:
        InputError: If the observation or an option cannot be used.
    """
    begun = perf_counter()
    seen = look(observation, options)
    product, reasons = finish(seen, answers(machine, [seen])[0], machine, options)
    return with_seconds(product, perf_counter() - begun), reasons, seen.notes


def with_seconds(product: Product, seconds: float) -> Product:
    """Adds the time that a product took."""
    card = (round(seconds, 2), "[s] wall time, less reading and writing")
    return replace(product, header={**product.header, "SECONDS": card})


def joined(batches: Sequence[Mapping[str, np.ndarray]], device: torch.device) -> dict[str, Tensor]:
    """Puts batches of one behind each other, their PSFs on stamps of one size.

    Those of fewer templates have empty ones besides.
    """
    side = max(max(each["psf"].shape[-2:]) for each in batches)
    joined = {}
    for name in batches[0]:
        parts = [torch.from_numpy(each[name]) for each in batches]
        if name == "templates":
            most = max(p.shape[1] for p in parts)
            parts = [F.pad(p, (0, 0, 0, 0, 0, most - p.shape[1])) for p in parts]
        if name == "psf":
            margins = [((side - p.shape[-2]) // 2, (side - p.shape[-1]) // 2) for p in parts]
            parts = [F.pad(p, (x, x, y, y)) for p, (y, x) in zip(parts, margins, strict=True)]
        joined[name] = torch.cat(parts).to(device)
    return joined


def in_arcsec(state: MacroState, square: Square, spacing: float) -> MacroState:
    """Puts a macro-model of a machine's square [pixel] back on the sky [arcsec]."""
    p, hyper = state.p.clone(), state.hyper.clone()
    p[:, 0] += float(np.log(spacing))
    p[:, 3:5] = (p[:, 3:5] + torch.tensor(square.offset, dtype=p.dtype)) * spacing
    hyper[:, 2] += float(np.log(spacing))
    return replace(state, p=p, hyper=hyper)


def finish(
    seen: Seen, found: Found, machine: Machine, options: ReconstructOptions
) -> tuple[Product, tuple[str, ...]]:
    """Makes the product of a lens.

    Arguments:
        seen, found: The lens.
        machine: The machine.
        options: As they were for :func:`look`.

    Returns:
        The product, without its seconds, and why the chain should do the lens instead, a line
        each: none for a good answer.

    Raises:
        NoAnswer: If the machine has none.
    """
    if not are_finite(found.maps, found.known):
        raise NoAnswer("the machine gives no finite answer")
    scene, grid, state = seen.scene, seen.scene.frame.grid, found.state
    batch = {name: torch.from_numpy(value) for name, value in seen.batch.items()}
    reasons = machine.beyond(measured(batch, state.p, seen.spacing))
    macro = mass_maps_of(scene, state)
    sheet = sheet_of(macro, state.p[0], grid, options.mass_sheet)
    made = settled(scene, {STAGE: _answer(seen, found)}, macro, sheet, state.p[0])
    settings = (f"{k} = {v}" for k, v in asdict(options).items() if v is not None)
    product = build_product(
        seen.observation,
        scene,
        seen.prior,
        state,
        Outcome(made, STAGE),
        machine,
        notes=seen.notes,
        settings=(*seen.observation.options, *settings),
        redshifts=(options.z_lens, options.z_source, options.cosmology),
        errors=options.errors,
    )
    if product.value("QUALITY") != "good":
        reasons.append(f"the answer is {product.value('QUALITY')}: {product.value('QREASONS')}")
    return product, tuple(reasons)


def _answer(seen: Seen, found: Found) -> Answer:
    """Sees the source through the mass."""
    scene, maps, known = seen.scene, found.maps, found.known
    view = View.of(scene, maps, known.fov, known.center)
    with torch.no_grad():
        arcs = view.see(known.source[None])[0]
    lens_light, sky = scene.lights(found.change)
    return Answer(
        kappa=maps.kappa.numpy(),
        alpha_x=maps.alpha[0].numpy(),
        alpha_y=maps.alpha[1].numpy(),
        gamma=(float(view.gamma[0]), float(view.gamma[1])),
        source=known.source.numpy(),
        source_std=np.full(tuple(known.source.shape), np.nan),
        source_grid=replace(view.grid, center=view.center),
        arcs=arcs.numpy(),
        lens_light=lens_light,
        sky=sky,
        log_evidence=float("nan"),
        effective=found.effective,
        source_prior=tuple(found.hyper[0].tolist()),
    )
