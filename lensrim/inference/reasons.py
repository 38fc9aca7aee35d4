"""Why an answer is doubted: each reason with its code, its sentence, and the symptom behind it.

A reason either fails an answer, or makes it doubtful. The bounds are those of what lenses are
(shear, axis ratio, centre), of what an image can tell (arcs on one side, faint arcs), and, for the
residual and the source, what right answers on validation mocks hardly ever exceed
(``python -m lensrim.evaluation.doubt``).
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from .symptoms import Symptoms

Grade = Literal["failed", "doubtful"]


@dataclass(frozen=True)
class Reason:
    """Creates a reason.

    Arguments:
        code: A word for headers and tables.
        sentence: What a person reads.
        is_so: Whether an answer with these symptoms has it.
        grade: What it makes of the answer.
    """

    code: str
    sentence: str
    is_so: Callable[[Symptoms], bool]
    grade: Grade = "doubtful"


REASONS = (
    Reason(
        "NORING",
        "no circle in the frame has a mean convergence of 1",
        lambda s: not s.ring,
        "failed",
    ),
    Reason(
        "BOUND",
        "the Einstein radius is at an end of the range that was searched: 2.5 pixels or the PSF's"
        " width, or 0.45 of the frame's shorter side (--size)",
        lambda s: s.edge < 0.02,
        "failed",
    ),
    Reason("SHEAR", "the shear is above 0.3", lambda s: s.shear > 0.3),
    Reason("FLAT", "the axis ratio is below 0.3", lambda s: s.flatness > 0.54),
    Reason(
        "CENTRE",
        "the centre of mass is more than 4 standard deviations from its prior",
        lambda s: s.offset > 4,
    ),
    Reason(
        "CHI2",
        "the arcs are fitted worse than their noise allows",
        lambda s: s.chi2 > 1.35 * s.expected and s.excess > 5,
    ),
    Reason(
        "PATTERN",
        "the residuals of neighbouring pixels on the arcs are alike",
        lambda s: s.correlation > 0.12,
    ),
    Reason("PEAK", "a residual stands out on the arcs", lambda s: s.peak > 7),
    Reason(
        "RIVAL",
        "another Einstein radius fits nearly as well",
        lambda s: s.rival < 10,
    ),
    Reason(
        "SINGLE",
        "most of the arcs are seen once only: no second image bounds the mass",
        lambda s: s.multiple < 0.5,
    ),
    Reason(
        "FAINT",
        "the arcs are too faint to tell the mass",
        lambda s: s.signal < 20,
    ),
    Reason(
        "LARGE",
        "the source is as large as the lens",
        lambda s: s.size > 0.7,
    ),
    Reason("HOLLOW", "the source is a ring itself", lambda s: s.hollow > 0.7),
    Reason(
        "FREE",
        "the source has more than half as many parameters as the arcs have pixels: these are few,"
        " or point images, as of a quasar, which are not fitted here",
        lambda s: s.share > 0.5,
    ),
    Reason("BORDER", "there is light at the border of the source map", lambda s: s.border > 0.2),
)
"""All reasons, the gravest first."""
