"""PGD adversarial training."""

from __future__ import annotations

from typing import ClassVar

import torch
from pydantic import Field
from torch.nn.functional import cross_entropy

from xai.registry import Kind, Method, Need
from xai.robustness import losses
from xai.robustness.norms import Norm
from xai.robustness.training.learner import Learner
from xai.robustness.training.objectives.base import Objective, Step, Watched, ramp


class Adversarial(Objective):
    """Cross-entropy of adversarial inputs, which PGD looks for anew in every step."""

    about = Method(
        name="adversarial",
        title="PGD adversarial training",
        summary="Minimises the cross-entropy of the worst inputs that PGD finds around the images.",
        limits="It withstands attacks like the one that it was trained with: measure it by stronger ones. Nothing is "
        "proved about it, and inputs that nobody changed may be classified worse than before.",
        source="Madry et al. 2018, Towards deep learning models resistant to adversarial attacks",
        kind=Kind.HEURISTIC,
        needs=frozenset({Need.GRADIENTS}),
    )
    watched: ClassVar[Watched] = "attacked"
    norms: ClassVar[frozenset[Norm]] = frozenset(Norm)

    steps: int = Field(default=7, ge=1, le=1000, description="Steps of PGD for every step of the training.")
    ramp: float = Field(
        default=0.2, ge=0, le=1, description="Share of the training in which the size of the change rises from 0."
    )

    def size(self, epsilon: float, share: float) -> float:
        """Rise in a straight line: a network that has learnt nothing yet cannot withstand the whole."""
        return epsilon * ramp(share, 0.0, self.ramp)

    def loss(self, learner: Learner, step: Step) -> torch.Tensor:
        """Return the cross-entropy at the adversarial inputs."""
        region = learner.region(step.epsilon)
        start = region.draw(step.x, step.generator)
        points = learner.climbed(
            step.x, start, lambda scores: losses.cross_entropy(scores, step.labels), region, self.steps
        )
        return cross_entropy(learner.scores(points), step.labels)

    def attack_steps(self) -> int:
        """Watch it by its own attack: what a stronger one finds besides shows that it has learnt that attack alone."""
        return self.steps
