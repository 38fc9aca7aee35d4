"""Snapshots and tables: what was written comes back in kpc and M_sun, or is refused in words."""

import builtins
from pathlib import Path

import h5py
import numpy as np
import pytest
from astropy.io import fits
from tng import BOX, A, H, write_halo

from lensrim.datasets.hydro import snapshots
from lensrim.datasets.hydro.particles import Particles
from lensrim.datasets.hydro.snapshots import read_snapshot
from lensrim.datasets.hydro.tables import read_particle_table
from lensrim.errors import InputError


def halo(n: int = 400, spread: float = 50.0) -> Particles:
    """Draws a halo of all four kinds, in kpc and M_sun; dark matter has one mass."""
    rng = np.random.default_rng(0)
    kind = np.sort(rng.choice(np.array([0, 1, 4, 5], dtype=np.int8), n))
    mass = np.where(kind == 1, 6e6, rng.uniform(1e6, 2e6, n))
    return Particles(rng.normal(size=(n, 3)) * spread, mass, kind, "halo", 0.5)


def same(found: Particles, expected: Particles) -> None:
    """Compares two sets, whatever their order and their centre."""
    assert len(found) == len(expected)
    order, other = np.argsort(found.position[:, 0]), np.argsort(expected.position[:, 0])
    offset = found.position[order] - expected.position[other]
    np.testing.assert_allclose(offset, np.tile(offset[0], (len(found), 1)), atol=1e-6)
    np.testing.assert_allclose(found.mass[order], expected.mass[other], rtol=1e-9)
    np.testing.assert_array_equal(found.kind[order], expected.kind[other])


@pytest.mark.parametrize(("a", "h"), [(A, H), (1.0, 0.7), (0.4, 1.0)])
@pytest.mark.parametrize("block", [7, 1000])
def test_lengths_and_masses_are_physical(tmp_path: Path, monkeypatch, a, h, block) -> None:
    monkeypatch.setattr(snapshots, "BLOCK", block)
    center = (100.0, BOX - 100.0, 30_000.0)  # across two walls of the box
    write_halo(tmp_path / "cutout_7.hdf5", halo(), a=a, h=h, center=center)
    found = read_snapshot(tmp_path / "cutout_7.hdf5", center=center)
    same(found, halo())
    np.testing.assert_allclose(found.position.mean(0), halo().position.mean(0), atol=1e-6)
    assert found.redshift == pytest.approx(1 / a - 1)
    assert found.halo == "cutout_7" and f"h = {h:g}" in found.provenance


def test_a_halo_across_the_walls_finds_its_own_centre(tmp_path: Path) -> None:
    write_halo(tmp_path / "h.hdf5", halo(), center=(1.0, 2.0, BOX - 1))
    found = read_snapshot(tmp_path / "h.hdf5", halo="mine")
    same(found, halo())
    assert np.abs(found.position).max() < 400 and found.halo == "mine"


def test_a_halo_across_the_walls_of_an_unknown_box_is_refused(tmp_path: Path) -> None:
    write_halo(tmp_path / "h.hdf5", halo(), center=(1.0, 2.0, BOX - 1), omit=("BoxSize",))
    near = {"center": (1.0, 2.0, BOX - 1), "radius": 60.0}
    with pytest.raises(InputError, match="the header has no BoxSize: the halo may lie across"):
        read_snapshot(tmp_path / "h.hdf5", **near)
    found = read_snapshot(tmp_path / "h.hdf5", **near, header={"BoxSize": BOX})
    same(found, halo().where(np.linalg.norm(halo().position, axis=1) < 60))


def test_numbers_that_are_none_are_named(tmp_path: Path) -> None:
    write_halo(tmp_path / "h.hdf5", halo())
    with pytest.raises(InputError, match=r"h\.hdf5: center must be 3 finite numbers"):
        read_snapshot(tmp_path / "h.hdf5", center=(1.0, 2.0))
    with h5py.File(tmp_path / "h.hdf5", "a") as file:
        file["PartType1/Coordinates"][0, 0] = np.nan
    with pytest.raises(InputError, match=r"h\.hdf5: Coordinates and Masses must be finite, fou"):
        read_snapshot(tmp_path / "h.hdf5")


@pytest.mark.parametrize("given", ["snap_067.0.hdf5", "snap_067.2.hdf5", "."])
def test_the_files_of_a_snapshot_are_one(tmp_path: Path, given: str) -> None:
    write_halo(tmp_path / "snap_067.hdf5", halo(), files=3)
    same(read_snapshot(tmp_path / given), halo())
    center = (20_000.0, 30_000.0, 40_000.0)
    inner = read_snapshot(tmp_path / given, center=center, radius=60.0)
    same(inner, halo().where(np.linalg.norm(halo().position, axis=1) < 60))
    (tmp_path / "snap_067.1.hdf5").unlink()
    with pytest.raises(InputError, match=r"has 3 files .* missing, such as snap_067.1.hdf5"):
        read_snapshot(tmp_path / given)


