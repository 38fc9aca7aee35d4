r"""What a few numbers of a macro-model cannot say of the mass: perturbations with a prior.

The convergence is that of an answer, :math:`\kappa_0`, changed by

.. math::
    \frac{\delta\kappa}{\kappa_0} = \sum_{m=0}^{M} \sum_j h_j(r) \left( a_{mj} \cos m\varphi
    + b_{mj} \sin m\varphi \right) \, ,

in polar coordinates about the macro-model's centre, with :math:`\varphi` from its major axis and
:math:`r` in Einstein radii. The :math:`h_j` are raised cosines in :math:`\ln r` that add up to one
between the first and the last node; the first fades out inward, the last stays one outward. The
deflection follows from the maps by the padded FFT (:mod:`lensrim.lensing.convergence`).

Coefficients of different :math:`m`, and cosines and sines, are independent Gaussians with mean
zero; those of one :math:`m` have a covariance :math:`C_m` among the nodes. It was measured on what
the true masses of mock observations have besides the macro-models that are most like them
(:mod:`lensrim.evaluation.perturbations`): what no answer of a macro-model can have. For the
answers of a machine there is another one, of what those lack. Of what an image does not tell, it
is this prior and the macro-model's that hold it; the mass sheet has one of
its own (:mod:`~.mass_sheet`), though on the arcs alone the rings can do a little of the same. The
coefficients are used in units of their prior: :math:`a_m = L_m \xi_m` with
:math:`C_m = L_m L_m^T` and :math:`\xi \sim \mathcal{N}(0, 1)`.

Not guaranteed: that :math:`\kappa` stays positive; at the sizes of the prior it does.
"""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from importlib import resources
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from ..errors import InputError
from ..grid import PixelGrid
from ..lensing.convergence import KappaToAlpha
from .frame import Array
from .view import MassMaps, macro_maps

MACRO = 8
"""Parameters of the macro-model, which come before the perturbation's."""


@dataclass(frozen=True)
class PerturbationPrior:
    """Holds the prior of the perturbation.

    Arguments:
        nodes: Radii of the nodes [Einstein radius], in a geometric series.
        covariances: By ``m``, from 0: of the cosine's coefficients and of the sine's, each with
            shape (J, J); there is no sine of order 0. An order may have none: it is left out.

    Raises:
        InputError: If a covariance is not square, of the nodes' number and positive.
    """

    nodes: tuple[float, ...]
    covariances: tuple[tuple[Array, ...], ...]

    def __post_init__(self) -> None:
        for m, pair in enumerate(self.covariances):
            if len(pair) not in ((0, 2) if m else (0, 1)):
                raise InputError(
                    f"covariances: order {m} must have {'2 or 0' if m else '1 or 0'}, found "
                    f"{len(pair)}; make the file anew"
                )
            for each in pair:
                shape = (len(self.nodes), len(self.nodes))
                if each.shape != shape or not np.linalg.eigvalsh(each)[0] > 0:
                    raise InputError(
                        f"covariances: each must be positive with shape {shape}, found shape "
                        f"{each.shape} at order {m}; make the file anew"
                    )

    @property
    def count(self) -> int:
        """Number of coefficients."""
        return len(self.nodes) * sum(len(pair) for pair in self.covariances)

    def functions(self, x: Tensor, y: Tensor) -> Tensor:
        """Evaluates what multiplies the coefficients, in units of the prior.

        Arguments:
            x, y: Positions along the major and the minor axis [Einstein radius], shape (*).

        Returns:
            The functions, with shape (P, *); order by order, cosines before sines.
        """
        radius, angle = torch.hypot(x, y), torch.atan2(y, x)
        radial = self._radial(radius)
        found = []
        for m, pair in enumerate(self.covariances):
            for turn, covariance in zip((torch.cos, torch.sin), pair, strict=False):
                root = torch.from_numpy(np.linalg.cholesky(covariance)).to(x)
                found.append(torch.einsum("jk,j...->k...", root, radial) * turn(m * angle))
        return torch.cat(found)

    def without_rings(self) -> "PerturbationPrior":
        """Returns the prior of the orders from 1: the mean of every ring stays as it is."""
        return replace(self, covariances=((), *self.covariances[1:]))

    def changes(self, p: Tensor, grid: PixelGrid, n: int, generator: torch.Generator) -> Tensor:
        """Draws changes of log10 kappa on a grid, about a macro-model p (8): (n, 1, H, W)."""
        functions = self.functions(*along_axes(grid, p))
        xi = torch.randn(n, len(functions), generator=generator, dtype=functions.dtype)
        change = torch.einsum("np,pij->nij", xi, functions)
        return (1 + change).clamp(min=0.1).log10()[:, None]

    def _radial(self, radius: Tensor) -> Tensor:
        """Raised cosines in the logarithm of the radius, with shape (J, *)."""
        nodes = torch.tensor(self.nodes, dtype=radius.dtype).log()
        step = (nodes[-1] - nodes[0]) / (len(nodes) - 1)
        place = (radius.clamp(min=1e-9).log() - nodes[0]) / step
        place = place.clamp(max=len(nodes) - 1.0)
        offset = place - torch.arange(len(nodes)).reshape(-1, *[1] * radius.ndim)
        return torch.where(offset.abs() < 1, (1 + torch.cos(math.pi * offset)) / 2, 0.0)


