"""What several detectors learn from: sums of the features by class, and a bounded sample of what was seen."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch

from xai.robustness.ood.detectors.base import Seen, State, Statistic

_STEP = 0x9E3779B97F4A7C15  # of SplitMix64, as are the rounds
_ROUNDS = ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB))


@dataclass(frozen=True)
class ClassSums(Statistic):
    """Of the features: count and sum (classes, d) by class, and the sum of outer products (d, d), in float64."""

    def of(self, seen: Seen) -> State:
        """Return the sums of some inputs."""
        classes, features = seen.logits.shape[1], seen.features
        total = torch.zeros(classes, features.shape[1], dtype=torch.float64, device=features.device)
        return {
            "count": torch.bincount(seen.labels, minlength=classes).double(),
            "sum": total.index_add(0, seen.labels, features),
            "outer": features.T @ features,
        }

    def merged(self, states: Sequence[State]) -> State:
        """Add."""
        return {name: sum((state[name] for state in states[1:]), states[0][name]) for name in states[0]}


@dataclass(frozen=True)
class Reservoir(Statistic):
    """A sample without replacement, of all inputs alike: features, or the means over places of every layer.

    Inputs are kept by the lowest of numbers drawn from their keys, so neither order nor batches matter.

    Args:
        of_layers: whether layers are kept, under their names, or features, under "features".
        size: how many inputs are kept at most.
        seed: of the draw.
    """

    of_layers: bool
    size: int
    seed: int = 0

    waiting: ClassVar[int] = 64

    def of(self, seen: Seen) -> State:
        """Return some inputs."""
        rows = seen.means if self.of_layers else {"features": seen.features.float()}
        return lowest([{"draw": drawn(seen.keys, self.seed), **rows}], self.size)

    def merged(self, states: Sequence[State]) -> State:
        """Keep the lowest draws."""
        return lowest(states, self.size)


def drawn(keys: torch.Tensor, seed: int) -> torch.Tensor:
    """Return a number for each key, (n,) int64, which looks random and follows from key and seed.

    Steele, Lea and Flood 2014, Fast splittable pseudorandom number generators (SplitMix64).
    """
    mixed = keys + _signed((seed + 1) * _STEP)
    for shift, factor in _ROUNDS:
        mixed = (mixed ^ _shifted(mixed, shift)) * _signed(factor)
    return mixed ^ _shifted(mixed, 31)


def _shifted(numbers: torch.Tensor, places: int) -> torch.Tensor:
    """Shift 64 bits to the right and fill up with zeros."""
    ones: int = (1 << 64 - places) - 1
    return (numbers >> places) & ones


def _signed(number: int) -> int:
    """Return the int64 of the same 64 lowest bits."""
    return (number + 2**63) % 2**64 - 2**63


def lowest(states: Sequence[State], size: int) -> State:
    """Return the rows of all states with the lowest draws, in the order of their draws."""
    joined = {name: torch.cat([state[name] for state in states]) for name in states[0]}
    order = joined["draw"].argsort(stable=True)[:size]
    return {name: value[order] for name, value in joined.items()}
