"""SCALE: energy, once features are made larger by how few of them carry most."""

from __future__ import annotations

import torch
from pydantic import Field

from xai.registry import Kind, Method, Need
from xai.robustness.ood.detectors.base import Detector, Evidence, Reads, Seen, State
from xai.robustness.ood.energies import energy
from xai.robustness.ood.shaping import highest, ratio


class Scale(Detector):
    """Xu, Chen, Franchi and Yao 2024."""

    about = Method(
        name="scale",
        title="SCALE",
        summary="The energy after all features are made larger, by the share that an input's highest ones have in "
        "their sum.",
        limits="Made for features that are never negative. What counts as high was tuned on outliers in the paper and "
        "is fixed here.",
        source="Xu, Chen, Franchi, Yao 2024, Scaling for Training Time and Post-hoc Out-of-distribution Detection "
        "Enhancement",
        kind=Kind.HEURISTIC,
        needs=frozenset({Need.GRAPH}),
        default=True,
    )
    evidence = Evidence.SHAPING
    reads = frozenset({Reads.FEATURES, Reads.HEAD})

    share: float = Field(default=0.65, ge=0, lt=1, description="Of an input's features that do not count as high.")

    def score(self, seen: Seen, state: State) -> torch.Tensor:  # noqa: ARG002  # nothing is learnt
        """Scale, and take the energy."""
        assert seen.head is not None
        return energy(seen.head.logits(scaled(seen.features, self.share)))


def scaled(features: torch.Tensor, share: float) -> torch.Tensor:
    """Return features (n, d) times the exponential of their sum over that of the highest."""
    return features * ratio(features, highest(features, share)[0]).exp()[:, None]
