"""PGD adversarial training."""

from __future__ import annotations

import torch
from torch.nn.functional import cross_entropy

from xai.registry import Kind, Method, Need
from xai.robustness import losses
from xai.robustness.training.learner import Learner
from xai.robustness.training.objectives.base import Attacking, Step


class Adversarial(Attacking):
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

    def loss(self, learner: Learner, step: Step) -> torch.Tensor:
        """Return the cross-entropy at the adversarial inputs."""
        region = learner.region(step.epsilon)
        start = region.draw(step.x, step.generator)
        points = learner.climbed(
            step.x, start, lambda scores: losses.cross_entropy(scores, step.labels), region, self.steps
        )
        return cross_entropy(learner.scores(points), step.labels)
