"""The laws of all networks, whatever they are made of."""

import json
import subprocess
import sys
import warnings
from dataclasses import dataclass
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lensrim.rim.cells import ConvGRU, GatedResidual, MinimalGRU, group_norm, layer_norm
from lensrim.rim.networks import MLP, NETWORKS, Hourglass, Network, UNet, resize

MAPS = {"maps_in": 3, "vectors_in": 2, "maps_out": 2, "vectors_out": 3}
SIZES = [(37,), (11, 14), (9, 10, 7), (3, 1)]
PARTS: list[dict[str, Any]] = [
    {"cell": MinimalGRU},
    {"cell": GatedResidual},
    {"norm": layer_norm},
    {"norm": nn.Identity},
    {"norm": group_norm, "activation": nn.Tanh},
]


# In a process of its own: the checks of types that the tests install cannot be compiled.
COMPILE = """
import json, sys, torch
from lensrim.rim.networks import NETWORKS
for config in json.loads(sys.argv[2]):
    torch.compiler.reset()
    network = NETWORKS[sys.argv[1]](**config).double()
    for parameter in network.parameters():
        parameter.data += 0.1
    size = [11, 14, 9][: config["dims"]]
    maps = torch.rand(2, config["maps_in"], *size).double()
    vectors = torch.rand(2, config["vectors_in"]).double()
    compiled = torch.compile(network, fullgraph=True, backend="aot_eager")
    both = []
    for f in (compiled, network):
        hidden = network.init_hidden(maps)
        for _ in range(2):
            out_maps, out_vectors, hidden = f(maps, vectors, hidden)
        network.zero_grad()
        (out_maps.square().sum() + out_vectors.square().sum()).backward()
        gradients = [parameter.grad for parameter in network.parameters()]
        both.append([out_maps, out_vectors, *hidden, *gradients])
    try:
        torch.testing.assert_close(*both)
    except AssertionError as error:
        print(config, error)
"""


class Smooth(nn.Module):
    """An activation of a user's own."""

    def forward(self, x: Tensor) -> Tensor:
        return x / (1 + x.square()).sqrt()


