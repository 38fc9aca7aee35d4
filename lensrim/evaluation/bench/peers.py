"""The same work by other packages, where they are installed.

What they do differently is undone, at no cost to them, so that all compute the same numbers:
caustics samples its kernel of the deflection half a pixel off, and is given ours; lenstronomy and
JAXtronomy approximate :math:`b_n` of the Sersic profile, and are given the amplitude and radius
that make up for it; caustics convolves light from beyond the frame too, so a rim as wide as half
of the PSF is not compared.
"""

import importlib.util
import math
import os
import warnings
from collections.abc import Callable
from importlib import metadata
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ...lensing.convergence import deflection_kernel
from ...lensing.light import sersic_b
from ...lensing.mass import TNFW
from .ours import SHARED, arrays, energy, inside, parameters, pixel_result, weight_inside
from .scenes import GALAXY, LENS, SHEAR, PixelScene, SubhaloScene
from .timing import Contender

PEERS = ("caustics", "lenstronomy", "jaxtronomy")
Z_LENS, Z_SOURCE = 0.5, 1.5


def installed() -> dict[str, str]:
    """Returns the versions of the peers that are installed."""
    found = [name for name in PEERS if importlib.util.find_spec(name) is not None]
    return {name: metadata.version(name) for name in found}


def _caustics() -> tuple[Any, Any]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import caustics  # pyright: ignore[reportMissingImports]

        return caustics, caustics.FlatLambdaCDM(name="cosmology")


def _simulator(scene: PixelScene, lens: Any, source: Any, dtype: torch.dtype) -> Any:
    caustics, _ = _caustics()
    simulator = caustics.LensSource(
        lens=lens,
        source=source,
        pixelscale=scene.image_grid.spacing,
        pixels_x=scene.n,
        psf=scene.psf().to(dtype),
        name="simulator",
    )
    simulator.to(device=scene.device, dtype=dtype)
    return simulator


def caustics_pixel_gradient(scene: PixelScene) -> Contender:
    """Computes the gradient of the likelihood in the convergence and the source."""
    caustics, cosmology = _caustics()
    n, spacing = scene.n, scene.image_grid.spacing
    lens = caustics.PixelatedConvergence(
        pixelscale=spacing,
        cosmology=cosmology,
        z_l=Z_LENS,
        z_s=Z_SOURCE,
        shape=(n, n),
        name="mass",
    )
    size = lens.ax_kernel_tilde.shape[0]
    lag = torch.arange(size, dtype=torch.float64) - size // 2
    ny, nx = torch.meshgrid(lag, lag, indexing="ij")
    kernel = torch.fft.rfft2(deflection_kernel(nx, ny) / spacing).to(torch.complex64)
    lens.ax_kernel_tilde, lens.ay_kernel_tilde = kernel.to(scene.device)
    source = caustics.Pixelated(
        x0=0.0, y0=0.0, pixelscale=scene.source_grid.spacing, shape=(n, n), name="source"
    )
    simulator = _simulator(scene, lens, source, torch.float32)
    many = torch.func.vmap(simulator) if scene.batch > 1 else lambda p: simulator(p[0])[None]
    maps = (scene.kappa().flatten(1), scene.source().flatten(1))
    p, data = torch.cat(maps, 1).requires_grad_(), scene.data()

    def gradient() -> Tensor:
        return torch.autograd.grad(energy(many(p).unsqueeze(1), data), p)[0]

    def result() -> Any:
        return pixel_result(*gradient().unflatten(1, (2, 1, n, n)).unbind(1))

    return Contender(gradient, result)


