"""TRADES."""

from __future__ import annotations

import torch
from pydantic import Field
from torch.nn.functional import cross_entropy, kl_div

from xai.registry import Kind, Method, Need
from xai.robustness.training.learner import Learner
from xai.robustness.training.objectives.base import Attacking, Step

NUDGE = 0.001  # of the first point, as in the authors' code: at the input itself the divergence has no slope


class Trades(Attacking):
    """Cross-entropy of the inputs, plus how far answers diverge at the worst inputs around them."""

    about = Method(
        name="trades",
        title="TRADES",
        summary="Minimises the cross-entropy of the images as they are, plus beta times the largest divergence of "
        "the answers around them.",
        limits="It withstands attacks like the one that it was trained with: measure it by stronger ones. Nothing is "
        "proved about it; beta trades accuracy without an attack for accuracy under one.",
        source="Zhang et al. 2019, Theoretically principled trade-off between robustness and accuracy",
        kind=Kind.HEURISTIC,
        needs=frozenset({Need.GRADIENTS}),
    )

    beta: float = Field(default=6.0, ge=0, le=1000, description="Weight of the divergence.")
    steps: int = Field(default=10, ge=1, le=1000, description="Steps of PGD for every step of the training.")

    def loss(self, learner: Learner, step: Step) -> torch.Tensor:
        """Return the cross-entropy plus the divergence at the points where it is largest."""
        region = learner.region(step.epsilon)
        with learner.trained.evaluation(), torch.no_grad():
            calm = learner.scores(step.x).softmax(1)
        noise = NUDGE * torch.randn(step.x.shape, generator=step.generator, device=step.x.device)
        start = region.project(step.x, step.x + noise)
        points = learner.climbed(step.x, start, lambda scores: _divergence(scores, calm), region, self.steps)
        clean, shaken = learner.scores(step.x), learner.scores(points)
        divergence = _divergence(shaken, clean.softmax(1)).mean()
        return cross_entropy(clean, step.labels) + self.beta * divergence


def _divergence(scores: torch.Tensor, calm: torch.Tensor) -> torch.Tensor:
    """Return Kullback and Leibler's divergence (n,) of answers from the probabilities of the inputs as they are."""
    return kl_div(scores.log_softmax(1), calm, reduction="none").sum(1)
