"""``lensrim simulate``: the sample ring comes out again, and what is written can be
reconstructed."""

from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits

from lensrim.cli import main
from lensrim.datasets.instruments import EUCLID_VIS
from lensrim.io import ReadOptions, read_observation
from lensrim.metrics import effective_theta_E


def simulate(*words: str) -> int:
    return main(["simulate", *words])


@pytest.fixture(scope="module")
def euclid(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A mock of Euclid, with its picture."""
    file = tmp_path_factory.mktemp("euclid") / "lens.fits"
    assert (
        simulate("euclid", "--seed", "4", "-o", str(file), "--shape", "48", "60", "--figure") == 0
    )
    return file


def test_the_sample_ring_comes_out_again(root: Path, tmp_path: Path) -> None:
    # Processors round exponentials otherwise, and so end the galaxy a pixel further out or in.
    alike = 3e-3
    words = ("general", "--seed", "1025", "--shape", "72", "72", "--output")
    assert simulate(*words, str(tmp_path / "ring.fits"), "--quiet") == 0
    for name in ("ring.fits", "ring_truth.fits"):
        with fits.open(tmp_path / name) as made, fits.open(root / "data" / name) as kept:
            assert [hdu.name for hdu in made] == [hdu.name for hdu in kept]
            for one, other in zip(made, kept, strict=True):
                if one.data is not None:
                    most = np.abs(other.data).max()
                    np.testing.assert_allclose(one.data, other.data, rtol=0, atol=alike * most)
                for key in set(other.header) - {"CHECKSUM", "DATASUM"}:
                    found, value = one.header[key], other.header[key]
                    number = isinstance(value, float)
                    assert found == (pytest.approx(value, rel=alike) if number else value), key


def test_equal_calls_give_equal_files(euclid: Path, tmp_path: Path) -> None:
    words = ("euclid", "--seed", "4", "--shape", "48", "60", "--figure", "--quiet", "-o")
    assert simulate(*words, str(tmp_path / "lens.fits")) == 0
    names = sorted(p.name for p in euclid.parent.iterdir())
    assert names == ["lens.fits", "lens.png", "lens_truth.fits"]
    for name in names:
        assert (tmp_path / name).read_bytes() == (euclid.parent / name).read_bytes()


def test_the_observation_is_read_without_options(euclid: Path) -> None:
    observation = read_observation(euclid, ReadOptions())
    assert observation.image.shape == (48, 60)
    assert observation.pixel_scale == pytest.approx(EUCLID_VIS.pixel_scale)
    assert observation.psf.sum() == pytest.approx(1, rel=1e-3)
    assert observation.unit == "electron/s"
    with fits.open(euclid) as hdus:
        assert hdus["SCI"].header["MAGZERO"] == EUCLID_VIS.zero_point
        assert hdus[0].header["MOCKSEED"] == 4
    assert observation.sigma.min() > EUCLID_VIS.background


def test_the_truth_belongs_to_the_observation(euclid: Path) -> None:
    observation = read_observation(euclid, ReadOptions())
    with fits.open(euclid.with_name("lens_truth.fits")) as hdus:
        maps = {hdu.name: hdu.data.astype(float) for hdu in hdus[1:]}
        header, scale = hdus[0].header, hdus["SOURCE"].header["PIXSCALE"]
    known = ("ARCS", "LENS_LIGHT", "NEIGHBOURS", "COSMIC_RAYS")
    noise = (observation.image - sum(maps[name] for name in known)) / observation.sigma
    noise = noise[observation.mask] * header["ERRSCALE"]
    assert 0 < (~observation.mask).mean() < 0.3 and header["ERRSCALE"] != 1
    assert np.mean(noise**2) == pytest.approx(1, abs=0.07)  # 2.5 standard deviations
    grid = observation.grid
    assert effective_theta_E(maps["KAPPA"], grid) == pytest.approx(header["THETAE"], rel=1e-4)
    flux = maps["SOURCE"].sum() * (scale / grid.spacing) ** 2
    assert maps["ARCS"].sum() / flux == pytest.approx(header["MAGTOT"], rel=0.05)


def test_files_are_not_replaced_unasked(euclid: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = euclid.read_bytes()
    assert simulate("euclid", "-o", str(euclid), "--shape", "32", "32") == 2
    assert "lens.fits: a mock is not replaced unasked" in capsys.readouterr().err
    assert euclid.read_bytes() == before


def test_own_files_are_taken(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rng = np.random.default_rng(0)
    y, x = np.mgrid[-30:31, -30:31]
    for name in ("galaxies", "noise"):
        (tmp_path / name).mkdir()
    galaxy = np.exp(-np.hypot(x, y / 0.6) / 5) * (np.hypot(x, y) < 26)
    fits.PrimaryHDU(galaxy).writeto(tmp_path / "galaxies" / "one.fits")
    fits.PrimaryHDU(rng.normal(size=(70, 70))).writeto(tmp_path / "noise" / "sky.fits")
    recipe = tmp_path / "recipe.toml"
    recipe.write_text('preset = "slacs"\nshape = [64, 64]\ngalaxies = "galaxies"\n')
    output = tmp_path / "out" / "mock.fits"
    words = ("--noise", str(tmp_path / "noise"), "--output", str(output))
    assert simulate(str(recipe), *words) == 0
    shown = capsys.readouterr().out
    assert "64 x 64 pixels of 0.05 arcsec" in shown
    assert shown.splitlines()[1:] == [
        "Written:",
        f"  {output}",
        f"  {output.with_name('mock_truth.fits')}",
    ]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["slasc"], "slasc: must be a preset (general,"),
        (["--seed", "-1"], "--seed: must be 0 or more, found -1"),
        (["--shape", "8", "8"], "shape: must be 16 pixels or more, found (8, 8)"),
        (["--galaxies", "nowhere"], "galaxies: must be a folder of FITS files, found 'nowhere'"),
        (["--output", "mock.png"], "mock.png: a mock must be written to a file *.fits"),
    ],
)
def test_errors_are_one_line(
    words: list[str], message: str, tmp_path, monkeypatch, capsys
) -> None:
    monkeypatch.chdir(tmp_path)
    assert simulate(*words) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"lensrim: error: {message}")
    assert error.count("\n") == 1
    assert not list(tmp_path.iterdir())


def test_a_scale_of_stamps_needs_stamps(tmp_path: Path, capsys) -> None:
    recipe = tmp_path / "recipe.toml"
    recipe.write_text("psf_stamp_scale = 0.01\n")
    assert simulate(str(recipe), "--output", str(tmp_path / "mock.fits")) == 2
    assert "psf_stamp_scale: has no effect without stamps, found 0.01; name" in (
        capsys.readouterr().err
    )
    assert not (tmp_path / "mock.fits").exists()


def test_a_frame_that_is_too_small_is_told(tmp_path: Path, monkeypatch, capsys) -> None:
    def none_fits(*args: object, **options: object) -> None:
        raise RuntimeError("no system of this population fits")

    monkeypatch.setattr("lensrim.cli.simulate.make_mock", none_fits)
    assert simulate("--output", str(tmp_path / "mock.fits")) == 2
    assert "--shape: no system of this population fits; enlarge it" in capsys.readouterr().err


def test_the_help_shows_examples_that_parse(capsys: pytest.CaptureFixture[str]) -> None:
    from lensrim.cli.simulate import parse

    with pytest.raises(SystemExit, match="0"):
        simulate("--help")
    shown = capsys.readouterr().out
    examples = [
        line.split("$ lensrim simulate ")[1] for line in shown.splitlines() if "$ len" in line
    ]
    assert len(examples) == 4
    for words in examples:
        assert parse(words.split())