def _parametric(scene: PixelScene, dtype: torch.dtype) -> tuple[Callable[[Tensor], Tensor], dict]:
    """Returns an image of a vector of parameters, and the parameters in its order."""
    caustics, cosmology = _caustics()
    shapes = {"angle_system": "e1_e2"}
    lens = caustics.SinglePlane(
        cosmology=cosmology,
        lenses=[
            caustics.SIE(cosmology=cosmology, name="lens", **shapes),
            caustics.ExternalShear(cosmology=cosmology, name="shear", x0=0.0, y0=0.0),
        ],
        z_l=Z_LENS,
        z_s=Z_SOURCE,
        name="plane",
    )
    simulator = _simulator(scene, lens, caustics.Sersic(name="galaxy", **shapes), dtype)
    theirs = {"x0": "center_x", "y0": "center_y", "Rein": "theta_E", "n": "n_sersic", "Ie": "amp"}
    theirs |= {"gamma_1": "gamma1", "gamma_2": "gamma2", "Re": "R_sersic", "e1": "e1", "e2": "e2"}
    ours = parameters(dtype, scene.device)
    # Their radius is on the major axis.
    size = math.hypot(GALAXY["e1"], GALAXY["e2"])
    ours["galaxy R_sersic"] = ours["galaxy R_sersic"] / math.sqrt((1 - size) / (1 + size))
    names = [f"{next(iter(p.parents)).name} {theirs[p.name]}" for p in simulator.dynamic_params]
    return simulator, {name: ours[name] for name in names}


def caustics_image(scene: PixelScene, dtype: torch.dtype) -> Contender:
    """Renders a Sersic galaxy behind an isothermal ellipsoid with shear."""
    simulator, numbers = _parametric(scene, dtype)
    p = torch.stack(list(numbers.values()))

    def run() -> Tensor:
        with torch.no_grad():
            return simulator(p)

    return Contender(run, lambda: [inside(a) for a in arrays(run())])


def caustics_gradient(scene: PixelScene, dtype: torch.dtype) -> Contender:
    """Computes the gradient of the likelihood in all parameters of the lens and the galaxy."""
    simulator, numbers = _parametric(scene, dtype)
    p = torch.stack(list(numbers.values())).requires_grad_()
    data, weight = scene.data()[0, 0].to(dtype), weight_inside(scene.n, dtype, scene.device)
    order = [list(numbers).index(name) for name in list(parameters(dtype, scene.device))[:SHARED]]

    def gradient() -> Tensor:
        return torch.autograd.grad(energy(simulator(p), data, weight), p)[0]

    return Contender(gradient, lambda: arrays(gradient()[order]))


def caustics_subhalos(scene: SubhaloScene, chunk: int = 32) -> Contender:
    """Computes the deflection of many truncated haloes at every pixel.

    Arguments:
        scene: The haloes.
        chunk: Haloes at once; 32 are the fastest on one CPU core, of 2 to 128.
    """
    caustics, cosmology = _caustics()
    from caustics.constants import arcsec_to_rad  # pyright: ignore[reportMissingImports]

    z_l, z_s = torch.tensor(Z_LENS), torch.tensor(Z_SOURCE)
    critical = cosmology.critical_surface_density(z_l, z_s).double()
    distance = cosmology.angular_diameter_distance(z_l).double()
    lens = caustics.TNFW(cosmology=cosmology, name="halo", s=1e-6)
    plane = caustics.BatchedPlane(
        cosmology=cosmology, lens=lens, name="plane", z_l=Z_LENS, z_s=Z_SOURCE, chunk_size=chunk
    )
    plane.to(device=scene.device, dtype=torch.float32)
    p = scene.parameters()
    shape = {k: v.double().cpu() for k, v in p.items() if not k.startswith("center")}
    mass = torch.as_tensor(TNFW(**shape).total_mass()) * critical * (distance * arcsec_to_rad) ** 2
    vector = [
        p["center_x"],
        p["center_y"],
        mass.to(p["r_s"]),
        p["r_s"],
        p["r_t"] / p["r_s"],
    ]
    x, y = scene.grid.coordinates(device=scene.device)

    def run() -> Tensor:
        with torch.no_grad():
            return torch.stack(plane.reduced_deflection_angle(x, y, vector))

    return Contender(run, lambda: arrays(run()))


