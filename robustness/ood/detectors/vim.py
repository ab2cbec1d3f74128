"""ViM: features where the known ones have no extent, against what the logits say."""

from __future__ import annotations

import torch
from pydantic import Field

from xai.models.head import Head
from xai.registry import Kind, Method, Need
from xai.robustness.ood.detectors.base import Detector, Evidence, Given, Reads, Seen, State, Statistic
from xai.robustness.ood.energies import energy
from xai.robustness.ood.gaussians import moments
from xai.robustness.ood.statistics import ClassSums, Reservoir

_SAMPLE = 2000  # images that the scale is estimated of


class Vim(Detector):
    """Wang, Li, Feng and Zhang 2022."""

    about = Method(
        name="vim",
        title="ViM",
        summary="How far the features reach out of the space that known features fill, against the energy of the "
        "logits: a virtual logit.",
        limits="It depends on how many dimensions the known features are said to fill; where the head uses nearly all "
        "of them, little is left to see.",
        source="Wang, Li, Feng, Zhang 2022, ViM: Out-Of-Distribution with Virtual-logit Matching",
        kind=Kind.HEURISTIC,
        needs=frozenset({Need.GRAPH}),
        default=True,
    )
    evidence = Evidence.FEATURES
    reads = frozenset({Reads.FEATURES, Reads.HEAD, Reads.LOGITS})

    dimensions: int | None = Field(
        default=None,
        ge=1,
        description="Of the space that known features fill; none: 1000 of 1500 features or more, 512 of 768 or more, "
        "else half, as in the paper.",
    )

    @property
    def statistics(self) -> tuple[Statistic, ...]:
        """Sums, and a sample to scale by."""
        return (ClassSums(), Reservoir(of_layers=False, size=_SAMPLE))

    def fit(self, given: Given) -> State:
        """Find the space about the point whose logits are all zero, and the scale."""
        assert given.head is not None
        origin = -torch.linalg.pinv(given.head.weight) @ given.head.bias
        found = moments(given.sums[ClassSums()])
        away = found.mean - origin
        spread = found.around + away[:, None] * away
        size = len(spread)
        filled = min(self.dimensions or usual_dimensions(size), size - 1)
        rest = torch.linalg.eigh(spread).eigenvectors[:, : size - filled].contiguous()
        sample = given.sums[self.statistics[1]]["features"].double()
        outside = torch.linalg.vector_norm((sample - origin) @ rest, dim=1).mean()
        scale = given.head.logits(sample).max(1).values.mean() / outside.clamp(min=1e-12)
        return {"origin": origin, "rest": rest, "scale": scale}

    def score(self, seen: Seen, state: State) -> torch.Tensor:
        """Return the virtual logit less the energy's evidence."""
        assert seen.head is not None
        return virtual_logit(seen.features, seen.head, state)


def usual_dimensions(size: int) -> int:
    """Return how many dimensions known features of that many are taken to fill."""
    return 1000 if size >= 1500 else 512 if size >= 768 else max(1, size // 2)


def virtual_logit(features: torch.Tensor, head: Head, state: State) -> torch.Tensor:
    """Return scale times the length of features (n, d) in the rest space, less the logsumexp of their logits: (n,)."""
    outside: torch.Tensor = torch.linalg.vector_norm((features - state["origin"]) @ state["rest"], dim=1)
    return state["scale"] * outside + energy(head.logits(features))
