"""What is to be proved of a network: that no input of a region gives an output that must not be."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

import torch

from xai.robustness.bounds.inputs import Inputs


@dataclass(frozen=True)
class Case:
    """One way to violate a property: an input of the region whose output satisfies every row at once.

    Args:
        region: one sample's inputs.
        matrix: (rows, outputs) float64, over the model's outputs in one row.
        limits: (rows,) float64; the output y must not be where matrix @ y <= limits in every row.
        name: what it would mean, such as "class 7 wins".
        single: the lowest and the highest input (...) in float32 that certainly belong, where rounding leaves a doubt.
    """

    region: Inputs
    matrix: torch.Tensor
    limits: torch.Tensor
    name: str = ""
    single: tuple[torch.Tensor, torch.Tensor] | None = None

    def met(self, outputs: Sequence[Fraction]) -> bool:
        """Say whether outputs satisfy every row, in exact arithmetic."""
        return all(
            sum(Fraction(factor) * output for factor, output in zip(row, outputs, strict=True) if factor) <= limit
            for row, limit in zip(self.matrix.tolist(), map(Fraction, self.limits.tolist()), strict=True)
        )

    def slack(self, outputs: torch.Tensor) -> torch.Tensor:
        """Return how far outputs (n, outputs) are from the violation, (n,) float64: it is there at 0 and below."""
        return (outputs.double() @ self.matrix.T - self.limits).amax(1)


@dataclass(frozen=True)
class Property:
    """What must hold: none of its cases has an input.

    Args:
        cases: the ways to violate it.
        name: for people.
    """

    cases: tuple[Case, ...]
    name: str = ""
