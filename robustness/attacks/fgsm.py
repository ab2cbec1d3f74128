"""FGSM: one step as far as the region reaches, along the gradient's signs."""

from __future__ import annotations

import torch

from xai.registry import Kind, Method, Need
from xai.robustness.attacks.base import Attack, Lanes, Scene, Seen
from xai.robustness.losses import cross_entropy
from xai.robustness.norms import Norm, steepest


class Fgsm(Attack):
    """Goodfellow, Shlens and Szegedy 2015; for l2 and l1 the step is the steepest of that norm."""

    about = Method(
        name="fgsm",
        title="FGSM",
        summary="One step of the region's full size along the loss's gradient: the least that a model must withstand.",
        limits="A model that withstands one step often falls to several: this attack alone shows no robustness.",
        source="Goodfellow, Shlens, Szegedy 2015, Explaining and harnessing adversarial examples",
        kind=Kind.HEURISTIC,
        needs=frozenset({Need.GRADIENTS}),
    )
    norms = frozenset(Norm)

    @property
    def looks(self) -> int:
        """The input, and the end of the step."""
        return 2

    def begin(self, lanes: Lanes, scene: Scene) -> None:
        """Begin at the inputs."""

    def advance(self, lanes: Lanes, seen: Seen, scene: Scene) -> None:
        """Go the whole way."""
        step = scene.region.epsilon * steepest(seen.gradient, scene.region.norm)
        lanes.x = scene.region.project(lanes.origin, lanes.origin + step)

    def loss(self, scores: torch.Tensor, lanes: Lanes, targeted: bool) -> torch.Tensor:
        """Cross-entropy: of the label to be raised, of a wanted class to be lowered."""
        return -cross_entropy(scores, lanes.wanted) if targeted else cross_entropy(scores, lanes.label)
