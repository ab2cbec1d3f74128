"""What a detector is: what it reads of a forward pass, what is summed up of it, and a formula that scores an input.

A detector never calls the model. All that are chosen are shown the same pass, and statistics that several of them ask
for are summed up once. High scores are more out-of-distribution, for every detector.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cached_property
from typing import ClassVar

import torch
from pydantic import BaseModel, ConfigDict

from xai.models.head import Head
from xai.registry import Family, Method

State = dict[str, torch.Tensor]


class Evidence(StrEnum):
    """The family of evidence that a detector goes by."""

    LOGITS = "logits"
    FEATURES = "features"
    SHAPING = "shaping"
    GRADIENTS = "gradients"


class Reads(StrEnum):
    """What a detector looks at."""

    CLASSES = "classes"  # logits up to a constant that may differ from input to input: what probabilities give
    LOGITS = "logits"
    FEATURES = "features"
    HEAD = "head"
    LAYERS = "layers"
    GRADIENTS = "gradients"


@dataclass(frozen=True)
class Seen:
    """What was seen of some inputs in a forward pass.

    Args:
        inputs: (n, ...) in input units.
        span: width of the inputs' range.
        logits: (n, classes) float64; of one output there are two, against its class and for it.
        labels: (n,) the right class where it is known, else the predicted one.
        keys: (n,) int64 that follow from the input alone: what is drawn by them does not depend on order or batches.
        features: (n, d) float64, what the head reads.
        layers: (n, channels, places) by layer name, in the network's precision.
        head: the last linear layer, if there is one.
        classify: gives logits of other inputs, with gradients.
    """

    inputs: torch.Tensor
    span: float
    logits: torch.Tensor
    labels: torch.Tensor
    keys: torch.Tensor
    features: torch.Tensor
    layers: Mapping[str, torch.Tensor]
    head: Head | None
    classify: Callable[[torch.Tensor], torch.Tensor]

    def __len__(self) -> int:
        """Return how many inputs were seen."""
        return len(self.logits)

    @cached_property
    def means(self) -> State:
        """The mean over places of every layer, (n, channels)."""
        return {name: value.mean(2) for name, value in self.layers.items()}


class Statistic(ABC):
    """What is kept of any number of inputs in memory that does not grow with them. Subclasses are frozen dataclasses.

    `merged` in any order and grouping gives the same, up to rounding.
    """

    waiting: ClassVar[int] = 1  # batches whose states may wait before they are merged, where merging copies much

    @abstractmethod
    def of(self, seen: Seen) -> State:
        """Return the state of some inputs."""

    @abstractmethod
    def merged(self, states: Sequence[State]) -> State:
        """Return the state of all inputs of some states."""


@dataclass
class Given:
    """What a detector is fitted with.

    Args:
        head: the last linear layer, if there is one.
        sums: the state of every statistic that was asked for.
        notes: what the fit must tell its user, one line each; detectors add to it.
    """

    head: Head | None
    sums: Mapping[Statistic, State]
    notes: list[str] = field(default_factory=list)


class Detector(BaseModel, ABC):
    """What all detectors share; unfitted. The fields of a subclass are its parameters.

    A subclass declares `about`, `evidence` and `reads`, and writes `score`; `statistics` and `fit` if it learns.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    about: ClassVar[Method]
    evidence: ClassVar[Evidence]
    reads: ClassVar[frozenset[Reads]]

    @property
    def statistics(self) -> tuple[Statistic, ...]:
        """What must be summed up for `fit`."""
        return ()

    def fit(self, given: Given) -> State:  # noqa: ARG002  # for subclasses
        """Return what `score` needs to know, tensors by name; raise AnalysisError if nothing can be learnt."""
        return {}

    @abstractmethod
    def score(self, seen: Seen, state: State) -> torch.Tensor:
        """Return scores (n,) float64, high where an input is out-of-distribution."""


detectors: Family[Detector] = Family(
    "detector",
    "xai.robustness.ood.detectors",
    Detector,  # type: ignore[type-abstract]  # a family is of subclasses of its abstract base
    key=lambda leaf: leaf.about.name,
)
