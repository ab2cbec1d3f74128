"""Plain training."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch.nn.functional import cross_entropy

from xai.registry import Kind, Method, Need
from xai.robustness.norms import Norm
from xai.robustness.training.learner import Learner
from xai.robustness.training.objectives.base import Objective, Step, Watched


class Standard(Objective):
    """Cross-entropy of the inputs as they are."""

    about = Method(
        name="standard",
        title="Plain training",
        summary="Minimises the cross-entropy of the images as they are.",
        limits="A network that was trained so is right as long as nobody changes its inputs: small changes that are "
        "looked for turn nearly all of its answers.",
        source="Goodfellow et al. 2016, Deep learning, ch. 8",
        kind=Kind.HEURISTIC,
        needs=frozenset({Need.GRADIENTS}),
        default=True,
    )
    watched: ClassVar[Watched] = "clean"
    norms: ClassVar[frozenset[Norm]] = frozenset()

    def loss(self, learner: Learner, step: Step) -> torch.Tensor:
        """Return the cross-entropy."""
        return cross_entropy(learner.scores(step.x), step.labels)
