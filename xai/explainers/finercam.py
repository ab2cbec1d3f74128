"""Finer-CAM."""

from __future__ import annotations

import torch
from pydantic import Field

from xai.errors import NotApplicableError
from xai.explainers.base import GradientCAM
from xai.models.model import Model
from xai.models.targets import Target
from xai.registry import Kind, Method, Need
from xai.reports.records import Scalar


def compared(outputs: torch.Tensor, own: int, others: list[int], alpha: float) -> torch.Tensor:
    """Return an output less alpha times the mean of others, (batch,), each weighted by its probability among them.

    Args:
        outputs: (batch, classes).
        own: index of the output.
        others: indexes of those that it is compared with.
        alpha: how much they count.
    """
    values = outputs[:, others]
    return outputs[:, own] - alpha * (values.softmax(dim=1) * values).sum(dim=1)


class FinerCAM(GradientCAM):
    """Grad-CAM of what tells a class from those most like it (Zhang et al. 2025)."""

    about = Method(
        name="finercam",
        title="Finer-CAM",
        summary=(
            "Bright places hold features of one layer that raise the target's output above those of the classes that "
            "are most like it for this picture."
        ),
        limits=(
            "It shows what tells classes apart and not what makes up the class: what they share stays dark. It "
            "depends on which classes are compared: with a single one it is Grad-CAM of that difference. It is as "
            "coarse as the layer's grid."
        ),
        source="Zhang et al. 2025, Finer-CAM: Spotting the Difference Reveals Finer Details for Visual Explanation",
        kind=Kind.HEURISTIC,
        needs=frozenset({Need.GRADIENTS, Need.GRAPH}),
    )
    unit = "weighted activation"

    similar: int = Field(default=3, ge=1, description="classes it is compared with, those of the nearest outputs")
    alpha: float = Field(default=1.0, gt=0, le=10, description="how much the other classes count")

    def applies(self, model: Model) -> None:
        """Raise NotApplicableError, too, if there is no other class."""
        super().applies(model)
        if len(model.classes) < 2:
            raise NotApplicableError(f"it compares classes, and the model has one output, {model.classes[0]!r}")

    def raised(self, target: Target, outputs: torch.Tensor, model: Model) -> tuple[torch.Tensor, dict[str, Scalar]]:
        """Compare the target with the nearest outputs; one that stands against another, with that one alone."""
        copy, own = divmod(target.index, len(model.classes))  # copies of a model give their outputs side by side
        mine = outputs.unflatten(1, (-1, len(model.classes)))[:, copy]
        nearest = (mine[0] - mine[0, own]).abs().argsort(stable=True).tolist()
        others = [index for index in nearest if index != own][: self.similar]
        if target.against is not None:
            others = [target.against.index % len(model.classes)]
        names = ", ".join(model.classes[index] for index in others)
        return compared(mine, own, others, self.alpha), {"compared with": names}

    def weighted(self, activation: torch.Tensor, gradient: torch.Tensor) -> torch.Tensor:
        """Weight each channel by the difference's mean gradient."""
        return (gradient.mean(dim=(-2, -1), keepdim=True) * activation).sum(dim=1)
