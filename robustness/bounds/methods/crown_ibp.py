"""CROWN-IBP."""

from __future__ import annotations

import torch

from xai.registry import Kind, Method, Need
from xai.robustness.bounds.analysis import Analysis
from xai.robustness.bounds.methods.base import Bounder


class CrownIbp(Bounder):
    """Boxes forwards, and one pass backwards for the outputs."""

    about = Method(
        name="crown-ibp",
        title="CROWN-IBP",
        summary="Bounds of inner layers carried forwards as intervals, those of outputs backwards as linear functions.",
        limits="As cheap as a few passes, and looser than CROWN, since the intervals of inner layers are.",
        source="Zhang et al. 2020, Towards stable and efficient training of verifiably robust neural networks",
        kind=Kind.SOUND,
        needs=frozenset({Need.GRAPH}),
    )

    def prepare(self, analysis: Analysis, last: int) -> None:
        """Carry boxes forwards."""
        analysis.spread(last)

    def lowest(self, analysis: Analysis, last: int, rows: torch.Tensor) -> torch.Tensor:
        """Take rows back to the input."""
        return torch.fmax(analysis.bounded(last, rows), analysis.bounded(last, rows, boxed=True))
