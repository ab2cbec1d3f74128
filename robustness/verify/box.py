"""Boxes of inputs whose ends are exact, and what float64 and float32 make of them."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from typing import NamedTuple

import numpy as np
import torch

from xai.robustness.verify.rows import floats, upwards

_LARGEST = float(np.finfo(np.float32).max)


class End(NamedTuple):
    """One end of an input's range.

    Args:
        value: exact.
        strict: whether the end itself is left out.
        rounded: the nearest float64 that does not leave anything out.
    """

    value: Fraction
    strict: bool
    rounded: float


@dataclass(frozen=True, eq=False)
class Box:
    """The ranges of all inputs.

    Args:
        low: of each input.
        high: of each input.
    """

    low: tuple[End, ...]
    high: tuple[End, ...]

    @cached_property
    def lower(self) -> torch.Tensor:
        """Lower ends (inputs,) float64, rounded outwards: for proofs."""
        return torch.tensor([end.rounded for end in self.low], dtype=torch.float64)

    @cached_property
    def upper(self) -> torch.Tensor:
        """Upper ends (inputs,) float64, rounded outwards: for proofs."""
        return torch.tensor([end.rounded for end in self.high], dtype=torch.float64)

    def contains(self, x: Iterable[float]) -> bool:
        """Say whether an input (inputs,) lies in the box as it is written, in exact arithmetic."""
        return all(
            math.isfinite(value) and _beyond(Fraction(value), low) and _beyond(-Fraction(value), _mirrored(high))
            for value, low, high in zip(floats(x), self.low, self.high, strict=True)
        )

    @cached_property
    def single(self) -> tuple[torch.Tensor, torch.Tensor]:
        """The lowest and the highest float32 of each range as it is written, (inputs,) each: for counterexamples.

        The network computes with these. Where a range holds no float32 the lowest is above the highest.
        """
        lowest = [_single(end) for end in self.low]
        highest = [-_single(_mirrored(end)) for end in self.high]
        return torch.tensor(lowest, dtype=torch.float32), torch.tensor(highest, dtype=torch.float32)


def low_end(value: Fraction, strict: bool = False, at: int = 0) -> End:
    """Return the lower end of a range."""
    return End(value, strict, 0.0 - upwards(-value, at))


def high_end(value: Fraction, strict: bool = False, at: int = 0) -> End:
    """Return the upper end of a range."""
    return End(value, strict, upwards(value, at))


def tighter(one: End, other: End, *, upper: bool) -> End:
    """Return the end that leaves out more, of two upper ends or of two lower ones."""
    if one.value == other.value:
        return one if one.strict else other
    return one if (one.value < other.value) == upper else other


def is_empty(low: End, high: End) -> bool:
    """Say whether no number lies between."""
    return low.value > high.value or (low.value == high.value and (low.strict or high.strict))


def _beyond(value: Fraction, low: End) -> bool:
    return value > low.value or (value == low.value and not low.strict)


def _mirrored(end: End) -> End:
    return End(-end.value, end.strict, -end.rounded)


def _single(low: End) -> float:
    """Return the lowest float32 from an end on."""
    found = np.float32(min(max(low.rounded, -_LARGEST), _LARGEST))
    while not _beyond(Fraction(float(found)), low):
        if found == _LARGEST:
            return math.inf
        found = np.nextafter(found, np.float32(_LARGEST))
    return float(found)