def test_wind_is_gas(tmp_path: Path) -> None:
    path = tmp_path / "h.hdf5"
    write_halo(path, halo())
    stars = np.count_nonzero(halo().kind == 4)
    with h5py.File(path, "a") as file:
        file["PartType4/GFM_StellarFormationTime"] = np.where(np.arange(stars) < 10, -0.4, 0.6)
    found = read_snapshot(path)
    assert np.count_nonzero(found.kind == 4) == stars - 10
    assert found.mass.sum() == pytest.approx(halo().mass.sum())


def test_a_header_is_completed_and_not_contradicted(tmp_path: Path) -> None:
    path = tmp_path / "h.hdf5"
    table = [0, 6e6 * H / 1e10, 0, 0, 0, 0]
    write_halo(path, halo(), omit=("MassTable", "HubbleParam", "BoxSize", "Time"))
    given = {"MassTable": table, "HubbleParam": H, "BoxSize": BOX, "Redshift": 9.0}
    found = read_snapshot(path, header=given)
    same(found, halo())
    assert found.redshift == pytest.approx(0.5)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"omit": ("MassTable",)},
            r"\[PartType1\]: no Masses, and MassTable\[1\] is 0: give head",
        ),
        ({"omit": ("Masses",)}, r"\[PartType0\]: no Masses, and MassTable\[0\] is 0"),
        ({"omit": ("Coordinates",)}, r"\[PartType0\]: Coordinates are needed, found Masses, Par"),
        ({"omit": ("HubbleParam",)}, "no HubbleParam: give header="),
        ({"omit": ("Time", "Redshift")}, r"neither Time \(the scale factor\) nor Redshift"),
        ({"header": {"Redshift": 2.0}}, r"found Time = 0.666667, Redshift = 2, HubbleParam"),
        ({"header": {"HubbleParam": 67.74}}, "HubbleParam = 67.74"),
        ({"header": {"Time": 0.0}, "omit": ("Redshift",)}, "found Time = 0"),
        ({"header": {"MassTable": np.zeros(4)}}, "MassTable must be 6 numbers, found 4"),
        ({"header": {"UnitLength_in_cm": 3.0857e24}}, r"UnitLength_in_cm must be 3.0857e\+21"),
        ({"header": {"UnitMass_in_g": 1.989e33}}, r"UnitMass_in_g must be 1.989e\+43"),
        (
            {"omit": ("BoxSize",), "center": (10.0, 10.0, 10.0)},
            r"extend over 7\d{4} ckpc/h and the header has no BoxSize: .* give header=",
        ),
    ],
)
def test_bad_snapshots(tmp_path: Path, options: dict, message: str) -> None:
    write_halo(tmp_path / "h.hdf5", halo(), **options)
    with pytest.raises(InputError, match=message):
        read_snapshot(tmp_path / "h.hdf5")


