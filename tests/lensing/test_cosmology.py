"""Physical scales against astropy's distances and the isothermal sphere."""

from math import nan, pi

import pytest
from astropy import constants, units
from astropy.cosmology import WMAP7, FlatLambdaCDM, LambdaCDM, Planck18

from lensrim.errors import InputError
from lensrim.lensing.cosmology import distance, lens_scales


@pytest.mark.parametrize(("name", "model"), [("Planck18", Planck18), ("WMAP7", WMAP7)])
def test_distances_and_lengths(name: str, model) -> None:
    scales = lens_scales(0.2, 0.6, cosmology=name)
    assert scales.D_lens == pytest.approx(model.angular_diameter_distance(0.2).value, rel=1e-10)
    assert scales.D_source == pytest.approx(model.angular_diameter_distance(0.6).value, rel=1e-10)
    lengths = [1 / model.arcsec_per_kpc_proper(z).value for z in (0.2, 0.6)]
    assert [scales.kpc_per_arcsec_lens, scales.kpc_per_arcsec_source] == pytest.approx(lengths)


@pytest.mark.parametrize("dark_energy", [0.2, 0.7, 1.1])
def test_curved_cosmologies_are_taken_as_they_are(dark_energy: float) -> None:
    model = LambdaCDM(H0=70, Om0=0.3, Ode0=dark_energy, name="curved")
    scales = lens_scales(0.4, 1.7, cosmology=model)
    assert scales.cosmology == "curved"
    assert scales.D_source == pytest.approx(model.angular_diameter_distance(1.7).value, rel=1e-10)
    # Peebles 1993, equation 13.47: the difference of two arcs on a curved space
    k = model.Ok0 * (model.H0.value / 299_792.458) ** 2
    m1, m2 = (float(model.comoving_transverse_distance(z).value) for z in (0.4, 1.7))
    expected = (m2 * (1 + k * m1**2) ** 0.5 - m1 * (1 + k * m2**2) ** 0.5) / 2.7
    assert distance(model, 0.4, 1.7) == pytest.approx(expected, rel=1e-9)


def test_an_unnamed_cosmology_is_accepted() -> None:
    scales = lens_scales(0.4, 1.7, cosmology=FlatLambdaCDM(H0=70, Om0=0.3))
    assert scales.D_lens > 0 and isinstance(scales.cosmology, str)


def test_the_default_is_planck18() -> None:
    # computed with astropy 8.0, angular_diameter_distance(0.2, 0.6)
    scales = lens_scales(0.2, 0.6)
    assert scales.cosmology == "Planck18"
    assert scales.D_lens_source == pytest.approx(893.0302505985885, rel=1e-6)


def test_the_mass_of_an_isothermal_sphere() -> None:
    scales, theta_E = lens_scales(0.3, 1.5), 1.3
    sigma_v = scales.velocity_dispersion(theta_E) * units.km / units.s
    angle = 4 * pi * (sigma_v / constants.c) ** 2 * scales.D_lens_source / scales.D_source
    assert angle.to_value("", units.dimensionless_angles()) == pytest.approx(
        theta_E * units.arcsec.to(units.rad)
    )
    # M(< R) = pi sigma_v^2 R / G
    radius = theta_E * scales.kpc_per_arcsec_lens * units.kpc
    mass = (pi * sigma_v**2 * radius / constants.G).to_value(units.M_sun)
    assert scales.einstein_mass(theta_E) == pytest.approx(mass, rel=1e-9)
    assert 1e11 < mass < 1e12


def test_both_units_of_surface_density_agree() -> None:
    scales = lens_scales(0.3, 1.5)
    per_area = scales.sigma_critical / scales.kpc_per_arcsec_lens**2
    assert per_area == pytest.approx(scales.sigma_critical_kpc, rel=1e-12)


def test_a_source_just_behind_the_lens_takes_much_mass() -> None:
    # D_ls grows linearly with the small separation
    near, nearer = lens_scales(0.3, 0.3002), lens_scales(0.3, 0.3001)
    assert nearer.sigma_critical / near.sigma_critical == pytest.approx(2.0, rel=1e-3)


@pytest.mark.parametrize(
    ("z_lens", "z_source"),
    [
        (0.5, 0.5),
        (0.6, 0.5),
        (0.0, 1.0),
        (-0.1, 1.0),
        (nan, 1.0),
        (0.5, nan),
        (1e3, 1e4),
    ],
)
def test_impossible_redshifts(z_lens: float, z_source: float) -> None:
    with pytest.raises(InputError, match=r"0 < z_lens < z_source <= 1100, found z_lens ="):
        lens_scales(z_lens, z_source)


def test_unknown_cosmology() -> None:
    with pytest.raises(InputError, match=r"must be one of Planck13, .*found 'Planck2018'"):
        lens_scales(0.3, 1.0, cosmology="Planck2018")
