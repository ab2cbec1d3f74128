"""Attacks on a data set: shard by shard, attack by attack, on what still stands; and what that says of the model."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from xai.data.dataset import DataSet, Skipped, check_any_read
from xai.data.samples import Sample
from xai.engine.belief import Belief
from xai.engine.changes import EXAMPLES, Study
from xai.engine.confirm import Witness, confirm, witness
from xai.engine.facts import model_record
from xai.engine.outcome import Outcome, findings
from xai.engine.started import Started
from xai.engine.sweep import Sweep, repeatable, shard_size
from xai.engine.threat import AttackPlan
from xai.models.model import Model
from xai.reports.artefacts import MemoryStore, Store, put
from xai.reports.run import Run
from xai.robustness.attacks.base import Attack, Scene
from xai.robustness.search import Case, search
from xai.robustness.victim import Victim
from xai.runtime import Runtime

LARGEST_BATCH = 128
DRAWS = (
    "the model draws random numbers: what stands at one look may fall at the next, so the figures are not reproducible "
    "to the image; shards were attacked one after the other, each from its own seed"
)


@dataclass(frozen=True)
class Assault:
    """What all shards of a run share.

    Args:
        model: what is attacked.
        plan: the threat model.
        runtime: device, seed, threads, memory.
        store: keeps the adversarial inputs.
        witness: another program that runs the model.
    """

    model: Model
    plan: AttackPlan
    runtime: Runtime
    store: Store
    witness: Witness

    @property
    def stages(self) -> int:
        """How often an image is attacked at most."""
        return sum(len(self.plan.sizes(attack)) for attack in self.plan.attacks) + len(self.plan.corruptions)

    def shard(self, number: int, samples: Sequence[Sample], check: Callable[[int], None]) -> dict[str, Any]:
        """Attack some inputs; return a row for each, what each attack did, and the adversarial inputs' artefact.

        Args:
            number: of the shard: random numbers follow from the run's seed and it.
            samples: the inputs.
            check: called with how many inputs are done; raises if the run is interrupted.
        """
        if not samples:
            return {"rows": [], "tallies": [], "adversarial": None}
        work = _Work(self, number, samples)
        work.run(check)
        work.corrupt(check)
        return work.answer()


class _Work:
    """One shard under attack."""

    def __init__(self, assault: Assault, number: int, samples: Sequence[Sample]) -> None:
        self.assault, self.number, self.samples = assault, number, samples
        model, plan = assault.model, assault.plan
        self.x = torch.stack([sample.input for sample in samples]).to(model.device)
        self.batch = assault.runtime.batch(2 * model.bytes_per_input, LARGEST_BATCH)
        victim = Victim(model)
        with torch.no_grad():
            self.clean = torch.cat([victim.scores(part) for part in self.x.split(self.batch)])
        predicted = self.clean.argmax(1)
        given = [-1 if sample.label is None else sample.label for sample in samples]
        labels = torch.tensor(given, device=model.device)
        self.label = torch.where(labels < 0, predicted, labels)
        self.finite = self.clean.isfinite().all(1)
        self.right = (predicted == self.label) & self.finite
        self.predicted = predicted
        self.wanted = None if plan.wanted is None else torch.full_like(self.label, plan.wanted)
        self.open = self.right if self.wanted is None else self.right & (self.label != self.wanted)
        self.points = self.x.clone()
        self.distance = torch.full((len(samples),), torch.inf, dtype=torch.float64, device=model.device)
        self.size = self.distance.clone()  # of the region that the point was looked for in
        self.by = [""] * len(samples)
        self.looks = torch.zeros_like(self.label)
        self.tallies: list[dict[str, Any]] = []
        self.corrupted: dict[str, torch.Tensor] = {}

    def run(self, check: Callable[[int], None]) -> None:
        for attack in self.assault.plan.attacks:
            for name, epsilon in self.assault.plan.sizes(attack):
                self._attack(attack, name, epsilon, check)

    def _attack(self, attack: Attack, name: str, epsilon: float, check: Callable[[int], None]) -> None:
        plan, runtime, model = self.assault.plan, self.assault.runtime, self.assault.model
        enough, farthest = plan.enough, plan.farthest
        limit = enough if attack.minimal else epsilon
        todo = (self.open & (self.distance > limit)).nonzero()[:, 0]
        victim, begun = Victim(model), time.perf_counter()
        fell = 0
        check(len(self.samples) - len(todo))
        if len(todo):
            case = Case(self.x, self.label, self.wanted, self.clean).take(todo)
            generator = runtime.generator("attack", str(self.number), attack.about.name, name)
            scene = Scene(plan.region(model, epsilon), generator, plan.wanted is not None)
            found = search(attack, victim, case, scene, batch=self.batch, enough=enough, tell=check)
            better = (found.distance <= farthest) & (found.distance < self.distance[todo])
            fell = int((better & self.distance[todo].isinf()).sum())
            rows = todo[better]
            self.points[rows], self.distance[rows] = found.points[better], found.distance[better]
            self.size[rows] = epsilon
            self.looks[todo] += found.looks
            for row in rows.tolist():
                self.by[row] = attack.about.name
        self.tallies.append(
            {
                "attack": attack.about.name,
                "epsilon": name,
                "tried": len(todo),
                "fell": fell,
                "forwards": victim.forwards,
                "backwards": victim.backwards,
                "seconds": time.perf_counter() - begun,
            }
        )

    def corrupt(self, check: Callable[[int], None]) -> None:
        """See which inputs are still right when they are damaged by no one's intent."""
        model, keys = self.assault.model, [sample.digest for sample in self.samples]
        victim = Victim(model)
        for corruption, reason in self.assault.plan.corruptions:
            if not reason:
                damaged = corruption.apply_all(self.x, model.input, self.assault.runtime, keys)
                with torch.no_grad():
                    scores = torch.cat([victim.scores(part) for part in damaged.split(self.batch)])
                right = (scores.argmax(1) == self.label) & scores.isfinite().all(1)
                self.corrupted[f"{corruption.about.name} {corruption.severity}"] = right
            check(len(self.samples))

    def answer(self) -> dict[str, Any]:
        """Store what was found, look at it again, and return the rows."""
        fallen = self.distance.isfinite().nonzero()[:, 0]
        rows = [self._row(index, sample) for index, sample in enumerate(self.samples)]
        adversarial = None
        if len(fallen):
            points = self.points[fallen].cpu().numpy()
            adversarial = put(self.assault.store, points).model_dump(mode="json")
            case = Case(self.x, self.label, self.wanted, self.clean).take(fallen)
            assault = self.assault
            size = self.size[fallen].cpu().numpy()
            again = confirm(assault.model, case, points, assault.plan, size, assault.witness)
            for place, index in enumerate(fallen.tolist()):
                rows[index] |= {
                    "adversarial": [self.number, place],
                    "answer": again.answers[place],
                    "confirmed": not again.reasons[place],
                    "reason": again.reasons[place],
                    "rounded": again.rounded[place],
                }
        return {"rows": rows, "tallies": self.tallies, "adversarial": adversarial}

    def _row(self, index: int, sample: Sample) -> dict[str, Any]:
        distance = float(self.distance[index])
        return {
            "id": sample.id,
            "source": sample.source,
            "digest": sample.digest,
            "group": sample.group,
            "label": int(self.label[index]),
            "labelled": sample.label is not None,
            "predicted": int(self.predicted[index]),
            "right": bool(self.right[index]),
            "finite": bool(self.finite[index]),
            "attacked": bool(self.open[index]),
            "distance": distance if np.isfinite(distance) else None,
            "attack": self.by[index],
            "looks": int(self.looks[index]),
            **(
                {"corrupted": {name: bool(right[index]) for name, right in self.corrupted.items()}}
                if self.corrupted
                else {}
            ),
        }


