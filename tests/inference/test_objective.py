"""What a machine is trained for: no image tells a mass sheet, and no state is blamed for one."""

import pytest
import torch

from lensrim.datasets.contaminants import RESIDUES
from lensrim.datasets.pairs.pairs import PairPrior, Pairs
from lensrim.datasets.priors import SystemPrior
from lensrim.inference.learnt import setting_of, simulator_of, start_state, with_start
from lensrim.inference.lens_config import FIELDS
from lensrim.inference.objective import Truth, errors_of, misfit
from lensrim.lensing.likelihood import simulate

SYSTEMS = SystemPrior(
    pixel_scale=(1.0, 1.0), light_offset=0.3, psf_fwhm=(2.0, 4.0), theta_E=(12.0, 18.0)
)


@pytest.fixture(scope="module")
def batch():
    pairs = Pairs(
        3, shape=(64, 64), prior=PairPrior(system=SYSTEMS, contaminants=RESIDUES), psf_side=15
    )
    return with_start(pairs(3), 3)


@pytest.fixture(scope="module")
def truth(batch) -> Truth:
    return Truth.of(batch, simulator_of(batch))


def test_the_truth_is_in_its_own_gauge(batch, truth: Truth):
    plain = {name: batch[f"true_{name}"] for name in FIELDS}
    torch.testing.assert_close(truth.gauge(plain), torch.ones(3))
    seen = truth.seen(torch.ones(3))
    for name in FIELDS:
        torch.testing.assert_close(seen[name], plain[name], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("scale", [0.93, 1.06])
def test_in_every_gauge_the_truth_has_the_same_image(batch, truth: Truth, scale: float):
    gauge = torch.full((3,), scale)
    seen = truth.seen(gauge)
    # what is clamped where kappa would be negative, in the corners, moves the rays a little
    torch.testing.assert_close(truth.gauge(seen), gauge, rtol=0.02, atol=0)

    def off(state) -> torch.Tensor:
        return misfit(simulate(truth.simulator, state, setting_of(batch)), batch)

    plain = {name: batch[f"true_{name}"] for name in FIELDS}
    halfway = {**plain, "source": seen["source"]}
    assert bool((off(seen) < off(plain) + 0.15 * off(halfway)).all())
    assert bool((off(halfway) > off(plain)).all())


def test_errors_are_taken_in_the_gauge_and_plainly(batch, truth: Truth):
    seen = truth.seen(torch.full((3,), 0.9))
    errors = errors_of(seen, truth.seen(torch.full((3,), 0.9)), batch)
    assert float(errors["source"].max()) == float(errors["kappa"].max()) == 0
    assert float(errors["source_plain"].min()) > 0.02
    assert float(errors["kappa_plain"].min()) > 0.01


def test_the_start_has_a_misfit_of_its_own(batch, truth: Truth):
    start = simulate(truth.simulator, start_state(batch), setting_of(batch))
    assert bool((misfit(start, batch) > 0).all())
    assert float(misfit(batch["clean"], batch).max()) == 0
