"""Machines in files: all that makes them again, to the bit."""

import json
import math
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from machines import EVERY, PROBLEMS, Flat, Problem, assert_equal, awake
from torch import Tensor

from lensrim._weights import read_weights, write_weights
from lensrim.errors import InputError
from lensrim.rim import links, preconditioning
from lensrim.rim.cells import ConvGRU
from lensrim.rim.core import RIM
from lensrim.rim.fields import Field, State
from lensrim.rim.networks import UNet
from lensrim.rim.saving import OURS, describe, load_rim, rebuild, save_rim
from lensrim.rim.starts import ApproximateInverse, Learnt, Zeros
from lensrim.rim.unroll import Unroll

KNOWN = (Flat,)


@EVERY
def test_a_machine_comes_back_to_the_bit(problem: Problem, tmp_path: Path):
    rim, given = awake(problem), problem.given()
    sha = save_rim(tmp_path / "rim.safetensors", rim)
    again = load_rim(tmp_path / "rim.safetensors", known=KNOWN)
    assert again.config.keys() == rim.config.keys()
    for name, value in rim.config.items():
        if name not in ("network", "encoder"):
            assert again.config[name] == value, name
    assert_equal(again.state_dict(), rim.state_dict())
    assert_equal(given.predict(again), given.predict(rim))
    assert all(parameter.requires_grad for parameter in again.parameters())
    assert save_rim(tmp_path / "again.safetensors", again) == sha


def inverse(y: Tensor, *args: Any) -> State:
    return {"x": y + 1}


def halved(x: Tensor) -> Tensor:
    return x / 2


def doubled(x: Tensor) -> Tensor:
    return 2 * x


@dataclass(frozen=True)
class Shifted:
    """A link of the user's own."""

    by: float

    def physical(self, x: Tensor) -> Tensor:
        return x + self.by

    def free(self, value: Tensor) -> Tensor:
        return value - self.by


LINKS = [
    links.Identity(), links.Log10(), links.Exp(), links.Softplus(), links.Sigmoid(),
    links.Sinh(0.3), links.Bounded(-1.0, 2.5), links.PerChannel((links.Exp(), Shifted(0.1))),
    links.Bijection(halved, doubled), links.Bijection(torch.exp, torch.log, torch.exp),
]  # fmt: skip
ENCODINGS = [
    preconditioning.Raw(0.1), preconditioning.Arcsinh(3.0), preconditioning.Normalized(1e-3),
    preconditioning.RMSProp(0.5, 0.1), preconditioning.Adam(0.5, 0.7, 0.1),
]  # fmt: skip
PARTS = [
    *LINKS, *ENCODINGS,
    Zeros(), Zeros(((3, 4), (5,))), ApproximateInverse(inverse), Learnt(Zeros(((2,),))),
    Unroll(checkpoint=True, truncate=3, through_score=True, autocast=True),
    Field(2, 1, 0.5, 0.1, links.Exp(), (preconditioning.Adam(),)),
    math.sqrt, None, True, 1, 1e-30, "text", (1, (2.5, None)), {2: "two", "one": (1,)}, inverse,
]  # fmt: skip


@pytest.mark.parametrize("part", PARTS, ids=lambda part: re.sub(" at 0x[0-9a-f]+", "", repr(part)))
def test_a_part_comes_back_from_json(part: object):
    text = json.dumps(describe(part), allow_nan=False)
    assert rebuild(json.loads(text), (Shifted, inverse, halved, doubled, math.sqrt)) == part


def test_every_part_of_the_package_is_known():
    for module in (links, preconditioning):
        for name, part in vars(module).items():
            public = isinstance(part, type) and part.__module__ == module.__name__
            if public and not name.startswith("_") and "Protocol" not in str(part.__mro__):
                assert OURS[name] is part


def test_another_process_reads_it(tmp_path: Path):
    rim, given = awake(PROBLEMS["1-D"]), PROBLEMS["1-D"].given()
    save_rim(tmp_path / "rim.safetensors", rim)
    torch.save([given.observation, dict(given.start)], tmp_path / "given.pt")
    code = f"""
import torch
from lensrim.rim import load_rim
y, start = torch.load({str(tmp_path / "given.pt")!r}, weights_only=True)
last = load_rim({str(tmp_path / "rim.safetensors")!r}).predict(y, lambda x: (x, {{}}), start)
torch.save(dict(last), {str(tmp_path / "last.pt")!r})
"""
    subprocess.run([sys.executable, "-c", code], check=True)
    expected = rim.predict(given.observation, lambda x: (x, {}), given.start)
    assert_equal(torch.load(tmp_path / "last.pt", weights_only=True), expected)


