"""``lensrim compare``: products beside the truth in a file, whole, cut out and binned."""

import json
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
from lensrim.evaluation.mass import true_shear
from lensrim.evaluation.mock_files import write_mock
from lensrim.evaluation.mocks import Mock
from lensrim.evaluation.truth_file import known_to, read_truth
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
        assert found.numbers[name]["truth"] == pytest.approx(value, abs=1e-6)
        assert found.numbers[name]["found"] == pytest.approx(value)
    phi = found.numbers["phi"]
    assert phi["found"] - phi["truth"] == pytest.approx(3.0, abs=1e-4)


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
    (_, fine), (_, coarse) = (known_to(read, placed(mock, bin_=b)) for b in (1, 2))
    assert coarse["flux"] == pytest.approx(fine["flux"])
    bare = replace(read, numbers={})
    (_, fine), (_, coarse) = (known_to(bare, placed(mock, bin_=b)) for b in (1, 2))
    assert coarse["flux"] == pytest.approx(fine["flux"], rel=1e-6)


def test_a_truth_without_numbers_has_those_of_its_maps(mock: Mock, truth: Path) -> None:
    bare = replace(read_truth(truth), numbers={})
    found = compared(placed(mock), bare)
    assert found.numbers["theta_E"]["truth"] == pytest.approx(mock.truth.theta_E, rel=1e-5)
    assert "macro_theta_E" not in found.numbers
    assert "slope" not in found.numbers


def test_lines_say_by_how_many_errors_a_number_is_off(mock: Mock, truth: Path) -> None:
    product = placed(mock)
    header = {**product.header, "THETAE": (mock.truth.theta_E + 0.025, "")}
    lines = lines_of(compared(replace(product, header=header), read_truth(truth)))
    line = next(line for line in lines if line.strip().startswith("θ_E"))
    assert "+2.5 errors" in line
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
    small_map = {name: values[:20, :20] for name, values in read.maps.items()}
    with pytest.raises(InputError, match="must cover the product's frame"):
        compared(product, replace(read, maps=small_map))
    faint = {**read.maps, "ARCS": read.maps["ARCS"] * 1e-9}
    with pytest.raises(InputError, match="must exceed the product's noise"):
        compared(product, replace(read, maps=faint))
    thin = {**read.maps, "KAPPA": read.maps["KAPPA"] * 1e-3}
    with pytest.raises(InputError, match="mean convergence 1"):
        compared(product, replace(read, maps=thin, numbers={}))
    lost = {key: card for key, card in product.header.items() if key != "LENSX"}
    with pytest.raises(InputError, match="must say where its frame is"):
        compared(replace(product, header=lost), read)


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
    assert "not replaced unasked" in capsys.readouterr().err
    assert main([*words, "--overwrite"]) == 0
    assert outputs[0].read_bytes() == before
    assert main(["compare", product, str(truth), "-o", "made.txt"]) == 2
    assert "--output: must end in .json" in capsys.readouterr().err
    assert main(["compare", str(truth), str(truth)]) == 2
    assert "a product must hold HDU" in capsys.readouterr().err
