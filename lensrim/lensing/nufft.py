r"""Fourier transforms from pixels to scattered frequencies, and back.

.. math:: V_k = \sum_{ij} I_{ij} \, e^{-i (p_{k,x} (j - \lfloor W/2 \rfloor)
          + p_{k,y} (i - \lfloor H/2 \rfloor))} \, ,

with frequencies :math:`p` [radian per pixel] between :math:`-\pi` and :math:`\pi`. The adjoint is
that for real images, :math:`I = \mathrm{Re} \, \mathcal{F}^\dagger V`. Both are linear and
differentiable in what they transform, to any order; frequencies are constants. A transform is an
object with these two methods:

=============== ============================================ ====================================
:class:`Direct` the sum itself, in a time :math:`N H W`      needs no library; differentiable in
                                                             every mode
:class:`Nufft`  interpolates a finer FFT, to an accuracy     needs the extra ``vis``; reverse mode,
                ``eps``                                      ``vmap``, one graph under ``compile``
=============== ============================================ ====================================

**The library.** One transform and one adjoint [ms], single precision, ``eps`` 1e-5, frequencies
crowded in the middle as an array's are; the least of repeated, interleaved runs on one core of a
two-core machine that others used at the time (2026-11-26; torch 2.13, finufft 2.5.1,
pytorch-finufft 0.1.0, torchkbnufft 1.5.2, ducc0 0.42.0), which ``python -m
lensrim.evaluation.bench.nufft`` repeats:

====== ========= =============== ============== ========= =============== ============ =====
pixels :math:`N` :class:`Direct` :class:`Nufft` plan kept pytorch-finufft torchkbnufft ducc0
====== ========= =============== ============== ========= =============== ============ =====
64²    1e3       4.1             1.9            0.30      1.1             13           0.44
64²    1e4       84              3.2            1.1       2.2             41           1.1
64²    1e5       840             28             15        26              400          12
64²    1e6       –               320            250       330             –            130
128²   1e3       8.2             2.3            0.58      5.0             14           0.74
128²   1e4       120             3.6            1.4       6.7             41           1.5
128²   1e5       1900            39             25        34              480          13
128²   1e6       –               450            360       360             –            170
256²   1e3       20              5.7            2.5       35              24           2.1
256²   1e4       410             5.7            3.5       39              68           2.9
256²   1e5       4500            37             29        78              540          25
256²   1e6       –               520            400       450             –            220
error  –         3e-7            7e-5           7e-5      3e-5            2e-3         7e-6
====== ========= =============== ============== ========= =============== ============ =====

The error is the largest in the table, relative to the norm of the result, against the direct sum
in double precision (of the adjoint, against ``Nufft(1e-12)``). finufft is chosen, and used without
a wrapper: ducc0 is one and a half to four times as fast, but its licence is the GPL, and it has no
CUDA side; pytorch-finufft wraps the same library, but has no second derivatives and does not
compile as one graph; torchkbnufft is 4 to 18 times slower and less accurate by 30. A plan that is
kept between calls would save a fifth to five sixths, but is a state, and cannot be pickled.

On a CUDA device :class:`Nufft` calls cufinufft, which takes torch's tensors as they are and works
on the current stream; it is not installed by the extra, and this path has not been run.
"""

from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor


@runtime_checkable
class Transform(Protocol):
    """What every transform can do."""

    def forward(self, image: Tensor, points: Tensor) -> Tensor:
        """Transforms real images.

        Arguments:
            image: Images, with shape :math:`(B, H, W)`.
            points: Frequencies :math:`p_x, p_y` [radian per pixel], with shape :math:`(B, N, 2)`,
                or :math:`(1, N, 2)` for the same in every sample.

        Returns:
            Complex values, with shape :math:`(B, N)`.
        """
        ...

    def adjoint(self, values: Tensor, points: Tensor, shape: tuple[int, int]) -> Tensor:
        """Applies the adjoint to complex values (B, N): real images with shape (B, H, W)."""
        ...


