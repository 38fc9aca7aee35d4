"""Files of weights: bit for bit, whole or not at all, and refused in one line."""

import hashlib
import json
import os
import resource
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from lensrim import _weight_files
from lensrim._weights import (
    LARGEST,
    read_header,
    read_weights,
    replacing,
    sha256_of,
    write_weights,
)
from lensrim.errors import InputError
from lensrim.inference.machine import load_machine

HEADER = {"steps": 8, "name": "κ", "sizes": [1, 2], "nested": {"rate": 1e-4, "none": None}}


def tensors(dtype: torch.dtype = torch.float32) -> dict[str, torch.Tensor]:
    random = torch.Generator().manual_seed(0)
    values = torch.randn(3, 4, 5, generator=random, dtype=dtype)
    special = [0.0, -0.0, float("inf"), float("nan"), torch.finfo(dtype).tiny / 4]
    return {
        "values": values,
        "transposed": values.mT,
        "special": torch.tensor(special, dtype=dtype),
        "scalar": torch.tensor(0.1, dtype=dtype),
        "none": torch.zeros(0, 3, dtype=dtype),
        "count": torch.tensor([2**40, -1]),
        "mask": torch.tensor([True, False]),
    }


def bits(tensor: torch.Tensor) -> bytes:
    return tensor.contiguous().numpy().tobytes()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_round_trip_bit_for_bit(tmp_path: Path, dtype: torch.dtype) -> None:
    written = tensors(dtype)
    digest = write_weights(tmp_path / "a.safetensors", written, HEADER)
    read, header = read_weights(tmp_path / "a.safetensors", dtype=dtype)
    assert header == HEADER
    assert set(read) == set(written)
    for name, tensor in written.items():
        assert read[name].shape == tensor.shape and read[name].dtype == tensor.dtype
        assert bits(read[name]) == bits(tensor)
    content = (tmp_path / "a.safetensors").read_bytes()
    assert digest == sha256_of(tmp_path / "a.safetensors") == hashlib.sha256(content).hexdigest()
    assert write_weights(tmp_path / "b.safetensors", written, HEADER) == digest
    assert sorted(os.listdir(tmp_path)) == ["a.safetensors", "b.safetensors"]


def test_types_on_reading(tmp_path: Path) -> None:
    write_weights(tmp_path / "a", tensors(torch.float64), {})
    assert read_weights(tmp_path / "a")[0]["values"].dtype == torch.float32
    assert read_weights(tmp_path / "a")[0]["count"].dtype == torch.int64
    assert read_weights(tmp_path / "a", dtype=None)[0]["values"].dtype == torch.float64


def test_half(tmp_path: Path) -> None:
    write_weights(tmp_path / "a", tensors(), HEADER, half=True)
    stored, _ = read_weights(tmp_path / "a", dtype=None)
    assert stored["values"].dtype == torch.float16 and stored["count"].dtype == torch.int64
    read, header = read_weights(tmp_path / "a")
    assert header == HEADER
    assert torch.equal(read["values"], tensors()["values"].half().float())
    assert torch.equal(read["count"], tensors()["count"])


def test_half_refuses_what_does_not_fit(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"below 65 520, found 7e\+04 in wide; write them with"):
        write_weights(tmp_path / "a", {"wide": torch.tensor([7e4])}, {}, half=True)
    assert os.listdir(tmp_path) == []


def test_shared_memory_and_modules(tmp_path: Path) -> None:
    model = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3))
    model[1].weight = model[0].weight
    write_weights(tmp_path / "a", model.state_dict(), {})
    other = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3))
    other.load_state_dict(read_weights(tmp_path / "a")[0])
    x = torch.randn(5, 3)
    assert torch.equal(other(x), model(x))


def test_what_was_read_is_free_of_the_file(tmp_path: Path) -> None:
    write_weights(tmp_path / "a", tensors(), {})
    read, _ = read_weights(tmp_path / "a")
    (tmp_path / "a").write_bytes(bytes((tmp_path / "a").stat().st_size))
    assert torch.equal(read["values"], tensors()["values"])


def test_failure_leaves_the_old_file(tmp_path: Path, monkeypatch) -> None:
    path = tmp_path / "a"
    digest = write_weights(path, tensors(), HEADER)

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        write_weights(path, {}, {})
    assert sha256_of(path) == digest
    assert os.listdir(tmp_path) == ["a"]


