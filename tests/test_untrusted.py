"""Files of strangers: nothing that is read is executed, and nothing is fetched."""

import ast
import json
import os
import pickle
import re
import struct
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch

from lensrim import zoo
from lensrim._toml import read_toml
from lensrim._weights import read_weights, sha256_of, write_weights
from lensrim.cli import main
from lensrim.errors import InputError
from lensrim.inference.machine import load_machine
from lensrim.rim import load_rim
from lensrim.training.checkpoint import _content, stored
from lensrim.zoo.description import describe_file

PACKAGE = Path(__file__).parent.parent / "lensrim"
FILES = sorted(PACKAGE.rglob("*.py"))

MODULES = {
    *("pickle", "cPickle", "dill", "cloudpickle", "joblib", "shelve", "marshal", "yaml"),
    *("socket", "ssl", "urllib", "http", "ftplib", "smtplib", "requests", "httpx", "aiohttp"),
    *("webbrowser", "code", "pty"),
}
"""What executes what it reads, or reaches beyond the machine."""

CALLS = {"eval", "exec", "compile", "__import__", "os.system", "os.popen", "torch.hub.load"}

ALLOWED = {
    # the name of an error that torch raises; nothing is unpickled by it
    "training/checkpoint.py: pickle",
    # a free port, for processes of one machine
    "evaluation/bench/scaling.py: socket",
}
"""What a look has found harmless."""


