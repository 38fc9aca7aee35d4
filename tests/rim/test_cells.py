"""Convolutions in zero to three dimensions, normalisations, and the cells that remember."""

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lensrim.rim.cells import (
    CELLS,
    ConvGRU,
    GatedResidual,
    MinimalGRU,
    conv,
    group_norm,
    layer_norm,
)

SIZES = [(), (37,), (19, 22), (9, 10, 7), (3, 1)]
EVERY_SIZE = pytest.mark.parametrize("size", SIZES, ids=str)
EVERY_CELL = pytest.mark.parametrize("cell", CELLS.values(), ids=CELLS.keys())


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def awake(module: nn.Module) -> nn.Module:
    """A module as if trained: no parameter is zero."""
    for i, parameter in enumerate(module.parameters()):
        nn.init.zeros_(parameter)
        parameter.data += 0.3 * random(*parameter.shape, seed=i)
    return module.double()


def convolved(x: Tensor, weight: Tensor, bias: Tensor, groups: int = 1) -> Tensor:
    """What :func:`conv` is to compute, whatever the number of dimensions."""
    if x.ndim == 2:
        return x @ weight.T + bias
    convolve = (F.conv1d, F.conv2d, F.conv3d)[x.ndim - 3]
    return convolve(x, weight, bias, padding=weight.shape[-1] // 2, groups=groups)


@pytest.mark.parametrize("size", SIZES[1:], ids=str)
@pytest.mark.parametrize("kernel", [1, 3, 5])
def test_a_convolution_keeps_the_size_or_divides_it(size: tuple[int, ...], kernel: int):
    x = random(2, 3, *size)
    for stride in (1, 2, 3):
        layer = conv(len(size), 3, 4, kernel, stride=stride).double()
        assert layer(x).shape == (2, 4, *[-(-n // stride) for n in size])


@pytest.mark.parametrize("channels", [1, 6, 8, 10, 11, 12, 16])
@pytest.mark.parametrize("size", [(4, 3), ()], ids=str)
def test_group_normalisation_takes_any_number_of_channels(channels: int, size: tuple[int, ...]):
    norm = group_norm(channels)
    assert norm.num_groups <= 8 and channels % norm.num_groups == 0
    x = 3 + 5 * random(2, channels, *size)
    parts = x.reshape(2, norm.num_groups, -1)
    mean, variance = parts.mean(2, keepdim=True), parts.var(2, correction=0, keepdim=True)
    expected = ((parts - mean) / (variance + norm.eps).sqrt()).reshape(x.shape)
    torch.testing.assert_close(norm.double()(x), expected)


def test_layer_normalisation_is_by_all_channels_and_pixels():
    x = 3 + 5 * random(2, 6, 4, 3)
    norm = layer_norm(6).double()
    mean, std = x.mean((1, 2, 3), keepdim=True), x.var((1, 2, 3), correction=0, keepdim=True)
    torch.testing.assert_close(norm(x), (x - mean) / (std + norm.eps).sqrt())


@EVERY_SIZE
def test_the_gated_recurrent_unit_is_its_formula(size: tuple[int, ...]):
    cell = awake(ConvGRU(len(size), 3, 4))
    x, h = random(2, 3, *size), random(2, 4, *size, seed=1)
    w = dict(cell.named_parameters())
    both = torch.cat([x, h], 1)
    z = 1 / (1 + (-convolved(both, w["gates.weight"][:4], w["gates.bias"][:4])).exp())
    r = 1 / (1 + (-convolved(both, w["gates.weight"][4:], w["gates.bias"][4:])).exp())
    reset = torch.cat([x, r * h], 1)
    candidate = convolved(reset, w["candidate.weight"], w["candidate.bias"]).tanh()
    torch.testing.assert_close(cell(x, h), (1 - z) * h + z * candidate)


@EVERY_SIZE
def test_the_unit_with_one_gate_is_its_formula(size: tuple[int, ...]):
    cell = awake(MinimalGRU(len(size), 3, 4))
    x, h = random(2, 3, *size), random(2, 4, *size, seed=1)
    w = dict(cell.named_parameters())
    both = torch.cat([x, h], 1)
    f = 1 / (1 + (-convolved(both, w["gate.weight"], w["gate.bias"])).exp())
    forgotten = torch.cat([x, f * h], 1)
    candidate = convolved(forgotten, w["candidate.weight"], w["candidate.bias"]).tanh()
    torch.testing.assert_close(cell(x, h), (1 - f) * h + f * candidate)


@EVERY_SIZE
def test_the_gated_residual_is_its_formula(size: tuple[int, ...]):
    cell = awake(GatedResidual(len(size), 3, 4))
    x, h = random(2, 3, *size), random(2, 4, *size, seed=1)
    w = dict(cell.named_parameters())
    both = torch.cat([x, h], 1)
    if size:
        both = convolved(both, w["spread.weight"], w["spread.bias"], groups=7)
    mixing = w["mix.weight"].reshape(8, 7)
    mixed = torch.einsum("oc,bc...->bo...", mixing, both)
    mixed = mixed + w["mix.bias"].reshape(-1, *[1] * len(size))
    z, c = 1 / (1 + (-mixed[:, :4]).exp()), mixed[:, 4:].tanh()
    torch.testing.assert_close(cell(x, h), h + z * (c - h))


@EVERY_SIZE
@EVERY_CELL
def test_no_memory_grows(cell, size: tuple[int, ...]):
    made = awake(cell(len(size), 3, 4))
    h = torch.zeros(2, 4, *size, dtype=torch.float64)
    for step in range(20):
        h = made(50 * random(2, 3, *size, seed=step), h)
        assert h.abs().max() <= 1


@pytest.mark.parametrize("dims", range(4))
def test_the_cheaper_cells_are_smaller(dims: int):
    def size(cell) -> int:
        return sum(p.numel() for p in cell(dims, 32, 32).parameters())

    assert 3 * size(MinimalGRU) == 2 * size(ConvGRU)
    assert size(GatedResidual) <= size(MinimalGRU)
    if dims == 2:
        assert 10 * size(GatedResidual) < size(ConvGRU)
