"""Lower bounds of linear functions of a network's values, computed in float64 and rounded outwards.

A sum of n products errs by at most gamma(n) times the sum of the products' sizes, in whatever order it is taken
(Higham 2002, Accuracy and Stability of Numerical Algorithms, ch. 3). Going backwards, what the computed coefficients
differ by from the exact ones is multiplied by the largest size that each value has, and subtracted from the bound.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from xai.robustness.verify.checker.network import Affine, Array, Bent, Given, Largest, Matrix, Network, Rectified

UNIT = 2.0**-53
ROOM = 1 + 2.0**-20  # what errors themselves are rounded by
TINY = 1e-200  # more than all products lose that are too small for a number
LARGEST = 1e100  # of a value: beyond, products may overflow
MEMORY = 2**26  # bytes that coefficients may take at their widest
HALVINGS = 60
Numbers = NDArray[np.int64]


def gamma(terms: int) -> float:
    """Return the largest relative error of so many roundings, with some room."""
    return 2 * (terms + 16) * UNIT


@dataclass(frozen=True)
class Box:
    """Bounds of numbers.

    Args:
        lower: (batch, size).
        upper: (batch, size).
    """

    lower: Array
    upper: Array

    @property
    def size(self) -> Array:
        """The largest size (batch, size) of each number."""
        return np.maximum(np.abs(self.lower), np.abs(self.upper))

    def within(self, other: Box) -> Box:
        """Return what both allow."""
        return Box(np.maximum(self.lower, other.lower), np.minimum(self.upper, other.upper))

    def of(self, samples: NDArray[np.int64] | slice) -> Box:
        """Return some samples' own."""
        return Box(self.lower[samples], self.upper[samples])


@dataclass(frozen=True)
class Region:
    """Inputs: boxes, and a ball around a centre that they must lie in, too, if there is one.

    Args:
        box: (batch, size).
        norm: of the ball: "l1", "l2"; "linf" where there is none.
        centre: (size,).
        radius: of it.
    """

    box: Box
    norm: str = "linf"
    centre: Array | None = None
    radius: float = 0.0

    def lowest(self, rows: Array) -> Array:
        """Return a lower bound (batch, rows) of rows (batch, rows, size) times an input."""
        box = self.box
        found = _times(np.maximum(rows, 0), box.lower) + _times(np.minimum(rows, 0), box.upper)
        found = found - 2 * gamma(2 * rows.shape[-1]) * _times(np.abs(rows), box.size)
        return found if self.centre is None or not self.radius else np.maximum(found, self._in_ball(rows, self.centre))

    def _in_ball(self, rows: Array, centre: Array) -> Array:
        """Return a lower bound from the ball and the box: weak duality, at whatever price for the ball's size."""
        room = np.where(rows > 0, centre - self.box.lower[:, None], self.box.upper[:, None] - centre)
        slope, room = np.abs(rows), np.maximum(room, 0) * (1 + 4 * UNIT)
        low, high = np.zeros(rows.shape[:2]), np.maximum(slope.max(-1), np.sqrt((slope**2).sum(-1)) / self.radius)
        best = np.full(rows.shape[:2], np.inf)
        for _ in range(HALVINGS):
            price = (low + high) / 2
            size, gain = self._change(slope, room, price)
            best = np.minimum(best, gain)
            fits = size <= self.radius
            low, high = np.where(fits, low, price), np.where(fits, price, high)
        middle = np.broadcast_to(centre, self.box.lower.shape)
        sizes = _times(slope, np.abs(middle) + 2 * self.box.size) + best
        return np.asarray(_times(rows, middle) - best - 4 * gamma(4 * rows.shape[-1]) * sizes)

    def _change(self, slope: Array, room: Array, price: Array) -> tuple[Array, Array]:
        """Return the size of the change that is best at a price, and the most that any change within the ball gains."""
        cost = price[..., None]
        if self.norm == "l1":
            change = np.where(slope > cost, room, 0.0)
            return change.sum(-1), ((slope - cost) * change).sum(-1) + price * self.radius
        change = np.minimum(slope / np.maximum(2 * cost, 1e-300), room)
        return np.sqrt((change**2).sum(-1)), (slope * change - cost * change**2).sum(-1) + price * self.radius**2


