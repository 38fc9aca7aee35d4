"""The picture: what it shows, for every kind of input, without a display or global state."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from astropy.wcs import WCS
from matplotlib.figure import Figure

from lensrim.grid import PixelGrid
from lensrim.io.product import Product
from lensrim.plotting import (
    contact_sheet,
    plot_coverage,
    plot_history,
    plot_product,
    survey_sheet,
)
from lensrim.plotting.coverage import Curve
from lensrim.plotting.galaxies import galaxy_sheet
from lensrim.plotting.marks import arcsinh_norm, round_ticks
from lensrim.plotting.thumbnails import PANELS, thumbnails


def celestial() -> WCS:
    wcs = WCS(naxis=2)
    wcs.wcs.ctype = ["RA---TAN", "DEC--TAN"]
    wcs.wcs.crval, wcs.wcs.crpix = [150.0, 2.0], [8.0, 6.5]
    wcs.wcs.cd = 0.1 / 3600 * np.array([[0.6, 0.8], [0.8, -0.6]])
    wcs.wcs.set()
    return wcs


def make_product(shape: tuple[int, int] = (20, 20), *, scale: float = 1.0) -> Product:
    """An isothermal sphere's ring, with a neighbour and a bad row."""
    grid, source_grid = PixelGrid(shape, 0.15), PixelGrid((16, 16), 0.05, (0.1, 0.0))
    x, y = (c.numpy() for c in grid.coordinates())
    radius = np.hypot(x, y)
    arcs = 20 * scale * np.exp(-((radius - 1) ** 2) / 0.05)
    noise = np.random.default_rng(0).normal(size=shape)
    mask = np.ones(shape, dtype=bool)
    mask[0] = False
    neighbours = np.hypot(x - 1, y - 1) < 0.3
    data = arcs + scale * noise
    data[0] = np.nan
    angle = np.linspace(0, 2 * np.pi, 50)
    ring = np.stack([np.cos(angle), np.sin(angle)], axis=-1)
    zeros = np.zeros(shape)
    return Product(
        name="a lens with $",
        header={
            "THETAE": (1.0, ""),
            "CHI2NU": (0.97, ""),
            "CHI2ARC": (1.02, ""),
            "NARC": (50, ""),
            "PEFF": (38.0, ""),
            "CHI2EXP": (0.91, ""),
            "MACROG1": (0.03, ""),
            "MACROG2": (0.04, ""),
            "MAGTOT": (float("nan"), ""),
            "QUALITY": ("good", ""),
        },
        image_maps={
            "DATA": data,
            "SIGMA": np.full(shape, scale),
            "MASK": mask & ~neighbours,
            "LENS_LIGHT": zeros,
            "SKY": zeros,
            "MODEL": arcs,
            "RESIDUAL": noise,
            "KAPPA": 0.5 / np.maximum(radius, 0.1),
        },
        source_maps={"SOURCE": np.eye(16) * scale},
        psf=np.ones((1, 1)),
        image_grid=grid,
        source_grid=source_grid,
        wcs=celestial(),
        unit="electron/s",
        critical_curves=(ring,),
        caustics=(0.1 * ring,),
        neighbours=neighbours,
    )


def texts(figure: Figure) -> str:
    axes = [t for ax in figure.axes for t in ax.texts]
    return "\n".join(t.get_text() for t in [*figure.texts, *axes])


def test_panels_headline_and_marks() -> None:
    figure = plot_product(make_product())
    titles = [ax.get_title(loc="left") for ax in figure.axes]
    assert titles == [
        "Data",
        "Data − lens light − sky",
        "Model of the arcs",
        "Residual",
        "Source",
        "Convergence",
    ]
    words = texts(figure)
    assert "a lens with $" in words
    assert "0.97 in the frame (expected 0.91)" in words
    assert "1.02 on the arc (50 pixels)" in words
    assert "0.050" in words
    assert "quality: good" in words
    assert "magnification" not in words
    assert {"N", "E"} <= set(words.splitlines())
    residual = figure.axes[3].images[0]
    assert residual.get_clim() == (-4, 4)
    assert np.ma.getmaskarray(residual.get_array())[0].all()
    legend = figure.axes[0].get_legend()
    assert legend is not None
    assert [t.get_text() for t in legend.get_texts()] == ["ignored", "neighbours"]


@pytest.mark.parametrize(
    ("model", "stage", "said"),
    [
        ("macro", "macro", "macro-model"),
        ("macro", "descent", "macro-model, stage descent"),
        ("mine", "rim", "machine mine, stage rim"),
    ],
)
def test_the_headline_tells_error_and_model(model: str, stage: str, said: str) -> None:
    product = make_product()
    given = {"THETAEER": (0.0123, ""), "MODEL": (model, ""), "STAGE": (stage, "")}
    words = texts(plot_product(replace(product, header={**product.header, **given})))
    assert "= 1.000 ± 0.012″" in words and said in words.splitlines()
    given["THETAEER"] = (0.00042, "")
    words = texts(plot_product(replace(product, header={**product.header, **given})))
    assert "= 1.00000 ± 0.00042″" in words


