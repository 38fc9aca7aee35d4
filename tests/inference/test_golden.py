"""Products as a whole: those that are golden, twice the same, and in single and double precision.

The whole chain on ``data/ring.fits``, with the packaged machine: minutes.
"""

import hashlib
import json
import re
from pathlib import Path

import golden
import numpy as np
import pytest
import torch
from astropy.io import fits

from lensrim.grid import PixelGrid
from lensrim.inference.apply import Begun, apply, batch_of
from lensrim.inference.learnt import score_of, source_grid, start_state
from lensrim.inference.machine import load_machine
from lensrim.inference.reconstruct import Reconstruction
from lensrim.lensing.simulator import Simulator

pytestmark = pytest.mark.slow

TIMES = ("SECONDS", "DATE", "CHECKSUM", "DATASUM")
"""Keywords that may differ between products of the same input, options and version."""


@pytest.fixture(scope="module")
def results() -> dict[str, Reconstruction]:
    return {case: golden.made(case) for case in golden.CASES}


@pytest.mark.parametrize("case", golden.CASES)
def test_golden_products(case: str, results: dict[str, Reconstruction]) -> None:
    expected = golden.read(case)
    found = golden.kept(results[case].product)
    assert found.words == expected.words
    off = golden.differences(found, expected)
    assert {name: part for name, part in off.items() if not part < 1} == {}


def test_a_tenth_of_an_error_is_seen() -> None:
    expected = golden.read("machine")
    for name in ("THETAE", "MACROTER", "CHI2ARC"):
        limit = golden.allowed(expected)[0][name]
        moved = expected.numbers | {name: expected.numbers[name] + 1.01 * limit}
        off = golden.differences(golden.Golden(moved, expected.words, expected.maps), expected)
        assert [key for key, part in off.items() if part > 1] == [name]
    rows = [list(row) for row in expected.maps["KAPPA"]]
    rows[2][3] += 1.01 * golden.SHARE * expected.maps["KAPPA_STD"][2][3]
    maps = {**expected.maps, "KAPPA": rows}
    off = golden.differences(golden.Golden(expected.numbers, expected.words, maps), expected)
    assert [key for key, part in off.items() if part > 1] == ["KAPPA"]


def content(path: Path) -> object:
    """Returns what a file of a product says, less when it was made and how long that took."""
    if path.suffix == ".fits":
        with fits.open(path) as hdus:
            cards = [
                [c.image for c in h.header.cards if c.keyword not in TIMES and c.image.strip()]
                for h in hdus
            ]
            # the bytes of the pixels as they are in the file
            data = [hashlib.sha256(h.data.tobytes()).hexdigest() for h in hdus if h.size]
        return cards, data
    if path.suffix == ".json":
        text = json.dumps(json.loads(path.read_text()), sort_keys=True)
        return re.sub(
            r'"(seconds|SECONDS|DATE|date)[^"]*": ("[^"]*"|[-0-9.e]+|\{[^{}]*\})', "", text
        )
    return path.read_bytes()


def test_equal_seeds_give_equal_files(results: dict[str, Reconstruction], tmp_path: Path) -> None:
    written = [
        sorted(result.write(tmp_path / str(k)))
        for k, result in enumerate((results["machine"], golden.made("machine")))
    ]
    assert {path.suffix for path in written[0]} == {".fits", ".json", ".png", ".reg"}
    for one, other in zip(*written, strict=True):
        assert one.name == other.name
        assert content(one) == content(other), one.name


def test_single_and_double_precision_agree(results: dict[str, Reconstruction]) -> None:
    """The machine computes in single precision, and all else in double."""
    result = results["machine"]
    scene, state, answer = result.scene, result.state, result.answers["macro"]
    assert scene is not None and state is not None
    machine = load_machine()
    batch = batch_of(scene, answer, has_light=True)
    single_maps, single_source = apply(machine, scene, batch, state)
    begun = Begun.of(machine, scene, batch, state)
    prepared = {name: value.double() for name, value in begun.prepared.items()}
    assert next(machine.rim.parameters()).dtype == torch.float32
    machine.rim.double()
    side = begun.square.side
    simulator = Simulator(
        PixelGrid((side, side), 1.0),
        source_grid((side, side)),
        prepared["psf"],
        psf_on_rays=True,
        dtype=torch.float64,
    )
    last = machine.rim.predict(
        prepared["observation"],
        score_of(prepared, simulator),
        start_state(prepared),
        prepared["conditioning"],
    )
    assert {value.dtype for value in last.values()} == {torch.float64}
    double = Begun(begun.square, begun.spacing, begun.start, prepared, simulator)
    double_maps, double_source = double.maps_of(last)
    kappa = (single_maps.kappa / double_maps.kappa).log10().abs()
    alpha = (single_maps.alpha - double_maps.alpha).abs()
    source = (single_source.source - double_source.source).abs() / double_source.source.max()
    found = {name: float(v.max()) for name, v in (("k", kappa), ("a", alpha), ("s", source))}
    # dex; arcsec; of the peak: the largest of all pixels were 8e-6, 4e-6 and 2e-6
    assert {name: error for name, error in found.items() if not error < 1e-4} == {}
    assert not np.allclose(single_maps.kappa, double_maps.kappa, rtol=1e-12)  # two precisions
