"""The product: what is in the files, that they are the same every time, and all there or not."""

import json
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from astropy.wcs import WCS
from matplotlib.figure import Figure

from lensrim.errors import InputError
from lensrim.grid import PixelGrid
from lensrim.io.product import (
    CONTENT,
    DATA_UNIT,
    Product,
    planned_files,
    write_product,
)
from lensrim.io.product_reading import read_product

IMAGE_GRID, SOURCE_GRID = PixelGrid((12, 15), 0.1), PixelGrid((8, 8), 0.025, (0.2, -0.1))
MAPS = ["DATA", "SIGMA", "MASK", "LENS_LIGHT", "SKY", "MODEL", "RESIDUAL"]
MAPS += ["KAPPA", "ALPHA_X", "ALPHA_Y", "MAGNIFICATION"]
ORDER = [*MAPS[:3], "PSF", *MAPS[3:], "SOURCE"]


def celestial() -> WCS:
    wcs = WCS(naxis=2)
    wcs.wcs.ctype = ["RA---TAN", "DEC--TAN"]
    wcs.wcs.crval, wcs.wcs.crpix = [150.0, 2.0], [8.0, 6.5]
    wcs.wcs.cd = 0.1 / 3600 * np.array([[-1.0, 0.0], [0.0, 1.0]])
    wcs.wcs.set()
    return wcs


@pytest.fixture
def product() -> Product:
    rng = np.random.default_rng(3)
    maps = {name: rng.normal(size=IMAGE_GRID.shape) for name in MAPS}
    maps["MASK"] = maps["MASK"] > 0
    maps["DATA"][0, 0] = np.nan
    angle = np.linspace(0, 2 * np.pi, 30)
    ring = np.stack([np.cos(angle), np.sin(angle)], axis=-1) / 2
    return Product(
        name="lens_1",
        header={
            "THETAE": (0.5, "[arcsec] mean convergence 1 within"),
            "NARC": (np.int64(42), "pixels on the arc"),
            "MAGTOT": (float("inf"), "total magnification"),
            "CHI2ARC": (np.float32("nan"), "reduced chi-square"),
            "QUALITY": ("good", ""),
            "MODELSHA": ("0" * 90, "longer than a card"),
            "COSMO": ("Planck18 with a name that fills the card nearly", "a comment " * 5),
            "SECONDS": (1.25, "wall clock"),
        },
        image_maps=maps,
        source_maps={"SOURCE": rng.normal(size=SOURCE_GRID.shape)},
        psf=np.full((5, 5), 0.04),
        image_grid=IMAGE_GRID,
        source_grid=SOURCE_GRID,
        wcs=celestial(),
        unit="electron/s",
        stages={"macro": {"theta_E": np.float64(0.5), "loss": float("nan"), "center": (0.0, 1.0)}},
        history=("--bin 2", "--noise größe.fits " + "and more " * 12),
        critical_curves=(ring,),
        caustics=(ring * 0.1,),
    )


@pytest.fixture
def figure() -> Figure:
    return Figure(figsize=(1, 1))


def listing(folder: Path) -> list[str]:
    return sorted(str(p.relative_to(folder)) for p in folder.rglob("*"))


def test_four_files_in_a_new_folder(product: Product, figure: Figure, tmp_path: Path) -> None:
    folder = tmp_path / "deep" / "results"
    files = write_product(product, folder, figure=figure)
    assert [f.name for f in files] == [
        f"lens_1_lensrim.{s}" for s in ("fits", "json", "reg", "png")
    ]
    assert listing(folder) == sorted(f.name for f in files)


def test_a_fits_name_is_taken_as_it_is(product: Product, tmp_path: Path) -> None:
    files = write_product(product, tmp_path / "mine.fits")
    assert [f.name for f in files] == ["mine.fits", "mine.json", "mine.reg"]