def read_prior(text: str) -> PerturbationPrior:
    """Reads a prior from JSON: what :func:`write_prior` made.

    Raises:
        InputError: If the text is not that of a prior.
    """
    try:
        held = json.loads(text)
        covariances = tuple(
            tuple(np.array(each, dtype=np.float64) for each in pair)
            for pair in held["covariances"]
        )
        return PerturbationPrior(tuple(map(float, held["nodes"])), covariances)
    except (json.JSONDecodeError, KeyError, TypeError, ValueError) as error:
        raise InputError(
            f"prior: must be JSON with nodes and covariances, found {error}; make it anew"
        ) from error


def write_prior(prior: PerturbationPrior, card: Mapping[str, Any]) -> str:
    """Writes a prior as JSON, with what is said of it (``card``: any names but the prior's)."""
    covariances = [
        [[[float(f"{v:.4g}") for v in row] for row in each] for each in pair]
        for pair in prior.covariances
    ]
    return json.dumps({**card, "nodes": list(prior.nodes), "covariances": covariances}) + "\n"


def packaged_prior(of: Literal["masses", "answers"] = "masses") -> PerturbationPrior:
    """Returns a prior of the package.

    Arguments:
        of: Of what true masses have besides macro-models, or besides the answers of the packaged
            machine.
    """
    name = "perturbations.json" if of == "masses" else "perturbations_of_answers.json"
    file = resources.files("lensrim.inference") / name
    return read_prior(file.read_text(encoding="utf-8"))


