"""What is changed in each training, and how large trainings are."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from ...inference.data_config import DataConfig
from ...inference.lens_config import AUX, LensConfig
from ...inference.objective import LossConfig
from ...inference.recipe import Recipe, ValidationConfig
from ...rim.unroll import Unroll
from ...training.config import TrainConfig

CHOSEN = "chosen"
"""Name of the variant that is as packaged machines are."""


@dataclass(frozen=True)
class Variant:
    """Describes one change.

    Arguments:
        says: What is changed.
        model: Settings of :class:`~lensrim.inference.lens_config.LensConfig` that differ.
        loss: The loss.
        unroll: How the steps are computed.
    """

    says: str
    model: Mapping[str, Any] = field(default_factory=dict)
    loss: LossConfig = LossConfig()
    unroll: Unroll = Unroll()

    def applied(self, base: Recipe) -> Recipe:
        """Returns the recipe with the change."""
        model = replace(base.model, **self.model)
        return replace(base, model=model, loss=self.loss, unroll=self.unroll)


def _without(*names: str) -> tuple[str, ...]:
    return tuple(name for name in AUX if name not in names)


VARIANTS = {
    CHOSEN: Variant("as packaged machines are made"),
    "normalised": Variant("score normalised alone", {"encodings": ("normalized",)}),
    "arcsinh": Variant("score compressed alone", {"encodings": ("arcsinh",)}),
    "adam": Variant("score as Adam's direction alone", {"encodings": ("adam",)}),
    "no-residual": Variant("neither residual nor model", {"aux": _without("residual", "model")}),
    "no-pull": Variant("no score of the rays' places", {"aux": _without("pull")}),
    "no-newton": Variant(
        "no information, no Newton step", {"aux": _without("information", "newton")}
    ),
    "score-only": Variant("nothing beside the score", {"aux": ()}),
    "no-conditioning": Variant("not told of noise and PSF", {"conditioning": False}),
    "plain-start": Variant("no macro-model to begin with", {"start": "plain"}),
    "root-kappa": Variant("errors of kappa by its root", loss=LossConfig(kappa="root")),
    "even-kappa": Variant("errors of kappa evenly", loss=LossConfig(kappa="even")),
    "last-misfit": Variant("D of the last step alone", loss=LossConfig(every=False)),
    "through-score": Variant(
        "back-propagation through the score", unroll=Unroll(through_score=True)
    ),
    "one-step": Variant("T = 1", {"steps": 1}),
    "two-steps": Variant("T = 2", {"steps": 2}),
    "eight-steps": Variant("T = 8", {"steps": 8}),
    "feed-forward": Variant("no score at all, T = 1", {"steps": 1, "encodings": (), "aux": ()}),
    "narrow": Variant("half the channels", {"widths": "half"}),
    "wide": Variant("twice the channels", {"widths": "twice"}),
}
"""Variants, by name. Widths are relative to those of the scale."""


@dataclass(frozen=True)
class Scale:
    """Describes how large machines, lenses and trainings are.

    Arguments:
        data: Settings of the lenses.
        model, train, validation: As in a recipe.
    """

    data: Mapping[str, Any]
    model: LensConfig
    train: TrainConfig
    validation: ValidationConfig

    def recipe(self, stock: Path, galaxies: str | None) -> Recipe:
        """Returns the recipe that is varied, whose lenses are kept in ``stock``."""
        data = DataConfig(stock=str(stock), galaxies=galaxies, **self.data)
        return Recipe(data, self.model, self.train, self.validation)


SCALES = {
    "small": Scale(
        data={"shape": 48, "stocked": 60, "reuse": 4},
        model=LensConfig(steps=4, widths=(16, 32, 48), lift=8, embedding=32),
        train=TrainConfig(
            steps=240,
            batch_size=16,
            learning_rate=2e-3,
            warmup=20,
            ema=0.98,
            validate_every=60,
            checkpoint_every=60,
        ),
        validation=ValidationConfig(batches=4, batch_size=32),
    ),
    "full": Scale(
        data={"shape": 64, "stocked": 400, "reuse": 5},
        model=LensConfig(steps=6, widths=(64, 128, 192), lift=32),
        train=TrainConfig(
            steps=850,
            batch_size=256,
            learning_rate=1.5e-3,
            warmup=80,
            ema=0.995,
            validate_every=100,
            checkpoint_every=100,
            workers=16,
            ahead=5,
        ),
        validation=ValidationConfig(batches=1, batch_size=96),
    ),
}
"""``small``: minutes on one core. ``full``: that of the machine ``second``, 8 minutes of an H100
with 16 cores beside it, for each variant."""


def varied(name: str, base: Recipe, seed: int) -> Recipe:
    """Returns the recipe of a variant.

    Arguments:
        name: Its name.
        base: The recipe that is varied.
        seed: Seed of its weights and of its steps; its lenses are those of the base.
    """
    variant, factor = VARIANTS[name], {"half": 0.5, "twice": 2.0}
    settings = dict(variant.model)
    if settings.get("widths") in factor:
        scale = factor[settings["widths"]]
        settings["widths"] = tuple(round(scale * width) for width in base.model.widths)
    recipe = replace(variant, model=settings).applied(base)
    return replace(recipe, train=replace(recipe.train, seed=seed))
