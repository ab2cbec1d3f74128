"""Normalisation of numbers by their own mean and size."""

from __future__ import annotations

import torch

from xai.robustness.bounds.affine import Affine
from xai.robustness.bounds.interval import Interval
from xai.robustness.bounds.operation import Pulled
from xai.robustness.bounds.product import Times
from xai.robustness.bounds.rounding import HALF, Rounding, gamma


class Centred(Affine):
    """Each number minus the mean of the last axis.

    Args:
        numbers: length of the last axis.
    """

    def __init__(self, numbers: int) -> None:
        self._numbers = numbers
        self.terms = numbers + 3

    def value(self, *x: torch.Tensor) -> torch.Tensor:
        """Return the output."""
        return x[0] - x[0].mean(-1, keepdim=True)

    def interval(self, rounding: Rounding, *boxes: Interval) -> Interval:
        """Return the ends, the own number weighed apart from the others."""
        (box,) = boxes
        lower = box.lower - (box.upper.sum(-1, keepdim=True) - box.width) / self._numbers
        upper = box.upper - (box.lower.sum(-1, keepdim=True) + box.width) / self._numbers
        return Interval(lower, upper).widened(rounding.forward(3 * self.magnitude(box), self.terms))

    def magnitude(self, *boxes: Interval) -> torch.Tensor:
        """Return the size of the number plus the sizes' mean."""
        sizes = boxes[0].magnitude
        return sizes + sizes.mean(-1, keepdim=True)

    def pull(self, rows: torch.Tensor) -> Pulled:
        """Return rows minus their mean: the matrix is its own transpose."""
        return [rows - rows.mean(-1, keepdim=True)], rows.new_zeros(rows.shape[:2], dtype=torch.float64)


class Standardised(Times):
    """Numbers times one over the root of their mean square plus eps, along the last axis; both have the same shape.

    Args:
        eps: is added to the mean square.
    """

    def __init__(self, eps: float) -> None:
        self._eps = eps

    def interval(self, rounding: Rounding, *boxes: Interval) -> Interval:
        """Return what the product allows, and what numbers allow that are free of each other.

        Each output rises with its own number, and its size falls with the sizes of the others.
        """
        x = boxes[0]
        flipped = Interval(-x.upper, -x.lower)
        known = Interval(-self._highest(flipped), self._highest(x))
        known = rounding.outwards(known, 16)
        return super().interval(rounding, *boxes).within(known)

    def _highest(self, x: Interval) -> torch.Tensor:
        largest = x.magnitude.square()
        smallest = torch.where((x.lower > 0) | (x.upper < 0), torch.minimum(x.lower.abs(), x.upper.abs()), 0.0).square()
        others = torch.where(x.upper > 0, _others(smallest, -1), _others(largest, 1))
        squares = (x.upper.square() + others) / x.lower.shape[-1]
        return x.upper / (squares + self._eps).sqrt()


def _others(squares: torch.Tensor, sign: int) -> torch.Tensor:
    """Return the sum of the others' squares along the last axis, rounded down (sign -1) or up (sign 1)."""
    total = squares.sum(-1, keepdim=True)
    slack = total * (2 * gamma(squares.shape[-1] + 4, HALF[squares.dtype]))
    return (total - squares + sign * slack).clamp(min=0)
