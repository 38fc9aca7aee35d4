"""The columns of a survey's table: what of a product they hold, in which unit.

They are numbers of the products' primary headers, under names that a person reads; what a product
does not state is empty. An error is half of the central interval of 68.27 per cent; that of 95 per
cent is ``err_95`` times as wide. ``flags`` sums powers of two, so that ``flags == 0`` is a lens of
which nothing is doubted.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from ..io.product import Product
from .lenses import Lens

Kind = Literal["text", "real", "integer"]


@dataclass(frozen=True)
class Column:
    """Creates the description of a column.

    Arguments:
        name: Its name.
        description: What it holds.
        unit: Unit, as astropy and FITS write it.
        kind: What its values are.
        keyword: Keyword of the product that it holds; empty where it is not of the header.
    """

    name: str
    description: str
    unit: str = ""
    kind: Kind = "real"
    keyword: str = ""


DONE, FAILED = "done", "failed"
ON_THE_CPU = "done on the CPU"
"""How the note begins of a lens for which the GPU had too little memory."""

COLUMNS = (
    Column("name", "stem of the product's files", kind="text"),
    Column("path", "observation", kind="text"),
    Column("status", "done or failed", kind="text"),
    Column("reason", "why it failed", kind="text"),
    Column("quality", "good, doubtful or failed", kind="text", keyword="QUALITY"),
    Column("reasons", "codes of what is doubted, or none", kind="text", keyword="QREASONS"),
    Column("score", "share of such mocks with theta_e off by > 10 %", keyword="QSCORE"),
    Column("flags", "sum of what is doubted or was noticed, 0 for nothing", kind="integer"),
    Column("ra", "right ascension of the macro-model's centre", "deg", keyword="LENSRA"),
    Column("dec", "declination of the macro-model's centre", "deg", keyword="LENSDEC"),
    Column("theta_e", "radius of the circle of mean kappa 1", "arcsec", keyword="THETAE"),
    Column("theta_e_err", "its error", "arcsec", keyword="THETAEER"),
    Column(
        "macro_theta_e",
        "Einstein radius of the macro-model, intermediate axis",
        "arcsec",
        keyword="MACROTE",
    ),
    Column("macro_theta_e_err", "its error", "arcsec", keyword="MACROTER"),
    Column("published_theta_e", "Einstein radius that others have found", "arcsec"),
    Column("theta_e_change", "macro_theta_e over the published one, less 1"),
    Column("macro_q", "axis ratio of the macro-model", keyword="MACROQ"),
    Column("macro_q_err", "its error", keyword="MACROQER"),
    Column("macro_phi", "its major axis from +x, counter-clockwise", "deg", keyword="MACROPHI"),
    Column("macro_phi_err", "its error", "deg", keyword="MACROPHE"),
    Column("macro_pa", "its major axis east of north", "deg", keyword="MACROPA"),
    Column("macro_slope", "its 3-D slope", keyword="MACROSL"),
    Column("macro_gamma1", "its external shear", keyword="MACROG1"),
    Column("macro_gamma1_err", "its error", keyword="MACROG1E"),
    Column("macro_gamma2", "its external shear", keyword="MACROG2"),
    Column("macro_gamma2_err", "its error", keyword="MACROG2E"),
    Column("shear_pa", "its external shear east of north", "deg", keyword="SHEARPA"),
    Column("slope", "3-D slope of the mass, with its mass sheet", keyword="SLOPE"),
    Column("slope_err", "its error", keyword="SLOPEERR"),
    Column("mass_sheet", "kappa of the mass sheet", keyword="SHEET"),
    Column("mass_sheet_std", "std of ln(1 - mass_sheet), given macro_slope", keyword="SHEETSTD"),
    Column("gamma1", "external shear that goes with the map", keyword="GAMMA1"),
    Column("gamma1_err", "its error", keyword="GAMMA1ER"),
    Column("gamma2", "external shear that goes with the map", keyword="GAMMA2"),
    Column("gamma2_err", "its error", keyword="GAMMA2ER"),
    Column("chi2", "chi2 per used pixel of the frame", keyword="CHI2NU"),
    Column("chi2_arc", "chi2 per pixel of the arcs", keyword="CHI2ARC"),
    Column("n_arc", "pixels of the arcs", kind="integer", keyword="NARC"),
    Column("p_eff", "effective number of linear parameters", keyword="PEFF"),
    Column("sky_noise", "noise of the sky over the stated one", keyword="SKYNOISE"),
    Column("sky_growth", "noise over a PSF over that of white noise", keyword="SKYGROW"),
    Column("n_neighbour", "pixels masked as neighbours", kind="integer", keyword="NNEIGH"),
    Column("magnification", "lensed over source flux, where detected", keyword="MAGTOT"),
    Column("magnification_err", "its error", keyword="MAGTOTER"),
    Column("source_flux", "flux of the source, data unit of a native pixel", keyword="FLUXSRC"),
    Column("source_flux_err", "its error", keyword="FLUXSRCE"),
    Column("mag_lensed", "magnitude of the arcs", "mag", keyword="MAGLENS"),
    Column("mag_source", "magnitude of the source", "mag", keyword="MAGSRC"),
    Column("mag_source_err", "its error", "mag", keyword="MAGSRCER"),
    Column("err_95", "half of an interval of 95 per cent over an error", keyword="ERR95"),
    Column("z_lens", "redshift of the lens, as given", keyword="ZLENS"),
    Column("z_source", "redshift of the source, as given", keyword="ZSOURCE"),
    Column("sigma_cr", "critical surface density", "solMass / arcsec2", keyword="SIGMACR"),
    Column("m_einstein", "mass within theta_e", "solMass", keyword="MEINST"),
    Column("m_einstein_err", "its error", "solMass", keyword="MEINSTER"),
    Column("theta_e_kpc", "theta_e at the lens", "kpc", keyword="THETAKPC"),
    Column("theta_e_kpc_err", "its error", "kpc", keyword="THETAKPE"),
    Column("pixel_scale", "side of a pixel as fitted", "arcsec"),
    Column("n_x", "columns of the frame", kind="integer"),
    Column("n_y", "rows of the frame", kind="integer"),
    Column("bin", "native pixels along a pixel", kind="integer", keyword="BIN"),
    Column("noise_kind", "kind of noise that was read", kind="text", keyword="NOISKIND"),
    Column("noise_factor", "factor on the noise that was read", keyword="NOISFACT"),
    Column("psf_kind", "whether the PSF holds the pixel", kind="text", keyword="PSFKIND"),
    Column("stage", "last stage of the chain", kind="text", keyword="STAGE"),
    Column("model", "model that gave the answer", kind="text", keyword="MODEL"),
    Column("model_sha", "sha256 of its weights", kind="text", keyword="MODELSHA"),
    Column("version", "version of lensrim", kind="text", keyword="VERSION"),
    Column("seconds", "wall time, less reading and writing", "s", keyword="SECONDS"),
)


def _said(text: str) -> Callable[[Lens, Product], bool]:
    return lambda lens, product: any(line.startswith(text) for line in product.history)


def _doubted(code: str) -> Callable[[Lens, Product], bool]:
    return lambda lens, product: code in str(product.value("QREASONS") or "").split()


FLAGS: Mapping[str, Callable[[Lens, Product], bool]] = {
    "shear above 0.3": _doubted("SHEAR"),
    "axis ratio below 0.3": _doubted("FLAT"),
    "mass off the light": _doubted("CENTRE"),
    "Einstein radius at the end of its range": _doubted("BOUND"),
    "no circle of mean convergence 1": _doubted("NORING"),
    "searched twice": _said("searched twice"),
    "machine not used": _doubted("RANGE"),
    "neighbours masked": lambda lens, product: (product.value("NNEIGH") or 0) > 0,
    "done on the CPU for want of memory": _said(ON_THE_CPU),
    "light and arcs not settled": _said("lens light and arcs were fitted in turn"),
    "arcs fitted badly": _doubted("CHI2"),
    "pattern in the residual": _doubted("PATTERN"),
    "peak in the residual": _doubted("PEAK"),
    "another Einstein radius as good": _doubted("RIVAL"),
    "arcs seen once only": _doubted("SINGLE"),
    "arcs too faint": _doubted("FAINT"),
    "source as large as the lens": _doubted("LARGE"),
    "source a ring": _doubted("HOLLOW"),
    "light at the border of the source": _doubted("BORDER"),
    "probably wrong": _doubted("SCORE"),
    "as many parameters as pixels": _doubted("FREE"),
}
"""What the bits of ``flags`` mean, from 1 upwards, and when they are set."""


def values_of(lens: Lens, product: Product) -> dict[str, Any]:
    """Returns the values of a lens by the names of the columns, as JSON holds them."""
    values = {c.name: product.value(c.keyword) for c in COLUMNS if c.keyword}
    values |= {"name": lens.name, "path": lens.path, "status": DONE, "reason": ""}
    set_ = [seen(lens, product) for seen in FLAGS.values()]
    values["flags"] = sum(1 << bit for bit, is_set in enumerate(set_) if is_set)
    rows, columns = product.image_grid.shape
    values |= {"n_x": columns, "n_y": rows, "pixel_scale": product.image_grid.spacing}
    return values
