"""DICE: energy, of the weights alone that known images use most."""

from __future__ import annotations

import numpy as np
import torch
from pydantic import Field

from xai.registry import Kind, Method, Need
from xai.robustness.ood.detectors.base import Detector, Evidence, Given, Reads, Seen, State, Statistic
from xai.robustness.ood.energies import energy
from xai.robustness.ood.gaussians import moments
from xai.robustness.ood.statistics import ClassSums


class Dice(Detector):
    """Sun and Li 2022."""

    about = Method(
        name="dice",
        title="DICE",
        summary="The energy of logits to which only the weights contribute that known images use most.",
        limits="How many weights are left out was tuned on outliers in the paper and is fixed here.",
        source="Sun, Li 2022, DICE: Leveraging Sparsification for Out-of-Distribution Detection",
        kind=Kind.HEURISTIC,
        needs=frozenset({Need.GRAPH}),
        default=True,
    )
    evidence = Evidence.SHAPING
    reads = frozenset({Reads.FEATURES, Reads.HEAD})

    share: float = Field(default=0.9, ge=0, lt=1, description="Of the weights that is left out.")

    @property
    def statistics(self) -> tuple[Statistic, ...]:
        """Sums."""
        return (ClassSums(),)

    def fit(self, given: Given) -> State:
        """Find the weights that contribute."""
        assert given.head is not None
        return {"weight": sparse(given.head.weight, moments(given.sums[ClassSums()]).mean, self.share)}

    def score(self, seen: Seen, state: State) -> torch.Tensor:
        """Take the energy of what contributes."""
        assert seen.head is not None
        return energy(seen.features @ state["weight"].T + seen.head.bias)


def sparse(weight: torch.Tensor, mean: torch.Tensor, share: float) -> torch.Tensor:
    """Return a weight (classes, d) without that share of its entries whose product with a mean (d,) is lowest."""
    contributed = weight * mean
    least = float(np.quantile(contributed.cpu().numpy(), share))
    return torch.where(contributed > least, weight, torch.zeros_like(weight))
