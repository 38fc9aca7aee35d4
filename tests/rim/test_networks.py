"""Convolutions in one to three dimensions, the cell that remembers, and the U-Net of both."""

import json
import warnings

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lensrim.rim.cells import ConvGRU, conv, group_norm
from lensrim.rim.networks import Network, UNet, resize

SIZES = [(37,), (19, 22), (9, 10, 7), (3, 1)]
EVERY_SIZE = pytest.mark.parametrize("size", SIZES, ids=str)
GIVEN = {"maps_in": 3, "vectors_in": 2, "maps_out": 2, "vectors_out": 3}
NETWORKS = [
    {"widths": (6, 10, 12), "lift": 5, "embedding": 7},
    {"widths": (16, 4), "lift": 8, "embedding": 3},
    {"widths": (16,), "lift": 1, "embedding": 4},
]
EVERY = pytest.mark.parametrize("options", NETWORKS, ids=str)


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def awake(network: nn.Module) -> nn.Module:
    """A network as if trained: no parameter is zero."""
    for i, parameter in enumerate(network.parameters()):
        nn.init.zeros_(parameter)
        parameter.data += 0.3 * random(*parameter.shape, seed=i)
    return network.double()


def unet(size: tuple[int, ...], **options: object) -> UNet:
    network = awake(UNet(len(size), **{**GIVEN, **NETWORKS[0], **options}))
    assert isinstance(network, UNet)
    return network


def inputs(size: tuple[int, ...], batch: int = 2) -> tuple[Tensor, Tensor]:
    return random(batch, 3, *size, seed=100), random(batch, 2, seed=101)


