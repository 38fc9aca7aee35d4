"""The quick pass of a survey: what it does, and what it leaves to the chain."""

import multiprocessing
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from astropy.table import Table
from surveys import Searching, Troubled

from lensrim.datasets.priors import SystemPrior
from lensrim.errors import InputError
from lensrim.evaluation.mock_files import write_mock
from lensrim.evaluation.mocks import make_mock
from lensrim.inference.machine import Machine, load_machine
from lensrim.inference.options import ReconstructOptions
from lensrim.inference.quick import Found, Seen
from lensrim.survey import quickly
from lensrim.survey.catalogue import run_survey
from lensrim.survey.lenses import Lens, find_lenses
from lensrim.survey.quickly import Answerer, Looked, Quickly, looked, written
from lensrim.survey.work import DoLens, Outcome

OPTIONS = ReconstructOptions(stage="rim", search="quick", lens_light="none")


@pytest.fixture(scope="module")
def observations(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three lenses and a bad file."""
    folder = tmp_path_factory.mktemp("obs")
    for seed in range(3):
        mock = make_mock(seed, oversample=3, prior=SystemPrior(light_share=0.0))
        write_mock(mock, folder / f"lens{seed}.fits", seed=seed, zero_point=25.0)
    (folder / "bad.fits").write_text("no FITS\nfile", encoding="ascii")
    return folder


def found_in(folder: Path) -> tuple[Lens, ...]:
    return find_lenses([str(folder / "*.fits")], fit=OPTIONS).lenses


def test_good_answers_are_kept_and_the_rest_is_left(observations: Path, tmp_path: Path):
    (tmp_path / "notes").mkdir()
    told, chain = [], Searching(tmp_path / "notes")
    lenses, crew = found_in(observations), Quickly(workers=1, batch=2)
    out = tmp_path / "out"
    summary = run_survey(
        out,
        lenses,
        at_once=crew,
        reconstruct=chain,
        pictures=False,
        report=told.append,
    )
    table = Table.read(out / "catalogue.ecsv", format="ascii.ecsv")
    assert table["status"].tolist() == ["failed", "done", "done", "done"]
    assert (summary.made, len(summary.failures)) == (4, 1)
    assert chain.searched == {}
    assert sorted(each.name for each in told) == ["bad", "lens0", "lens1", "lens2"]
    assert set(table["quality"][1:]) == {"good"} and set(table["stage"][1:]) == {"rim"}
    assert (out / "products/lens1/lens1_lensrim.fits").exists()
    again = run_survey(out, lenses, at_once=crew, reconstruct=chain, pictures=False)
    assert (again.made, again.there) == (0, 4)
    (out / "products/lens1/row.json").unlink()
    one = run_survey(out, lenses, at_once=crew, reconstruct=chain, pictures=False)
    assert (one.made, one.there) == (1, 3)
    # without a quick answer the chain has it, and is told to search
    (out / "products/lens1/row.json").unlink()
    run_survey(out, lenses, at_once=lambda *_: (), reconstruct=chain, pictures=False)
    assert chain.searched == {"lens1": "auto False"}
    # with an answer that is not kept, it is told why
    (out / "products/lens1/row.json").unlink()
    bad = [Outcome("lens1", "it is bad")]
    run_survey(out, lenses, at_once=lambda *_: bad, reconstruct=chain, pictures=False)
    assert chain.searched == {"lens1": "auto True"}


def test_a_process_that_dies_leaves_its_lens_to_the_chain(observations: Path, tmp_path: Path):
    work = Troubled(tmp_path, name="lens0", deadly=True)
    done = list(Quickly(workers=1, batch=1)(work, found_in(observations)))
    # those in work beside it are the chain's, too; what was not begun goes on in a new process
    assert {outcome.name for outcome in done} <= {"lens1", "lens2"}
    assert not any(outcome.reason for outcome in done)


def test_what_cannot_be_written_ends_the_pass_and_all_its_work(observations: Path, tmp_path: Path):
    work = Troubled(tmp_path, name="lens0")
    with pytest.raises(InputError, match="the disk is full"):
        list(Quickly(workers=1, batch=1)(work, found_in(observations)))
    assert not multiprocessing.active_children()


def test_only_what_is_to_be_quick_is_looked_at(observations: Path):
    one = found_in(observations)[1]
    assert quickly.is_quick(one)
    for fit in (replace(OPTIONS, search="auto"), replace(OPTIONS, stage="final")):
        assert not quickly.is_quick(replace(one, fit=fit))
    assert not quickly.is_quick(replace(one, problem="its line is at fault"))
    assert looked(found_in(observations)[0]) is None
    outcome = looked(replace(one, fit=replace(OPTIONS, size=2.0)))
    assert isinstance(outcome, Outcome)
    assert outcome.reason.startswith("side of the frame [pixel] is ")


@pytest.mark.parametrize("error", [torch.cuda.OutOfMemoryError("full"), ValueError("bad")])
def test_batches_are_halved_where_they_do_not_fit(
    observations: Path, error: Exception, monkeypatch: pytest.MonkeyPatch
):
    one = looked(found_in(observations)[1])
    assert isinstance(one, Looked)
    sizes, empty = [], np.zeros((1, 1))

    def answers(machine: Machine, seen: Sequence[Seen]) -> list[Found]:
        names = [each.notes[0] for each in seen]
        sizes.append(len(names))
        if "bad" in names or len(names) > 2:
            raise error
        return [
            Found(empty, empty, empty, 1.0, (0.0, 0.0), empty, empty, ord(n), empty) for n in names
        ]

    monkeypatch.setattr(quickly, "answers", answers)
    some = [replace(one, seen=replace(one.seen, notes=(n,))) for n in ("a", "b", "bad", "c", "d")]
    answerer = Answerer(load_machine(), 5)
    found = [(each.seen.notes[0], chr(int(f.effective))) for each, f, _ in answerer(some)]
    assert found == [(n, n) for n in "abcd"]
    # what the memory does not suffice for is not tried again
    full = isinstance(error, torch.cuda.OutOfMemoryError)
    assert sizes == ([5, 2, 2, 1, 1, 1] if full else [5, 2, 3, 1, 2])
    assert answerer.fits == ({64: 1} if full else {})


def test_what_cannot_be_finished_is_left(
    observations: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    def finish(*_: object):
        raise ZeroDivisionError

    monkeypatch.setattr(quickly, "finish", finish)
    one, empty = looked(found_in(observations)[1]), np.zeros((1, 1))
    assert isinstance(one, Looked)
    found = Found(empty, empty, empty, 1.0, (0.0, 0.0), empty, empty, 1.0, empty)
    outcome = written(DoLens(tmp_path), one, found, 0.0)
    assert outcome == Outcome("lens0", "ZeroDivisionError of the quick answer")
