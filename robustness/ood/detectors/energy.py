"""Energy: how little speaks for all classes together."""

from __future__ import annotations

import torch
from pydantic import Field

from xai.registry import Kind, Method
from xai.robustness.ood.detectors.base import Detector, Evidence, Reads, Seen, State
from xai.robustness.ood.energies import energy


class Energy(Detector):
    """Liu, Wang, Owens and Li 2020."""

    about = Method(
        name="energy",
        title="Energy",
        summary="The free energy of the logits: how little speaks for all classes together.",
        limits="It sees what lowers logits; strong features of no known kind raise them.",
        source="Liu, Wang, Owens, Li 2020, Energy-based Out-of-distribution Detection",
        kind=Kind.HEURISTIC,
        default=True,
    )
    evidence = Evidence.LOGITS
    reads = frozenset({Reads.LOGITS})

    temperature: float = Field(default=1.0, gt=0, le=1e6, description="What logits are divided by.")

    def score(self, seen: Seen, state: State) -> torch.Tensor:  # noqa: ARG002  # nothing is learnt
        """Return the free energy."""
        return energy(seen.logits, self.temperature)
