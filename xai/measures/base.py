"""What a measure is: a check on a map that the map could fail, and one plain sentence about how it went."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict

from xai.errors import NotApplicableError
from xai.models.model import Model
from xai.models.targets import Target
from xai.registry import Family, Method
from xai.reports.records import Scalar, Speaks, Value
from xai.runtime import Runtime

Again = Callable[[Model, torch.Tensor, Sequence[Target]], list[np.ndarray]]


@dataclass(frozen=True)
class Subject:
    """A map, what it explains, and how to make it again.

    Args:
        map: (height, width) float32, raw; high speaks for the target.
        model: that was explained.
        x: its input, (channels, height, width) in input units, on the model's device.
        target: that was explained.
        again: gives the same method's maps of another model, input or targets, with the same random numbers; a blank
            one is all zeros.
        mask: where the object is, (height, width) bool, if that is known.
        key: the sample's digest, which random numbers follow from.
    """

    map: np.ndarray
    model: Model
    x: torch.Tensor
    target: Target
    again: Again
    mask: np.ndarray | None
    key: str


@dataclass(frozen=True)
class Judgement:
    """What a measure says.

    Args:
        sentence: what was found, in plain words.
        speaks: for the map, against it, or neither.
        values: what was measured, by name.
        chosen: parameters as they were used, where the measure chose them.
        arrays: of numbers behind the values, by name.
    """

    sentence: str
    speaks: Speaks
    values: dict[str, Value]
    chosen: dict[str, Scalar] = field(default_factory=dict)
    arrays: dict[str, np.ndarray] = field(default_factory=dict)


class Measure(BaseModel, ABC):
    """A way to find out what a map is worth. Its fields are its parameters.

    A subclass declares `about` and writes `judge`.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    about: ClassVar[Method]

    @abstractmethod
    def judge(self, subject: Subject, runtime: Runtime) -> Judgement:
        """Return what the map is worth; raise NotApplicableError where that cannot be asked."""

    def check(self, model: Model) -> None:
        """Raise UsageError if a parameter does not fit this model: before anything is computed."""

    def applies(self, model: Model) -> None:
        """Raise NotApplicableError if it can not judge maps of this model, whatever the input."""
        if not model.input.is_picture:
            raise NotApplicableError(f"it judges maps of pictures; the model takes inputs of shape {model.input.shape}")

    def measure(self, subject: Subject, runtime: Runtime) -> Judgement:
        """Judge a map; random numbers follow from the runtime's seed, the measure's name and the sample's digest."""
        with runtime.seeded(self.about.name, subject.key), torch.no_grad():
            return self.judge(subject, runtime)


def rank_correlation(one: np.ndarray, other: np.ndarray) -> float | None:
    """Return Spearman's rank correlation of two maps (height, width), -1 to 1; None if one of them is blank."""
    from scipy.stats import spearmanr  # a second to import, and not every run needs it

    if np.ptp(one) == 0 or np.ptp(other) == 0:
        return None
    return float(spearmanr(one.ravel(), other.ravel()).statistic)


def median_interval(values: np.ndarray, confidence: float = 0.95) -> tuple[float, float]:
    """Return an interval that holds the median about that often, from the values' order alone: no shape is assumed."""
    from scipy.stats import binom  # as above

    ordered = np.sort(values)
    left_out = int(binom.ppf((1 - confidence) / 2, len(ordered), 0.5))  # on each side; P(fewer) <= (1 - confidence) / 2
    first = max(0, left_out - 1)
    return float(ordered[first]), float(ordered[len(ordered) - 1 - first])


def decided(sizes: np.ndarray, draws: int, line: float) -> Speaks:
    """Say what absolute correlations with the maps of re-drawn copies mean for a map.

    Decided is only where at least half of the copies gave a map, and the median is clearly on one side of the line.
    """
    low, high = median_interval(sizes)
    if 2 * len(sizes) < draws or low <= line <= high:
        return "neither"
    return "for" if high < line else "against"


measures: Family[Measure] = Family("measure", "xai.measures", Measure, key=lambda leaf: leaf.about.name)  # type: ignore[type-abstract]  # a family is of subclasses of its abstract base
