"""CROWN."""

from __future__ import annotations

import torch

from xai.registry import Kind, Method, Need
from xai.robustness.bounds.analysis import Analysis
from xai.robustness.bounds.methods.base import Bounder


class Crown(Bounder):
    """Linear bounds carried backwards, for every layer that enters one that is not affine, then for the outputs."""

    about = Method(
        name="crown",
        title="CROWN",
        summary="Bounds carried backwards as linear functions, from every layer to the input.",
        limits="It is never wrong, but a bound may be far from what the network reaches: that a property was not "
        "proved does not mean that it is violated.",
        source="Zhang et al. 2018, Efficient neural network robustness certification with general activation "
        "functions; Singh et al. 2019, An abstract domain for certifying neural networks (DeepPoly)",
        kind=Kind.SOUND,
        needs=frozenset({Need.GRAPH}),
        default=True,
    )

    inner = 2

    def prepare(self, analysis: Analysis, last: int) -> None:
        """Narrow each box as soon as it is there."""
        analysis.spread(last, analysis.lowest)

    def lowest(self, analysis: Analysis, last: int, rows: torch.Tensor) -> torch.Tensor:
        """Take rows back to the input."""
        return torch.fmax(analysis.bounded(last, rows), analysis.bounded(last, rows, boxed=True))
