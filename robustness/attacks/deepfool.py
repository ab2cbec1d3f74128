"""DeepFool: to the nearest boundary of the model as it looks here, again and again until the class changes."""

from __future__ import annotations

import torch
from pydantic import Field

from xai.registry import Kind, Method, Need
from xai.robustness.attacks.base import Attack, Lanes, Scene, Seen
from xai.robustness.losses import own
from xai.robustness.norms import SMALLEST, Norm, each, size, steepest

_PAST = (
    1e-4  # of the range's width, added to every step: where the boundary bends away, steps shrink to nothing before it
)
_DUAL = {Norm.LINF: Norm.L1, Norm.L2: Norm.L2}


class DeepFool(Attack):
    """Moosavi-Dezfooli, Fawzi and Frossard 2016; every step goes past the boundary, and stays in the range."""

    about = Method(
        name="deepfool",
        title="DeepFool",
        summary="A small change found in few steps to the nearest boundary of the model, taken as linear.",
        limits="It stops at the first success: DDN, FMN and FAB-T find smaller changes. It is no measure of "
        "robustness on its own.",
        source="Moosavi-Dezfooli, Fawzi, Frossard 2016, DeepFool: a simple and accurate method to fool deep neural "
        "networks",
        kind=Kind.HEURISTIC,
        needs=frozenset({Need.GRADIENTS}),
    )
    norms = frozenset(_DUAL)
    minimal = True
    aimed = False

    steps: int = Field(default=50, ge=1, le=10_000, description="Steps at most.")
    overshoot: float = Field(default=0.02, ge=0, le=1, description="Share by which the change goes past the boundary.")
    candidates: int = Field(
        default=9, ge=1, le=10_000, description="Other classes whose boundaries are looked at, the highest first."
    )

    @property
    def looks(self) -> int:
        """The input, and the end of each step."""
        return self.steps + 1

    def begin(self, lanes: Lanes, scene: Scene) -> None:  # noqa: ARG002  # the same in every region
        """Begin at the inputs."""
        others = lanes.clean.scatter(1, lanes.label[:, None], -torch.inf)
        lanes.own["others"] = others.topk(min(self.candidates, others.shape[1] - 1), dim=1).indices

    def advance(self, lanes: Lanes, seen: Seen, scene: Scene) -> None:
        """Go past the nearest boundary, and stay in the range."""
        norm, rows = scene.region.norm, torch.arange(len(lanes), device=lanes.x.device)
        slopes = size(seen.gradient.flatten(0, 1), _DUAL[norm]).reshape(seen.loss.shape)
        ways = seen.loss.double().abs() / slopes.clamp(min=SMALLEST)
        which = ways.argmin(1)
        way, gradient = ways[rows, which], seen.gradient[rows, which]
        length = (1 + self.overshoot) * (way + _PAST * scene.region.span)
        lanes.x = scene.region.clip(lanes.x + each(length, gradient) * steepest(gradient, norm))

    def finished(self, lanes: Lanes, seen: Seen) -> torch.Tensor:  # noqa: ARG002  # the same in every lane
        """Stop at the first success."""
        return seen.fooled

    def loss(self, scores: torch.Tensor, lanes: Lanes, targeted: bool) -> torch.Tensor:  # noqa: ARG002  # it never is
        """By how much each of the other classes (n, k) beats the label."""
        return scores.gather(1, lanes.own["others"]) - own(scores, lanes.label)[:, None]
