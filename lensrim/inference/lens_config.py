"""What a machine for lenses is made of: its fields, what it sees, and its network."""

from dataclasses import dataclass

from ..errors import InputError
from ..rim.core import RIM, sizes
from ..rim.fields import Field
from ..rim.links import Log10
from ..rim.networks import UNet
from ..rim.preconditioning import Adam, Arcsinh, Normalized, Preconditioner, RMSProp
from ..rim.unroll import Unroll

FIELDS = {
    "source": Field(1, 2, spread=1.0, step=0.05),
    "log_kappa": Field(1, 2, spread=0.5, step=0.03, link=Log10()),
    "shear": Field(2, 0, spread=0.05, step=0.01),
}
"""The state; steps are the typical errors of a macro-model's answer."""

ENCODINGS: dict[str, Preconditioner] = {
    "normalized": Normalized(),
    "arcsinh": Arcsinh(0.01),
    "adam": Adam(),
    "rmsprop": RMSProp(),
}
"""Encodings of the score, by the names that a recipe calls them."""

AUX = {"residual": 1, "model": 1, "pull": 2, "information": 1, "newton": 1}

OBSERVATION = 4
"""Channels that do not change: image, log of its signal over noise, mask, arcs."""

CONDITIONING = 5
"""Numbers that describe an observation: see :func:`~.learnt.describe`."""

STARTS = ("macro", "plain")

LEVELS, STEPS = 16, 1000
"""Most levels and steps of a machine: none that could be trained has more."""


@dataclass(frozen=True)
class LensConfig:
    """Describes a machine for lenses; it is stored with its weights.

    Arguments:
        steps: Steps it is trained with.
        widths: Channels of the levels of its U-Net.
        lift: Channels at full size.
        embedding: Length of the embedded vectors.
        encodings: Encodings of the score that it sees, names of ``ENCODINGS``. Without any,
            without ``aux`` and with one step it is a feed-forward network.
        aux: Maps beside the score that it sees, names of ``AUX``.
        conditioning: Whether it is told of noise, PSF and Einstein radius
            (:func:`~.learnt.describe`).
        start: Whether it begins with the ``macro`` model's answer, or ``plain``: no source, no
            shear, and the same convergence everywhere. Frames and the deflection of what is beyond
            them are the macro-model's either way.
    """

    steps: int = 6
    widths: tuple[int, ...] = (32, 64, 96)
    lift: int = 16
    embedding: int = 64
    encodings: tuple[str, ...] = ("normalized", "arcsinh")
    aux: tuple[str, ...] = tuple(AUX)
    conditioning: bool = True
    start: str = "macro"

    def __post_init__(self):
        numbers = (self.steps, *self.widths, self.lift, self.embedding)
        if not self.widths or not all(isinstance(n, int) and n >= 1 for n in numbers):
            raise InputError(
                "steps, widths, lift and embedding must be whole numbers, 1 or more, found "
                f"{self.steps}, {self.widths}, {self.lift} and {self.embedding}"
            )
        if len(self.widths) > LEVELS or self.steps > STEPS:
            raise InputError(
                f"widths must be {LEVELS} or fewer and steps {STEPS} or fewer, found "
                f"{len(self.widths)} and {self.steps}"
            )
        for name, known in (("encodings", ENCODINGS), ("aux", AUX)):
            found = getattr(self, name)
            if unknown := [each for each in found if each not in known]:
                raise InputError(
                    f"{name}: must be of {', '.join(known)}, found {unknown[0]!r}; change it"
                )
            if len(set(found)) < len(found):
                raise InputError(f"{name}: must not name one twice, found {', '.join(found)}")
        if self.start not in STARTS:
            raise InputError(
                f"start: must be of {', '.join(STARTS)}, found {self.start!r}; change it"
            )


def build(config: LensConfig, unroll: Unroll = Unroll()) -> RIM:
    """Creates an untrained machine, which computes its steps as ``unroll`` says."""
    aux = {name: AUX[name] for name in config.aux}
    encodings = tuple(ENCODINGS[name] for name in config.encodings)
    shape = sizes(
        FIELDS,
        encodings=len(encodings),
        observation=OBSERVATION,
        aux=aux,
        conditioning=CONDITIONING,
    )
    network = UNet(2, **shape, widths=config.widths, lift=config.lift, embedding=config.embedding)
    return RIM(
        network,
        FIELDS,
        steps=config.steps,
        precondition=encodings,
        observation=OBSERVATION,
        aux=aux,
        conditioning=CONDITIONING,
        unroll=unroll,
    )
