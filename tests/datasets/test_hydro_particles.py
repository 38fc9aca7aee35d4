"""Particles, how they are turned and centred, and the toy haloes that are drawn."""

import numpy as np
import pytest

from lensrim.datasets.hydro.particles import (
    Particles,
    check_rotation,
    densest_point,
    facing,
    random_rotation,
    turned,
    wrapped,
)
from lensrim.datasets.hydro.toys import Bulge, DarkHalo, ToyHaloes, draw_particles

AXES = [(1, 0, 0), (0, 1, 0), (0, 0, 1), (0, -1, 0), (0, 0, -2), (1, 2, 3), (1e-5, 1, 0)]


def some(n: int = 5, **values) -> Particles:
    position = np.random.default_rng(0).normal(size=(n, 3))
    kind = np.array([0, 1, 4, 5, 1] * n, dtype=np.int8)[:n]
    fields = {"position": position, "mass": np.ones(n), "kind": kind, "halo": "h", "redshift": 0.5}
    return Particles(**{**fields, **values})


@pytest.mark.parametrize("axis", AXES)
def test_an_axis_faces_the_observer(axis: tuple[float, ...]) -> None:
    rotation = check_rotation(facing(axis))
    np.testing.assert_allclose(rotation @ np.array(axis), [0, 0, np.linalg.norm(axis)], atol=1e-9)


def test_nothing_is_turned_along_z_and_y_points_up_along_x() -> None:
    np.testing.assert_array_equal(facing((0, 0, 3)), np.eye(3))
    position = np.array([[1.0, 2.0, 3.0]])
    seen = turned(some(1, position=position), facing((1, 0, 0))).position[0]
    np.testing.assert_allclose(seen, [-3, 2, 1])


def test_random_rotations_have_no_preferred_direction() -> None:
    rng = np.random.default_rng(1)
    rotations = np.stack([check_rotation(random_rotation(rng)) for _ in range(400)])
    # the mean of a uniform rotation is 0, and each entry has a variance of 1/3
    np.testing.assert_allclose(rotations.mean(0), 0, atol=5 / np.sqrt(3 * 400))
    np.testing.assert_allclose((rotations**2).mean(0), 1 / 3, atol=0.08)


