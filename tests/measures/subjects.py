"""Subjects for measures: a map of a model, made by a function."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch

from xai.measures.base import Subject
from xai.models.model import Model
from xai.models.targets import Target

Mapper = Callable[[Model, torch.Tensor, Target], np.ndarray]


def subject(model: Model, x: torch.Tensor, mapper: Mapper, target: int = 0, mask: np.ndarray | None = None) -> Subject:
    """Return what a measure is given."""

    def again(model: Model, x: torch.Tensor, targets: Sequence[Target]) -> list[np.ndarray]:
        return [mapper(model, x, target).astype(np.float32) for target in targets]

    goal = model.target(target)
    return Subject(mapper(model, x, goal).astype(np.float32), model, x, goal, again, mask, "key")


def gradient(model: Model, x: torch.Tensor, target: Target) -> np.ndarray:
    """Return the gradient times the input, summed over channels: exact for linear models."""
    with torch.enable_grad():
        wanted = x.clone().requires_grad_()
        (slope,) = torch.autograd.grad(target(model(wanted[None])).sum(), wanted)
    return (slope * x).sum(0).numpy()