def test_extensions_units_and_checksums(product: Product, tmp_path: Path) -> None:
    file = write_product(product, tmp_path)[0]
    # warnings are errors: a wrong checksum would be one
    with fits.open(file, checksum=True) as hdus:
        hdus.verify("exception")
        assert [hdu.name for hdu in hdus[1:]] == ORDER
        units = {hdu.name: hdu.header["BUNIT"] for hdu in hdus[1:]}
        assert all("CHECKSUM" in hdu.header for hdu in hdus[1:])
        assert hdus["MASK"].data.dtype == np.uint8
        assert hdus["SOURCE"].header["AREARAT"] == pytest.approx(1 / 16)
        frames = {hdu.name: hdu.header["CTYPE1"] for hdu in hdus[1:]}
        source = WCS(hdus["SOURCE"].header)
    assert {units[k] for k in ("DATA", "SIGMA", "MODEL", "SOURCE")} == {"electron/s"}
    assert (units["ALPHA_X"], units["KAPPA"]) == ("arcsec", "")
    assert {k for k, v in frames.items() if v == "LINEAR"} == {"PSF", "SOURCE"}
    np.testing.assert_allclose(source.wcs_pix2world([[3.5, 3.5]], 0), [SOURCE_GRID.center])
    assert set(ORDER) <= set(CONTENT)


def test_primary_header(product: Product, tmp_path: Path) -> None:
    header = fits.getheader(write_product(product, tmp_path)[0])
    assert header["OBJECT"] == "lens_1"
    assert (header["THETAE"], header.comments["THETAE"]) == product.header["THETAE"]
    assert header["NARC"] == 42
    assert header["MODELSHA"] == "0" * 90
    assert "a comment" in header.comments["COSMO"]
    # FITS cannot hold what is not finite
    assert "MAGTOT" not in header
    assert "CHI2ARC" not in header
    assert "DATE" in header
    assert "Mass-sheet degeneracy" in str(header["COMMENT"])
    assert header["HISTORY"][0] == "--bin 2"
    assert "gr\\xf6\\xdfe.fits" in "".join(header["HISTORY"])


def test_numbers_of_the_json(product: Product, tmp_path: Path) -> None:
    content = json.loads(write_product(product, tmp_path)[1].read_text(encoding="utf-8"))
    assert content["numbers"]["THETAE"] == 0.5
    assert content["numbers"]["NARC"] == 42
    assert content["numbers"]["MAGTOT"] is None
    assert content["stages"] == {"macro": {"theta_E": 0.5, "loss": None, "center": [0.0, 1.0]}}
    assert content["options"] == list(product.history)
    assert content["source_grid"] == {"shape": [8, 8], "spacing": 0.025, "center": [0.2, -0.1]}
    np.testing.assert_allclose(content["caustics"][0], product.caustics[0], atol=1e-6)


def test_names_that_are_no_text_are_written_out_alike(product: Product, tmp_path: Path) -> None:
    name = os.fsdecode(b"caf\xe9.fits")  # Latin-1
    said = {"macro": {name: name, "of": Path(name)}}
    product = replace(product, name=name, history=(f"observation = {name}",), stages=said)
    file, numbers = write_product(product, tmp_path / "out.fits")[:2]
    text = numbers.read_bytes().decode("utf-8")
    content, out = json.loads(text), r"caf\udce9.fits"
    assert content["name"] == out and content["options"] == [f"observation = {out}"]
    assert content["stages"] == {"macro": {out: out, "of": out}}
    with fits.open(file, checksum=True) as hdus:
        hdus.verify("exception")
        header = hdus[0].header
        assert header["OBJECT"] == out and header["HISTORY"][0] == f"observation = {out}"
    assert read_product(file).history == (f"observation = {out}",)


@pytest.mark.parametrize("sky", [True, False])
def test_round_trip(product: Product, tmp_path: Path, sky: bool) -> None:
    product = replace(product, wcs=product.wcs if sky else None, unit="Jy" if sky else None)
    again = read_product(write_product(product, tmp_path)[0])
    assert (again.name, again.unit) == (product.name, product.unit)
    assert (again.image_grid, again.source_grid) == (IMAGE_GRID, SOURCE_GRID)
    assert (again.wcs is not None) == sky
    assert again.history == product.history
    assert again.header["THETAE"] == product.header["THETAE"]
    assert again.value("MAGTOT") is None
    for key, values in {**product.image_maps, **product.source_maps}.items():
        found = again.source_maps[key] if key == "SOURCE" else again.image_maps[key]
        np.testing.assert_allclose(found, values, rtol=1e-6)
    np.testing.assert_allclose(again.psf, product.psf)
    np.testing.assert_allclose(again.critical_curves[0], product.critical_curves[0], atol=1e-6)


