"""Collections of galaxies: the layout of GalSim, cleaned stamps, and what headers tell."""

import pickle
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from astropy.table import Table

from lensrim.datasets.galaxies.cosmos import GalSimCatalogue, find_catalogue
from lensrim.datasets.galaxies.folder import GalaxyFolder, write_galaxy
from lensrim.datasets.galaxies.many_images import read_image
from lensrim.datasets.galaxies.opening import open_galaxies
from lensrim.datasets.galaxies.stamps import THOROUGH, Cleaning, Stamp, galaxy_of
from lensrim.datasets.presets import Population
from lensrim.datasets.priors import draw_system
from lensrim.datasets.shards.samples import Samples
from lensrim.datasets.systems import Galaxies
from lensrim.errors import InputError

NOISE = 0.02
COUNT = 12


def gaussian(side: int, sigma: float) -> np.ndarray:
    v, u = np.mgrid[:side, :side] - (side - 1) / 2
    return np.exp(-(u**2 + v**2) / (2 * sigma**2))


def stamp(k: int) -> np.ndarray:
    side = 61 + 2 * k
    noise = NOISE * np.random.default_rng(k).standard_normal((side, side))
    return (gaussian(side, 4 + 0.2 * k) + noise).astype(np.float32)


# Row by row: what GalSim's levels would say of it; all else is good.
FAULTS = {
    "sn_ellip_gauss": (1, 11.9, "stamp"),
    "stamp_flux": (2, -1.0, "stamp"),
    "average_mask_adjacent_pixel_count": (3, 0.9, "stamp"),
    "peak_image_pixel_count": (4, 0.0, "stamp"),
    "dmag": (5, 0.9, "marginal"),
    "fit_status[0]": (6, 0, "marginal"),
    "fit_status": (7, 0, "fits"),
    "sersicfit": (8, 5.5, "marginal"),
}


