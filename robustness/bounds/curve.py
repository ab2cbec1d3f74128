"""A function of one number, and lines that it lies between over an interval."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import combinations, pairwise

import torch

from xai.robustness.bounds.interval import Interval

Function = Callable[[torch.Tensor], torch.Tensor]
Where = Callable[[Interval], torch.Tensor]
HALVINGS = 30
TINY = 1e-12


@dataclass(frozen=True, kw_only=True)
class Curve:
    """A function of one number, and what must be known of it to bound it.

    Args:
        function: of numbers.
        derivatives: its slope on each stretch between bends, ends included; one function if it is the same on all.
        bends: points between which the slope only rises or only falls, in order: where it changes its course, or jumps.
        turns: where it can change from rising to falling or back, in order.
        straight: whether it is made of straight pieces between its bends.
        terms: roundings, in units of 2 ** -24, of what torch computes in float32; None if that is not known.
        carried: whether those are relative to the input, too, not to the output alone.
        defined: says for intervals whether it has a value everywhere in them; None if it always has.
        least: what it is never below, rounded or not.
        jump: how far what the network computes may lie from it even without rounding.
    """

    function: Function
    derivatives: tuple[Function, ...]
    bends: tuple[float, ...] = ()
    turns: tuple[float, ...] = ()
    straight: bool = False
    terms: int | None = 8
    carried: bool = False
    defined: Where | None = None
    least: float = -torch.inf
    jump: float = 0.0

    def __post_init__(self) -> None:
        if len(self.derivatives) == 1:
            object.__setattr__(self, "derivatives", self.derivatives * (len(self.bends) + 1))
        assert len(self.derivatives) == len(self.bends) + 1, "a slope for each stretch"

    @property
    def kinks(self) -> bool:
        """Whether its slope jumps somewhere."""
        return len(set(self.derivatives)) > 1

    def derivative(self, x: torch.Tensor) -> torch.Tensor:
        """Return the slope; at a jump of it that of the left."""
        found = self.derivatives[0](x)
        for bend, (before, after) in zip(self.bends, pairwise(self.derivatives), strict=True):
            if after is not before:
                found = torch.where(x > bend, after(x), found)
        return found

    def reach(self, box: Interval) -> Interval:
        """Return the smallest and the largest value over boxes: they lie at the ends and the turns within."""
        ends = [box.lower, box.upper, *(torch.minimum(box.upper, box.lower.clamp(min=turn)) for turn in self.turns)]
        values = torch.stack([self.function(end) for end in ends])
        return Interval(values.amin(0), values.amax(0))

    def corners(self, box: Interval) -> list[torch.Tensor]:
        """Return the ends of boxes and the bends within, in order."""
        inner = [torch.minimum(box.upper, box.lower.clamp(min=bend)) for bend in self.bends]
        return [box.lower, *inner, box.upper]


@dataclass(frozen=True)
class Line:
    """A line for each number.

    Args:
        slope: (batch, ...).
        start: (batch, ...) its value at 0.
    """

    slope: torch.Tensor
    start: torch.Tensor

    def at(self, x: torch.Tensor) -> torch.Tensor:
        """Return its value; a level line has one at infinity, too."""
        return torch.where(self.slope == 0, self.start, self.slope * x + self.start)

    def instead(self, other: Line, where: torch.Tensor) -> Line:
        """Return another line where that is wanted."""
        return Line(torch.where(where, other.slope, self.slope), torch.where(where, other.start, self.start))


def lines(curve: Curve, box: Interval) -> tuple[Line, Line]:
    """Return, of several slopes, the lines below and above that are nearest to the curve in the middle of the box."""
    middle, level, reach = box.middle, torch.zeros_like(box.lower), curve.reach(box)
    below, above = Line(level, reach.lower), Line(level, reach.upper)
    for slope in slopes(curve, box):
        lowest, highest = extremes(curve, slope, box)
        low, high = Line(slope, lowest), Line(slope, highest)
        below = below.instead(low, low.at(middle) > below.at(middle))
        above = above.instead(high, high.at(middle) < above.at(middle))
    return below, above


def slopes(curve: Curve, box: Interval) -> list[torch.Tensor]:
    """Return slopes (batch, ...) among which lines near to the curve are found; any slope gives a valid line."""
    corners = curve.corners(box)
    found = [_chord(curve, *pair) for pair in (combinations(corners, 2) if curve.kinks else [(box.lower, box.upper)])]
    if not curve.straight:
        found.append(curve.derivative(box.middle))
        for (start, stop), derivative in zip(pairwise(corners), curve.derivatives, strict=True):
            found += [_touching(curve, end, start, stop, derivative) for end in (box.lower, box.upper) if curve.bends]
    return [slope.nan_to_num(0.0, 0.0, 0.0) for slope in found]


def _touching(
    curve: Curve, end: torch.Tensor, start: torch.Tensor, stop: torch.Tensor, derivative: Function
) -> torch.Tensor:
    """Return the slope of the line that leaves the curve at `end` and touches it between start and stop."""

    def lift(x: torch.Tensor) -> torch.Tensor:
        return derivative(x) * (x - end) - (curve.function(x) - curve.function(end))

    return derivative(_bisect(lift, start, stop)[0])


def _chord(curve: Curve, start: torch.Tensor, stop: torch.Tensor) -> torch.Tensor:
    width = stop - start
    rise = (curve.function(stop) - curve.function(start)) / width.clamp(min=TINY)
    return torch.where(width > 1e-9, rise, curve.derivative((start + stop) / 2))


def _bisect(function: Function, start: torch.Tensor, stop: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return ends of a small interval in which the function has the sign change that it has between start and stop."""
    left, right = start, stop
    sign = function(left) > 0
    for _ in range(HALVINGS):
        middle = (left + right) / 2
        same = (function(middle) > 0) == sign
        left, right = torch.where(same, middle, left), torch.where(same, right, middle)
    return left, right


def extremes(curve: Curve, slope: torch.Tensor, box: Interval) -> tuple[torch.Tensor, torch.Tensor]:
    """Return bounds (batch, ...) of the curve minus slope times x, for x in the box.

    The extremes lie at the ends, at bends, or where the curve has that slope, once at most on each stretch: from there
    to where the search ends, the difference changes by no more than its slope at that end times the way.
    """

    def rest(x: torch.Tensor) -> torch.Tensor:
        return curve.function(x) - slope * x

    corners = curve.corners(box)
    values = torch.stack([rest(corner) for corner in corners])
    lowest, highest = values.amin(0), values.amax(0)
    for (start, stop), derivative in zip(pairwise(corners), curve.derivatives, strict=True):
        if curve.straight:
            break
        left, right = _bisect(lambda x, derivative=derivative: derivative(x) - slope, start, stop)  # type: ignore[misc]  # mypy infers no type of a lambda's default
        room = (derivative(left) - slope).abs() * (right - left)
        lowest, highest = torch.minimum(lowest, rest(left) - room), torch.maximum(highest, rest(left) + room)
    return lowest, highest
