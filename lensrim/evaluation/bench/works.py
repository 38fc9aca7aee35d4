"""The pieces of work of the table: who takes part, and what is asked of the outcome."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial

import torch

from . import ours, peers
from .scenes import PixelScene, SubhaloScene
from .timing import Contender

OURS = "lensrim"
COMPILED = "lensrim, compiled"
KERNELS = "necessary kernels"
PLAIN_KERNELS = "kernels, whole maps"

Make = Callable[[], Contender]


@dataclass(frozen=True)
class Work:
    """Holds a row of the table.

    Arguments:
        name: What is done.
        lenses: Number of lenses that one run computes; times are given per lens.
        makers: Makes the contenders, by name.
        bars: For other contenders, how many times the time of this package theirs is to be at
            least.
        tolerance: Largest difference of results.
        seconds: Time after which no repetition begins [s].
        memory: Whether the memory of each contender is measured, too.
        bytes_moved: What the necessary kernels move, where it is told.
    """

    name: str
    lenses: int
    makers: Mapping[str, Make]
    bars: Mapping[str, float] = field(default_factory=dict)
    tolerance: float = 1e-3
    seconds: float = 20.0
    memory: bool = False
    bytes_moved: int = 0


def pixel_work(batch: int, device: torch.device, present: set[str], *, n: int = 128) -> Work:
    """Returns the gradient of the likelihood in maps of the convergence and the source."""
    scene = PixelScene(n, batch, device)
    makers: dict[str, Make] = {OURS: partial(ours.pixel_gradient, scene)}
    makers[KERNELS] = lambda: ours.necessary_kernels(scene)[0]
    makers[PLAIN_KERNELS] = partial(ours.plain_kernels, scene)
    if "caustics" in present and device.type == "cpu":
        makers["caustics"] = partial(peers.caustics_pixel_gradient, scene)
    return Work(
        f"{n}² maps, gradient, B = {batch}",
        batch,
        makers,
        bars={"caustics": 4.0 if batch == 1 else 3.5, PLAIN_KERNELS: 1 / 1.5},
        bytes_moved=ours.necessary_kernels(scene)[1],
    )


def parametric_works(
    dtype: torch.dtype, device: torch.device, present: set[str], *, compiled: bool
) -> list[Work]:
    """Returns the image of a Sersic galaxy behind an ellipsoid with shear, and its gradient."""
    scene, precision = PixelScene(device=device), str(dtype).removeprefix("torch.")
    on_host, single = device.type == "cpu", dtype == torch.float32
    image: dict[str, Make] = {OURS: partial(ours.parametric_image, scene, dtype)}
    gradient: dict[str, Make] = {OURS: partial(ours.parametric_gradient, scene, dtype)}
    if compiled:
        image[COMPILED] = partial(ours.parametric_image, scene, dtype, compiled=True)
        gradient[COMPILED] = partial(ours.parametric_gradient, scene, dtype, compiled=True)
    if on_host and "caustics" in present:
        image["caustics"] = partial(peers.caustics_image, scene, dtype)
        gradient["caustics"] = partial(peers.caustics_gradient, scene, dtype)
    # Each in the precision that it works in.
    if on_host and "lenstronomy" in present and not single:
        image["lenstronomy"] = partial(peers.lenstronomy_image, scene)
    if on_host and "jaxtronomy" in present and single:
        image["jaxtronomy"] = partial(peers.jaxtronomy_image, scene)
        gradient["jaxtronomy"] = partial(peers.jaxtronomy_gradient, scene)
    return [
        Work(
            f"SIE, shear, Sersic, image, {precision}",
            1,
            image,
            bars={"caustics": 1.0, "lenstronomy": 1.0},
            tolerance=1e-4,
        ),
        Work(f"SIE, shear, Sersic, gradient, {precision}", 1, gradient, bars={"caustics": 3.0}),
    ]


def subhalo_work(
    count: int, device: torch.device, present: set[str], *, compiled: bool, seconds: float
) -> Work:
    """Returns the deflection of many truncated haloes."""
    scene = SubhaloScene(count, device)
    makers: dict[str, Make] = {OURS: partial(ours.subhalos, scene)}
    if compiled:
        makers[COMPILED] = partial(ours.subhalos, scene, compiled=True)
    if "caustics" in present and device.type == "cpu":
        makers["caustics"] = partial(peers.caustics_subhalos, scene)
    return Work(f"{count} TNFW on 128²", 1, makers, tolerance=1e-3, seconds=seconds, memory=True)