@pytest.mark.parametrize("shape", [(20, 20), (30, 24), (20, 40), (40, 20), (60, 20)])
def test_legends_cover_neither_titles_nor_maps_that_are_wide(shape: tuple[int, int]) -> None:
    figure = plot_product(make_product(shape))
    figure.canvas.draw()
    legends = [(ax, found) for ax in figure.axes if (found := ax.get_legend())]
    assert len(legends) == 3
    for ax, legend in legends:
        box = legend.get_window_extent()
        assert not box.overlaps(ax._left_title.get_window_extent())  # pyright: ignore
        assert (box.y0 >= ax.get_window_extent().y1) == (shape[0] < 1.3 * shape[1])


def test_a_long_headline_has_a_line_of_its_own() -> None:
    product = make_product()
    given = {
        "THETAEER": (0.0123, ""),
        "MAGTOT": (12.3, ""),
        "MODEL": ("a_machine_for_my_own_instrument", ""),
        "STAGE": ("descent", ""),
    }
    figure = plot_product(replace(product, header={**product.header, **given}))
    figure.canvas.draw()
    boxes = [text.get_window_extent() for text in figure.texts]
    for k, box in enumerate(boxes):
        assert not any(box.overlaps(other) for other in boxes[k + 1 :])
        assert box.x1 <= figure.bbox.x1 and box.y1 <= figure.bbox.y1


def test_arcs_and_model_share_one_scale() -> None:
    axes = plot_product(make_product()).axes
    assert axes[1].images[0].norm is axes[2].images[0].norm


@pytest.mark.parametrize("shape", [(20, 20), (15, 31), (33, 14)])
@pytest.mark.parametrize("scale", [1.0, 1e-20, 1e6])
def test_every_shape_and_unit_renders(shape: tuple[int, int], scale: float) -> None:
    figure = plot_product(make_product(shape, scale=scale))
    figure.set_dpi(30)
    # warnings are errors: missing glyphs, ticks outside the bar, ...
    figure.canvas.draw()
    assert figure.get_figwidth() == 16


def test_a_bare_product_renders() -> None:
    product = make_product()
    empty = replace(
        product,
        header={},
        wcs=None,
        unit=None,
        critical_curves=(),
        caustics=(),
        neighbours=None,
        source_maps={"SOURCE": np.zeros((16, 16))},
        image_maps={**product.image_maps, "KAPPA": np.zeros((20, 20))},
    )
    figure = plot_product(empty)
    figure.set_dpi(30)
    figure.canvas.draw()
    assert "N" not in texts(figure).splitlines()


def test_a_source_that_is_nowhere_bright_renders() -> None:
    product = make_product()
    source = -np.abs(product.source_maps["SOURCE"]) - 0.1
    maps = {"SOURCE": source, "SOURCE_STD": np.ones_like(source)}
    figure = plot_product(replace(product, source_maps=maps))
    figure.set_dpi(30)
    figure.canvas.draw()


def test_the_figure_belongs_to_no_window() -> None:
    assert plot_product(make_product()).canvas.manager is None


@pytest.mark.parametrize(("width", "high"), [(1.0, 100.0), (1e-20, 3e-18), (2.0, 3.0), (1.0, 1e6)])
def test_ticks_are_round_and_apart(width: float, high: float) -> None:
    norm = arcsinh_norm(np.array([0.0]), width, low=-width, high=high)
    ticks = round_ticks(norm)
    assert 3 <= len(ticks) <= 12
    assert 0.0 in ticks
    assert np.diff(norm(ticks)).min() > 0.08


@pytest.mark.parametrize("width", [0.0, 1e-305])
def test_a_stretch_of_nothing_overflows_nowhere(width: float) -> None:
    norm = arcsinh_norm(np.zeros(3), width, low=-width)
    assert np.isfinite(np.asarray(norm([-1.0, 0.0, 1.0]))).all()


def test_the_stretch_is_linear_in_the_noise() -> None:
    norm = arcsinh_norm(np.array([1.0]), 2.0, zero=10.0, low=6.0, high=1000.0)
    small = np.asarray(norm([9.9, 10.0, 10.1]))
    assert np.diff(small)[0] == pytest.approx(np.diff(small)[1], rel=1e-3)
    np.testing.assert_allclose(norm.inverse(norm([7.0, 50.0])), [7.0, 50.0])


def test_a_contact_sheet_has_a_place_for_each() -> None:
    rng = np.random.default_rng(0)
    images = [rng.normal(size=(12, 9)) for _ in range(7)]
    images[2][3, 4] = np.nan
    figure = contact_sheet(images, [f"lens {k}" for k in range(7)], heading="seven")
    assert [ax.get_title() for ax in figure.axes] == [f"lens {k}" for k in range(7)]
    assert figure.texts[0].get_text() == "seven"
    shown = figure.axes[2].images[0].get_array()
    assert np.ma.getmaskarray(shown).sum() == 1
    boxes = [ax.get_position() for ax in figure.axes]
    assert len({round(box.y0, 3) for box in boxes}) == 3
    assert all(0 <= box.x0 < box.x1 <= 1 and 0 <= box.y0 < box.y1 <= 1 for box in boxes)
    figure.canvas.draw()


