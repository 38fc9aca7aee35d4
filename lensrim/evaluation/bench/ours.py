"""The work as this package does it, and the kernels that no implementation can do without."""

from collections.abc import Callable, Mapping

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from ...lensing.light import Sersic
from ...lensing.mass import SIE, TNFW, Many, Shear, Sum
from ...lensing.mass.many import CHUNK, COMPILE_OPTIONS
from ...lensing.simulator import Simulator
from .scenes import EDGE, GALAXY, LENS, SHEAR, SIGMA, PixelScene, SubhaloScene
from .timing import Contender, Result

SHARED = 9
"""Derivatives that all peers define alike: of the lens, the shear, and the galaxy's centre."""


def arrays(*tensors: Tensor) -> Result:
    """Copies tensors to the host, in double precision."""
    return [t.detach().double().cpu().numpy() for t in tensors]


def inside(image: np.ndarray) -> np.ndarray:
    """Cuts off what is not compared of an image."""
    return image[..., EDGE:-EDGE, EDGE:-EDGE]


def energy(model: Tensor, data: Tensor, weight: Tensor | float = 1 / SIGMA) -> Tensor:
    """Computes the logarithm of the likelihood but for a constant."""
    return -0.5 * ((model - data) * weight).square().sum()


def weight_inside(n: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    """Returns the inverse standard deviations, zero where images are not compared."""
    weight = torch.zeros(n, n, dtype=dtype, device=device)
    weight[EDGE:-EDGE, EDGE:-EDGE] = 1 / SIGMA
    return weight


def simulator(scene: PixelScene, dtype: torch.dtype = torch.float32) -> Simulator:
    """Returns the forward model of one ray per pixel, as that of the peers."""
    return Simulator(
        scene.image_grid,
        scene.source_grid,
        scene.psf(),
        subsample=1,
        dtype=dtype,
        device=scene.device,
    )


def pixel_gradient(scene: PixelScene) -> Contender:
    """Computes the gradient of the likelihood in the convergence and the source."""
    sim, data = simulator(scene), scene.data()
    source, kappa = scene.source().requires_grad_(), scene.kappa().requires_grad_()

    def gradient() -> tuple[Tensor, ...]:
        return torch.autograd.grad(energy(sim(source, kappa), data), (kappa, source))

    return Contender(gradient, lambda: pixel_result(*gradient()))


def pixel_result(kappa: Tensor, source: Tensor) -> Result:
    """Returns gradients for comparison, but for the rim of the source, where peers extrapolate."""
    return arrays(kappa, source[..., 2:-2, 2:-2])


def parameters(dtype: torch.dtype, device: torch.device) -> dict[str, Tensor]:
    """Returns the numbers of the lens, the shear and the galaxy, those that are compared first."""
    numbers = {f"lens {k}": v for k, v in LENS.items()}
    numbers |= {f"shear {k}": v for k, v in SHEAR.items()}
    numbers |= {f"galaxy {k}": GALAXY[k] for k in ("center_x", "center_y")}
    numbers |= {f"galaxy {k}": v for k, v in GALAXY.items()}
    return {k: torch.tensor(v, dtype=dtype, device=device) for k, v in numbers.items()}


def _image(sim: Simulator) -> Callable[[Mapping[str, Tensor]], Tensor]:
    def image(p: Mapping[str, Tensor]) -> Tensor:
        lens, shear, galaxy = (
            {k: p[f"{what} {k}"] for k in names}
            for what, names in (("lens", LENS), ("shear", SHEAR), ("galaxy", GALAXY))
        )
        return sim.lensed(Sersic(**galaxy), Sum([SIE(**lens), Shear(**shear)]))

    return image


def parametric_image(
    scene: PixelScene, dtype: torch.dtype, *, compiled: bool = False
) -> Contender:
    """Renders a Sersic galaxy behind an isothermal ellipsoid with shear."""
    image, p = _image(simulator(scene, dtype)), parameters(dtype, scene.device)
    image = torch.compile(image, fullgraph=True) if compiled else image

    def run() -> Tensor:
        with torch.no_grad():
            return image(p)

    return Contender(run, lambda: [inside(a) for a in arrays(run()[0, 0])])


def parametric_gradient(
    scene: PixelScene, dtype: torch.dtype, *, compiled: bool = False
) -> Contender:
    """Computes the gradient of the likelihood in all parameters of the lens and the galaxy."""
    image, p = _image(simulator(scene, dtype)), parameters(dtype, scene.device)
    data, weight = scene.data().to(dtype), weight_inside(scene.n, dtype, scene.device)
    leaves = [v.requires_grad_() for v in p.values()]

    def value() -> Tensor:
        return energy(image(p), data, weight)

    value = torch.compile(value, fullgraph=True) if compiled else value

    def gradient() -> tuple[Tensor, ...]:
        return torch.autograd.grad(value(), leaves)

    return Contender(gradient, lambda: arrays(torch.stack(gradient()[:SHARED])))


def subhalos(scene: SubhaloScene, *, compiled: bool = False) -> Contender:
    """Computes the deflection of many truncated haloes at every pixel."""
    p, (x, y) = scene.parameters(), scene.grid.coordinates(device=scene.device)

    chunk = 1 << 22 if scene.device.type == "cuda" else CHUNK

    def deflection(x: Tensor, y: Tensor, p: Mapping[str, Tensor]) -> Tensor:
        return torch.stack(Many(TNFW(**p), chunk).deflection(x, y))

    if compiled:
        deflection = torch.compile(deflection, fullgraph=True, options=dict(COMPILE_OPTIONS))

    def run() -> Tensor:
        with torch.no_grad():
            return deflection(x, y, p)

    return Contender(run, lambda: arrays(run()))


def necessary_kernels(scene: PixelScene) -> tuple[Contender, int]:
    """Returns the kernels of a gradient in the maps, and the bytes they must move.

    They are: one real FFT of the padded convergence and two back; ``grid_sample``; a real FFT and
    one back for the PSF; and the same in reverse. Rows of zeros are not transformed, nor are those
    that nobody wants, and all inputs lie as is best; a CPU takes one sample after the other. What
    moves is each kernel's input, read once, and its output, written once, without padding and
    tables; the products between are counted as if they were parts of the transforms.
    """
    inputs = _KernelInputs(scene)
    image, samples, sizes = inputs.image, inputs.samples, inputs.sizes
    spectra = []
    for size in sizes:
        rows = torch.fft.rfft(image, n=size[1])
        columns = F.pad(rows.mT.contiguous(), (0, size[0] - scene.n))
        stages = F.pad(image, (0, size[1] - scene.n)), columns, rows
        spectra.append(inputs.apart(*stages))

    def transforms(size: tuple[int, int], padded: Tensor, columns: Tensor, rows: Tensor) -> None:
        torch.fft.rfft(padded)
        torch.fft.fft(columns)
        torch.fft.ifft(columns)
        torch.fft.irfft(rows, n=size[1])

    def run() -> None:
        for i, sample in enumerate(samples):
            # Of the deflection: three of each kind, forth and back, in either direction.
            for _ in range(3):
                transforms(sizes[0], *spectra[0][i])
            for _ in range(2):
                transforms(sizes[1], *spectra[1][i])
            sampling(*sample)

    pixel_map = 4 * scene.n**2
    spectrum, psf_spectrum = (8 * size[0] * (size[1] // 2 + 1) for size in sizes)
    fourier = 2 * (3 * pixel_map + 3 * spectrum)
    sampled = (1 + 2 + 1) * pixel_map + (1 + 2 + 1 + 1 + 2) * pixel_map
    blur = 4 * (pixel_map + psf_spectrum)
    return Contender(run), scene.batch * (fourier + sampled + blur)


def plain_kernels(scene: PixelScene) -> Contender:
    """Returns the same kernels as torch is called for them: of whole padded maps, rows of zeros
    included, in two dimensions at once, and with their columns apart in memory."""
    inputs = _KernelInputs(scene)
    n, stages = scene.n, []
    for height, width in inputs.sizes:
        padded = F.pad(inputs.image, (0, width - n, 0, height - n))
        stages += [padded, torch.fft.rfft2(padded)]
    batches = inputs.apart(*stages)
    deflection, blur = inputs.sizes

    def run() -> None:
        for sample, (kappa, spectrum, image, image_spectrum) in zip(
            inputs.samples, batches, strict=True
        ):
            # The convergence forth and both components back, and the same in reverse.
            for _ in range(3):
                torch.fft.rfft2(kappa)
                torch.fft.irfft2(spectrum, s=deflection)
            for _ in range(2):
                torch.fft.rfft2(image)
                torch.fft.irfft2(image_spectrum, s=blur)
            sampling(*sample)

    return Contender(run)


def sampling(grad: Tensor, source: Tensor, positions: Tensor) -> None:
    """Reads a source at positions, and takes the gradient in both."""
    F.grid_sample(source, positions, padding_mode="zeros", align_corners=False)
    # Bilinear and zero padding are both coded as 0.
    torch.ops.aten.grid_sampler_2d_backward(grad, source, positions, 0, 0, False, [True, True])


class _KernelInputs:
    """Holds what the kernels work on: a CPU takes one sample after the other."""

    def __init__(self, scene: PixelScene) -> None:
        sim = simulator(scene)
        assert sim.psf is not None
        kappa, source = scene.kappa(), scene.source()
        rays = sim.kappa_rays(kappa)
        self.sizes = sim.kappa_to_alpha.sizes[0], sim.psf.size
        self.at_once = 1 if scene.device.type == "cpu" else scene.batch
        self.image = sim.source(source, rays)
        self.samples = self.apart(self.image, source, sim.source._normalized(rays, None))

    def apart(self, *maps: Tensor) -> list[tuple[Tensor, ...]]:
        """Returns the maps of each sample, or of all if they are taken together."""
        return list(zip(*(m.split(self.at_once) for m in maps), strict=True))
