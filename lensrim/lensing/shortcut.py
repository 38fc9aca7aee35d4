"""Functions on maps with a first derivative that is written out, alone or added up, for quick calls.

On a CPU a step of torch costs as much as what it computes of a map of 128 pixels a side, and so
does what autograd does for each. Profiles whose parameters are of one object, numbers or with
shape (1), are therefore computed together, in few steps, as one function of autograd; several in a
batch go the plain way, and so does whatever is differentiated in another way than backwards, once.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch._C._functorch import is_legacy_batchedtensor  # pyright: ignore
from torch.utils._python_dispatch import _get_current_dispatch_mode

from .operation import forward_mode

Parameter = float | Tensor
Tensors = tuple[Tensor, ...]
Point = tuple[float, ...]


class Shortcut(ABC):
    """Computes a function of positions for given numbers, and its first derivative.

    Arguments:
        numbers: The parameters, the last two of which are the coordinates of a centre.

    Positions are relative to an origin, with shape (2, N), and values have shape (*lead, N).
    """

    lead: ClassVar[tuple[int, ...]] = ()
    """Shape of a value at one position."""
    linear: ClassVar[bool] = False
    """Whether positions may be relative to any origin, which saves maps of others."""

    def __init__(self, *numbers: float) -> None:
        self.centre, self.count = numbers[-2:], len(numbers)

    @staticmethod
    @abstractmethod
    def plain(x: Tensor, y: Tensor, *parameters: Tensor) -> Tensor:
        """Computes the function in operations of torch's, with shape (*lead, *)."""

    @staticmethod
    def takes(dtype: torch.dtype, *numbers: float) -> bool:
        """Returns whether the numbers are those of a profile, and none of the steps fails."""
        return True

    @abstractmethod
    def add(self, total: Tensor, z: Tensor, origin: Point, *, first: bool) -> Tensors:
        """Adds values to a total, which holds nothing yet for the first; returns what is kept."""

    @abstractmethod
    def slopes(
        self, grad: Tensor, z: Tensor, origin: Point, kept: Tensors, needed: tuple[bool, bool]
    ) -> tuple[Tensor | None, list[float]]:
        """Turns the gradient in the values into those in the positions and the parameters.

        Arguments:
            grad: The gradient, with shape (*lead, N).
            z: The positions.
            origin: What they are relative to: the centre, but for what is linear.
            kept: What :meth:`add` has kept.
            needed: Which of the two are asked for; in place of another there may be anything.
        """


Member = tuple[type[Shortcut], tuple[Parameter, ...]]
"""A kind of function and its parameters."""


def sum_of(members: Sequence[Member], x: Tensor, y: Tensor) -> Tensor | None:
    """Computes the sum of functions of one kind of value, where a shortcut is open.

    It is on a CPU, which may look at numbers without waiting for them, and where torch follows no
    other derivative than that of the backward pass.

    Arguments:
        members: The functions.
        x, y: Coordinates with shape (*, H, W).

    Returns:
        The sum, with shape (*lead, *, H, W), and a batch of one where a parameter has one;
        ``None`` if it is to be computed the plain way.
    """
    if not shortcut_is_open(x, y):
        return None
    rules, parameters, batch = [], [], False
    for kind, given in members:
        for p in given:
            if isinstance(p, Tensor) and p.ndim:
                if p.ndim > 1 or p.numel() != 1:
                    return None
                batch = True
        numbers = [p.item() if isinstance(p, Tensor) else p for p in given]
        if not kind.takes(x.dtype, *numbers):
            return None
        rules.append(kind(*numbers))
        parameters += given
    if batch and x.ndim == 2:
        x, y = x[None], y[None]
    if torch.is_grad_enabled():
        return _Sum.apply(x, y, rules, *parameters)
    return _values(rules, x, y)[0]


def _values(rules: Sequence[Shortcut], x: Tensor, y: Tensor) -> tuple[Tensor, list[Tensors]]:
    lead = rules[0].lead
    total = x.new_empty(*lead, *x.shape)
    flat, origin = total.view(*lead, -1), rules[0].centre
    first, kept = _relative(x, y, *origin), []
    for i, rule in enumerate(rules):
        z = first if rule.linear or rule.centre == origin else _relative(x, y, *rule.centre)
        kept.append((z, *rule.add(flat, z, origin, first=i == 0)))
    return total, kept


def _relative(x: Tensor, y: Tensor, center_x: float, center_y: float) -> Tensor:
    both = x.new_empty(2, *x.shape)
    at_x, at_y = both.unbind()
    torch.sub(x, center_x, out=at_x)
    torch.sub(y, center_y, out=at_y)
    return both.view(2, -1)