@dataclass(frozen=True)
class Chosen:
    """What a proof has chosen for some rows.

    Args:
        slopes: (batch, rows, size) or (batch, 1, size) of the lines below, by the rectifier's place; each is taken
            where the rectifier bends.
        prices: (batch, rows, size) to pay for the constraint of a rectifier's input, by the rectifier's place.
        sides: (batch, size) 1 where the constraint is that the number is at least `at`, -1 at most, by place.
        at: (batch, size).
    """

    slopes: Mapping[int, Array] = field(default_factory=dict)
    prices: Mapping[int, Array] = field(default_factory=dict)
    sides: Mapping[int, Array] = field(default_factory=dict)
    at: Mapping[int, Array] = field(default_factory=dict)


@dataclass(frozen=True)
class Certificate:
    """Slopes that were chosen to bound what enters a rectifier, of one sample.

    Args:
        numbers: (n,) which of its numbers.
        signs: (n,) 1 for a bound from below, -1 from above.
        slopes: (1, n, size) by the place of an earlier rectifier.
    """

    numbers: Numbers
    signs: Numbers
    slopes: Mapping[int, Array]


@dataclass(frozen=True)
class _Lines:
    """For each number (batch, size) two lines around a rectifier."""

    below: Array
    above: Array
    start: Array
    bends: NDArray[np.bool_]


@dataclass(frozen=True)
class _Planes:
    """For each window (batch, size) the number that it is at least, and a plane above it.

    Args:
        below: (batch, size) the place in the window.
        above: (batch, size, places) slopes.
        start: (batch, size) the plane's constant.
    """

    below: Numbers
    above: Array
    start: Array


