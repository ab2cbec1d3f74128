"""The loop of every attack: what fell leaves, its place is taken by the next input, restarts see survivors only."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

import torch

from xai.registry import Need
from xai.robustness.attacks.base import Attack, Lanes, Scene, Seen
from xai.robustness.victim import Victim

_REFILL = 0.75  # of the batch: joining rows costs copies, a half-empty batch costs more


def _nobody(_: int) -> None:
    """Be told, and do nothing."""


@dataclass(frozen=True)
class Found:
    """The nearest adversarial point of each input.

    Args:
        points: (n, ...), the input itself where none was found.
        distance: (n,) float64, infinite where none was found.
        looks: (n,) how many points were looked at.
    """

    points: torch.Tensor
    distance: torch.Tensor
    looks: torch.Tensor


@dataclass(frozen=True)
class Case:
    """What is attacked.

    Args:
        x: (n, ...) inputs, in input units, that the model gets right.
        label: (n,) their classes.
        wanted: (n,) the classes that are wanted, or None: any other.
        clean: (n, classes) the scores of x.
    """

    x: torch.Tensor
    label: torch.Tensor
    wanted: torch.Tensor | None
    clean: torch.Tensor

    def take(self, rows: torch.Tensor) -> Case:
        """Return some rows, by mask or index."""
        wanted = None if self.wanted is None else self.wanted[rows]
        return Case(self.x[rows], self.label[rows], wanted, self.clean[rows])

    def reached(self, scores: torch.Tensor) -> torch.Tensor:
        """Say where scores (n, classes) are what an attacker wants, (n,)."""
        return reached(scores, self.label, self.wanted)


def reached(scores: torch.Tensor, label: torch.Tensor, wanted: torch.Tensor | None) -> torch.Tensor:
    """Say where scores (n, classes) give another class than the label, or the wanted one: (n,) bool.

    Scores that are not finite reach nothing: they are no answer.
    """
    answer = scores.argmax(1)
    return scores.isfinite().all(1) & ((answer != label) if wanted is None else (answer == wanted))


def search(
    attack: Attack,
    victim: Victim,
    case: Case,
    scene: Scene,
    *,
    batch: int,
    enough: float = 0.0,
    tell: Callable[[int], None] = _nobody,
) -> Found:
    """Attack every input of a case.

    Args:
        attack: the formula.
        victim: the model, whose passes are counted.
        case: inputs, labels and goals.
        scene: region and randomness.
        batch: how many points go through the model at once.
        enough: an input is done when an adversarial point this near was found; for an attack that looks for the
            smallest change 0 lets it use all its steps.
        tell: called with how many inputs were done since the last call.
    """
    return _Search(attack, victim, case, scene, batch, enough if attack.minimal else scene.region.epsilon).run(tell)


class _Search:
    def __init__(self, attack: Attack, victim: Victim, case: Case, scene: Scene, batch: int, enough: float) -> None:
        self.attack, self.victim, self.case, self.scene, self.batch = attack, victim, case, scene, batch
        self.enough = enough
        self.white = bool(attack.about.needs & {Need.GRADIENTS})
        self.points = case.x.clone()
        self.distance = torch.full((len(case.x),), torch.inf, dtype=torch.float64, device=case.x.device)
        self.looks = torch.zeros(len(case.x), dtype=torch.long, device=case.x.device)
        self.attempts = attack.attempts(victim.classes, scene.targeted)

    def run(self, tell: Callable[[int], None]) -> Found:
        waiting = deque((sample, 0) for sample in range(len(self.case.x)))
        lanes: Lanes | None = None
        while waiting or lanes is not None:
            under_way = 0 if lanes is None else len(lanes)
            if waiting and under_way <= _REFILL * self.batch:
                fresh = self._begun([waiting.popleft() for _ in range(min(len(waiting), self.batch - under_way))])
                lanes = fresh if lanes is None else lanes.join(fresh)
            assert lanes is not None
            before = len(lanes)
            lanes, again = self._round(lanes)
            waiting.extend(again)
            tell(before - len(again) - (0 if lanes is None else len(lanes)))
        return Found(self.points, self.distance, self.looks)

    def _begun(self, entries: list[tuple[int, int]]) -> Lanes:
        device = self.case.x.device
        sample, attempt = torch.tensor(entries, device=device).unbind(1)
        label = self.case.label[sample]
        lanes = Lanes(
            sample=sample,
            attempt=attempt,
            step=torch.zeros_like(sample),
            origin=self.case.x[sample],
            label=label,
            wanted=label if self.case.wanted is None else self.case.wanted[sample],
            clean=self.case.clean[sample],
            x=self.case.x[sample],
            own={},
        )
        self.attack.begin(lanes, self.scene)
        return lanes

    def _round(self, lanes: Lanes) -> tuple[Lanes | None, list[tuple[int, int]]]:
        """Look at the lanes' points once; return the lanes that go on, and which inputs are to be tried again."""
        last = lanes.step + 1 >= self.attack.looks
        if not self.white or last.all() or not last.any():
            return self._step(lanes, gradient=self.white and not bool(last.any()))
        _, again = self._step(lanes.take(last), gradient=False)
        rest, more = self._step(lanes.take(~last), gradient=True)
        return rest, again + more

    def _step(self, lanes: Lanes, *, gradient: bool) -> tuple[Lanes | None, list[tuple[int, int]]]:
        seen = self._seen(lanes, gradient=gradient)
        self._keep(lanes, seen)
        lanes.step = lanes.step + 1
        self.looks[lanes.sample] += 1
        fallen = self.distance[lanes.sample] <= self.enough
        ended = (lanes.step >= self.attack.looks) | self.attack.finished(lanes, seen)
        more = ended & ~fallen & (lanes.attempt + 1 < self.attempts)
        again = list(zip(lanes.sample[more].tolist(), (lanes.attempt[more] + 1).tolist(), strict=True))
        going = ~(fallen | ended)
        if not going.any():
            return None, again
        if not going.all():
            lanes, seen = lanes.take(going), seen.take(going)
        self.attack.advance(lanes, seen, self.scene)
        return lanes, again

    def _keep(self, lanes: Lanes, seen: Seen) -> None:
        """Keep the points that fool the model, lie in the region, and are nearer than those before."""
        rows = seen.fooled.nonzero()[:, 0]
        if not len(rows):
            return
        origin, points, sample = lanes.origin[rows], lanes.x[rows], lanes.sample[rows]
        distance = self.scene.region.distance(origin, points)
        better = self.scene.region.holds(origin, points) & (distance < self.distance[sample])
        self.points[sample[better]] = points[better]
        self.distance[sample[better]] = distance[better]

    def _seen(self, lanes: Lanes, *, gradient: bool) -> Seen:
        targeted = self.scene.targeted
        if gradient:
            scores, loss, slope = self.victim.differentiated(
                lanes.x, lambda scores: self.attack.loss(scores, lanes, targeted)
            )
        else:
            with torch.no_grad():
                scores = self.victim.scores(lanes.x)
                loss, slope = self.attack.loss(scores, lanes, targeted), torch.zeros(0, device=lanes.x.device)
        return Seen(scores, reached(scores, lanes.label, lanes.wanted if targeted else None), loss, slope)
