"""How sure a share or a mean is, and how many trials an interval as narrow as wanted needs."""

from __future__ import annotations

import math

from scipy.special import betaincinv, rel_entr

CONFIDENCE = 0.95
HALVINGS = 60  # of a way between 0 and 1: then nothing is left to halve


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


def bounded_mean(mean: float, total: int, confidence: float = CONFIDENCE) -> tuple[float, float]:
    """Return the interval that holds the expectation with at least that confidence, however values are distributed.

    It holds whatever expectation is not too far from the mean in relative entropy (Hoeffding 1963, theorem 1). For no
    values it is (0, 1).

    Args:
        mean: of the values, each 0 to 1.
        total: independent values.
        confidence: between 0 and 1.
    """
    if not total:
        return 0.0, 1.0
    most = math.log(2 / (1 - confidence)) / total

    def farthest(end: float) -> float:
        inside, outside = mean, end
        for _ in range(HALVINGS):
            middle = (inside + outside) / 2
            if rel_entr(mean, middle) + rel_entr(1 - mean, 1 - middle) > most:
                outside = middle
            else:
                inside = middle
        return outside

    return farthest(0.0), farthest(1.0)


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


def one_sided(count: int, total: int, confidence: float) -> tuple[float, float]:
    """Return a lower and an upper end, each of which is right, by itself, with at least that confidence.

    Args:
        count: successes, 0 to total.
        total: independent trials.
        confidence: of each end, above a half and below 1.
    """
    return clopper_pearson(count, total, 2 * confidence - 1)


def trials_to_decide(share: float, threshold: float, confidence: float, most: int = 10**8) -> int | None:
    """Return about how many trials put the one-sided end for that share on its own side of the threshold.

    Counts are rounded toward the threshold, so the figure is rather too large than too small. None where share and
    threshold are the same, or more than `most` would be needed.

    Args:
        share: that is expected, 0 to 1.
        threshold: that it is compared with.
        confidence: of the end.
        most: trials.
    """

    def undecided(total: int) -> bool:
        if share > threshold:
            return one_sided(math.floor(share * total + 1e-9), total, confidence)[0] < threshold
        return one_sided(math.ceil(share * total - 1e-9), total, confidence)[1] >= threshold

    if share == threshold:
        return None
    enough = 1
    while undecided(enough):
        enough *= 2
        if enough > most:
            return None
    small = enough // 2
    while enough - small > 1:
        middle = (small + enough) // 2
        small, enough = (middle, enough) if undecided(middle) else (small, middle)
    return enough
