"""A trained machine applied to a scene: from the macro-model's answer to maps of its own.

The machine works in pixels, in units of the arcs' peak, and on square frames; here the scene is
put into them, and what it returns is put back.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch

from ..datasets.arcs import arc_weights, signal_to_noise
from ..lensing.convergence import KappaToAlpha
from ..lensing.likelihood import rays_of
from ..lensing.mass import Shear
from ..lensing.psf import measure_fwhm, native_kernel
from ..lensing.simulator import Simulator
from .answer import Answer
from .batch_problem import coarse_problem, first_state, problem_of
from .frame import Array
from .learnt import prepare, score_of, setting_of, shown, simulator_of, start_state
from .machine import Machine, device_of
from .macro import MacroPrior, MacroState
from .scene import Scene
from .start import TRAINED_SLOPE, TRAINED_WIDTH, Start, answer_of
from .view import Known, MassMaps


@dataclass(frozen=True)
class Square:
    """Holds how a frame lies in a square.

    Arguments:
        shape: Shape of the frame (H, W).
    """

    shape: tuple[int, int]

    @property
    def side(self) -> int:
        """Side of the square [pixels]."""
        return max(self.shape)

    @property
    def corner(self) -> tuple[int, int]:
        """Row and column of the frame's first pixel."""
        h, w = self.shape
        return (self.side - h) // 2, (self.side - w) // 2

    @property
    def offset(self) -> tuple[float, float]:
        """Middle of the square from that of the frame, x and y [pixel]."""
        (h, w), (row, column) = self.shape, self.corner
        return (self.side - w) / 2 - column, (self.side - h) / 2 - row

    def pad(self, values: Array, fill: float) -> torch.Tensor:
        """Puts a map into the square: (1, 1, side, side), single precision."""
        out = np.full((self.side, self.side), fill, dtype=np.float32)
        (h, w), (row, column) = self.shape, self.corner
        out[row : row + h, column : column + w] = values
        return torch.from_numpy(out)[None, None]

    def cut(self, maps: torch.Tensor) -> torch.Tensor:
        """Takes the frame out of maps of the square (..., side, side)."""
        (h, w), (row, column) = self.shape, self.corner
        return maps[..., row : row + h, column : column + w]


def batch_of(scene: Scene, result: Answer, has_light: bool) -> dict[str, torch.Tensor]:
    """Puts a scene into the form of the training pairs, less lens light and sky of an answer."""
    return batch_without(scene, result.lens_light, result.sky, has_light)


def batch_without(
    scene: Scene, lens_light: Array, sky: float, has_light: bool
) -> dict[str, torch.Tensor]:
    """Puts a scene into the form of the training pairs, less lens light (H, W) and sky."""
    frame, square = scene.frame, Square(scene.frame.grid.shape)
    image = np.where(frame.mask, frame.image - lens_light - sky, 0.0)
    typical = float(np.median(scene.sigma[frame.mask]))
    sigma = np.where(frame.mask, scene.sigma, typical)
    psf = torch.as_tensor(frame.psf, dtype=torch.float64)
    psf = native_kernel(psf, 1, psf_kind=frame.psf_kind)[None].float()
    image, mask = square.pad(image, 0.0), square.pad(frame.mask.astype(float), 0.0)
    sigma = square.pad(sigma, typical)
    fwhm, lit = torch.tensor([measure_fwhm(psf[0])]), torch.tensor([float(has_light)])
    center = torch.tensor([scene.light.center]) / frame.grid.spacing
    center = center - torch.tensor([square.offset])
    arc, amplitude = arc_weights(
        image, sigma, mask, psf, center=center.float(), hole=1.5 * fwhm * lit
    )
    return {
        "image": image,
        "sigma": sigma,
        "mask": mask,
        "psf": psf,
        "fwhm": fwhm,
        "lit": lit,
        "arc": arc,
        "amplitude": amplitude,
    }


def measured(batch: dict[str, torch.Tensor], p: torch.Tensor, spacing: float) -> dict[str, float]:
    """Measures what decides whether a machine may be used: the quantities of its ranges."""
    return {
        "side": float(batch["image"].shape[-1]),
        "theta_E": float(p[0, 0].exp()) / spacing,
        "fwhm": float(batch["fwhm"]),
        "snr": float(signal_to_noise(batch)),
    }


def start_of(
    batch: dict[str, torch.Tensor], state: MacroState, spacing: float, square: Square
) -> Start:
    """Makes the start from a macro-model [arcsec], as those of the training were made.

    The source prior is found anew, as there: with that of the search, whose core was found with
    more modes, the machine's source was 3.7 +- 0.9 per cent further off (rms, mean of 96
    validation mocks, 2026-11-27).
    """
    p = state.p.cpu().clone()
    p[:, 0] -= float(np.log(spacing))
    p[:, 3:5] = p[:, 3:5] / spacing - torch.tensor(square.offset, dtype=p.dtype)
    prior = MacroPrior(
        (0.0, 0.0), 1.0, (1.0, 100.0), slope=TRAINED_SLOPE, slope_width=TRAINED_WIDTH
    )
    coarse, problem = coarse_problem(batch, prior), problem_of(batch, prior)
    begun = first_state(p, batch, coarse)
    for _ in range(2):
        begun = coarse.tune(begun, rounds=5)
    return answer_of(problem, problem.tune(begun, rounds=5), batch)


