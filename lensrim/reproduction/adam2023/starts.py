"""Starts of lenses that are judged: a macro-model that is searched, with no look at the truth."""

from collections.abc import Mapping
from dataclasses import replace

import torch
from torch import Tensor

from ...grid import PixelGrid
from ...inference.apply import Square, start_of
from ...inference.frame import Frame
from ...inference.framing import observe
from ...inference.search import search
from ...inference.together import prior_of
from .systems import Draws, prepared


def searched(
    raw: Mapping[str, Tensor], *, seed: int, device: torch.device = torch.device("cpu")
) -> Draws:
    """Prepares a raw lens, a batch of one, with the start that the package's search finds.

    Arguments:
        raw: From :meth:`~.systems.Systems.raw`.
        seed: Seed of the search.
        device: Where to search; what is returned is on the CPU.

    Raises:
        InputError: If the search finds no arcs; the message says why.
    """
    n = raw["image"].shape[-1]
    frame = Frame(
        raw["image"][0, 0].double().numpy(),
        raw["sigma"][0, 0].double().numpy(),
        raw["mask"][0, 0].numpy() > 0,
        PixelGrid((n, n), 1.0),
        raw["psf"][0].double().numpy(),
        "effective",
        float(raw["fwhm"]),
    )
    scene = replace(observe(frame, lens_light=False), device=device)
    _, state = search(scene, prior_of(scene, has_light=False), seed=seed)
    return prepared(raw, start_of(dict(raw), state.select([0]), 1.0, Square((n, n))))


def together(lenses: list[Draws]) -> Draws:
    """Puts lenses into one batch."""
    return {name: torch.cat([lens[name] for lens in lenses]) for name in lenses[0]}
