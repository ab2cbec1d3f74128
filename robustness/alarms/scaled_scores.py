"""Scaled scores: no answer depends on their scale, and an attack that does is led by rounding."""

from __future__ import annotations

import torch

from xai.registry import Kind, Method, Need
from xai.robustness.alarms.base import Alarm, Signal, Subject
from xai.robustness.borrowed import Lender, Loss

SMALLEST = 1e-12


class ScaledScores(Alarm):
    """Croce and Hein 2020, section 4: cross-entropy vanishes where scores are large."""

    about = Method(
        name="scaled_scores",
        title="Scaled scores",
        summary="Attacks the same images along the loss of scores a thousandth as large, and of scores of one "
        "spread. The answers are the same, so where that finds more, the loss had saturated.",
        limits="It sees what the scale of the scores hides, and no other masking.",
        source="Croce, Hein 2020, Reliable evaluation of adversarial robustness with an ensemble of diverse "
        "parameter-free attacks",
        kind=Kind.STATISTICAL,
        needs=frozenset({Need.GRADIENTS}),
        default=True,
    )

    def look(self, subject: Subject) -> Signal:
        """Attack along each scale."""
        title = subject.attack.about.title
        others = {
            f"{title} on {name}": subject.fallen(name, lender=_scaled(subject, scale)) for name, scale in SCALES.items()
        }
        contests = subject.contests(others)
        return Signal(contests.sentence, contests.speaks, contests.values)


def _to_unit_spread(scores: torch.Tensor) -> torch.Tensor:
    return scores / scores.detach().std(1, keepdim=True).clamp(min=SMALLEST)


SCALES: dict[str, Loss] = {
    "scores x 1/1000": lambda scores: scores / 1000,
    "scores of unit spread": _to_unit_spread,
}


def _scaled(subject: Subject, scale: Loss) -> Lender:
    victim = subject.victim
    return lambda x, loss: victim.differentiated(x, lambda scores: loss(scale(scores)))
