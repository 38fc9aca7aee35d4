"""``lensrim compare``: products beside the truth in a file, whole, cut out and binned."""

import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits

from lensrim.cli import main
from lensrim.datasets.psfs.kinds import block_mean
from lensrim.errors import InputError
from lensrim.evaluation.compared import compared, lines_of, picture
from lensrim.evaluation.comparison import compare_maps
from lensrim.evaluation.maps import maps_of
from lensrim.evaluation.mass import true_shear
from lensrim.evaluation.mock_files import write_mock
from lensrim.evaluation.mocks import Mock, make_mock
from lensrim.evaluation.truth_file import read_truth
from lensrim.evaluation.truth_frame import known_to
from lensrim.grid import PixelGrid
from lensrim.io.product import Product, write_product

from ..truthful import perfect, small


@pytest.fixture(scope="module")
def mock() -> Mock:
    return small(2)


@pytest.fixture(scope="module")
def truth(mock: Mock, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The truth in its file."""
    folder = tmp_path_factory.mktemp("truth")
    write_mock(mock, folder / "lens.fits", seed=2, zero_point=25.0)
    return folder / "lens_truth.fits"


def placed(
    mock: Mock, *, corner: tuple[int, int] = (0, 0), cut: int = 0, bin_: int = 1
) -> Product:
    """The truth as a product of a cut-out, ``cut`` pixels smaller, of blocks of pixels."""
    whole, seen = perfect(mock), mock.observation
    (h, w), (column, row) = seen.shape, corner
    rows, columns = h - cut, w - cut
    frame = np.s_[row : row + rows, column : column + columns]
    maps = {**whole.image_maps, "SIGMA": seen.sigma, "DATA": seen.image}
    maps |= {"MASK": np.ones(seen.shape), "LENS_LIGHT": mock.truth.lens_light}
    maps |= {name: np.zeros(seen.shape) for name in ("SKY", "MAGNIFICATION")}
    grid = PixelGrid((rows // bin_, columns // bin_), seen.pixel_scale * bin_)
    middle = seen.grid.from_index(column + (columns - 1) / 2, row + (rows - 1) / 2)
    own = {name: block_mean(values[frame], bin_) for name, values in maps.items()}
    host = mock.truth.system.lens.ellipsoid
    x, y = host.center_x - middle[0], host.center_y - middle[1]
    index = seen.grid.to_index(host.center_x, host.center_y)
    numbers = {
        "MACROX": x,
        "MACROY": y,
        "LENSX": index[0],
        "LENSY": index[1],
        "BIN": bin_,
        "STAGE": "macro",
        "QUALITY": "good",
        "MACROPHI": (np.degrees(host.phi) + 3) % 180,
        "MACROPHE": 2.0,
        "THETAEER": 0.01,
    }
    return replace(
        whole,
        header={**whole.header, **{key: (value, "") for key, value in numbers.items()}},
        image_maps=own,
        image_grid=grid,
        # rays begin at the middle of the frame, and end as much beside where they did
        source_grid=replace(
            whole.source_grid,
            center=tuple(np.subtract(whole.source_grid.center, middle).tolist()),
        ),
    )


@pytest.mark.parametrize(
    ("corner", "cut", "bin_"), [((0, 0), 0, 1), ((2, 6), 8, 1), ((0, 0), 0, 2), ((4, 2), 8, 2)]
)
def test_the_truth_has_no_error_wherever_its_frame_is(
    mock: Mock, truth: Path, corner: tuple[int, int], cut: int, bin_: int
) -> None:
    product = placed(mock, corner=corner, cut=cut, bin_=bin_)
    found = compared(product, read_truth(truth))
    errors = found.maps
    # maps are in single precision; the source, on other pixels than the galaxy's stamp
    assert errors["misfit"] < 1e-6
    assert errors["kappa"] < 1e-5
    assert errors["alpha"] < 1e-5
    assert errors["source_l2"] < 0.02
    assert abs(errors["r50"]) < 0.02
    near = {"theta_E": mock.truth.theta_E, "macro_theta_E": mock.truth.macro_theta_E}
    for name, value in near.items():
        assert found.numbers[name][0] == pytest.approx(value, abs=1e-6)
    true, own, _ = found.numbers["phi"]
    assert own - true == pytest.approx(3.0, abs=1e-4)
    assert found.doubts == []


def test_errors_are_those_of_an_evaluation(mock: Mock, truth: Path) -> None:
    right = placed(mock)
    maps = {**right.image_maps}
    for name, factor in (("KAPPA", 1.1), ("ALPHA_X", 1.02), ("MODEL", 0.97)):
        maps[name] = factor * maps[name]
    source = {"SOURCE": np.roll(right.source_maps["SOURCE"], 1, axis=0)}
    product = replace(right, image_maps=maps, source_maps=source)
    found, wanted = compared(product, read_truth(truth)).maps, compare_maps(mock, maps_of(product))
    for name, rel in {"misfit": 1e-3, "alpha": 1e-3, "kappa": 0.03, "kappa_sheet": 0.03}.items():
        assert found[name] == pytest.approx(wanted[name], rel=rel), name
    for name in ("source_l2", "source_rmse", "source_sheet"):
        assert found[name] == pytest.approx(wanted[name], rel=0.1), name


def test_what_is_beyond_the_truth_is_not_compared(mock: Mock, truth: Path) -> None:
    """A frame of more than the image is filled with ignored pixels."""
    product, read, edge = placed(mock), read_truth(truth), 3
    smaller = {name: values[:, edge:] for name, values in read.maps.items()}
    # rays of a truth begin at its own middle
    half = edge * mock.observation.pixel_scale / 2
    smaller["ALPHA_X"] = smaller["ALPHA_X"] - half
    shifted = product.value("LENSX") - edge
    product = replace(product, header={**product.header, "LENSX": (shifted, "")})
    found = compared(product, replace(read, maps=smaller))
    assert found.maps["misfit"] < 1e-6
    assert found.maps["kappa"] < 1e-5
    assert found.maps["source_l2"] < 0.03
    assert not found.known.region[:, :edge].any()
    assert found.known.region[:, edge:].any()


def test_a_frame_that_is_a_pixel_off_is_seen(mock: Mock, truth: Path) -> None:
    right = placed(mock, corner=(2, 6), cut=8)
    off = replace(right, header={**right.header, "LENSX": (right.value("LENSX") + 1, "")})
    assert compared(right, read_truth(truth)).maps["misfit"] < 1e-6
    assert compared(off, read_truth(truth)).maps["misfit"] > 0.1


def test_numbers_are_those_of_the_mock(mock: Mock, truth: Path) -> None:
    _, numbers = known_to(read_truth(truth), placed(mock))
    assert (numbers["gamma1"], numbers["gamma2"]) == pytest.approx(true_shear(mock), abs=1e-5)
    flux = mock.truth.source.flux / mock.observation.pixel_scale**2
    assert numbers["flux"] == pytest.approx(flux, rel=1e-4)
    assert numbers["magnification"] == pytest.approx(mock.truth.magnification, rel=1e-6)


def test_flux_is_that_of_native_pixels(mock: Mock, truth: Path) -> None:
    read = read_truth(truth)
    bare = replace(read, numbers={})
    (_, fine), (_, coarse) = (known_to(bare, placed(mock, bin_=b)) for b in (1, 2))
    assert coarse["flux"] == pytest.approx(fine["flux"], rel=1e-6)


def test_a_truth_without_numbers_has_those_of_its_maps(mock: Mock, truth: Path) -> None:
    bare = replace(read_truth(truth), numbers={})
    found = compared(placed(mock), bare)
    assert found.numbers["theta_E"][0] == pytest.approx(mock.truth.theta_E, rel=1e-5)
    assert "macro_theta_E" not in found.numbers
    assert "slope" not in found.numbers


def test_lines_say_by_how_many_errors_a_number_is_off(mock: Mock, truth: Path) -> None:
    product = placed(mock)
    header = {**product.header, "THETAE": (mock.truth.theta_E + 0.025, "")}
    lines = lines_of(compared(replace(product, header=header), read_truth(truth)))
    line = next(line for line in lines if line.strip().startswith("θ_E"))
    assert "+2.5 sigma" in line
    assert f"{mock.truth.theta_E:.4f}" in line or f"{mock.truth.theta_E:.3f}" in line
    assert any("misfit D 0.000" in line for line in lines)
    assert not any("within errors" in line for line in lines)  # none is stated of a map


def test_stated_errors_of_maps_are_told_and_drawn(mock: Mock, truth: Path) -> None:
    product = placed(mock)
    maps, source = product.image_maps, product.source_maps["SOURCE"]
    stated = replace(
        product,
        image_maps={**maps, "KAPPA": maps["KAPPA"] * 1.02, "KAPPA_STD": 0.01 * maps["KAPPA"]},
        source_maps={"SOURCE": source, "SOURCE_STD": np.full(source.shape, 0.1 * source.max())},
    )
    found = compared(stated, read_truth(truth))
    assert found.covered == {"kappa": 0.0, "source": 1.0, "bright": 1.0}
    labels = [ax.get_ylabel() for ax in picture(found).axes] + [
        child.get_ylabel() for ax in picture(found).axes for child in ax.child_axes
    ]
    assert labels.count("(answer − truth) / stated error") == 2
    assert labels.count("(answer − truth) / noise") == 1
    plain = picture(compared(product, read_truth(truth)))
    labels = [child.get_ylabel() for ax in plain.axes for child in ax.child_axes]
    assert "(answer − truth) / truth [%]" in labels


def changed(truth: Path, path: Path, change: Callable[[fits.HDUList], object]) -> Path:
    with fits.open(truth) as hdus:
        change(hdus)
        hdus.writeto(path, checksum=False)
    return path


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda hdus: hdus.pop(1), "must hold HDU ARCS"),
        (lambda hdus: hdus["SOURCE"].header.remove("PIXSCALE"), "PIXSCALE"),
        (lambda hdus: hdus["SOURCE"].header.set("PIXSCALE", -1.0), "PIXSCALE"),
        (lambda hdus: hdus["KAPPA"].data.__setitem__((0, 0), np.nan), r"\[KAPPA\].*finite"),
        (lambda hdus: hdus["SOURCE"].data.fill(0.0), r"\[SOURCE\].*must be positive"),
        (lambda hdus: hdus["KAPPA"].data.fill(0.0), r"\[KAPPA\].*must be positive"),
        (lambda hdus: hdus[0].header.set("MAGTOT", 0.0), "MAGTOT of a truth must be a positive"),
        (lambda hdus: hdus[0].header.set("PHI", "east"), "PHI of a truth must be a number"),
        (lambda hdus: setattr(hdus["KAPPA"], "data", hdus["KAPPA"].data[1:]), "one shape"),
    ],
)
def test_a_truth_that_lacks_something_is_refused(
    truth: Path, tmp_path: Path, change: Callable[[fits.HDUList], object], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        read_truth(changed(truth, tmp_path / "bad.fits", change))


def test_what_does_not_belong_together_is_refused(mock: Mock, truth: Path) -> None:
    read, product = read_truth(truth), placed(mock)
    far = replace(product, header={**product.header, "LENSX": (500.0, "")})
    with pytest.raises(InputError, match="must exceed the product's noise"):
        compared(far, read)
    faint = {**read.maps, "ARCS": read.maps["ARCS"] * 1e-9}
    with pytest.raises(InputError, match="must exceed the product's noise"):
        compared(product, replace(read, maps=faint))
    thin = {**read.maps, "KAPPA": read.maps["KAPPA"] * 1e-3}
    with pytest.raises(InputError, match="circle of mean convergence 1"):
        compared(product, replace(read, maps=thin, numbers={}))
    bare = {name: v for name, v in product.image_maps.items() if name != "KAPPA"}
    with pytest.raises(InputError, match="finite map KAPPA to be compared, found none"):
        compared(replace(product, image_maps=bare), read)
    spoilt = np.where(product.image_maps["KAPPA"] > 1, np.nan, product.image_maps["KAPPA"])
    with pytest.raises(InputError, match="KAPPA to be compared, found pixels that are no numbers"):
        compared(replace(product, image_maps={**product.image_maps, "KAPPA": spoilt}), read)
    with pytest.raises(InputError, match="BIN of a product must be a whole number"):
        compared(replace(product, header={**product.header, "BIN": ("two", "")}), read)
    lost = {key: card for key, card in product.header.items() if key != "LENSX"}
    with pytest.raises(InputError, match="must say where its frame is"):
        compared(replace(product, header=lost), read)


@pytest.mark.parametrize(
    ("name", "factor", "message"),
    [
        ("ARCS", 3.0, "far from the true arcs"),
        ("ALPHA_X", 20.0, "times the light of its arcs"),
        ("SOURCE", 0.01, "0.01.* times the light of its arcs"),
    ],
)
def test_another_truth_or_other_units_are_doubted(
    mock: Mock, truth: Path, name: str, factor: float, message: str
) -> None:
    read, product = read_truth(truth), placed(mock)
    assert not any("note:" in line for line in lines_of(compared(product, read)))
    if name == "SOURCE":
        wrong = replace(read, source=factor * read.source)
    else:
        wrong = replace(read, maps={**read.maps, name: factor * read.maps[name]})
    lines = lines_of(compared(product, wrong))
    assert any(re.search(message, line) for line in lines if "note:" in line)


@pytest.mark.parametrize("shape", [(40, 56), (56, 32)])
def test_frames_that_are_not_square(tmp_path: Path, shape: tuple[int, int]) -> None:
    mock = make_mock(3, shape=shape)
    write_mock(mock, tmp_path / "lens.fits", seed=3, zero_point=25.0)
    product = placed(mock, corner=(2, 4), cut=8, bin_=2)
    found = compared(product, read_truth(tmp_path / "lens_truth.fits"))
    assert found.maps["misfit"] < 1e-6
    assert found.maps["source_l2"] < 0.04
    height, width = (picture(found).get_size_inches()[i] for i in (1, 0))
    assert (height > width) == (shape[0] > shape[1])


def test_small_and_large_fluxes_are_told(mock: Mock, truth: Path) -> None:
    product, read = placed(mock), read_truth(truth)
    for unit in (1e-12, 1e9):
        told = {"FLUXSRC": (2.5 * unit, ""), "FLUXSRCE": (0.5 * unit, "")}
        faint = replace(product, header={**product.header, **told}, unit="Jy")
        line = next(line for line in lines_of(compared(faint, read)) if "source flux" in line)
        assert f"{2.5 * unit:.3e}" in line
        assert "Jy" in line


def test_nothing_that_is_read_is_replaced(
    mock: Mock, truth: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_product(placed(mock), tmp_path)
    product = next(tmp_path.glob("*_lensrim.fits"))
    product.with_suffix(".png").write_bytes(b"its picture")
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    words = ["compare", str(product), str(truth), "--overwrite"]
    for more in (
        ["-o", str(product.with_suffix(".json"))],
        ["--figure", str(product.with_suffix(".png"))],
    ):
        assert main([*words, *more]) == 2
        assert "must not be a file of the product or the truth" in capsys.readouterr().err
    folder = tmp_path / "folder.json"
    folder.mkdir()
    assert main([*words, "-o", str(folder)]) == 2
    assert "does not replace what exists" in capsys.readouterr().err
    assert {path: path.read_bytes() for path in before} == before
    assert folder.is_dir()


def test_the_command_prints_and_writes(
    mock: Mock, truth: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_product(placed(mock), tmp_path)
    product = str(next(tmp_path.glob("*_lensrim.fits")))
    outputs = [tmp_path / "made.json", tmp_path / "made.png"]
    words = ["compare", product, str(truth), "-o", str(outputs[0]), "--figure", str(outputs[1])]
    assert main(words) == 0
    told = json.loads(outputs[0].read_text())
    assert told["maps"]["misfit"] < 1e-6
    assert told["numbers"]["theta_E"]["error"] == pytest.approx(0.01)
    assert all(file.stat().st_size > 0 for file in outputs)
    out = capsys.readouterr().out
    assert "off by" in out
    assert str(outputs[1]) in out
    before = outputs[0].read_bytes()
    assert main(words) == 2
    assert "does not replace what exists unasked" in capsys.readouterr().err
    assert main([*words, "--overwrite"]) == 0
    assert outputs[0].read_bytes() == before
    for ending in (".svg", ".pdf"):  # equal calls give equal files
        twice = [tmp_path / f"{k}{ending}" for k in range(2)]
        for file in twice:
            assert main(["compare", product, str(truth), "--figure", str(file)]) == 0
        assert twice[0].read_bytes() == twice[1].read_bytes()
    capsys.readouterr()
    assert main(["compare", product, str(truth), "-o", "made.txt"]) == 2
    assert "--output: must end in .json" in capsys.readouterr().err
    assert main(["compare", str(truth), str(truth)]) == 2
    assert "a product must hold HDU" in capsys.readouterr().err
