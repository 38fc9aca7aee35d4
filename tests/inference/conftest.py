"""What several tests of the chain share: a small mock without lens light, and its true model."""

import numpy as np
import pytest
import torch

from lensrim.datasets.priors import SystemPrior
from lensrim.evaluation.mocks import Mock, make_mock
from lensrim.inference.framing import frame_of, observe
from lensrim.inference.macro import MacroState
from lensrim.inference.scene import Scene

PRIOR = SystemPrior(light_share=0.0, theta_E=(9.0, 10.0), pixel_scale=(0.1, 0.1), snr=(80.0, 81.0))


@pytest.fixture(scope="package")
def mock() -> Mock:
    return make_mock(1, shape=(48, 48), oversample=3, prior=PRIOR)


@pytest.fixture(scope="package")
def scene(mock: Mock) -> Scene:
    return observe(frame_of(mock.observation), lens_light=False)


@pytest.fixture(scope="package")
def state(mock: Mock) -> MacroState:
    """The true ellipsoid as a candidate."""
    lens = mock.truth.system.lens
    host = lens.ellipsoid
    flat = (1 - host.q) / (1 + host.q)
    e1, e2 = flat * np.cos(2 * host.phi), flat * np.sin(2 * host.phi)
    p = [np.log(host.theta_E), e1, e2, host.center_x, host.center_y]
    p = torch.tensor([[*p, lens.gamma1, lens.gamma2, host.gamma]], dtype=torch.float64)
    hyper = torch.tensor([[0.0, -2.0, 0.7, -2.3]], dtype=torch.float64)
    hyper[0, 0] = float(np.log(mock.truth.source.on_grid(mock.observation.grid).max()))
    zero = torch.zeros(1, dtype=torch.float64)
    return MacroState(p, hyper, zero, zero)
