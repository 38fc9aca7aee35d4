"""What a training is made with: its curves, its limits, its way into a file and back."""

import json
import math
from dataclasses import fields, replace
from itertools import pairwise
from typing import Any

import numpy as np
import pytest

from lensrim.errors import InputError
from lensrim.training.config import MAY_CHANGE, TrainConfig

CONFIG = TrainConfig(steps=100, warmup=10, learning_rate=0.4, final_rate=0.05)


def test_learning_rate() -> None:
    rates = [CONFIG.rate_at(step) for step in range(100)]
    assert rates[:10] == pytest.approx([0.4 * (step + 1) / 11 for step in range(10)])
    assert rates[10] == max(rates) == 0.4
    assert rates[99] == pytest.approx(0.4 * 0.05)
    # Half a cosine: three quarters of the way down at two thirds of the way.
    halfway = TrainConfig(steps=112, warmup=10, learning_rate=1.0, final_rate=0.2)
    assert halfway.rate_at(10 + 101 // 3 * 2) == pytest.approx(0.2 + 0.8 * 0.25, abs=0.02)
    assert all(a > b for a, b in pairwise(rates[10:]))


@pytest.mark.parametrize(("steps", "warmup"), [(1, 0), (2, 0), (2, 1), (5, 4)])
def test_learning_rate_of_short_trainings(steps: int, warmup: int) -> None:
    config = replace(CONFIG, steps=steps, warmup=warmup)
    assert all(0 < config.rate_at(step) <= 0.4 for step in range(steps))
    assert config.rate_at(warmup) == 0.4


@pytest.mark.usefixtures("types_unchecked")
def test_numbers_of_numpy_are_numbers() -> None:
    seed, betas = np.random.default_rng(0).integers(9), (np.float32(0.5), 0.99)
    given: Any = {"steps": np.int64(20), "learning_rate": np.float32(1e-3)}
    found = TrainConfig(warmup=5, seed=seed, betas=betas, **given)
    said = json.loads(json.dumps(found.to_dict()))
    assert (said["steps"], said["learning_rate"]) == (20, pytest.approx(1e-3))
    assert TrainConfig.from_dict(said) == found


def test_decay() -> None:
    assert CONFIG.decay_at(0) == 0.1
    assert CONFIG.decay_at(8) == 0.5
    assert CONFIG.decay_at(10**6) == CONFIG.ema
    assert replace(CONFIG, ema=0.0).decay_at(10) == 0.0


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"steps": 0}, "steps: must be 1 or more, found 0; change it"),
        ({"batch_size": 0}, "batch_size: must be 1 or more, found 0"),
        ({"parts": 0}, "parts: must be 1 or more, found 0"),
        ({"parts": 3}, "parts: must divide batch_size, 32, found 3; change one"),
        ({"learning_rate": 0.0}, r"learning_rate: must be positive and finite, found 0\.0"),
        ({"learning_rate": math.nan}, "learning_rate: must be positive and finite, found nan"),
        ({"warmup": 100}, "warmup: must be 0 or more and below 100, found 100"),
        ({"final_rate": 1.5}, r"final_rate: must be a fraction, 0 to 1, found 1\.5"),
        ({"weight_decay": -1.0}, r"weight_decay: must be 0 or more, found -1\.0"),
        ({"betas": (0.9, 1.0)}, r"betas: must be 0 or more and below 1, found \(0\.9, 1\.0\)"),
        ({"clip": math.inf}, "clip: must be positive and finite, found inf"),
        ({"ema": 1.0}, r"ema: must be 0 or more and below 1, found 1\.0"),
        ({"seed": -1}, "seed: must be 0 or more and below 9.*, found -1"),
        ({"validate_every": 0}, "validate_every: must be 1 or more, found 0"),
        ({"checkpoint_every": 0}, "checkpoint_every: must be 1 or more, found 0"),
        ({"patience": -1}, "patience: must be 0 or more, found -1"),
        ({"workers": -1}, "workers: must be 0 or more, found -1"),
        ({"threads": -1}, "threads: must be 0 or more, found -1"),
    ],
)
def test_limits(change: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        replace(CONFIG, **change)


def test_through_a_file_and_back() -> None:
    config = replace(CONFIG, betas=(0.8, 0.95), seed=2**40)
    values = config.to_dict()
    assert list(values) == [field.name for field in fields(TrainConfig)]
    assert json.loads(json.dumps(values)) == values
    assert TrainConfig.from_dict(json.loads(json.dumps(values))) == config
    assert TrainConfig.from_dict({}) == TrainConfig()
    assert TrainConfig.from_dict({"clip": 2}).clip == 2


def test_unknown_keys() -> None:
    with pytest.raises(
        InputError, match=r"lr, momentum: must be among steps, batch_size, .*; remove or"
    ):
        TrainConfig.from_dict({"momentum": 0.9, "steps": 10, "lr": 0.1})


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"steps": "10"}, "steps: must be a whole number, found '10'"),
        ({"steps": 10.5}, r"steps: must be a whole number, found 10\.5"),
        ({"seed": True}, "seed: must be a whole number, found True"),
        ({"clip": None}, "clip: must be a number, found None"),
        ({"betas": [0.9]}, r"betas: must be a list of 2, each a number, found \[0\.9\]"),
        ({"betas": 0.9}, r"betas: must be a list of 2, each a number, found 0\.9"),
        ({"betas": [0.9, "0.9"]}, r"betas: must be a list of 2, .*, found \[0\.9, '0\.9'\]"),
    ],
)
def test_types(values: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        TrainConfig.from_dict(values)


@pytest.mark.usefixtures("types_unchecked")
@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"steps": "10"}, "^steps: must be a whole number, found '10'; change it"),
        ({"steps": 10.5}, r"^steps: must be a whole number, found 10\.5"),
        ({"clip": None}, "^clip: must be a number, found None"),
        ({"betas": [0.9]}, r"^betas: must be two numbers, found \[0\.9\]"),
    ],
)
def test_types_in_python(change: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        replace(CONFIG, **change)


def test_parts_and_seeds() -> None:
    assert replace(CONFIG, batch_size=24, parts=4).part_size == 6
    seeds = [replace(CONFIG, seed=s).seed_at(*n) for s in (0, 1) for n in ((0,), (1,), (1, 1))]
    assert len(set(seeds)) == 6 and all(0 <= seed < 2**64 for seed in seeds)
    assert CONFIG.seed_at(7) == replace(CONFIG, steps=200).seed_at(7)


def test_what_may_change_are_fields() -> None:
    assert {field.name for field in fields(TrainConfig)} >= MAY_CHANGE
