"""Where a score becomes a verdict: thresholds with what they keep, and p-values, from images that were held back.

The held-back images are others than those that detectors were fitted on, and like those that will come. What is
promised holds for such images, on average over all that could have been held back, and for no others.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from scipy.stats import beta, betabinom, binom

from xai.errors import AnalysisError, UsageError
from xai.reports.intervals import clopper_pearson

KEEP, CONFIDENCE = 0.95, 0.95


@dataclass(frozen=True)
class Share:
    """A share of all images of a kind that may come.

    Args:
        value: what to expect.
        low: the share is at least this, with the threshold's confidence from both sides.
        high: and at most this.
    """

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Threshold:
    """Scores up to it are in-distribution, those above are out.

    Args:
        value: the threshold.
        how: it was found: "keep rate", "false-positive rate" or "best split".
        keeps: share of in-distribution images at or below it; None if it is not known.
        accepts: share of the known outliers' kind at or below it; None if it is not known.
        between: scores between which the wanted quantile of all images lies; None where none was wanted.
        confidence: of the intervals.
    """

    value: float
    how: str
    keeps: Share | None
    accepts: Share | None
    between: tuple[float, float] | None
    confidence: float = CONFIDENCE

    def inside(self, scores: torch.Tensor) -> torch.Tensor:
        """Say which scores (n,) are in-distribution."""
        return scores.double() <= self.value


@dataclass(frozen=True)
class Calibration:
    """A threshold, and the scores of held-back images that new ones are compared with.

    Args:
        scores: (n,) float64, rising.
        threshold: see Threshold.
    """

    scores: torch.Tensor
    threshold: Threshold

    def p_values(self, scores: torch.Tensor) -> torch.Tensor:
        """Return conformal p-values (n,): see `p_values`."""
        return p_values(self.scores, scores)


def p_values(held: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
    """Return conservative conformal p-values (n,) of scores (n,) among held-back ones (m,).

    One more than the held-back scores that are as high or higher, over m + 1: for an image like those held back it is
    at most any level with at most that probability. No random number breaks ties, so that an image has one answer.
    """
    rising = held.double().sort().values
    as_high = len(rising) - torch.searchsorted(rising, scores.to(rising), right=False)
    return (1 + as_high).double() / (len(rising) + 1)


def at_keep_rate(held: torch.Tensor, keep: float = KEEP, confidence: float = CONFIDENCE) -> Threshold:
    """Return the lowest held-back score that keeps at least a share of all in-distribution images, on average.

    It is the k-th lowest of m, where k is keep (m + 1), rounded up. The share that it keeps is Beta(k, m + 1 - k)
    distributed over what could have been held back, whatever the scores' distribution; ties keep more. The order
    statistics between which the wanted quantile lies come of the binomial distribution.

    Args:
        held: (m,) scores of held-back in-distribution images.
        keep: the wanted share, above 0 and below 1.
        confidence: of the intervals.

    Raises:
        UsageError: a rate that cannot be, or too few images for it.
        AnalysisError: a score is not a number.
    """
    scores, share = checked(held, "held-back in-distribution"), _rate(keep, "keep rate")
    count = len(scores)
    place = math.ceil(round((count + 1) * share, 9))
    if place > count:
        raise UsageError(
            f"expected at least {least(share)} held-back images to keep {share:.4g} of all, received {count}; hold "
            "back more, or keep fewer"
        )
    tail = (1 - confidence) / 2
    below, above = int(binom.ppf(tail, count, share)), int(binom.ppf(1 - tail, count, share)) + 1
    between = (
        float(scores[below - 1]) if below >= 1 else -math.inf,
        float(scores[above - 1]) if above <= count else math.inf,
    )
    kept = _beta(place, count, confidence)
    return Threshold(float(scores[place - 1]), "keep rate", kept, None, between, confidence)


def least(keep: float) -> int:
    """Return how many held-back images a threshold needs at least to keep a share of all."""
    share = _rate(keep, "keep rate")
    return math.ceil(round(share / (1 - share), 9))


def at_false_positive_rate(
    outliers: torch.Tensor, rate: float = 1 - KEEP, held: torch.Tensor | None = None, confidence: float = CONFIDENCE
) -> Threshold:
    """Return the highest score of known outliers below which at most a share of their kind lies, on average.

    Args:
        outliers: (m,) scores of known outliers; nothing is promised for other kinds.
        rate: the wanted share of them that pass for in-distribution, above 0 and below 1.
        held: scores of held-back in-distribution images, to tell what is kept; none: it is not known.
        confidence: of the intervals.

    Raises:
        UsageError: a rate that cannot be, or too few outliers for it.
        AnalysisError: a score is not a number.
    """
    scores, share = checked(outliers, "known out-of-distribution"), _rate(rate, "false-positive rate")
    place = math.floor(round((len(scores) + 1) * share, 9))
    if place < 1:
        raise UsageError(
            f"expected at least {math.ceil(round(1 / share, 9)) - 1} known outliers for a false-positive rate of "
            f"{share:.4g}, received {len(scores)}; give more, or allow a higher rate"
        )
    # The share at or below a score is Beta distributed only without ties: just below the outlier they count against it.
    value = float(np.nextafter(float(scores[place - 1]), -math.inf))
    passed = _beta(place, len(scores), confidence)
    kept = None if held is None else _measured(checked(held, "held-back in-distribution") <= value, confidence)
    between = None
    return Threshold(value, "false-positive rate", kept, Share(passed.value, 0.0, passed.high), between, confidence)


def best_split(held: torch.Tensor, outliers: torch.Tensor, confidence: float = CONFIDENCE) -> Threshold:
    """Return the threshold that is right for the largest share of both kinds, each kind counting alike.

    The shares are measured on the very images it was chosen on, so they flatter it. Of equally good thresholds the
    lowest is taken, in the middle between two scores.

    Args:
        held: (n,) scores of held-back in-distribution images.
        outliers: (m,) scores of known outliers.
        confidence: of the intervals, Clopper and Pearson's.
    """
    inside, outside = checked(held, "held-back in-distribution"), checked(outliers, "known out-of-distribution")
    values = torch.cat((inside, outside)).unique()
    kept = torch.searchsorted(inside, values, right=True).double() / len(inside)
    passed = torch.searchsorted(outside, values, right=True).double() / len(outside)
    best = int((kept - passed).argmax())
    above = values[best + 1] if best + 1 < len(values) else values[best]
    value = float(values[best] + (above - values[best]) / 2)
    shares = [_measured(scores <= value, confidence) for scores in (inside, outside)]
    return Threshold(value, "best split", shares[0], shares[1], None, confidence)


def kept_of(held: int, keep: float, count: int, confidence: float = CONFIDENCE) -> tuple[int, int]:
    """Return how many of so many new in-distribution images a threshold keeps, an interval of that confidence.

    Args:
        held: how many images were held back.
        keep: the keep rate that was wanted of `at_keep_rate`.
        count: of the new images.
        confidence: of the interval, over both what was held back and what is new.
    """
    place = math.ceil(round((held + 1) * keep, 9))
    found = betabinom(count, place, held + 1 - place)
    tail = (1 - confidence) / 2
    return int(found.ppf(tail)), int(found.ppf(1 - tail))


def checked(scores: torch.Tensor, kind: str) -> torch.Tensor:
    """Return scores rising, float64; raise UsageError if there is none, AnalysisError if one is not a finite number."""
    if len(scores) == 0:
        raise UsageError(f"expected scores of {kind} images, received none")
    if not scores.isfinite().all():
        raise AnalysisError(
            f"expected finite scores of {kind} images, received {int((~scores.isfinite()).sum())} that are not; look "
            "at the inputs and the model's outputs"
        )
    return scores.double().sort().values


def _rate(share: float, what: str) -> float:
    if not 0 < share < 1:
        raise UsageError(f"expected a {what} above 0 and below 1, received {share}")
    return share


def _beta(place: int, count: int, confidence: float) -> Share:
    """Return the share of all at or below the score at a place (from 1) among so many."""
    tail = (1 - confidence) / 2
    found = beta(place, count + 1 - place)
    return Share(place / (count + 1), float(found.ppf(tail)), float(found.ppf(1 - tail)))


def _measured(hits: torch.Tensor, confidence: float) -> Share:
    return Share(float(hits.double().mean()), *clopper_pearson(int(hits.sum()), len(hits), confidence))
