"""Softmax and the logarithm of a sum of exponentials, along the last axis.

A share is one over the sum of exp(x_j - x_i). The sum is convex, so that chords bound it above and tangents below, and
so is one over it (the bounds ER of Wei et al. 2023, Convex bounds on the softmax function with applications to
robustness verification).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch

from xai.robustness.bounds.interval import Interval
from xai.robustness.bounds.operation import Operation, Pulled, Relaxation, total
from xai.robustness.bounds.rounding import HALF, Arithmetic, Rounding

NARROW = 1e-12


class Softmax(Operation):
    """exp(x_i) / sum_j exp(x_j).

    An output of torch's kernel, which first subtracts the largest number, is off by at most 2 n + 24 units of 2 ** -24:
    a difference d that is rounded changes exp(d) by |d| exp(d) <= 1 / e units, each exponential by 8, their sum by n.

    Args:
        numbers: length of the last axis.
        kept: (..., n) bool, which numbers take part; others have no share. None if all do.
    """

    def __init__(self, numbers: int, kept: torch.Tensor | None = None) -> None:
        self.terms: int = 2 * numbers + 24
        self._kept = kept

    def value(self, *x: torch.Tensor) -> torch.Tensor:
        """Return the shares."""
        return self.masked(x[0]).softmax(-1)

    def masked(self, x: torch.Tensor) -> torch.Tensor:
        """Return numbers with minus infinity for those that take no part."""
        return x if self._kept is None else x.masked_fill(~self._kept, -torch.inf)

    def interval(self, rounding: Rounding, *boxes: Interval) -> Interval:
        """Return the shares with the own number at one end and the others at the other."""
        lower, upper = self.masked(boxes[0].lower), self.masked(boxes[0].upper)
        least = (lower - torch.logaddexp(lower, _others(upper))).exp()
        most = (upper - torch.logaddexp(upper, _others(lower))).exp()
        if self._kept is not None:
            least, most = (share.masked_fill(~self._kept, 0.0) for share in (least, most))
        sizes = boxes[0].magnitude.amax(-1, keepdim=True) + math.log(lower.shape[-1]) + 1
        room = (4 * self.terms * HALF[lower.dtype] * sizes).expm1()  # an error of a logarithm is relative of a share
        room = room + rounding.forward(torch.ones_like(most), self.terms)
        return Interval(torch.fmax(least - room, torch.zeros_like(least)), torch.fmin(most + room, 1 + room))

    def relax(self, *boxes: Interval) -> Relaxation:
        """Return for each share the nearer at the middle of a plane and a constant, below and above."""
        (box,) = boxes
        kept = torch.ones((), dtype=torch.bool, device=box.lower.device) if self._kept is None else self._kept
        kept = kept.expand_as(box.lower)
        others = ~torch.eye(box.lower.shape[-1], dtype=torch.bool, device=box.lower.device)
        reach = self.interval(Rounding(Arithmetic.REAL, box.lower.dtype), box)
        return _shares(box, reach, kept[..., None, :] & kept[..., :, None] & others)


def _others(x: torch.Tensor) -> torch.Tensor:
    """Return the logarithm of the sum of the others' exponentials along the last axis."""
    nothing = torch.full_like(x[..., :1], -torch.inf)
    before = torch.cat([nothing, x[..., :-1].logcumsumexp(-1)], -1)
    after = torch.cat([x.flip(-1)[..., :-1].logcumsumexp(-1).flip(-1), nothing], -1)
    return torch.logaddexp(before, after)


