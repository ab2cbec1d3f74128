"""Paired tests: the same images before and after, and how likely such a difference is by chance."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy.stats import binomtest

DRAWS = 2000
CONFIDENCE = 0.95
_SEED = 0


class Change(NamedTuple):
    """How a yes or no changed over the same images.

    Args:
        both: yes before and after.
        lost: yes before, no after.
        gained: no before, yes after.
        neither: no before and after.
        difference: share after minus share before.
        interval: of the difference, bootstrap over images, 95 %.
        p: of the exact McNemar test, two-sided.
    """

    both: int
    lost: int
    gained: int
    neither: int
    difference: float
    interval: tuple[float, float]
    p: float


def mcnemar(lost: int, gained: int) -> float:
    """Return how likely so uneven a split of the changed images is if they change either way alike.

    McNemar 1947, in its exact form: the changed images are tosses of a fair coin; two-sided.
    """
    return float(binomtest(lost, lost + gained, 0.5).pvalue) if lost + gained else 1.0


def changed(before: Sequence[bool], after: Sequence[bool]) -> Change:
    """Compare a yes or no of the same images, at least one."""
    first, second = np.array(before, dtype=bool), np.array(after, dtype=bool)
    counts = [int((first & second).sum()), int((first & ~second).sum()), int((~first & second).sum())]
    both, lost, gained = counts
    total = len(first)
    drawn = np.random.default_rng(_SEED).multinomial(
        total, np.array([*counts, total - sum(counts)]) / total, size=DRAWS
    )
    moved = (drawn[:, 2] - drawn[:, 1]) / total  # drawing images anew is drawing their four kinds
    return Change(
        both, lost, gained, total - sum(counts), (gained - lost) / total, _middle(moved), mcnemar(lost, gained)
    )


def shifted(before: Sequence[float], after: Sequence[float]) -> tuple[float, tuple[float, float]]:
    """Return the mean difference of a number of the same images, at least one, and its bootstrap interval, 95 %."""
    differences = np.array(after, dtype=np.float64) - np.array(before, dtype=np.float64)
    generator = np.random.default_rng(_SEED)
    means = [differences[generator.integers(len(differences), size=len(differences))].mean() for _ in range(DRAWS)]
    return float(differences.mean()), _middle(np.array(means))


def holm(values: Sequence[float]) -> list[float]:
    """Return p-values that hold for all tests together.

    Holm 1979: the least is multiplied by the number of tests, the next by one less, and so on, never decreasing.
    """
    found = [0.0] * len(values)
    highest = 0.0
    for rank, index in enumerate(sorted(range(len(values)), key=lambda place: values[place])):
        highest = max(highest, min(1.0, (len(values) - rank) * values[index]))
        found[index] = highest
    return found


def _middle(values: np.ndarray) -> tuple[float, float]:
    tail = 50 * (1 - CONFIDENCE)
    low, high = np.percentile(values, [tail, 100 - tail])
    return float(low), float(high)
