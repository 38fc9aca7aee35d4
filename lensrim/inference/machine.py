"""A trained machine: its weights, what they are called, and for what they may be used."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import torch

from .. import zoo
from .._weight_files import sha256_of
from .._weights import read_weights
from ..errors import InputError
from ..rim.core import RIM
from ..rim.saving import mismatch
from ..training.table import from_table
from ..zoo.ranges import beyond
from .lens_config import LensConfig, build

SIDE = 64
VALID = {"side": (48.0, 96.0), "theta_E": (6.0, 22.0), "fwhm": (1.3, 4.1), "snr": (9.0, 300.0)}
"""Side of the frames, and ranges of a machine that does not say its own.

Side of the frame, Einstein radius and width of the PSF in pixels, and brightest pixel of the arcs
over the typical noise: those measured on the recipes' population, whose S/N of 10 to 200 is told
in the noise of the brightest pixel itself."""


@dataclass(frozen=True)
class Machine:
    """Holds a trained machine.

    Arguments:
        rim: The machine, ready for use.
        name: Name of its card, or of its file.
        sha256: Checksum of its file.
        config: Its description.
        valid: Ranges within which it may be used, by quantity.
    """

    rim: RIM
    name: str
    sha256: str
    config: LensConfig = LensConfig()
    valid: Mapping[str, tuple[float, float]] = field(default_factory=lambda: dict(VALID))

    def beyond(self, measured: Mapping[str, float]) -> list[str]:
        """Says which measured quantities are outside the ranges: a phrase for each."""
        return beyond(self.valid, measured)


def load_machine(model: str | os.PathLike[str] = zoo.DEFAULT) -> Machine:
    """Loads a machine.

    Arguments:
        model: File of weights that ``lensrim train`` wrote, or name of a packaged machine.

    Raises:
        InputError: If there is no such file or name, or the file holds no machine for lenses.
    """
    path, card = Path(model), None
    if not path.is_file():
        card = zoo.card(str(model))
        path = card.path
    tensors, header = read_weights(path)
    try:
        config = from_table(LensConfig, header["model"])
        if (different := mismatch(lambda: build(config), tensors)) is not None:
            raise ValueError(different)
        bad = next((name for name, t in tensors.items() if not t.isfinite().all()), None)
        if bad is not None:
            raise ValueError(f"{bad} must be finite, found NaN or infinity")
        rim = build(config)
        rim.load_state_dict(tensors)
        given = VALID | header.get("valid", {}) if card is None else card.valid
        valid = {key: (float(given[key][0]), float(given[key][1])) for key in VALID}
    except (KeyError, TypeError, ValueError, IndexError, RuntimeError, AttributeError) as error:
        reason = " ".join(str(error).split())[:200]
        raise InputError(
            f"{path}: must hold a machine for lenses of this version of lensrim ({reason}); give "
            "best.safetensors of a training, or what lensrim pack made of it"
        ) from error
    rim.eval().requires_grad_(False)
    return Machine(rim, card.name if card else path.stem, sha256_of(path), config, valid)


def device_of(rim: RIM) -> torch.device:
    """Returns where a machine's weights are."""
    return next(rim.parameters()).device
