"""APGD-T: APGD toward the most likely other classes, one after the other."""

from __future__ import annotations

from typing import ClassVar

import torch
from pydantic import Field

from xai.registry import Kind, Method, Need
from xai.robustness.attacks.base import Lanes, Scene
from xai.robustness.autopgd import AutoPgd
from xai.robustness.losses import targeted_ratio
from xai.robustness.norms import Norm


class ApgdT(AutoPgd):
    """Croce and Hein 2020; for l1 Croce and Hein 2021."""

    about = Method(
        name="apgd-t",
        title="APGD-T",
        summary="APGD on the targeted difference of logits ratio, toward each of the most likely other classes: "
        "the strongest of the gradient attacks here, and one of the slowest.",
        limits="Classes beyond the number of targets are not aimed at.",
        source="Croce, Hein 2020, Reliable evaluation of adversarial robustness with an ensemble of diverse "
        "parameter-free attacks; l1: Croce, Hein 2021, Mind the box: l1-APGD for sparse adversarial attacks",
        kind=Kind.HEURISTIC,
        needs=frozenset({Need.GRADIENTS}),
        sets={"standard": 2},
    )
    planned: ClassVar = {("standard", Norm.L1): {"targets": 5, "widened": True}}
    classes = 4

    targets: int = Field(default=9, ge=1, le=100_000, description="Classes aimed at, the most likely first.")

    @property
    def aims(self) -> int:
        """Each target class."""
        return self.targets

    def begin(self, lanes: Lanes, scene: Scene) -> None:
        """Choose the class, by the scores of the input itself; all restarts of one come before the next."""
        super().begin(lanes, scene)
        likely = lanes.clean.scatter(1, lanes.label[:, None], -torch.inf).argsort(dim=1, descending=True, stable=True)
        ranked = likely.gather(1, (lanes.attempt // self.tries)[:, None])[:, 0]
        lanes.own["toward"] = lanes.wanted if scene.targeted else ranked

    def loss(self, scores: torch.Tensor, lanes: Lanes, targeted: bool) -> torch.Tensor:  # noqa: ARG002 - both have an aim
        """The ratio of that class against the label."""
        return targeted_ratio(scores, lanes.label, lanes.own["toward"])
