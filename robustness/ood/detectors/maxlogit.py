"""MaxLogit: how low the highest logit is."""

from __future__ import annotations

import torch

from xai.registry import Kind, Method
from xai.robustness.ood.detectors.base import Detector, Evidence, Reads, Seen, State


class MaxLogit(Detector):
    """Hendrycks et al. 2022."""

    about = Method(
        name="maxlogit",
        title="MaxLogit",
        summary="The highest logit, negated: how little speaks for any class.",
        limits="It sees what lowers logits; strong features of no known kind raise them.",
        source="Hendrycks, Basart, Mazeika, Zou, Kwon, Mostajabi, Steinhardt, Song 2022, Scaling Out-of-Distribution "
        "Detection for Real-World Settings",
        kind=Kind.HEURISTIC,
        default=True,
    )
    evidence = Evidence.LOGITS
    reads = frozenset({Reads.LOGITS})

    def score(self, seen: Seen, state: State) -> torch.Tensor:  # noqa: ARG002  # nothing is learnt
        """Minus the highest logit."""
        return -highest(seen.logits)


def highest(logits: torch.Tensor) -> torch.Tensor:
    """Return the highest logit (n,) of logits (n, classes)."""
    return logits.max(dim=1).values
