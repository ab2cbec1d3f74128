"""Attacks on a data set: shard by shard, attack by attack, on what still stands; and what that says of the model."""

from __future__ import annotations

import hashlib
import json
import os
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import torch

from xai.data.dataset import DataSet, Skipped, check_any_read
from xai.data.samples import Sample
from xai.engine.belief import Belief
from xai.engine.changes import EXAMPLES, Study
from xai.engine.confirm import Witness, confirm, witness
from xai.engine.facts import model_record, versions
from xai.engine.outcome import Outcome, findings
from xai.engine.shards import Kept, work_off
from xai.engine.threat import AttackPlan
from xai.models.model import Model
from xai.reports.artefacts import MemoryStore, Store, put
from xai.reports.records import RunRecord
from xai.reports.run import Run
from xai.robustness.attacks.base import Attack, Scene
from xai.robustness.search import Case, search
from xai.robustness.victim import Victim
from xai.runtime import Runtime

SHARD_BYTES = 32 * 2**20  # of a shard's inputs: several copies of them live at once
LARGEST_SHARD, LARGEST_BATCH = 128, 128
DRAWS = (
    "the model draws random numbers: what stands at one look may fall at the next, so the figures are not reproducible "
    "to the image; shards were attacked one after the other, each from its own seed"
)
SMALL = 2**20  # bytes of activations an input: with less, a second thread costs more than it brings


def shard_size(model: Model) -> int:
    """Return how many inputs a shard holds: what is in memory at once, whatever the size of the data."""
    return max(8, min(LARGEST_SHARD, SHARD_BYTES // (4 * int(np.prod(model.input.shape)))))


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
    created, begun = datetime.now(UTC), time.perf_counter()
    shards = data.shards(shard_size(model))
    alone = len(shards) >= cores() or model.bytes_per_input < SMALL
    threads = runtime.threads or (1 if alone else cores())
    runtime = replace(runtime, threads=threads)  # it follows from the data: the same whatever the number of jobs
    kept = Kept(folder, _digest(model, data, plan, runtime))
    assault = Assault(model, plan, runtime, store, witness(model))
    bar = _Bar(runtime, assault.stages * len(data))
    jobs = 1 if model.draws else jobs or max(1, cores() // threads)  # drawn numbers are the whole process's

    def work(number: int, check: Callable[[], None]) -> dict[str, Any]:
        part = data.read_many(shards[number])

        def tell(count: int) -> None:
            check()
            bar.add(count)

        bar.add(assault.stages * len(part.skipped))
        with _repeatable(model, runtime, "shard", str(number)):
            answer = assault.shard(number, part.samples, tell)
        skipped = [{"id": one.id, "source": one.source, "reason": one.reason} for one in part.skipped]
        treated = Counter(treatment for sample in part.samples for treatment in dict.fromkeys(sample.treatments))
        return {**answer, "skipped": skipped, "treated": dict(treated), "digests": part.digests.hex()}

    try:
        with torch.random.fork_rng(devices=[]):
            for _ in work_off(range(len(shards)), work, kept, jobs=jobs, threads=threads):
                bar.add(0)
    finally:
        assault.witness.rest()
    outcome = Outcome(kept, len(shards), plan)
    if not outcome.images:
        check_any_read(data, [Skipped(index, **one) for index, one in enumerate(outcome.skipped)])
    study = Study(model, data, shards, plan.norm, outcome.adversarial, runtime, store)
    with _repeatable(model, runtime, "changes"):
        inputs, changes = study.of(outcome.rows(), examples)
    whole, *others = findings(outcome, model, assault.witness, store)
    trust = Belief(model, data, plan, outcome, runtime).trust()
    return Run(
        RunRecord(
            verb="attack",
            command=command,
            created=created.isoformat(timespec="seconds"),
            seconds=time.perf_counter() - begun,
            versions=versions(),
            settings=runtime.settings(),
            model=model_record(model),
            inputs=inputs,
            findings=(whole.model_copy(update={"trust": trust}), *others, *changes),
            notes=(*notes, *([DRAWS] if model.draws else []), *data.notes, *outcome.notes(data)),
        ),
        store,
    )


def cores() -> int:
    """Return how many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _repeatable(model: Model, runtime: Runtime, *names: str) -> AbstractContextManager[object]:
    """Let what a model draws follow from the run's seed and the names; what draws nothing needs no such thing."""
    return runtime.seeded(*names) if model.draws else nullcontext()


class _Bar:
    """Progress that several threads tell of."""

    def __init__(self, runtime: Runtime, total: int) -> None:
        self._runtime, self._total, self._done, self._lock = runtime, total, 0, threading.Lock()

    def add(self, count: int) -> None:
        with self._lock:
            self._done += count
            self._runtime.progress("attacking", min(self._done, self._total), self._total)


def _digest(model: Model, data: DataSet, plan: AttackPlan, runtime: Runtime) -> str:
    """Return sha256 of what determines a run's answers."""
    parts = [model.fingerprint, model.card.model_dump(mode="json"), data.listing, plan.described(), runtime.settings()]
    return hashlib.sha256(json.dumps([*parts, versions()], sort_keys=True, default=str).encode()).hexdigest()
