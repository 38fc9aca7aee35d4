"""Quick answers: as good as their own judgement says, and alike in any batch."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from pretend import pretended_device

from lensrim import ReconstructOptions, reconstruct
from lensrim.datasets.priors import SystemPrior
from lensrim.errors import InputError
from lensrim.evaluation.mocks import Mock, make_mock
from lensrim.evaluation.stated import SCALARS, stated_errors
from lensrim.inference import quick
from lensrim.inference import reconstruct as chain
from lensrim.inference.amortised import amortised_start, guessed
from lensrim.inference.machine import Machine, load_machine
from lensrim.inference.quick import Found, Seen, answers, finish, in_arcsec, look
from lensrim.inference.reconstruct import Reconstruction
from lensrim.metrics import effective_theta_E

OPTIONS = ReconstructOptions(stage="rim", search="quick", lens_light="none")
SHAPES = ((64, 64), (64, 56), (48, 64))


@pytest.fixture(scope="module")
def machine() -> Machine:
    return load_machine()


@pytest.fixture(scope="module")
def mocks() -> list[Mock]:
    """Of one longer side, of PSFs of different sizes, and without lens light."""
    prior = SystemPrior(light_share=0.0)
    return [
        make_mock(seed, shape=shape, oversample=3, prior=prior)
        for seed, shape in zip((0, 1, 2), SHAPES, strict=True)
    ]


@pytest.fixture(scope="module")
def seen(mocks: list[Mock]) -> list[Seen]:
    return [look(mock.observation, OPTIONS) for mock in mocks]


@pytest.fixture(scope="module")
def found(machine: Machine, seen: list[Seen]) -> list[Found]:
    return answers(machine, seen)


def test_good_answers_are_near_the_truth(
    machine: Machine, mocks: list[Mock], seen: list[Seen], found: list[Found]
):
    for mock, one, each in zip(mocks, seen, found, strict=True):
        product, reasons = finish(one, each, machine, replace(OPTIONS, mass_sheet="none"))
        assert reasons == ()
        true = effective_theta_E(mock.truth.kappa, mock.observation.grid)
        assert product.value("THETAE") == pytest.approx(true, rel=0.01)
        assert 0.8 < product.value("CHI2ARC") < 1.2
        assert product.value("STAGE") == "rim" and product.value("MODEL") == machine.name
        assert product.value("PEFF") > 5


def test_errors_are_stated(
    machine: Machine, mocks: list[Mock], seen: list[Seen], found: list[Found]
):
    for mock, one, each in zip(mocks, seen, found, strict=True):
        product, _ = finish(one, each, machine, OPTIONS)
        stated = stated_errors(mock, product)["numbers"]
        assert {*stated} == {*SCALARS}
        for name, (true, value, error) in stated.items():
            assert abs(value - true) < 5 * error, name
        for maps, name in ((product.image_maps, "KAPPA"), (product.source_maps, "SOURCE")):
            assert maps[f"{name}_STD"].shape == maps[name].shape
            assert np.isfinite(maps[f"{name}_STD"]).all()


def test_products_may_state_no_errors(machine: Machine, seen: list[Seen], found: list[Found]):
    product, _ = finish(seen[1], found[1], machine, replace(OPTIONS, errors=False))
    assert {"KAPPA", "MODEL", "RESIDUAL"} < {*product.image_maps}
    assert not [name for name in (*product.image_maps, *product.source_maps) if "STD" in name]
    for key in ("THETAEER", "MACROTER", "SLOPEERR", "FLUXSRC"):
        assert product.value(key) is None
    assert product.image_maps["KAPPA"].shape == SHAPES[1]
    assert "search = quick" in product.history


def test_a_lens_is_the_same_in_any_batch(machine: Machine, seen: list[Seen], found: list[Found]):
    (alone,) = answers(machine, [seen[2]])
    for name in ("kappa", "alpha", "source"):
        here, there = getattr(alone, name), getattr(found[2], name)
        np.testing.assert_allclose(here, there, atol=1e-4 * np.abs(there).max())
    np.testing.assert_allclose(alone.p, found[2].p, atol=1e-5)


def test_a_macro_model_is_put_back_on_the_sky(seen: list[Seen], found: list[Found]):
    one, state = seen[2], found[2].state
    pixel = state.p.clone()
    pixel[:, 0] -= np.log(one.spacing)
    pixel[:, 3:5] = pixel[:, 3:5] / one.spacing - torch.tensor(one.square.offset)
    hyper = state.hyper.clone()
    hyper[:, 2] -= np.log(one.spacing)
    back = in_arcsec(replace(state, p=pixel, hyper=hyper), one.square, one.spacing)
    torch.testing.assert_close((back.p, back.hyper), (state.p, state.hyper))


@pytest.mark.slow
def test_the_fit_lives_on_one_device(seen: list[Seen]):
    def fitted(device: torch.device):
        batch = quick.joined([each.batch for each in seen[:2]], device)
        centers = torch.zeros(2, 2, device=device)
        guess = guessed(batch, centers)
        start, state = amortised_start(batch, centers, torch.full((2,), 3.0, device=device))
        assert guess.device.type == state.p.device.type == start.kappa.device.type == device.type
        return [t.cpu() for t in (guess, state.p, start.source, start.kappa)]

    here = fitted(torch.device("cpu"))
    with pretended_device() as device:
        there = fitted(device)
    for one, two in zip(there, here, strict=True):
        torch.testing.assert_close(one, two, rtol=0, atol=1e-3)


def test_what_has_no_good_answer_is_searched_for(
    machine: Machine,
    seen: list[Seen],
    found: list[Found],
    mocks: list[Mock],
    monkeypatch: pytest.MonkeyPatch,
):
    wrong = replace(found[0], source=np.zeros_like(found[0].source))
    product, reasons = finish(seen[0], wrong, machine, OPTIONS)
    assert product.value("QUALITY") == "failed"
    assert reasons[0].startswith("the answer is failed: ")
    narrow = replace(machine, valid={**machine.valid, "side": (96.0, 128.0)})
    _, reasons = finish(seen[0], found[0], narrow, OPTIONS)
    assert reasons == ("side of the frame [pixel] is 64, beyond 96 to 128",)

    with pytest.raises(RuntimeError, match="gives no finite answer"):
        finish(seen[0], replace(found[0], center=(math.nan, 0.0)), machine, OPTIONS)

    class Searched(Exception):
        pass

    def search(*_: object, **__: object):
        raise Searched

    monkeypatch.setattr(chain, "quick_answer", lambda *_: (product, ("it is bad",), ()))
    monkeypatch.setattr(chain, "Fitter", search)
    with pytest.raises(Searched):
        reconstruct(mocks[0].observation, OPTIONS)
    product = quick.with_seconds(product, 1.0)
    monkeypatch.setattr(chain, "quick_answer", lambda *_: (product, (), ("a pixel is ignored",)))
    result = reconstruct(mocks[0].observation, OPTIONS)
    assert result.summary.endswith("note: a pixel is ignored")
    assert isinstance(result, Reconstruction) and result.product is product


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"stage": "macro"}, "--search quick: needs --stage rim, found --stage macro; change"),
        ({"stage": "final"}, "--search quick: needs --stage rim, found --stage final"),
        ({"samples": 3}, "--search quick: needs no --samples, found --samples 3"),
        ({"source_fov": 1.0}, "--search quick: needs no --source-fov, found --source-fov 1.0"),
        ({"refine": "descent"}, "--search quick: needs --refine none, found --refine descent"),
    ],
)
def test_what_quick_answers_do_not_have_is_refused(changes: dict, message: str):
    with pytest.raises(InputError, match=message):
        replace(OPTIONS, **changes).check()


LIT = replace(OPTIONS, lens_light="auto", mass_sheet="none")


@pytest.fixture(scope="module")
def lit() -> Mock:
    return make_mock(3, oversample=3, prior=SystemPrior(light_share=1.0))


@pytest.fixture(scope="module")
def seen_lit(lit: Mock) -> Seen:
    return look(lit.observation, LIT)


def test_lens_light_is_solved_for_with_the_source(machine: Machine, lit: Mock, seen_lit: Seen):
    one, options = seen_lit, LIT
    (found,) = answers(machine, [one])
    assert found.change.shape == (len(one.scene.light.amplitudes),)
    assert np.abs(found.change).max() > 0.01
    product, reasons = finish(one, found, machine, options)
    light, sky = one.scene.lights(found.change)
    np.testing.assert_array_equal(product.image_maps["LENS_LIGHT"], light)
    np.testing.assert_array_equal(product.image_maps["SKY"], sky)
    before, _ = finish(one, replace(found, change=0 * found.change), machine, options)
    assert reasons == () and product.value("CHI2ARC") < before.value("CHI2ARC")
    true = effective_theta_E(lit.truth.kappa, lit.observation.grid)
    assert product.value("THETAE") == pytest.approx(true, rel=0.02)


def test_images_of_few_and_of_many_templates_share_a_batch(
    machine: Machine, seen: list[Seen], found: list[Found], seen_lit: Seen
):
    alone, (beside, other) = found[0], answers(machine, [seen[0], seen_lit])
    assert beside.change.shape == (1,) and other.change.shape[0] > 1
    np.testing.assert_allclose(beside.p, alone.p, atol=2e-3)
    np.testing.assert_allclose(beside.change, alone.change, atol=2e-2)
