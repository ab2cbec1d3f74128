"""What is drawn, and what so many draws can say: sizes, blocks, the bound on a share and the radius it certifies."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

from scipy.special import betaincinv, ndtri

from xai.errors import UsageError

BLOCK = 1000  # draws that are counted, and kept, together
_DOWN = 1 - 2.0**-40  # scipy's functions are off by less than that


class Use(StrEnum):
    """What draws are for. A class that is chosen and judged by the same draws would look better than it is."""

    SELECTION = "selection"
    ESTIMATION = "estimation"


@dataclass(frozen=True)
class Block:
    """Some draws around one input.

    Args:
        use: what they are for.
        number: of the block among those of its use; it decides the noise.
        draws: how many.
    """

    use: Use
    number: int
    draws: int


@dataclass(frozen=True)
class Smoothing:
    """How an input is smoothed (Cohen, Rosenfeld & Kolter 2019): all of it is settled before the first draw.

    Args:
        sigma: standard deviation of the Gaussian noise, in input units; above 0.
        n0: draws that select a class, at least 1.
        n: other draws that estimate how often that class is given, at least 1. The default is for a first look: it
            cannot certify more than 2.46 sigma. What is published rests on 100 000 (3.81 sigma).
        alpha: the probability that what is said of one input is wrong, between 0 and 1.

    Raises:
        UsageError: a number lies outside of its range.
    """

    sigma: float
    n0: int = 100
    n: int = 1000
    alpha: float = 0.001

    def __post_init__(self) -> None:
        """Refuse numbers that no statement could follow from."""
        if not (_is_number(self.sigma) and self.sigma > 0):
            raise UsageError(
                f"sigma: expected a finite number above 0, received {self.sigma!r}; it is the noise's standard "
                "deviation in input units, such as 0.25 for pictures in [0, 1]"
            )
        for name, draws in (("n0", self.n0), ("n", self.n)):
            if not (type(draws) is int and draws >= 1):
                raise UsageError(
                    f"{name}: expected a whole number from 1, received {draws!r}; usual are n0 = 100 and n = 1000 for "
                    "a first look, n = 100000 for what is published"
                )
        if not (_is_number(self.alpha) and 0 < self.alpha < 1):
            raise UsageError(
                f"alpha: expected a number between 0 and 1, received {self.alpha!r}; it is the probability of a wrong "
                "statement, 0.001 in most publications"
            )

    @property
    def ceiling(self) -> float:
        """The largest radius that so many draws can certify, in input units: the one if all give the class."""
        return self.radius(self.lower(self.n))

    @property
    def blocks(self) -> tuple[Block, ...]:
        """All draws around one input, in blocks of at most `BLOCK`."""
        return (*_blocks(Use.SELECTION, self.n0), *_blocks(Use.ESTIMATION, self.n))

    def lower(self, count: int) -> float:
        """Return a share that the true one is at least, with probability 1 - alpha, if count of n draws gave a class.

        The one-sided interval of Clopper and Pearson (1934), rounded down.
        """
        return float(betaincinv(count, self.n - count + 1, self.alpha)) * _DOWN if count else 0.0

    def radius(self, lower: float) -> float:
        """Return the l2 radius, in input units, in which a class of at least that share stays the most frequent.

        Cohen, Rosenfeld & Kolter 2019, theorem 1, where all that is not the class counts as the runner-up. It is 0
        where the share is not above one half; rounded down.
        """
        return self.sigma * float(ndtri(lower)) * _DOWN if lower > 0.5 else 0.0


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _blocks(use: Use, draws: int) -> Iterator[Block]:
    for number, begin in enumerate(range(0, draws, BLOCK)):
        yield Block(use, number, min(BLOCK, draws - begin))
