"""Mistakes of who brings networks, starts and scores are told, and nothing broadcasts."""

from functools import partial
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from lensrim.errors import InputError
from lensrim.rim import (
    MLP,
    RIM,
    Adam,
    ApproximateInverse,
    Exp,
    Field,
    Raw,
    UNet,
    describe,
    energy_score,
    load_rim,
    save_rim,
    sizes,
    sizes_by_dims,
)
from lensrim.training.loss import measured

FIELDS = {"x": Field(1)}
SIZES = sizes(FIELDS, encodings=1)
Y = torch.rand(3, 1, 8, 8)

pytestmark = pytest.mark.usefixtures("types_unchecked")


def score(y: Tensor) -> Any:
    def energy(x: Any, y: Tensor) -> Tensor:
        return 0.5 * (x["x"] - y).square().flatten(1).sum(1)

    return energy_score(energy, y, fields=FIELDS)


class Own(nn.Module):
    """A network that returns what it is told to."""

    def __init__(self, returns: Any):
        super().__init__()
        self.returns, self.dims = returns, 2
        for name, size in SIZES.items():
            setattr(self, name, size)

    def init_hidden(self, maps: Tensor) -> tuple[Tensor, ...]:
        return ()

    def forward(self, maps: Tensor, vectors: Tensor, hidden: tuple[Tensor, ...]) -> Any:
        return self.returns(maps, vectors)


def nothing(vectors: Tensor) -> Tensor:
    return vectors.new_zeros(len(vectors), 0)


def test_an_observation_is_a_tensor():
    rim = RIM(UNet(2, **SIZES, widths=(4,)), FIELDS, steps=1)
    with pytest.raises(ValueError, match=r"must be a tensor, got a ndarray; give torch.as_tensor"):
        rim.predict(Y.numpy(), score(Y))


@pytest.mark.parametrize("given", [Adam(), (Adam,), "raw"])
def test_encodings_of_a_field_are_checked_as_those_of_all(given: Any):
    fields = {"x": Field(1, precondition=given)}
    with pytest.raises(ValueError, match="precondition must be a sequence of encodings"):
        RIM(UNet(2, **SIZES, widths=(4,)), fields)


def test_every_network_has_something_to_move():
    """One that has not sees the observation, and nobody hears of it."""
    fields = {"v": Field(3, dims=0)}

    def machine(fields: dict[str, Field], dims: list[int]) -> RIM:
        found = sizes_by_dims(fields, dims, encodings=1)
        made = {0: partial(MLP, widths=(4,)), 2: partial(UNet, 2, widths=(4,))}
        return RIM({d: made[d](**each) for d, each in found.items()}, fields)

    with pytest.raises(ValueError, match=r"that of 2 dimensions has no map, .* by that of 0"):
        machine(fields, [0, 2])
    assert set(machine(fields, [2]).networks) == {2}
    assert set(machine({**fields, **FIELDS}, [0, 2]).networks) == {0, 2}


@pytest.mark.parametrize(
    ("returns", "message"),
    [
        (
            lambda m, v: (m[:1, :1], nothing(v), ()),
            r"maps with shape \(3, 1, 8, 8\).*\(1, 1, 8, 8",
        ),
        (lambda m, v: (m[:, :1, :1, :1], nothing(v), ()), r"maps .* got \(3, 1, 1, 1\)"),
        (lambda m, v: (m[:, :3], nothing(v), ()), r"maps .* got \(3, 3, 8, 8\)"),
        (lambda m, v: (m[:, :1], ()), "maps, vectors and its memory, .* got .'Tensor', 'tuple'."),
        (lambda m, v: m[:, :1], "maps, vectors and its memory, .* got Tensor"),
        (lambda m, v: (m[:, :1], None, ()), ".* got .'Tensor', 'NoneType', 'tuple'."),
        (lambda m, v: (m[:, :1], nothing(v), m), ".* got .'Tensor', 'Tensor', 'Tensor'."),
        (lambda m, v: (m[:, :1], nothing(v), {"h": m}), ".* got .'Tensor', 'Tensor', 'dict'."),
    ],
)
def test_what_a_network_returns_is_looked_at(returns: Any, message: str) -> None:
    with pytest.raises(ValueError, match=f"the network must return {message}"):
        RIM(Own(returns), FIELDS).predict(Y, score(Y))


