"""APGD-CE: APGD that raises the cross-entropy."""

from __future__ import annotations

from typing import ClassVar

import torch

from xai.registry import Kind, Method, Need
from xai.robustness.attacks.base import Lanes
from xai.robustness.autopgd import AutoPgd
from xai.robustness.losses import cross_entropy
from xai.robustness.norms import Norm


class ApgdCe(AutoPgd):
    """Croce and Hein 2020; for l1 Croce and Hein 2021."""

    about = Method(
        name="apgd-ce",
        title="APGD-CE",
        summary="Gradient steps with momentum that halve themselves where the cross-entropy no longer rises: "
        "nothing to tune.",
        limits="Logits of a large scale make the cross-entropy flat and hide weaknesses; APGD-DLR and APGD-T do not "
        "depend on the scale.",
        source="Croce, Hein 2020, Reliable evaluation of adversarial robustness with an ensemble of diverse "
        "parameter-free attacks; l1: Croce, Hein 2021, Mind the box: l1-APGD for sparse adversarial attacks",
        kind=Kind.HEURISTIC,
        needs=frozenset({Need.GRADIENTS}),
        sets={"standard": 1},
    )
    planned: ClassVar = {("standard", Norm.L1): {"restarts": 5, "widened": True}}

    def loss(self, scores: torch.Tensor, lanes: Lanes, targeted: bool) -> torch.Tensor:
        """Cross-entropy: of the label to be raised, of a wanted class to be lowered."""
        return -cross_entropy(scores, lanes.wanted) if targeted else cross_entropy(scores, lanes.label)
