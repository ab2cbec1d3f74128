"""APGD-DLR: APGD that raises the difference of logits ratio."""

from __future__ import annotations

import torch

from xai.registry import Kind, Method, Need
from xai.robustness.attacks.base import Lanes
from xai.robustness.autopgd import AutoPgd
from xai.robustness.losses import difference_of_logits_ratio


class ApgdDlr(AutoPgd):
    """Croce and Hein 2020; for l1 Croce and Hein 2021."""

    about = Method(
        name="apgd-dlr",
        title="APGD-DLR",
        summary="APGD on the margin over the gap of first and third score, which no scaling of the logits changes.",
        limits="It goes for whichever class is nearest at the moment; APGD-T tries them one by one and is stronger.",
        source="Croce, Hein 2020, Reliable evaluation of adversarial robustness with an ensemble of diverse "
        "parameter-free attacks; l1: Croce, Hein 2021, Mind the box: l1-APGD for sparse adversarial attacks",
        kind=Kind.HEURISTIC,
        needs=frozenset({Need.GRADIENTS}),
    )
    classes = 3
    aimed = False  # toward a wanted class the ratio is another one: APGD-T

    def loss(self, scores: torch.Tensor, lanes: Lanes, targeted: bool) -> torch.Tensor:  # noqa: ARG002 - never targeted
        """The ratio of the label."""
        return difference_of_logits_ratio(scores, lanes.label)