@dataclass(frozen=True)
class Direct:
    r"""Creates the direct sum, as two matrix products: the exponential is one of x times one of y.

    Arguments:
        chunk: Frequencies that are treated at a time; about :math:`16 (H + W + B H)` bytes for
            each of them, kept for all of them where a gradient is taken.

    Raises:
        ValueError: If the chunk is not positive.
    """

    chunk: int = 4096

    def __post_init__(self):
        if self.chunk < 1:
            raise ValueError(f"chunk must be 1 or more frequencies, got {self.chunk}")

    def forward(self, image: Tensor, points: Tensor) -> Tensor:
        """Transforms real images."""
        parts = []
        for some in points.split(self.chunk, 1):
            rows, columns = _waves(some, (image.shape[-2], image.shape[-1]), image.dtype)
            # Real matrices, for the image is: half the work of complex ones.
            by_row = [part @ image.mT for part in (columns.real, columns.imag)]
            parts.append((torch.complex(*by_row) * rows).sum(-1))
        return torch.cat(parts, -1)

    def adjoint(self, values: Tensor, points: Tensor, shape: tuple[int, int]) -> Tensor:
        """Applies the adjoint."""
        image = values.real.new_zeros(len(values), *shape)
        chunks = zip(points.split(self.chunk, 1), values.split(self.chunk, -1), strict=True)
        for some, value in chunks:
            rows, columns = _waves(some, shape, image.dtype)
            left = rows.conj() * value.unsqueeze(-1)
            image = image + left.real.mT @ columns.real + left.imag.mT @ columns.imag
        return image


