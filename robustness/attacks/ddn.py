"""DDN: the direction follows the gradient, the length shrinks after a success and grows after a failure."""

from __future__ import annotations

import torch
from pydantic import Field

from xai.registry import Kind, Method, Need
from xai.robustness.attacks.base import Attack, Lanes, Scene, Seen
from xai.robustness.losses import cross_entropy
from xai.robustness.norms import SMALLEST, Norm, each, size, steepest
from xai.robustness.schedules import cosine

_FINEST = 0.01  # of the first step: the paper's last


class Ddn(Attack):
    """Rony et al. 2019, without rounding to 256 levels. Where the gradient is zero, the direction stays."""

    about = Method(
        name="ddn",
        title="DDN",
        summary="The smallest l2 change found by going along the gradient and setting the length apart from it.",
        limits="It finds a change, not the smallest one: the true distance is at most this. The cross-entropy's "
        "gradient vanishes where a model is overly sure of itself.",
        source="Rony, Hafemann, Oliveira, Ben Ayed, Sabourin, Granger 2019, Decoupling direction and norm for "
        "efficient gradient-based l2 adversarial attacks and defenses",
        kind=Kind.HEURISTIC,
        needs=frozenset({Need.GRADIENTS}),
    )
    norms = frozenset({Norm.L2})
    minimal = True

    steps: int = Field(default=100, ge=1, le=100_000, description="Steps.")
    first_length: float = Field(default=1.0, gt=0, description="Length of the change at first, in widths of the range.")
    factor: float = Field(default=0.05, gt=0, lt=1, description="Share by which the length shrinks or grows.")

    @property
    def looks(self) -> int:
        """The input, and the end of each step."""
        return self.steps + 1

    def begin(self, lanes: Lanes, scene: Scene) -> None:
        """Begin at the inputs."""
        lanes.own["length"] = torch.full_like(lanes.x.flatten(1)[:, 0], self.first_length * scene.region.span)

    def advance(self, lanes: Lanes, seen: Seen, scene: Scene) -> None:
        """Go a step along the gradient, then to the new length in that direction."""
        step = cosine(lanes.step - 1, self.steps, 1.0, _FINEST) * scene.region.span
        change = lanes.x - lanes.origin + each(step, lanes.x) * steepest(seen.gradient, Norm.L2)
        length = lanes.own["length"] * torch.where(seen.fooled, 1 - self.factor, 1 + self.factor)
        lanes.own["length"] = torch.minimum(length, scene.region.reach(lanes.origin, Norm.L2).to(length.dtype))
        change = change * each(lanes.own["length"] / size(change, Norm.L2).clamp(min=SMALLEST), change)
        lanes.x = scene.region.clip(lanes.origin + change)

    def loss(self, scores: torch.Tensor, lanes: Lanes, targeted: bool) -> torch.Tensor:
        """Cross-entropy: of the label to be raised, of a wanted class to be lowered."""
        return -cross_entropy(scores, lanes.wanted) if targeted else cross_entropy(scores, lanes.label)
