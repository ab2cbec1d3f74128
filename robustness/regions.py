"""Regions: the sets of inputs that a threat model allows. Attacks search them, bounds and proofs cover them."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from fractions import Fraction

import torch

from xai.errors import UsageError
from xai.models.values import clipped
from xai.robustness.norms import Norm, random_in_ball, shrink, shrink_l1, size

_INWARD = 1 - 2.0**-40  # of the radius: what float64 sums may round by


@dataclass(frozen=True)
class Region:
    """A ball around an input, clipped to the range of values that the model takes.

    Args:
        norm: of the change, over all numbers of the input.
        epsilon: its largest size, in input units.
        low: smallest value of an input; -inf where no range is known.
        high: largest value.
    """

    norm: Norm
    epsilon: float
    low: float = -math.inf
    high: float = math.inf

    @property
    def span(self) -> float:
        """Width of the range of values; 1 where no range is known."""
        width = self.high - self.low
        return width if math.isfinite(width) else 1.0

    def clip(self, points: torch.Tensor) -> torch.Tensor:
        """Return points (n, ...) moved into the range of values, whatever their size of change."""
        return clipped(points, self.low, self.high)

    def reach(self, x: torch.Tensor, norm: Norm) -> torch.Tensor:
        """Return the size (n,) float64 of the largest change of each of x that stays in the range of values."""
        return size(torch.maximum(x.double() - self.low, self.high - x.double()), norm)

    def box(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the lowest and highest input (n, ...) of the region around each of x, rounded inwards.

        An x that lies outside of the range of values is none of them.
        """
        below = (x.double() - self.epsilon).clamp(min=self.low)
        above = (x.double() + self.epsilon).clamp(max=self.high)
        lower, upper = below.to(x.dtype), above.to(x.dtype)
        infinity = torch.tensor(math.inf, dtype=x.dtype, device=x.device)
        lower = torch.where(lower.double() < below, torch.nextafter(lower, infinity), lower)
        upper = torch.where(upper.double() > above, torch.nextafter(upper, -infinity), upper)
        inside = self.clip(x)
        return torch.minimum(lower, inside), torch.maximum(upper, inside)

    def project(self, x: torch.Tensor, points: torch.Tensor) -> torch.Tensor:
        """Return points (n, ...) moved into the region around x (n, ...): for linf and l1 to the nearest of its points.

        For l2 the change is shrunk first and clipped to the range then.
        """
        lower, upper = self.box(x)
        if self.norm is not Norm.LINF:
            radius = torch.full((len(x),), self.epsilon * _INWARD, dtype=torch.float64, device=x.device)
            delta = points.double() - x.double()
            if self.norm is Norm.L1:
                room = torch.where(delta > 0, upper.double() - x.double(), x.double() - lower.double())
                delta = shrink_l1(delta, radius, room.clamp(min=0))
            else:
                delta = shrink(delta, radius, self.norm)
            points = (x.double() + delta).to(x.dtype)
            over = (points.double() - x.double()).abs() > delta.abs()
            points = torch.where(over, torch.nextafter(points, x), points)  # rounded towards x, so never out
        return torch.minimum(torch.maximum(points, lower), upper)

    def distance(self, x: torch.Tensor, points: torch.Tensor) -> torch.Tensor:
        """Return the size (n,) float64 of the change from x to points."""
        return size(points.double() - x.double(), self.norm)

    def holds(self, x: torch.Tensor, points: torch.Tensor) -> torch.Tensor:
        """Say for each point (n, ...) whether it lies in the region around x, computed in float64: (n,) bool."""
        flat = points.flatten(1).double()
        inside = ((flat >= self.low) & (flat <= self.high)).all(1)
        return inside & (self.distance(x, points) <= self.epsilon)

    def draw(self, x: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        """Return a random point of the ball around each of x (n, ...), clipped to the range."""
        return self.project(x, x + random_in_ball(x, self.epsilon, self.norm, generator))


_ENDLESS = re.compile(r"[eE][+-]?[\d_]{4,}|.{100}")  # an exponent is written out: it may not end


def read_epsilon(text: str | float) -> float:
    """Return the number that "8/255", "0.03" or 0.03 says; raise UsageError if it is none, or negative."""
    try:
        if isinstance(text, str):
            value = math.nan if _ENDLESS.search(text) else float(Fraction(text.strip()))
        else:
            value = math.nan if text is True else float(text)
    except (ValueError, ZeroDivisionError, OverflowError):
        value = math.nan
    if not (math.isfinite(value) and value >= 0):
        raise UsageError(f"epsilon {text!r}: expected a number that is not negative, such as 8/255 or 0.03")
    return value