def _lenstronomy_like(
    package: str, scene: PixelScene
) -> tuple[Any, list[dict], list[dict], float]:
    """Returns the model of lenstronomy or JAXtronomy, its parameters, and the area of a pixel."""
    if torch.get_num_threads() == 1:  # read when JAX is imported
        one = "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1"
        os.environ.setdefault("XLA_FLAGS", one)
    data, psf = (
        importlib.import_module(f"lenstronomy.Data.{name}") for name in ("pixel_grid", "psf")
    )
    image, lens, light = (
        importlib.import_module(f"{package}.{name}")
        for name in ("ImSim.image_model", "LensModel.lens_model", "LightModel.light_model")
    )
    spacing, first = scene.image_grid.spacing, -(scene.n - 1) / 2 * scene.image_grid.spacing
    model = image.ImageModel(
        data.PixelGrid(
            nx=scene.n,
            ny=scene.n,
            ra_at_xy_0=first,
            dec_at_xy_0=first,
            transform_pix2angle=np.eye(2) * spacing,
        ),
        psf.PSF(psf_type="PIXEL", kernel_point_source=scene.psf().numpy()),
        lens_model_class=lens.LensModel(["SIE", "SHEAR"]),
        source_model_class=light.LightModel(["SERSIC_ELLIPSE"]),
    )
    n = GALAXY["n_sersic"]
    exact, theirs = float(sersic_b(torch.tensor(n, dtype=torch.float64))), 1.9992 * n - 0.3271
    galaxy = {
        **GALAXY,
        "R_sersic": GALAXY["R_sersic"] * (theirs / exact) ** n,
        "amp": GALAXY["amp"] * math.exp(exact - theirs),
    }
    return model, [dict(LENS), dict(SHEAR)], [galaxy], spacing**2


def lenstronomy_image(scene: PixelScene) -> Contender:
    """Renders a Sersic galaxy behind an isothermal ellipsoid with shear, in double precision."""
    model, lens, galaxy, area = _lenstronomy_like("lenstronomy", scene)

    def run() -> np.ndarray:
        return model.image(kwargs_lens=lens, kwargs_source=galaxy)

    return Contender(run, lambda: [inside(run()) / area])


def jaxtronomy_image(scene: PixelScene) -> Contender:
    """Renders a Sersic galaxy behind an isothermal ellipsoid with shear, compiled."""
    model, lens, galaxy, area = _lenstronomy_like("jaxtronomy", scene)
    import jax  # pyright: ignore[reportMissingImports]

    image = jax.jit(lambda p: model.image(kwargs_lens=p[0], kwargs_source=p[1]))
    parameters = jax.tree.map(jax.numpy.float32, (lens, galaxy))

    def run() -> np.ndarray:
        return np.asarray(image(parameters))

    return Contender(run, lambda: [inside(run().astype(float)) / area])


def jaxtronomy_gradient(scene: PixelScene) -> Contender:
    """Computes the gradient of the likelihood in all parameters of the lens and the galaxy."""
    model, lens, galaxy, area = _lenstronomy_like("jaxtronomy", scene)
    import jax  # pyright: ignore[reportMissingImports]

    data = scene.data()[0, 0].numpy()
    weight = weight_inside(scene.n, torch.float32, torch.device("cpu")).numpy()

    def value(p: Any) -> Any:
        found = model.image(kwargs_lens=p[0], kwargs_source=p[1]) / area
        return -0.5 * (((found - data) * weight) ** 2).sum()

    gradient = jax.jit(jax.grad(value))
    parameters = jax.tree.map(jax.numpy.float32, (lens, galaxy))

    def run() -> Any:
        return jax.block_until_ready(gradient(parameters))

    def result() -> list[np.ndarray]:
        (of_lens, of_shear), (of_galaxy,) = run()
        found = [of_lens[k] for k in LENS] + [of_shear[k] for k in SHEAR]
        found += [of_galaxy[k] for k in ("center_x", "center_y")]
        return [np.array(found, dtype=float)]

    return Contender(run, result)
