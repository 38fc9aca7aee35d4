"""The standard mocks: frozen, of a balanced design, and from what no training saw."""

from collections import Counter
from dataclasses import replace
from functools import cache
from itertools import product

import numpy as np
import pytest

from lensrim.datasets.galaxies.learnt import LearntGalaxies
from lensrim.datasets.haloes.modelled import ModelHaloes
from lensrim.datasets.splits import split
from lensrim.errors import InputError
from lensrim.evaluation.mocks import Mock
from lensrim.evaluation.standard import (
    HALO_KEYS,
    KEYS,
    MOST,
    POISSON,
    SETTINGS,
    SIDE,
    Design,
    names_of,
    standard_mock,
)


@cache
def mock_of(index: int, which: str = "test") -> Mock:
    return standard_mock(index, split=which)  # pyright: ignore[reportArgumentType]


def checksum(mock: Mock) -> list[float]:
    """Numbers to which every pixel of image, noise, PSF and convergence contributes."""
    seen, (h, w) = mock.observation, mock.observation.shape
    waves = np.sin(0.7 * np.arange(w)) * np.cos(0.9 * np.arange(h))[:, None]
    maps = (seen.image / mock.truth.arcs.max(), seen.sigma / seen.sigma.min(), mock.truth.kappa)
    n, m = seen.psf.shape
    return [float((a * waves).sum()) for a in maps] + [float((seen.psf * waves[:n, :m]).sum())]


@pytest.mark.parametrize(
    ("index", "which", "expected"),
    [
        (4, "test", [-7.392253, -1.661012, -10.30541, -0.252882]),
        (20, "test", [1.153032, 0.9455135, -0.8674557, -0.1928158]),
        (1, "validation", [3.278202, 2.778269, -13.27625, -0.2067319]),
    ],
)
def test_mocks_are_frozen(index: int, which: str, expected: list[float]) -> None:
    assert checksum(mock_of(index, which)) == pytest.approx(expected, rel=1e-4, abs=1e-4)


def test_every_combination_comes_as_often() -> None:
    designs = [Design.of(index) for index in range(96)]
    combinations = Counter((d.setting, d.light, d.halo, d.learnt) for d in designs)
    assert set(combinations) == set(product(SETTINGS, *[(False, True)] * 3))
    assert set(combinations.values()) == {4}
    scales = Counter((d.instrument.pixel_scale, d.light, d.halo) for d in designs)
    assert {scales[0.03, a, b] for a in (False, True) for b in (False, True)} == {4}
    assert {scales[0.06, a, b] for a in (False, True) for b in (False, True)} == {4}


@pytest.mark.parametrize("index", [4, 20])
def test_a_mock_is_of_its_design(index: int) -> None:
    mock, design = mock_of(index), Design.of(index)
    system = mock.truth.system
    assert mock.observation.shape == (SIDE, SIDE)
    assert mock.observation.pixel_scale == design.instrument.pixel_scale
    assert (system.lens_light is not None) == design.light
    assert (system.halo is not None) == design.halo
    assert system.galaxy.name.startswith("vae-") == design.learnt
    assert system.psf.kind.startswith("pupil")
    assert not system.lens.subhalos
    assert 10 <= system.noise.snr <= 200
    assert POISSON[0] <= system.noise.poisson_share <= POISSON[1]


def test_sets_share_nothing_with_each_other_nor_with_trainings() -> None:
    halo = mock_of(20).truth.system.halo
    assert halo is not None
    assert halo.halo.name == f"model-{HALO_KEYS['test']}-00020"
    keys = {*KEYS.values(), *HALO_KEYS.values()}
    assert len(keys) == 4
    assert keys.isdisjoint({ModelHaloes().seed, 0})
    galaxy = mock_of(20).truth.system.galaxy
    known = LearntGalaxies(count=MOST).load(galaxy.name)
    assert not np.array_equal(known.image, galaxy.image)  # pyright: ignore[reportAttributeAccessIssue]
    first, second = mock_of(4), standard_mock(4, split="validation")
    assert first.truth.theta_E != second.truth.theta_E
    assert first.observation.name != second.observation.name


class Folder:
    """Synthetic galaxies under the names of a folder's."""

    names = tuple(f"galaxy{i:03d}" for i in range(60))

    def __init__(self) -> None:
        self.asked: list[str] = []

    def load(self, name: str):
        self.asked.append(name)
        return LearntGalaxies(count=1).load("vae-000000")


def test_galaxies_of_the_user_are_those_of_the_set() -> None:
    folder = Folder()
    standard_mock(1, galaxies=folder)
    assert set(folder.asked) <= set(split(folder.names)["test"])
    standard_mock(1, galaxies=folder, names=["mine"])
    assert folder.asked[-1] == "mine"
    folder.names = folder.names[:1]
    with pytest.raises(InputError, match="galaxies: must be some in the validation set"):
        names_of(folder, "validation")


def test_the_noise_is_correlated_where_it_is_asked_for() -> None:
    index = 4
    mock, white = standard_mock(index, noise_length=0.5), mock_of(index)
    assert checksum(replace(mock, observation=white.observation)) == checksum(white)

    def neighbours(each: Mock) -> float:
        truth, observation = each.truth, each.observation
        noise = (observation.image - truth.arcs - truth.lens_light) / observation.sigma
        assert noise.std() == pytest.approx(1, abs=0.05)
        return float(np.mean(noise[1:] * noise[:-1] + noise[:, 1:].T * noise[:, :-1].T) / 2)

    kernel = np.exp(-0.5 * (np.arange(-3, 4) / 0.5) ** 2)
    expected = (kernel[1:] @ kernel[:-1]) / (kernel @ kernel)
    assert neighbours(mock) == pytest.approx(expected, abs=0.04)
    assert neighbours(white) == pytest.approx(0, abs=0.04)


@pytest.mark.parametrize("index", [-1, MOST])
def test_numbers_have_an_end(index: int) -> None:
    with pytest.raises(InputError, match="index"):
        standard_mock(index)
