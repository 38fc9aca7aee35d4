r"""A test of an installation, in seconds: what it is made of, and whether it computes rightly.

The truth is in closed form. A convergence :math:`\kappa_0 e^{-r^2 / 2 \sigma^2}` deflects by

.. math:: \alpha(\theta) = 2 \kappa_0 \sigma^2 \, \frac{1 - e^{-r^2 / 2 \sigma^2}}{r^2} \, \theta ,

and a source whose brightness is the coordinate :math:`\beta_x` itself is seen as
:math:`\theta_x - \alpha_x(\theta)`: Fourier transforms, rays and interpolation in one image.
"""

import io
import math
import os
import platform
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path

import torch

from .. import __version__, zoo
from ..errors import InputError
from ..grid import PixelGrid
from ..inference.guess.starts import packaged_guesser
from ..inference.machine import load_machine
from ..lensing.simulator import Simulator

NUMERICS = ("torch", "numpy", "scipy", "astropy", "regions")
LIBRARIES = (*NUMERICS, "matplotlib", "jaxtyping", "safetensors", "tyro", "tqdm")
EXTRAS = {"vis": "finufft", "data": "h5py", "dask": "distributed", "board": "tensorboard"}
"""What an extra of the package brings."""

TOLERANCE = 2e-3
"""Error of the image over the largest deflection; 7.5e-4 with these pixels, a third of sigma."""

AGAIN = "install lensrim and its libraries again, in a fresh virtual environment"


@dataclass(frozen=True)
class Check:
    """One thing that must hold.

    Arguments:
        name: What it is called.
        run: Does it; returns what was found, and raises where it does not hold.
        advice: What to do then.
    """

    name: str
    run: Callable[[], str]
    advice: str = AGAIN


def surroundings() -> Iterator[tuple[str, str]]:
    """Says what the installation is made of: names and values."""
    yield "lensrim", f"{__version__}, in {Path(__file__).parent.parent}"
    yield "python", f"{platform.python_version()} on {platform.platform()}"
    for name in LIBRARIES:
        yield name, _version(name)
    cores = len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count()
    yield "threads", f"{torch.get_num_threads()} of torch, {cores} cores for this process"
    yield "memory", _memory()
    yield "devices", ", ".join(["cpu", *_cuda()])
    for extra, module in EXTRAS.items():
        there = f"{module} {_version(module)}" if find_spec(module) else "absent"
        yield f"[{extra}]", there + ("" if find_spec(module) else f": pip install '.[{extra}]'")


def checks() -> list[Check]:
    """Returns what must hold here."""
    found = [
        Check("fourier transform", _fourier),
        Check("ray-tracing", lambda: _trace(torch.device("cpu"))),
        Check("gradient", _gradient),
        Check("FITS", _fits),
        Check("picture", _picture, "matplotlib must draw: install it again, or unset MPLBACKEND"),
        Check("network of the search", _guesser),
        *(Check(f"machine {name}", lambda n=name: _machine(n)) for name in zoo.cards()),
    ]
    if torch.cuda.is_available():
        advice = "give --device cpu, or install a torch that is built for this GPU"
        found.append(Check("ray-tracing, cuda", lambda: _trace(torch.device("cuda")), advice))
    return found


def _version(name: str) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return "not installed"


def _memory() -> str:
    try:
        page = os.sysconf("SC_PAGE_SIZE")
        total, free = (os.sysconf(f"SC_{which}PHYS_PAGES") for which in ("", "AV"))
    except (AttributeError, ValueError, OSError):  # not told by this system
        return "not known"
    return f"{page * total / 2**30:.1f} GB, of which {page * free / 2**30:.1f} GB are free"


def _cuda() -> Iterator[str]:
    for number in range(torch.cuda.device_count()):
        about = torch.cuda.get_device_properties(number)
        yield f"cuda:{number} ({about.name}, {about.total_memory / 2**30:.0f} GB)"


def _fourier() -> str:
    n = torch.arange(48.0, dtype=torch.float64)
    wave = torch.cos(2 * torch.pi * (5 * n / 48)) * torch.cos(2 * torch.pi * 7 * n / 48)[:, None]
    spectrum = torch.fft.fft2(wave)
    expected = torch.zeros_like(spectrum)
    for row in (7, -7):
        for column in (5, -5):
            expected[row, column] = 48**2 / 4
    return _small(float((spectrum - expected).abs().max()) / 48**2, 1e-12)


def _trace(device: torch.device) -> str:
    grid, source_grid = PixelGrid((40, 44), 0.1), PixelGrid((60, 60), 0.1)
    simulator = Simulator(grid, source_grid, subsample=1, device=device)
    x, y = (c.to(device) for c in grid.coordinates())
    kappa0, width, r2 = 0.6, 0.3, (x**2 + y**2).clamp(min=1e-12)
    # a map of κ holds averages over pixels
    edges = [torch.erf(torch.stack([c - 0.05, c + 0.05]) / width / 2**0.5) for c in (x, y)]
    sides = [math.sqrt(math.pi / 2) * width / 0.1 * (b - a) for a, b in edges]
    kappa = kappa0 * sides[0] * sides[1]
    alpha = 2 * kappa0 * width**2 * (1 - torch.exp(-r2 / 2 / width**2)) / r2 * x
    beta = source_grid.coordinates()[0].to(device)
    seen = simulator(beta[None, None].float(), kappa=kappa[None, None].float())[0, 0]
    return _small(float((seen - (x - alpha)).abs().max() / alpha.abs().max()), TOLERANCE)


def _gradient() -> str:
    grid = PixelGrid((24, 20), 0.1)
    simulator = Simulator(grid, grid, dtype=torch.float64)
    random = torch.Generator().manual_seed(0)
    source, seen = torch.rand(2, 1, 1, 24, 20, generator=random, dtype=torch.float64)
    source.requires_grad_()
    product = (simulator(source, kappa=torch.full_like(seen, 0.3)) * seen).sum()
    (adjoint,) = torch.autograd.grad(product, source)
    return _small(abs(float((adjoint * source.detach()).sum() / product.detach()) - 1), 1e-10)


def _fits() -> str:
    import numpy as np
    from astropy.io import fits

    written = np.arange(12.0).reshape(3, 4)
    with tempfile.TemporaryDirectory() as folder:
        fits.PrimaryHDU(written).writeto(Path(folder) / "a.fits")
        read = fits.getdata(Path(folder) / "a.fits")
    return _small(float(np.abs(np.asarray(read) - written).max()), 0.0)


def _picture() -> str:
    from matplotlib.figure import Figure

    stream, figure = io.BytesIO(), Figure(figsize=(1, 1))
    figure.add_subplot().plot([0, 1])
    figure.savefig(stream, format="png")
    return f"{len(stream.getvalue())} bytes"


def _machine(name: str) -> str:
    machine = load_machine(name)
    number = sum(p.numel() for p in machine.rim.parameters())
    return f"{number:,} parameters, checksum {machine.sha256[:12]}"


def _guesser() -> str:
    return f"{sum(p.numel() for p in packaged_guesser().parameters()):,} parameters"


def _small(error: float, limit: float) -> str:
    """Returns an error in words.

    Raises:
        InputError: If it is above the limit, or no number.
    """
    if not error <= limit:
        raise InputError(f"error {error:.1e}, above {limit:.1e}")
    return f"error {error:.1e}"