def suspicious(source: str) -> Iterator[str]:
    """Names what a file does that it should not."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [node.module or ""] if not node.level else []
        elif isinstance(node, ast.Call):
            call, options = ast.unparse(node.func), {k.arg: k.value for k in node.keywords}
            if call in CALLS:
                yield call
            if call == "torch.load" and ast.unparse(options.get("weights_only", node)) != "True":
                yield "torch.load without weights_only=True"
            if call == "np.load" and "allow_pickle" in options:
                yield "np.load with allow_pickle"
            if "shell" in options:
                yield "shell"
            if call == "fits.open" and "use_fsspec" in options:
                yield "fits.open by the network"
            continue
        else:
            continue
        yield from sorted({name.split(".")[0] for name in names} & MODULES)


def test_nothing_executes_what_it_reads_or_reaches_beyond_the_machine() -> None:
    found = {
        f"{path.relative_to(PACKAGE).as_posix()}: {what}"
        for path in FILES
        for what in suspicious(path.read_text(encoding="utf-8"))
    }
    assert found - ALLOWED == set()


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("import pickle", ["pickle"]),
        ("from urllib.request import urlopen", ["urllib"]),
        ("def f():\n    import requests", ["requests"]),
        ("from .socket import x", []),
        ("torch.load(a)", ["torch.load without weights_only=True"]),
        ("torch.load(a, weights_only=False)", ["torch.load without weights_only=True"]),
        ("torch.load(a, weights_only=True)", []),
        ("np.load(a, allow_pickle=True)", ["np.load with allow_pickle"]),
        ("subprocess.run('ls', shell=True)", ["shell"]),
        ("eval('1')", ["eval"]),
        ("rim.eval()", []),
    ],
)
def test_the_rule_itself(source: str, expected: list[str]) -> None:
    assert list(suspicious(source)) == expected


class Burglar:
    """What leaves a trace when it is unpickled."""

    def __init__(self, trace: Path):
        self.trace = trace

    def __reduce__(self):
        return os.mkdir, (str(self.trace),)


def as_pickle(trace: Path) -> bytes:
    return pickle.dumps(Burglar(trace))


def as_torch_file(trace: Path) -> bytes:
    file = trace.with_name("made.pt")
    torch.save({"model": Burglar(trace)}, file)
    content = file.read_bytes()
    file.unlink()
    return content


def as_legacy_torch_file(trace: Path) -> bytes:
    file = trace.with_name("made.pt")
    torch.save({"model": Burglar(trace)}, file, _use_new_zipfile_serialization=False)
    content = file.read_bytes()
    file.unlink()
    return content


def header_of(length: int, text: bytes = b"{}") -> Callable[[Path], bytes]:
    """Returns a maker of a safetensors file whose header says to be so long."""
    return lambda trace: struct.pack("<Q", length) + text


def tensor(entry: dict[str, object], data: bytes = bytes(16)) -> Callable[[Path], bytes]:
    text = json.dumps({"__metadata__": {"lensrim": "{}"}, "a": entry}).encode()
    return lambda trace: struct.pack("<Q", len(text)) + text + data


CRAFTED = {
    "pickle": as_pickle,
    "torch": as_torch_file,
    "legacy torch": as_legacy_torch_file,
    "header of 2^63 bytes": header_of(2**63),
    "header of 2^40 bytes": header_of(2**40),
    "header of 99 MB, not there": header_of(99_000_000),
    "no JSON": header_of(12, b"__import__('os')"),
    "nested": header_of(200_000, b"[" * 100_000 + b"]" * 100_000),
    "tensor of 2^62": tensor({"dtype": "F32", "shape": [2**31, 2**31], "data_offsets": [0, 16]}),
    "offsets beyond": tensor({"dtype": "F32", "shape": [4], "data_offsets": [0, 2**40]}),
    "offsets backwards": tensor({"dtype": "F32", "shape": [4], "data_offsets": [16, 0]}),
    "negative shape": tensor({"dtype": "F32", "shape": [-4], "data_offsets": [0, 16]}),
    "strange type": tensor({"dtype": "OBJECT", "shape": [4], "data_offsets": [0, 16]}),
    "FITS": lambda trace: b"SIMPLE  =                    T".ljust(2880),
    "empty": lambda trace: b"",
}
READERS = [read_weights, load_machine, load_rim, lambda path: list(describe_file(path))]


@pytest.mark.parametrize("reader", READERS, ids=["weights", "machine", "rim", "info"])
@pytest.mark.parametrize("make", CRAFTED.values(), ids=CRAFTED)
def test_crafted_weights(tmp_path: Path, make: Callable, reader: Callable) -> None:
    path, trace = tmp_path / "bad.safetensors", tmp_path / "trace"
    path.write_bytes(make(trace))
    with pytest.raises(InputError, match=r"bad.safetensors: weights must be a safetensors file"):
        reader(path)
    assert list(tmp_path.iterdir()) == [path]


WAITING = {
    "info": "from lensrim.cli import main; sys.exit(main(['info', sys.argv[1]]))",
    "weights": "from lensrim._weights import read_weights; read_weights(sys.argv[1])",
    "sum": "from lensrim._weights import sha256_of; sha256_of(sys.argv[1])",
    "recipe": "from lensrim._toml import read_toml; read_toml(Path(sys.argv[1]))",
}


@pytest.mark.parametrize("code", WAITING.values(), ids=WAITING)
def test_pipes_are_not_waited_for(tmp_path: Path, code: str) -> None:
    os.mkfifo(path := tmp_path / "pipe.safetensors")
    code = f"import sys; from pathlib import Path; {code}"
    words = [sys.executable, "-c", code, str(path)]
    done = subprocess.run(words, capture_output=True, text=True, timeout=100)
    assert done.returncode != 0
    assert re.search("must be a regular file, found a pipe; save what it gives", done.stderr)


RECIPES = {
    "long": ("a = 1\n" * 200_000, "a recipe must have 1048576 characters or less, found more"),
    "nested": ("a = " + "[" * 100_000, "a recipe must be a TOML file: "),
    "no text": (b"\xff", "a recipe must be a TOML file: "),
}


@pytest.mark.parametrize(("content", "message"), RECIPES.values(), ids=RECIPES)
def test_crafted_recipes(tmp_path: Path, content: str | bytes, message: str) -> None:
    path = tmp_path / "bad.toml"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(InputError, match=rf"bad.toml: {message}"):
        read_toml(path)
    with pytest.raises(InputError, match="must be a regular file, found a device or a socket"):
        read_toml(Path(os.devnull))


def test_the_burglar_leaves_a_trace_where_it_is_let_in(tmp_path: Path) -> None:
    pickle.loads(as_pickle(tmp_path / "trace"))
    assert (tmp_path / "trace").is_dir()


@pytest.mark.parametrize("make", [as_torch_file, as_legacy_torch_file, as_pickle])
def test_crafted_checkpoints(tmp_path: Path, make: Callable) -> None:
    path = tmp_path / "last.pt"
    path.write_bytes(make(tmp_path / "trace"))
    with pytest.raises(InputError, match=r"last.pt: checkpoint must be whole, found a damaged"):
        _content(path, stored(path))
    assert list(tmp_path.iterdir()) == [path]


def test_a_checkpoint_with_other_members(tmp_path: Path) -> None:
    path = tmp_path / "last.pt"
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("../outside", "x")
        file.writestr("archive/data.pkl", as_pickle(tmp_path / "trace"))
        file.writestr("archive/version", "3")
    with pytest.raises(InputError, match=r"last.pt: checkpoint must be whole"):
        _content(path, stored(path))
    assert list(tmp_path.iterdir()) == [path]


def packaged() -> tuple[dict[str, torch.Tensor], dict]:
    return read_weights(zoo.card().path)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_no_numbers(tmp_path: Path, value: float) -> None:
    tensors, header = packaged()
    name = next(iter(tensors))
    tensors[name].view(-1)[0] = value
    write_weights(tmp_path / "bad.safetensors", tensors, header)
    with pytest.raises(
        InputError, match=rf"bad.safetensors: .*\({re.escape(name)} must be finite"
    ):
        load_machine(tmp_path / "bad.safetensors")


@pytest.mark.parametrize(
    "model",
    [
        {"steps": 10**9, "widths": [10**6], "lift": 10**6, "embedding": 10**6},
        {"steps": 6, "widths": [4, 8, 8], "lift": 2, "embedding": 10**9},
        {"steps": "6", "widths": "wide", "lift": None, "embedding": []},
        {"steps": 6, "widths": [64] * 10_000, "lift": 32, "embedding": 64},
        [],
        "model",
    ],
)
def test_headers_that_ask_for_machines_beyond_reason(tmp_path: Path, model: object) -> None:
    write_weights(tmp_path / "bad.safetensors", {"a": torch.zeros(2)}, {"model": model})
    with pytest.raises(InputError, match=r"bad.safetensors: must hold a machine for lenses"):
        load_machine(tmp_path / "bad.safetensors")


def test_a_packaged_file_that_was_changed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    card = zoo.card()
    content = bytearray(card.path.read_bytes())
    content[-1] ^= 1
    (tmp_path / card.path.name).write_bytes(content)
    (tmp_path / "cards.toml").write_bytes((zoo.FOLDER / "cards.toml").read_bytes())
    monkeypatch.setattr(zoo, "FOLDER", tmp_path)
    zoo.cards.cache_clear()
    try:
        with pytest.raises(InputError, match=f"the checksum of its card, {card.sha256[:12]}"):
            load_machine(zoo.DEFAULT)
        assert main(["models"]) == 0
        assert "DAMAGED: install lensrim again" in capsys.readouterr().out
    finally:
        zoo.cards.cache_clear()
    assert sha256_of(card.path) == card.sha256
