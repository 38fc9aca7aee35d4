"""What a product states of errors, and of what needs a posterior: cards, maps and samples."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from .answer import Answer
from .frame import Array
from .macro import MacroPrior, MacroState
from .samples import sample_maps
from .scene import Scene
from .symptoms import Symptoms
from .uncertainty import error_cards, uncertainty_of


@dataclass(frozen=True)
class Stated:
    """Holds what is stated; of a product without errors that is the slope alone.

    Arguments:
        slope: 3-D slope of the mass.
        cards: Keywords: magnification, flux and errors.
        image_maps, source_maps: Errors and samples, by the names of their extensions.
        samples: Samples of the numbers, and their units.
    """

    slope: float
    cards: Mapping[str, tuple[Any, str]] = field(default_factory=dict)
    image_maps: Mapping[str, Array] = field(default_factory=dict)
    source_maps: Mapping[str, Array] = field(default_factory=dict)
    samples: Mapping[str, tuple[Array, str]] = field(default_factory=dict)


def stated_of(
    scene: Scene,
    result: Answer,
    state: MacroState,
    prior: MacroPrior,
    symptoms: Symptoms,
    *,
    samples: int,
    seed: int,
    native: float,
) -> Stated:
    """Finds the posterior of an answer, and says what a product states of it.

    Arguments:
        scene: The observation.
        result: The answer.
        state, prior: Its macro-model, a single candidate, and the prior of it.
        symptoms: The answer's symptoms, by which its errors are widened.
        samples, seed: How many samples are kept, and the seed of them.
        native: Native pixels in a pixel of the image, in which fluxes are counted.
    """
    found = uncertainty_of(scene, result, state, prior, symptoms)
    numbers = found.posterior.numbers
    magnification = numbers["magnification"].value if "magnification" in numbers else math.nan
    drawn = sample_maps(found, samples, seed=seed, native=native)
    return Stated(
        slope=numbers["slope"].value,
        cards={
            "MAGTOT": (magnification, "lensed over source flux, where detected"),
            **error_cards(found, native=native),
        },
        image_maps={"KAPPA_STD": found.kappa_std, **drawn.image_maps},
        source_maps={"SOURCE_STD": found.source_std, **drawn.source_maps},
        samples=drawn.numbers,
    )
