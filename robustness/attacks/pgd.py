"""PGD: steps along the gradient from random starts, with restarts and momentum where wanted."""

from __future__ import annotations

import torch
from pydantic import Field

from xai.registry import Kind, Method, Need
from xai.robustness.attacks.base import Attack, Lanes, Scene, Seen
from xai.robustness.losses import cross_entropy
from xai.robustness.norms import SMALLEST, Norm, each, size, steepest


class Pgd(Attack):
    """Madry et al. 2018; momentum as Dong et al. 2018: gradients, each of l1 norm one, are summed with a decay."""

    about = Method(
        name="pgd",
        title="PGD",
        summary="Small steps along the loss's gradient from random points of the region, always back into it.",
        limits="Alone it overstates robustness, for some published networks by ten points; its step size and its loss "
        "matter. The standard plan is the stronger answer.",
        source="Madry, Makelov, Schmidt, Tsipras, Vladu 2018, Towards deep learning models resistant to adversarial "
        "attacks",
        kind=Kind.HEURISTIC,
        needs=frozenset({Need.GRADIENTS}),
        default=True,
    )
    norms = frozenset(Norm)

    steps: int = Field(default=40, ge=1, le=100_000, description="Steps of an attempt.")
    step_size: float | None = Field(
        default=None, gt=0, description="Size of a step in input units; default epsilon x 2.5 / steps."
    )
    restarts: int = Field(default=1, ge=1, le=10_000, description="Attempts, each from another random point.")
    random_start: bool = Field(default=True, description="Whether the first attempt begins at a random point too.")
    momentum: float = Field(default=0.0, ge=0, le=2, description="Decay of the sum of past gradients; 0 is without.")

    @property
    def looks(self) -> int:
        """The start, and the end of each step."""
        return self.steps + 1

    @property
    def tries(self) -> int:
        """Each restart is a try."""
        return self.restarts

    def begin(self, lanes: Lanes, scene: Scene) -> None:
        """Begin at random points; the first attempt at the inputs, if so asked."""
        drawn = scene.region.draw(lanes.origin, scene.generator)
        at_random = (lanes.attempt > 0) | self.random_start
        lanes.x = torch.where(each(at_random, lanes.x).bool(), drawn, lanes.x)
        if self.momentum:
            lanes.own["momentum"] = torch.zeros_like(lanes.x)

    def advance(self, lanes: Lanes, seen: Seen, scene: Scene) -> None:
        """Go one step."""
        direction = seen.gradient
        if self.momentum:
            total = size(direction, Norm.L1).clamp(min=SMALLEST)
            direction = self.momentum * lanes.own["momentum"] + direction / each(total, direction)
            lanes.own["momentum"] = direction
        length = self.step_size or 2.5 * scene.region.epsilon / self.steps
        lanes.x = scene.region.project(lanes.origin, lanes.x + length * steepest(direction, scene.region.norm))

    def loss(self, scores: torch.Tensor, lanes: Lanes, targeted: bool) -> torch.Tensor:
        """Cross-entropy: of the label to be raised, of a wanted class to be lowered."""
        return -cross_entropy(scores, lanes.wanted) if targeted else cross_entropy(scores, lanes.label)
