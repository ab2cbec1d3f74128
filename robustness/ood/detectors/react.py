"""ReAct: energy, once activations that are too high are cut."""

from __future__ import annotations

import numpy as np
import torch
from pydantic import Field

from xai.registry import Kind, Method, Need
from xai.robustness.ood.detectors.base import Detector, Evidence, Given, Reads, Seen, State, Statistic
from xai.robustness.ood.energies import energy
from xai.robustness.ood.statistics import Reservoir


class ReAct(Detector):
    """Sun, Guo and Li 2021."""

    about = Method(
        name="react",
        title="ReAct",
        summary="The energy after features are cut at a height that known images seldom exceed: what made outliers "
        "look certain is gone.",
        limits="It helps where outliers have few features that are far too high; in other networks it is the energy.",
        source="Sun, Guo, Li 2021, ReAct: Out-of-distribution Detection With Rectified Activations",
        kind=Kind.HEURISTIC,
        needs=frozenset({Need.GRAPH}),
        default=True,
    )
    evidence = Evidence.SHAPING
    reads = frozenset({Reads.FEATURES, Reads.HEAD})

    share: float = Field(default=0.9, gt=0, le=1, description="Of all features of known images that stay as they are.")
    sample: int = Field(default=2000, ge=1, le=1_000_000, description="How many images are kept at most.")

    @property
    def statistics(self) -> tuple[Statistic, ...]:
        """A sample of features."""
        return (Reservoir(of_layers=False, size=self.sample),)

    def fit(self, given: Given) -> State:
        """Find the height."""
        sample = given.sums[self.statistics[0]]["features"].cpu().numpy()
        return {"height": torch.tensor(np.quantile(sample, self.share), dtype=torch.float64)}

    def score(self, seen: Seen, state: State) -> torch.Tensor:
        """Cut, and take the energy."""
        assert seen.head is not None
        return energy(seen.head.logits(cut(seen.features, state["height"])))


def cut(features: torch.Tensor, height: torch.Tensor) -> torch.Tensor:
    """Return features (n, d), none of them above a height."""
    return torch.minimum(features, height)
