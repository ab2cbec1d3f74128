"""How well scores tell outliers: AUROC, AUPR, FPR at 95 %, each with a bootstrap interval."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from scipy.optimize import brentq
from scipy.special import rel_entr
from scipy.stats import binom

from xai.errors import AnalysisError, UsageError
from xai.reports.intervals import clopper_pearson

RECALL = 0.95  # share of in-distribution images that are kept for the false-positive rate
ROUNDING = 1e-9  # of sums of shares


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
    percentiles over images drawn anew of each kind. Where those reach the very end of the scale, or do not differ at
    all, they tell nothing of what was not drawn, and ends that hold for any distribution take their place (`Free`).

    Args:
        inside: (n,) scores of in-distribution images.
        outliers: (m,) scores of outliers.
        rounds: of the bootstrap; 0 for those ends that hold for any distribution.
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
    tail = (1 - confidence) / 2
    found = {
        name: Measured(value, *map(float, np.quantile([one[name] for one in drawn] or [value], [tail, 1 - tail])))
        for name, value in figures.items()
    }
    free = Free(_histogram(inner, len(values)), _histogram(outer, len(values)), tail)
    return {name: free.widened(name, one) for name, one in found.items()}


class Free:
    """Ends that hold whatever the scores' distributions are, each with a probability of at least 1 - tail.

    Of AUROC: Hoeffding 1963, theorem 1 for the mean of min(n, m) disjoint pairs, which his section 5 gives to the mean
    of all pairs; where all pairs are in order it is the interval of Clopper and Pearson for so many pairs. Of FPR95: an
    order statistic above or below the quantile, and Clopper and Pearson for what passes there. Of AUPR: the worst and
    best distributions of the bands of Dvoretzky, Kiefer, Wolfowitz and Massart (1990).

    Args:
        inside: how many in-distribution images stand at each score, rising.
        outside: how many outliers.
        tail: probability that an end is wrong.
    """

    def __init__(self, inside: np.ndarray, outside: np.ndarray, tail: float) -> None:
        self.inside, self.outside, self.tail = inside, outside, tail
        self.counts = int(inside.sum()), int(outside.sum())

    def widened(self, name: str, measured: Measured) -> Measured:
        """Return a figure with these ends where its own reach the end of the scale, or each other."""
        edge = name == "AUROC" and (measured.low <= 0 or measured.high >= 1)
        if not edge and measured.high - measured.low > ROUNDING:
            return measured
        low, high = {"AUROC": self._auroc, "FPR95": self._passing}.get(name, partial(self._precision, name))()
        return Measured(measured.value, min(low, measured.low), max(high, measured.high))

    def _auroc(self) -> tuple[float, float]:
        value, far = _figures(self.inside, self.outside)["AUROC"], -np.log(self.tail) / min(self.counts)

        def end(limit: float) -> float:
            if value == limit or rel_entr([value, 1 - value], [limit, 1 - limit]).sum() <= far:
                return limit
            return float(brentq(lambda at: rel_entr([value, 1 - value], [at, 1 - at]).sum() - far, value, limit))

        return end(1e-12), end(1 - 1e-12)

    def _passing(self) -> tuple[float, float]:
        many, half = self.counts[0], self.tail / 2
        kept, passed = self.inside.cumsum(), self.outside.cumsum()
        above, below = binom.isf(half, many, RECALL) + 1, binom.ppf(half, many, RECALL)
        most = passed[np.argmax(kept >= above)] if above <= many else self.counts[1]
        least = passed[np.argmax(kept >= below)] - self.outside[np.argmax(kept >= below)] if below >= 1 else 0
        low, _ = clopper_pearson(int(least), self.counts[1], 1 - self.tail)
        _, high = clopper_pearson(int(most), self.counts[1], 1 - self.tail)
        return low, high

    def _precision(self, name: str) -> tuple[float, float]:
        apart = [np.sqrt(np.log(2 / self.tail) / 2 / many) for many in self.counts]
        ends = []
        for worse in (True, False):
            inside = _moved(self.inside, apart[0] * self.counts[0], up=worse)
            ends.append(_figures(inside, _moved(self.outside, apart[1] * self.counts[1], up=not worse))[name])
        return min(ends), max(ends)


def _moved(counts: np.ndarray, amount: float, *, up: bool) -> np.ndarray:
    """Return counts with a place below and one above all, where so many of the other end are put."""
    rising = counts if up else counts[::-1]
    taken = np.minimum(rising.cumsum(), amount)
    left = rising - np.diff(taken, prepend=0.0)
    padded = np.concatenate([[0.0], left, [taken[-1]]])
    return padded if up else padded[::-1]


def auroc(inside: torch.Tensor, outliers: torch.Tensor) -> float:
    """Return the probability that an outlier's score (m,) is above an in-distribution one's (n,), ties half."""
    one, other = _placed(inside), _placed(outliers)
    rising = np.sort(one)
    below, upto = (np.searchsorted(rising, other, side=side).sum(dtype=np.float64) for side in ("left", "right"))
    return float((below + upto) / 2 / len(one) / len(other))


def _figures(inside: np.ndarray, outside: np.ndarray) -> dict[str, float]:
    """Return the figures of how many images of each kind stand at each score, rising."""
    kept, passed = inside.cumsum(), outside.cumsum()
    many, others = kept[-1], passed[-1]
    flagged, rightly = many - kept + inside, others - passed + outside  # at or above a score
    keeping = np.argmax(kept >= RECALL * many - 1e-9)
    return {
        "AUROC": float((outside * (kept - inside / 2)).sum() / many / others),
        "AUPR-in": _whole((inside / many * kept / np.maximum(kept + passed, 1)).sum()),
        "AUPR-out": _whole((outside / others * rightly / np.maximum(rightly + flagged, 1)).sum()),
        "FPR95": float(passed[keeping] / others),
    }


def _whole(share: float) -> float:
    """Return a share without what rounding puts above 1."""
    return min(1.0, float(share))


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
