"""Steps that change each number by itself: two lines that a function of one number lies between."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from itertools import pairwise

import torch

from xai.robustness.bounds.interval import Interval
from xai.robustness.bounds.operation import Free, Operation, Pulled, Relaxation, total
from xai.robustness.bounds.rounding import Rounding

Function = Callable[[torch.Tensor], torch.Tensor]
HALVINGS = 30


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

    def cropped(self, part: Function) -> Lines:
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

    def __init__(self, slope: torch.Tensor) -> None:
        self._slope = slope.detach()
        self.terms = 1 if bool(slope.any()) else 0  # x times 0 is exact

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
        return found.widened(rounding.forward(boxes[0].magnitude * self._slope.abs().clamp(min=1).to(lower.dtype), 1))

    def relax(self, *boxes: Interval) -> Relaxation:
        """Return the chord above; below a line through 0, of the slope that leaves the smaller area (Zhang 2018)."""
        (box,) = boxes
        least = self._slope.to(box.lower.dtype).expand_as(box.lower)
        crossing = (box.lower < 0) & (box.upper > 0)
        fixed = torch.where(box.lower >= 0, torch.ones_like(least), least)
        top, bottom = box.upper, least * box.lower
        chord = (top - bottom) / (box.upper - box.lower)
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


@dataclass(frozen=True)
class Curve:
    """A function of one number, and what must be known of it to bound it.

    Args:
        function: of numbers.
        derivative: its slope; between bends it only rises or only falls.
        bends: points between which the slope only rises or only falls, in order: where it changes its course, or jumps.
        turns: where it can change from rising to falling, in order.
        straight: whether it is made of straight pieces between its bends.
        terms: roundings, in units of the last place, of what torch computes in float32; None if that is not known.
        carried: whether those are relative to the input, too, not to the output alone.
        domain: smallest input that it has a value for.
    """

    function: Function
    derivative: Function
    bends: tuple[float, ...] = ()
    turns: tuple[float, ...] = ()
    straight: bool = False
    terms: int | None = 8
    carried: bool = False
    domain: float = -torch.inf


class Elementwise(Operation):
    """A curve over each number."""

    def __init__(self, curve: Curve) -> None:
        self._curve = curve
        self.terms = curve.terms

    def value(self, *x: torch.Tensor) -> torch.Tensor:
        """Return the output."""
        return self._curve.function(x[0])

    def interval(self, rounding: Rounding, *boxes: Interval) -> Interval:
        """Return the extremes over the ends and the turns within."""
        (box,) = boxes
        ends = [
            box.lower,
            box.upper,
            *(torch.minimum(box.upper, box.lower.clamp(min=turn)) for turn in self._curve.turns),
        ]
        values = torch.stack([self._curve.function(end) for end in ends])
        found = Interval(values.amin(0), values.amax(0))
        sizes = found.magnitude + box.magnitude if self._curve.carried else found.magnitude
        terms = self.terms or 0
        wide = found.widened(rounding.forward(sizes, max(terms, 0 if self._curve.straight else 8)))
        outside = (
            box.lower < self._curve.domain
            if self._curve.domain > -torch.inf
            else torch.zeros_like(box.lower, dtype=torch.bool)
        )
        nothing = torch.full_like(box.lower, torch.nan)
        return Interval(torch.where(outside, nothing, wide.lower), torch.where(outside, nothing, wide.upper))

    def relax(self, *boxes: Interval) -> Relaxation:
        """Return, of several slopes, the lines that are nearest at the middle of the box."""
        (box,) = boxes
        middle = box.middle
        low_slope, low, high_slope, high = (torch.zeros_like(middle) for _ in range(4))
        best_low, best_high = torch.full_like(middle, -torch.inf), torch.full_like(middle, torch.inf)
        for slope in slopes(self._curve, box):
            below, above = extremes(self._curve, slope, box)
            at_low, at_high = slope * middle + below, slope * middle + above
            better = at_low > best_low
            best_low, low_slope, low = (
                torch.where(better, *pair) for pair in ((at_low, best_low), (slope, low_slope), (below, low))
            )
            better = at_high < best_high
            best_high, high_slope, high = (
                torch.where(better, *pair) for pair in ((at_high, best_high), (slope, high_slope), (above, high))
            )
        low, high = (
            torch.where(best_low > -torch.inf, low, best_low),
            torch.where(best_high < torch.inf, high, best_high),
        )
        ends = torch.stack([self._curve.function(box.lower), self._curve.function(box.upper)]).abs().amax(0)
        steepest = 1 + low_slope.abs() + high_slope.abs()
        sizes = ends + steepest * box.magnitude + low.abs() + high.abs()
        own = ends + (box.magnitude if self._curve.carried or self._curve.turns else 0)
        return Lines(low_slope, low, high_slope, high, sizes, own)


def slopes(curve: Curve, box: Interval) -> list[torch.Tensor]:
    """Return slopes (batch, ...) among which lines near to the curve are found; any slope gives a valid line."""
    lower, upper, f, df = box.lower, box.upper, curve.function, curve.derivative
    width = (upper - lower).clamp(min=1e-12)
    chord = torch.where(upper - lower > 1e-9, (f(upper) - f(lower)) / width, df(box.middle))
    found = [chord, torch.zeros_like(chord)]
    if not curve.straight:
        found += [df(box.middle), df(lower), df(upper)]
    for bend, before, after in zip(
        curve.bends, (-torch.inf, *curve.bends), (*curve.bends[1:], torch.inf), strict=False
    ):
        corner = lower.clamp(min=bend).minimum(upper)
        if curve.straight:
            found += [
                (f(corner) - f(lower)) / (corner - lower).clamp(min=1e-12),
                (f(upper) - f(corner)) / (upper - corner).clamp(min=1e-12),
            ]
        else:
            found.append(df(_touch(curve, lower, corner, upper.clamp(max=after).maximum(lower))))
            found.append(df(_touch(curve, upper, lower.clamp(min=before).minimum(upper), corner)))
    return [slope.nan_to_num(0.0, 0.0, 0.0) for slope in found]


def _touch(curve: Curve, end: torch.Tensor, start: torch.Tensor, stop: torch.Tensor) -> torch.Tensor:
    """Return where, between start and stop, the line from the curve's point at `end` touches the curve."""

    def lift(x: torch.Tensor) -> torch.Tensor:
        return curve.derivative(x) * (x - end) - (curve.function(x) - curve.function(end))

    return _bisect(lift, start, stop)[0]


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
    """Return the smallest and the largest (batch, ...) of the curve minus slope times x, for x in the box.

    They lie at the ends, at bends, or where the curve has that slope, once at most between two bends.
    """

    def rest(x: torch.Tensor) -> torch.Tensor:
        return curve.function(x) - slope * x

    corners = [box.lower, *(box.lower.clamp(min=bend).minimum(box.upper) for bend in curve.bends), box.upper]
    values = [rest(corner) for corner in corners]
    lowest, highest = torch.stack(values).amin(0), torch.stack(values).amax(0)
    if curve.straight:
        return lowest, highest
    for start, stop in pairwise(corners):
        left, right = _bisect(lambda x: curve.derivative(x) - slope, start, stop)
        room = (curve.derivative(left) - slope).abs() * (right - left)
        value = rest(left)
        lowest, highest = torch.minimum(lowest, value - room), torch.maximum(highest, value + room)
    return lowest, highest


def clamped(low: float, high: float) -> Curve:
    """Return the curve that cuts numbers off at both sides."""

    def inside(x: torch.Tensor) -> torch.Tensor:
        return ((x > low) & (x < high)).to(x.dtype)

    bends = tuple(bend for bend in (low, high) if abs(bend) < float("inf"))
    return Curve(lambda x: x.clamp(low, high), inside, bends=bends, straight=True, terms=0)


def sorted_bends(bends: Sequence[float]) -> tuple[float, ...]:
    """Return bends in order, each once."""
    return tuple(sorted(set(bends)))
