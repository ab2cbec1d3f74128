"""Axes of drawings: where numbers stand on paper, and which are written beside it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import count, groupby
from typing import Any

import numpy as np

WIDTH, HEIGHT, LEFT, BOTTOM = 420, 220, 52, 42  # of a curve's drawing, in its own units
RIGHT, TOP = WIDTH - 8, 8
POINTS = 200  # of a curve at most
SHARES = (0, 0.25, 0.5, 0.75, 1)
ABOVE, BESIDE = 16, 80  # room for words over a drawing and at the right ends of its lines
APART = 18  # lines of words, so that they can be read one by one


class Axes:
    """A share, from 0 to 1, over a size from 0 on.

    Args:
        widest: the size at which the drawing ends.
    """

    def __init__(self, widest: float) -> None:
        self.widest = widest

    def across(self, size: float) -> float:
        """Return where a size stands."""
        return round(LEFT + min(size / self.widest, 1.0) * (RIGHT - LEFT), 1)

    def down(self, share: float) -> float:
        """Return where a share stands."""
        return round(TOP + (1 - share) * (HEIGHT - BOTTOM - TOP), 1)

    def steps(self, sizes: np.ndarray, shares: np.ndarray) -> str:
        """Return the points of a curve that falls at each size, to the drawing's end; of many sizes, those seen."""
        chosen = _seen(sizes)
        points, before = [], float(shares[0])
        for size, left in zip(sizes[chosen], shares[chosen], strict=True):
            at = self.across(float(size))
            points += [f"{at},{self.down(before)}", f"{at},{self.down(float(left))}"]
            before = float(left)
        return " ".join([*points, f"{RIGHT},{self.down(before)}"])

    def steps_before(self, sizes: np.ndarray, shares: np.ndarray) -> str:
        """Return the points of a curve that has fallen before each size, to the last one."""
        chosen = _seen(sizes)
        points, before = [], float(sizes[0])
        for size, left in zip(sizes[chosen], shares[chosen], strict=True):
            height = self.down(float(left))
            points += [f"{self.across(before)},{height}", f"{self.across(float(size))},{height}"]
            before = float(size)
        return " ".join(points)

    def frame(self) -> dict[str, object]:
        """Return what a template needs to draw the axes."""
        return {
            "width": WIDTH,
            "height": HEIGHT,
            "left": LEFT,
            "right": RIGHT,
            "top": TOP,
            "bottom": HEIGHT - BOTTOM,
            "down": [{"at": self.down(tick), "text": f"{100 * tick:.0f} %"} for tick in SHARES],
            "across": [{"at": self.across(tick), "text": f"{tick:.3g}"} for tick in ticks(self.widest)],
        }


class Plane:
    """Numbers over numbers, several lines of them, with room for words above and at the lines' right ends.

    Args:
        across: the first and the last number from left to right; where they are one, it stands in the middle.
        down: the lowest and the highest number.
    """

    top, bottom, left, right = TOP + ABOVE, HEIGHT - BOTTOM, LEFT, RIGHT - BESIDE

    def __init__(self, across: tuple[float, float], down: tuple[float, float]) -> None:
        self._across, self._down = across, down

    def across(self, number: float) -> float:
        """Return where a number stands from left to right."""
        return round(self.left + _part(number, *self._across) * (self.right - self.left), 1)

    def down(self, number: float) -> float:
        """Return where a number stands from top to bottom."""
        return round(self.bottom - _part(number, *self._down) * (self.bottom - self.top), 1)

    def places(self, numbers: Sequence[tuple[float, float | None]]) -> list[list[tuple[float, float]]]:
        """Return the places of a line, in parts: it is broken where a number is None."""
        return [
            [(self.across(at), self.down(number)) for at, number in part if number is not None]
            for known, part in groupby(numbers, key=lambda pair: pair[1] is not None)
            if known
        ]

    def frame(self, across: Sequence[float], down: Sequence[tuple[float, str]]) -> dict[str, Any]:
        """Return what a template needs to draw the axes.

        Args:
            across: the numbers that are written below.
            down: those that are written on the left, with their words.
        """
        return {
            "width": WIDTH,
            "height": HEIGHT,
            "left": self.left,
            "right": self.right,
            "top": self.top,
            "bottom": self.bottom,
            "down": [{"at": self.down(tick), "text": text} for tick, text in down],
            "across": [{"at": self.across(tick), "text": f"{tick:g}"} for tick in across],
        }


def spread(places: Sequence[float], last: float) -> list[float]:
    """Return where words stand that belong to these places from top to bottom: near them, and never on each other.

    Args:
        places: in any order.
        last: the lowest place that is free.
    """
    order = sorted(range(len(places)), key=lambda index: places[index])
    free, found = last - APART * (len(places) - 1), [0.0] * len(places)
    least = -math.inf
    for index in order:
        least = found[index] = max(least, min(places[index], free))
        least, free = least + APART, free + APART
    return found


def ticks(widest: float) -> list[float]:
    """Return round numbers from 0 to at most the widest, four to seven of them."""
    step = _step(widest)
    return [step * count for count in range(int(widest / step + 1e-9) + 1)]


def ticks_between(low: float, high: float) -> list[float]:
    """Return round numbers between two, zero among them where it lies there."""
    step = _step(high - low)
    return [step * count for count in range(math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9) + 1)]


def whole_ticks(low: int, high: int) -> list[int]:
    """Return round whole numbers between two, seven of them at most."""
    steps = (part * 10**power for power in count() for part in (1, 2, 5))
    step = next(step for step in steps if (high - low) // step < 7)
    return [number for number in range(low, high + 1) if number % step == 0]


def _part(number: float, low: float, high: float) -> float:
    """Return which part of the way from one number to another lies before a third."""
    return (number - low) / (high - low) if high > low else 0.5


def _step(width: float) -> float:
    power = 10.0 ** math.floor(math.log10(width))
    return next(part * power for part in (2, 1, 0.5, 0.25) if width / (part * power) >= 3)


def _seen(sizes: np.ndarray) -> np.ndarray:
    """Return which of many sizes are drawn."""
    chosen: np.ndarray = np.unique(np.linspace(0, len(sizes) - 1, POINTS).round().astype(int))
    return chosen
