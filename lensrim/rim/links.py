r"""Links: from the free variables that a machine moves to the physical values that a model takes.

A link is a bijection :math:`v = f(x)` of the free variables :math:`x`, any real numbers, onto the
values :math:`v` that have a meaning: positive ones, fractions, what lies between two bounds. It
treats each sample by itself, and all but :class:`PerChannel` each element. Whatever is derived
from it (scores of free variables, losses of physical values) uses torch's differentiation.

What is not guaranteed: an end of an open range (zero for :class:`Exp`, a bound for
:class:`Bounded`) lies at infinity, and values that single precision cannot tell from it are mapped
there. Keep true values inside.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor
from torch.nn import functional as F


@runtime_checkable
class Link(Protocol):
    """A differentiable bijection from free variables to physical values of the same shape."""

    def physical(self, x: Tensor) -> Tensor:
        """Computes :math:`v = f(x)`."""
        ...

    def free(self, value: Tensor) -> Tensor:
        """Computes :math:`x = f^{-1}(v)`."""
        ...


@dataclass(frozen=True)
class Identity:
    """Creates the link :math:`v = x`."""

    def physical(self, x: Tensor) -> Tensor:
        return x

    def free(self, value: Tensor) -> Tensor:
        return value


@dataclass(frozen=True)
class Log10:
    """Creates the link :math:`v = 10^x`, for positive values."""

    def physical(self, x: Tensor) -> Tensor:
        return (x * math.log(10)).exp()

    def free(self, value: Tensor) -> Tensor:
        return value.log10()


@dataclass(frozen=True)
class Exp:
    """Creates the link :math:`v = e^x`, for positive values."""

    def physical(self, x: Tensor) -> Tensor:
        return x.exp()

    def free(self, value: Tensor) -> Tensor:
        return value.log()


@dataclass(frozen=True)
class Softplus:
    r"""Creates the link :math:`v = \log(1 + e^x)`, for positive values, linear where large."""

    def physical(self, x: Tensor) -> Tensor:
        # Beyond 40, not 20 as by default, it is the identity in double precision, too.
        return F.softplus(x, threshold=40.0)

    def free(self, value: Tensor) -> Tensor:
        return value + (-torch.expm1(-value)).log()


@dataclass(frozen=True)
class Sigmoid:
    r"""Creates the link :math:`v = 1 / (1 + e^{-x})`, for values between 0 and 1."""

    def physical(self, x: Tensor) -> Tensor:
        return torch.sigmoid(x)

    def free(self, value: Tensor) -> Tensor:
        return value.log() - torch.log1p(-value)


@dataclass(frozen=True)
class Bounded:
    r"""Creates the link :math:`v = a + (b - a) / (1 + e^{-x})`, for values between bounds.

    Arguments:
        low, high: Bounds :math:`a < b`.

    Raises:
        ValueError: If they are not finite and in this order.
    """

    low: float
    high: float

    def __post_init__(self):
        if not -math.inf < self.low < self.high < math.inf:
            raise ValueError(
                f"low and high must be finite and low below high, got {self.low} and {self.high}"
            )

    def physical(self, x: Tensor) -> Tensor:
        width = self.high - self.low
        # From the nearer bound, so that no rounding leads beyond the other.
        below = self.low + width * torch.sigmoid(x)
        return torch.where(x < 0, below, self.high - width * torch.sigmoid(-x))

    def free(self, value: Tensor) -> Tensor:
        return (value - self.low).log() - (self.high - value).log()


@dataclass(frozen=True)
class Sinh:
    r"""Creates the link :math:`v = c \sinh x`, so that :math:`x = \mathrm{arcsinh}(v / c)`.

    The stretch of astronomical images: linear where values are small against :math:`c`, and
    logarithmic, of either sign, where they are large.

    Arguments:
        scale: The scale :math:`c`.

    Raises:
        ValueError: If it is not positive.
    """

    scale: float = 1.0

    def __post_init__(self):
        if not self.scale > 0:
            raise ValueError(f"scale must be positive, got {self.scale}")

    def physical(self, x: Tensor) -> Tensor:
        return self.scale * torch.sinh(x)

    def free(self, value: Tensor) -> Tensor:
        return torch.asinh(value / self.scale)


@dataclass(frozen=True)
class PerChannel:
    """Creates the link that has another link for each channel.

    Arguments:
        links: Links of the channels, in their order.
    """

    links: Sequence[Link]

    def physical(self, x: Tensor) -> Tensor:
        return torch.cat([f.physical(part) for f, part in self._parts(x)], 1)

    def free(self, value: Tensor) -> Tensor:
        return torch.cat([f.free(part) for f, part in self._parts(value)], 1)

    def _parts(self, x: Tensor) -> list[tuple[Link, Tensor]]:
        return list(zip(self.links, x.split(1, dim=1), strict=True))


@dataclass(frozen=True)
class Bijection:
    """Creates a link of functions.

    Arguments:
        to_physical: The function :math:`f`.
        to_free: Its inverse.
        derivative: The function :math:`f'`, where :math:`f` treats each element by itself and
            torch cannot differentiate it, or only at a price. It is used in the place of torch's.
    """

    to_physical: Callable[[Tensor], Tensor]
    to_free: Callable[[Tensor], Tensor]
    derivative: Callable[[Tensor], Tensor] | None = None

    def physical(self, x: Tensor) -> Tensor:
        if self.derivative is None:
            return self.to_physical(x)
        return _Given.apply(x, self.to_physical, self.derivative)  # pyright: ignore

    def free(self, value: Tensor) -> Tensor:
        return self.to_free(value)


class _Given(torch.autograd.Function):
    """An element-wise function whose derivative is given."""

    generate_vmap_rule = True

    @staticmethod
    def forward(x: Tensor, function, derivative) -> Tensor:
        return function(x)

    @staticmethod
    def setup_context(ctx, inputs, output) -> None:
        x, _, ctx.derivative = inputs
        ctx.save_for_backward(x)

    @staticmethod
    def backward(ctx, grad: Tensor):  # pyright: ignore[reportIncompatibleMethodOverride]
        (x,) = ctx.saved_tensors
        return grad * ctx.derivative(x), None, None
