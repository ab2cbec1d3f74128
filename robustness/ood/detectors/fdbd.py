"""fDBD: how near the features are to the boundaries between classes."""

from __future__ import annotations

import torch

from xai.models.head import Head
from xai.registry import Kind, Method, Need
from xai.robustness.ood.detectors.base import Detector, Evidence, Given, Reads, Seen, State, Statistic
from xai.robustness.ood.gaussians import moments
from xai.robustness.ood.statistics import ClassSums


class Fdbd(Detector):
    """Liu and Qin 2024."""

    about = Method(
        name="fdbd",
        title="fDBD",
        summary="The mean distance of the features from the boundaries of the answered class, relative to their "
        "distance from the mean of known features; negated.",
        limits="Boundaries are those of the last layer: features that lie deep inside a class by mistake pass.",
        source="Liu, Qin 2024, Fast Decision Boundary based Out-of-Distribution Detector",
        kind=Kind.HEURISTIC,
        needs=frozenset({Need.GRAPH}),
        default=True,
    )
    evidence = Evidence.FEATURES
    reads = frozenset({Reads.FEATURES, Reads.HEAD})

    @property
    def statistics(self) -> tuple[Statistic, ...]:
        """Sums."""
        return (ClassSums(),)

    def fit(self, given: Given) -> State:
        """Take the mean of the features, and the distances between the classes' weights."""
        assert given.head is not None
        return {"mean": moments(given.sums[ClassSums()]).mean, "gaps": weight_gaps(given.head.weight)}

    def score(self, seen: Seen, state: State) -> torch.Tensor:
        """Return minus the relative distance."""
        assert seen.head is not None
        return -boundary_distance(seen.features, seen.head, state["mean"], state["gaps"])


def boundary_distance(features: torch.Tensor, head: Head, mean: torch.Tensor, gaps: torch.Tensor) -> torch.Tensor:
    """Return the mean distance (n,) of features (n, d) from their class's boundaries over that from a mean (d,).

    Args:
        features: what the head reads.
        head: the last linear layer.
        mean: of known features.
        gaps: see `weight_gaps`.
    """
    logits = head.logits(features)
    top = logits.max(1)
    between = ((top.values[:, None] - logits) / gaps[top.indices]).sum(1) / (logits.shape[1] - 1)
    away: torch.Tensor = torch.linalg.vector_norm(features - mean, dim=1)
    return between / away.clamp(min=1e-8)


def weight_gaps(weight: torch.Tensor) -> torch.Tensor:
    """Return the distances (classes, classes) between the rows of a weight (classes, d); 1 from itself."""
    rows = [torch.linalg.vector_norm(weight - row, dim=1) for row in weight]
    return torch.stack(rows).fill_diagonal_(1.0).clamp(min=1e-12)
