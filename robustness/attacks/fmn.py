"""FMN: gradient steps back into a ball whose radius follows the nearest success."""

from __future__ import annotations

import torch
from pydantic import Field

from xai.registry import Kind, Method, Need
from xai.robustness.attacks.base import Attack, Lanes, Scene, Seen
from xai.robustness.norms import SMALLEST, Norm, each, shrink, size, steepest
from xai.robustness.schedules import cosine

_PAST = 1 + 1e-5  # on a linear model the estimate is the boundary itself, where nothing falls yet
_DUAL = {Norm.LINF: Norm.L1, Norm.L2: Norm.L2, Norm.L1: Norm.LINF}


class Fmn(Attack):
    """Pintor et al. 2021, from the input itself; by how much the best other class beats the label is raised.

    Two things are added, without which it rests short of a boundary for good: before the first success the radius
    never shrinks, and its estimate is passed by a hundred-thousandth.
    """

    about = Method(
        name="fmn",
        title="FMN",
        summary="The smallest change found by gradient steps into a ball that shrinks after a success.",
        limits="It finds a change, not the smallest one: the true distance is at most this. On networks with large "
        "flat regions it finds none for many inputs, and in l1 it ends above the smallest change even of "
        "linear ones.",
        source="Pintor, Roli, Brendel, Biggio 2021, Fast minimum-norm adversarial attacks through adaptive norm "
        "constraints",
        kind=Kind.HEURISTIC,
        needs=frozenset({Need.GRADIENTS}),
    )
    norms = frozenset(Norm)
    minimal = True

    steps: int = Field(default=100, ge=1, le=100_000, description="Steps.")
    first_step: float = Field(default=1.0, gt=0, description="Length (l2) of the first step, in widths of the range.")
    last_step: float = Field(default=0.01, gt=0, description="Length (l2) of the last step, in widths of the range.")
    first_factor: float = Field(default=0.05, gt=0, lt=1, description="Share by which the radius changes at first.")
    last_factor: float = Field(default=0.001, gt=0, lt=1, description="Share by which it changes at last.")

    @property
    def looks(self) -> int:
        """The input, and the end of each step."""
        return self.steps + 1

    def begin(self, lanes: Lanes, scene: Scene) -> None:
        """Begin at the inputs, with no ball."""
        lanes.own["nearest"] = scene.region.reach(lanes.origin, scene.region.norm)
        lanes.own["radius"] = torch.zeros_like(lanes.own["nearest"])
        lanes.own["found"] = torch.zeros_like(lanes.sample, dtype=torch.bool)

    def advance(self, lanes: Lanes, seen: Seen, scene: Scene) -> None:
        """Set the radius, go a step along the gradient, and back into the ball and the range."""
        norm = scene.region.norm
        self._set_radius(lanes, seen, norm)
        radius = torch.minimum(lanes.own["radius"], scene.region.reach(lanes.origin, norm))
        lanes.own["radius"] = radius
        step = cosine(lanes.step - 1, self.steps, self.first_step, self.last_step) * scene.region.span
        change = lanes.x - lanes.origin + each(step, lanes.x) * steepest(seen.gradient, Norm.L2)
        lanes.x = scene.region.clip(lanes.origin + shrink(change, radius, norm))

    def _set_radius(self, lanes: Lanes, seen: Seen, norm: Norm) -> None:
        """Shrink it after a success, grow it after a failure; before any success, at least to a linear model's end."""
        factor = cosine(lanes.step - 1, self.steps, self.first_factor, self.last_factor)
        radius, change = lanes.own["radius"], size(lanes.x - lanes.origin, norm)
        lanes.own["found"] = lanes.own["found"] | seen.fooled
        lanes.own["nearest"] = torch.where(
            seen.fooled, torch.minimum(change, lanes.own["nearest"]), lanes.own["nearest"]
        )
        to_boundary = seen.loss.double().abs() / size(seen.gradient, _DUAL[norm]).clamp(min=SMALLEST)
        grown = radius * (1 + factor)
        outward = torch.where(lanes.own["found"], grown, torch.maximum(grown, (change + to_boundary) * _PAST))
        inward = torch.minimum(radius * (1 - factor), lanes.own["nearest"])
        lanes.own["radius"] = torch.where(seen.fooled, inward, outward)
