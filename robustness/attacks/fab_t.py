"""FAB-T: to the boundary of one other class as it looks here, drawn towards the input, and back after a success."""

from __future__ import annotations

import torch
from pydantic import Field

from xai.registry import Kind, Method, Need
from xai.robustness.attacks.base import Attack, Lanes, Scene, Seen, State
from xai.robustness.losses import own
from xai.robustness.norms import SMALLEST, Norm, each, size
from xai.robustness.planes import to_plane

_PAST = 1e-5  # share by which the search along the segment goes past its estimate, to be on the fooling side


class FabT(Attack):
    """Croce and Hein 2020, in the targeted form of AutoAttack, with the paper's search along the segment at the end.

    What fools the model is pulled back, which is a look of its own and no step.
    """

    about = Method(
        name="fab-t",
        title="FAB-T",
        summary="The smallest change found by going to the boundaries of the likeliest other classes, one after "
        "the other, while staying near to the input.",
        limits="It finds a change, not the smallest one: the true distance is at most this. Where gradients are "
        "masked it finds little.",
        source="Croce, Hein 2020, Minimally distorted adversarial examples with a fast adaptive boundary attack",
        kind=Kind.HEURISTIC,
        needs=frozenset({Need.GRADIENTS}),
        sets={"standard": 3},
    )
    norms = frozenset(Norm)
    minimal = True

    targets: int = Field(default=9, ge=1, le=10_000, description="Other classes aimed at, the highest first.")
    steps: int = Field(default=100, ge=1, le=100_000, description="Steps an aim.")
    bias: float = Field(default=0.1, ge=0, le=1, description="Largest share of the input in a step (alpha_max).")
    overshoot: float = Field(default=1.05, ge=1, le=2, description="How far to the boundary a step goes (eta).")
    back: float = Field(default=0.9, gt=0, lt=1, description="Share of the change that is kept after a success (beta).")
    search: int = Field(default=3, ge=0, le=1000, description="Looks along the segment to the input at the end.")

    @property
    def looks(self) -> int:
        """The input, each step and at most one way back between two, and the search."""
        return 2 * self.steps + self.search

    @property
    def aims(self) -> int:
        """Each other class is aimed at apart."""
        return self.targets

    def begin(self, lanes: Lanes, scene: Scene) -> None:
        """Begin at the inputs."""
        others = lanes.clean.scatter(1, lanes.label[:, None], -torch.inf)
        likeliest = others.argsort(dim=1, descending=True, stable=True)
        none = torch.zeros_like(lanes.sample)
        lanes.own |= {
            "toward": lanes.wanted if scene.targeted else likeliest.gather(1, lanes.attempt[:, None])[:, 0],
            "steps": none,
            "pulled": none.bool(),
            "nearest": lanes.x,
            "distance": torch.full_like(none, torch.inf, dtype=torch.float64),
            "searched": none,
            "share": none.double(),
            # shares of the way to the nearest at which the model is known to stand and to fall, and the margins there
            "stands": none.double(),
            "falls": torch.ones_like(none, dtype=torch.float64),
            "margin_stands": super().loss(lanes.clean, lanes, scene.targeted).double(),
            "margin_falls": none.double(),
        }

    def advance(self, lanes: Lanes, seen: Seen, scene: Scene) -> None:
        """Pull back, step, or search along the segment: each lane where it is."""
        state = lanes.own
        self._remember(lanes, seen, scene)
        walking = state["steps"] < self.steps
        back = walking & seen.fooled & ~state["pulled"]
        step = walking & ~back
        share = torch.where(back, self.back, self._share(state))
        from_origin = torch.where(each(back, lanes.x).bool(), lanes.x, state["nearest"]) - lanes.origin
        x = lanes.origin + each(share, lanes.x) * from_origin
        if step.any():
            x[step] = self._stepped(lanes.take(step), seen.take(step), scene)
        lanes.x = scene.region.clip(x)
        state |= {
            "pulled": back,
            "steps": state["steps"] + step,
            "searched": state["searched"] + ~walking,
            "share": share,
        }

    def finished(self, lanes: Lanes, seen: Seen) -> torch.Tensor:
        """Stop when all steps are gone and the segment is searched, or there is none."""
        searched = lanes.own["searched"] >= self.search
        none = lanes.own["distance"].isinf() & ~seen.fooled
        return (lanes.own["steps"] >= self.steps) & (searched | none)

    def loss(self, scores: torch.Tensor, lanes: Lanes, targeted: bool) -> torch.Tensor:
        """By how much the class aimed at beats the label; a wanted class: the best of all others."""
        if targeted:
            return super().loss(scores, lanes, targeted)
        return own(scores, lanes.own["toward"]) - own(scores, lanes.label)

    def _stepped(self, lanes: Lanes, seen: Seen, scene: Scene) -> torch.Tensor:
        """Return points (n, ...) past the boundary, between its nearest points to where we are and to the input."""
        region, slope = scene.region, seen.gradient
        moved = (slope.double() * (lanes.x.double() - lanes.origin.double())).flatten(1).sum(1)
        rise = torch.cat((-seen.loss.double(), moved - seen.loss.double()))
        starts = torch.cat((lanes.x, lanes.origin))
        ways = to_plane(starts, torch.cat((slope, slope)), rise, region.norm, region.low, region.high)
        here, there = size(ways, region.norm).clamp(min=SMALLEST).chunk(2)
        bias = each((here / (here + there)).clamp(max=self.bias), lanes.x)
        ends = starts + self.overshoot * ways
        return (1 - bias) * ends[: len(lanes)] + bias * ends[len(lanes) :]

    def _remember(self, lanes: Lanes, seen: Seen, scene: Scene) -> None:
        """Keep the nearest point that fools, and what the search along the way to it has seen."""
        state, fooled = lanes.own, seen.fooled
        searching = state["searched"] > 0
        margin = super().loss(seen.scores, lanes, scene.targeted).double()
        distance = scene.region.distance(lanes.origin, lanes.x)
        nearer = fooled & ~searching & (distance < state["distance"])
        falls, stands = searching & fooled, searching & ~fooled
        state |= {
            "nearest": torch.where(each(nearer, lanes.x).bool(), lanes.x, state["nearest"]),
            "distance": torch.where(nearer, distance, state["distance"]),
            "falls": torch.where(falls, state["share"], state["falls"]),
            "stands": torch.where(stands, state["share"], state["stands"]),
            "margin_falls": torch.where(falls | nearer, margin, state["margin_falls"]),
            "margin_stands": torch.where(stands, margin, state["margin_stands"]),
        }

    def _share(self, state: State) -> torch.Tensor:
        """Return where on the way (n,) the margin is none, were it linear between where we stand and fall."""
        stands, falls = state["stands"], state["falls"]
        below, above = state["margin_stands"].clamp(max=0), state["margin_falls"].clamp(min=0)
        share = stands + (falls - stands) * below / (below - above).clamp(max=-SMALLEST)
        return torch.minimum(share * (1 + _PAST), falls)