def test_equal_input_gives_equal_files(product: Product, figure: Figure, tmp_path: Path) -> None:
    first = write_product(product, tmp_path / "a", figure=figure)
    later = replace(product, header={**product.header, "SECONDS": (9.0, "wall clock")})
    second = write_product(later, tmp_path / "b", figure=figure)

    def content(file: Path) -> bytes:
        data = file.read_bytes()
        if file.suffix == ".json":
            return b"".join(line for line in data.splitlines() if b"SECONDS" not in line)
        cards = [data[i : i + 80] for i in range(0, len(data), 80)]
        return b"".join(c for c in cards if not c.startswith((b"DATE ", b"SECONDS ")))

    assert [content(f) for f in first] == [content(f) for f in second]


@pytest.mark.parametrize("sky", [True, False])
def test_samples_come_back_with_their_frames(product: Product, tmp_path: Path, sky: bool) -> None:
    rng = np.random.default_rng(4)
    maps = {"SAMPLES_KAPPA": rng.normal(size=(3, *IMAGE_GRID.shape))}
    sources = {"SAMPLES_SOURCE": rng.normal(size=(3, *SOURCE_GRID.shape))}
    units = {"theta_E": "arcsec", "q": "", "flux": DATA_UNIT}
    numbers = {name: (rng.normal(size=3), unit) for name, unit in units.items()}
    product = replace(
        product,
        image_maps={**product.image_maps, **maps},
        source_maps={**product.source_maps, **sources},
        samples=numbers,
        wcs=product.wcs if sky else None,
    )
    file = write_product(product, tmp_path)[0]
    again = read_product(file)
    np.testing.assert_allclose(again.image_maps["SAMPLES_KAPPA"], maps["SAMPLES_KAPPA"], 1e-6)
    np.testing.assert_allclose(
        again.source_maps["SAMPLES_SOURCE"], sources["SAMPLES_SOURCE"], 1e-6
    )
    assert list(again.samples) == list(numbers)
    for name, (values, unit) in numbers.items():
        np.testing.assert_array_equal(again.samples[name][0], values)
        assert again.samples[name][1] == ("electron/s" if name == "flux" else unit)
    with fits.open(file, checksum=True) as hdus:
        hdus.verify("exception")
        frames = [WCS(hdus[name].header) for name in ("DATA", "SAMPLES_KAPPA")]
        assert [frame.naxis for frame in frames] == [2, 3]
        plane, cube = (frame.celestial if sky else frame.sub(2) for frame in frames)
        there = [[2.0, 3.0]]
        np.testing.assert_allclose(
            cube.wcs_pix2world(there, 0), plane.wcs_pix2world(there, 0), rtol=1e-12
        )
        source = WCS(hdus["SAMPLES_SOURCE"].header)
        assert source.wcs_pix2world([[3.5, 3.5, 2.0]], 0)[0, 2] == pytest.approx(3.0)


def test_samples_are_equally_many(product: Product) -> None:
    maps = {**product.image_maps, "SAMPLES_KAPPA": np.zeros((3, *IMAGE_GRID.shape))}
    with pytest.raises(ValueError, match="samples must be equally many"):
        replace(product, image_maps=maps, samples={"q": (np.zeros(2), "")})


def test_an_existing_product_is_not_replaced(
    product: Product, figure: Figure, tmp_path: Path
) -> None:
    files = write_product(product, tmp_path, figure=figure)
    before = [f.read_bytes() for f in files]
    with pytest.raises(InputError, match=r"lens_1_lensrim.fits: .* give --overwrite"):
        write_product(product, tmp_path)
    assert [f.read_bytes() for f in files] == before
    # the old picture would not belong to the new numbers
    assert len(write_product(product, tmp_path, overwrite=True)) == 3
    assert not files[3].exists()


@pytest.mark.parametrize("existing", [True, False])
@pytest.mark.parametrize("broken", ["json", "png", "rename"])
def test_nothing_remains_of_a_failure(
    product: Product,
    figure: Figure,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    broken: str,
    existing: bool,
) -> None:
    folder = tmp_path / "deep" / "results"
    if existing:
        write_product(product, folder, figure=figure)
    before = {p: p.is_file() and p.read_bytes() for p in tmp_path.rglob("*")}
    if broken == "json":
        product = replace(product, stages={"macro": {"model": object()}})
        failure = pytest.raises(TypeError, match="not JSON serializable")
    elif broken == "png":

        def full(*_: object, **__: object) -> None:
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(Figure, "savefig", full)
        failure = pytest.raises(InputError, match=r"cannot be written \(No space left on device\)")
    else:
        true_replace = os.replace

        def refuse(origin: Path, place: Path) -> None:
            if Path(place).suffix == ".reg" and Path(place).parent == folder and place != origin:
                monkeypatch.undo()
                raise PermissionError(13, "Permission denied")
            true_replace(origin, place)

        monkeypatch.setattr("lensrim.io.staging.os.replace", refuse)
        failure = pytest.raises(InputError, match="Permission denied")
    with failure:
        write_product(product, folder, figure=figure, overwrite=True)
    assert {p: p.is_file() and p.read_bytes() for p in tmp_path.rglob("*")} == before


