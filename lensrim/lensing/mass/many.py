r"""Thousands of components of one kind, such as subhalos, as one mass model of bounded memory.

Values are summed over chunks of components, and the backward pass computes each chunk anew instead
of keeping it: neither needs more memory than a chunk does, however many there are. The price is
one more evaluation in the backward pass.
"""

from collections.abc import Callable
from dataclasses import dataclass, fields, is_dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor

from ..operation import Operation, carried_along
from .base import Mass

CHUNK = 1 << 16
"""Pairs of a component and a position that are held in memory at once."""

COMPILE_OPTIONS = {
    "realize_reads_threshold": 1 << 20,
    "realize_opcount_threshold": 1 << 20,
    "realize_acc_reads_threshold": 1 << 20,
}
"""Options of ``torch.compile`` (inductor) by which values are computed anew rather than kept."""

Evaluate = Callable[..., tuple[Tensor, ...]]


class _ChunkedSum(Operation):
    """Sums a function of coordinates and parameters over chunks of the last dimension of these."""

    @staticmethod
    def forward(
        evaluate: Evaluate, per: int, x: Tensor, y: Tensor, *parameters: Tensor
    ) -> tuple[Tensor, ...]:
        total: tuple[Tensor, ...] = ()
        for chunk in _chunks(per, parameters):
            part = evaluate(x, y, *chunk)
            total = tuple(a + b for a, b in zip(total, part, strict=True)) if total else part
        return total

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple, output: tuple[Tensor, ...]) -> None:
        ctx.evaluate, ctx.per, *tensors = inputs
        ctx.save_for_backward(*tensors)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        x, y, *parameters = ctx.saved_tensors
        to_rays = any(ctx.needs_input_grad[2:4])
        rays: list[Tensor] = []
        joined: list[Tensor] = []
        for chunk in _chunks(ctx.per, parameters):
            inputs = (x, y, *chunk) if to_rays else chunk
            evaluate = ctx.evaluate if to_rays else partial(ctx.evaluate, x, y)
            # torch.func, so that this can be differentiated and batched in its turn
            pull = torch.func.vjp(evaluate, *inputs)[1]
            found = pull(grads, retain_graph=False)
            if to_rays:
                new, found = found[:2], found[2:]
                rays = [a + b for a, b in zip(rays, new, strict=True)] if rays else list(new)
            # Joined at once: small tensors kept between the large ones would fragment the heap.
            if joined:
                found = [torch.cat(g, -1) for g in zip(joined, found, strict=True)]
            joined = list(found)
        return None, None, *(rays or (None, None)), *joined


def _chunks(per: int, parameters: Any):
    """Yields the parameters of ``per`` components at a time; once, if there are none."""
    for i in range(0, max(parameters[0].shape[-1], 1), per):
        yield [p[..., i : i + per] for p in parameters]


@dataclass(frozen=True)
class Many:
    """Creates the sum of n components of one kind.

    Compiled (``torch.compile``), it keeps four values of every pair of a component and a position,
    unless the compiler is told otherwise by ``options=COMPILE_OPTIONS``.

    Differentiable any number of times, and under ``torch.func``; only values, their first
    derivatives backwards, and derivatives in forward mode, of which no gradient is taken in its
    turn, have bounded memory.

    Arguments:
        mass: A mass model, such as :class:`TNFW`, whose parameters are tensors with shape
            :math:`(*, n)`, shared ones too if they broadcast to it, or numbers.
        chunk: Pairs of a component and a position that are computed at once: in float32 each
            takes about a kilobyte in the backward pass of :class:`TNFW`. More are faster on a GPU;
            what ``torch.func.vmap`` adds is not counted.

    Raises:
        ValueError: If no parameter of the model is a tensor with a dimension of components.
    """

    mass: Mass
    chunk: int = CHUNK

    def __post_init__(self) -> None:
        if not any(p.ndim for p in self._parameters().values()):
            raise ValueError(
                "one of the parameters must be a tensor with shape (*, n), n components; got "
                f"{type(self.mass).__name__} without any: sum single models by Sum"
            )

    def _parameters(self) -> dict[str, Tensor]:
        if not is_dataclass(self.mass):
            return {}
        values = {f.name: getattr(self.mass, f.name) for f in fields(self.mass)}
        return {name: v for name, v in values.items() if isinstance(v, Tensor)}

    def _sum(self, method: str, x: Tensor, y: Tensor) -> tuple[Tensor, ...]:
        parameters = self._parameters()
        names, tensors = tuple(parameters), torch.broadcast_tensors(*parameters.values())
        batch = torch.broadcast_shapes(x.shape[:-2], tensors[0].shape[:-1]).numel()
        per = max(1, self.chunk // max(1, batch * x.shape[-2] * x.shape[-1]))
        numbers = {f.name: getattr(self.mass, f.name) for f in fields(self.mass)}  # type: ignore

        def evaluate(x: Tensor, y: Tensor, *chunk: Tensor) -> tuple[Tensor, ...]:
            mass = type(self.mass)(**{**numbers, **dict(zip(names, chunk, strict=True))})
            out = getattr(mass, method)(x, y)
            return tuple(m.sum(-3) for m in (out if isinstance(out, tuple) else (out,)))

        # The compiler cannot trace the chunks. With the components last it can sum as it goes.
        if torch.compiler.is_compiling():
            x, y = (c[..., None, None, None] for c in (x, y))
            found = evaluate(x, y, *(t[..., None, None, :] for t in tensors))
            return tuple(f[..., 0, 0] for f in found)
        x, y = x.unsqueeze(-3), y.unsqueeze(-3)
        # Chunks in forward mode need nothing of their own: what is carried along is summed, too.
        run = _ChunkedSum.forward if carried_along() else _ChunkedSum.apply
        return run(evaluate, per, x, y, *tensors)  # type: ignore[return-value]

    def convergence(self, x: Tensor, y: Tensor) -> Tensor:
        r"""Computes :math:`\kappa`, dimensionless."""
        return self._sum("convergence", x, y)[0]

    def deflection(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        r"""Computes :math:`\alpha = \nabla \psi` [arcsec]."""
        ax, ay = self._sum("deflection", x, y)
        return ax, ay

    def shear(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        r"""Computes :math:`\gamma_1 = (\psi_{xx} - \psi_{yy})/2`, :math:`\gamma_2 = \psi_{xy}`."""
        g1, g2 = self._sum("shear", x, y)
        return g1, g2

    def potential(self, x: Tensor, y: Tensor) -> Tensor:
        r"""Computes :math:`\psi` up to a constant [arcsec²]."""
        return self._sum("potential", x, y)[0]