@pytest.mark.parametrize(
    ("rotation", "message"),
    [
        (np.eye(2), r"orthogonal matrix \(3, 3\)"),
        (2 * np.eye(3), "orthogonal matrix"),
        (np.diag([1.0, 1.0, -1.0]), "must not be a reflection"),
    ],
)
def test_what_is_no_rotation(rotation: np.ndarray, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        turned(some(), rotation)


@pytest.mark.parametrize("axis", [(0, 0, 0), (1, 2), (np.nan, 0, 1)])
def test_what_is_no_axis(axis: tuple[float, ...]) -> None:
    with pytest.raises(ValueError, match="axis must be three finite numbers"):
        facing(axis)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"mass": np.ones((5, 1))}, r"mass must have the shape \(5,\), got \(5, 1\)"),
        ({"position": np.zeros((5, 2))}, r"position must have the shape \(5, 3\)"),
        ({"mass": np.array([1, 1, np.nan, 1, np.inf])}, "mass must be finite, got 2 values"),
        ({"mass": np.array([1, 1, -2.0, 1, 1])}, "mass must not be negative, got -2"),
        ({"reach": np.ones(4)}, r"reach must have the shape \(5,\), got \(4,\)"),
    ],
)
def test_what_is_no_set_of_particles(values: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        some(**values)


def test_kinds_are_chosen_by_name() -> None:
    particles = some(5, reach=np.arange(5.0))
    chosen = particles.of(["dark matter", "black holes"])
    assert chosen.kind.tolist() == [1, 5, 1]
    assert chosen.reach is not None and chosen.reach.tolist() == [1, 3, 4]
    assert chosen.halo == "h" and len(chosen) == 3
    with pytest.raises(ValueError, match=r"kinds must be among gas, .*, got 'tracers'"):
        particles.of(["tracers"])


def test_a_box_is_periodic() -> None:
    place = np.array([[1.0, 99.0, 50.0], [98.0, 2.0, 51.0]])
    offset = wrapped(place, np.array([0.0, 0.0, 50.0]), 100.0)
    np.testing.assert_allclose(offset, [[1, -1, 0], [-2, 2, 1]])
    np.testing.assert_allclose(wrapped(place, place[0], None), place - place[0])


@pytest.mark.parametrize("n", [300, 20_000])
def test_the_centre_is_that_of_the_denser_clump(n: int) -> None:
    rng = np.random.default_rng(2)
    main = draw_particles(rng, {"stars": (Bulge(), n)}).position + np.array([70.0, -30.0, 10.0])
    other = rng.normal(size=(n // 3, 3)) * 20 - 100
    center = densest_point(np.concatenate([main, other]), np.ones(n + n // 3))
    np.testing.assert_allclose(center, [70, -30, 10], atol=4.0 if n < 1000 else 0.5)


def test_a_centre_needs_mass() -> None:
    with pytest.raises(ValueError, match="a centre needs particles with a mass, got 3 without"):
        densest_point(np.zeros((3, 3)), np.zeros(3))


@pytest.mark.parametrize(
    ("profile", "within"),
    [
        (Bulge(1e11, 3.0), lambda r: (r / (r + 3.0)) ** 2),
        # no truncation to speak of: M ~ ln(1 + X) - X / (1 + X), the mass of an NFW
        (
            DarkHalo(1e13, 2.0, 2e5),
            lambda r: (np.log1p(r / 2) - r / (2 + r)) / (np.log1p(1e3) - 1e3 / 1001),
        ),
    ],
    ids=["Hernquist", "NFW"],
)
def test_radii_follow_the_mass_within(profile, within) -> None:
    radii = profile.inverse(np.linspace(0, 0.5, 101))
    outermost = profile.inverse(np.array([0.999999]))[0]
    reference = 1.0
    if isinstance(profile, DarkHalo):  # normalise at X = 1000, where the truncation is not felt
        shares = np.linspace(0, 1, 200_001)
        reference = np.interp(2000.0, profile.inverse(shares), shares)
    np.testing.assert_allclose(
        within(radii[1:]), np.linspace(0, 0.5, 101)[1:] / reference, rtol=2e-3
    )
    assert radii[0] == pytest.approx(0, abs=1e-4) and outermost > radii[-1]


def test_a_stretched_halo_keeps_its_volume_and_its_mass() -> None:
    one, other = (
        draw_particles(np.random.default_rng(5), {"stars": (Bulge(2e11), 500)}, axes=axes)
        for axes in ((1, 1, 1), (4, 2, 1))
    )
    np.testing.assert_allclose(other.position / one.position, [[2, 1, 0.5]] * 500)
    assert other.mass.sum() == pytest.approx(2e11) == one.mass.sum()


def test_toy_haloes_are_the_same_each_time_and_differ_from_one_another() -> None:
    haloes, again = ToyHaloes(3, particles=400), ToyHaloes(5, particles=400)
    assert haloes.names == again.names[:3] and len(haloes) == 3
    first, second = (haloes.load(name) for name in haloes.names[:2])
    np.testing.assert_array_equal(first.position, again.load(haloes.names[0]).position)
    assert first.halo == "toy-0-00000" != second.halo
    assert first.mass.sum() != second.mass.sum()
    assert np.count_nonzero(first.kind == 4) == 100 and len(first) == 400
    with pytest.raises(ValueError, match="no halo 'toy-1-00000'"):
        haloes.load("toy-1-00000")


def test_kinds_may_come_one_by_one() -> None:
    n = 6
    some = Particles(
        position=np.zeros((n, 3)),
        mass=np.ones(n),
        kind=np.array([0, 1, 1, 4, 4, 5], dtype=np.int8),
        halo="h",
        redshift=0.5,
    )
    assert len(some.of(name for name in ("dark matter", "stars"))) == 4
