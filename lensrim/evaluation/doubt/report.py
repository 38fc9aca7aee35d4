"""The table and the curves of the doubt: what is flagged of what is wrong, and of the rest."""

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from ...inference.judgement import judge
from ...inference.score import Score
from ...plotting.roc import plot_roc
from .cases import Case
from .fitting import SHARE, cross_validated, fit_score
from .roc import Roc, alarms, roc_of

if TYPE_CHECKING:
    from matplotlib.figure import Figure

COMMAND = "python -m lensrim.evaluation.doubt fit --package"

TARGETS: Mapping[str, Callable[[Case], bool]] = {
    "theta_E off by > 10 %, or no lens": lambda case: case.wrong,
    "kappa off by > 0.15 dex, D > 2, or no lens": lambda case: case.bad,
}
"""What a flag should tell."""


def score_of(cases: Sequence[Case]) -> Score:
    """Fits the score to cases, and says in it what they were."""
    kinds = {case.kind: sum(c.kind == case.kind and not c.made for c in cases) for case in cases}
    about = {
        "command": COMMAND,
        "share_of_wrong_answers": SHARE,
        "answers": len(cases),
        "wrong": sum(case.wrong for case in cases),
        "made_wrong": sum(case.made for case in cases),
        "own_answers_by_kind": kinds,
        "cross_validated_roc_area": round(_validated(cases).area, 3),
    }
    return fit_score([case.judged for case in cases], about)


def _validated(cases: Sequence[Case]) -> Roc:
    return roc_of(cross_validated([c.judged for c in cases]), [c.wrong for c in cases])


def figure_of(cases: Sequence[Case], score: Score) -> "Figure":
    """Draws the curves of both targets, cross-validated, and where the verdict is on them."""
    scores = cross_validated([case.judged for case in cases])
    flagged = [judge(case.symptoms, score).quality != "good" for case in cases]
    curves, points = {}, {}
    for name, is_so in TARGETS.items():
        wrong = [is_so(case) for case in cases]
        if all(wrong) or not any(wrong):
            continue
        curve = roc_of(scores, wrong)
        curves[f"{name}: {curve.area:.3f}"] = (curve.false, curve.true)
        points[f"quality is not good ({name.split(' ')[0]})"] = alarms(flagged, wrong)
    return plot_roc(curves, points, title=f"{len(cases)} answers")


def report_of(cases: Sequence[Case], score: Score) -> str:
    """Formats what was found: by kind, and for each target."""
    lines = [
        f"{'':<22}{'answers':>8}{'wrong':>7}{'of them not good':>18}{'failed':>8}"
        f"{'right':>8}{'of them not good':>18}{'failed':>8}"
    ]
    groups = {(f"{case.kind}, made wrong" if case.made else case.kind): None for case in cases}
    for group in [*groups, "all"]:
        members = [
            c for c in cases if group in ("all", f"{c.kind}, made wrong" if c.made else c.kind)
        ]
        lines.append(f"{group:<22}{len(members):>8}" + _row(members, score))
    for name, is_so in TARGETS.items():
        wrong = [is_so(case) for case in cases]
        if all(wrong) or not any(wrong):
            continue
        fitted = roc_of([score(case.symptoms) for case in cases], wrong)
        validated = roc_of(cross_validated([case.judged for case in cases]), wrong)
        false, true = validated.at(score.threshold)
        lines.append(
            f"{name}: area {validated.area:.3f} cross-validated ({fitted.area:.3f} as fitted);"
            f" at the threshold {score.threshold:g} {true:.0%} of {validated.wrong} wrong and"
            f" {false:.0%} of {validated.right} right answers are flagged by the score alone"
        )
    weights = ", ".join(f"{name} {weight:.2f}" for name, weight in score.weights.items())
    return "\n".join([*lines, f"weights: {weights}; intercept {score.intercept:.2f}"])


def _row(members: Sequence[Case], score: Score) -> str:
    text = ""
    for is_wrong, width in ((True, 7), (False, 8)):
        verdicts = [judge(c.symptoms, score).quality for c in members if c.wrong == is_wrong]
        flagged = sum(v != "good" for v in verdicts)
        failed = sum(v == "failed" for v in verdicts)
        text += f"{len(verdicts):>{width}}{flagged:>18}{failed:>8}"
    return text
