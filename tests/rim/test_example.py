"""The example of the package's docstring runs as it is printed."""

import inspect
import textwrap

import pytest
import torch
from torch import Tensor

import lensrim.rim

NAMES = lensrim.rim.__all__


def draw(batch: int, seed: int | None = None) -> tuple[Tensor, ...]:
    """Positive smooth spectra, blurred and noisy."""
    generator = None if seed is None else torch.Generator().manual_seed(seed)
    frequency = torch.fft.rfftfreq(32) * 32
    white = torch.randn(batch, 1, 17, 2, generator=generator)
    wave = torch.view_as_complex(white) / (1 + frequency)
    flux = (6 * torch.fft.irfft(wave, 32)).exp()
    distance = torch.minimum(torch.arange(32.0), 32 - torch.arange(32.0))
    kernel = torch.softmax(-(distance**2) / 8, 0).expand(batch, 1, 32)
    sigma = torch.full((batch, 1, 1), 0.1)
    blurred = torch.fft.irfft(torch.fft.rfft(flux) * torch.fft.rfft(kernel), 32)
    y = blurred + sigma * torch.randn(batch, 1, 32, generator=generator)
    return flux, y, kernel, sigma


def test_the_example_runs_as_it_is_printed_and_learns() -> None:
    text = inspect.cleandoc(lensrim.rim.__doc__ or "")
    code = text.split("::\n\n", 1)[1].split("\nand then", 1)[0]
    names = {"draw": draw, "TRAINING": 15}
    torch.manual_seed(0)
    exec(compile(textwrap.dedent(code), "example", "exec"), names)
    rim, energy, fields = names["rim"], names["energy"], names["fields"]
    flux, y, kernel, sigma = draw(64, seed=1)
    score_fn = lensrim.rim.energy_score(energy, y, kernel, sigma, fields=fields)
    free = rim.predict(y, score_fn)
    assert lensrim.rim.to_physical(free, fields)["flux"].shape == flux.shape
    error = (free["flux"] - flux.log()).square().mean()
    assert error < flux.log().square().mean() / 2  # that of the start


@pytest.mark.parametrize("name", NAMES)
def test_every_name_is_there(name: str) -> None:
    assert name in vars(lensrim.rim)


def test_the_example_names_what_is_exported() -> None:
    assert len(set(NAMES)) == len(NAMES)
    public = {n for n, v in vars(lensrim.rim).items() if not n.startswith("_")}
    modules = {n for n in public if inspect.ismodule(vars(lensrim.rim)[n])}
    assert public - modules == set(NAMES)
