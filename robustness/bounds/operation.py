"""What a step of a network does to values, to intervals and to linear bounds.

All tensors have the samples of the region first and then the shape that the value has for a batch of one; coefficients
have a row for each bound before that: (rows, batch, ...).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import torch

from xai.robustness.bounds.interval import Interval
from xai.robustness.bounds.rounding import Arithmetic, Rounding

SHARES = 255  # of a slope that is written in one byte
Tensors = dict[int, torch.Tensor]
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
    exact_on_boxes = False  # each output depends on one input number only, and its interval is exact

    @abstractmethod
    def value(self, *x: torch.Tensor) -> torch.Tensor:
        """Return the output (batch, ...) for inputs (batch, ...)."""

    @abstractmethod
    def interval(self, rounding: Rounding, *boxes: Interval) -> Interval:
        """Return bounds of the output for all inputs in their boxes, rounding included."""

    @abstractmethod
    def relax(self, *boxes: Interval) -> Relaxation:
        """Return linear bounds that hold for all inputs in their boxes."""

    def undefined(self, *boxes: Interval) -> torch.Tensor | None:  # noqa: ARG002  # most steps have a value everywhere
        """Say for which samples (batch,) the step may have no value, such as the root of a negative number."""
        return None

    def wanted(self, box: Interval) -> torch.Tensor:
        """Say for each number (batch, ...) of an input whether narrower bounds of it would narrow the output's."""
        return box.upper > box.lower


class Part(Operation):
    """One of the steps that an operator is taken apart into, where the network computes the operator in its own way.

    Args:
        operation: the step; it is bounded in real numbers.
        terms: 0 where another step answers for the operator's rounding, None where no bound on that is known.
    """

    def __init__(self, operation: Operation, terms: int | None = 0) -> None:
        self._whole = operation
        self.terms = terms
        self.affine, self.exact_on_boxes = operation.affine, operation.exact_on_boxes

    def value(self, *x: torch.Tensor) -> torch.Tensor:
        """Return the step's output."""
        return self._whole.value(*x)

    def interval(self, rounding: Rounding, *boxes: Interval) -> Interval:
        """Return the step's bounds, the network's rounding apart."""
        return self._whole.interval(replace(rounding, arithmetic=Arithmetic.REAL), *boxes)

    def relax(self, *boxes: Interval) -> Relaxation:
        """Return the step's linear bounds."""
        return self._whole.relax(*boxes)

    def undefined(self, *boxes: Interval) -> torch.Tensor | None:
        """Say where the step may have no value."""
        return self._whole.undefined(*boxes)

    def wanted(self, box: Interval) -> torch.Tensor:
        """Say which narrower bounds the step wants."""
        return self._whole.wanted(box)


def total(rows: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
    """Return the sums (rows, batch) float64 of rows (rows, batch, ...) times values (batch, ...)."""
    flat, values = rows.flatten(2).double(), values.expand(rows.shape[1:]).flatten(1).double()
    if len(values) > 1:  # batched products of a matrix and a vector are slower than what they are made of
        return (flat * values).sum(-1)
    return torch.einsum("rbn,bn->rb", flat, values)


def picked(where: torch.Tensor, new: Mapping[int, torch.Tensor], old: Mapping[int, torch.Tensor]) -> Tensors:
    """Return for each step the new numbers (rows, batch, ...) where (rows, batch) says so, the old ones elsewhere."""
    return {
        step: torch.where(where.reshape(*where.shape, *(1,) * (part.ndim - 2)), part.detach(), old[step])
        for step, part in new.items()
    }


def shares(slopes: torch.Tensor, low: torch.Tensor) -> torch.Tensor:
    """Return snapped slopes as bytes: parts of 255, or 0 for the smallest slope that there may be."""
    return torch.where(slopes > low, slopes * SHARES, torch.zeros_like(slopes)).round().to(torch.uint8)


def snapped(slopes: torch.Tensor) -> torch.Tensor:
    """Return slopes that a byte holds: whole parts of 255."""
    return (slopes * SHARES).round() / SHARES


def per_sample(function: Callable[..., torch.Tensor]) -> Callable[..., torch.Tensor]:
    """Return a function of values (batch, ...) from one that is about a batch of one."""
    mapped: Callable[..., torch.Tensor] = torch.vmap(function)
    return mapped