def test_a_link_is_put_back_as_one(
    product: Product, figure: Figure, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = write_product(product, tmp_path / "store", figure=figure)
    (out := tmp_path / "out").mkdir()
    for file in files:
        (out / file.name).symlink_to(Path("..") / "store" / file.name)
    true_replace = os.replace

    def refuse(origin: Path, place: Path) -> None:
        if Path(place).suffix == ".png" and Path(place).parent == out:
            monkeypatch.undo()
            raise PermissionError(13, "Permission denied")
        true_replace(origin, place)

    monkeypatch.setattr("lensrim.io.staging.os.replace", refuse)
    with pytest.raises(InputError, match="Permission denied"):
        write_product(product, out, figure=figure, overwrite=True)
    assert all((out / file.name).is_symlink() for file in files)
    assert sorted(p.name for p in out.iterdir()) == sorted(file.name for file in files)


@pytest.mark.parametrize("links", [True, False], ids=["second names", "none"])
def test_no_moment_is_without_a_product(
    product: Product,
    figure: Figure,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    links: bool,
) -> None:
    """Who is killed while a product is replaced has the old or the new one of each file."""
    files = write_product(product, tmp_path, figure=figure)
    true_replace, seen = os.replace, []

    def watched(origin: Path, place: Path) -> None:
        seen.append(all(file.is_file() for file in files))
        true_replace(origin, place)

    def refused(*_: object, **__: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr("lensrim.io.staging.os.replace", watched)
    if not links:
        monkeypatch.setattr("lensrim.io.staging.os.link", refused)
    again = replace(product, name=product.name)
    assert write_product(again, tmp_path, figure=figure, overwrite=True) == files
    assert all(file.is_file() for file in files)
    assert all(seen) == links and len(seen) >= len(files)
    assert not list(tmp_path.glob(".lensrim-*"))


def test_output_that_cannot_be(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    for path in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(InputError, match="file: output must be a folder, found a file"):
            planned_files("lens", path)
    with pytest.raises(InputError, match=r"must be a file name, found '../lens'"):
        planned_files("../lens", tmp_path)
    monkeypatch.setattr("lensrim.io.staging.os.access", lambda *_: False)
    with pytest.raises(InputError, match="output folder must be writable"):
        planned_files("lens", tmp_path / "new")


def test_what_is_not_a_product(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"none.fits: no such file"):
        read_product(tmp_path / "none.fits")
    fits.HDUList([fits.PrimaryHDU()]).writeto(tmp_path / "empty.fits")
    with pytest.raises(InputError, match=r"empty.fits: a product must hold HDU DATA"):
        read_product(tmp_path / "empty.fits")


def test_maps_and_keywords_are_checked(product: Product) -> None:
    with pytest.raises(ValueError, match=r"KAPPA must have the shape \(12, 15\), got \(3, 3\)"):
        replace(product, image_maps={"KAPPA": np.ones((3, 3))})
    with pytest.raises(ValueError, match="at most 8 upper-case characters, got 'theta_E'"):
        replace(product, header={"theta_E": (1.0, "")})


def test_the_source_flux_is_that_of_native_pixels(product: Product, tmp_path: Path) -> None:
    binned = replace(product, header=product.header | {"BIN": (2, "")})
    with fits.open(write_product(binned, tmp_path)[0]) as hdus:
        assert hdus["SOURCE"].header["AREARAT"] == pytest.approx(4 / 16)


def test_samples_may_be_more_than_an_image(
    product: Product, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a product may hold is limited in all, not map by map."""
    monkeypatch.setattr("lensrim.io.fits.LARGEST", IMAGE_GRID.shape[0] * IMAGE_GRID.shape[1] - 1)
    files = write_product(product, tmp_path)
    found = read_product(files[0]).image_maps["KAPPA"]
    np.testing.assert_allclose(found, product.image_maps["KAPPA"], rtol=1e-6)
