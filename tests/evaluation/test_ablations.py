"""Ablations: each variant changes what it says, can be trained, and ends in the table."""

import json
from dataclasses import replace

import pytest
import torch

from lensrim.errors import InputError
from lensrim.evaluation.ablations.__main__ import AblationOptions, run
from lensrim.evaluation.ablations.table import SHOWN, others
from lensrim.evaluation.ablations.variants import CHOSEN, SCALES, VARIANTS, Scale, varied
from lensrim.inference.data_config import DataConfig
from lensrim.inference.learnt import score_of, shown, simulator_of, start_state
from lensrim.inference.lens_config import LensConfig, build
from lensrim.inference.objective import LossConfig, loss_of
from lensrim.inference.recipe import Recipe, ValidationConfig
from lensrim.rim.unroll import Unroll
from lensrim.training.config import TrainConfig

SCALE = Scale(
    data={"shape": 24, "stocked": 1},
    model=LensConfig(steps=2, widths=(4, 8), lift=4, embedding=4),
    train=TrainConfig(steps=2, batch_size=2, warmup=0, validate_every=1, checkpoint_every=2),
    validation=ValidationConfig(batches=1, batch_size=2),
)
TINY = Recipe(DataConfig(shape=24), SCALE.model, SCALE.train, SCALE.validation)


@pytest.fixture(scope="module")
def batch():
    return TINY.batches("validation")(0)


@pytest.mark.parametrize("name", VARIANTS)
def test_a_variant_differs_and_learns(name, batch, request):
    if name == "through-score":
        request.getfixturevalue("second_derivatives")
    recipe = varied(name, TINY, 3)
    same = replace(recipe, train=replace(recipe.train, seed=TINY.train.seed)) == TINY
    assert same == (name in (CHOSEN, "two-steps"))  # the tiny machine has two steps itself
    assert recipe.train.seed == 3
    model = build(recipe.model, recipe.unroll)
    with torch.no_grad():
        model.network.last.weight.normal_(std=0.01)  # pyright: ignore
    assert recipe.unroll.through_score == (name == "through-score")
    loss, metrics = loss_of(model, batch, config=recipe.model, loss=recipe.loss)
    loss.backward()
    assert bool(loss.isfinite()) and set(SHOWN) <= set(metrics)
    slopes = [p.grad for p in model.parameters() if p.grad is not None]
    assert slopes and all(bool(g.isfinite().all()) for g in slopes)


def test_the_network_without_score_does_not_see_the_psf(batch):
    # A feed-forward network is one that the forward model cannot reach.
    config = varied("feed-forward", TINY, 0).model
    model = build(config)
    with torch.no_grad():
        model.network.last.weight.normal_(std=0.01)  # pyright: ignore
    wide = dict(batch) | {"psf": torch.full_like(batch["psf"], 1 / batch["psf"][0].numel())}
    for each, alike in ((config, True), (TINY.model, False)):
        model = build(each)
        with torch.no_grad():
            model.network.last.weight.normal_(std=0.01)  # pyright: ignore
        ends = [_end(model, b, each) for b in (batch, wide)]
        assert torch.equal(*ends) == alike


def _end(model, batch, config):
    seen = shown(batch, config)
    score_fn = score_of(seen, simulator_of(seen))
    last = model.predict(seen["observation"], score_fn, start_state(seen), seen["conditioning"])
    return last["source"]


@pytest.mark.parametrize("through", [True, False])
def test_the_gradient_goes_through_the_score_where_it_is_asked_to(batch, through, request):
    if through:
        request.getfixturevalue("second_derivatives")
    torch.manual_seed(0)
    model = build(TINY.model, Unroll(through_score=through))
    weight = model.network.last.weight
    with torch.no_grad():
        weight.normal_(std=0.01)  # pyright: ignore
    score_fn = score_of(batch, simulator_of(batch), create_graph=through)
    along = torch.randn_like(weight)  # pyright: ignore

    def end() -> torch.Tensor:
        states = model(batch["observation"], score_fn, start_state(batch), batch["conditioning"])
        return states.last["source"].square().sum() + states.last["log_kappa"].square().sum()

    (slope,) = torch.autograd.grad(end(), [weight])  # pyright: ignore
    found, ends = float((slope * along).sum()), []
    for step in (1e-4, -2e-4):
        with torch.no_grad():
            weight.add_(step * along)  # pyright: ignore
            ends.append(float(end()))
    secant = (ends[0] - ends[1]) / 2e-4
    off = abs(found / secant - 1)  # in single precision: a per cent, of what is five without it
    assert off < 0.01 if through else off > 0.02


