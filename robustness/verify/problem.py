"""A case to be decided: the steps of the network, the region, and the rows of which one must always be positive."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch

from xai.robustness.bounds.inputs import Inputs
from xai.robustness.bounds.program import Program
from xai.robustness.bounds.rounding import Arithmetic, Rounding
from xai.robustness.verify.property import Case

SHARES, MOST_MIXED = 256, 64  # parts of 1 that weights of rows are whole numbers of; rows at most
FEW = 12  # numbers of an input that vary, up to which splitting the region itself is the better search


@dataclass(frozen=True)
class Problem:
    """What a search is about.

    Args:
        program: the network.
        case: to be refuted.
        arithmetic: of the network that the proof is about.
    """

    program: Program
    case: Case
    arithmetic: Arithmetic = Arithmetic.REAL

    @property
    def region(self) -> Inputs:
        """The inputs."""
        return self.case.region

    @property
    def rounding(self) -> Rounding:
        """What bounds have to cover."""
        return Rounding(self.arithmetic, torch.float64)

    @cached_property
    def varying(self) -> int:
        """How many numbers of the input vary."""
        box = self.region.box
        return int((box.upper > box.lower).sum())

    @property
    def by_inputs(self) -> bool:
        """Whether the region itself is split."""
        return self.region.is_box and self.varying <= FEW

    def rows(self, samples: int) -> torch.Tensor:
        """Return the case's rows as coefficients (rows, samples, ...) of the output."""
        shape = self.program.steps[self.program.output].shape
        matrix = self.case.matrix
        return matrix.reshape(-1, 1, *shape).expand(-1, samples, *shape)

    @cached_property
    def mixes(self) -> bool:
        """Whether several rows can be bounded as one: sums of so many parts of them are exact in float64."""
        parts = self.case.matrix * 2.0**20
        exact = bool((parts == parts.round()).all()) and float(parts.abs().max()) <= 2.0**36
        return exact and 1 < len(parts) <= MOST_MIXED

    def mixed(self, weights: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return rows mixed, and their limit: where every row is at most its limit, so is the mixture.

        Args:
            weights: (samples, rows) multiples of 1 / SHARES, not negative.

        Returns:
            Coefficients (1, samples, ...) of the output, exact; limits (1, samples), rounded up.
        """
        shape, limits = self.program.steps[self.program.output].shape, self.case.limits
        rows = (weights @ self.case.matrix).reshape(1, len(weights), *shape)
        return rows, (weights @ limits + (weights @ limits.abs()) * 2.0**-44)[None]

    def beyond(self, found: torch.Tensor, limits: torch.Tensor | None = None) -> torch.Tensor:
        """Return by how much bounds (rows, samples) of the rows lie above their limits, rounded down.

        Args:
            found: the bounds.
            limits: (rows, samples), where they are not the case's own.
        """
        limits = self.case.limits[:, None] if limits is None else limits
        return found - limits - _rounding(found, limits)

    def below(self, found: torch.Tensor) -> torch.Tensor:
        """Return by how much upper bounds (rows, samples) of the rows lie below their limits, rounded down."""
        limits = self.case.limits[:, None]
        return limits - found - _rounding(found, limits)


def _rounding(one: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
    """Return what a difference of float64 numbers may round by at most."""
    return (one.abs() + other.abs()) * 2.0**-50