@dataclass(frozen=True)
class Shares(Relaxation):
    """Planes below and above each share.

    Args:
        low: (batch, ..., n, n) coefficients of the plane below, an output a row.
        low_start: (batch, ..., n) its value at 0.
        high: of the plane above.
        high_start: of the plane above.
        made_of: (batch, ..., n) sizes; see Relaxation.
    """

    low: torch.Tensor
    low_start: torch.Tensor
    high: torch.Tensor
    high_start: torch.Tensor
    made_of: torch.Tensor

    def pull(self, rows: torch.Tensor) -> Pulled:
        """Return rows times the planes below where they are positive, times those above where they are negative."""
        positive, negative = rows.clamp(min=0), rows.clamp(max=0)
        coefficients = positive[..., None, :] @ self.low + negative[..., None, :] @ self.high
        return [coefficients.squeeze(-2)], total(positive, self.low_start) + total(negative, self.high_start)

    def sizes(self) -> torch.Tensor:
        """Return those of both planes."""
        return self.made_of

    def network_sizes(self) -> torch.Tensor:
        """Return one, which a share is never above."""
        return torch.ones_like(self.made_of)


@dataclass(frozen=True)
class Sums:
    """Planes that bound sums of exponentials of differences.

    Args:
        slope: (batch, ..., n, n) coefficients of x_j - x_i, an output i a row.
        start: (batch, ..., n) constant.
        sizes: (batch, ..., n) of what makes the plane's value.
    """

    slope: torch.Tensor
    start: torch.Tensor
    sizes: torch.Tensor

    def at(self, x: torch.Tensor) -> torch.Tensor:
        """Return the planes' values."""
        return (self.slope * _differences(x, x)).sum(-1) + self.start

    def matrix(self) -> torch.Tensor:
        """Return coefficients (batch, ..., n, n) of the numbers themselves."""
        return self.slope - torch.diag_embed(self.slope.sum(-1))