def test_header_must_be_json(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_weights(tmp_path / "a", {}, {"loss": float("nan")})
    with pytest.raises(TypeError, match="not JSON serializable"):
        write_weights(tmp_path / "a", {}, {"path": tmp_path})
    assert os.listdir(tmp_path) == []


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"a: weights must be .* found no such file; check"):
        read_weights(tmp_path / "a")
    with pytest.raises(InputError, match=r"a: weights must be .* found no such file; check"):
        sha256_of(tmp_path / "a")


def test_folder(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="weights must be a"):
        read_weights(tmp_path)


@pytest.mark.parametrize("length", [0, 4, 40, -1])
def test_damaged_file(tmp_path: Path, length: int) -> None:
    write_weights(tmp_path / "a", tensors(), HEADER)
    (tmp_path / "a").write_bytes((tmp_path / "a").read_bytes()[:length])
    with pytest.raises(InputError, match=r"a: weights must be a safetensors file.*fetch it again"):
        read_weights(tmp_path / "a")


def test_another_kind_of_file(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("SIMPLE  =                    T / a FITS file" * 20)
    with pytest.raises(InputError, match=r"a: weights must be a safetensors file.*fetch it again"):
        read_weights(tmp_path / "a")


@pytest.mark.parametrize(
    ("metadata", "found"),
    [
        (None, "no metadata"),
        ({"format": "pt"}, "'format'"),
        ({"lensrim": "{"}, "'lensrim'"),
        ({"lensrim": json.dumps([1])}, "'lensrim'"),
    ],
)
def test_no_header_of_ours(tmp_path: Path, metadata, found: str) -> None:
    save_file(tensors={"a": torch.zeros(2)}, filename=tmp_path / "a", metadata=metadata)
    with pytest.raises(InputError, match=f"a: weights must have a header.*{found}.*lensrim wrote"):
        read_weights(tmp_path / "a")


def hollow(path: Path, dtype: str, numbers: int, size: int) -> Path:
    """A file with a tensor of zeros that takes no room on the disk."""
    entry = {"dtype": dtype, "shape": [numbers], "data_offsets": [0, numbers * size]}
    text = json.dumps({"__metadata__": {"lensrim": '{"model": {}}'}, "a": entry}).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text)
    os.truncate(path, 8 + len(text) + numbers * size)
    return path


@pytest.mark.parametrize("reader", [read_weights, load_machine])
@pytest.mark.parametrize(("dtype", "size"), [("F32", 4), ("F64", 8), ("F16", 2), ("U8", 1)])
def test_no_more_is_read_than_can_be_held(
    tmp_path: Path, reader: Callable, dtype: str, size: int
) -> None:
    # what is in half precision is twice as large when it is read
    numbers = LARGEST // max(size, 4 if dtype == "F16" else 0) + 1
    path = hollow(tmp_path / "a.safetensors", dtype, numbers, size)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(InputError, match="weights must take 768 MB or less, found 768 MB; give a"):
        reader(path)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 50 * 2**10


def test_the_limit_can_be_another(tmp_path: Path) -> None:
    path = hollow(tmp_path / "a.safetensors", "F16", 1000, 2)
    with pytest.raises(InputError, match="must take 0 MB or less"):
        read_weights(path, most=3999)
    assert read_weights(path, dtype=None, most=2000)[0]["a"].dtype == torch.float16
    assert read_weights(path, most=None)[0]["a"].shape == (1000,)


def test_a_header_that_is_too_long(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert _weight_files.LONGEST == 2**25
    monkeypatch.setattr(_weight_files, "LONGEST", 2**20)
    write_weights(tmp_path / "a", tensors(), {"a": "x" * 2**20})
    with pytest.raises(
        InputError, match=r"a: weights must have a header of 1 MB or less, found 1"
    ):
        read_header(tmp_path / "a")


def test_writers_of_one_file_do_not_share_what_is_half_written(tmp_path):
    path = tmp_path / "file"
    with replacing(path) as one:  # as on two machines, whose processes have one number
        one.write(b"one")
        with replacing(path) as other:
            other.write(b"other")
        assert path.read_bytes() == b"other"
    assert path.read_bytes() == b"one"
    assert list(tmp_path.iterdir()) == [path]
