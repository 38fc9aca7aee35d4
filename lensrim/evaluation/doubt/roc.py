r"""The curve of true against false alarms, and the area under it."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray


@dataclass(frozen=True)
class Roc:
    """Holds the curve of a score: its points as its threshold falls.

    Arguments:
        false: Share of the right answers that are flagged, from 0 to 1.
        true: Share of the wrong answers that are flagged.
        thresholds: Score from which they are.
        wrong, right: Numbers of the answers.
    """

    false: NDArray[np.float64]
    true: NDArray[np.float64]
    thresholds: NDArray[np.float64]
    wrong: int
    right: int

    @property
    def area(self) -> float:
        """Probability that a wrong answer has a higher score than a right one."""
        from scipy.integrate import trapezoid

        return float(trapezoid(self.true, self.false))

    @property
    def error(self) -> float:
        """Standard error of the area, by Hanley & McNeil (1982, Radiology 143, 29); 0 where it is
        not known: of an area of 0 or 1."""
        area = self.area
        # that two wrong answers are above one right one, and one above two
        two, one = area / (2 - area), 2 * area**2 / (1 + area)
        variance = area * (1 - area)
        variance += (self.wrong - 1) * (two - area**2) + (self.right - 1) * (one - area**2)
        return float(np.sqrt(max(variance, 0.0) / (self.wrong * self.right)))

    def at(self, threshold: float) -> tuple[float, float]:
        """Returns the false and true alarms of scores from a threshold upwards."""
        k = int((self.thresholds >= threshold).sum()) - 1
        return float(self.false[max(k, 0)]), float(self.true[max(k, 0)])


def alarms(flagged: ArrayLike, wrong: ArrayLike) -> tuple[float, float]:
    """Shares of the right and of the wrong answers that are flagged, by a verdict that has no
    threshold."""
    flag, is_wrong = np.asarray(flagged, bool), np.asarray(wrong, bool)
    return float(flag[~is_wrong].mean()), float(flag[is_wrong].mean())


def roc_of(scores: ArrayLike, wrong: ArrayLike) -> Roc:
    """Computes the curve; answers of equal scores are flagged together.

    Raises:
        ValueError: If there are not both right and wrong answers.
    """
    score, is_wrong = np.asarray(scores, np.float64), np.asarray(wrong, bool)
    if is_wrong.all() or not is_wrong.any():
        raise ValueError(
            f"a ROC curve needs right and wrong answers, got {is_wrong.sum()} wrong of"
            f" {is_wrong.size}"
        )
    order = np.argsort(-score, kind="stable")
    last = np.append(np.diff(score[order]) != 0, True)
    true = is_wrong[order].cumsum()[last]
    false = (~is_wrong[order]).cumsum()[last]
    return Roc(
        np.concatenate([[0.0], false / false[-1]]),
        np.concatenate([[0.0], true / true[-1]]),
        np.concatenate([[np.inf], score[order][last]]),
        int(true[-1]),
        int(false[-1]),
    )
