"""Functions on maps, added up, with a first derivative that is written out, for quick calls.

On a CPU a step of torch costs as much as what it computes of a map of 128 pixels a side, and so
does what autograd does for each. Profiles whose parameters are of one object, numbers or with
shape (1), are therefore computed together, in few steps, as one function of autograd; several in a
batch go the plain way, and so does whatever is differentiated in another way than backwards, once.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, ClassVar

import torch
from torch import Tensor

from .by_hand import apart, like, plain_slopes, save, saved, shortcut_is_open, wants_plain

Parameter = float | Tensor
Tensors = tuple[Tensor, ...]
Point = tuple[float, float]


class Shortcut(ABC):
    """Computes a function of positions for given numbers, and its first derivative.

    Arguments:
        dtype: Type of the maps.
        numbers: The parameters, the last two of which are the coordinates of a centre.

    Positions are relative to an origin, with shape (2, N), and values have shape (*lead, N).
    """

    lead: ClassVar[tuple[int, ...]] = ()
    """Shape of a value at one position."""
    linear: ClassVar[bool] = False
    """Whether positions may be relative to any origin, which saves maps of others."""

    def __init__(self, dtype: torch.dtype, *numbers: float) -> None:
        self.centre: Point = (numbers[-2], numbers[-1])
        self.count = len(numbers)

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
            needed: Which of the two are asked for; in place of the first there may be ``None``,
                in place of the second any numbers, one for each parameter.
        """


Member = tuple[type[Shortcut], tuple[Parameter, ...]]
"""A kind of function and its parameters."""


class Quick(ABC):
    """What has a shortcut, or is a sum of what may have one."""

    @abstractmethod
    def shortcuts(self) -> list[Member]:
        """Returns the functions that are added up; none if one of them has no shortcut."""


def members_of(model: object) -> list[Member]:
    """Returns the functions that a model adds up; none if there is no shortcut to it.

    There is none to what inherits it: a subclass may compute something else.
    """
    if not isinstance(model, Quick) or "shortcuts" not in vars(type(model)):
        return []
    return model.shortcuts()


def all_members(models: Iterable[object]) -> list[Member]:
    """Returns the functions that models add up together; none if one has no shortcut."""
    each = [members_of(m) for m in models]
    return [member for members in each for member in members] if all(each) else []


@dataclass(frozen=True)
class Rules:
    """Holds functions of one kind of value that are added up, ready for their numbers.

    Attributes:
        each: The functions.
        parameters: The parameters of all, one after the other.
        batch: Whether one of them has the shape (1), of a batch of one.
    """

    each: Sequence[Shortcut]
    parameters: Sequence[Parameter]
    batch: bool

    @classmethod
    def of(cls, members: Sequence[Member], dtype: torch.dtype) -> "Rules | None":
        """Looks at the parameters, numbers or tensors with shape () or (1), on a CPU.

        Returns:
            What is ready; ``None`` if there are no functions, or it is no shortcut, as with
            parameters of several objects, in other places, or of other kinds.
        """
        if not members:
            return None
        rules, parameters, batch = [], [], False
        for kind, given in members:
            numbers = []
            for p in given:
                if isinstance(p, Tensor):
                    if p.ndim:
                        if p.ndim > 1 or p.numel() != 1:
                            return None
                        batch = True
                    if p.device.type != "cpu" or p.is_complex():
                        return None
                    p = p.item()
                elif not isinstance(p, int | float):
                    return None
                numbers.append(p)
            if not kind.takes(dtype, *numbers):
                return None
            rules.append(kind(dtype, *numbers))
            parameters += given
        return cls(rules, parameters, batch)

    def values(self, x: Tensor, y: Tensor) -> tuple[Tensor, list[Tensors]]:
        """Computes the sum.

        Arguments:
            x, y: Coordinates with shape (*).

        Returns:
            The sum, with shape (*lead, *), and what each function keeps of it, the positions with
            shape (2, N) first.
        """
        lead, origin = self.each[0].lead, self.each[0].centre
        total = x.new_empty(*lead, *x.shape)
        flat = total.view(*lead, -1)
        shared, kept = _relative(x, y, *origin), []
        for i, rule in enumerate(self.each):
            apart = rule.centre != origin and not rule.linear
            z = _relative(x, y, *rule.centre) if apart else shared
            kept.append((z, *rule.add(flat, z, origin, first=i == 0)))
        return total, kept

    def positions(self, kept: Tensors, shape: Sequence[int]) -> Tensor:
        """Returns the coordinates, with shape (2, *), from what the first function keeps."""
        return (kept[0] + kept[0].new_tensor(self.each[0].centre)[:, None]).view(*shape)

    def slopes(
        self, grad: Tensor, kept: Sequence[Tensors], needed: tuple[bool, bool]
    ) -> tuple[Tensor | None, list[float]]:
        """Turns the gradient in the sum into those in the positions and all parameters.

        Arguments:
            grad: The gradient, with shape (*lead, *).
            kept: What :meth:`values` has kept.
            needed: Which of the two are asked for.

        Returns:
            The gradients, with shape (2, N), and a number for each parameter.
        """
        lead, origin = self.each[0].lead, self.each[0].centre
        flat, to_z, numbers = grad.reshape(*lead, -1), None, []
        for rule, (z, *rest) in zip(self.each, kept, strict=True):
            part, slopes = rule.slopes(flat, z, origin, tuple(rest), needed)
            to_z = part if to_z is None or part is None else to_z.add_(part)
            numbers += slopes
        return to_z, numbers

    def plain(self, x: Tensor, y: Tensor, parameters: Iterable[Parameter]) -> Tensor:
        """Computes the sum in operations of torch's, with shape (*lead, *), for any parameters.

        Arguments:
            x, y: Coordinates with shape (*).
            parameters: Numbers, or tensors with shape () or (1).
        """
        every = (
            p.to(x.dtype).reshape(()) if isinstance(p, Tensor) else x.new_tensor(p)
            for p in parameters
        )
        parts = [r.plain(x, y, *islice(every, r.count)) for r in self.each]
        return sum(parts[1:], parts[0])


