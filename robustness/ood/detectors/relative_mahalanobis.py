"""Relative Mahalanobis: nearer to no class than to all inputs together."""

from __future__ import annotations

import torch
from pydantic import Field

from xai.registry import Kind, Method, Need
from xai.robustness.ood.detectors.base import Detector, Evidence, Given, Reads, Seen, State, Statistic
from xai.robustness.ood.gaussians import centred_on, moments, squared_distances, whitener
from xai.robustness.ood.statistics import ClassSums


class RelativeMahalanobis(Detector):
    """Ren, Fort, Liu, Roy, Padhy and Lakshminarayanan 2021."""

    about = Method(
        name="relative-mahalanobis",
        title="Relative Mahalanobis",
        summary="The squared distance from the nearest class, less that from all images together: what makes an input "
        "a member of no class in particular.",
        limits="What is far from everything alike is judged by the difference of two large numbers: made for outliers "
        "that are near.",
        source="Ren, Fort, Liu, Roy, Padhy, Lakshminarayanan 2021, A Simple Fix to Mahalanobis Distance for Improving "
        "Near-OOD Detection; shrinkage: Chen, Wiesel, Eldar, Hero 2010",
        kind=Kind.HEURISTIC,
        needs=frozenset({Need.GRAPH}),
        default=True,
    )
    evidence = Evidence.FEATURES
    reads = frozenset({Reads.FEATURES, Reads.CLASSES})

    shrinkage: float | None = Field(
        default=None, ge=0, le=1, description="Share of a sphere in the covariances; none: chosen from the data (OAS)."
    )

    @property
    def statistics(self) -> tuple[Statistic, ...]:
        """Sums by class."""
        return (ClassSums(),)

    def fit(self, given: Given) -> State:
        """Find centres, the common covariance, and that of all images together."""
        sums = given.sums[ClassSums()]
        found = moments(sums)
        whitening = whitener(found.around, found.count, self.shrinkage)
        together = {"whitening of all": whitening, "centre of all": found.mean[None] @ whitening}
        return {**centred_on(given, sums, self.shrinkage), **together}

    def score(self, seen: Seen, state: State) -> torch.Tensor:
        """Return the difference of the two distances."""
        near = squared_distances(seen.features, state["whitening"], state["centres"]).min(1).values
        return near - squared_distances(seen.features, state["whitening of all"], state["centre of all"])[:, 0]
