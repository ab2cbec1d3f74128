"""How far rounding can carry a number: the network's own, and that of computing its bounds.

A sum of n products, in whatever order it is taken, with or without fused operations, errs by at most gamma(n) times
the sum of the products' sizes (Higham 2002, Accuracy and Stability of Numerical Algorithms, ch. 3). So each step of a
network has one figure that bounds both the rounding of the float32 network, where that is asked for, and the rounding
of a bound that is carried through the step in either direction.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

import torch

from xai.robustness.bounds.interval import Interval

HALF = {torch.float32: 2.0**-24, torch.float64: 2.0**-53}  # unit roundoff
SMALLEST = {torch.float32: 2.0**-126, torch.float64: 2.0**-1022}  # what a product loses that is flushed to zero
LARGEST = 2.0**120  # of numbers that float32 computes with: an operator may have some 2 ** 8 times them on its way
STEPS = 4096  # more steps than any network has: their constants are added up


class Arithmetic(StrEnum):
    """The numbers that the network computes with, as far as a bound is about it."""

    REAL = "real"
    FLOAT = "float"


def gamma(terms: int | float, unit: float) -> float:
    """Return the largest relative error of so many roundings."""
    product = terms * unit
    return product / (1 - product) if product < 1 else float("inf")


@dataclass(frozen=True)
class Rounding:
    """What is to be covered.

    Args:
        arithmetic: of the network.
        dtype: in which bounds are computed.
        ignored: whether nothing is to be covered: of numbers that a network learns by, which prove nothing.
    """

    arithmetic: Arithmetic
    dtype: torch.dtype
    ignored: bool = False

    def forward(self, magnitude: torch.Tensor, terms: int) -> torch.Tensor:
        """Return what a step's outputs (batch, ...) can be off by, when intervals go through it.

        Args:
            magnitude: the largest sum of sizes that makes an output.
            terms: how many roundings make an output; 0 for a step that is exact.
        """
        if not terms:
            return torch.zeros((), dtype=self.dtype, device=magnitude.device)
        return magnitude * self.share(terms) + self.floor(terms) + self.overflow(magnitude)

    def share(self, terms: int) -> float:
        """Return the largest relative error of so many roundings, the network's and the interval's own."""
        if self.ignored:
            return 0.0
        found = gamma(terms + 4, HALF[self.dtype])
        if self.arithmetic is Arithmetic.FLOAT:
            found += gamma(terms + 4, HALF[torch.float32])
        return found * (1 + 1e-6)

    def floor(self, terms: int) -> float:
        """Return the largest error of so many products that are too small for a relative one."""
        if self.ignored:
            return 0.0
        return terms * SMALLEST[torch.float32 if self.arithmetic is Arithmetic.FLOAT else self.dtype] * 2

    def outwards(self, box: Interval, terms: int) -> Interval:
        """Return bounds of numbers whose rounding is relative to themselves: each end moves by its own."""
        return Interval(
            box.lower - self.forward(box.lower.abs(), terms), box.upper + self.forward(box.upper.abs(), terms)
        )

    def overflow(self, magnitude: torch.Tensor) -> torch.Tensor:
        """Return infinity for sizes (batch, ...) at which the network's own numbers may overflow, 0 for others."""
        if self.arithmetic is Arithmetic.REAL or bool(magnitude.amax() < LARGEST):
            return torch.zeros((), dtype=self.dtype, device=magnitude.device)
        return torch.where(magnitude < LARGEST, 0.0, torch.inf).to(self.dtype)

    def backward(self, magnitude: torch.Tensor, network: torch.Tensor, terms: int) -> torch.Tensor:
        """Return what a step's outputs (batch, ...) can be off by, when coefficients go back through it in float64.

        A coefficient of an input sums over outputs, and the constant over all of them.

        Args:
            magnitude: the largest sum of sizes that makes an output of the step's linear bounds.
            network: the same of the network's own output.
            terms: how many roundings make the network's own output.
        """
        share = gamma(magnitude[:1].numel() + STEPS, HALF[torch.float64]) * (1 + 1e-6)
        found = magnitude * share + SMALLEST[torch.float64] * STEPS
        if self.arithmetic is Arithmetic.FLOAT and terms:
            found = (
                found + network * (gamma(terms + 4, HALF[torch.float32]) * (1 + 1e-6)) + terms * SMALLEST[torch.float32]
            )
        return found
