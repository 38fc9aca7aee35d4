"""The public operators of the simulator, for the laws that all of them obey: on every device, in
every precision, compiled, and under ``torch.func.vmap``.

An operator is a function of tensors, made for a type and a device from objects that hold the rest.
What is not in the list follows values in its course, the search for images of point sources and
for critical curves, or works on arrays of the host.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import lights
import masses
import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves

from lensrim.grid import PixelGrid
from lensrim.lensing import beyond, jacobian, likelihood, time_delay
from lensrim.lensing.convergence import KappaToAlpha
from lensrim.lensing.interpolation import Bicubic
from lensrim.lensing.light import PointPSF, PointSource, Sersic
from lensrim.lensing.mass import EPL, SIE, TNFW, Many, Shear, Sum, pixel_average
from lensrim.lensing.multi_plane import MultiPlane
from lensrim.lensing.noise import CorrelatedNoise, GaussianNoise, PoissonNoise, power_spectrum
from lensrim.lensing.psf import PSF, convolve_subsampled, gaussian_psf
from lensrim.lensing.simulator import Simulator
from lensrim.lensing.source import PixelatedSource
from lensrim.lensing.subhalos import Subhalos

Function = Callable[..., Any]


@dataclass(frozen=True)
class Operator:
    """Creates an entry of the list.

    Arguments:
        make: Takes a type and a device, and returns the function.
        inputs: Its arguments, in double precision and on the host; all are differentiated.
        functional: Whether it calls ``torch.func``, where the pretended device cannot follow.
    """

    make: Callable[[torch.dtype, torch.device], Function]
    inputs: Sequence[Tensor]
    functional: bool = False

    def outcome(
        self, dtype: torch.dtype, device: torch.device, wrap: Callable[[Function], Function]
    ) -> list[Tensor]:
        """Values of the function, wrapped, and the gradients of a sum of them where it has any."""
        function = wrap(self.make(dtype, device))
        inputs = [v.to(device, dtype).requires_grad_() for v in self.inputs]
        values = tree_leaves(function(*inputs))
        total = sum((v.sin().sum() for v in values), torch.zeros((), dtype=dtype, device=device))
        if not total.requires_grad:
            return values
        slopes = torch.autograd.grad(total, inputs, materialize_grads=True)
        return [*(v.detach() for v in values), *slopes]


def random(*shape: int, seed: int = 0) -> Tensor:
    """Numbers between 0.1 and 1.1."""
    generator = torch.Generator().manual_seed(seed)
    return 0.1 + torch.rand(shape, generator=generator, dtype=torch.float64)


GRID, SOURCE = PixelGrid((9, 8), 0.3), PixelGrid((4, 5), 0.3)
MAP = (1, 1, 9, 8)
KAPPA = pixel_average(SIE(0.7, 0.1, 0.05, 0.03), GRID)[None, None]
SHEAR = torch.tensor([[0.03, -0.02]], dtype=torch.float64)
CENTER = torch.tensor([[0.02, 0.05]], dtype=torch.float64)
GALAXY = random(1, 1, 4, 5)
STAMP = gaussian_psf(0.5, 0.3, 3)
DATA, SIGMA, WEIGHT = (random(*MAP, seed=s) for s in (4, 5, 10))
MASK = random(*MAP, seed=3) > 0.3
COVARIANCE = torch.tensor([[0.02, 0.1, 0.05], [0.15, 1.0, 0.15], [0.05, 0.1, 0.02]]).double()
POWER = 0.09 * power_spectrum(COVARIANCE, GRID.shape)
LENS = [torch.tensor(v, dtype=torch.float64) for v in (1.1, 2.1, 0.1, -0.05, 0.03)]
HALOS = [random(6, seed=s) for s in range(5)]
"""Sizes and centres of some haloes."""


def coordinates(dtype: torch.dtype, device: torch.device) -> tuple[Tensor, Tensor]:
    return GRID.coordinates(dtype=dtype, device=device)


def mass_operator(case: masses.Case) -> Operator:
    names, numbers = list(case.numbers), list(case.tensors().values())

    def make(dtype: torch.dtype, device: torch.device) -> Function:
        x, y = (c.to(device, dtype) for c in masses.points(6))
        return lambda *p: list(
            masses.values(case.make(**dict(zip(names, p, strict=True))), x, y).values()
        )

    return Operator(make, numbers)


def light_operator(kind: Any, numbers: dict[str, Any]) -> Operator:
    names, values = list(numbers), list(lights.tensors(numbers).values())

    def make(dtype: torch.dtype, device: torch.device) -> Function:
        x, y = coordinates(dtype, device)
        return lambda *p: kind(**dict(zip(names, p, strict=True))).surface_brightness(x, y)

    return Operator(make, values)


def noise_operator(make_noise: Callable[[Callable[[Tensor], Tensor]], Any]) -> Operator:
    def make(dtype: torch.dtype, device: torch.device) -> Function:
        noise = make_noise(lambda t: t.to(device, dtype if t.is_floating_point() else t.dtype))
        return lambda model, image: (noise.log_prob(model, image), noise.residual(model, image))

    return Operator(make, (random(*MAP), random(*MAP, seed=1)))


def map_operator(make_method: Callable[[KappaToAlpha], Function], *inputs: Tensor) -> Operator:
    def make(dtype: torch.dtype, device: torch.device) -> Function:
        return make_method(KappaToAlpha(GRID, dtype=dtype, device=device))

    return Operator(make, (KAPPA, *inputs))


def simulated(use: Callable[[Simulator, Callable[[Tensor], Tensor]], Function], *inputs: Tensor):
    def make(dtype: torch.dtype, device: torch.device) -> Function:
        sim = Simulator(GRID, SOURCE, STAMP, dtype=dtype, device=device)
        return use(sim, lambda t: t.to(device, dtype))

    return Operator(make, inputs)


def at_coordinates(
    use: Callable[..., Any], inputs: Sequence[Tensor], *, functional: bool = False
) -> Operator:
    def make(dtype: torch.dtype, device: torch.device) -> Function:
        x, y = coordinates(dtype, device)
        return lambda *p: use(x, y, *p)

    return Operator(make, inputs, functional)


def score_of(sim: Simulator, there: Callable[[Tensor], Tensor]) -> Function:
    score = likelihood.score(sim, there(DATA), there(SIGMA))

    def gradient(source: Tensor, log_kappa: Tensor, shear: Tensor) -> tuple[Tensor, ...]:
        state, aux = score({"source": source, "log_kappa": log_kappa, "shear": shear})
        return (*state.values(), aux["residual"], aux["model"])

    return gradient


def two_planes(dtype: torch.dtype, device: torch.device) -> Function:
    # Distances are astropy's, so the planes are made beforehand.
    masses = [
        EPL(*(v.to(device, dtype) for v in LENS)),
        Sum([SIE(0.2, 0.1, 0.0), Shear(0.1, 0.0)]),
    ]
    return MultiPlane([(0.3, masses[0]), (0.9, masses[1])], 2.0).deflection


def points_psf(dtype: torch.dtype, device: torch.device) -> Function:
    psf = PointPSF(STAMP, GRID, dtype=dtype, device=device)
    return lambda *p: psf(PointSource(*p))


POSITIONS = torch.stack([random(1, 1, 7, seed=s) * 2 - 1 for s in (7, 8)])
RAYS = random(1, 2, 9, 8, seed=6) - 0.6

MASSES = {f"mass: {name}": mass_operator(case) for name, case in masses.CASES.items()}
LIGHTS = {f"light: {name}": light_operator(*light) for name, light in lights.LIGHTS.items()}
NOISES = {
    "noise: sigma": noise_operator(lambda to: GaussianNoise(to(random(*MAP, seed=2)), to(MASK))),
    "noise: Poisson": noise_operator(
        lambda to: PoissonNoise(to(torch.tensor(0.2)), to(random(*MAP, seed=2)), to(MASK))
    ),
    "noise: correlated": noise_operator(lambda to: CorrelatedNoise(to(POWER), to(MASK))),
}
MAPS = {
    "kappa: deflection": map_operator(lambda k: k.forward),
    "kappa: at rays": map_operator(lambda k: k.at_subrays),
    "kappa: at positions": map_operator(
        lambda k: lambda kappa, xy: k.at(kappa, *xy, outside=False), POSITIONS
    ),
    "kappa: outside": map_operator(
        lambda k: lambda kappa, xy: k.at(kappa, *xy, outside=True), 4 * POSITIONS
    ),
    "kappa: shear": map_operator(lambda k: k.shear),
    "kappa: magnification": map_operator(lambda k: k.inverse_magnification, SHEAR),
    "kappa: potential": map_operator(lambda k: k.potential),
    "PSF, effective": Operator(
        lambda t, d: PSF(STAMP, GRID.shape, dtype=t, device=d), [random(*MAP)]
    ),
    "PSF, optical": Operator(
        lambda t, d: PSF(STAMP, GRID.shape, psf_kind="optical", dtype=t, device=d), [random(*MAP)]
    ),
    "PSF, adjoint": Operator(
        lambda t, d: PSF(STAMP, GRID.shape, dtype=t, device=d).adjoint, [random(*MAP)]
    ),
    "PSF, fine": Operator(
        lambda t, d: lambda fine: convolve_subsampled(fine, STAMP.to(d, t), 2),
        [random(1, 1, 8, 6)],
    ),
    "PSF of points": Operator(points_psf, [random(4, seed=s) - 0.6 for s in range(3)]),
    "source, bilinear": Operator(lambda t, d: PixelatedSource(SOURCE), [GALAXY, RAYS]),
    "source, bicubic": Operator(lambda t, d: PixelatedSource(SOURCE, Bicubic()), [GALAXY, RAYS]),
    "source, adjoint": Operator(
        lambda t, d: lambda v, rays: PixelatedSource(SOURCE, Bicubic()).adjoint(v, rays),
        [random(*MAP), RAYS],
    ),
    "simulator": simulated(lambda sim, to: sim, GALAXY, KAPPA, SHEAR, CENTER),
    "simulator, adjoint": simulated(
        lambda sim, to: lambda image: sim.trace_adjoint(image, sim.theta), random(*MAP)
    ),
    "simulator, analytic": simulated(
        lambda sim, to: lambda *p: sim.render(Sersic(1.0, p[0], p[1]), sim.rays(EPL(*p))), *LENS
    ),
    "simulator, lensed": simulated(
        lambda sim, to: lambda *p: sim.lensed(Sersic(1.0, p[0], p[1]), SIE(p[0], *p[2:])), *LENS
    ),
    "likelihood": simulated(
        lambda sim, to: (
            lambda source, log_kappa: likelihood.log_likelihood(
                likelihood.simulate(sim, {"source": source, "log_kappa": log_kappa}),
                to(DATA),
                to(SIGMA),
            )
        ),
        GALAXY,
        KAPPA.log10(),
    ),
    "score": simulated(score_of, GALAXY, KAPPA.log10(), SHEAR),
    "many haloes": at_coordinates(
        lambda x, y, *p: Many(TNFW(*p), chunk=150).deflection(x, y), HALOS, functional=True
    ),
    "many isothermal subhalos": at_coordinates(
        lambda x, y, *p: Subhalos(*p).deflection(x, y), [HALOS[0], *HALOS[2:]]
    ),
    "two planes": Operator(two_planes, list(coordinates(torch.float64, torch.device("cpu")))),
    "derivatives of a deflection": at_coordinates(
        lambda x, y, *p: tuple(jacobian.jacobian(EPL(*p), x, y)), LENS, functional=True
    ),
    "magnification": at_coordinates(
        lambda x, y, *p: jacobian.inverse_magnification(EPL(*p), x, y), LENS, functional=True
    ),
    "time delay": at_coordinates(
        lambda x, y, *p: time_delay.fermat_potential(EPL(*p), x, y, p[2], p[3]), LENS
    ),
    "shear of what is beyond": Operator(
        lambda t, d: lambda missing: beyond.part_shear(missing, GRID, WEIGHT.to(d, t)),
        [random(1, 2, 9, 8)],
    ),
    "shear of a map": Operator(
        lambda t, d: (
            lambda alpha, kappa: beyond.shear_of_map(
                alpha, kappa, WEIGHT.to(d, t), KappaToAlpha(GRID, dtype=t, device=d)
            )
        ),
        [random(1, 2, 9, 8), random(1, 1, 9, 8)],
    ),
}
"""Those without a law of their own for each precision and under ``torch.func.vmap``."""
OPERATORS = {**MASSES, **LIGHTS, **NOISES, **MAPS}
