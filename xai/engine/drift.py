"""How far a map moved: by rank, and by which of its highest places stayed."""

from __future__ import annotations

import numpy as np
from scipy.stats import rankdata

TOP = 0.1  # share of a map's places that count as its highest


def drift(before: np.ndarray, after: np.ndarray) -> float | None:
    """Return 1 - Spearman's rank correlation of two maps of one shape.

    It is 0 for the same order of places, about 1 for unrelated maps, 2 for the reversed order. Equal values share their
    ranks. None if a map has one value everywhere: it has no order.
    """
    ranks = [rankdata(one, axis=None) - (one.size + 1) / 2 for one in (before, after)]
    sizes = [float(np.linalg.norm(one)) for one in ranks]
    if not all(sizes):
        return None
    return float(np.clip(1 - ranks[0] @ ranks[1] / (sizes[0] * sizes[1]), 0, 2))


def kept(before: np.ndarray, after: np.ndarray) -> float | None:
    """Return which share of a map's highest tenth of places is in the other's too; unrelated maps share a tenth.

    Equal places that would go beyond a tenth are left out, so their order does not matter; the share is then of the
    larger of both sets. None if one of them is empty: too much of the map is equal.
    """
    one, other = _highest(before), _highest(after)
    if not (one.any() and other.any()):
        return None
    return float((one & other).sum() / max(one.sum(), other.sum()))


def _highest(values: np.ndarray) -> np.ndarray:
    """Say which places belong to the highest tenth."""
    flat = values.ravel()
    count = max(1, round(TOP * flat.size))
    line = np.partition(flat, -count)[-count]
    reach: np.ndarray = flat >= line
    return reach if reach.sum() <= count else flat > line
