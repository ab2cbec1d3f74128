"""Boxes: for every number a lowest and a highest value."""

from __future__ import annotations

from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class Interval:
    """Bounds of a value of the network.

    Args:
        lower: (batch, ...).
        upper: (batch, ...); nowhere below lower.
    """

    lower: torch.Tensor
    upper: torch.Tensor

    @property
    def magnitude(self) -> torch.Tensor:
        """The largest size (batch, ...) that a number can have."""
        return torch.maximum(self.lower.abs(), self.upper.abs())

    @property
    def middle(self) -> torch.Tensor:
        """The middle (batch, ...)."""
        return (self.lower + self.upper) / 2

    @property
    def width(self) -> torch.Tensor:
        """Upper minus lower (batch, ...)."""
        return self.upper - self.lower

    def within(self, other: Interval) -> Interval:
        """Return what both allow; where one of them knows nothing (NaN) the other counts."""
        return Interval(torch.fmax(self.lower, other.lower), torch.fmin(self.upper, other.upper))

    def widened(self, by: torch.Tensor) -> Interval:
        """Return it with so much more room on both sides."""
        return Interval(self.lower - by, self.upper + by)

    def with_signs(self, signs: Interval) -> Interval:
        """Return it without what rounding cannot do to a product: change its sign.

        Args:
            signs: the lowest and highest sign of the product, from those of its factors: the product itself may have
                lost its sign, by being too small for a number.
        """
        lower = torch.where(signs.lower >= 0, self.lower.clamp(min=0), self.lower)
        return Interval(lower, torch.where(signs.upper <= 0, self.upper.clamp(max=0), self.upper))

    def known(self) -> Interval:
        """Return it with nothing known where a bound is NaN, or so large that it overflowed towards the other."""
        if bool((self.lower.sum() + self.upper.sum()).isfinite()):
            return self
        return Interval(
            self.lower.nan_to_num(-torch.inf, -torch.inf, -torch.inf),
            self.upper.nan_to_num(torch.inf, torch.inf, torch.inf),
        )

    def lost(self, where: torch.Tensor) -> Interval:
        """Return it with nothing known of some samples (batch,)."""
        where = where.reshape(-1, *(1,) * (self.lower.ndim - 1))
        return Interval(self.lower.masked_fill(where, -torch.inf), self.upper.masked_fill(where, torch.inf))

    def laid_out(self) -> Interval:
        """Return it with channels last, if it is a map: convolutions in float32 run faster so."""
        if self.lower.ndim != 5 or self.lower.dtype != torch.float32:
            return self
        lower, upper = (
            end.flatten(0, 1).contiguous(memory_format=torch.channels_last).unflatten(0, end.shape[:2])
            for end in (self.lower, self.upper)
        )
        return Interval(lower, upper)

    def to(self, dtype: torch.dtype) -> Interval:
        """Return it in another dtype, rounded outwards."""
        if self.lower.dtype == dtype:
            return self
        lower, upper = self.lower.to(dtype), self.upper.to(dtype)
        infinity = torch.tensor(torch.inf, dtype=dtype, device=lower.device)
        lower = torch.where(lower.to(self.lower.dtype) > self.lower, torch.nextafter(lower, -infinity), lower)
        upper = torch.where(upper.to(self.upper.dtype) < self.upper, torch.nextafter(upper, infinity), upper)
        return Interval(lower, upper)
