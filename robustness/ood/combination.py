"""One verdict of many detectors: how surprising their scores are together.

Each detector's score is turned into a surprise, minus the logarithm of the share of reference images that score as
high. Surprises are joined by the harmonic mean p-value (Wilson 2019): the logarithm of the mean of exp(surprise). It
lies between the lowest p-value, which one loud detector decides, and Fisher's sum, in which many quiet ones do, and
is little moved by detectors that say the same thing. It is a score like any other: its threshold comes of images that
are neither the fit's nor the reference's, so its false-alarm rate is what is asked for, whatever the detectors share.

All detectors take part unless known outliers chose among them (`choose`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch

from xai.errors import UsageError
from xai.robustness.ood.calibration import checked
from xai.robustness.ood.metrics import auroc

Scores = Mapping[str, torch.Tensor]

_TAIL = 0.1  # share of the reference scores beyond which surprise grows with the score, not its rank
_LEAST = 5  # of them
_GAIN = 0.25  # points of AUROC by which leaving a detector out must help


@dataclass(frozen=True)
class Combination:
    """Detectors whose scores are joined.

    Args:
        reference: (n,) rising scores of reference images, by detector.
    """

    reference: Mapping[str, torch.Tensor]

    @property
    def members(self) -> tuple[str, ...]:
        """The names of the detectors."""
        return tuple(self.reference)

    def score(self, scores: Scores) -> torch.Tensor:
        """Return joined scores (n,) of every detector's scores (n,): minus the log of the harmonic mean p-value."""
        return joined(torch.stack([surprise(self.reference[name], scores[name]) for name in self.members]))


def combination(reference: Scores, members: Sequence[str] = ()) -> Combination:
    """Return the combination of some detectors, by default all, from their scores (n,) of reference images.

    Raises:
        UsageError: a member without scores, or no image.
        AnalysisError: a score is not a number.
    """
    chosen = members or tuple(reference)
    if missing := sorted(set(chosen) - set(reference)):
        raise UsageError(f"expected scores of every member of the combination, received none of {', '.join(missing)}")
    return Combination({name: checked(reference[name], "reference") for name in chosen})


def surprise(reference: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
    """Return minus the log of the share of all images that score as high, (n,), estimated from a reference (m,).

    Between reference scores it goes on linearly, so that it does not jump; beyond the highest tenth it grows in
    proportion to the score, as if the tail were exponential.

    Args:
        reference: rising.
        scores: (n,).
    """
    count = len(reference)
    scores = scores.to(reference)
    above = torch.arange(count, 0, -1, dtype=reference.dtype, device=reference.device)
    known = -(above / (count + 1)).log()
    if count == 1:
        return known.expand(scores.shape) * (scores >= reference)
    right = torch.searchsorted(reference, scores).clamp(1, count - 1)
    low, high = reference[right - 1], reference[right]
    share = ((scores - low) / (high - low).clamp(min=1e-300)).clamp(0, 1)
    within = known[right - 1] + share * (known[right] - known[right - 1])
    start = count - 1 - min(count - 1, max(_LEAST, round(_TAIL * count)))
    excess = (reference[start + 1 :] - reference[start]).mean()
    unit = torch.maximum(excess, 1e-3 * (reference[-1] - reference[0])).clamp(min=1e-12)
    beyond = known[start] + (scores - reference[start]) / unit
    return torch.where(scores > reference[start], beyond, within)


def joined(surprises: torch.Tensor) -> torch.Tensor:
    """Return minus the log of the harmonic mean p-value, (n,), of surprises (k, n)."""
    return surprises.logsumexp(0) - torch.tensor(float(len(surprises)), dtype=surprises.dtype).log()


def choose(reference: Scores, outliers: Mapping[str, Scores]) -> tuple[str, ...]:
    """Return the detectors whose combination tells known outliers best: others are left out one by one while it helps.

    What is made small is the root of the mean over sets of (100 - AUROC) squared, so that the sets that are told worst
    count most. What is chosen is good for these sets, and must be judged on others: see `leave_one_out`.

    Args:
        reference: (n,) scores of in-distribution images by detector, those of the combination's reference.
        outliers: by name of the set, scores by detector.
    """
    known = combination(reference)
    inside = {name: surprise(known.reference[name], reference[name]) for name in reference}
    sets = [{name: surprise(known.reference[name], one[name]) for name in reference} for one in outliers.values()]

    def shortfall(members: Sequence[str]) -> float:
        score = joined(torch.stack([inside[name] for name in members]))
        lacks = [100 - 100 * auroc(score, joined(torch.stack([one[name] for name in members]))) for one in sets]
        return float(torch.tensor(lacks, dtype=torch.float64).square().mean().sqrt())

    members = tuple(reference)
    best = shortfall(members)
    while sets and len(members) > 1:
        fewer = [tuple(name for name in members if name != out) for out in members]
        found, chosen = min((shortfall(some), some) for some in fewer)
        if found > best - _GAIN:
            break
        best, members = found, chosen
    return members


def leave_one_out(reference: Scores, inside: Scores, outliers: Mapping[str, Scores]) -> dict[str, float]:
    """Return for every set of outliers the AUROC of the combination that all other sets chose.

    Args:
        reference: scores of reference images by detector.
        inside: scores of other in-distribution images.
        outliers: by name of the set, scores by detector.
    """
    found = {}
    for name, scores in outliers.items():
        others = {other: values for other, values in outliers.items() if other != name}
        made = combination(reference, choose(reference, others))
        found[name] = auroc(made.score(inside), made.score(scores))
    return found
