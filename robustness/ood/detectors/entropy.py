"""Entropy: how widely the softmax is spread."""

from __future__ import annotations

import torch

from xai.registry import Kind, Method
from xai.robustness.ood.detectors.base import Detector, Evidence, Reads, Seen, State


class Entropy(Detector):
    """Chan, Rottmann and Gottschalk 2021, who did not invent it."""

    about = Method(
        name="entropy",
        title="Entropy",
        summary="The entropy of the softmax, in nats: how widely the answer is spread over the classes.",
        limits="A network can be sure of what it was never trained for; on far outliers it often is.",
        source="Chan, Rottmann, Gottschalk 2021, Entropy Maximization and Meta Classification for Out-of-Distribution "
        "Detection in Semantic Segmentation",
        kind=Kind.HEURISTIC,
        default=True,
    )
    evidence = Evidence.LOGITS
    reads = frozenset({Reads.CLASSES})

    def score(self, seen: Seen, state: State) -> torch.Tensor:  # noqa: ARG002  # nothing is learnt
        """Return the entropy."""
        return entropy(seen.logits)


def entropy(logits: torch.Tensor) -> torch.Tensor:
    """Return the entropy (n,) of the softmax of logits (n, classes), in nats."""
    logs = logits.log_softmax(1)
    return -(logs.exp() * logs).sum(1)