def test_names_of_files_are_no_formulas() -> None:
    names, picture = ["A$12_$B", r"a$\frac$"], np.zeros((4, 24, 3))
    lines = [history_line(step) for step in range(1, 4)]
    for figure in (
        contact_sheet([np.eye(3)] * 2, names, heading=names[0]),
        survey_sheet([picture] * 2, names, ["good", "failed"]),
        plot_history(lines, title=names[0]),
        galaxy_sheet([(np.eye(9), np.eye(9))] * 2, names, verdicts=["good"] * 2, noises=[0.1] * 2),
    ):
        figure.set_dpi(30)
        figure.canvas.draw()


@pytest.mark.parametrize("titles", [[], ["one", "two"]])
def test_a_contact_sheet_needs_a_title_for_each(titles: list[str]) -> None:
    with pytest.raises(ValueError, match="needs images and as many titles"):
        contact_sheet([np.zeros((3, 3))][: len(titles)], titles)


def history_line(step: int, **values: float | None) -> dict[str, Any]:
    line = {"loss": 2.0 / step, "validation_loss": 3.0 / step, "gradient_norm": 1.0}
    times = {"seconds": 60.0 * step, "waited": 0.25, "skipped": 1, "learning_rate": 1e-3}
    return {"step": step, **line, **times, **values}


def test_a_history_is_drawn() -> None:
    lines = [history_line(step) for step in range(1, 31)]
    lines[10] = history_line(11, loss=None, validation_loss=0.05)
    figure = plot_history(lines, title="first")
    above, below, rate = figure.axes
    trained, validated, best = above.lines
    assert np.isnan(trained.get_ydata()[10]) and validated.get_ydata()[29] == 0.1
    assert best.get_xydata().tolist() == [[11, 0.05]]
    assert above.get_title("left") == "first"
    assert above.get_title("right") == "30.0 min, waited 25 %, 30 steps skipped"
    assert above.get_ylim()[1] < 1  # the first losses do not press the others flat
    assert below.get_yscale() == "log" and rate.get_ylim()[0] == 0
    figure.canvas.draw()


@pytest.mark.parametrize(
    "lines",
    [
        [],
        [history_line(3)],
        [history_line(3, loss=None, validation_loss=None, gradient_norm=None)],
        [history_line(3, validation_loss=None), history_line(6, validation_loss=None)],
        [history_line(3, seconds=0.0, gradient_norm=0.0)],
    ],
)
def test_a_history_of_little_is_drawn(lines: list[dict[str, Any]]) -> None:
    plot_history(lines).canvas.draw()


def test_coverage_has_a_panel_for_each_quantity():
    levels = [0.25, 0.5, 0.75]
    curves = {
        name: {"before": Curve(levels, [0.1, 0.2, 0.3], 50), "after": Curve(levels, levels, 50)}
        for name in ("slope", "q", "flux")
    }
    figure = plot_coverage(curves, columns=2)
    assert [ax.get_title(loc="left") for ax in figure.axes] == [
        "slope (50)",
        "q (50)",
        "flux (50)",
    ]
    for ax in figure.axes:
        shares = {line.get_label(): line.get_ydata() for line in ax.lines}
        np.testing.assert_allclose(shares["before"], [0, 0.1, 0.2, 0.3])
        np.testing.assert_allclose(shares["after"], [0, *levels])
        band = ax.collections[0].get_paths()[0].vertices
        assert band[:, 1].min() >= 0
        assert band[:, 1].max() <= 1
    with pytest.raises(ValueError, match="curves must hold a quantity or more"):
        plot_coverage({})


def test_thumbnails_show_the_arcs_without_the_lens() -> None:
    product = make_product()
    x, y = (c.numpy() for c in product.image_grid.coordinates())
    light = 300 * np.exp(-np.hypot(x, y))
    maps = {**product.image_maps, "DATA": product.image_maps["DATA"] + light}
    brighter = replace(product, image_maps={**maps, "LENS_LIGHT": light})
    side, (plain, lit) = 40, (thumbnails(p, side=40) for p in (product, brighter))
    assert plain.shape == (side, len(PANELS) * side, 3)
    panels = {
        name: (slice(None), slice(k * side, (k + 1) * side)) for k, name in enumerate(PANELS)
    }
    for name in ("arcs", "model", "source", "kappa"):
        np.testing.assert_array_equal(plain[panels[name]], lit[panels[name]])
    assert (plain[panels["data"]] != lit[panels["data"]]).any()
    ring = plain[panels["model"]].sum(-1)
    assert ring.max() > 2 * np.median(ring)
    assert len(np.unique(plain[panels["arcs"]][-1])) == 1  # row 0, which is not used, is below