def apply(
    machine: Machine,
    scene: Scene,
    batch: dict[str, torch.Tensor],
    state: MacroState,
    *,
    steps: int | None = None,
) -> tuple[MassMaps, Known]:
    """Runs a machine on a scene.

    Arguments:
        machine: The machine.
        scene: The observation.
        batch: The same in the machine's form, of :func:`batch_of`.
        state: Its macro-model.
        steps: Steps of the machine, those of its training by default.

    Returns:
        What bends the rays, and the source.
    """
    begun = Begun.of(machine, scene, batch, state)
    last = machine.rim.predict(
        begun.prepared["observation"],
        score_of(begun.prepared, begun.simulator),
        start_state(begun.prepared),
        begun.prepared["conditioning"],
        steps=steps,
    )
    return begun.maps_of(last)


@dataclass(frozen=True)
class Begun:
    """Holds a scene in the units of a machine, and the way back.

    Arguments:
        square: How the frame lies in the machine's.
        spacing: Side of a pixel [arcsec].
        start: Where the machine starts.
        prepared: The batch of one that it sees.
        simulator: Its forward model.
    """

    square: Square
    spacing: float
    start: Start
    prepared: dict[str, torch.Tensor]
    simulator: Simulator

    @classmethod
    def of(
        cls, machine: Machine, scene: Scene, batch: dict[str, torch.Tensor], state: MacroState
    ) -> "Begun":
        """Makes the start from a macro-model, and prepares all for a machine, on its device."""
        square, spacing = Square(scene.frame.grid.shape), scene.frame.grid.spacing
        start = start_of(batch, state, spacing, square)
        prepared = shown(prepare(batch, start), machine.config)
        prepared = {k: v.to(device_of(machine.rim)) for k, v in prepared.items()}
        return cls(square, spacing, start, prepared, simulator_of(prepared))

    def maps_of(self, state: Mapping[str, torch.Tensor]) -> tuple[MassMaps, Known]:
        """Puts a state of the machine back: what bends the rays, and the source."""
        maps = StateMaps.of(self.prepared, self.simulator, state)
        return maps.at(0, self.square, self.spacing)


@dataclass(frozen=True)
class StateMaps:
    """Holds what states of a machine say of B lenses, in pixels, on the host.

    Arguments:
        kappa, alpha: Convergence (B, H, W), and the whole deflection (B, 2, H, W) [pixel].
        source: Sources, with shape (B, n, n), in the unit of the data.
        fov: Sides of their maps [pixel], with shape (B).
        center: Middles of their maps [pixel], with shape (B, 2).
    """

    kappa: torch.Tensor
    alpha: torch.Tensor
    source: torch.Tensor
    fov: torch.Tensor
    center: torch.Tensor

    @classmethod
    def of(
        cls,
        prepared: Mapping[str, torch.Tensor],
        simulator: Simulator,
        state: Mapping[str, torch.Tensor],
    ) -> "StateMaps":
        """Makes the maps where the machine is, in double precision."""
        _, center = rays_of(simulator, state, setting_of(prepared))
        assert center is not None
        last = {name: value.double() for name, value in state.items()}
        fov, unit = prepared["fov"].double(), prepared["amplitude"].double()
        grid, device = simulator.image_grid, fov.device
        kappa = (last["log_kappa"] * np.log(10)).exp()
        alpha = KappaToAlpha(grid, dtype=torch.float64, device=device).maps(kappa)
        x, y = grid.coordinates(dtype=torch.float64, device=device)
        tide = Shear(*last["shear"].unbind(1)).deflection(x, y)
        alpha = alpha + torch.stack(tide, 1) + prepared["beyond"].double()
        return cls(
            kappa[:, 0].cpu(),
            alpha.cpu(),
            (last["source"][:, 0] * unit[:, None, None]).cpu(),
            fov.cpu(),
            (center.double() * fov[:, None]).cpu(),
        )

    def at(self, index: int, square: Square, spacing: float) -> tuple[MassMaps, Known]:
        """Puts a lens back on its frame: what bends the rays, and the source."""
        x, y = (self.center[index] + torch.tensor(square.offset)).tolist()
        return (
            MassMaps(square.cut(self.kappa[index]), spacing * square.cut(self.alpha[index])),
            Known(
                source=self.source[index],
                fov=float(self.fov[index]) * spacing,
                center=(x * spacing, y * spacing),
            ),
        )