class _Sum(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, x: Tensor, y: Tensor, rules: Sequence[Shortcut], *parameters: Parameter
    ) -> Tensor:
        total, kept = _values(rules, x, y)
        # Coordinates of which no gradient is wanted may be changed after the call, or be made in
        # inference mode; those relative to a centre stand for them.
        ctx.moving = any(ctx.needs_input_grad[:2])
        tensors = [p for p in parameters if isinstance(p, Tensor)]
        ctx.rules, ctx.shape, ctx.lengths = rules, x.shape, [len(k) for k in kept]
        ctx.numbers = [None if isinstance(p, Tensor) else p for p in parameters]
        moved = [x, y] if ctx.moving else []
        ctx.save_for_backward(*tensors, *moved, *(t for k in kept for t in k))
        return total

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Any:
        saved = iter(ctx.saved_tensors)  # once: a checkpoint hands them out no more
        parameters = [next(saved) if n is None else n for n in ctx.numbers]
        moved = (next(saved), next(saved)) if ctx.moving else None
        kept = [tuple(next(saved) for _ in range(n)) for n in ctx.lengths]
        if _wants_plain(grads[0]):
            return _plain_slopes(ctx, grads[0], moved, kept[0][0], parameters)
        flat = grads[0].reshape(*ctx.rules[0].lead, -1)
        origin = ctx.rules[0].centre
        needed = ctx.moving, any(ctx.needs_input_grad[3:])
        to_z, numbers = None, []
        for rule, (z, *rest) in zip(ctx.rules, kept, strict=True):
            part, slopes = rule.slopes(flat, z, origin, tuple(rest), needed)
            to_z = part if to_z is None or part is None else to_z.add_(part)
            numbers += slopes
        to_x, to_y = (None, None) if to_z is None else to_z.view(2, *ctx.shape)
        return to_x, to_y, None, *_like(parameters, flat.new_tensor(numbers))


def _like(parameters: Sequence[Parameter], slopes: Tensor) -> list[Tensor | None]:
    """Gives each slope the shape of its parameter, if that is a tensor."""
    return [
        (s if p.ndim == 0 else s.reshape(p.shape)) if isinstance(p, Tensor) else None
        for p, s in zip(parameters, slopes.unbind(), strict=True)
    ]


def _plain_slopes(
    ctx: Any,
    grad: Tensor,
    moved: tuple[Tensor, Tensor] | None,
    z: Tensor,
    parameters: Sequence[Parameter],
) -> tuple[Tensor | None, ...]:
    rules: Sequence[Shortcut] = ctx.rules
    if moved is None:
        moved = tuple((z + z.new_tensor(rules[0].centre)[:, None]).view(2, *ctx.shape))
    varied = [i for i, p in enumerate(parameters) if isinstance(p, Tensor)]

    def total(x: Tensor, y: Tensor, *tensors: Tensor) -> Tensor:
        given = dict(zip(varied, tensors, strict=True))
        every = iter(
            given[i].to(x.dtype).reshape(()) if i in given else x.new_tensor(p)
            for i, p in enumerate(parameters)
        )
        sums = [r.plain(x, y, *(next(every) for _ in range(r.count))) for r in rules]
        return sum(sums[1:], sums[0])

    back = torch.func.vjp(total, *moved, *(parameters[i] for i in varied))[1]
    to_x, to_y, *rest = back(grad)
    found = dict(zip(varied, rest, strict=True))
    return to_x, to_y, None, *(found.get(i) for i in range(len(parameters)))


def add_product(total: Tensor, matrix: Tensor, maps: Tensor, *, first: bool) -> None:
    """Adds the product of a matrix and maps to a total, or puts it there for the first."""
    if first:
        torch.mm(matrix, maps, out=total)
    else:
        total.addmm_(matrix, maps)


def products(a: Tensor, b: Tensor) -> list[list[float]]:
    """Sums the products of each row of one matrix with each of another.

    As exact as sums of maps are, which the product of the matrices is not in single precision.
    """
    return (a[:, None] * b).sum(-1).tolist()


def _wants_plain(grad: Tensor) -> bool:
    """Returns whether a gradient is to be taken by torch's operations.

    It is to be differentiated once more, or is one of many at once, or something looks on.
    """
    if _looks_on() or torch.is_grad_enabled() or forward_mode():
        return True
    return is_legacy_batchedtensor(grad)


def _looks_on() -> bool:
    """Returns whether torch does other than it is told: records, casts, or computes no numbers."""
    if torch.compiler.is_compiling() or torch.is_autocast_enabled("cpu"):
        return True
    return _get_current_dispatch_mode() is not None


def shortcut_is_open(x: Tensor, y: Tensor) -> bool:
    """Returns whether a shortcut is worth while for maps at the coordinates."""
    if _looks_on() or forward_mode():
        return False
    alike = x.shape == y.shape and x.dtype == y.dtype
    return alike and x.device.type == "cpu" and x.ndim >= 2