def shortcut_to(model: Quick, x: Tensor, y: Tensor) -> Tensor | None:
    """Computes the values of a model, where a shortcut to them is open.

    It is on a CPU, which may look at numbers without waiting for them, and where torch follows no
    other derivative than that of the backward pass.

    Arguments:
        model: The model.
        x, y: Coordinates with shape (*, H, W).

    Returns:
        The values, with shape (*lead, *, H, W), and a batch of one where a parameter has one;
        ``None`` if it is to be computed the plain way.
    """
    rules = Rules.of(members_of(model), x.dtype) if shortcut_is_open(x, y) else None
    if rules is None:
        return None
    if rules.batch and x.ndim == 2:
        x, y = x[None], y[None]
    if torch.is_grad_enabled():
        return _Sum.apply(x, y, rules, *rules.parameters)
    return rules.values(x, y)[0]


def _relative(x: Tensor, y: Tensor, center_x: float, center_y: float) -> Tensor:
    both = x.new_empty(2, *x.shape)
    at_x, at_y = both.unbind()
    torch.sub(x, center_x, out=at_x)
    torch.sub(y, center_y, out=at_y)
    return both.view(2, -1)


class _Sum(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, y: Tensor, rules: Rules, *parameters: Parameter) -> Tensor:
        total, kept = rules.values(x, y)
        # Coordinates of which no gradient is wanted may be changed after the call, or be made in
        # inference mode; those relative to a centre stand for them.
        ctx.moving = any(ctx.needs_input_grad[:2])
        ctx.rules, ctx.shape = rules, x.shape
        save(ctx, parameters, (x, y) if ctx.moving else (), *kept)
        return total

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Any:
        rules: Rules = ctx.rules
        parameters, moved, *kept = saved(ctx)
        if wants_plain(grads[0]):
            x, y = moved or rules.positions(kept[0], (2, *ctx.shape))
            given, needed = (x, y, None, *parameters), ctx.needs_input_grad
            return plain_slopes(lambda x, y, _, *p: rules.plain(x, y, p), given, grads[0], needed)
        needed = ctx.moving, any(ctx.needs_input_grad[3:])
        to_z, numbers = rules.slopes(grads[0], kept, needed)
        to_x, to_y = (None, None) if to_z is None else apart(to_z.view(2, *ctx.shape))
        return to_x, to_y, None, *like(parameters, numbers, grads[0])


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