def test_files_that_are_no_snapshots(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file"):
        read_snapshot(tmp_path / "h.hdf5")
    with pytest.raises(InputError, match=r"expected the files of a snapshot \(\*.hdf5\), found n"):
        read_snapshot(tmp_path)
    (tmp_path / "text.hdf5").write_text("not HDF5")
    with pytest.raises(InputError, match="not an HDF5 file, or truncated"):
        read_snapshot(tmp_path / "text.hdf5")
    with h5py.File(tmp_path / "other.hdf5", "w") as file:
        file["images"] = np.zeros(3)
    with pytest.raises(InputError, match="a group Header, found images"):
        read_snapshot(tmp_path / "other.hdf5")
    write_halo(tmp_path / "h.hdf5", halo())
    with pytest.raises(InputError, match="radius = 5 kpc needs a center"):
        read_snapshot(tmp_path / "h.hdf5", radius=5.0)
    with pytest.raises(
        InputError, match=r"no particle within 5 kpc of the center \[9.0, 9.0, 9.0"
    ):
        read_snapshot(tmp_path / "h.hdf5", radius=5.0, center=(9.0, 9.0, 9.0))
    with h5py.File(tmp_path / "h.hdf5", "a") as file:
        del file["PartType0/Masses"]
        file["PartType0/Masses"] = np.ones(3)
    with pytest.raises(InputError, match=r"PartType0\]: \d+ Coordinates, but 3 Masses"):
        read_snapshot(tmp_path / "h.hdf5")


def test_without_h5py_the_extra_is_named(tmp_path: Path, monkeypatch) -> None:
    write_halo(tmp_path / "h.hdf5", halo())
    real = builtins.__import__

    def missing(name: str, *args, **kwargs):
        if name == "h5py":
            raise ModuleNotFoundError("No module named 'h5py'")
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", missing)
    with pytest.raises(ModuleNotFoundError, match=r"needs h5py; pip install '.\[data\]'"):
        read_snapshot(tmp_path / "h.hdf5")


def write_table(path: Path, *, units=("kpc", "solMass"), names="xyz", header=None, **columns):
    particles = halo()
    factor = {"kpc": 1.0, "Mpc": 1e-3, None: 1.0}.get(units[0], 1.0)
    heavy = {"1e10 solMass": 1e-10}.get(units[1], 1.0)
    fields = [
        fits.Column(name, "D", unit=units[0], array=particles.position[:, i] * factor)
        for i, name in enumerate(names)
    ]
    fields.append(fits.Column("Mass", "D", unit=units[1], array=particles.mass * heavy))
    fields += [fits.Column(k, f, array=v) for k, (f, v) in columns.items()]
    table = fits.BinTableHDU.from_columns(fields)
    table.header.update({"REDSHIFT": 0.4, "HALO": "A 12"} if header is None else header)
    fits.HDUList([fits.PrimaryHDU(), table]).writeto(path)


@pytest.mark.parametrize("units", [("kpc", "solMass"), ("Mpc", "1e10 solMass"), (None, None)])
def test_a_table_has_units(tmp_path: Path, units) -> None:
    kind = halo().kind
    write_table(tmp_path / "t.fits", units=units, type=("I", kind), names="XYZ")
    found = read_particle_table(tmp_path / "t.fits")
    same(found, halo())
    assert (found.halo, found.redshift) == ("A 12", 0.4)
    assert found.reach is None


def test_a_table_may_name_its_kinds_and_know_its_neighbours(tmp_path: Path) -> None:
    names = np.array(
        [{0: "gas", 1: "dark matter", 4: "Stars", 5: "black holes"}[k] for k in halo().kind]
    )
    near = ("D", np.arange(1.0, 401.0))
    write_table(tmp_path / "t.fits", header={}, type=("20A", names), hsml=near)
    center = tuple(halo().position[3])
    found = read_particle_table(tmp_path / "t.fits", redshift=0.3, halo="b", center=center)
    np.testing.assert_array_equal(found.kind, halo().kind)
    np.testing.assert_array_equal(found.reach, near[1])
    np.testing.assert_allclose(found.position[3], 0, atol=1e-12)
    assert (found.halo, found.redshift) == ("b", 0.3)


def test_dark_matter_is_the_default_kind(tmp_path: Path) -> None:
    write_table(tmp_path / "some.fits.gz", header={"REDSHIFT": 1.0})
    found = read_particle_table(tmp_path / "some.fits.gz")
    assert (found.kind == 1).all() and found.halo == "some"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"units": ("kpc/h", "solMass")}, "the unit 'kpc/h' cannot be turned into kpc: give prop"),
        ({"units": ("kpc", "kg m")}, "the unit 'kg m' cannot be turned into solMass"),
        ({"header": {}}, "the header has no REDSHIFT: give redshift="),
        ({"header": {"REDSHIFT": "0.5 (67)"}}, r"REDSHIFT must be a number, found '0.5 \(67\)'"),
        ({"names": "xyw"}, "the columns x, y, z and mass, found x, y, w, mass"),
        ({"type": ("I", np.full(400, 3))}, "type must be one of gas, .*, found '3'"),
    ],
)
def test_bad_tables(tmp_path: Path, options: dict, message: str) -> None:
    write_table(tmp_path / "t.fits", **options)
    with pytest.raises(InputError, match=message) as told:
        read_particle_table(tmp_path / "t.fits")
    assert str(told.value).count("t.fits") == 1


@pytest.mark.parametrize("share", [0.0, -1.0])
def test_masses_that_are_none(tmp_path: Path, share: float) -> None:
    write_table(tmp_path / "t.fits")
    with fits.open(tmp_path / "t.fits", mode="update") as hdus:
        hdus[1].data["Mass"] *= share
    with pytest.raises(InputError, match="mass must be 0 or more, and not 0 everywhere, found"):
        read_particle_table(tmp_path / "t.fits")


@pytest.mark.filterwarnings("ignore:File may have been truncated")
def test_a_table_that_is_cut_off(tmp_path: Path) -> None:
    write_table(path := tmp_path / "t.fits")
    path.write_bytes(path.read_bytes()[:9_000])
    with pytest.raises(InputError, match="particles must be a FITS table"):
        read_particle_table(path)


def test_files_that_are_no_tables(tmp_path: Path) -> None:
    (tmp_path / "t.fits").write_text("not FITS")
    with pytest.raises(InputError, match="particles must be a FITS table"):
        read_particle_table(tmp_path / "t.fits")
    fits.writeto(tmp_path / "image.fits", np.zeros((3, 3)))
    with pytest.raises(InputError, match="the columns x, y, z and mass, found no table"):
        read_particle_table(tmp_path / "image.fits")
    with pytest.raises(InputError, match=r"must be a FITS table: .*No such file"):
        read_particle_table(tmp_path / "missing.fits")
