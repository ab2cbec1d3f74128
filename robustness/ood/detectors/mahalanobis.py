"""Mahalanobis: how far the features are from the nearest class."""

from __future__ import annotations

import torch
from pydantic import Field

from xai.registry import Kind, Method, Need
from xai.robustness.ood.detectors.base import Detector, Evidence, Given, Reads, Seen, State, Statistic
from xai.robustness.ood.gaussians import centred_on, squared_distances
from xai.robustness.ood.statistics import ClassSums


class Mahalanobis(Detector):
    """Lee, Lee, Lee and Shin 2018, without their step of the input and their weights of layers."""

    about = Method(
        name="mahalanobis",
        title="Mahalanobis",
        summary="The squared distance of the features from the nearest class, in units of the classes' common spread.",
        limits="Features are taken for Gaussian with one covariance for all classes. Few images for many features make "
        "the covariance mostly a prior.",
        source="Lee, Lee, Lee, Shin 2018, A Simple Unified Framework for Detecting Out-of-Distribution Samples and "
        "Adversarial Attacks; shrinkage: Chen, Wiesel, Eldar, Hero 2010",
        kind=Kind.HEURISTIC,
        needs=frozenset({Need.GRAPH}),
        default=True,
    )
    evidence = Evidence.FEATURES
    reads = frozenset({Reads.FEATURES, Reads.CLASSES})

    shrinkage: float | None = Field(
        default=None, ge=0, le=1, description="Share of a sphere in the covariance; none: chosen from the data (OAS)."
    )

    @property
    def statistics(self) -> tuple[Statistic, ...]:
        """Sums by class."""
        return (ClassSums(),)

    def fit(self, given: Given) -> State:
        """Find centres and the common covariance."""
        return centred_on(given, given.sums[ClassSums()], self.shrinkage)

    def score(self, seen: Seen, state: State) -> torch.Tensor:
        """Return the least squared distance."""
        return nearest(seen.features, state["whitening"], state["centres"])


def nearest(features: torch.Tensor, whitening: torch.Tensor, centres: torch.Tensor) -> torch.Tensor:
    """Return the squared distance (n,) of features (n, d) from the nearest of whitened centres (k, d)."""
    return squared_distances(features, whitening, centres).min(1).values
