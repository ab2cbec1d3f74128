"""A guard: fitted detectors, what joins them, and the thresholds of all: it says of an input whether it is foreign."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch

from xai.errors import UsageError
from xai.models.model import Model
from xai.robustness.ood.calibration import CONFIDENCE, KEEP, Calibration, at_keep_rate, checked, least
from xai.robustness.ood.combination import Combination, Scores, combination
from xai.robustness.ood.features import Reader
from xai.robustness.ood.fitting import FittedSet
from xai.robustness.ood.statistics import drawn
from xai.runtime import Runtime

COMBINED = "combined"
_SEED = 11  # of what parts the held-back images


@dataclass(frozen=True)
class Verdict:
    """What a detector, a family or all together say of some inputs.

    Args:
        scores: (n,) float64, high where out-of-distribution.
        p_values: (n,) conservative conformal p-values.
        inside: (n,) whether they are at or below the threshold.
    """

    scores: torch.Tensor
    p_values: torch.Tensor
    inside: torch.Tensor


@dataclass(frozen=True)
class Guard:
    """Fitted and calibrated detectors of one model.

    Args:
        fitted: the detectors.
        combinations: COMBINED, and one of each family of evidence under its name.
        calibrations: by detector and combination.
    """

    fitted: FittedSet
    combinations: Mapping[str, Combination] = field(default_factory=dict)
    calibrations: Mapping[str, Calibration] = field(default_factory=dict)

    def scores(
        self, of: Model | Reader, inputs: torch.Tensor, runtime: Runtime | None = None
    ) -> dict[str, torch.Tensor]:
        """Return the scores (n,) of every detector and combination, in one pass; see FittedSet.scores."""
        return self.joined(self.fitted.scores(of, inputs, runtime))

    def joined(self, scores: Scores) -> dict[str, torch.Tensor]:
        """Return detectors' scores with those of the combinations."""
        return {**scores, **{name: made.score(scores) for name, made in self.combinations.items()}}

    def judge(self, scores: Scores) -> dict[str, Verdict]:
        """Return the verdict of every detector and combination on scores of `scores`; COMBINED is the answer.

        Raises:
            AnalysisError: a score is not a number.
        """
        for values in scores.values():
            if len(values):
                checked(values, "new")
        return {
            name: Verdict(scores[name], one.p_values(scores[name]), one.threshold.inside(scores[name]))
            for name, one in self.calibrations.items()
        }


def calibrate(
    fitted: FittedSet,
    held: Scores,
    keys: torch.Tensor,
    keep: float = KEEP,
    confidence: float = CONFIDENCE,
    members: Sequence[str] = (),
) -> Guard:
    """Return a guard whose thresholds keep a share of images like the held-back ones.

    Detectors' thresholds come of all held-back images. A combination needs two parts: one says how surprising each
    detector's score is, and the other, which has no part in that, gives the threshold.

    Args:
        fitted: the detectors.
        held: their scores (n,) of held-back in-distribution images, others than those of the fit.
        keys: (n,) int64 that tell the images apart; they decide which part each is of.
        keep: share that is to be kept, of each detector and combination.
        confidence: of the intervals.
        members: of the combinations; none: all detectors. See `choose`.

    Raises:
        UsageError: too few images, or a rate that cannot be.
        AnalysisError: a score is not a number.
    """
    count = len(keys)
    if any(len(values) != count for values in held.values()):
        raise UsageError(f"expected {count} scores of every detector, one for each held-back image")
    if count < (wanted := max(2, 2 * least(keep) - 1)):
        raise UsageError(
            f"expected at least {wanted} held-back images to keep {keep:.4g} of all, received {count}: half of them "
            "give the combined verdict its threshold; hold back more, or keep fewer"
        )
    first, second = parted(keys)
    reference = {name: values[first] for name, values in held.items()}
    combinations = {
        name: combination(reference, some) for name, some in _families(fitted, members or tuple(held)).items()
    }
    rest = {name: values[second] for name, values in held.items()}
    scores = {**held, **{name: made.score(rest) for name, made in combinations.items()}}
    calibrations = {
        name: Calibration(checked(values, "held-back"), at_keep_rate(values, keep, confidence))
        for name, values in scores.items()
    }
    return Guard(fitted, combinations, calibrations)


def parted(keys: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the places of two halves of images with keys (n,): reference, and threshold; neither depends on order."""
    order = drawn(keys, _SEED).argsort(stable=True)
    half = len(keys) // 2
    return order[:half].sort().values, order[half:].sort().values


def some(keys: torch.Tensor, count: int) -> torch.Tensor:
    """Return the places (k,) of so many of images with keys (n,), rising; which they are does not depend on order."""
    return drawn(keys, _SEED).argsort(stable=True)[:count].sort().values


def _families(fitted: FittedSet, members: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """Return the members of every combination: all of them, and those of each family."""
    found: dict[str, tuple[str, ...]] = {COMBINED: tuple(members)}
    for name in members:
        family = str(fitted.fitted[name].detector.evidence)
        found[family] = (*found.get(family, ()), name)
    return found
