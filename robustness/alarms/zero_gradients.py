"""Zero gradients: where the loss is flat, an attack along gradients stays where it is."""

from __future__ import annotations

import torch
from pydantic import Field

from xai.registry import Kind, Method, Need
from xai.reports.records import Speaks, Value
from xai.robustness.alarms.base import Alarm, Signal, Subject
from xai.robustness.losses import cross_entropy, margin

LOSSES = {"cross-entropy": cross_entropy, "margin": margin}


class ZeroGradients(Alarm):
    """Carlini and Wagner 2017, section VI: what looks like robustness was a softmax that had saturated."""

    about = Method(
        name="zero_gradients",
        title="Zero gradients",
        summary="Counts the images at which the gradient of the loss is exactly zero, or no number, in the model's own "
        "arithmetic: no attack along gradients leaves them.",
        limits="A gradient that is not zero can still mislead.",
        source="Carlini, Wagner 2017, Towards evaluating the robustness of neural networks",
        kind=Kind.EXACT,
        needs=frozenset({Need.GRADIENTS}),
        default=True,
    )

    line: float = Field(default=0.05, ge=0, lt=1, description="Share of the images beyond which the alarm is raised.")

    def look(self, subject: Subject) -> Signal:
        """Count them for both losses."""
        total = len(subject)
        slopes = torch.cat([self._slopes(subject, rows) for rows in torch.arange(total).split(subject.batch)])
        zero, broken = (slopes == 0).all(2), ~slopes.isfinite().all(2)
        counts = {name: (int(zero[:, at].sum()), int(broken[:, at].sum())) for at, name in enumerate(LOSSES)}
        worst = max(counts, key=lambda name: sum(counts[name]))
        lost = sum(counts[worst])
        speaks: Speaks = "for" if not lost else "against" if lost > self.line * total else "neither"
        ends = {
            "for": "The gradients of both losses are finite and not zero at each of",
            "neither": f"The gradient of the {worst} is zero or not finite at {lost} of",
            "against": f"The gradient of the {worst} is zero or not finite, so it shows no way, at {lost} of",
        }
        values = {}
        for name, (flat, wild) in counts.items():
            values[f"{name}: zero"] = Value(value=flat / total, unit="share of the images", n=total)
            values[f"{name}: not finite"] = Value(value=wild / total, unit="share of the images", n=total)
        return Signal(f"{ends[speaks]} {total} images.", speaks, values)

    def _slopes(self, subject: Subject, rows: torch.Tensor) -> torch.Tensor:
        """Return gradients (n, losses, numbers) at some images."""
        part = subject.case.take(rows.to(subject.case.x.device))
        _, _, slopes = subject.victim.differentiated(
            part.x, lambda scores: torch.stack([loss(scores, part.label) for loss in LOSSES.values()], 1)
        )
        return slopes.flatten(2)
