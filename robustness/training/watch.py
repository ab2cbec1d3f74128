"""What is looked at after every epoch, on images that are not trained on, and what is wrong with it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from xai.robustness import losses
from xai.robustness.attacks.base import Attack, Scene, attacks
from xai.robustness.bounds.methods.base import bounders
from xai.robustness.bounds.outputs import Bounding
from xai.robustness.search import Case, search
from xai.robustness.training.learner import Learner, Loss
from xai.robustness.training.objectives.base import Objective
from xai.robustness.victim import Victim
from xai.runtime import Runtime

STRONGER, STEPS = "apgd-ce", 20  # the attack that the training does not know: it chooses its own steps
CERTIFIER = "ibp"
GAP = 0.2  # of accuracy, between both attacks: the network has learnt the one, not to withstand
CHANCE = 1.5  # times what guessing gets right: as good as nothing learnt
WORSE = 2.0  # times the loss of guessing
FEW = 20  # images, below which shares say too little for an alarm

Row = dict[str, Any]


@dataclass(frozen=True)
class Watch:
    """The images that epochs are compared on.

    Args:
        learner: the network in training.
        objective: what is minimised.
        x: (n, ...) images.
        labels: (n,) their classes.
        epsilon: the size of the change that the network is to withstand; 0 for none.
        runtime: seed, and what fits the memory.
    """

    learner: Learner
    objective: Objective
    x: torch.Tensor
    labels: torch.Tensor
    epsilon: float
    runtime: Runtime

    def look(self, epoch: int) -> Row:
        """Return the shares of images that are right: as they are, attacked twice, and certified; None unmeasured."""
        right = self._right(self.x)
        row: Row = {"clean": _share(right), "attacked": None, "stronger": None, "certified": None}
        if self.epsilon:
            row["attacked"] = _share(right & self._right(self._attacked()))
            row["stronger"] = _share(right & ~self._fooled(right, epoch))
        if self.objective.watched == "certified" and self.epsilon:
            row["certified"] = _share(self._certified())
        return row

    @property
    def _batch(self) -> int:
        return self.runtime.batch(2 * self.learner.evaluated.bytes_per_input, 128)

    @torch.no_grad()
    def _right(self, x: torch.Tensor) -> torch.Tensor:
        victim = Victim(self.learner.evaluated)
        scores = torch.cat([victim.scores(part) for part in x.split(self._batch)])
        return (scores.argmax(1) == self.labels) & scores.isfinite().all(1)

    def _attacked(self) -> torch.Tensor:
        """Return where the training's own attack leads."""
        region, steps = self.learner.region(self.epsilon), self.objective.attack_steps()
        found: list[torch.Tensor] = []
        for x, labels in zip(self.x.split(self._batch), self.labels.split(self._batch), strict=True):
            generator = self.runtime.generator("watched", str(len(found)))
            start = region.draw(x, generator)
            found.append(self.learner.climbed(x, start, _loss_of(labels), region, steps))
        return torch.cat(found)

    def _fooled(self, right: torch.Tensor, epoch: int) -> torch.Tensor:
        """Say which images fall to an attack that chooses its own steps, (n,) bool."""
        fooled = torch.zeros_like(right)
        rows = right.nonzero()[:, 0]
        if not len(rows):
            return fooled
        victim = Victim(self.learner.evaluated)
        x, labels = self.x[rows], self.labels[rows]
        with torch.no_grad():
            clean = torch.cat([victim.scores(part) for part in x.split(self._batch)])
        scene = Scene(self.learner.region(self.epsilon), self.runtime.generator("stronger", str(epoch)), targeted=False)
        found = search(_stronger(), victim, Case(x, labels, None, clean), scene, batch=self._batch)
        fooled[rows] = found.distance <= self.epsilon
        return fooled

    def _certified(self) -> torch.Tensor:
        bounding = Bounding(self.learner.evaluated, bounders.get(CERTIFIER)())
        parts = zip(self.x.split(32), self.labels.split(32), strict=True)
        norm = self.learner.norm
        return torch.cat([bounding.certified(bounding.inputs(x, norm, self.epsilon), labels) for x, labels in parts])


def _loss_of(labels: torch.Tensor) -> Loss:
    return lambda scores: losses.cross_entropy(scores, labels)


def _stronger() -> Attack:
    return attacks.get(STRONGER).model_validate({"steps": STEPS})


def _share(right: torch.Tensor) -> float:
    return float(right.double().mean())


def events(rows: Sequence[Row], classes: int, images: int, *, ended: bool = False) -> list[str]:
    """Return what must be said of the last of some epochs, in words.

    Args:
        rows: of the epochs so far.
        classes: how many there are.
        images: how many the shares are of; of too few nothing is said.
        ended: whether the training is over.
    """
    if images < FEW:
        return []
    row, before = rows[-1], rows[:-1]
    told = []
    weak, strong = row["attacked"], row["stronger"]
    if weak is not None and strong is not None and weak - strong > GAP:
        told.append(
            "catastrophic overfitting: a stronger attack leaves far less right than the attack of the training: the "
            "network has learnt that attack; take more of its steps"
        )
    best = max((one["stronger"] or 0.0 for one in before), default=0.0)
    if strong is not None and best - strong > GAP:
        told.append(f"accuracy under the stronger attack is more than {100 * GAP:.0f} points below what it was")
    if (ended or len(rows) >= 3) and all(one["clean"] <= CHANCE / classes for one in rows[-3:]):
        told.append("the network is right no more often than by guessing: it learns nothing")
    return told


def diverges(rows: Sequence[Row], classes: int, images: int, *, ended: bool = False) -> bool:
    """Say whether the loss is beyond what guessing costs, and answers are as bad as guesses: at the end, or rising."""
    if images < FEW:
        return False
    last = rows[-2:]
    bad = [one["loss"] > WORSE * math.log(max(classes, 2)) and one["clean"] <= CHANCE / classes for one in last]
    return (ended and bad[-1]) or (len(last) == 2 and all(bad) and last[1]["loss"] >= last[0]["loss"])