@EVERY_SIZE
@pytest.mark.parametrize("kernel", [1, 3, 5])
def test_a_convolution_keeps_the_size_or_divides_it(size: tuple[int, ...], kernel: int):
    x = random(2, 3, *size)
    for stride in (1, 2, 3):
        layer = conv(len(size), 3, 4, kernel, stride=stride).double()
        assert layer(x).shape == (2, 4, *[-(-n // stride) for n in size])


@pytest.mark.parametrize("channels", [1, 6, 8, 10, 11, 12, 16])
def test_group_normalisation_takes_any_number_of_channels(channels: int):
    norm = group_norm(channels)
    assert norm.num_groups <= 8 and channels % norm.num_groups == 0
    x = 3 + 5 * random(2, channels, 4, 3)
    parts = x.reshape(2, norm.num_groups, -1)
    mean, variance = parts.mean(2, keepdim=True), parts.var(2, correction=0, keepdim=True)
    expected = ((parts - mean) / (variance + norm.eps).sqrt()).reshape(x.shape)
    torch.testing.assert_close(norm.double()(x), expected)


@EVERY_SIZE
def test_the_cell_is_its_formula(size: tuple[int, ...]):
    dims = len(size)
    cell = awake(ConvGRU(dims, 3, 4, kernel=3))
    x, h = random(2, 3, *size), random(2, 4, *size, seed=1)
    weights = dict(cell.named_parameters())
    convolve = (F.conv1d, F.conv2d, F.conv3d)[dims - 1]

    def linear(name: str, first: int, *maps: Tensor) -> Tensor:
        w, b = weights[f"{name}.weight"], weights[f"{name}.bias"]
        part = slice(first, first + 4)
        return convolve(torch.cat(maps, 1), w[part], b[part], padding=1)

    z = 1 / (1 + (-linear("gates", 0, x, h)).exp())
    r = 1 / (1 + (-linear("gates", 4, x, h)).exp())
    candidate = linear("candidate", 0, x, r * h).tanh()
    torch.testing.assert_close(cell(x, h), (1 - z) * h + z * candidate)


@EVERY_SIZE
@EVERY
def test_any_size_in_any_number_of_dimensions(size: tuple[int, ...], options: dict):
    network = unet(size, **options)
    assert isinstance(network, Network)
    maps, vectors = inputs(size)
    hidden = network.init_hidden(maps)
    assert all((h == 0).all() and h.dtype == torch.float64 for h in hidden)
    out_maps, out_vectors, after = network(maps, vectors, hidden)
    assert out_maps.shape == (2, 2, *size) and out_vectors.shape == (2, 3)
    assert [h.shape for h in after] == [h.shape for h in hidden]
    assert len(hidden) == len(options["widths"]) + 1
    for level, width in enumerate(options["widths"]):
        assert hidden[level].shape == (2, width, *[-(-n // 2 ** (level + 1)) for n in size])
    assert hidden[-1].shape == (2, options["embedding"])


@EVERY
def test_the_memory_changes_at_every_level_and_every_step(options: dict):
    network = unet((19, 22), **options)
    maps, vectors = inputs((19, 22))
    hidden = network.init_hidden(maps)
    for _ in range(4):
        *_, after = network(maps, vectors, hidden)
        for old, new in zip(hidden, after, strict=True):
            assert (old != new).double().mean() > 0.99
        hidden = after


@EVERY
def test_the_memory_of_every_level_is_read(options: dict):
    network = unet((19, 22), **options)
    maps, vectors = inputs((19, 22))
    *_, hidden = network(maps, vectors, network.init_hidden(maps))
    before = network(maps, vectors, hidden)
    for level in range(len(hidden)):
        other = [h + 0.1 if i == level else h for i, h in enumerate(hidden)]
        out_maps, out_vectors, _ = network(maps, vectors, tuple(other))
        assert not torch.allclose(out_maps, before[0])
        assert not torch.allclose(out_vectors, before[1])


@EVERY
def test_maps_and_vectors_reach_each_other(options: dict):
    network = unet((19, 22), **options)
    maps, vectors = inputs((19, 22))
    hidden = network.init_hidden(maps)
    before = network(maps, vectors, hidden)
    for x in (maps, vectors):
        for channel in range(x.shape[1]):
            moved = x.clone()
            moved[:, channel] *= -2
            given = (moved, vectors) if x is maps else (maps, moved)
            after = network(*given, hidden)
            assert not torch.allclose(after[0], before[0])
            assert not torch.allclose(after[1], before[1])


@EVERY_SIZE
@EVERY
def test_an_untrained_network_proposes_nothing(size: tuple[int, ...], options: dict):
    network = UNet(len(size), **GIVEN, **options).double()
    maps, vectors = inputs(size)
    out_maps, out_vectors, _ = network(maps, vectors, network.init_hidden(maps))
    assert (out_maps == 0).all() and (out_vectors == 0).all()


@EVERY
def test_no_sample_sees_another(options: dict):
    network = unet((19, 22), **options)
    maps, vectors = inputs((19, 22), batch=3)
    hidden = network(maps, vectors, network.init_hidden(maps))[-1]

    def outputs(maps: Tensor, vectors: Tensor, *hidden: Tensor) -> list[Tensor]:
        out_maps, out_vectors, after = network(maps, vectors, hidden)
        return [out_maps, out_vectors, *after]

    given = (maps, vectors, *hidden)
    moved = [x.clone() for x in given]
    for x in moved:
        x[1] += 1
    before, other = outputs(*given), outputs(*moved)
    alone = outputs(*(x[2:] for x in given))
    for one, two, single in zip(before, other, alone, strict=True):
        torch.testing.assert_close(one[[0, 2]], two[[0, 2]], rtol=0, atol=1e-12)
        torch.testing.assert_close(one[2:], single, rtol=0, atol=1e-12)
        assert not torch.allclose(one[1], two[1])


@EVERY
def test_its_configuration_makes_it_again(options: dict):
    network = unet((19, 22), **options)
    again = UNet(**json.loads(json.dumps(network.config))).double()
    again.load_state_dict(network.state_dict())
    assert again.config == network.config == {"dims": 2, **GIVEN, **options}
    maps, vectors = inputs((19, 22))
    hidden = network.init_hidden(maps)
    for one, two in zip(network(maps, vectors, hidden), again(maps, vectors, hidden), strict=True):
        assert all(torch.equal(a, b) for a, b in zip(one, two, strict=True))


def test_a_network_need_not_return_vectors():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        network = UNet(1, **{**GIVEN, "vectors_out": 0}, **NETWORKS[0]).double()
    maps, vectors = inputs((37,))
    assert network(maps, vectors, network.init_hidden(maps))[1].shape == (2, 0)


def test_one_sample_may_shrink_to_one_pixel():
    network = UNet(2, **GIVEN, widths=(8, 8), lift=8, embedding=4).double()
    maps, vectors = inputs((3, 4), batch=1)
    assert network(maps, vectors, network.init_hidden(maps))[0].shape == (1, 2, 3, 4)


@pytest.mark.parametrize(
    "wrong",
    [{"dims": 0}, {"dims": 4}, {"widths": ()}, {"widths": (8, 0)}, {"lift": 0}, {"embedding": 0}],
    ids=str,
)
def test_it_refuses_what_cannot_be_built(wrong: dict):
    with pytest.raises(ValueError, match="a U-Net has 1 to 3 dimensions and one level or more"):
        UNet(**{"dims": 2, **GIVEN, **wrong})


@pytest.mark.parametrize(
    ("shape", "to", "mode"),
    [
        ((5,), (10,), "linear"),
        ((4, 7), (8, 13), "bilinear"),
        ((3, 4, 5), (6, 7, 9), "trilinear"),
        ((9, 8), (4, 5), "bilinear"),
    ],
)
def test_maps_are_resized_as_torch_does(shape: tuple, to: tuple, mode: str) -> None:
    maps = torch.randn(2, 3, *shape, generator=torch.Generator().manual_seed(0))
    expected = F.interpolate(maps, size=to, mode=mode, align_corners=False)
    torch.testing.assert_close(resize(maps, to), expected)


def test_half_precision_resizes_at_the_right_places() -> None:
    maps = torch.linspace(0, 1, 200)[None, None].bfloat16()
    expected = F.interpolate(maps.float(), size=400, mode="linear", align_corners=False)
    torch.testing.assert_close(resize(maps, (400,)).float(), expected, atol=0.01, rtol=0)
