"""Noise kinds: recognised by name, forced by the user, never guessed."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits

from lensrim.errors import InputError
from lensrim.io import ReadOptions, read_observation
from lensrim.io.fits import FitsFile
from lensrim.io.noise import kind_of
from lensrim.io.planes import Entry, Plane
from lensrim.io.window import Window

NAMES = {
    "sigma": ["ERR", "RMS", "SIGMA", "NOISE_MAP", "VIS_RMS", "noise_map", "lens-rms"],
    "variance": ["VAR", "VARIANCE", "VAR_POISSON", "F814W_VAR"],
    "weight": ["IVAR", "g_ivar", "INVVAR", "INVERSE_VARIANCE", "VIS_INV_VAR", "lens-inv-var"],
    "ambiguous": ["WHT", "WEIGHT", "lens_drz_wht"],
    None: ["NOISE", "SCI", "TERR", "", "RMS_SCI", "BGSUB", "covar"],
}


@pytest.mark.parametrize(("kind", "name"), [(k, n) for k, names in NAMES.items() for n in names])
def test_kinds_are_read_from_names(kind: str | None, name: str):
    assert kind_of(name) == kind


@pytest.mark.parametrize(
    ("name", "power", "kind"),
    [
        ("RMS", 1, "sigma"),
        ("VAR", 2, "variance"),
        ("IVAR", -2, "weight"),
        ("INV_VAR", -2, "weight"),
    ],
)
def test_kinds_are_brought_to_sigma(
    parts: dict, write: Callable, name: str, power: int, kind: str
):
    sigma = np.linspace(0.1, 0.5, 31 * 37).reshape(31, 37)
    parts["ERR"] = (sigma**power, {})
    parts[name] = parts.pop("ERR")
    observation = read_observation(write(parts))
    np.testing.assert_allclose(observation.sigma, sigma)
    assert observation.noise_kind == kind


def test_weights_are_used_once_stated(parts: dict, write: Callable):
    parts["WHT"] = (parts.pop("ERR")[0] ** -2, {})
    path = write(parts)
    with pytest.raises(
        InputError, match=r"\[WHT\]: a weight map called WHT is ambiguous.*--noise-kind sigma"
    ):
        read_observation(path)
    with pytest.raises(InputError, match="a weight map called WHT is ambiguous"):
        read_observation(path, ReadOptions(noise="WHT"))
    for options in (ReadOptions(noise_kind="weight"), ReadOptions("SCI", "WHT", "weight")):
        np.testing.assert_allclose(read_observation(path, options).sigma, 0.1)


@pytest.mark.parametrize(
    ("name", "power"), [("VAR_MAP", 2), ("INV_VARIANCE", -2), ("SCI_INVERSE_VARIANCE", -2)]
)
def test_seldom_names_count_where_there_is_no_other(
    parts: dict, write: Callable, name: str, power: int
):
    parts[name] = (np.full((31, 37), 0.2) ** power, {})
    np.testing.assert_allclose(read_observation(write(parts)).sigma, 0.1)  # that of ERR
    del parts["ERR"]
    np.testing.assert_allclose(read_observation(write(parts, "other.fits")).sigma, 0.2)


@pytest.mark.parametrize("name", ["ERR.FITS", "rms.fts", "noise_map.fit.gz", "VAR.fits"])
def test_the_kind_is_that_of_the_name_of_a_file_of_any_ending(
    parts: dict, write: Callable, tmp_path: Path, name: str
):
    sigma = parts.pop("ERR")[0]
    path = write(parts)
    fits.PrimaryHDU(sigma**2 if "VAR" in name else sigma).writeto(tmp_path / name)
    np.testing.assert_allclose(read_observation(path, ReadOptions(noise=name)).sigma, 0.1)


def test_the_image_is_read_once(parts: dict, write: Callable, monkeypatch: pytest.MonkeyPatch):
    del parts["ERR"]
    asked, plane = [], FitsFile.plane

    def counted(self: FitsFile, entry: Entry, window: Window | None = None) -> Plane:
        asked.append(entry.name)
        return plane(self, entry, window)

    monkeypatch.setattr(FitsFile, "plane", counted)
    parts["SCI"][1]["EXPTIME"] = 800.0
    read_observation(write(parts), ReadOptions(background=0.1))
    assert asked == ["SCI", "PSF"]


def test_an_error_map_is_preferred_to_weights(parts: dict, write: Callable):
    parts["WHT"] = (np.full((31, 37), 7.0), {})
    np.testing.assert_allclose(read_observation(write(parts)).sigma, 0.1)


def test_a_stated_kind_chooses_the_map_that_may_be_of_it(parts: dict, write: Callable):
    """Of SCI, ERR and WHT, weights are WHT, and standard deviations ERR."""
    parts["WHT"] = (np.full((31, 37), 25.0), {})
    path = write(parts)
    weights = read_observation(path, ReadOptions(noise_kind="weight"))
    np.testing.assert_allclose(weights.sigma, 0.2)
    assert "noise: obs.fits[WHT] read as weight" in weights.notes
    np.testing.assert_allclose(read_observation(path, ReadOptions(noise_kind="sigma")).sigma, 0.1)
    parts["VAR"] = (np.full((31, 37), 0.09), {})
    both = write(parts, "both.fits")
    np.testing.assert_allclose(
        read_observation(both, ReadOptions(noise_kind="variance")).sigma, 0.3
    )


def test_a_stated_kind_is_not_applied_to_a_map_of_another(parts: dict, write: Callable):
    path = write(parts)
    with pytest.raises(InputError, match=r"no noise map that may hold weight, as --noise-kind.*"):
        read_observation(path, ReadOptions(noise_kind="weight"))
    with pytest.raises(
        InputError,
        match=r"\[ERR\]: a noise map must be of one kind, found ERR \(sigma\) and --noise-kind"
        r" variance: leave the option out, name another map by --noise, or rename",
    ):
        read_observation(path, ReadOptions(noise="ERR", noise_kind="variance"))


def test_a_stated_kind_decides_between_names(parts: dict, write: Callable, write_folder: Callable):
    other = write({"VAR": parts["ERR"]}, "noise_rms.fits")
    options = ReadOptions(noise=str(other), noise_kind="variance")
    np.testing.assert_allclose(read_observation(write(parts), options).sigma, np.sqrt(0.1))
    names = ("data.fits", "noise_map.fits", "psf.fits")
    folder = write_folder(dict(zip(names, (p[0] for p in parts.values()), strict=True)))
    options = ReadOptions(noise_kind="variance", pixel_scale=0.05)  # noise_map is but a role
    np.testing.assert_allclose(read_observation(folder, options).sigma, np.sqrt(0.1))


def test_unknown_names_are_not_guessed(parts: dict, write: Callable):
    parts["UNCERTAINTY"] = parts.pop("ERR")
    with pytest.raises(InputError, match=r"clear from the name .*, found UNCERTAINTY: say what"):
        read_observation(write(parts), ReadOptions("SCI", noise="UNCERTAINTY"))


def test_names_must_not_contradict(parts: dict, write: Callable):
    other = write({"VAR": parts["ERR"]}, "noise_map.fits")
    with pytest.raises(InputError, match=r"say noise_map \(sigma\) and VAR \(variance\): say"):
        read_observation(write(parts), ReadOptions(noise=str(other)))


def test_several_noise_maps_are_listed(parts: dict, write: Callable):
    parts["VAR"] = parts["ERR"]
    with pytest.raises(
        InputError, match=r"several HDUs may be the noise: choose one of ERR \(number 2\), VAR"
    ):
        read_observation(write(parts))


@pytest.mark.parametrize("unit", ["electron/s", "ELECTRONS/S", "e-/s", "electron s-1", "e/sec"])
def test_rates_in_electrons_are_understood(parts: dict, write: Callable, unit: str):
    parts["SCI"][1]["BUNIT"] = unit
    options = ReadOptions(background=0.1, exposure="100s")
    assert read_observation(write(parts), options).noise_kind == "background+exposure"


@pytest.mark.parametrize("name", ["EXPTIME", "TEXPOSED"])
def test_the_exposure_may_be_a_keyword(parts: dict, write: Callable, name: str):
    parts["SCI"][1][name] = 100.0
    found = read_observation(write(parts), ReadOptions(background=0.1, exposure=name))
    other = read_observation(write(parts, "b.fits"), ReadOptions(background=0.1, exposure="100s"))
    np.testing.assert_array_equal(found.sigma, other.sigma)
    assert any(f"exposure from {name} of" in note for note in found.notes)
    parts["EXPTIME"] = (np.full(parts["SCI"][0].shape, 50.0), {})
    options = ReadOptions(background=0.1, exposure="EXPTIME")
    both = read_observation(write(parts, "d.fits"), options)
    assert both.sigma.max() > found.sigma.max()  # an HDU comes before a keyword
    parts["EXPTIME"] = (np.ones((7, 7)), {})
    with pytest.raises(InputError, match=r"EXPTIME.* 7 x 7"):
        read_observation(write(parts, "e.fits"), options)
    with pytest.raises(InputError, match=r"EXPOSED.*no such file, nor an HDU"):
        read_observation(write(parts, "c.fits"), ReadOptions(background=0.1, exposure="EXPOSED"))


@pytest.mark.parametrize("unit", ["electron", "MJy/sr", "counts/s", "ELECTRONS", "Jy"])
def test_other_units_are_refused(parts: dict, write: Callable, unit: str):
    parts["SCI"][1].update(BUNIT=unit, BKGRMS=0.1, EXPTIME=100.0)
    del parts["ERR"]
    with pytest.raises(InputError, match=f"needs data in electron/s, found BUNIT '{unit}': conv"):
        read_observation(write(parts))


def test_a_missing_unit_must_be_stated(parts: dict, write: Callable):
    del parts["SCI"][1]["BUNIT"]
    path = write(parts)
    options = {"background": 0.1, "exposure": "100s"}
    with pytest.raises(InputError, match="found no BUNIT: state --noise-kind background"):
        read_observation(path, ReadOptions(**options))
    stated = read_observation(path, ReadOptions(**options, noise_kind="background+exposure"))
    assert any("taken as electron/s" in note for note in stated.notes)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"background": 0.1}, "needs both, found no EXPTIME: give --exposure"),
        ({"exposure": "100s"}, "needs both, found no BKGRMS: give --background"),
        (
            {"noise": "ERR", "background": 0.1},
            "--noise and --background: the noise is given twice",
        ),
        ({"noise": "ERR", "noise_kind": "background+exposure"}, "the noise is given twice"),
        (
            {"noise_kind": "weight", "background": 0.1},
            "--noise-kind weight and --background: the noise is given twice",
        ),
        ({"background": -1.0}, "--background: must be positive, got -1"),
        ({"rescale_noise": 0.0}, "--rescale-noise: must be positive, got 0"),
    ],
)
def test_half_stated_noise_is_refused(parts: dict, write: Callable, options: dict, message: str):
    with pytest.raises(InputError, match=message):
        read_observation(write(parts), ReadOptions(**options))


@pytest.mark.parametrize(
    ("name", "unit", "good"),
    [
        ("ERR", "electron/s", True),
        ("ERR", "ELECTRONS/S", True),
        ("ERR", "counts/s", True),
        ("ERR", "", True),
        ("ERR", "1", True),
        ("VAR", "ELECTRONS2/S2", True),
        ("VAR", "DN2/s2", True),
        ("VAR", "DN2", False),
        ("IVAR", "S2/ELECTRONS2", True),
        ("ERR", "of some kind", True),
        ("ERR", "electron", False),
        ("ERR", "MJy/sr", False),
        ("VAR", "electron2/s2", True),
        ("VAR", "electron/s", True),
        ("VAR", "electron", False),
        ("IVAR", "s2/electron2", True),
        ("IVAR", "electron", False),
    ],
)
def test_a_map_in_another_unit_than_the_data_is_refused(
    parts: dict, write: Callable, name: str, unit: str, good: bool
):
    parts[name] = (parts.pop("ERR")[0], {"BUNIT": unit})
    path = write(parts)
    if good:
        assert read_observation(path).mask.all()
        return
    with pytest.raises(
        InputError, match=rf"\[{name}\]: a \w+ map must have the unit of the data, 'electron/s'"
    ):
        read_observation(path)


@pytest.mark.parametrize("share", [0.3, 0.7, 0.85])
def test_pixels_that_their_noise_marks_as_bad_may_be_most(
    parts: dict, write: Callable, share: float
):
    sigma = parts["ERR"][0]
    sigma.flat[: round(share * sigma.size)] = 1e8
    observation = read_observation(write(parts))
    assert observation.mask.sum() == sigma.size - round(share * sigma.size)
    assert any("noise a million times the median" in note for note in observation.notes)


def test_a_few_pixels_of_next_to_no_noise_do_not_make_the_others_bad(parts: dict, write: Callable):
    parts["ERR"][0].flat[:50] = 1e-12
    assert read_observation(write(parts)).mask.all()


def test_exposure_is_not_looked_at_where_nothing_is_made_of_it(parts: dict, write: Callable):
    parts["WHT"] = parts.pop("ERR")
    parts["SCI"][1]["EXPTIME"] = 0.0
    with pytest.raises(InputError, match=r"a weight map called WHT is ambiguous"):
        read_observation(write(parts))


@pytest.mark.parametrize("role", ["noise", "exposure", "mask", "psf"])
def test_the_image_plays_no_other_part(parts: dict, write: Callable, role: str):
    with pytest.raises(InputError, match=rf"--{role} 1: must not be the image, .*\[SCI\]: name"):
        read_observation(write(parts), ReadOptions(**{role: "1"}))


@pytest.mark.parametrize("kind", ["sigma", "variance"])
def test_weights_are_not_taken_for_another_kind_unasked(parts: dict, write: Callable, kind: str):
    parts["WHT"] = parts.pop("ERR")
    path = write(parts)
    with pytest.raises(InputError, match=f"no noise map that may hold {kind}"):
        read_observation(path, ReadOptions(noise_kind=kind))
    named = read_observation(path, ReadOptions(noise="WHT", noise_kind=kind))
    assert named.noise_kind == kind
