"""KNN: how far the nearest known features are."""

from __future__ import annotations

import torch
from pydantic import Field

from xai.errors import AnalysisError
from xai.registry import Kind, Method, Need
from xai.robustness.ood.detectors.base import Detector, Evidence, Given, Reads, Seen, State, Statistic
from xai.robustness.ood.statistics import Reservoir

_ABOUT = 2  # neighbours before and after the k-th whose rank rounding may have exchanged


class Knn(Detector):
    """Sun, Ming, Zhu and Li 2022."""

    about = Method(
        name="knn",
        title="KNN",
        summary="The distance of the features, as directions, from the k-th nearest of a sample of known images.",
        limits="The length of the features, which often tells outliers, is left out by design. The sample is bounded: "
        "rare kinds of images may not be in it.",
        source="Sun, Ming, Zhu, Li 2022, Out-of-Distribution Detection with Deep Nearest Neighbors",
        kind=Kind.HEURISTIC,
        needs=frozenset({Need.GRAPH}),
        default=True,
    )
    evidence = Evidence.FEATURES
    reads = frozenset({Reads.FEATURES})

    k: int = Field(default=10, ge=1, le=100_000, description="Which of the nearest neighbours counts.")
    bank: int = Field(default=1000, ge=2, le=1_000_000, description="How many known images are kept at most.")

    @property
    def statistics(self) -> tuple[Statistic, ...]:
        """A sample of features."""
        return (Reservoir(of_layers=False, size=self.bank),)

    def fit(self, given: Given) -> State:
        """Keep directions."""
        bank = given.sums[self.statistics[0]]["features"].double()
        if len(bank) < self.k:
            raise AnalysisError(f"expected at least k = {self.k} images, received {len(bank)}; give more, or a lower k")
        return {"bank": direction(bank).float()}

    def score(self, seen: Seen, state: State) -> torch.Tensor:
        """Return the distance from the k-th nearest."""
        return kth_distance(seen.features, state["bank"], self.k)


def direction(features: torch.Tensor) -> torch.Tensor:
    """Return features (n, d) of length one; a zero stays zero."""
    length: torch.Tensor = torch.linalg.vector_norm(features, dim=1, keepdim=True)
    return features / length.clamp(min=1e-12)


def kth_distance(features: torch.Tensor, bank: torch.Tensor, k: int) -> torch.Tensor:
    """Return the distance (n,) of the directions of features (n, d) from the k-th nearest in a bank (m, d).

    Neighbours are ranked in float32; the distances of those about the k-th are taken in float64.
    """
    wanted = direction(features)
    near = (wanted.float() @ bank.T).topk(min(len(bank), k + _ABOUT), dim=1).indices[:, max(0, k - 1 - _ABOUT) :]
    distances: torch.Tensor = torch.linalg.vector_norm(bank[near].double() - wanted[:, None], dim=2)
    return distances.kthvalue(min(k, _ABOUT + 1), dim=1).values
