"""The linear problem of a source on the pixels of a map, given what bends the rays.

Every mode of the source prior is drawn on the pixels and seen through the forward model, so that
mean and standard deviation follow from one exact linear-Gaussian posterior
(:mod:`~.inversion`).
"""

from dataclasses import dataclass, replace
from typing import Protocol, TypeVar, runtime_checkable

import torch
from torch import Tensor

from ..grid import PixelGrid
from .envelope import Envelope, climbed
from .inversion import Design, ImageData, Solution, assemble, solve
from .scene import Scene, image_data
from .source_modes import MODES, SourceModes
from .view import View

CLEAR = 2.0
"""By how much the log-evidence of finer pixels must be higher."""


@dataclass(frozen=True)
class SourceSystem:
    """Holds the linear-Gaussian problem of a source on pixels, and its posterior.

    Arguments:
        view: The source plane, and how it is seen.
        image: The image.
        basis: The source's modes on its pixels, with shape (K, n, n).
        seen: Their images, PSF-convolved, with shape (K, H, W).
        design: The normal equations.
        solution: The posterior.
        hyper: The source prior that was used, with shape (1, 4).
        modes: The source's modes.
    """

    view: View
    image: ImageData
    basis: Tensor
    seen: Tensor
    design: Design
    solution: Solution
    hyper: Tensor
    modes: SourceModes

    @classmethod
    def of(
        cls,
        scene: Scene,
        hyper: Tensor,
        view: View,
        count: int = MODES,
        envelope: Envelope | None = None,
    ) -> "SourceSystem":
        """Draws and images every mode up to an order, and solves under a source prior (1, 4), or
        with the strength and length of an envelope."""
        modes, image = SourceModes(count), image_data(scene, subsample=view.simulator.subsample)
        core, size = hyper[:, 2:].exp().flip(1).unbind(1)
        with torch.no_grad():
            basis = modes.on_pixels(view.grid, 1 / size, core)[0]
            if envelope is not None:
                basis = basis * torch.from_numpy(envelope.weight)
                own = hyper.new_tensor([[envelope.strength, envelope.length]])
                hyper = torch.cat([own, hyper[:, 2:]], 1)
            seen = view.see(basis)
            system = assemble(image, image.weighted(seen.reshape(1, len(seen), -1)))
            solution = solve(system, modes, hyper)
        return cls(view, image, basis, seen, system, solution, hyper, modes)

    @property
    def log_evidence(self) -> float:
        """Evidence, without its constant."""
        return float(self.solution.log_evidence[0])

    @property
    def source_grid(self) -> PixelGrid:
        """Pixels of the source map."""
        return replace(self.view.grid, center=self.view.center)

    @property
    def source(self) -> Tensor:
        """The source map, with shape (n, n)."""
        return torch.einsum("k,kij->ij", self.solution.mean[0, : len(self.basis)], self.basis)

    def climbed(self) -> "SourceSystem":
        """Lets strength and length of the source prior climb the evidence."""
        with torch.no_grad():
            hyper = climbed(self.design, self.modes, self.hyper)
            return replace(self, solution=solve(self.design, self.modes, hyper), hyper=hyper)


@runtime_checkable
class Likely(Protocol):
    """What has evidence, on the pixels of a source map."""

    @property
    def log_evidence(self) -> float: ...

    @property
    def source_grid(self) -> PixelGrid: ...


L = TypeVar("L", bound=Likely)


def preferred(found: L, *others: L) -> L:
    """Chooses by the evidence, which finer pixels must raise by ``CLEAR``."""
    for other in others:
        clear = CLEAR if other.source_grid.shape[0] > found.source_grid.shape[0] else 0.0
        if other.log_evidence > found.log_evidence + clear:
            found = other
    return found


def whitened(solution: Solution, basis: Tensor) -> Tensor:
    """Returns the whitened modes (K + Q, n, n) of a source with basis (K, n, n).

    The squares of what a standard normal vector makes of them average to the source's variance.
    """
    k, total = len(basis), solution.scale.shape[1]
    modes = basis.reshape(k, -1) * solution.scale[0, :k, None]
    padded = torch.cat([modes, modes.new_zeros(total - k, modes.shape[1])])
    half = torch.linalg.solve_triangular(solution.factor[0], padded, upper=False)
    return half.reshape(total, *basis.shape[1:])
