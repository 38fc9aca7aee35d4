"""Errors in units of those that are stated."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from ...inference.calibration import ONE_SIGMA, PLACES, Scale
from ...inference.traits import TRAITS
from .rows import Row, traits_of_row


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

    @classmethod
    def joined(cls, parts: Sequence["Deviations"]) -> "Deviations":
        """Puts those of several sets of lenses, one or more, together."""
        held = zip(*((p.z, p.snr, p.weight, p.unit, p.traits) for p in parts), strict=True)
        return cls(*map(np.concatenate, held))

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

    def stated(self, scale: Scale) -> "Deviations":
        """The same errors in units of what is stated with a scale."""
        return replace(self, z=self.z / self.factors(scale), unit=np.zeros_like(self.unit))

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
