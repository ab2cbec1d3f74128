"""What a step of a network does to values, to intervals and to linear bounds.

All tensors have the samples of the region first and then the shape that the value has for a batch of one; coefficients
have a row for each bound before that: (rows, batch, ...).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass

import torch

from xai.robustness.bounds.interval import Interval
from xai.robustness.bounds.rounding import Rounding

Pulled = tuple[list[torch.Tensor], torch.Tensor]


class Relaxation(ABC):
    """Two linear functions of a step's inputs that its output lies between, for inputs in their boxes."""

    @abstractmethod
    def pull(self, rows: torch.Tensor) -> Pulled:
        """Return a lower bound of rows times the output, as coefficients of each input and a constant.

        Args:
            rows: (rows, batch, ...) coefficients of the output.

        Returns:
            For each input (rows, batch, ...), and the constant (rows, batch) float64.
        """

    @abstractmethod
    def sizes(self) -> torch.Tensor:
        """Return the largest sum of sizes (batch, ...) that makes a number of the linear functions."""

    def network_sizes(self) -> torch.Tensor:
        """Return the same of the network's own output."""
        return self.sizes()

    @property
    def free(self) -> Free | None:
        """The slopes that may be chosen, if any may."""
        return None


@dataclass(frozen=True)
class Free:
    """Slopes that are open to choice: each gives a valid bound.

    Args:
        start: (batch, ...) what is taken without a choice.
        low: smallest.
        high: largest.
        where: (batch, ...) bool; elsewhere there is nothing to choose.
        take: the linear bounds with slopes (rows, batch, ...).
    """

    start: torch.Tensor
    low: torch.Tensor
    high: torch.Tensor
    where: torch.Tensor
    take: Callable[[torch.Tensor], Relaxation]


class Operation(ABC):
    """One step.

    A subclass says how many roundings make one of its outputs in `terms`: 0 means that floating point computes it
    exactly, None that no bound on its rounding is known.
    """

    terms: int | None = 0
    affine = False
    exact_on_boxes = False  # each output depends on one input number only, and rises or falls with it

    @abstractmethod
    def value(self, *x: torch.Tensor) -> torch.Tensor:
        """Return the output (batch, ...) for inputs (batch, ...)."""

    @abstractmethod
    def interval(self, rounding: Rounding, *boxes: Interval) -> Interval:
        """Return bounds of the output for all inputs in their boxes, rounding included."""

    @abstractmethod
    def relax(self, *boxes: Interval) -> Relaxation:
        """Return linear bounds that hold for all inputs in their boxes."""

    def wanted(self, box: Interval) -> torch.Tensor:
        """Say for each number (batch, ...) of an input whether narrower bounds of it would narrow the output's."""
        return box.upper > box.lower


def total(rows: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
    """Return the sums (rows, batch) float64 of rows (rows, batch, ...) times values (batch, ...)."""
    return torch.einsum("rbn,bn->rb", rows.flatten(2).double(), values.expand(rows.shape[1:]).flatten(1).double())


def per_sample(function: Callable[..., torch.Tensor]) -> Callable[..., torch.Tensor]:
    """Return a function of values (batch, ...) from one that is about a batch of one."""
    mapped: Callable[..., torch.Tensor] = torch.vmap(function)
    return mapped