def _differences(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """Return x_j - y_i (..., i, j)."""
    return x[..., None, :] - y[..., :, None]


def _shares(box: Interval, reach: Interval, pairs: torch.Tensor) -> Shares:
    """Return planes over a box.

    Args:
        box: of its inputs.
        reach: of its outputs.
        pairs: (..., n, n) bool, where both numbers take part and are not the same.
    """
    below, above = _tangents(box, pairs), _chords(box, pairs)
    middle = above.at(box.middle)
    low_slope, low = -1 / middle.square(), 2 / middle  # the tangent of 1 / sum in the middle
    high_slope, high = -reach.lower * reach.upper, reach.lower + reach.upper  # its chord
    sizes = low_slope.abs() * above.sizes + high_slope.abs() * below.sizes + low.abs() + high.abs()
    low_start, high_start = low + low_slope * above.start, high + high_slope * below.start
    use_low = (low + low_slope * middle > reach.lower) & sizes.isfinite() & pairs.any(-1)
    use_high = (high + high_slope * below.at(box.middle) < reach.upper) & sizes.isfinite() & pairs.any(-1)
    none = torch.zeros((), dtype=low.dtype, device=low.device)
    return Shares(
        torch.where(use_low[..., None], low_slope[..., None] * above.matrix(), none),
        torch.where(use_low, low_start, reach.lower),
        torch.where(use_high[..., None], high_slope[..., None] * below.matrix(), none),
        torch.where(use_high, high_start, reach.upper),
        torch.where(use_low | use_high, sizes, none) + 1,
    )


def _chords(box: Interval, pairs: torch.Tensor) -> Sums:
    """Return planes above the sums: a chord of the exponential for each difference."""
    least, most = _differences(box.lower, box.upper), _differences(box.upper, box.lower)
    width = (most - least).clamp(min=NARROW)
    slope = torch.where(most - least > NARROW, least.exp() * width.expm1() / width, most.exp())
    start = least.exp() - slope * least
    made_of = most.exp() * (2 + least.abs() + most.abs()) + slope * (_sizes(box) + least.abs())
    return _summed(slope, start, made_of, pairs)


def _tangents(box: Interval, pairs: torch.Tensor) -> Sums:
    """Return planes below the sums: the tangent of the exponential in the middle for each difference."""
    touch = _differences(box.middle, box.middle)
    slope = touch.exp()
    return _summed(slope, slope * (1 - touch), slope * (2 + touch.abs() + _sizes(box)), pairs)


def _sizes(box: Interval) -> torch.Tensor:
    return box.magnitude[..., None, :] + box.magnitude[..., :, None]


def _summed(slope: torch.Tensor, start: torch.Tensor, made_of: torch.Tensor, pairs: torch.Tensor) -> Sums:
    slope, start, made_of = (torch.where(pairs, part, torch.zeros_like(part)) for part in (slope, start, made_of))
    return Sums(slope, 1 + start.sum(-1), 1 + made_of.sum(-1))


class LogSumExp(Operation):
    """log(sum_j exp(x_j)), with a last axis of length 1.

    It is off by at most n + 24 units of 2 ** -24 of the largest number's size and log(n): torch's kernel subtracts the
    largest number first.

    Args:
        numbers: length of the last axis.
    """

    def __init__(self, numbers: int) -> None:
        self.terms: int = numbers + 24
        self._numbers = numbers

    def value(self, *x: torch.Tensor) -> torch.Tensor:
        """Return the output."""
        return x[0].logsumexp(-1, keepdim=True)

    def interval(self, rounding: Rounding, *boxes: Interval) -> Interval:
        """Return the values at the ends: it rises with every number."""
        found = Interval(self.value(boxes[0].lower), self.value(boxes[0].upper))
        return found.widened(rounding.forward(self.made_of(boxes[0]), self.terms))

    def made_of(self, box: Interval) -> torch.Tensor:
        """Return the sizes (batch, ..., 1) that its rounding is relative to."""
        return box.magnitude.amax(-1, keepdim=True) + math.log(self._numbers) + 1

    def relax(self, *boxes: Interval) -> Relaxation:
        """Return the tangent plane in the middle; above, chords of the exponentials and a tangent of the logarithm."""
        (box,) = boxes
        own = self.made_of(box)
        middle, shift = box.middle, box.upper.amax(-1, keepdim=True)
        share = middle.softmax(-1)
        low = self.value(middle) - (share * middle).sum(-1, keepdim=True)
        least, most = box.lower - shift, box.upper - shift
        width = (most - least).clamp(min=NARROW)
        slope = torch.where(most - least > NARROW, least.exp() * width.expm1() / width, most.exp())
        at_middle = (least.exp() + slope * (middle - box.lower)).sum(-1, keepdim=True)
        slope = slope / at_middle
        high = shift + at_middle.log() - (slope * middle).sum(-1, keepdim=True)
        sizes = ((share + slope) * box.magnitude).sum(-1, keepdim=True) + low.abs() + high.abs() + 4 * own
        return Around(share, low, slope, high, sizes, own)


@dataclass(frozen=True)
class Around(Relaxation):
    """A plane below and a plane above each sum along the last axis.

    Args:
        low_slope: (batch, ..., n).
        low: (batch, ..., 1) its value at 0.
        high_slope: of the plane above.
        high: of the plane above.
        made_of: (batch, ..., 1) sizes; see Relaxation.
        network_made_of: (batch, ..., 1) sizes of the network's own output.
    """

    low_slope: torch.Tensor
    low: torch.Tensor
    high_slope: torch.Tensor
    high: torch.Tensor
    made_of: torch.Tensor
    network_made_of: torch.Tensor

    def pull(self, rows: torch.Tensor) -> Pulled:
        """Return rows times the plane below where they are positive, times the plane above where they are negative."""
        positive, negative = rows.clamp(min=0), rows.clamp(max=0)
        coefficients = positive * self.low_slope + negative * self.high_slope
        return [coefficients], total(positive, self.low) + total(negative, self.high)

    def sizes(self) -> torch.Tensor:
        """Return those of both planes."""
        return self.made_of

    def network_sizes(self) -> torch.Tensor:
        """Return those of the function."""
        return self.network_made_of
