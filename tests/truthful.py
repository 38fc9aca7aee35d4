"""Answers that know the truth of a small mock, and methods that give them."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import numpy as np

from lensrim.evaluation.mocks import Mock, make_mock
from lensrim.grid import PixelGrid
from lensrim.io.observation import Observation
from lensrim.io.product import Product

SIDE = 40
SHIFT = (0.1, -0.05)


@cache
def small(seed: int) -> Mock:
    """A mock that takes little time."""
    return make_mock(seed, shape=(SIDE, SIDE), oversample=3)


@dataclass(frozen=True)
class Stage:
    """The maps of a stage, as a chain holds them."""

    arcs: np.ndarray
    kappa: np.ndarray
    alpha_x: np.ndarray
    alpha_y: np.ndarray
    source: np.ndarray
    source_grid: PixelGrid


@dataclass(frozen=True)
class Answer:
    """What a method returns."""

    product: Product
    answers: dict[str, Stage] | None = None


def perfect(mock: Mock, *, scale: float = 1.0) -> Product:
    """The truth as a product, in another gauge of the deflection, its Einstein radius scaled."""
    truth, observation = mock.truth, mock.observation
    place, spacing = truth.system.placement, observation.pixel_scale / 2
    grid = PixelGrid((30, 30), spacing, (place.center_x - SHIFT[0], place.center_y - SHIFT[1]))
    absolute = PixelGrid((30, 30), spacing, (place.center_x, place.center_y))
    residual = (observation.image - truth.lens_light - truth.arcs) / observation.sigma
    numbers = {
        "MACROTE": truth.macro_theta_E * scale,
        "THETAE": truth.theta_E,
        "CHI2NU": float(np.mean(residual**2)),
        "CHI2ARC": float(np.mean(residual[truth.arc_mask] ** 2)),
        "PEFF": 0.0,
    }
    return Product(
        name=observation.name,
        header={key: (value, "") for key, value in numbers.items()},
        image_maps={
            "MODEL": truth.arcs,
            "RESIDUAL": residual,
            "KAPPA": truth.kappa,
            "ALPHA_X": truth.alpha_x + SHIFT[0],
            "ALPHA_Y": truth.alpha_y + SHIFT[1],
        },
        source_maps={"SOURCE": truth.source.on_grid(absolute)},
        psf=observation.psf,
        image_grid=observation.grid,
        source_grid=grid,
    )


@dataclass
class Method:
    """A method that knows the truth, and fails or errs where it is told to."""

    fails: tuple[int, ...] = ()
    errs: tuple[int, ...] = ()
    mock: Callable[[int], Mock] = small
    calls: int = 0

    def __call__(self, observation: Observation, lens_light: bool) -> Answer:
        assert lens_light == (self.mock(int(observation.name[-4:])).truth.lens_light.max() > 0)
        self.calls += 1
        seed = int(observation.name[-4:])
        if seed in self.fails:
            raise FloatingPointError("diverged")
        scale = 0.5 if seed in self.errs else 1.0
        return Answer(perfect(self.mock(seed), scale=scale))
