"""Steps that change each number by itself: two lines that a function of one number lies between."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, fields, replace

import torch

from xai.robustness.bounds.curve import Curve, Line, lines
from xai.robustness.bounds.interval import Interval
from xai.robustness.bounds.operation import Free, Operation, Pulled, Relaxation, total
from xai.robustness.bounds.rounding import Rounding

OWN = 8  # roundings of what a curve computes in float64


@dataclass(frozen=True)
class Lines(Relaxation):
    """A line below and a line above, for each number.

    Args:
        low_slope: (batch, ...).
        low: its value at 0.
        high_slope: of the line above.
        high: its value at 0.
        made_of: (batch, ...) sizes; see Relaxation.
        network_made_of: (batch, ...) sizes of the network's own output.
        where: (batch, ...) bool where the line below goes through 0 and its slope is open to choice.
        least: the smallest such slope; the largest is 1.
    """

    low_slope: torch.Tensor
    low: torch.Tensor
    high_slope: torch.Tensor
    high: torch.Tensor
    made_of: torch.Tensor
    network_made_of: torch.Tensor
    where: torch.Tensor | None = None
    least: torch.Tensor | None = None

    def pull(self, rows: torch.Tensor) -> Pulled:
        """Return rows times the line below where they are positive, times the line above where they are negative."""
        positive, negative = rows.clamp(min=0), rows.clamp(max=0)
        coefficients = positive * self.low_slope + negative * self.high_slope
        constant = total(negative, self.high)
        return [coefficients], constant + total(positive, self.low) if bool(self.low.any()) else constant

    def cropped(self, part: Callable[[torch.Tensor], torch.Tensor]) -> Lines:
        """Return the lines of a part of the numbers."""
        own = {field.name: getattr(self, field.name) for field in fields(self)}
        return replace(self, **{name: part(value) for name, value in own.items() if value is not None})

    def sizes(self) -> torch.Tensor:
        """Return the sizes of both lines' terms."""
        return self.made_of

    def network_sizes(self) -> torch.Tensor:
        """Return the sizes of the function's terms."""
        return self.network_made_of

    @property
    def free(self) -> Free | None:
        """The slopes below that may be chosen."""
        if self.where is None or self.least is None:
            return None
        return Free(self.low_slope, self.least, torch.ones_like(self.low_slope), self.where, self.sloped)

    def sloped(self, slope: torch.Tensor) -> Lines:
        """Return the lines with slopes (rows, batch, ...) below where they may be chosen."""
        assert self.where is not None
        return replace(self, low_slope=torch.where(self.where, slope, self.low_slope))


class Rectifier(Operation):
    """x where x is positive, slope times x elsewhere.

    Args:
        slope: of the negative part, at most 1; broadcast against the value without the batch.
    """

    exact_on_boxes = True

    def __init__(self, slope: torch.Tensor) -> None:
        self._slope = slope
        self.terms = 2 if bool(slope.any()) else 0  # x times 0 is exact; else the slope is rounded, too

    def value(self, *x: torch.Tensor) -> torch.Tensor:
        """Return the output."""
        return torch.where(x[0] > 0, x[0], x[0] * self._slope.to(x[0].dtype)) if self.terms else x[0].clamp(min=0)

    def interval(self, rounding: Rounding, *boxes: Interval) -> Interval:
        """Return the extremes: at the ends, and at 0 where the slope is negative."""
        lower, upper = self.value(boxes[0].lower), self.value(boxes[0].upper)
        if not self.terms:
            return Interval(lower, upper)
        least = torch.where(
            (boxes[0].lower < 0) & (boxes[0].upper > 0), torch.zeros_like(lower), torch.minimum(lower, upper)
        )
        found = Interval(torch.minimum(torch.minimum(lower, upper), least), torch.maximum(lower, upper))
        return rounding.outwards(found, self.terms)

    def relax(self, *boxes: Interval) -> Relaxation:
        """Return the chord above; below a line through 0, of the slope that leaves the smaller area (Zhang 2018)."""
        (box,) = boxes
        least = self._slope.to(box.lower.dtype).expand_as(box.lower)
        crossing = (box.lower < 0) & (box.upper > 0)
        fixed = torch.where(box.lower >= 0, torch.ones_like(least), least)
        top, bottom = box.upper, least * box.lower
        width = torch.where(crossing, box.upper - box.lower, torch.ones_like(top))  # a gradient of 0 / 0 is lost
        chord = (top - bottom) / width
        high_slope = torch.where(crossing, chord, fixed)
        high = torch.where(crossing, (least - chord) * box.lower, torch.zeros_like(fixed))
        low_slope = torch.where(crossing, torch.where(box.upper > -box.lower, torch.ones_like(least), least), fixed)
        sizes = box.magnitude * (1 + high_slope.abs() + least.abs()) + high.abs()
        none = torch.zeros_like(high)
        own = box.magnitude * least.abs()
        return Lines(low_slope, none, high_slope, high, sizes, own, crossing, least)

    def wanted(self, box: Interval) -> torch.Tensor:
        """Say where both parts are reached."""
        return (box.lower < 0) & (box.upper > 0)


