r"""Convolution with the point-spread function.

The image is an average over :math:`k \times k` rays per pixel, which is itself a convolution, with
the box :math:`\hat D_k(f) = \sin \pi f / (k \sin (\pi f / k))` (:math:`f` in cycles per pixel, per
axis). What is observed is

.. math:: \hat y = \hat P \hat s \quad (\text{effective}) \qquad \text{or} \qquad
          \hat y = \hat P \, \mathrm{sinc}(\pi f) \, \hat s \quad (\text{optical}) \, ,

sampled at the pixel centres: an *effective* PSF (as measured on stars) holds the response of the
pixel, an *optical* one does not. The averaged rays are hence convolved with the native-grid kernel

.. math:: \hat K = \hat P / \hat D_k \qquad \text{or} \qquad
          \hat K = \hat P \, \mathrm{sinc}(\pi f) / \hat D_k \, ,

so that the pixel response is in the result exactly once. The box is at least :math:`2/\pi` per
axis inside the Nyquist frequency, so the division is harmless. Structure of the source finer than
two pixels is not treated exactly; :mod:`~lensrim.lensing.ray_psf` treats it, and so does the slow
path of :func:`convolve_subsampled`.
"""

import math
from collections.abc import Sequence
from typing import Any, Literal, get_args

import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from .fourier import convolve, correlate, fast_length, transfer_function
from .fwhm import fwhm_of
from .shapes import check_pixels

PSFKind = Literal["effective", "optical"]


def gaussian_psf(fwhm: float, spacing: float, size: int) -> Tensor:
    """Returns a circular Gaussian sampled at pixel centres, with sum 1.

    Arguments:
        fwhm: Full width at half maximum [arcsec].
        spacing: Side of a pixel [arcsec].
        size: Odd number of pixels along each side.

    Returns:
        The stamp, in double precision, with shape ``(size, size)``.
    """
    r2 = _squared_radius(spacing, size)
    return normalize_psf(torch.exp(-4 * math.log(2) * r2 / fwhm**2))


def moffat_psf(fwhm: float, spacing: float, size: int, *, beta: float = 3.0) -> Tensor:
    r"""Returns a Moffat profile :math:`(1 + r^2 / r_d^2)^{-\beta}`, sampled at pixel centres.

    Arguments:
        fwhm: Full width at half maximum [arcsec].
        spacing: Side of a pixel [arcsec].
        size: Odd number of pixels along each side.
        beta: Exponent of the wings.

    Returns:
        The stamp, in double precision and with sum 1, with shape ``(size, size)``.
    """
    r2 = _squared_radius(spacing, size)
    r_d = fwhm / 2 / math.sqrt(2 ** (1 / beta) - 1)
    return normalize_psf((1 + r2 / r_d**2) ** -beta)


def normalize_psf(psf: Tensor, *, trusted: bool = False) -> Tensor:
    """Checks a PSF stamp and scales it to sum 1.

    Arguments:
        psf: Stamps centred on their middle pixel, with shape :math:`(*, h, w)`, both odd.
        trusted: Whether their values need no look, for which the CPU would wait for a GPU.

    Raises:
        ValueError: If a side is even (the centre would lie between pixels, and the image be
            shifted by half of one), or if the stamp is not finite or has no positive sum, at
            which the compiler cannot look.
    """
    if psf.ndim < 2 or psf.shape[-1] % 2 == 0 or psf.shape[-2] % 2 == 0:
        raise ValueError(
            "a PSF stamp must have odd sides and its peak on the middle pixel, "
            f"got shape {tuple(psf.shape)}; re-centre it on an odd stamp first"
        )
    total = psf.sum((-2, -1), keepdim=True)
    valid = torch.isfinite(total) & (total > 0)
    if not trusted and not torch.compiler.is_compiling() and not bool(valid.all()):
        raise ValueError(
            f"a PSF must be finite and have a positive sum, got sum {total.min().item()}"
        )
    return psf / total


