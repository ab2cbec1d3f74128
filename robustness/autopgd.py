"""APGD: gradient steps that choose their own size; the attacks of that family differ in what they raise."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import pairwise

import torch
from pydantic import Field

from xai.robustness.attacks.base import Attack, Lanes, Scene, Seen
from xai.robustness.norms import SMALLEST, Norm, each, size, steepest

PULL = 0.75  # share of the gradient step in a move; the rest continues the move before
RISING = 0.75  # share of steps of an interval that must raise the loss, or steps are halved
FIRST, LESS, LEAST = 22, 3, 6  # first interval, by how much the next is shorter, shortest: percent of the steps
SPARSE_INTERVAL = 4  # percent of the steps
SPARSE_START = 0.2  # share of numbers that the first l1 steps move
SPARSER = 1.5  # an l1 step moves so many times fewer numbers than the best point so far
THINNING = 0.95  # fewer changed numbers than this share of those before: l1 steps start anew at full size
SLOWER, SLOWEST = 1.5, 10.0  # divisors of an l1 step's size
WIDENINGS = (3, 2, 1)  # of the region in the stages of a widened attempt
STAGE = 30  # percent of the looks that each of the first stages takes


@dataclass(frozen=True)
class _Stage:
    """A part of an attempt: from which look on, how many steps at most, and in which region."""

    first: int
    steps: int
    scene: Scene


@lru_cache(maxsize=64)
def intervals(steps: int, norm: Norm) -> tuple[int, ...]:
    """Return for each count of steps done, 0 to steps, how long the interval is that ends there; 0: none does."""
    lengths = [0] * (steps + 1)
    ends, percent, share = [0], FIRST, FIRST
    if norm is Norm.L1:
        length = max(SPARSE_INTERVAL * steps // 100, 1)
        ends = list(range(0, steps + 1, length))
    else:
        while percent < 100:
            ends.append(-(-percent * steps // 100))
            share = max(share - LESS, LEAST)
            percent += share
    for before, end in pairwise(ends):
        lengths[end] = max(lengths[end], end - before)
    return tuple(lengths)


class AutoPgd(Attack):
    """Croce and Hein 2020; for l1 Croce and Hein 2021.

    Intervals end where the paper says (for 100 steps the authors' code agrees, for others it rounds). Rises are counted
    as in their code: against the loss seen last, also where the search went back to its best point in between.

    Remembered of each attempt: the point before (`previous`), the best (`best`) with its loss (`best_loss`) and
    gradient (`slope`), and the size of the next step (`length`). For linf and l2: the loss before (`loss`), how often
    it rose in this interval (`rises`), the best loss when the last one ended (`best_then`), and whether steps were
    halved then (`halved`). For l1: the share of numbers that a step moves (`share`), and how many the best point had
    changed when the last interval ended (`changed`).
    """

    norms = frozenset(Norm)

    steps: int = Field(default=100, ge=1, le=100_000, description="Steps of an attempt.")
    restarts: int = Field(default=1, ge=1, le=10_000, description="Attempts, each from another random point.")
    widened: bool = Field(
        default=False, description="l1 only: whether an attempt begins in a region three times, then twice as large."
    )

    @property
    def looks(self) -> int:
        """The start, and the end of each step."""
        return self.steps + 1

    @property
    def tries(self) -> int:
        """Each restart is a try."""
        return self.restarts

    def _stages(self, scene: Scene) -> list[_Stage]:
        """Return the stages of an attempt; where they begin costs a look, so two steps fewer are left."""
        if not self.widened or scene.region.norm is not Norm.L1 or self.steps < len(WIDENINGS):
            return [_Stage(0, self.steps, scene)]
        looks = -(-STAGE * self.steps // 100)
        starts = [number * looks for number in range(len(WIDENINGS))]
        lengths = [*(looks for _ in starts[1:]), self.looks - starts[-1]]
        wide = [replace(scene.region, epsilon=times * scene.region.epsilon) for times in WIDENINGS]
        return [
            _Stage(start, length - 1, replace(scene, region=region))
            for start, length, region in zip(starts, lengths, wide, strict=True)
        ]

    def begin(self, lanes: Lanes, scene: Scene) -> None:
        """Begin at random points of the ball's surface."""
        scene = self._stages(scene)[0].scene
        lanes.x = _start(lanes.x, scene)
        rows, never = torch.zeros_like(lanes.clean[:, 0]), torch.full_like(lanes.clean[:, 0], -torch.inf)
        full = scene.region.epsilon * (1.0 if scene.region.norm is Norm.L1 else 2.0)
        lanes.own |= {
            "previous": lanes.x.clone(),
            "best": lanes.x.clone(),
            "slope": torch.zeros_like(lanes.x),
            "best_loss": never,
            "length": rows + full,
        }
        if scene.region.norm is Norm.L1:
            lanes.own |= {"share": rows + SPARSE_START, "changed": rows + lanes.x[0].numel()}
        else:
            lanes.own |= {"loss": -never, "rises": rows, "best_then": never.clone(), "halved": rows.bool()}

    def advance(self, lanes: Lanes, seen: Seen, scene: Scene) -> None:
        """Go one step; where an interval ended, choose its size first, and perhaps return to the best point."""
        stages = self._stages(scene)
        for number, stage in enumerate(stages):
            within = lanes.step >= stage.first
            if number + 1 < len(stages):
                within &= lanes.step < stages[number + 1].first
            if within.all():
                _advance(lanes, seen, stage)
                return
            if within.any():
                part = lanes.take(within)
                _advance(part, seen.take(within), stage)
                lanes.put(within, part)


def _advance(lanes: Lanes, seen: Seen, stage: _Stage) -> None:
    own, scene, sparse = lanes.own, stage.scene, stage.scene.region.norm is Norm.L1
    done = lanes.step - stage.first - 1  # steps of this stage; -1 where it begins
    better = seen.loss > own["best_loss"]
    own["best_loss"] = torch.where(better, seen.loss, own["best_loss"])
    own["best"] = _choose(better, lanes.x, own["best"])
    own["slope"] = _choose(better, seen.gradient, own["slope"])
    if not sparse:
        own["rises"] = own["rises"] + (seen.loss > own["loss"])
        own["loss"] = seen.loss
    here, slope = lanes.x, seen.gradient
    length = torch.tensor(intervals(stage.steps, scene.region.norm), device=here.device)[done.clamp(min=0)]
    if length.any():
        back = _thin(lanes, length > 0, scene) if sparse else _halve(lanes, length)
        here, slope = _choose(back, own["best"], here), _choose(back, own["slope"], slope)
    lanes.x = (_sparse_step if sparse else _step)(lanes, here, slope, scene)
    own["previous"] = here
    if (done < 0).any():
        _narrow(lanes, done < 0, scene)


def _narrow(lanes: Lanes, rows: torch.Tensor, scene: Scene) -> None:
    """Begin a stage, in some rows (n,): at the best point of the one before, moved into this one's region."""
    own = lanes.own
    inside = scene.region.project(lanes.origin, own["best"])
    changed = (inside != lanes.origin).flatten(1).sum(1).to(own["changed"].dtype)
    lanes.x = _choose(rows, inside, lanes.x)
    for name in ("best", "previous"):
        own[name] = _choose(rows, inside, own[name])
    own["best_loss"] = torch.where(rows, -torch.inf, own["best_loss"])
    own["length"] = torch.where(rows, scene.region.epsilon, own["length"])
    own["share"] = torch.where(rows, changed / lanes.x[0].numel() / SPARSER, own["share"])
    own["changed"] = torch.where(rows, changed, own["changed"])


def _choose(rows: torch.Tensor, these: torch.Tensor, others: torch.Tensor) -> torch.Tensor:
    """Return these (n, ...) in some rows (n,), and others elsewhere."""
    return torch.where(rows.reshape(-1, *(1,) * (these.ndim - 1)), these, others)


def _start(x: torch.Tensor, scene: Scene) -> torch.Tensor:
    """Return points (n, ...) at full distance from x in a random direction, clipped to the range."""
    region = scene.region
    draw = torch.rand if region.norm is Norm.LINF else torch.randn
    move = draw(x.shape, device=x.device, dtype=x.dtype, generator=scene.generator)
    if region.norm is Norm.LINF:
        move = 2 * move - 1
    if region.norm is not Norm.L1:  # there the projection is what thins it out
        move = region.epsilon * move / each(size(move, region.norm).clamp(min=SMALLEST), move)
    return region.project(x, x + move)


def _step(lanes: Lanes, here: torch.Tensor, slope: torch.Tensor, scene: Scene) -> torch.Tensor:
    """Return the points (n, ...) after a step with momentum; the first is without."""
    region, momentum = scene.region, here - lanes.own["previous"]
    length = each(lanes.own["length"], here)
    pull = each(torch.where(lanes.step == 1, 1.0, PULL), here)
    ahead = region.project(lanes.origin, here + length * steepest(slope, region.norm))
    return region.project(lanes.origin, here + pull * (ahead - here) + (1 - pull) * momentum)


def _halve(lanes: Lanes, length: torch.Tensor) -> torch.Tensor:
    """Halve steps where an interval of that length (n,) ended in which they were too long; return where, (n,) bool.

    They were where the loss rose in too few of them, or where neither they nor the best loss changed.
    """
    own, ended = lanes.own, length > 0
    stuck = ~own["halved"] & (own["best_then"] >= own["best_loss"])
    halved = ended & ((own["rises"] <= RISING * length) | stuck)
    own["length"] = torch.where(halved, own["length"] / 2, own["length"])
    own["halved"] = torch.where(ended, halved, own["halved"])
    own["best_then"] = torch.where(ended, own["best_loss"], own["best_then"])
    own["rises"] = torch.where(ended, 0.0, own["rises"])
    return halved


def _sparse_step(lanes: Lanes, here: torch.Tensor, slope: torch.Tensor, scene: Scene) -> torch.Tensor:
    """Return the points (n, ...) after a step along the steepest numbers of the gradient, so many as their share."""
    sizes, numbers = slope.flatten(1).abs(), here[0].numel()
    place = ((1 - lanes.own["share"]) * numbers).clamp(0, numbers - 1).long()
    strong = sizes >= sizes.sort(dim=1).values.gather(1, place[:, None])
    signs = slope.sign() * strong.reshape(slope.shape)
    part = lanes.own["length"] / signs.flatten(1).abs().sum(1).clamp(min=1)
    return scene.region.project(lanes.origin, here + each(part, here) * signs)


def _thin(lanes: Lanes, ended: torch.Tensor, scene: Scene) -> torch.Tensor:
    """Choose share and size of steps anew where an interval ended (n,); return who goes back to the best, (n,) bool."""
    own = lanes.own
    changed = (own["best"] != lanes.origin).flatten(1).sum(1).to(own["changed"].dtype)
    thinner = ended & (changed < THINNING * own["changed"])
    slower = (own["length"] / SLOWER).clamp(min=scene.region.epsilon / SLOWEST)
    own["length"] = torch.where(thinner, scene.region.epsilon, torch.where(ended, slower, own["length"]))
    own["share"] = torch.where(ended, changed / lanes.x[0].numel() / SPARSER, own["share"])
    own["changed"] = torch.where(ended, changed, own["changed"])
    return thinner
