"""How well scores tell outliers: AUROC, AUPR, FPR at 95 %, each with a bootstrap interval."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from xai.errors import AnalysisError, UsageError
from xai.reports.intervals import clopper_pearson

RECALL = 0.95  # share of in-distribution images that are kept for the false-positive rate


@dataclass(frozen=True)
class Measured:
    """A figure and where it may lie, were other images of the same kinds drawn.

    Args:
        value: from 0 to 1.
        low: lower end of the interval.
        high: upper end.
    """

    value: float
    low: float
    high: float


def evaluate(
    inside: torch.Tensor, outliers: torch.Tensor, rounds: int = 1000, seed: int = 0, confidence: float = 0.95
) -> dict[str, Measured]:
    """Return "AUROC", "AUPR-in", "AUPR-out" and "FPR95" of scores, high where out-of-distribution.

    AUROC is the probability that an outlier scores higher than an in-distribution image, ties counting half. AUPR is
    average precision, with in-distribution images or outliers as what is looked for; it moves with the share of
    outliers. FPR95 is the share of outliers that pass where 95 % of the in-distribution images are kept. Intervals are
    percentiles over images drawn anew of each kind, AUROC's and FPR95's widened where that cannot know better.

    Args:
        inside: (n,) scores of in-distribution images.
        outliers: (m,) scores of outliers.
        rounds: of the bootstrap; 0 leaves the interval at the value.
        seed: of the draws.
        confidence: of the intervals.

    Raises:
        UsageError: one kind is missing.
        AnalysisError: a score is NaN.
    """
    counts = [_placed(scores) for scores in (inside, outliers)]
    values, places = np.unique(np.concatenate(counts), return_inverse=True)
    inner, outer = places[: len(counts[0])], places[len(counts[0]) :]
    figures = _figures(_histogram(inner, len(values)), _histogram(outer, len(values)))
    rng = np.random.default_rng(seed)
    drawn = [
        _figures(*(_histogram(rng.choice(one, len(one)), len(values)) for one in (inner, outer))) for _ in range(rounds)
    ]
    tail = 100 * (1 - confidence) / 2
    found = {
        name: Measured(value, *map(float, np.percentile([one[name] for one in drawn] or [value], [tail, 100 - tail])))
        for name, value in figures.items()
    }
    return _widened(found, len(inner), len(outer), confidence) if rounds else found


def auroc(inside: torch.Tensor, outliers: torch.Tensor) -> float:
    """Return the probability that an outlier's score (m,) is above an in-distribution one's (n,), ties half."""
    one, other = _placed(inside), _placed(outliers)
    rising = np.sort(one)
    below, upto = (np.searchsorted(rising, other, side=side).sum(dtype=np.float64) for side in ("left", "right"))
    return float((below + upto) / 2 / len(one) / len(other))


def _widened(found: dict[str, Measured], inside: int, outliers: int, confidence: float) -> dict[str, Measured]:
    """Return figures whose intervals leave room for what no image showed: without overlap all draws are alike.

    An AUROC of 0 or 1 has the interval of as many pairs without a common image, which all agree. The interval of a
    false-positive rate is no narrower than that of a share (Clopper and Pearson).
    """
    area, passed = found["AUROC"], found["FPR95"]
    if area.value in (0, 1):
        pairs = min(inside, outliers)
        area = Measured(area.value, *clopper_pearson(round(area.value * pairs), pairs, confidence))
    low, high = clopper_pearson(round(passed.value * outliers), outliers, confidence)
    passed = Measured(passed.value, min(low, passed.low), max(high, passed.high))
    return {**found, "AUROC": area, "FPR95": passed}


def _figures(inside: np.ndarray, outside: np.ndarray) -> dict[str, float]:
    """Return the figures of how many images of each kind stand at each score, rising."""
    kept, passed = inside.cumsum(), outside.cumsum()
    many, others = kept[-1], passed[-1]
    flagged, rightly = many - kept + inside, others - passed + outside  # at or above a score
    keeping = np.argmax(kept >= RECALL * many - 1e-9)
    return {
        "AUROC": float((outside * (kept - inside / 2)).sum() / many / others),
        "AUPR-in": float((inside / many * kept / np.maximum(kept + passed, 1)).sum()),
        "AUPR-out": float((outside / others * rightly / np.maximum(rightly + flagged, 1)).sum()),
        "FPR95": float(passed[keeping] / others),
    }


def _histogram(places: np.ndarray, count: int) -> np.ndarray:
    return np.bincount(places, minlength=count).astype(np.float64)


def _placed(scores: torch.Tensor) -> np.ndarray:
    values: np.ndarray = scores.detach().cpu().double().numpy()
    if values.size == 0:
        raise UsageError("expected scores of in-distribution images and of outliers, received none of one kind")
    if np.isnan(values).any():
        raise AnalysisError(
            "expected scores that are numbers, received NaN; look at the inputs and the model's outputs"
        )
    return values
