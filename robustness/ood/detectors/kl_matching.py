"""KL matching: how far the softmax is from those that are usual for each answer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from xai.registry import Kind, Method
from xai.robustness.ood.detectors.base import Detector, Evidence, Given, Reads, Seen, State, Statistic

_SMALLEST = 1e-38  # of a usual probability: below it, float32 knows none


@dataclass(frozen=True)
class Usual(Statistic):
    """Count (classes,) and sum of the softmax (classes, classes) by predicted class."""

    def of(self, seen: Seen) -> State:
        """Return the sums of some inputs."""
        classes = seen.logits.shape[1]
        answers = seen.logits.argmax(1)
        total = torch.zeros(classes, classes, dtype=torch.float64, device=seen.logits.device)
        return {
            "count": torch.bincount(answers, minlength=classes).double(),
            "sum": total.index_add(0, answers, seen.logits.softmax(1)),
        }

    def merged(self, states: Sequence[State]) -> State:
        """Add."""
        return {name: sum((state[name] for state in states[1:]), states[0][name]) for name in states[0]}


class KlMatching(Detector):
    """Hendrycks et al. 2022."""

    about = Method(
        name="kl-matching",
        title="KL matching",
        summary="The divergence of the softmax from the nearest of those that are usual for each answer.",
        limits="It sees unusual doubt only: an outlier with the usual doubts passes.",
        source="Hendrycks, Basart, Mazeika, Zou, Kwon, Mostajabi, Steinhardt, Song 2022, Scaling Out-of-Distribution "
        "Detection for Real-World Settings",
        kind=Kind.HEURISTIC,
    )
    evidence = Evidence.LOGITS
    reads = frozenset({Reads.CLASSES})

    @property
    def statistics(self) -> tuple[Statistic, ...]:
        """The usual softmax of each answer."""
        return (Usual(),)

    def fit(self, given: Given) -> State:
        """Take the mean softmax of every class that was answered."""
        sums = given.sums[Usual()]
        answered = sums["count"] > 0
        return {"usual": sums["sum"][answered] / sums["count"][answered, None]}

    def score(self, seen: Seen, state: State) -> torch.Tensor:
        """Return the least divergence."""
        return least_divergence(seen.logits, state["usual"])


def least_divergence(logits: torch.Tensor, usual: torch.Tensor) -> torch.Tensor:
    """Return the least of KL(softmax || usual), (n,), of logits (n, classes) and usual probabilities (k, classes)."""
    logs = logits.log_softmax(1)
    p = logs.exp()
    divergences = (p * logs).sum(1, keepdim=True) - p @ usual.clamp(min=_SMALLEST).log().T
    return divergences.min(1).values
