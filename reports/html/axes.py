"""Axes of drawings: where numbers stand on paper, and which are written beside it."""

from __future__ import annotations

import math

import numpy as np

WIDTH, HEIGHT, LEFT, BOTTOM = 420, 220, 52, 42  # of a curve's drawing, in its own units
RIGHT, TOP = WIDTH - 8, 8
POINTS = 200  # of a curve at most
SHARES = (0, 0.25, 0.5, 0.75, 1)


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


def ticks(widest: float) -> list[float]:
    """Return round numbers from 0 to at most the widest, four to seven of them."""
    step = _step(widest)
    return [step * count for count in range(int(widest / step + 1e-9) + 1)]


def ticks_between(low: float, high: float) -> list[float]:
    """Return round numbers between two, zero among them where it lies there."""
    step = _step(high - low)
    return [step * count for count in range(math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9) + 1)]


def _step(width: float) -> float:
    power = 10.0 ** math.floor(math.log10(width))
    return next(part * power for part in (2, 1, 0.5, 0.25) if width / (part * power) >= 3)


def _seen(sizes: np.ndarray) -> np.ndarray:
    """Return which of many sizes are drawn."""
    chosen: np.ndarray = np.unique(np.linspace(0, len(sizes) - 1, POINTS).round().astype(int))
    return chosen
