"""Populations: reproducible, inside their ranges, and refusing what cannot be used."""

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits

from lensrim.datasets.galaxies.stamps import Galaxy
from lensrim.datasets.halos import Lens, LensPrior, draw_lens
from lensrim.datasets.priors import (
    SystemPrior,
    draw_system,
    synthetic_galaxy,
)
from lensrim.datasets.psfs.kinds import draw_psf, read_psf_stamps
from lensrim.errors import InputError

SEEDS = range(40)


def gaussian(fwhm: float, side: int = 61) -> np.ndarray:
    y, x = np.mgrid[:side, :side] - (side - 1) / 2
    return np.exp(-4 * np.log(2) * (x**2 + y**2) / fwhm**2)


@dataclass(frozen=True)
class Shelf:
    """Galaxies by name, and the half-light radius of each in stamp pixels."""

    radii: dict[str, float] = field(default_factory=lambda: {"small": 1.0, "large": 9.0})

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(self.radii)

    def load(self, name: str) -> Galaxy:
        return Galaxy(name, gaussian(9.0), 0.05, self.radii[name] * 0.05)


def lens(seed: int) -> Lens:
    return draw_lens(np.random.default_rng(seed), theta_E=1.2, pixel_scale=0.1)


def test_lenses_are_reproducible_and_in_range() -> None:
    prior, drawn = LensPrior(), [lens(seed) for seed in SEEDS]
    assert drawn == [lens(seed) for seed in SEEDS]
    for each in drawn:
        host = each.ellipsoid
        assert host.theta_E == 1.2
        assert 1.6 <= host.gamma <= 2.5
        assert prior.q_range[0] <= host.q <= prior.q_range[1]
        assert max(abs(host.center_x), abs(host.center_y)) <= 0.1
        assert np.hypot(each.gamma1, each.gamma2) <= prior.shear_max
        assert len(each.subhalos) <= prior.subhalos_max
        assert [part.m for part in each.multipoles] == [3, 4]
        for halo in each.subhalos:
            assert 0.002 * 1.2 <= halo.theta_E <= 0.05 * 1.2
            assert halo.theta_E < halo.truncation < 1.2
    slopes = [each.ellipsoid.gamma for each in drawn]
    assert np.mean(slopes) == pytest.approx(prior.slope_mean, abs=4 * prior.slope_std / 40**0.5)


def test_systems_are_reproducible_and_in_range() -> None:
    prior, light = SystemPrior(), 0
    for seed in SEEDS:
        system, again = (draw_system(np.random.default_rng(seed)) for _ in range(2))
        assert system.lens == again.lens
        assert system.placement == again.placement
        assert np.array_equal(system.galaxy.image, again.galaxy.image)
        assert 6 <= system.lens.ellipsoid.theta_E / system.pixel_scale <= 22
        assert prior.snr[0] <= system.noise.snr <= prior.snr[1]
        assert prior.psf_fwhm[0] <= system.psf.fwhm <= prior.psf_fwhm[1]
        light += system.lens_light is not None
    assert 8 < light < 32


def test_unresolved_galaxies_are_passed_over() -> None:
    rng = np.random.default_rng(0)
    drawn = {draw_system(rng, galaxies=Shelf()).galaxy.name for _ in range(20)}
    assert drawn == {"large"}
    with pytest.raises(InputError, match="half-light radius"):
        draw_system(rng, galaxies=Shelf(), names=["small"])


def test_synthetic_galaxies_fade_before_the_border() -> None:
    for seed in range(5):
        galaxy = synthetic_galaxy(np.random.default_rng(seed))
        assert galaxy.image.max() == 1
        assert galaxy.image.min() >= 0
        assert galaxy.image[0].max() < 1e-3


def test_psf_stamps(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="found none"):
        read_psf_stamps(tmp_path)
    pedestal = gaussian(6.0) + 0.1
    fits.writeto(tmp_path / "cube.fits", np.stack([gaussian(6.0), pedestal]))
    fits.writeto(tmp_path / "narrow.fits", gaussian(2.0))
    stamps = read_psf_stamps(tmp_path)
    assert list(stamps) == ["cube[0]"]
    stamp, fwhm = stamps["cube[0]"]
    assert stamp.sum() == pytest.approx(1)
    assert fwhm == pytest.approx(6.0, rel=0.02)
    rng = np.random.default_rng(0)
    kinds = {draw_psf(rng, fwhm=(1.5, 3.0), stamps=stamps).kind for _ in range(40)}
    assert kinds == {"gaussian", "moffat", "cube[0]"}
