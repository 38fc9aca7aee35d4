r"""Linear convolution by zero-padded real FFT.

For a map :math:`x` and a kernel :math:`k` of which the transfer function :math:`\hat k` is known
on a periodic grid of :math:`N_y \times N_x` pixels, computes

.. math:: y_o = \sum_i k_{(o - i) \bmod N} \, x_i \, , \qquad 0 \leq o < (H', W') \, ,

and, as its gradient, the adjoint by the same means. The rows that the padding makes zero, and
those that are cut away afterwards, are never transformed.

Spectra have their columns one after the other in memory, the frequency along x before that along
y: the transforms along columns, which are most of the work, leave them so, and what is multiplied
by them lies in the same order.

It is the caller's part to choose :math:`N` so large that nothing wraps around into the result.
"""

from typing import Any

import torch
from torch import Tensor

from .operation import Operation, no_derivative, only_plain, second_derivative

Shape = tuple[int, ...]
AT_ONCE = 5 << 16
"""Complex numbers of a spectrum that a CPU holds at once: four lenses of 128 pixels a side."""


def fast_length(n: int) -> int:
    """Returns the smallest even length of at least ``n`` for which a real FFT is fast.

    Real transforms of an odd length are taken without the half of the work that symmetry saves:
    convolutions with 45, 75, 81, 125, 135, 225 and 243 pixels a side take 1.1 to 1.8 times as long
    as with the next even length (one core with MKL, 2026-11-28).
    """
    return 2 * _smooth(-(-n // 2))


def odd_fast_length(n: int) -> int:
    """Returns the smallest odd length of at least ``n`` for which an FFT is fast."""
    n = _smooth(n)
    return n if n % 2 else odd_fast_length(n + 1)


def _smooth(n: int) -> int:
    from scipy.fft import next_fast_len

    return int(next_fast_len(n, real=True))  # pyright: ignore[reportArgumentType]


def transfer_function(kernel: Tensor) -> Tensor:
    """Transforms a periodic kernel, whose origin is its first pixel.

    Returns:
        Real and imaginary parts in the last dimension, with shape
        :math:`(*, N_x // 2 + 1, N_y, 2)`. A real tensor, so that ``Module.to(dtype)`` treats it as
        any other buffer.
    """
    return torch.view_as_real(torch.fft.rfft2(kernel).mT.contiguous())


def convolve(
    image: Tensor,
    transfer: Tensor,
    size: tuple[int, int],
    shape: tuple[int, int],
    *,
    components: int | None = None,
) -> Tensor:
    r"""Convolves maps with a kernel given by its transfer function.

    Arguments:
        image: Maps :math:`x`, with shape :math:`(*, H, W)`.
        transfer: Result of :func:`transfer_function`, with shape
            :math:`(*, N_x // 2 + 1, N_y, 2)`; its leading dimensions broadcast against those of
            ``image``.
        size: The periodic grid :math:`(N_y, N_x)`.
        shape: Shape :math:`(H', W')` of the result.
        components: 1 if maps are added up over the third dimension from the end.

    Returns:
        The maps :math:`y`, with shape :math:`(*, H', W')`. Differentiable, to any order and in
        forward mode, with respect to ``image`` and ``transfer``.
    """
    lead = image.shape[:-2]
    if transfer.ndim > 3:
        lead = _broadcast(lead, transfer.shape[:-3])
    if components is not None:
        lead = (*lead[:-1], components)
    return _apply(image, transfer, size, lead, shape, False)


def correlate(image: Tensor, transfer: Tensor, size: tuple[int, int], shape: Shape) -> Tensor:
    r"""Applies the adjoint of :func:`convolve`.

    Arguments:
        image: Maps :math:`y`, with shape :math:`(*, H', W')`.
        transfer: As in :func:`convolve`.
        size: The periodic grid :math:`(N_y, N_x)`.
        shape: Full shape of the result, the one that :func:`convolve` was given: dimensions that
            were broadcast there are summed over here.
    """
    return _apply(image, transfer, size, shape[:-2], (shape[-2], shape[-1]), True)


def _apply(
    image: Tensor,
    transfer: Tensor,
    size: tuple[int, int],
    lead: Shape,
    shape: tuple[int, int],
    adjoint: bool,
) -> Tensor:
    if only_plain() or second_derivative():
        if torch.compiler.is_compiling():
            return _Convolve.apply(image, transfer, size, lead, shape, adjoint)
        # A part of a larger map would keep all of its memory, and has no ``view``.
        return _in_parts(image, transfer, adjoint, size, lead, shape).contiguous()
    return _ConvolveForwardMode.apply(image, transfer, size, lead, shape, adjoint)


class _Convolve(Operation):
    # torch's own gradient of a real FFT takes complex FFTs of the full plane, twice the work.
    @staticmethod
    def forward(
        image: Tensor,
        transfer: Tensor,
        size: tuple[int, int],
        lead: Shape,
        shape: tuple[int, int],
        adjoint: bool,
    ) -> Tensor:
        result = _in_parts(image, transfer, adjoint, size, lead, shape)
        # Forward-mode differentiation wants a result that is no view of a larger one.
        return result.clone(memory_format=torch.contiguous_format)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple, output: Tensor) -> None:
        image, transfer, ctx.size, ctx.lead, ctx.shape, ctx.adjoint = inputs
        ctx.image_shape = image.shape
        # The map is needed for the gradient of the kernel only, which is a constant nearly always.
        saved = image if ctx.needs_input_grad[1] else None
        ctx.save_for_backward(saved, transfer)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple:
        image, transfer = ctx.saved_tensors
        grad_image = grad_transfer = None
        if ctx.needs_input_grad[0]:
            lead, shape = ctx.image_shape[:-2], ctx.image_shape[-2:]
            grad_image = _apply(grad, transfer, ctx.size, lead, shape, not ctx.adjoint)
        if ctx.needs_input_grad[1]:
            a, b = _rfft(image, ctx.size), _rfft(grad, ctx.size)
            product = a * b.conj() if ctx.adjoint else a.conj() * b
            # Columns of the half plane stand for two, but for the first and, if even, the last.
            weight = torch.full((product.shape[-2], 1), 2.0, dtype=grad.dtype, device=grad.device)
            weight[0] = 1.0
            if ctx.size[1] % 2 == 0:
                weight[-1] = 1.0
            product = product * (weight / (ctx.size[0] * ctx.size[1]))
            grad_transfer = torch.view_as_real(product).sum_to_size(transfer.shape)
        return grad_image, grad_transfer, None, None, None, None


class _ConvolveForwardMode(_Convolve):
    @staticmethod
    def setup_context(ctx: Any, inputs: tuple, output: Tensor) -> None:
        _Convolve.setup_context(ctx, inputs, output)
        ctx.save_for_forward(*inputs[:2])

    @staticmethod
    def jvp(ctx: Any, d_image: Tensor | None, d_transfer: Tensor | None, *_: None) -> Tensor:
        image, transfer = ctx.saved_tensors
        rest = (ctx.size, ctx.lead, ctx.shape, ctx.adjoint)
        parts = []
        if d_image is not None:
            parts.append(_apply(d_image, transfer, *rest))
        if d_transfer is not None:
            parts.append(_apply(image, d_transfer, *rest))
        return sum(parts[1:], parts[0])


def _in_parts(
    image: Tensor,
    transfer: Tensor,
    adjoint: bool,
    size: tuple[int, int],
    lead: Shape,
    shape: tuple[int, int],
) -> Tensor:
    """Computes the product of a batch, as many samples at once as are best."""
    result, factor = (*lead, *shape), torch.view_as_complex(transfer)
    per = _samples_at_once(image, factor)
    # Samples stay apart only where all dimensions do: the others are summed over.
    if per == 0 or len(lead) != image.ndim - 2 or lead[:1] != image.shape[:1]:
        return _product(image, factor, adjoint, size, result)
    images = image.split(per)
    apart = factor.ndim == image.ndim and len(factor) > 1
    factors = factor.split(per) if apart else [factor] * len(images)
    return torch.cat(
        [
            _product(part, times, adjoint, size, (len(part), *result[1:]))
            for part, times in zip(images, factors, strict=True)
        ]
    )


def _product(
    image: Tensor, factor: Tensor, adjoint: bool, size: tuple[int, int], shape: Shape
) -> Tensor:
    """Multiplies the transform of a map by a factor, sums it to a shape, and transforms back.

    One name holds one map after the other, so that the memory of each is that of a later one: a
    cache holds two of them, not six.
    """
    maps = _rfft(image, size)
    fits = _broadcast(maps.shape, factor.shape) == maps.shape and maps.dtype == factor.dtype
    if fits and _may_overwrite():
        maps = _overwritten(maps, factor, adjoint, shape[:-2])
    else:
        factor = torch.conj_physical(factor) if adjoint else factor
        maps = (maps * factor).sum_to_size((*shape[:-2], *maps.shape[-2:]))
    maps = torch.fft.ifft(maps)
    if size[0] % 64 == 0 and image.device.type == "cpu":
        # Read across columns that are a multiple of 64 apart, a cache keeps few of them at a time.
        maps = maps.narrow(-1, 0, min(shape[-2] | 1, size[0])).contiguous()
    maps = torch.fft.irfft(maps.narrow(-1, 0, shape[-2]).mT, n=size[1])
    return maps.narrow(-1, 0, shape[-1])


def _may_overwrite() -> bool:
    """Returns whether no derivative of what is computed is followed by torch itself."""
    return no_derivative() and not torch.compiler.is_compiling()


def _overwritten(spectrum: Tensor, factor: Tensor, adjoint: bool, lead: Shape) -> Tensor:
    """Multiplies a spectrum by a factor of its shape in its place, and sums it to dimensions.

    By the conjugate of the factor, which is a constant of the same size, for the adjoint.
    """
    if adjoint:
        return _overwritten(spectrum.conj_physical_(), factor, False, lead).conj_physical_()
    components = spectrum.shape[-3:-2]
    if lead[-1:] == (1,) != components == factor.shape[-3:-2]:
        # A sum over components, which torch is slow to take of complex numbers.
        first, *others = zip(spectrum.unbind(-3), factor.unbind(-3), strict=True)
        total = first[0].mul_(first[1])
        for each, times in others:
            total.addcmul_(each, times)
        total = total.unsqueeze(-3)
    else:
        total = spectrum.mul_(factor)
    return total.sum_to_size((*lead, *total.shape[-2:]))


def _samples_at_once(image: Tensor, factor: Tensor) -> int:
    """Returns how many samples of a batch to transform together, or 0 for all.

    On a CPU a spectrum of the whole batch is written to fresh memory and read from it again, which
    takes as long as the transforms; a few megabytes are used over and over.
    """
    if image.device.type != "cpu" or image.ndim != 4:
        return 0
    maps = max(image.shape[1], factor.shape[-3] if factor.ndim > 2 else 1)
    per = max(1, AT_ONCE // (maps * factor.shape[-2:].numel()))
    return per if per < len(image) else 0


def _broadcast(a: Shape, b: Shape) -> Shape:
    """As ``torch.broadcast_shapes``, in a sixth of the time; what does not fit fails later."""
    short, long = sorted((tuple(a), tuple(b)), key=len)
    short = (1,) * (len(long) - len(short)) + short
    return tuple(m if n == 1 else n for m, n in zip(short, long, strict=True))


def _rfft(image: Tensor, size: tuple[int, int]) -> Tensor:
    # The rows of zeros are not transformed, only padded for the columns.
    return torch.fft.fft(torch.fft.rfft(image, n=size[1]).mT, n=size[0])
