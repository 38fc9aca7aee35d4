"""Where a descent starts: at the macro-model's answer, in the units of a machine."""

import time
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
import torch

from ...inference.answer import Answer
from ...inference.answer_sheet import sheeted, shrunk
from ...inference.apply import Begun, Square, batch_of, start_of
from ...inference.learnt import prepare, simulator_of
from ...inference.macro import MacroState
from ...inference.options import ReconstructOptions
from ...inference.reconstruct import reconstruct
from ...inference.scene import Scene
from ...inference.view import MassMaps
from ...io.observation import Observation
from ..maps import Maps
from ..mocks import light_option


@dataclass(frozen=True)
class Beginning:
    """Holds what the chain knows before a machine is applied.

    Arguments:
        scene: The observation.
        state: Its macro-model.
        macro: That one's own answer, whose lens light and sky are taken off the image.
        seconds: Time on the clock that it took.
    """

    scene: Scene
    state: MacroState
    macro: Answer
    seconds: float = 0.0

    @property
    def rest(self) -> np.ndarray:
        """Lens light and sky, with the observation's shape."""
        return self.macro.lens_light + self.macro.sky

    def begun(self, lens_light: bool) -> Begun:
        """Makes the start that a machine would have: all that it would be told, and no machine.

        Arguments:
            lens_light: Whether the image holds the light of the lens galaxy.
        """
        grid = self.scene.frame.grid
        square, batch = Square(grid.shape), batch_of(self.scene, self.macro, lens_light)
        start = start_of(batch, self.state, grid.spacing, square)
        prepared = prepare(batch, start)
        return Begun(square, grid.spacing, start, prepared, simulator_of(prepared))

    def settled(self, maps: Maps) -> Maps:
        """Gives maps that a descent has found the mass sheet that the chain's answers have."""
        scale, p = self.macro.sheet.scale, self.state.p[0, :8].cpu()
        mass = MassMaps(torch.from_numpy(maps.kappa), torch.from_numpy(np.stack(maps.alpha)))
        mass = sheeted(mass, scale, p, self.scene.frame.grid)
        return replace(
            maps,
            kappa=mass.kappa.numpy(),
            alpha=(mass.alpha[0].numpy(), mass.alpha[1].numpy()),
            source_grid=shrunk(maps.source_grid, scale, p),
        )


@lru_cache(maxsize=1)  # several methods begin with the same observation, one after the other
def begin_with_macro(observation: Observation, lens_light: bool) -> Beginning:
    """Finds the macro-model of an observation, as the chain does.

    Raises:
        ValueError: If the chain cuts the frame or bins it, so that maps would be of other pixels.
    """
    began = time.perf_counter()
    options = ReconstructOptions(lens_light=light_option(lens_light))
    found = reconstruct(observation, options)
    assert found.scene is not None and found.state is not None
    if found.scene.frame.grid != observation.grid:
        raise ValueError(
            f"the frame must stay as it is, {observation.grid}, found {found.scene.frame.grid}; "
            "give a frame that the chain neither cuts nor bins"
        )
    spent = time.perf_counter() - began
    return Beginning(found.scene, found.state, found.answers["macro"], spent)