def attack(
    model: Model,
    data: DataSet,
    plan: AttackPlan,
    *,
    runtime: Runtime | None = None,
    store: Store | None = None,
    folder: Path | None = None,
    jobs: int | None = None,
    examples: int = EXAMPLES,
    command: str = "",
    notes: Sequence[str] = (),
) -> Run:
    """Attack every image of a data set by every attack of a plan, and tell what is left standing.

    Args:
        model: what is attacked.
        data: images; those without a label take the model's own answer.
        plan: the threat model.
        runtime: device, seed, threads, memory, progress.
        store: keeps the arrays; default memory.
        folder: keeps the shards that are done, so that a killed run goes on; default memory.
        jobs: shards at once; default one a core. The answer does not depend on it.
        examples: how many of the adversarial inputs are looked at: what changed, and what became of the maps.
        command: what makes this run again.
        notes: what a reader must know of the whole run.

    Raises:
        RefusedFileError: no image could be read.
    """
    runtime = runtime or Runtime(device=model.device)
    store = store if store is not None else MemoryStore()
    started = Started("attack", command)
    sweep = Sweep(model, data, runtime, shard_size(model))
    runtime, shards = sweep.runtime, sweep.shards
    kept = sweep.kept(folder, plan.described())
    assault = Assault(model, plan, runtime, store, witness(model))
    try:
        with torch.random.fork_rng(devices=[]):
            sweep.run(assault.shard, kept, jobs=jobs, stage="attacking", stages=assault.stages)
    finally:
        assault.witness.rest()
    outcome = Outcome(kept, len(shards), plan)
    if not outcome.images:
        check_any_read(data, [Skipped(index, **one) for index, one in enumerate(outcome.skipped)])
    study = Study(model, data, shards, plan.norm, outcome.adversarial, runtime, store)
    with repeatable(model, runtime, "changes"):
        inputs, changes = study.of(outcome.rows(), examples)
    whole, *others = findings(outcome, model, assault.witness, store)
    trust = Belief(model, data, plan, outcome, runtime).trust()
    return started.finished(
        model_record(model),
        runtime.settings(),
        store,
        inputs=inputs,
        findings=(whole.model_copy(update={"trust": trust}), *others, *changes),
        notes=(*notes, *([DRAWS] if model.draws else []), *data.notes, *outcome.notes(data)),
    )