def test_what_is_not_told_is_not_told(batch):
    plain = shown(batch, LensConfig(start="plain", conditioning=False))
    assert float(plain["conditioning"].abs().max()) == float(plain["source"].abs().max()) == 0
    assert float(plain["log_kappa"].std()) == 0
    for name in ("image", "observation", "fov", "true_source"):
        assert plain[name] is batch[name]
    assert shown(batch, LensConfig()) == dict(batch)


def test_weights_of_kappa(batch):
    root, even = LossConfig(kappa="root").weights(batch), LossConfig(kappa="even").weights(batch)
    torch.testing.assert_close(root.square(), 10 ** batch["true_log_kappa"])
    assert float(even.min()) == float(even.max()) == 1
    assert LossConfig().weights(batch) is batch["kappa_weight"]


def test_trainings_end_in_the_table_and_are_not_made_twice(tmp_path, monkeypatch):
    monkeypatch.setitem(SCALES, "small", SCALE)
    options = AblationOptions(str(tmp_path), only=(CHOSEN, "one-step"), seeds=(0, 1))
    said: list[str] = []
    rows = run(options, said.append)
    assert [(r["variant"], r["seed"]) for r in rows] == [(CHOSEN, 0), ("one-step", 0), (CHOSEN, 1)]
    assert rows[0]["misfit"] != rows[2]["misfit"]
    assert (tmp_path / "table.txt").read_text() == said[0] + "\n"
    assert f"({min(rows[0]['misfit'], rows[2]['misfit']):.4f}-" in said[0]
    with monkeypatch.context() as m:
        m.setattr("lensrim.inference.batches.with_start", None)
        m.setattr("lensrim.inference.objective.shown", None)
        assert run(options, said.append) == rows
        # the table keeps what another call has trained, and what diverged
        path = tmp_path / f"{CHOSEN}-1" / "history.jsonl"
        *before, last = (json.loads(line) for line in path.read_text().splitlines())
        last["validation_metrics"]["misfit"] = None
        path.write_text("".join(json.dumps(line) + "\n" for line in (*before, last)))
        some = AblationOptions(str(tmp_path), only=("one-step",), seeds=(0,))
        found = {(r["variant"], r["seed"]): r for r in run(some, said.append)}
        assert set(found) == {(CHOSEN, 0), (CHOSEN, 1), ("one-step", 0)}
        assert found[CHOSEN, 0] == rows[0]
        assert "nan" in said[-1]
        # those of other galaxies are none of this table's
        base = some.recipe()
        assert len(others(tmp_path, base, ())) == 3
        real = replace(base, data=replace(base.data, galaxies="stamps"))
        assert others(tmp_path, real, ()) == []


def test_both_scales_can_be_trained(tmp_path):
    for scale in SCALES.values():
        for name in VARIANTS:
            varied(name, scale.recipe(tmp_path, None), 0).check_workers()


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: AblationOptions("x", only=("nothing",)).check(), "--only: must be of chosen"),
        (lambda: AblationOptions("x", seeds=()).check(), "--seeds: must be one or more"),
        (lambda: LensConfig(encodings=("raw",)), "encodings: must be of normalized"),
        (lambda: LensConfig(aux=("model", "model")), "aux: must not name one twice"),
        (lambda: LensConfig(start="zero"), "start: must be of macro, plain"),
        (lambda: LossConfig(kappa="sqrt"), "kappa: must be region, root or even"),
    ],
)
def test_what_cannot_be_is_refused(make, says):
    with pytest.raises(InputError, match=says):
        make()
