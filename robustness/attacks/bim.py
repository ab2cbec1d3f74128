"""BIM: FGSM in small steps, from the input itself."""

from __future__ import annotations

import torch
from pydantic import Field

from xai.registry import Kind, Method, Need
from xai.robustness.attacks.base import Attack, Lanes, Scene, Seen
from xai.robustness.losses import cross_entropy
from xai.robustness.norms import Norm, steepest


class Bim(Attack):
    """Kurakin, Goodfellow and Bengio 2017."""

    about = Method(
        name="bim",
        title="BIM",
        summary="Small steps along the loss's gradient, always back into the region; no randomness.",
        limits="It is one path from one start: what it does not find may still be there.",
        source="Kurakin, Goodfellow, Bengio 2017, Adversarial examples in the physical world",
        kind=Kind.HEURISTIC,
        needs=frozenset({Need.GRADIENTS}),
    )
    norms = frozenset(Norm)

    steps: int = Field(default=10, ge=1, le=100_000, description="Steps.")
    step_size: float | None = Field(
        default=None, gt=0, description="Size of a step in input units; default epsilon x 2.5 / steps."
    )

    @property
    def looks(self) -> int:
        """The input, and the end of each step."""
        return self.steps + 1

    def begin(self, lanes: Lanes, scene: Scene) -> None:
        """Begin at the inputs."""

    def advance(self, lanes: Lanes, seen: Seen, scene: Scene) -> None:
        """Go one step."""
        size = self.step_size or 2.5 * scene.region.epsilon / self.steps
        lanes.x = scene.region.project(lanes.origin, lanes.x + size * steepest(seen.gradient, scene.region.norm))

    def loss(self, scores: torch.Tensor, lanes: Lanes, targeted: bool) -> torch.Tensor:
        """Cross-entropy: of the label to be raised, of a wanted class to be lowered."""
        return -cross_entropy(scores, lanes.wanted) if targeted else cross_entropy(scores, lanes.label)