class Enclosure:
    """What is known of a network's values over some regions.

    Args:
        network: as matrices.
        region: of each sample.
        known: (batch, size) what is known of rectifiers' inputs, by the rectifier's place.
    """

    def __init__(self, network: Network, region: Region, known: Mapping[int, Box] | None = None) -> None:
        self.network, self.region, self.known = network, region, known or {}
        self.batch = len(region.box.lower)
        self.boxes: dict[int, Box] = {}
        self.entering: dict[int, Box] = {}  # the inputs of rectifiers and maxima, by their place
        self._sizes: dict[int, Array] = {}
        self._lines: dict[int, _Lines] = {}
        self._planes: dict[int, _Planes] = {}

    def spread(self, chosen: Mapping[int, Certificate] | None = None) -> None:
        """Bound every value in turn, and what enters rectifiers and maxima backwards where it matters.

        Args:
            chosen: slopes for what enters them, by their place; of one region only.
        """
        for place, value in enumerate(self.network.values):
            if isinstance(value, Bent):
                self._enter(place, value, (chosen or {}).get(place))
            self.boxes[place] = self._forward(place)

    def cut(self, known: Mapping[int, Box]) -> Enclosure:
        """Return what is known of parts of one region, each with boxes (batch, size) of some rectifiers' inputs."""
        found = Enclosure(self.network, self.region, known)
        found.boxes, found._sizes = self.boxes, self._sizes
        found.entering, found._lines, found._planes = dict(self.entering), dict(self._lines), self._planes
        for place, box in known.items():
            value = self.network.values[place]
            assert isinstance(value, Rectified)
            found.entering[place] = box.within(self.entering[place])
            found._lines[place] = _lines(found.entering[place], value.slope)
            found.batch = len(box.lower)
        return found

    @property
    def empty(self) -> NDArray[np.bool_]:
        """Which samples (batch,) hold no input: what must be at least a number must be at most a smaller one."""
        found = np.zeros(self.batch, dtype=bool)
        for box in self.entering.values():
            found = found | (box.lower > box.upper).any(1)
        return found & (self._largest() < LARGEST)

    def _forward(self, place: int) -> Box:
        value = self.network.values[place]
        if isinstance(value, Given):
            return self.region.box
        if isinstance(value, Rectified):
            box = self.entering[place]
            lower, upper = _rectified(box.lower, value.slope), _rectified(box.upper, value.slope)
            return Box(lower - np.abs(lower) * 2 * UNIT, upper + np.abs(upper) * 2 * UNIT)
        if isinstance(value, Largest):
            box = self.entering[place]
            return Box(value.of(box.lower, -np.inf).max(-1), value.of(box.upper, -np.inf).max(-1))
        middle, spread = value.bias[None].copy(), np.zeros((1, value.size))
        size = np.abs(value.bias)[None]
        for (source, matrix), sizes in zip(value.parts, value.sizes, strict=True):
            box = self.boxes[source]
            centre = (box.lower + box.upper) / 2
            reach = np.maximum(box.upper - centre, centre - box.lower)
            middle, spread = middle + _onto(centre, matrix), spread + _onto(reach, sizes)
            size = size + _onto(box.size, sizes)
        self._sizes[place] = size * ROOM
        room = spread + 4 * gamma(value.terms) * size + TINY
        return Box(middle - room, middle + room)

    def _enter(self, place: int, value: Bent, chosen: Certificate | None) -> None:
        """Bound what enters a rectifier or a maximum, as far as that matters to its lines."""
        box = self.boxes[value.source]
        if place in self.known:
            box = box.within(self.known[place])
        wanted = _open(value, box)
        for sign in (1, -1):
            done = np.zeros(wanted.shape[1], dtype=bool)
            if chosen is not None:
                own = chosen.numbers[chosen.signs == sign]
                done[own] = True
                slopes = {at: part[:, chosen.signs == sign] for at, part in chosen.slopes.items()}
                box = box.within(self._backwards(value, own[None], sign, slopes))
            left = wanted & ~done
            most = int(left.sum(1).max())
            box = box.within(self._backwards(value, np.argsort(~left, axis=1, kind="stable")[:, :most], sign, {}))
        self.entering[place] = box
        if isinstance(value, Largest):
            self._planes[place] = _planes(value, box)
        else:
            self._lines[place] = _lines(box, value.slope)

    def _backwards(self, value: Bent, numbers: Numbers, sign: int, slopes: Mapping[int, Array]) -> Box:
        """Return a box of some numbers (batch, n) of what enters a value, from one side: from below for 1."""
        count = self.network.values[value.source].size
        widest = max(one.size for one in self.network.values[: value.source + 1])
        step = max(1, MEMORY // (8 * widest * self.batch))
        found = np.full((self.batch, count), -np.inf)
        for begin in range(0, numbers.shape[1], step):
            own = numbers[:, begin : begin + step]
            rows = np.zeros((*own.shape, count))
            np.put_along_axis(rows, own[:, :, None], sign, 2)
            part = {place: one[:, begin : begin + step] for place, one in slopes.items()}
            np.put_along_axis(found, own, self.lowest(value.source, rows, Chosen(part)), 1)
        free = np.full_like(found, np.inf)
        return Box(found, free) if sign > 0 else Box(-free, -found)

    def lowest(self, start: int, rows: Array, chosen: Chosen | None = None, *, stop: bool = False) -> Array:
        """Return a lower bound (batch, rows) of rows (1 or batch, rows, size) times a value.

        Args:
            start: the value's place.
            rows: coefficients.
            chosen: slopes and multipliers; others are those of the smaller area.
            stop: whether to take the boxes of the first rectifiers and maxima that are met.
        """
        chosen = chosen or Chosen()
        waiting = {start: np.broadcast_to(rows, (self.batch, *rows.shape[1:]))}
        found, error = np.zeros((self.batch, rows.shape[1])), np.full((self.batch, rows.shape[1]), TINY)
        while waiting:
            place = max(waiting)
            own = waiting.pop(place)
            value = self.network.values[place]
            parts: list[tuple[int, Array]] = []
            if isinstance(value, Given):
                added, lost = self.region.lowest(own), np.zeros_like(error)
            elif isinstance(value, Affine):
                parts, added, lost = self._through_sum(place, value, own)
            elif stop:
                box = self.boxes[place]
                added = _times(np.maximum(own, 0), box.lower) + _times(np.minimum(own, 0), box.upper)
                lost = 2 * gamma(value.size) * _times(np.abs(own), box.size)
            elif isinstance(value, Largest):
                parts, added, lost = self._through_maximum(place, value, own)
            else:
                parts, added, lost = self._through_rectifier(place, value, own, chosen)
            found = found + added
            error = error + lost + 2 * UNIT * (np.abs(found) + np.abs(added))
            for source, part in parts:
                if source in waiting:
                    part = waiting[source] + part
                    error = error + 2 * UNIT * _times(np.abs(part), self.boxes[source].size)
                waiting[source] = part
        bound = np.nextafter(found - error * ROOM, -np.inf)
        return np.where(np.isfinite(bound) & (self._largest() < LARGEST), bound, -np.inf)

    def _largest(self) -> float:
        """Return the largest size of any number; NaN where one is not known."""
        return float(np.max([box.size.max(initial=0.0) for box in self.boxes.values()]))

    def _through_sum(self, place: int, value: Affine, rows: Array) -> tuple[list[tuple[int, Array]], Array, Array]:
        parts = [(source, _against(rows, matrix)) for source, matrix in value.parts]
        size = np.broadcast_to(self._sizes[place], (self.batch, value.size))
        added = rows @ value.bias
        return parts, added, 2 * gamma(value.terms) * _times(np.abs(rows), size)

    def _through_maximum(self, place: int, value: Largest, rows: Array) -> tuple[list[tuple[int, Array]], Array, Array]:
        planes, box = self._planes[place], self.entering[place]
        negative = np.minimum(rows, 0)
        shares = negative[..., None] * planes.above[:, None]
        below = np.broadcast_to(planes.below[:, None, :, None], (*rows.shape, 1))
        own = np.take_along_axis(shares, below, -1) + np.maximum(rows, 0)[..., None]
        np.put_along_axis(shares, below, own, -1)
        inside = value.windows >= 0
        gathered = _against(shares[..., inside], value.onto)
        sizes = value.of(box.size, 0.0).max(-1) * (1 + planes.above.sum(-1)) + np.abs(planes.start)
        lost = 2 * gamma(value.windows.size) * _times(np.abs(rows), sizes)
        return [(value.source, gathered)], _times(negative, planes.start), lost

    def _through_rectifier(
        self, place: int, value: Rectified, rows: Array, chosen: Chosen
    ) -> tuple[list[tuple[int, Array]], Array, Array]:
        lines = self._lines[place]
        below = lines.below[:, None]
        if place in chosen.slopes:
            below = np.where(lines.bends[:, None], chosen.slopes[place], below)
        negative = np.minimum(rows, 0)
        part = np.maximum(rows, 0) * below + negative * lines.above[:, None]
        added = _times(negative, lines.start)
        size = self.entering[place].size
        lost = 2 * gamma(value.size) * _times(np.abs(rows), size + np.abs(lines.start))
        if place in chosen.prices:
            push = chosen.prices[place] * chosen.sides[place][:, None]
            part = part - push
            added = added + _times(push, chosen.at[place])
            far = size + np.abs(chosen.at[place])
            lost = lost + 2 * gamma(value.size) * _times(np.abs(push) + np.abs(part), far)
        return [(value.source, part)], added, lost


def _open(value: Bent, box: Box) -> NDArray[np.bool_]:
    """Say of which numbers (batch, inputs) it matters to the lines where they lie."""
    if isinstance(value, Rectified):
        return (box.lower < 0) & (box.upper > 0)
    least = value.of(box.lower, -np.inf).max(-1, keepdims=True)
    could = value.of(box.upper, -np.inf) >= least
    undecided = could & (could.sum(-1, keepdims=True) > 1) & (value.windows >= 0)
    found = np.zeros(box.lower.shape, dtype=bool)
    for sample, own in enumerate(undecided):
        found[sample, value.windows[own]] = True
    return found


def _planes(value: Largest, box: Box) -> _Planes:
    """Return what a maximum lies between: its number of the highest lower end t, and one of two planes.

    The largest number is at most t and what each exceeds t by; an excess less a slope times the number is convex, so
    that it is largest at an end, whatever the slope. Or it is at most the highest upper end.
    """
    lower, upper = value.of(box.lower, -np.inf), value.of(box.upper, -np.inf)
    below = lower.argmax(-1)
    least = lower.max(-1, keepdims=True)
    above = upper > least
    low, high = np.where(above, lower, 0.0), np.where(above, upper, 0.0)
    slope = np.where(above, np.clip((high - least) / np.where(high > low, high - low, 1.0), 0.0, 1.0), 0.0)
    most = np.where(above, np.maximum(-slope * low, high - least - slope * high), 0.0)
    sizes = np.abs(low) + np.abs(high) + np.abs(least)
    room = gamma(4 * lower.shape[-1]) * np.where(above, sizes, np.abs(least)).sum(-1) + TINY
    start = least[..., 0] + most.sum(-1) + room
    top = upper.max(-1)
    flat = top < (slope * (low + high) / 2).sum(-1) + start
    return _Planes(below, np.where(flat[..., None], 0.0, slope), np.where(flat, top, start))


def _lines(box: Box, slope: float) -> _Lines:
    """Return lines around a rectifier: it is convex, so it lies below its chord, and above each line it touches at 0.

    Whatever slope the line above has, it starts high enough to be above both ends.
    """
    bends = (box.lower < 0) & (box.upper > 0)
    low, high = _rectified(box.lower, slope), _rectified(box.upper, slope)
    width = np.where(bends, box.upper - box.lower, 1.0)
    fixed = np.where(box.lower >= 0, 1.0, slope)
    above = np.where(bends, np.clip((high - low) / width, slope, 1.0), fixed)
    start = np.maximum(low - above * box.lower, high - above * box.upper) + 8 * UNIT * box.size + TINY
    below = np.where(bends, np.where(box.upper > -box.lower, 1.0, slope), fixed)
    return _Lines(below, above, np.where(bends, start, 0.0), bends)


def _rectified(x: Array, slope: float) -> Array:
    return np.where(x > 0, x, x * slope)


def _times(rows: Array, values: Array) -> Array:
    """Return sums (batch, rows) of rows (batch, rows, size) times values (batch, size)."""
    return np.asarray(np.matmul(rows, values[:, :, None])[:, :, 0])


def _onto(values: Array, matrix: Matrix) -> Array:
    """Return a matrix times values (batch, inputs)."""
    return np.asarray(values * matrix if matrix.ndim == 1 else (matrix @ values.T).T)


def _against(rows: Array, matrix: Matrix) -> Array:
    """Return rows (batch, rows, outputs) times a matrix."""
    if matrix.ndim == 1:
        return np.asarray(rows * matrix)
    flat = rows.reshape(-1, rows.shape[-1])
    found = flat @ matrix if isinstance(matrix, np.ndarray) else (matrix.T @ flat.T).T
    return np.asarray(found).reshape(*rows.shape[:2], -1)
