"""ASH: energy, once all but the highest features are removed."""

from __future__ import annotations

from typing import Literal

import torch
from pydantic import Field

from xai.registry import Kind, Method, Need
from xai.robustness.ood.detectors.base import Detector, Evidence, Reads, Seen, State
from xai.robustness.ood.energies import energy
from xai.robustness.ood.shaping import highest, ratio

Variant = Literal["s", "p", "b"]


class Ash(Detector):
    """Djurisic, Bozanic, Ashok and Liu 2023, on the features that the head reads."""

    about = Method(
        name="ash",
        title="ASH",
        summary="The energy after all but an input's highest features are removed, and the rest is made larger (S), "
        "left (P) or made equal (B).",
        limits="Made for features that are never negative. What share is removed was tuned on outliers in the paper "
        "and is fixed here.",
        source="Djurisic, Bozanic, Ashok, Liu 2023, Extremely Simple Activation Shaping for Out-of-Distribution "
        "Detection",
        kind=Kind.HEURISTIC,
        needs=frozenset({Need.GRAPH}),
        default=True,
    )
    evidence = Evidence.SHAPING
    reads = frozenset({Reads.FEATURES, Reads.HEAD})

    variant: Variant = Field(
        default="s", description="What becomes of the rest: s is scaled, p stays, b is made equal."
    )
    share: float = Field(default=0.65, ge=0, lt=1, description="Of an input's features that is removed.")

    def score(self, seen: Seen, state: State) -> torch.Tensor:  # noqa: ARG002  # nothing is learnt
        """Shape, and take the energy."""
        assert seen.head is not None
        return energy(seen.head.logits(pruned(seen.features, self.share, self.variant)))


def pruned(features: torch.Tensor, share: float, variant: Variant) -> torch.Tensor:
    """Return features (n, d) of which the lowest share is zero and the rest shaped."""
    values, places = highest(features, share)
    if variant == "b":
        values = (features.sum(1, keepdim=True) / values.shape[1]).expand(values.shape)
    rest = torch.zeros_like(features).scatter(1, places, values)
    return rest * ratio(features, values).exp()[:, None] if variant == "s" else rest
