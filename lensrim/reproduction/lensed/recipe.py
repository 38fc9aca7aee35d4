"""What the recipes of the papers on lenses have in common: designs, trainings, unseen lenses."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, Protocol, TypeVar, runtime_checkable

from torch import Tensor, nn

from ...evaluation.problems.problem import TRAINING, UNSEEN, VALIDATION
from ...training.config import TrainConfig
from ...training.feed import MadeOnce, to_device
from ..judged import kept
from ..paper import Setting
from ..training import Batch, Trainee
from .judging import Judged
from .lenses import Draws, Galaxies
from .machines import Ours, Published

R = TypeVar("R", bound="Recipe")

FULL = TrainConfig(
    steps=100_000,
    batch_size=32,
    parts=8,
    learning_rate=5e-4,
    warmup=1000,
    ema=0.999,
    validate_every=1000,
    checkpoint_every=500,
    workers=4,
)
"""How machines are trained at full scale; four processes draw the lenses of each that trains."""


@runtime_checkable
class Population(Protocol):
    """Lenses, and how they are observed."""

    @property
    def shape(self) -> int:
        """Pixels of a side of the image."""
        ...

    @property
    def pixel_scale(self) -> float:
        """Side of a pixel [arcsec]."""
        ...

    @property
    def theta_E(self) -> tuple[float, float]:
        """Range of the Einstein radius [arcsec]."""
        ...

    @property
    def galaxies(self) -> Galaxies:
        """Real galaxies, by the set they are from."""
        ...

    def draw(self, batch: int, seed: int, purpose: int, index: int, which: str = "train") -> Draws:
        """Draws so many lenses; the other arguments decide on them."""
        ...


@dataclass(frozen=True)
class Unseen:
    """Says on how many lenses all are judged, and in which parts, which may be shared out.

    Arguments:
        count: Lenses.
        drawn: Lenses of a draw, whose random numbers are those of its number.
        together: Lenses of a draw that are worked on at once, for which there must be memory.
    """

    count: int = 64
    drawn: int = 64
    together: int = 8

    @property
    def parts(self) -> list[tuple[int, int]]:
        """Of each part the number of its draw, and where in it the part begins."""
        return [
            (number, at)
            for number in range(-(-self.count // self.drawn))
            for at in range(0, self.size(number), self.together)
        ]

    def size(self, number: int) -> int:
        """Returns the lenses of a draw."""
        return min(self.drawn, self.count - number * self.drawn)

    def judged(
        self,
        population: Population,
        one: Callable[[Draws], Judged],
        sign: Mapping[str, Any],
        setting: Setting,
    ) -> list[Judged]:
        """Judges all, each process of the group its parts, or reads what it has kept of them.

        Arguments:
            population: What the lenses are drawn from.
            one: Judges a part, which is on the setting's device; returns what is on the CPU.
            sign: What decides on it beside the seed and the lenses: parts that were judged with
                another are judged anew.
            setting: The folder, the seed, the device and the group.

        Returns:
            What was made of each part, in all processes.
        """
        sign = {"unseen": str(self), "seed": setting.seed} | dict(sign)

        def draw(number: int) -> Draws:
            return population.draw(self.size(number), setting.seed, UNSEEN, number, "test")

        parts, draws = self.parts, MadeOnce(draw, -(-self.count // self.drawn))

        def judge(part: int) -> dict[str, Any]:
            number, at = parts[part]
            few = {name: v[at : at + self.together] for name, v in draws[number].items()}
            found = one(to_device(few, setting.device))
            setting.report(f"judged part {part + 1} of {len(parts)}")
            return found.plain()

        def found(part: int) -> Judged:
            path = setting.folder / "judged" / f"{part:05d}.pt"
            return Judged.of(kept(path, sign, partial(judge, part)))

        return setting.group.dealt(len(parts), found)


@dataclass(frozen=True)
class Recipe:
    """Holds what belongs to a scale of a recipe, beside the population.

    Arguments:
        published, ours: The designs.
        config: How each machine is trained.
        reading: How networks that read lenses are trained.
        unseen: Lenses on which all are judged.
    """

    published: Published
    ours: Ours
    config: TrainConfig
    reading: TrainConfig
    unseen: Unseen = field(default_factory=Unseen)

    def quickened(self: R, small: "Recipe") -> R:
        """Returns the recipe that only shows whether all works, with the machines of another."""
        unseen = replace(self.unseen, count=4, together=2)
        return replace(self, published=small.published, ours=small.ours, unseen=unseen)

    def told(self, population: Population, data: Path | None) -> dict[str, Any]:
        """Returns the numbers that are told of what differs from a paper."""
        low, high = population.theta_E
        return {
            "galaxies": f"those of {data}" if data else "clumpy synthetic galaxies",
            "shape": population.shape,
            "pixel": population.pixel_scale,
            "low": low,
            "high": high,
            "features": self.published.features,
            "hidden": self.published.hidden,
            "kernel": self.published.kernel,
            "steps": self.published.steps,
            "ours": self.ours.steps,
            "seen": f"{self.config.steps * self.config.batch_size:,}",
            "unseen": self.unseen.count,
        }


@dataclass(frozen=True)
class Batches:
    """Draws batches for a training, by their number, here or in a worker.

    Arguments:
        population: What they are drawn from.
        seed: Seed of the sequence.
    """

    population: Population
    seed: int

    def __call__(self, number: int, batch: int) -> Draws:
        return self.population.draw(batch, self.seed, TRAINING, number)

    def validation(self) -> Draws:
        """Draws the batch for validations."""
        return self.population.draw(32, self.seed, VALIDATION, 0, "validation")


def trainee(
    name: str,
    make: Callable[[], nn.Module],
    loss: Callable[[nn.Module, Batch], Tensor],
    config: TrainConfig,
    population: Population,
    setting: Setting,
    said: Mapping[str, Any],
) -> Trainee:
    """Describes the training of a machine, or of networks that read lenses.

    Arguments:
        name, make, loss, config: See :class:`~lensrim.reproduction.training.Trainee`.
        population: What its batches are drawn from.
        setting: How the paper is done.
        said: What else decides on its batches: the population and the machine, in words.
    """
    batches = Batches(population, setting.seed)
    galaxies = {"galaxies": str(setting.data) if setting.data else "clumpy"}
    return Trainee(name, make, batches, batches.validation, loss, config, {**galaxies, **said})
