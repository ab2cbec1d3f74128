"""How sure a share is: Clopper-Pearson intervals, and how many trials an interval as narrow as wanted needs."""

from __future__ import annotations

from scipy.special import betaincinv

CONFIDENCE = 0.95


def clopper_pearson(count: int, total: int, confidence: float = CONFIDENCE) -> tuple[float, float]:
    """Return the interval that holds the true share, whatever it is, with at least that confidence.

    Clopper and Pearson 1934. For no trials it is (0, 1).

    Args:
        count: successes, 0 to total.
        total: independent trials.
        confidence: between 0 and 1.
    """
    tail = (1 - confidence) / 2
    low = 0.0 if count == 0 else float(betaincinv(count, total - count + 1, tail))
    high = 1.0 if count == total else float(betaincinv(count + 1, total - count, 1 - tail))
    return low, high


def trials_needed(share: float, half_width: float, confidence: float = CONFIDENCE) -> int:
    """Return how many trials make the interval around a share reach at most half_width to either side.

    Args:
        share: that is expected, 0 to 1.
        half_width: wanted, above 0.
        confidence: of the interval.
    """

    def wide(total: int) -> bool:
        count = round(share * total)
        low, high = clopper_pearson(count, total, confidence)
        return max(count / total - low, high - count / total) > half_width

    enough = 1
    while wide(enough):
        enough *= 2
    small = enough // 2
    while enough - small > 1:
        middle = (small + enough) // 2
        small, enough = (middle, enough) if wide(middle) else (small, middle)
    return enough