class Elementwise(Operation):
    """A curve over each number."""

    exact_on_boxes = True

    def __init__(self, curve: Curve) -> None:
        self._curve = curve
        self.terms = curve.terms

    def value(self, *x: torch.Tensor) -> torch.Tensor:
        """Return the output."""
        return self._curve.function(x[0])

    def undefined(self, *boxes: Interval) -> torch.Tensor | None:
        """Return which samples (batch,) may hold a number that the curve has no value for."""
        return None if self._curve.defined is None else ~self._curve.defined(boxes[0]).flatten(1).all(1)

    def interval(self, rounding: Rounding, *boxes: Interval) -> Interval:
        """Return the extremes over the ends and the turns within."""
        found = self._curve.reach(boxes[0])
        terms = OWN if self.terms or not self._curve.straight else 0
        terms = max(terms, self.terms or 0)
        if self._curve.carried:
            wide = found.widened(rounding.forward(self._sizes(found, boxes[0]), terms))
        else:
            wide = rounding.outwards(found, terms)
        wide = wide.widened(torch.full_like(found.lower, self._curve.jump)) if self._curve.jump else wide
        return Interval(wide.lower.clamp(min=self._curve.least), wide.upper)

    def relax(self, *boxes: Interval) -> Relaxation:
        """Return, of several slopes, the lines that are nearest at the middle of the box."""
        (box,) = boxes
        below, above = lines(self._curve, box)
        own = self._sizes(self._curve.reach(box), box)
        far = box.magnitude.clamp(max=torch.finfo(box.lower.dtype).max)  # a level line holds to infinity
        sizes = own + (below.slope.abs() + above.slope.abs()) * far + below.start.abs() + above.start.abs()
        low, high = below.start - self._curve.jump, above.start + self._curve.jump
        return Lines(below.slope, low, above.slope, high, sizes, own)

    def _sizes(self, reach: Interval, box: Interval) -> torch.Tensor:
        """Return the sizes that the function's own error is relative to."""
        return reach.magnitude + box.magnitude if self._curve.carried else reach.magnitude


class Wave(Elementwise):
    """A curve that repeats itself every 2 pi, its bends and turns given from -2 pi to 2 pi; it lies within -1 and 1."""

    def interval(self, rounding: Rounding, *boxes: Interval) -> Interval:
        """Return the extremes over the ends and the turns within; from -1 to 1 over a whole period."""
        (box,) = boxes
        moved, _, whole = _reduced(box)
        reach = self._curve.reach(moved)
        one = torch.ones_like(box.lower)
        room = rounding.forward(one, self.terms or 0) + _slip(box) * 2
        return Interval(
            torch.maximum(torch.where(whole, -one, reach.lower) - room, -one - room),
            torch.minimum(torch.where(whole, one, reach.upper) + room, one + room),
        )

    def relax(self, *boxes: Interval) -> Relaxation:
        """Return the lines over the box moved by whole periods, and level ones over a whole period."""
        (box,) = boxes
        moved, by, whole = _reduced(box)
        level = torch.zeros_like(by)
        below, above = (
            Line(line.slope, line.start - line.slope * by).instead(Line(level, level + end), whole)
            for line, end in zip(lines(self._curve, moved), (-1.0, 1.0), strict=True)
        )
        own = torch.ones_like(by)
        sizes = 2 * own + box.magnitude * (1 + below.slope.abs() + above.slope.abs()) * 4
        return Lines(below.slope, below.start, above.slope, above.start, sizes, own)


def _reduced(box: Interval) -> tuple[Interval, torch.Tensor, torch.Tensor]:
    """Return a box around 0, by how much it was moved, and where it holds a whole period or is not known."""
    by = (box.middle / (2 * math.pi)).round() * (2 * math.pi)
    whole = ~(box.width < 2 * math.pi)
    by = torch.where(whole, torch.zeros_like(by), by)
    none = torch.zeros_like(by)
    return Interval(torch.where(whole, none, box.lower - by), torch.where(whole, none, box.upper - by)), by, whole


def _slip(box: Interval) -> torch.Tensor:
    """Return how far rounding can carry a number that is moved by whole periods."""
    return (8 * torch.finfo(box.lower.dtype).eps * box.magnitude).clamp(max=2.0)
