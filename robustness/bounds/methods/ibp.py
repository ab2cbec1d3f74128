"""Interval bound propagation."""

from __future__ import annotations

import torch

from xai.registry import Kind, Method, Need
from xai.robustness.bounds.analysis import Analysis
from xai.robustness.bounds.methods.base import Bounder


class Ibp(Bounder):
    """Boxes from step to step; the specification is merged with the last affine steps."""

    about = Method(
        name="ibp",
        title="IBP",
        summary="Bounds carried forwards as an interval for each number of each layer.",
        limits="It forgets how numbers depend on each other, so its bounds grow with depth: wide bounds say nothing of "
        "the network. Networks trained for it are the exception.",
        source="Gowal et al. 2018, On the effectiveness of interval bound propagation for training verifiably "
        "robust models",
        kind=Kind.SOUND,
        needs=frozenset({Need.GRAPH}),
    )

    boxes_only = True
    single = True

    def prepare(self, analysis: Analysis, last: int) -> None:
        """Carry boxes forwards."""
        analysis.spread(last, keep=False)

    def lowest(self, analysis: Analysis, last: int, rows: torch.Tensor) -> torch.Tensor:
        """Take rows back to the last steps that are not affine, and their boxes there."""
        return analysis.bounded(last, rows, boxed=True)