def test_a_header_may_say_more(tmp_path: Path):
    path = tmp_path / "rim.safetensors"
    save_rim(path, awake(PROBLEMS["1-D"]), header={"prior": "lines", "step": 7})
    _, header = read_weights(path)
    assert (header["prior"], header["step"]) == ("lines", 7)
    assert header["rim"]["arguments"]["steps"] == 4


def test_the_file_of_a_training_is_read(tmp_path: Path):
    rim = awake(PROBLEMS["1-D"]).float()
    write_weights(tmp_path / "best.safetensors", rim.state_dict(), {"rim": describe(rim)})
    assert_equal(load_rim(tmp_path / "best.safetensors").state_dict(), rim.state_dict())


class Own(UNet):
    """A network of the user's own."""


def test_what_is_not_known_is_asked_for(tmp_path: Path):
    sizes = PROBLEMS["1-D"].layout.sizes(1)
    rim = PROBLEMS["1-D"].rim({1: Own(1, **sizes, widths=(4,), lift=4, embedding=4)})
    path = tmp_path / "rim.safetensors"
    save_rim(path, rim)
    with pytest.raises(
        InputError, match=r"rim.safetensors: every .*found 'Own', .*pass the class"
    ):
        load_rim(path)
    assert isinstance(load_rim(path, known=[Own]).network, Own)


class OwnCell(ConvGRU):
    """A cell of the user's own."""


def test_a_network_with_a_cell_of_the_user_comes_back(tmp_path: Path):
    sizes = PROBLEMS["1-D"].layout.sizes(1)
    network = UNet(1, **sizes, widths=(4,), lift=4, embedding=4, cell=OwnCell)
    save_rim(tmp_path / "rim.safetensors", PROBLEMS["1-D"].rim({1: network}))
    with pytest.raises(InputError, match=r"found 'OwnCell', .*pass the class or"):
        load_rim(tmp_path / "rim.safetensors")
    found = load_rim(tmp_path / "rim.safetensors", known=[OwnCell])
    assert any(isinstance(part, OwnCell) for part in found.modules())


def test_what_cannot_be_described_is_refused(tmp_path: Path):
    x = torch.zeros(3)
    for part in (lambda x: x, x, x.exp, torch.nn.Linear(2, 2), {"a": object()}):
        with pytest.raises(InputError, match="be a dataclass, have a config or be a class or"):
            describe(part)

    @dataclass(frozen=True)
    class Exp:
        scale: float = 1.0

    with pytest.raises(InputError, match="have the name of another's class, found Exp of"):
        describe(Exp())


def test_other_arguments_are_told():
    wrong = {"class": "Bounded", "arguments": {"low": 0, "top": 1}}
    with pytest.raises(InputError, match=r"Bounded must take the arguments \['low', 'top'\]"):
        rebuild(wrong)
    with pytest.raises(InputError, match="low and high must be finite"):
        rebuild({"class": "Bounded", "arguments": {"low": 1.0, "high": 0.0}})


@pytest.mark.parametrize(
    ("header", "message"),
    [
        ({}, r"under 'rim', found \[\]; give fit header={'rim': describe\(rim\)}; for weights"),
        ({"rim": 3}, "must hold a machine and its weights, found a int"),
        ({"rim": {"class": "Exp", "arguments": {}}}, "must hold a machine .* found a Exp"),
        ({"rim": {"class": "RIM"}}, r"as describe describes it, .*KeyError: 'arguments'"),
        ({"rim": {"torch": "load"}}, r"torch's must be one of .*, found 'load'"),
    ],
)
def test_other_files_are_refused(tmp_path: Path, header: dict, message: str):
    write_weights(tmp_path / "x.safetensors", {"a": torch.ones(1)}, header)
    with pytest.raises(InputError, match=f"x.safetensors: .*{message}"):
        load_rim(tmp_path / "x.safetensors")


def test_weights_must_be_those_of_the_machine(tmp_path: Path):
    rim = awake(PROBLEMS["1-D"])
    few = dict(list(rim.state_dict().items())[1:])
    write_weights(tmp_path / "x.safetensors", few, {"rim": describe(rim)})
    with pytest.raises(InputError, match=r"machine and its weights.*none is in the file"):
        load_rim(tmp_path / "x.safetensors")
    assert isinstance(rebuild(describe(rim)), RIM)