def _waves(points: Tensor, shape: tuple[int, int], dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Exponentials along the rows' and the columns' axis, (b, N, H) and (b, N, W)."""
    waves = []
    for p, n in ((points[..., 1], shape[0]), (points[..., 0], shape[1])):
        pixel = torch.arange(n, dtype=torch.float64, device=points.device) - n // 2
        phase = -p.double().unsqueeze(-1) * pixel
        waves.append(torch.complex(phase.cos().to(dtype), phase.sin().to(dtype)))
    return waves[0], waves[1]


@dataclass(frozen=True)
class Nufft:
    """Creates the nonuniform fast Fourier transform of finufft (cufinufft on a CUDA device).

    Arguments:
        eps: Accuracy, relative to the norm of the result, 1e-14 at best; in single precision 2e-5
            or so, and 7e-5 for a million frequencies.

    Raises:
        ValueError: If the accuracy is not between 1e-14 and 0.1.
        ModuleNotFoundError: If a transform is asked for and the library is not installed.
    """

    eps: float = 1e-5

    def __post_init__(self):
        if not 1e-14 <= self.eps <= 0.1:
            raise ValueError(
                f"eps must be a relative accuracy between 1e-14 and 0.1, got {self.eps}"
            )

    def forward(self, image: Tensor, points: Tensor) -> Tensor:
        """Transforms real images."""
        return _Forward.apply(image, points, self._accuracy(image))

    def adjoint(self, values: Tensor, points: Tensor, shape: tuple[int, int]) -> Tensor:
        """Applies the adjoint."""
        return _Adjoint.apply(values, points, *shape, self._accuracy(values.real))

    def _accuracy(self, like: Tensor) -> float:
        # The library warns of what single precision cannot have.
        return max(self.eps, 1e-6) if like.dtype == torch.float32 else self.eps


# The operations are opaque to the compiler, so that it makes one graph around them; their
# derivatives, which are each other, are those of the functions below.


@torch.library.custom_op("lensrim::nufft", mutates_args=())
def _forward(image: Tensor, points: Tensor, eps: float) -> Tensor:
    library, options = _library(image.device, eps)
    data = torch.complex(image, torch.zeros_like(image))
    return _each(
        data, points, lambda x, y, f: library.nufft2d2(y, x, f, eps=eps, isign=-1, **options)
    )


@_forward.register_fake
def _(image: Tensor, points: Tensor, eps: float) -> Tensor:
    return image.new_empty((image.shape[0], points.shape[1]), dtype=image.dtype.to_complex())


@torch.library.custom_op("lensrim::nufft_adjoint", mutates_args=())
def _adjoint(values: Tensor, points: Tensor, h: int, w: int, eps: float) -> Tensor:
    library, options = _library(values.device, eps)
    image = _each(
        values,
        points,
        lambda x, y, c: library.nufft2d1(y, x, c, (h, w), eps=eps, isign=1, **options),
    )
    return image.real.contiguous()


@_adjoint.register_fake
def _(values: Tensor, points: Tensor, h: int, w: int, eps: float) -> Tensor:
    return values.new_empty((values.shape[0], h, w), dtype=values.dtype.to_real())


class _Forward(torch.autograd.Function):
    @staticmethod
    def forward(image: Tensor, points: Tensor, eps: float) -> Tensor:
        return _forward(image, points, eps)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple, output: Tensor) -> None:
        image, points, ctx.eps = inputs
        ctx.shape = image.shape[-2:]
        ctx.save_for_backward(points)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple:
        (points,) = ctx.saved_tensors
        return _Adjoint.apply(grad, points, *ctx.shape, ctx.eps), None, None

    @staticmethod
    def vmap(info: Any, in_dims: tuple, image: Tensor, points: Tensor, *rest: Any) -> tuple:
        return _folded(_Forward, info, in_dims, image, points, rest)


class _Adjoint(torch.autograd.Function):
    @staticmethod
    def forward(values: Tensor, points: Tensor, h: int, w: int, eps: float) -> Tensor:
        return _adjoint(values, points, h, w, eps)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple, output: Tensor) -> None:
        ctx.save_for_backward(inputs[1])
        ctx.eps = inputs[4]

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple:
        (points,) = ctx.saved_tensors
        return _Forward.apply(grad, points, ctx.eps), None, None, None, None

    @staticmethod
    def vmap(info: Any, in_dims: tuple, values: Tensor, points: Tensor, *rest: Any) -> tuple:
        return _folded(_Adjoint, info, in_dims, values, points, rest)


def _folded(function: Any, info: Any, in_dims: tuple, data: Tensor, points: Tensor, rest: tuple):
    """Maps a function by making the mapped dimension a part of the batch."""
    n = info.batch_size
    data = data.expand(n, *data.shape) if in_dims[0] is None else data.movedim(in_dims[0], 0)
    if in_dims[1] is not None or points.shape[0] > 1:
        points = (
            points.expand(n, *points.shape)
            if in_dims[1] is None
            else points.movedim(in_dims[1], 0)
        )
        points = points.expand(n, data.shape[1], *points.shape[2:]).flatten(0, 1)
    result = function.apply(data.flatten(0, 1), points, *rest)
    return result.unflatten(0, (n, -1)), 0


def _library(device: torch.device, eps: float) -> tuple[Any, dict[str, Any]]:
    """Imports the library that works on a device, with its options."""
    try:
        if device.type == "cuda":
            import cufinufft  # pyright: ignore[reportMissingImports]

            stream = torch.cuda.current_stream(device).cuda_stream
            return cufinufft, {"gpu_device_id": device.index, "gpu_stream": stream}
        import finufft

        return finufft, {
            "nthreads": torch.get_num_threads(),
            # The smaller of its grids, 1.25 times as wide as the image, takes half to a seventh of
            # the time where frequencies are few, and up to a quarter more where they are many.
            "upsampfac": 1.25 if eps >= 1e-8 else 2.0,
            # In single precision it would print at each transform that 1e-5 is not quite reached.
            "showwarn": 0,
        }
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            f"the transform Nufft() needs {error.name} on a device of type {device.type}; "
            "pip install '.[vis]' in the checkout of lensrim (on CUDA also cufinufft), or use "
            "Direct()"
        ) from error


def _each(data: Tensor, points: Tensor, transform: Any) -> Tensor:
    """Transforms a batch at once if its points are shared, else sample by sample."""
    data = data.resolve_conj().contiguous()
    points = points.to(data.real.dtype).mT.contiguous()
    if len(points) == 1:
        return _call(transform, points[0], data)
    return torch.stack([_call(transform, p, d) for p, d in zip(points, data, strict=True)])


def _call(transform: Any, points: Tensor, data: Tensor) -> Tensor:
    if data.is_cuda:
        return transform(points[0], points[1], data)
    return torch.from_numpy(transform(*(t.numpy() for t in (points[0], points[1], data))))