@dataclass(frozen=True)
class Perturbations:
    r"""Holds what each coefficient, in units of its prior, adds to a mass.

    Arguments:
        kappa: Convergence on the pixels, with shape (P, H, W).
        alpha: Deflection at the pixels' centres [arcsec], with shape (P, 2, H, W).
        rays: Deflection at the rays [arcsec], with shape (k², H·W, 2, P).
    """

    kappa: Tensor
    alpha: Tensor
    rays: Tensor

    @classmethod
    def of(
        cls,
        prior: PerturbationPrior,
        kappa: Tensor,
        p: Tensor,
        grid: PixelGrid,
        *,
        subsample: int = 2,
    ) -> "Perturbations":
        """Puts the perturbations of a convergence on its pixels.

        Arguments:
            prior: The prior, which gives the functions.
            kappa: What is changed, with shape (H, W).
            p: Parameters of the macro-model that gives centre, axis and radius, with shape (8).
            grid: The pixels.
            subsample: Rays along each side of a pixel.
        """
        x, y = along_axes(grid, p)
        maps = prior.functions(x, y) * kappa
        alpha = KappaToAlpha(grid, dtype=torch.float64).maps(maps[:, None])
        return cls(maps, alpha, at_rays(alpha, grid, subsample))

    def scaled(self, factor: float) -> "Perturbations":
        """Returns those of a prior that is wider by a factor."""
        return Perturbations(self.kappa * factor, self.alpha * factor, self.rays * factor)

    def by_effect(self, weight: Tensor, least: float) -> tuple["Perturbations", int]:
        """Turns the coefficients, which leaves their prior as it is, by what they do to the arcs.

        Arguments:
            weight: Square roots of the weights of the arcs' pixels, with sum of squares 1, (H·W).
            least: Variance of the arcs' deflection [arcsec²], below which one does nothing.

        Returns:
            The perturbations in the order of their effect, and how many do something.
        """
        rays = self.rays.mean(0) * weight[:, None, None]
        rays = rays - weight[:, None, None] * (weight[:, None, None] * rays).sum(0)
        rays = rays.reshape(-1, len(self))
        values, turn = torch.linalg.eigh(rays.T @ rays)
        turn = turn.flip(-1)
        kappa = torch.einsum("pij,pq->qij", self.kappa, turn)
        alpha = torch.einsum("pcij,pq->qcij", self.alpha, turn)
        return Perturbations(kappa, alpha, self.rays @ turn), int((values > least).sum())

    def first(self, count: int) -> "Perturbations":
        """Returns the first of them."""
        return Perturbations(self.kappa[:count], self.alpha[:count], self.rays[..., :count])

    def __len__(self) -> int:
        return len(self.kappa)


def at_rays(alpha: Tensor, grid: PixelGrid, subsample: int) -> Tensor:
    """Interpolates deflections (P, 2, H, W) at the rays of a macro-model: (k², H·W, 2, P)."""
    (h, w), k = grid.shape, subsample
    operator = KappaToAlpha(grid, subsample=k, dtype=torch.float64)
    rays = operator.interpolate(alpha).reshape(-1, 2, h, k, w, k)
    return rays.permute(3, 5, 2, 4, 1, 0).reshape(k * k, h * w, 2, -1).contiguous()


def along_axes(grid: PixelGrid, p: Tensor) -> tuple[Tensor, Tensor]:
    """Returns the pixels' positions along a macro-model's axes, p (8) [Einstein radius]."""
    log_theta, e1, e2, cx, cy = p[:5].unbind(0)
    x, y = (c - m for c, m in zip(grid.coordinates(dtype=p.dtype), (cx, cy), strict=True))
    angle, unit = torch.atan2(e2, e1) / 2, torch.exp(-log_theta)
    cos, sin = torch.cos(angle) * unit, torch.sin(angle) * unit
    return cos * x + sin * y, cos * y - sin * x


@dataclass(frozen=True)
class PerturbedMass:
    r"""Holds a macro-model, and perturbations of it.

    Arguments:
        parameters: Those of both, :math:`(p, \xi)`, with shape (8 + P).
        grid: Pixels of the maps.
        perturbations: What the coefficients add; ``None`` for a macro-model alone (P = 0).
        offset: What is added to the macro-model: that of an answer which is none.
    """

    parameters: Tensor
    grid: PixelGrid
    perturbations: Perturbations | None = None
    offset: MassMaps | None = None

    @property
    def maps(self) -> MassMaps:
        """The mass on the pixels."""
        maps = macro_maps(self.parameters[:MACRO], self.grid)
        kappa, alpha = maps.kappa, maps.alpha
        if self.offset is not None:
            kappa, alpha = kappa + self.offset.kappa, alpha + self.offset.alpha
        if self.perturbations is not None:
            xi = self.parameters[MACRO:]
            kappa = kappa + torch.einsum("p,pij->ij", xi, self.perturbations.kappa)
            alpha = alpha + torch.einsum("p,pcij->cij", xi, self.perturbations.alpha)
        return MassMaps(kappa, alpha)