def test_a_network_that_is_right_is_used() -> None:
    rim = RIM(Own(lambda m, v: (m[:, :1], nothing(v), [])), FIELDS)
    assert rim.predict(Y, score(Y))["x"].shape == Y.shape


@pytest.mark.parametrize(
    ("network", "message"),
    [
        (nn.Conv2d(1, 1, 1), "got a Conv2d without dims, maps_in, .*, init_hidden"),
        (UNet, "got the class UNet"),
        (lambda x: x, "got a function without dims"),
        (SimpleNamespace(dims=2), "got a SimpleNamespace without maps_in"),
    ],
)
def test_what_is_no_network_is_told(network: Any, message: str) -> None:
    with pytest.raises(
        ValueError, match=f"the network must be a Network of lensrim.rim, .*{message}"
    ):
        RIM(network, FIELDS)


@pytest.mark.parametrize("start", [Y, [Y], "zeros", lambda y: y])
def test_what_is_no_start_is_told(start: Any) -> None:
    rim = RIM(UNet(2, **SIZES, widths=(4,)), FIELDS)
    with pytest.raises(ValueError, match="the start must be a mapping of free variables by field"):
        rim.predict(Y, score(Y), start)
    with pytest.raises(ValueError, match="the start must be a mapping of free variables by field"):
        RIM(UNet(2, **SIZES, widths=(4,)), FIELDS, start=start)


@pytest.mark.parametrize("precondition", ["ADAM", ("ADAM",), (Adam,), Adam(), Raw])
def test_what_are_no_encodings_is_told(precondition: Any) -> None:
    with pytest.raises(ValueError, match="precondition must be a sequence of encodings, such as"):
        RIM(UNet(2, **SIZES, widths=(4,)), FIELDS, precondition=precondition)


def test_complex_observations_and_scores_of_another_precision() -> None:
    rim = RIM(UNet(2, **SIZES, widths=(4,)), FIELDS)
    with pytest.raises(ValueError, match=r"the observation must be real for the network, .*obs"):
        rim.predict(Y.to(torch.complex64), score(Y))

    def doubled(state: Any) -> Any:
        found, aux = score(Y)(state)
        return {name: x.double() for name, x in found.items()}, aux

    with pytest.raises(
        ValueError, match=r"the score of x must have the precision .* got torch.fl"
    ):
        rim.predict(Y, doubled)


def test_a_start_beyond_the_range_of_a_link_is_told() -> None:
    fields = {"x": Field(1, link=Exp())}
    start = ApproximateInverse(lambda y: {"x": y - 0.5})
    rim = RIM(UNet(2, **SIZES, widths=(4,)), fields, start=start)
    with pytest.raises(ValueError, match=r"x of the approximate inverse must be .* Exp.*clamp it"):
        rim.begin(Y)


def test_sizes_of_mixed_dimensions_hold_the_observation() -> None:
    fields = {"x": Field(1, dims=3)}
    assert set(sizes_by_dims(fields, encodings=1, observation=(1, 2))) == {2, 3}
    with pytest.raises(ValueError, match=r"those of the observation .*\[2, 3\], got \[3\]"):
        sizes(fields, encodings=1, observation=(1, 2))


def test_a_compiled_network_comes_back(tmp_path: Any) -> None:
    rim = RIM(UNet(2, **SIZES, widths=(4,)), FIELDS)
    before = rim.eval().predict(Y, score(Y))
    rim.network = torch.compile(rim.network, backend="eager")
    save_rim(tmp_path / "rim.safetensors", rim)
    again = load_rim(tmp_path / "rim.safetensors")
    assert isinstance(again.network, UNet) and not again.training
    torch.testing.assert_close(again.predict(Y, score(Y)), before)


def test_numbers_of_numpy_are_described() -> None:
    import numpy as np

    assert describe(Field(1, spread=np.float32(0.5)))["arguments"]["spread"] == 0.5
    assert describe(np.int64(3)) == 3


@pytest.mark.parametrize(
    ("metric", "said"), [(torch.zeros(4, 2), r"Tensor of shape \(4, 2\)"), ("text", "str")]
)
def test_a_metric_of_many_numbers_is_told(metric: Any, said: str) -> None:
    message = f"every metric must be one number, found 'm', a {said}"
    with pytest.raises(InputError, match=message):
        measured(lambda *_: (torch.tensor(1.0), {"m": metric}), nn.Identity(), {})
