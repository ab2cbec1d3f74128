"""Models whose smoothed answers are known."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import cache

import torch

from tests.robustness.victims import linear
from xai.models.model import Model


@cache
def opened(classes: int = 2) -> Model:
    """Return a linear network of 20 numbers; with two classes, what it gives under noise has a closed form."""
    return linear(classes)


def answering(decide: Callable[[torch.Tensor], torch.Tensor], *, draws: bool = False) -> Model:
    """Return a model of two classes, whose second is given where `decide`, of (n, 1, 4, 5), is true: (n,)."""

    def forward(x: torch.Tensor) -> torch.Tensor:
        return torch.stack((torch.full((len(x),), 0.5), decide(x).float()), dim=1)

    return replace(opened(), forward=forward, graph=None, draws=draws)