def measure_fwhm(psf: NDArray[Any] | Tensor) -> float:
    """Measures the full width at half maximum of a stamp [pixels], an array or a tensor.

    See :func:`lensrim.lensing.fwhm.fwhm_of`.

    Arguments:
        psf: One stamp, without NaN, with shape :math:`(h, w)`, of any scale.
    """
    return fwhm_of(psf.detach().cpu().numpy() if isinstance(psf, Tensor) else psf)


def native_kernel(
    psf: Tensor,
    subsample: int,
    *,
    psf_kind: PSFKind = "effective",
    psf_subsample: int = 1,
    margin: int = 6,
    trusted: bool = False,
) -> Tensor:
    r"""Computes the kernel :math:`K` that turns averages over rays into the image.

    Arguments:
        psf: PSF sampled on the image's pixels, or more finely, with shape :math:`(*, h, w)`.
        subsample: Number :math:`k` of rays along each side of a pixel.
        psf_kind: ``effective`` if the PSF holds the pixel response, ``optical`` if not.
        psf_subsample: Number :math:`p` of samples of the PSF along each side of a pixel. A PSF
            narrower than two pixels (FWHM) is known well enough only from finer samples.
        margin: Pixels by which the kernel is larger than the stamp on each side, and over which it
            falls to zero; the quotient of two band-limited functions does not end where the stamp
            does.
        trusted: See :func:`normalize_psf`.

    Returns:
        The kernel, with sum 1 and shape :math:`(*, h' + 2m, w' + 2m)`, with :math:`h'` the odd
        number of pixels that holds :math:`h / p`.
    """
    if psf_kind not in get_args(PSFKind):
        raise ValueError(f"psf_kind must be one of {get_args(PSFKind)}, got {psf_kind!r}")
    if min(subsample, psf_subsample) < 1:
        raise ValueError(f"subsamples must be at least 1, got {subsample} and {psf_subsample}")
    psf = normalize_psf(psf, trusted=trusted)
    if subsample == psf_subsample == 1 and psf_kind == "effective":
        return psf
    core = [-(-n // psf_subsample) // 2 for n in psf.shape[-2:]]
    # Four times the extent keeps the ringing of an undersampled PSF from wrapping around.
    size = [4 * (r + margin) + 1 for r in core]
    kernel = torch.fft.fft2(_wrap(psf, [n * psf_subsample for n in size]))
    for axis in (-2, -1):
        kernel = _inner_frequencies(kernel, axis, size[axis])
        f = torch.fft.fftfreq(size[axis], dtype=psf.dtype, device=psf.device)
        ratio = torch.sinc(f / subsample)
        kernel = kernel * _along(axis, ratio / torch.sinc(f) if psf_kind == "effective" else ratio)
    kernel = torch.fft.fftshift(torch.fft.ifft2(kernel).real, dim=(-2, -1))
    for axis, r in ((-2, core[0]), (-1, core[1])):
        kernel = kernel.narrow(axis, size[axis] // 2 - (r + margin), 2 * (r + margin) + 1)
        beyond = (
            torch.arange(-r - margin, r + margin + 1, dtype=psf.dtype, device=psf.device).abs() - r
        )
        # A hard end would leave a second moment of its own, the terms of which do not decay.
        window = torch.cos(beyond.clamp(min=0) * (math.pi / 2 / (margin + 1))) ** 2
        kernel = kernel * _along(axis, window)
    return kernel / kernel.sum((-2, -1), keepdim=True)


class PSF(nn.Module):
    r"""Creates the operator :math:`B`, from averages over rays to the image on the same pixels.

    Arguments:
        psf: PSF, with shape :math:`(h, w)`, or :math:`(B, h, w)` for one per sample; odd sides,
            centred. It is scaled to sum 1.
        shape: Numbers of rows and columns of the image.
        psf_kind: ``effective`` if the PSF holds the pixel response, ``optical`` if not.
        subsample: Number :math:`k` of rays along each side of a pixel in the average.
        psf_subsample: Number of samples of the PSF along each side of a pixel.
        dtype: Type of the images. The kernel is always made in double precision.
        device: Device of the images; that of the PSF by default.
        trusted: See :func:`normalize_psf`.

    Raises:
        ValueError: If a side of the PSF is even, or its sum is not positive.
    """

    transfer: Tensor

    def __init__(
        self,
        psf: Tensor,
        shape: tuple[int, int],
        *,
        psf_kind: PSFKind = "effective",
        subsample: int = 2,
        psf_subsample: int = 1,
        dtype: torch.dtype = torch.float32,
        device: torch.device | str | None = None,
        trusted: bool = False,
    ):
        super().__init__()
        psf = torch.as_tensor(psf, dtype=torch.float64, device=device)
        if psf.ndim not in (2, 3):
            raise ValueError(f"psf must have shape (h, w) or (B, h, w), got {tuple(psf.shape)}")
        kernel = native_kernel(
            psf, subsample, psf_kind=psf_kind, psf_subsample=psf_subsample, trusted=trusted
        )
        if psf.ndim == 3:
            kernel = kernel.unsqueeze(1)
        self.shape, self.psf_kind, self.subsample = (shape[0], shape[1]), psf_kind, subsample
        self.size = padded_size(self.shape, kernel.shape)
        transfer = transfer_function(wrapped(kernel, self.shape, self.size))
        self.register_buffer("transfer", transfer.to(dtype), persistent=False)

    @property
    def dtype(self) -> torch.dtype:
        """Type of the images."""
        return self.transfer.dtype

    def forward(self, image: Tensor) -> Tensor:
        """Convolves images with shape :math:`(B, 1, H, W)`, or :math:`(H, W)`.

        Raises:
            ValueError: If they have other pixels.
        """
        check_pixels("image", image, self.shape, "those of the PSF's images")
        return convolve(image, self.transfer, self.size, self.shape)

    def adjoint(self, image: Tensor) -> Tensor:
        r"""Applies :math:`B^T` to images with shape :math:`(B, 1, H, W)`."""
        lead = image.shape[:-2]
        if self.transfer.ndim > 3:
            lead = torch.broadcast_shapes(lead, self.transfer.shape[:-3])
        return correlate(image, self.transfer, self.size, (*lead, *self.shape))


def convolve_subsampled(
    image: Tensor,
    psf: Tensor,
    subsample: int,
    *,
    psf_kind: PSFKind = "effective",
    psf_subsample: int = 1,
) -> Tensor:
    r"""Convolves on the finer grid and then takes what the pixels see: the slow and exact path.

    An effective PSF is sampled at the pixel centres, an optical one averaged over the pixels.

    Arguments:
        image: Surface brightness at the rays, with shape :math:`(*, kH, kW)`.
        psf: PSF with shape :math:`(*, h, w)`, odd sides, on the grid that ``psf_subsample`` names.
        subsample: Number :math:`k` of rays along each side of a pixel.
        psf_kind: ``effective`` if the PSF holds the pixel response, ``optical`` if not.
        psf_subsample: 1 if the stamp is sampled on the image's pixels (it is then interpolated as
            the band-limited function it must be), :math:`k` if it is sampled on the finer grid.

    Returns:
        The image, with shape :math:`(*, H, W)`.
    """
    k = subsample
    if psf_subsample not in (1, k):
        raise ValueError(f"psf_subsample must be 1 or subsample = {k}, got {psf_subsample}")
    psf = normalize_psf(psf)
    if image.shape[-2] % k or image.shape[-1] % k:
        raise ValueError(f"image must have sides divisible by {k}, got {tuple(image.shape[-2:])}")
    shape = [n // k for n in image.shape[-2:]]
    # An odd number of native pixels: at the Nyquist frequency the shift of a real function is not
    # well defined.
    coarse = [n + -(-s // psf_subsample) for n, s in zip(shape, psf.shape[-2:], strict=True)]
    coarse = [n + 1 - n % 2 for n in coarse]
    size = (k * coarse[0], k * coarse[1])
    spectrum = torch.fft.fft2(image, s=size)
    wrapped = _wrap(_clip(psf, image.shape[-2:]), size if psf_subsample == k else tuple(coarse))
    response = torch.fft.fft2(wrapped)
    for axis, n in ((-2, coarse[0]), (-1, coarse[1])):
        # In cycles per native pixel; the spectrum of the native samples repeats with period 1.
        f = torch.fft.fftfreq(k * n, d=1 / k, dtype=psf.dtype, device=psf.device)
        if psf_subsample != k:
            response = torch.cat([response] * k, dim=axis)
            spectrum = spectrum * _along(axis, f.abs() < 0.5)
        if psf_kind == "effective":
            # Pixel centres lie (k - 1) / 2 fine pixels beyond the first ray of the pixel.
            spectrum = spectrum * _along(axis, torch.exp(1j * math.pi * (k - 1) / k * f))
        else:
            spectrum = spectrum * _along(axis, torch.sinc(f / k))
    result = torch.fft.ifft2(spectrum * response).real
    if psf_kind == "effective":
        return result[..., : k * shape[0] : k, : k * shape[1] : k]
    result = result[..., : k * shape[0], : k * shape[1]]
    return result.unflatten(-1, (-1, k)).unflatten(-3, (-1, k)).mean((-3, -1))


def wrapped(kernel: Tensor, shape: tuple[int, ...], size: Sequence[int]) -> Tensor:
    """Puts odd kernels on a periodic grid, with their centre on the first pixel.

    Arguments:
        kernel: The kernels, with shape :math:`(*, h, w)`.
        shape: Rows and columns of the image: what reaches from no pixel of it to another is cut.
        size: The periodic grid.
    """
    return _wrap(_clip(kernel, shape), size)


def _squared_radius(spacing: float, size: int) -> Tensor:
    if size % 2 == 0:
        raise ValueError(f"a PSF stamp must have odd sides, got size {size}")
    offset = (torch.arange(size, dtype=torch.float64) - size // 2) * spacing
    return offset[:, None] ** 2 + offset**2


def _clip(stamp: Tensor, shape: tuple[int, ...]) -> Tensor:
    """Cuts away what reaches from no pixel of the image to another."""
    cut = [max(0, s // 2 - (n - 1)) for s, n in zip(stamp.shape[-2:], shape, strict=True)]
    h, w = stamp.shape[-2:]
    return stamp[..., cut[0] : h - cut[0], cut[1] : w - cut[1]]


def padded_size(shape: tuple[int, int], stamp: tuple[int, ...]) -> tuple[int, int]:
    """Chooses a periodic grid on which nothing wraps around into the image."""
    reach = [min(s // 2, n - 1) for s, n in zip(stamp[-2:], shape, strict=True)]
    return fast_length(shape[0] + reach[0]), fast_length(shape[1] + reach[1])


def _wrap(stamp: Tensor, size: Sequence[int]) -> Tensor:
    """Pads an odd stamp with zeros to ``size`` and moves its centre to the first pixel."""
    h, w = stamp.shape[-2:]
    stamp = nn.functional.pad(stamp, (0, size[1] - w, 0, size[0] - h))
    return torch.roll(stamp, (-(h // 2), -(w // 2)), dims=(-2, -1))


def _inner_frequencies(spectrum: Tensor, axis: int, n: int) -> Tensor:
    """Keeps the lowest ``n`` frequencies (odd) of a two-sided spectrum."""
    length = spectrum.shape[axis]
    low, high = (
        spectrum.narrow(axis, 0, n // 2 + 1),
        spectrum.narrow(axis, length - n // 2, n // 2),
    )
    return torch.cat((low, high), dim=axis)


def _along(axis: int, values: Tensor) -> Tensor:
    return values[:, None] if axis == -2 else values
