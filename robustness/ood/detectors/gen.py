"""GEN: a generalised entropy that looks at the tail of the softmax."""

from __future__ import annotations

import torch
from pydantic import Field

from xai.registry import Kind, Method
from xai.robustness.ood.detectors.base import Detector, Evidence, Reads, Seen, State


class Gen(Detector):
    """Liu, Lochman and Zach 2023."""

    about = Method(
        name="gen",
        title="GEN",
        summary="A generalised entropy of the highest probabilities, which small doubts already raise.",
        limits="A network can be sure of what it was never trained for; on far outliers it often is.",
        source="Liu, Lochman, Zach 2023, GEN: Pushing the Limits of Softmax-Based Out-of-Distribution Detection",
        kind=Kind.HEURISTIC,
        default=True,
    )
    evidence = Evidence.LOGITS
    reads = frozenset({Reads.CLASSES})

    gamma: float = Field(default=0.1, gt=0, le=10, description="Power; the smaller, the more small doubts count.")
    top: int = Field(default=100, ge=1, le=1_000_000, description="How many of the highest probabilities count (M).")
    floor: float = Field(
        default=0.0, ge=0, lt=0.5, description="Probabilities are taken to be this far from 0 and 1 at least."
    )

    def score(self, seen: Seen, state: State) -> torch.Tensor:  # noqa: ARG002  # nothing is learnt
        """Return the generalised entropy."""
        return generalised_entropy(seen.logits, self.gamma, self.top, self.floor)


def generalised_entropy(logits: torch.Tensor, gamma: float, top: int, floor: float = 0.0) -> torch.Tensor:
    """Return the sum (n,) over the highest probabilities p of (p (1 - p)) ** gamma, of logits (n, classes)."""
    logs = logits.log_softmax(1).sort(dim=1, descending=True).values
    p, others = logs.exp(), -torch.expm1(logs)
    others = torch.cat((p[:, 1:].sum(1, keepdim=True), others[:, 1:]), dim=1)  # of the highest, without loss near 1
    return (p.clamp(floor, 1 - floor) * others.clamp(floor, 1 - floor)).pow(gamma)[:, :top].sum(1)