@pytest.fixture(scope="module")
def catalogue(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small catalogue in the layout of COSMOS: images in two files, tables beside it."""
    folder = tmp_path_factory.mktemp("COSMOS_25.2_training_sample")
    for n in (1, 2):
        images = [stamp(k) for k in range(COUNT) if k % 2 == n - 1]
        psfs = [gaussian(33, 3.0 if k % 2 else 2.0).astype(np.float32) for k in range(len(images))]
        for kind, planes in (("images", images), ("PSF_images", psfs)):
            hdus = [fits.PrimaryHDU(planes[0]), *map(fits.ImageHDU, planes[1:])]
            fits.HDUList(hdus).writeto(folder / f"real_galaxy_{kind}_25.2_n{n}.fits")
    rows = np.arange(COUNT)
    good = np.ones(COUNT)

    def with_faults(name: str, values: np.ndarray) -> np.ndarray:
        if name in FAULTS:
            values[FAULTS[name][0]] = FAULTS[name][1]
        return values

    file = [f"real_galaxy_{{}}_25.2_n{1 + k % 2}.fits " for k in rows]  # GalSim's have blanks
    base = folder / "real_galaxy_catalog_25.2.fits"
    Table(
        {
            "IDENT": 1000 + rows,
            "MAG": 22 + 0.1 * rows,
            "WEIGHT": good,
            "GAL_FILENAME": [each.format("images") for each in file],
            "PSF_FILENAME": [each.format("PSF_images") for each in file],
            "GAL_HDU": rows // 2,
            "PSF_HDU": rows // 2,
            "PIXEL_SCALE": 0.03 * good,
            "NOISE_MEAN": 0 * good,
            "NOISE_VARIANCE": NOISE**2 * good,
            "STAMP_FLUX": with_faults("stamp_flux", good.copy()),
        }
    ).write(base)
    # min_mask_dist_pixels decides only where it is small
    near = np.where(np.isin(rows, (3, 4)), 5.0, 20.0)
    mask = 0.1 * good
    names = ("sn_ellip_gauss", "peak_image_pixel_count", "dmag")
    start = {"sn_ellip_gauss": 12 * good, "peak_image_pixel_count": good, "dmag": 0.1 * good}
    Table(
        {"IDENT": 1000 + rows, "min_mask_dist_pixels": near}
        | {
            "average_mask_adjacent_pixel_count": with_faults(
                "average_mask_adjacent_pixel_count", mask
            )
        }
        | {name: with_faults(name, start[name].copy()) for name in names}
    ).write(folder / "real_galaxy_catalog_25.2_selection.fits")
    status = np.ones((COUNT, 5), dtype=int)
    status[6, 0] = 0
    status[7, [0, 4]] = (0, 5)
    sersic = np.ones((COUNT, 8))
    sersic[8, 2] = 5.5
    radius = np.where(rows == 8, 1.2, 0.4)[:, None] * np.ones(3)
    Table({"IDENT": 1000 + rows, "fit_status": status, "sersicfit": sersic, "hlr": radius}).write(
        folder / "real_galaxy_catalog_25.2_fits.fits"
    )
    return folder


@pytest.mark.parametrize(
    ("exclusion", "out"),
    [
        ("none", set()),
        ("bad_stamp", {"stamp"}),
        ("bad_fits", {"fits"}),
        ("marginal", {"stamp", "fits", "marginal"}),
    ],
)
def test_the_rules_of_galsim(catalogue: Path, exclusion, out: set[str]) -> None:
    left = {row for row, _, rule in FAULTS.values() if rule in out}
    expected = tuple(str(1000 + k) for k in range(COUNT) if k not in left)
    assert GalSimCatalogue(catalogue, exclusion=exclusion).names == expected


def test_the_sample_to_23_has_stricter_rules(catalogue: Path, tmp_path: Path) -> None:
    for path in catalogue.glob("real_galaxy_catalog*"):
        (tmp_path / path.name.replace("25.2", "23.5")).write_bytes(path.read_bytes())
    with pytest.raises(InputError, match=r"found none of 12 that pass"):
        GalSimCatalogue(tmp_path, exclusion="bad_stamp")  # all have a S/N of 12


def test_images_psf_and_noise(catalogue: Path) -> None:
    collection = open_galaxies(catalogue)
    assert isinstance(collection, Galaxies)
    assert isinstance(collection, GalSimCatalogue)
    for name, k in (("1000", 0), ("1009", 9), ("1011", 11)):
        read = collection.stamp(name)
        assert np.array_equal(read.image, stamp(k))
        assert read.noise == pytest.approx(NOISE)
        width = 3.0 if (k // 2) % 2 else 2.0
        assert read.psf_fwhm == pytest.approx(0.03 * 2.3548 * width, rel=0.02)
    galaxy = collection.load("1009")
    assert galaxy is collection.load("1009")
    expected = 5.8 * np.sqrt(2 * np.log(2))
    assert galaxy.half_light_radius == pytest.approx(0.03 * expected, rel=0.05)
    assert galaxy.flux == pytest.approx(2 * np.pi * 5.8**2, rel=0.05)
    assert galaxy.noise < 0.3 * NOISE  # it is cleaned thoroughly
    raw = open_galaxies(catalogue, cleaning=Cleaning()).load("1009")
    assert raw.noise == pytest.approx(NOISE, rel=0.2)


def test_a_catalogue_is_drawn_from_as_a_folder_is(catalogue: Path) -> None:
    rng = np.random.default_rng(0)
    system = draw_system(rng, galaxies=open_galaxies(catalogue))
    assert system.galaxy.name in open_galaxies(catalogue).names
    samples = Samples(Population(shape=(32, 32), galaxies=str(catalogue)))
    assert samples(0)["galaxy"] in open_galaxies(catalogue).names


def test_catalogue_errors(catalogue: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"expected one catalogue .* found none"):
        find_catalogue(tmp_path)
    with pytest.raises(InputError, match=r"of sample '23\.5', found none"):
        GalSimCatalogue(catalogue, sample="23.5")
    with pytest.raises(InputError, match="exclusion: must be one of none"):
        GalSimCatalogue(catalogue, exclusion="all")
    name = "real_galaxy_catalog_25.2.fits"
    (tmp_path / name).write_bytes((catalogue / name).read_bytes())
    with pytest.raises(InputError, match=r"_selection\.fits: needed for exclusion='marginal'"):
        GalSimCatalogue(tmp_path)
    alone = GalSimCatalogue(tmp_path / name, exclusion="none")
    with pytest.raises(InputError, match=r"_n1\.fits: HDU 0 must be .* fetch the file again"):
        alone.load("1000")
    Table({"IDENT": [1]}).write(tmp_path / name, overwrite=True)
    with pytest.raises(InputError, match="must have the column GAL_FILENAME, found ident"):
        GalSimCatalogue(tmp_path, exclusion="none")
    (tmp_path / name).write_bytes(b"no table")
    with pytest.raises(InputError, match="must be a FITS table"):
        GalSimCatalogue(tmp_path, exclusion="none")


def test_one_image_of_many(catalogue: Path, tmp_path: Path) -> None:
    path = catalogue / "real_galaxy_images_25.2_n1.fits"
    with pytest.raises(InputError, match=r"HDU 9 .* the file has 6 HDUs"):
        read_image(path, 9)
    short = tmp_path / "short.fits"
    short.write_bytes(path.read_bytes()[:-2880])
    with pytest.raises(InputError, match=r"short\.fits: HDU 5 must be"):
        read_image(short, 5)
    assert np.array_equal(read_image(short, 4), stamp(8))
    scaled = tmp_path / "scaled.fits"
    hdu = fits.ImageHDU(np.arange(12.0).reshape(3, 4))
    hdu.scale("int16", bscale=0.5, bzero=3.0)
    table = fits.BinTableHDU(Table({"a": [1, 2, 3], "b": ["x", "y", "z"]}))
    fits.HDUList([fits.PrimaryHDU(), table, hdu]).writeto(scaled)
    assert np.allclose(read_image(scaled, 2), np.arange(12.0).reshape(3, 4))
    with pytest.raises(InputError, match="HDU 0 must be a two-dimensional image"):
        read_image(scaled, 0)


def test_headers_tell_scale_and_width(tmp_path: Path) -> None:
    image = stamp(0)
    headers = {
        "keyword": {"PIXSCALE": 0.03, "PSFFWHM": 0.1},
        "wcs": {"CTYPE1": "RA---TAN", "CTYPE2": "DEC--TAN", "CDELT1": -2e-5, "CDELT2": 2e-5},
        "silent": {"PIXSCALE": "unknown"},
    }
    for name, cards in headers.items():
        hdu = fits.PrimaryHDU(image)
        hdu.header.update(cards)
        hdu.writeto(tmp_path / f"{name}.fits")
    folder = GalaxyFolder(tmp_path)
    scales = {name: folder.load(name).pixel_scale for name in headers}
    assert scales == pytest.approx({"keyword": 0.03, "wcs": 0.072, "silent": 0.05})
    assert [folder.load(name).psf_fwhm for name in headers] == [0.1, None, None]
    told = GalaxyFolder(tmp_path, pixel_scale=0.04, psf_fwhm=0.2).load("keyword")
    assert (told.pixel_scale, told.psf_fwhm) == (0.04, 0.2)
    # of a subfolder that is not named, the header's
    (tmp_path / "a").mkdir()
    (tmp_path / "silent.fits").rename(tmp_path / "a" / "silent.fits")
    told = GalaxyFolder(tmp_path, pixel_scale={"a": 0.04}, psf_fwhm={"a": 0.2})
    for name, scale, width in (("a/silent", 0.04, 0.2), ("keyword", 0.03, 0.1)):
        assert (told.load(name).pixel_scale, told.load(name).psf_fwhm) == (scale, width)


def test_a_name_may_hold_the_ending(tmp_path: Path) -> None:
    for name in ("drz.fits_0.fits", "drz.fits_1.fits.gz", "c.fits_all/a.fits"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        fits.writeto(tmp_path / name, stamp(0))
    assert GalaxyFolder(tmp_path).names == ("c.fits_all/a", "drz.fits_0", "drz.fits_1")
    fits.writeto(tmp_path / "drz.fits_1.fits", stamp(0))
    with pytest.raises(InputError, match=r"galaxies must have names of their own, found .*fits_1"):
        GalaxyFolder(tmp_path)


def test_a_name_may_have_letters_that_fits_has_not(tmp_path: Path) -> None:
    fits.writeto(tmp_path / "raw.fits", stamp(3))
    made = galaxy_of("galaxié", GalaxyFolder(tmp_path).stamp("raw"), THOROUGH)
    write_galaxy(tmp_path / "galaxié.fits", made, provenance={})
    assert fits.getheader(tmp_path / "galaxié.fits")["OBJECT"] == r"galaxi\xe9"


def test_a_cleaned_stamp_is_taken_as_it_is(tmp_path: Path) -> None:
    fits.writeto(tmp_path / "raw.fits", stamp(3))
    made = galaxy_of("raw", GalaxyFolder(tmp_path).stamp("raw"), THOROUGH)
    (tmp_path / "clean").mkdir()
    write_galaxy(tmp_path / "clean" / "a.fits", made, provenance={"VERDICT": "good"})
    read = open_galaxies(tmp_path / "clean").load("a")
    assert np.array_equal(read.image, made.image.astype(np.float32))
    assert read.image.max() == 1
    pairs = [(read.flux, made.flux), (read.snr, made.snr), (read.noise, made.noise)]
    pairs += [(read.half_light_radius, made.half_light_radius)]
    assert all(a == pytest.approx(b, rel=1e-5) for a, b in pairs)
    assert fits.getheader(tmp_path / "clean" / "a.fits")["VERDICT"] == "good"


@pytest.mark.parametrize("kind", ["catalogue", "folder", "learnt"])
def test_a_collection_that_was_used_can_be_sent_to_workers(
    kind: str, catalogue: Path, tmp_path: Path
):
    if kind == "folder":
        write_galaxy(
            tmp_path / "a.fits", galaxy_of("a", Stamp(gaussian(61, 4), 0.03)), provenance={}
        )
    where = {"catalogue": catalogue, "folder": tmp_path, "learnt": "learnt"}[kind]
    collection = open_galaxies(where)
    name = collection.names[0]
    first = collection.load(name)
    assert collection.load(name) is first
    again = pickle.loads(pickle.dumps(collection))
    assert again.names == collection.names
    np.testing.assert_array_equal(again.load(name).image, first.image)
    assert again.load(name) is again.load(name) is not first