@dataclass(frozen=True)
class Case:
    """Holds a network and the size of its maps."""

    kind: Any
    size: tuple[int, ...]
    options: dict[str, Any]

    @property
    def given(self) -> dict[str, int]:
        return MAPS if self.size else {"vectors_in": 4, "vectors_out": 3}

    def __str__(self) -> str:
        said = [getattr(v, "__name__", str(v)) for v in self.options.values()]
        return " ".join([self.kind.__name__, str(self.size), *said])

    def untrained(self) -> Any:
        return self.kind(len(self.size), **self.given, **self.options).double()

    def awake(self) -> Any:
        """The network as if trained: no parameter is zero."""
        network = self.untrained()
        for i, parameter in enumerate(network.parameters()):
            nn.init.zeros_(parameter)
            parameter.data += 0.3 * random(*parameter.shape, seed=i)
        return network

    def inputs(self, batch: int = 2) -> tuple[Tensor, Tensor]:
        maps = random(batch, self.given.get("maps_in", 0), *self.size, seed=100)
        return maps, random(batch, self.given["vectors_in"], seed=101)

    def levels(self) -> list[tuple[int, ...]]:
        """Shapes of the memory of one sample."""
        widths = self.options["widths"]
        if self.kind is MLP:
            return [(w,) for w in widths]
        halved = [tuple(-(-n // 2 ** (i + 1)) for n in self.size) for i in range(len(widths))]
        maps = [(w, *size) for w, size in zip(widths, halved, strict=True)]
        maps = [maps[-1], maps[-1]] if self.kind is Hourglass else maps
        return [*maps, (self.options["embedding"],)]


FORMS: dict[Any, list[dict[str, Any]]] = {
    UNet: [
        {"widths": (6, 10, 12), "lift": 5, "embedding": 7},
        {"widths": (16, 4), "lift": 8, "embedding": 3},
        {"widths": (16,), "lift": 1, "embedding": 4},
    ],
    Hourglass: [
        {"widths": (6, 10), "lift": 5, "embedding": 7},
        {"widths": (4, 6, 8), "lift": 4, "embedding": 3},
        {"widths": (16,), "lift": 1, "embedding": 4},
    ],
    MLP: [{"widths": (9, 6)}, {"widths": (5,)}, {"widths": (5, 8, 12)}],
}
ANY_SIZE = [
    Case(kind, size, form | parts)
    for kind, forms in FORMS.items()
    for size in (SIZES if kind is not MLP else [()])
    for form, parts in [*((f, {}) for f in forms), *((forms[0], p) for p in PARTS[:2])]
]
LAWS = [
    Case(kind, size, form | parts)
    for kind, forms in FORMS.items()
    for size, form, parts in [
        *(((11, 14), f, {}) for f in forms),
        *((SIZES[i % 3], forms[0], p) for i, p in enumerate(PARTS)),
    ]
    if kind is not MLP
] + [Case(MLP, (), f | p) for f in FORMS[MLP] for p in [{}, *PARTS]]
EVERY = pytest.mark.parametrize("case", LAWS, ids=str)


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def equal(one: Any, two: Any) -> bool:
    """Whether two outputs of a network are the same, bit by bit."""
    pairs = zip((*one[:2], *one[2]), (*two[:2], *two[2]), strict=True)
    return all(torch.equal(a, b) for a, b in pairs)


@pytest.mark.parametrize("case", ANY_SIZE, ids=str)
def test_any_size_in_any_number_of_dimensions(case: Case):
    network = case.awake()
    assert isinstance(network, Network)
    maps, vectors = case.inputs()
    hidden = network.init_hidden(maps)
    assert all((h == 0).all() and h.dtype == torch.float64 for h in hidden)
    assert [tuple(h.shape[1:]) for h in hidden] == case.levels()
    out_maps, out_vectors, after = network(maps, vectors, hidden)
    assert out_maps.shape == (2, network.maps_out, *case.size)
    assert out_vectors.shape == (2, network.vectors_out)
    assert [h.shape for h in after] == [h.shape for h in hidden]
    assert all(out.isfinite().all() for out in (out_maps, out_vectors, *after))


@EVERY
def test_the_memory_changes_at_every_level_and_every_step(case: Case):
    network = case.awake()
    maps, vectors = case.inputs()
    hidden = network.init_hidden(maps)
    for _ in range(4):
        *_, after = network(maps, vectors, hidden)
        for old, new in zip(hidden, after, strict=True):
            assert (old != new).double().mean() > 0.99
        hidden = after


@EVERY
def test_the_memory_of_every_level_is_read(case: Case):
    network = case.awake()
    maps, vectors = case.inputs()
    *_, hidden = network(maps, vectors, network.init_hidden(maps))
    before = network(maps, vectors, hidden)
    for level in range(len(hidden)):
        other = [h + 0.1 if i == level else h for i, h in enumerate(hidden)]
        out_maps, out_vectors, _ = network(maps, vectors, tuple(other))
        assert not case.size or not torch.allclose(out_maps, before[0])
        assert not torch.allclose(out_vectors, before[1])


@EVERY
def test_maps_and_vectors_reach_each_other(case: Case):
    network = case.awake()
    maps, vectors = case.inputs()
    hidden = network.init_hidden(maps)
    before = network(maps, vectors, hidden)
    for x in (maps, vectors):
        for channel in range(x.shape[1]):
            moved = x.clone()
            moved[:, channel] *= -2
            given = (moved, vectors) if x is maps else (maps, moved)
            after = network(*given, hidden)
            assert not case.size or not torch.allclose(after[0], before[0])
            assert not torch.allclose(after[1], before[1])


@EVERY
def test_an_untrained_network_proposes_nothing(case: Case):
    network = case.untrained()
    maps, vectors = case.inputs()
    out_maps, out_vectors, hidden = network(maps, vectors, network.init_hidden(maps))
    assert (out_maps == 0).all() and (out_vectors == 0).all()
    assert all((h != 0).any() for h in hidden)


@EVERY
def test_no_sample_sees_another(case: Case):
    network = case.awake()
    maps, vectors = case.inputs(batch=3)
    hidden = network(maps, vectors, network.init_hidden(maps))[-1]

    def outputs(maps: Tensor, vectors: Tensor, *hidden: Tensor) -> list[Tensor]:
        out_maps, out_vectors, after = network(maps, vectors, hidden)
        return [out_vectors, *after, *([out_maps] if case.size else [])]

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
def test_its_configuration_makes_it_again(case: Case):
    network = case.awake()
    config = json.loads(json.dumps(network.config))
    again = NETWORKS[type(network).__name__](**config).double()
    again.load_state_dict(network.state_dict())
    assert again.config == network.config
    assert network.config | case.given | {"widths": case.options["widths"]} == network.config
    maps, vectors = case.inputs()
    hidden = network.init_hidden(maps)
    assert equal(network(maps, vectors, hidden), again(maps, vectors, hidden))


@EVERY
def test_gradients_reach_every_parameter(case: Case):
    if case.options.get("lift") == 1:
        pytest.skip("a normalisation takes away the bias of a single channel")
    network = case.awake()
    maps, vectors = case.inputs()
    hidden, total = network.init_hidden(maps), torch.zeros((), dtype=torch.float64)
    for step in range(2):
        out_maps, out_vectors, hidden = network(maps, vectors, hidden)
        for out in (out_maps, out_vectors):
            total = total + (out * random(*out.shape, seed=step)).sum()
    total.backward()
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None and parameter.grad.abs().max() > 1e-8, name


@EVERY
def test_single_precision_gives_the_same(case: Case):
    network = case.awake()
    maps, vectors = case.inputs()
    hidden = network.init_hidden(maps)
    out = network(maps, vectors, hidden)
    small = [h.float() for h in hidden]
    single = network.float()(maps.float(), vectors.float(), tuple(small))
    for one, two in zip((*single[:2], *single[2]), (*out[:2], *out[2]), strict=True):
        assert one.dtype == torch.float32
        torch.testing.assert_close(one.double(), two, rtol=1e-3, atol=1e-3)


@pytest.mark.slow
@pytest.mark.parametrize("kind", FORMS)
def test_it_compiles_as_one_graph(kind: Any):
    form, cells = FORMS[kind][0], (ConvGRU, MinimalGRU, GatedResidual)
    sizes = [()] * 3 if kind is MLP else SIZES
    cases = [
        Case(kind, size, form | {"cell": cell}) for size, cell in zip(sizes, cells, strict=False)
    ]
    given = [case.untrained().config for case in cases]
    words = [sys.executable, "-c", COMPILE, kind.__name__, json.dumps(given)]
    done = subprocess.run(words, capture_output=True, text=True)
    assert done.returncode == 0 and not done.stdout, done.stdout + done.stderr


@pytest.mark.parametrize("kind", [UNet, Hourglass])
def test_a_network_need_not_return_vectors(kind: Any):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        network = kind(1, **{**MAPS, "vectors_out": 0}, **FORMS[kind][0]).double()
    maps, vectors = Case(kind, (37,), {}).inputs()
    assert network(maps, vectors, network.init_hidden(maps))[1].shape == (2, 0)


@pytest.mark.parametrize("kind", [UNet, Hourglass])
def test_a_network_need_not_return_maps(kind: Any):
    """Numbers told from an image: each parameter is used, as processes that share it want."""
    network = kind(2, **(MAPS | {"maps_out": 0}), widths=(4, 6), lift=4, embedding=5)
    again = kind(**network.config)
    assert again.state_dict().keys() == network.state_dict().keys()
    for parameter in network.parameters():
        parameter.data += 0.1 * torch.randn_like(parameter)
    maps, vectors = random(2, 3, 9, 7).float(), random(2, 2).float()
    moved, told, _ = network(maps, vectors, network.init_hidden(maps))
    assert moved.shape == (2, 0, 9, 7) and told.shape == (2, 3)
    told.square().sum().backward()
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None, name
    assert not torch.equal(network(2 * maps, vectors, network.init_hidden(maps))[1], told)


@pytest.mark.parametrize("kind", [UNet, Hourglass])
def test_one_sample_may_shrink_to_one_pixel(kind: Any):
    network = kind(2, **MAPS, widths=(8, 8), lift=8, embedding=4).double()
    maps, vectors = Case(kind, (3, 4), {}).inputs(batch=1)
    assert network(maps, vectors, network.init_hidden(maps))[0].shape == (1, 2, 3, 4)


@pytest.mark.parametrize(
    "wrong",
    [{"dims": 0}, {"dims": 4}, {"widths": ()}, {"widths": (8, 0)}, {"lift": 0}, {"embedding": 0}],
    ids=str,
)
@pytest.mark.parametrize(("kind", "name"), [(UNet, "a U-Net"), (Hourglass, "an hourglass")])
def test_it_refuses_what_cannot_be_built(kind: Any, name: str, wrong: dict):
    with pytest.raises(ValueError, match=f"{name} has 1 to 3 dimensions and one level or more"):
        kind(**{"dims": 2, **MAPS, **wrong})


@pytest.mark.parametrize(
    ("wrong", "match"),
    [
        ({"dims": 1}, "takes and returns vectors alone, in 0 dimensions, got dims 1"),
        ({"maps_in": 1}, "vectors alone, .* got dims 0, maps_in 1"),
        ({"maps_out": 2}, "maps_out 2: take a UNet for maps"),
        ({"widths": ()}, r"one layer or more of one number or more, .* got widths \(\)"),
        ({"widths": (8, 0)}, "one layer or more"),
        ({"vectors_out": 0}, "one layer or more .* vectors_out 0"),
    ],
    ids=str,
)
def test_a_perceptron_refuses_what_cannot_be_built(wrong: dict, match: str):
    with pytest.raises(ValueError, match=match):
        MLP(**{"dims": 0, "vectors_in": 2, "vectors_out": 2, **wrong})


@pytest.mark.parametrize("kind", [UNet, Hourglass, MLP])
def test_parts_of_a_users_own_are_kept_as_they_are(kind: Any):
    # Not to be taken for the package's, whatever its name.
    other = type("ConvGRU", (ConvGRU,), {})
    own = {"activation": Smooth, "cell": other, "norm": partial(group_norm, groups=2)}
    case = Case(kind, () if kind is MLP else (9,), FORMS[kind][0] | own)
    network = case.awake()
    assert {name: network.config[name] for name in own} == own
    again = kind(**network.config).double()
    again.load_state_dict(network.state_dict())
    assert isinstance(again.memory[0], other)
    maps, vectors = case.inputs()
    hidden = network.init_hidden(maps)
    assert equal(network(maps, vectors, hidden), again(maps, vectors, hidden))
    plain = kind(**(network.config | {"activation": "SiLU"})).double()
    plain.load_state_dict(network.state_dict())
    assert not equal(network(maps, vectors, hidden), plain(maps, vectors, hidden))


@pytest.mark.parametrize("part", ["cell", "norm", "activation"])
@pytest.mark.parametrize("kind", [UNet, Hourglass, MLP])
def test_a_name_that_is_none_of_the_packages_is_refused(kind: Any, part: str):
    given = Case(kind, () if kind is MLP else (9,), {}).given
    with pytest.raises(ValueError, match=f"{part} must be one of .* got 'LSTM': pass the object"):
        kind(0 if kind is MLP else 1, **given, **{part: "LSTM"})


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
