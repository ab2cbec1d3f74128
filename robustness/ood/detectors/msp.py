"""MSP: how unsure the softmax is."""

from __future__ import annotations

import torch

from xai.registry import Kind, Method
from xai.robustness.ood.detectors.base import Detector, Evidence, Reads, Seen, State
from xai.robustness.ood.energies import runners_up


class Msp(Detector):
    """Hendrycks and Gimpel 2017."""

    about = Method(
        name="msp",
        title="MSP",
        summary="The probability that the model leaves to all classes but the one it answers: the baseline.",
        limits="A network can be sure of what it was never trained for; on far outliers it often is.",
        source="Hendrycks, Gimpel 2017, A Baseline for Detecting Misclassified and Out-of-Distribution Examples in "
        "Neural Networks",
        kind=Kind.HEURISTIC,
        default=True,
    )
    evidence = Evidence.LOGITS
    reads = frozenset({Reads.CLASSES})

    def score(self, seen: Seen, state: State) -> torch.Tensor:  # noqa: ARG002  # nothing is learnt
        """One minus the highest probability."""
        return unsureness(seen.logits)


def unsureness(logits: torch.Tensor) -> torch.Tensor:
    """Return one minus the highest softmax probability, (n,), of logits (n, classes); exact also near 0."""
    odds = runners_up(logits)
    return odds / (1 + odds)
