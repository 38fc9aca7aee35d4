"""Fits by how much stated errors are too small, and how long their tails are."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...inference.calibration import KINDS, ONE_SIGMA, PLACES, Calibration, Scale
from ...inference.traits import TRAITS
from ...metrics import half_width
from .rows import Row, traits_of_row

DOFS = (1.5, 40.0)
"""Range of the degrees of freedom."""

FIRST = math.log(0.05)
"""Logarithm of the floor that the search for it begins with."""

STIFF = 0.1
"""Prior standard deviation of the logarithm of a factor over that at the place before."""

LOOSE = 0.1
"""Prior standard deviation of the weight of a trait."""

FEW = 90.0
"""Lenses about a place whose share within an interval says as much of its factor as is known
before: 10 per cent."""


@dataclass(frozen=True)
class Deviations:
    """Holds errors in units of the posterior's standard deviations.

    Arguments:
        z: The errors.
        snr: Signal over noise of each.
        weight: Weight of each; those of a number, or of a map, of one lens add up to 1.
        unit: Brightness of the source in the same standard deviations; 0 of all else.
        traits: Traits of each lens, with shape (n, T).
    """

    z: NDArray[np.float64]
    snr: NDArray[np.float64]
    weight: NDArray[np.float64]
    unit: NDArray[np.float64]
    traits: NDArray[np.float64]

    @classmethod
    def of(cls, rows: Sequence[Row], names: Sequence[str], mass: Scale = Scale()) -> "Deviations":
        """Collects those of quantities; ``mass`` widens what the mass does to the source."""
        z, snr, weight, units, traits = [], [], [], [], []
        for row in rows:
            own_traits = traits_of_row(row)
            for name in names:
                unit = np.zeros(1)
                if name in row["numbers"]:
                    truth, value, std = row["numbers"][name]
                    found = np.array([(truth - value) / std])
                elif name == "source" and row["source"]:
                    error, by_mass, own, bright = np.array(row["source"])
                    std = np.hypot(mass.at(row["snr"], own_traits) * by_mass, own)
                    found, unit = error / std, np.abs(bright) / std
                elif name == "kappa" and row["kappa"]:
                    error, std = np.array(row["kappa"])
                    found = error / std
                else:
                    continue
                z.append(found)
                snr.append(np.full(len(found), row["snr"]))
                weight.append(np.full(len(found), row.get("weight", 1.0) / len(found)))
                units.append(np.broadcast_to(unit, len(found)))
                traits.append(np.broadcast_to(own_traits, (len(found), len(own_traits))))
        flat = [np.concatenate(e) if e else np.zeros(0) for e in (z, snr, weight, units)]
        shown = np.concatenate(traits) if traits else np.zeros((0, len(TRAITS)))
        return cls(flat[0], flat[1], flat[2], flat[3], shown)

    def covered(self, scale: Scale, half: float | Callable[[float], float]) -> float:
        """Share within ``half`` stated errors: a number, or one for each signal over noise."""
        if callable(half):
            own, place = np.unique(self.snr, return_inverse=True)
            width = np.array([half(float(snr)) for snr in own])[place]
        else:
            width = np.full(len(self.z), half)
        inside = np.abs(self.z) < width * self.factors(scale)
        return float(np.average(inside, weights=self.weight))

    def where(self, chosen: NDArray[np.bool_]) -> "Deviations":
        """Those of some lenses."""
        held = (self.z, self.snr, self.weight, self.unit, self.traits)
        return Deviations(*(each[chosen] for each in held))

    def factors(self, scale: Scale) -> NDArray[np.float64]:
        """What the standard deviations are multiplied by."""
        return np.hypot(scale.at(self.snr, self.traits), scale.floor * self.unit)

    def loss(self, scale: Scale, dof: float) -> tuple[float, NDArray[np.float64]]:
        """Minus the log-likelihood of Student's t, whose central 68.27 % are stated.

        Returns:
            It, and its derivatives in the logarithms of the factors, the weights of the traits,
            and the logarithm of the floor.
        """
        from scipy.special import gammaln, stdtrit

        own, rest = scale.at(self.snr, self.traits), scale.floor * self.unit
        width = np.hypot(own, rest) / float(stdtrit(dof, ONE_SIGMA))
        constant = float(gammaln((dof + 1) / 2) - gammaln(dof / 2)) - 0.5 * math.log(math.pi * dof)
        far = (self.z / width) ** 2 / dof
        each = np.log(width) + (dof + 1) / 2 * np.log1p(far) - constant
        slope = self.weight * (1 - (dof + 1) * far / (1 + far))  # in the logarithm of the width
        of_own = slope * own**2 / (own**2 + rest**2)
        of_weights = self.traits.T @ of_own
        gradient = np.array([*self.near @ of_own, *of_weights, (slope - of_own).sum()])
        return float((self.weight * each).sum()), gradient

    @cached_property
    def near(self) -> NDArray[np.float64]:
        """How much of the logarithm of each factor counts at each signal over noise, (K, n)."""
        logs, places = np.log(np.maximum(self.snr, 1.0)), np.log(PLACES)
        return np.stack([np.interp(logs, places, own) for own in np.eye(len(PLACES))])

    def reach(self, scale: Scale, share: NDArray[np.float64] | None = None) -> float:
        """How many stated errors hold 68.27 per cent of the errors, all or a share of each."""
        ratio = np.abs(self.z) / self.factors(scale)
        order = np.argsort(ratio)
        weight = (self.weight if share is None else self.weight * share)[order]
        held = np.cumsum(weight) / weight.sum()
        return float(np.interp(2 * ONE_SIGMA - 1, held, ratio[order]))


def fit_scale(deviations: Deviations, dof: float) -> tuple[Scale, float]:
    """Fits the factors of a scale, and a floor where there is a unit for it.

    Returns:
        The scale, and the loss at these degrees of freedom.
    """
    from scipy.optimize import minimize

    n, m, floored = len(PLACES), len(TRAITS), bool(deviations.unit.any())

    def scale_of(x: NDArray[np.float64]) -> Scale:
        floor = math.exp(x[n + m]) if floored else 0.0
        return Scale(tuple(np.exp(x[:n]).tolist()), floor, tuple(x[n : n + m].tolist()))

    def loss(x: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        value, gradient = deviations.loss(scale_of(x), dof)
        steps, pulls = np.diff(x[:n]) / STIFF**2, x[n : n + m] / LOOSE**2
        gradient[:n] += np.diff(steps, prepend=0.0, append=0.0) * -1
        gradient[n : n + m] += pulls
        prior = 0.5 * float(np.diff(x[:n]) @ steps + x[n : n + m] @ pulls)
        return value + prior, gradient[: len(x)]

    start = [0.0] * (n + m) + [FIRST] * floored
    limits = [(-3.0, 3.0)] * n + [(-2.0, 2.0)] * m + [(-12.0, 0.0)] * floored
    best = minimize(loss, start, bounds=limits, jac=True)
    return scale_of(best.x), float(best.fun)


def covering(deviations: Deviations, scale: Scale) -> Scale:
    """Widens or narrows a scale until 68.27 per cent of the errors are within the stated ones.

    What is stated is that interval, and not a parameter of a distribution. The degrees of freedom
    are those of all kinds together, and a likely scale for them covers more or less of a kind
    whose errors are shaped otherwise (66 to 70 per cent, 420 mocks), and of bright lenses, whose
    tails are heavier, more than of faint ones. So every factor is changed, first by what is
    missing at its place, as far as the lenses about it are many (:data:`FEW`), then all alike. A
    floor is left to the likelihood: what bright pixels of a source lack at a place changes only
    as far as the factor counts for them.
    """
    whole, factors = deviations.reach(scale), []
    for place, factor in enumerate(scale.factors):
        near = deviations.near[place]
        n = float((deviations.weight * near).sum())
        own = (deviations.reach(scale, near) if n > 0 else 0.0) or whole
        factors.append(factor * whole * (own / whole) ** (n / (n + FEW)))
    changed = replace(scale, factors=tuple(factors), floor=whole * scale.floor)
    return changed.times(deviations.reach(changed))


def common_tails(kinds: Sequence[tuple[Deviations, Scale]]) -> tuple[tuple[float, float], ...]:
    """Finds the tails with which intervals of 95 per cent hold as much in the mean of the kinds.

    They do in the fainter half of the lenses, and in the brighter one: faint lenses have nearly a
    Gaussian's, of bright ones some are far more unlike their model than others (one number for
    all: 96 and 91 per cent, 715 mocks). Likely ones follow the farthest tails, and their intervals
    are too wide for most kinds.

    Arguments:
        kinds: Errors of each kind, and a scale that covers 68.27 per cent of them.

    Returns:
        Signal over noise (the median) and degrees of freedom of each half.
    """
    every = np.concatenate([own.snr for own, _ in kinds])
    middle, found = float(np.median(every)), []
    for faint in (True, False):
        halves = [(own.where((own.snr <= middle) == faint), scale) for own, scale in kinds]
        halves = [(own, covering(own, scale)) for own, scale in halves if own.z.size]
        if halves:
            place = float(np.median(every[(every <= middle) == faint]))
            found.append((place, _tails(halves)))
    return tuple(found)


def _tails(kinds: Sequence[tuple[Deviations, Scale]]) -> float:
    """Finds the degrees of freedom of lenses that are alike.

    Beyond ``DOFS`` the end of the range counts.
    """
    from scipy.optimize import brentq

    def excess(log_dof: float) -> float:
        half = half_width(0.95, dof=math.exp(log_dof))
        return float(np.mean([each.covered(scale, half) for each, scale in kinds])) - 0.95

    low, high = map(math.log, DOFS)
    if excess(low) <= 0 or excess(high) >= 0:
        return DOFS[0] if excess(low) <= 0 else DOFS[1]
    return math.exp(brentq(excess, low, high, xtol=0.01))  # pyright: ignore


def fit(rows: Sequence[Row], card: Mapping[str, Any] | None = None) -> Calibration:
    """Fits a calibration: what each kind's errors depend on by maximum likelihood, then its scale
    by what it has to cover (:func:`covering`), and then the tails of all (:func:`common_tails`).
    """
    from scipy.optimize import minimize_scalar

    # That of the convergence comes before that of the source, which is widened by it.
    kinds = {kind: [n for n, k in KINDS.items() if k == kind] for kind in KINDS.values()}
    held = {k: Deviations.of(rows, names) for k, names in kinds.items() if k != "source"}

    def deviations(kind: str, scales: Mapping[str, Scale]) -> Deviations:
        if kind != "source":
            return held[kind]
        return Deviations.of(rows, kinds[kind], scales.get("kappa", Scale()))

    def scales_at(dof: float) -> tuple[dict[str, Scale], float]:
        scales, total = {}, 0.0
        for kind in kinds:
            own = deviations(kind, scales)
            if own.z.size:
                scales[kind], loss = fit_scale(own, dof)
                total += loss
        return scales, total

    best: Any = minimize_scalar(
        lambda log_dof: scales_at(math.exp(log_dof))[1],
        bounds=tuple(map(math.log, DOFS)),
        method="bounded",
        options={"xatol": 0.02},
    )
    scales, likeliest, covered = {}, scales_at(math.exp(best.x))[0], []
    for kind, scale in likeliest.items():
        own = deviations(kind, scales)
        scales[kind] = covering(own, scale)
        covered.append((own, scales[kind]))
    return Calibration(scales, common_tails(covered), dict(card or {}))
