"""HBOS: how rare the layers' values are, by histograms."""

from __future__ import annotations

import torch
from pydantic import Field

from xai.registry import Kind, Method, Need
from xai.robustness.ood.density import counted, fit_layers, negative_log_density
from xai.robustness.ood.detectors.base import Detector, Evidence, Given, Reads, Seen, State, Statistic
from xai.robustness.ood.statistics import Reservoir


class Hbos(Detector):
    """Goldstein and Dengel 2012, on principal components of layers as MATLAB's networkDistributionDiscriminator."""

    about = Method(
        name="hbos",
        title="HBOS",
        summary="How rare an input's values are along the principal components of several layers, by histograms; the "
        "logarithms are added up.",
        limits="Components are taken for independent, and each counts alike. Counts are shared between neighbouring "
        "bins and read linearly between them, so that no score jumps.",
        source="Goldstein, Dengel 2012, Histogram-based Outlier Score (HBOS): A fast unsupervised anomaly detection "
        "algorithm; on layers: MATLAB R2023a, networkDistributionDiscriminator",
        kind=Kind.HEURISTIC,
        needs=frozenset({Need.GRAPH}),
        default=True,
    )
    evidence = Evidence.FEATURES
    reads = frozenset({Reads.LAYERS})

    variance_cutoff: float = Field(
        default=0.001, ge=0, le=1, description="Least share of a layer's variance that a component must hold."
    )
    bins: int = Field(default=20, ge=2, le=10_000, description="Of each histogram.")
    sample: int = Field(default=2000, ge=2, le=1_000_000, description="How many images are kept at most to count.")

    @property
    def statistics(self) -> tuple[Statistic, ...]:
        """A sample of the layers' means over places."""
        return (Reservoir(of_layers=True, size=self.sample),)

    def fit(self, given: Given) -> State:
        """Count along every component."""
        sample = given.sums[self.statistics[0]]
        return fit_layers(sample, self.variance_cutoff, lambda values: histograms(values, self.bins), given.notes)

    def score(self, seen: Seen, state: State) -> torch.Tensor:
        """Add up the logarithms of one over the heights."""
        return negative_log_density(seen, state, beyond=False)


def histograms(values: torch.Tensor, bins: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return first centre (k,), width (k,) and log heights (k, bins + 2) of histograms of values (m, k).

    The highest bin has height 1. A value counts for the two nearest centres by its distance from them. The bins at both
    ends are empty but for half a count, which every bin has more, so that nothing is impossible.
    """
    low, high = values.min(0).values, values.max(0).values
    width = (high - low) / (bins - 1)
    first = low - width
    heights = counted((values - first) / width, bins + 2) + 0.5
    return first, width, (heights / heights.max(1, keepdim=True).values).log()
