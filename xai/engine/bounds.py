"""Bounds over a data set: what outputs can become in each region, which answers are certified, and what attacks find.

No method is trusted: points of every region are tried, and one that contradicts a bound makes the whole a failure.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from xai.data.dataset import DataSet, Skipped, check_any_read
from xai.data.samples import Sample
from xai.engine.attack import Assault
from xai.engine.certified import findings, skipped
from xai.engine.confirm import Witness
from xai.engine.enclosure import BoundsPlan
from xai.engine.examined import EXAMPLES, Examined, examine
from xai.engine.facts import model_record
from xai.engine.outcome import Outcome
from xai.engine.probe import Probe
from xai.engine.proved import Proved
from xai.engine.shards import Answer
from xai.engine.started import Started
from xai.engine.sweep import Sweep, shard_size
from xai.reports.artefacts import MemoryStore, Store, get, put
from xai.reports.records import Artefact
from xai.reports.run import Run
from xai.robustness.bounds.interval import Interval
from xai.runtime import Runtime

LARGEST_SHARD = 32  # fewer than an attack's: one may take minutes
HALVINGS = 10  # of the bracket that a largest certified change lies in
ALONE = Witness("", None, "xai attack asks another program, too")


@dataclass(frozen=True)
class Task:
    """What all shards of a run share.

    Args:
        plan: what is asked.
        runtime: device, seed, threads, memory.
        store: keeps arrays.
    """

    plan: BoundsPlan
    runtime: Runtime
    store: Store

    @property
    def assault(self) -> Assault:
        """The attacks on the same regions."""
        return Assault(self.plan.model, self.plan.attack, self.runtime, self.store, ALONE)

    @property
    def stages(self) -> int:
        """How often an image is looked at."""
        return self.assault.stages + len(self.plan.attack.epsilons) + self.plan.largest

    def shard(self, number: int, samples: Sequence[Sample], check: Callable[[int], None]) -> Answer:
        """Attack and bound some inputs; return a row for each, and where their bounds are kept."""
        nothing: Answer = {"rows": [], "tallies": [], "adversarial": None}
        if not samples:
            return {**nothing, "arrays": {}, "breaches": [], "widths": {}, "points": 0, "seconds": 0.0}
        attacked = (
            self.assault.shard(number, samples, check) if self.plan.scored else {**nothing, "rows": _plain(samples)}
        )
        work = _Work(self, samples, attacked)
        work.run(check)
        return {**attacked, **work.answer()}


def _plain(samples: Sequence[Sample]) -> list[dict[str, Any]]:
    """Return rows of inputs that have no right answer."""
    return [{"id": one.id, "source": one.source, "digest": one.digest, "group": one.group} for one in samples]


class _Work:
    """One shard that is bounded."""

    def __init__(self, task: Task, samples: Sequence[Sample], attacked: Answer) -> None:
        self.task, self.plan, self.samples, self.rows = task, task.plan, samples, attacked["rows"]
        self.probe = Probe(task.plan.bounding, task.runtime)
        self.x = torch.stack([sample.input for sample in samples]).to(self.plan.model.device)
        self.found = self._adversarial(attacked["adversarial"])
        count, sizes = len(samples), self.plan.attack.epsilons
        self.certified = {name: torch.zeros(count, dtype=torch.bool) for name in sizes}
        self.arrays: dict[str, dict[str, list[np.ndarray]]] = {
            name: {size: [] for size in sizes}
            for name in ("lower", "upper", *(["winners"] if self.plan.scored else []))
        }
        self.largest: torch.Tensor | None = None
        self.breaches: list[dict[str, Any]] = []
        self.points, self.seconds = 0, 0.0

    def run(self, check: Callable[[int], None]) -> None:
        parts = torch.arange(len(self.samples)).split(self.plan.batch)
        for name, epsilon in self.plan.attack.epsilons.items():
            for part in parts:
                self._bound(part, name, epsilon)
                check(len(part))
        self._nested()
        if self.plan.largest:
            found = []
            for part in parts:
                found.append(self._widen(part))
                check(len(part))
            self.largest = torch.cat(found)

    def _adversarial(self, kept: dict[str, Any] | None) -> dict[int, torch.Tensor]:
        """Return the confirmed adversarial points by row."""
        if kept is None:
            return {}
        points = torch.from_numpy(get(self.task.store, Artefact.model_validate(kept)))
        held = {index: row for index, row in enumerate(self.rows) if row.get("confirmed")}
        return {index: points[row["adversarial"][1]].to(self.x.device) for index, row in held.items()}

    def _bound(self, part: torch.Tensor, name: str, epsilon: float) -> None:
        """Bound some regions, and try points of them."""
        begun = time.perf_counter()
        bounding, x = self.plan.bounding, self.x[part]
        analysis = bounding.analysis(bounding.inputs(x, self.plan.attack.norm, epsilon))
        found = bounding.outputs(analysis)
        able = None
        if self.plan.scored:
            answers = self._answers(part)
            able = winners(found, bounding.leads(analysis, answers), answers)
            alone = able.sum(1) == 1
            self.certified[name][part] = (alone & able.gather(1, answers[:, None])[:, 0]).cpu() & self._finite(part)
        self.seconds += time.perf_counter() - begun
        self._try(part, name, epsilon, found, able)
        for kind, value in (("lower", found.lower), ("upper", found.upper), ("winners", able)):
            if value is not None:
                self.arrays[kind][name].append(value.cpu().numpy())

    def _answers(self, part: torch.Tensor) -> torch.Tensor:
        return torch.tensor([self.rows[index]["predicted"] for index in part.tolist()], device=self.x.device)

    def _finite(self, part: torch.Tensor) -> torch.Tensor:
        return torch.tensor([self.rows[index]["finite"] for index in part.tolist()])

    def _try(self, part: torch.Tensor, name: str, epsilon: float, found: Interval, able: torch.Tensor | None) -> None:
        """Try sampled points, and what attacks found, against the bounds."""
        region, x = self.plan.attack.region(self.plan.model, epsilon), self.x[part]
        points = self.probe.sampled(region, x, [self.samples[index].digest for index in part.tolist()], name)
        self._compare(part, name, points, found, able)
        held = [place for place, index in enumerate(part.tolist()) if self._holds(region, index)]
        if held:
            stored = torch.stack([self.found[int(part[place])] for place in held])[:, None]
            rows = torch.tensor(held, device=x.device)
            kept = Interval(found.lower[rows], found.upper[rows])
            self._compare(part[held], name, stored, kept, None if able is None else able[rows])

    def _holds(self, region: Any, index: int) -> bool:
        return index in self.found and bool(region.holds(self.x[index][None], self.found[index][None]))

    def _compare(
        self, part: torch.Tensor, name: str, points: torch.Tensor, found: Interval, able: torch.Tensor | None
    ) -> None:
        values = self.probe.values(points.flatten(0, 1)).unflatten(0, points.shape[:2])
        self.points += points.shape[0] * points.shape[1]
        for breach in self.probe.breaches(found, able, values):
            point = points[breach.row, breach.point]
            self._contradicted(int(part[breach.row]), name, breach.what, point)

    def _nested(self) -> None:
        """What is certified in a region is certified in each that lies in it."""
        wider = torch.zeros(len(self.samples), dtype=torch.bool)
        for name in reversed(list(self.plan.attack.epsilons)):
            self.certified[name] |= wider
            wider = self.certified[name]

    def _widen(self, part: torch.Tensor) -> torch.Tensor:
        """Return the largest certified change (n,) of some inputs: between sizes that are known to be and not to be."""
        begun = time.perf_counter()
        low, high = torch.zeros(len(part), dtype=torch.float64), torch.full((len(part),), self.plan.widest).double()
        for name, epsilon in self.plan.attack.epsilons.items():
            certified = self.certified[name][part]
            low = torch.where(certified, epsilon, low)
            high = torch.where(certified, high, high.clamp(max=epsilon))
        fell = torch.tensor([self._fell(index) for index in part.tolist()]).double()
        high = torch.maximum(torch.minimum(high, fell), low)
        x, norm = self.x[part], self.plan.attack.norm
        ends = [end.to(x.device) for end in (high, low)]
        found, _ = self.plan.bounding.largest(x, self._answers(part), norm, ends[0], HALVINGS, ends[1])
        self.seconds += time.perf_counter() - begun
        self._overtaken(part, (found.cpu() >= fell).nonzero()[:, 0])
        return torch.where(self._finite(part), found.cpu(), 0.0)

    def _fell(self, index: int) -> float:
        """Return how near an input's confirmed adversarial point is."""
        return float(self.rows[index]["distance"]) if index in self.found else math.inf

    def _overtaken(self, part: torch.Tensor, places: torch.Tensor) -> None:
        """Look at the adversarial points that lie where a bisection certified the answer."""
        for index in part[places].tolist():
            point = self.found[index]
            if int(self.probe.answers(self.probe.values(point[None]))) != self.rows[index]["predicted"]:
                self._contradicted(index, "the largest change", "another answer was found nearer than certified", point)

    def _contradicted(self, index: int, where: str, what: str, point: torch.Tensor) -> None:
        kept = put(self.task.store, point.cpu().numpy()).model_dump(mode="json")
        self.breaches.append({"id": self.samples[index].id, "epsilon": where, "what": what, "point": kept})

    def answer(self) -> Answer:
        """Store the bounds, and say of each input what is proved."""
        for index, row in enumerate(self.rows):
            row |= self._proved(index) if self.plan.scored else {}
        return {
            "rows": self.rows,
            "arrays": {
                name: put(self.task.store, _stacked(list(held.values()))).model_dump(mode="json")
                for name, held in self.arrays.items()
            },
            "breaches": self.breaches,
            "widths": {name: self._width(name) for name in self.plan.attack.epsilons},
            "points": self.points,
            "seconds": self.seconds,
        }

    def _width(self, name: str) -> list[float]:
        """Return the sum of all widths in a region, and how many there are."""
        pairs = zip(self.arrays["lower"][name], self.arrays["upper"][name], strict=True)
        widths = np.concatenate([(upper - lower).ravel() for lower, upper in pairs])
        return [float(widths.sum()), len(widths)]

    def _proved(self, index: int) -> dict[str, Any]:
        """Return what is certified of one input; a real-number proof gives way to what float32 was seen to do."""
        distance = self._fell(index)
        proved: dict[str, Any] = {"verdicts": {}, "rounding": False}
        for name, epsilon in self.plan.attack.epsilons.items():
            fell, holds = distance <= epsilon, bool(self.certified[name][index])
            proved["rounding"] |= fell and holds
            proved["verdicts"][name] = "violated" if fell else "holds" if holds else "not decided"
        if self.largest is not None:
            largest = float(self.largest[index])
            proved["largest"] = min(largest, float(np.nextafter(distance, 0)))
        return proved


def winners(found: Interval, leads: torch.Tensor, answers: torch.Tensor) -> torch.Tensor:
    """Say which answers (n, answers) bool can win: not one that the given one leads, nor one below another's bound.

    Args:
        found: bounds (n, outputs).
        leads: (n, answers) lower bounds of how far the given answer scores above each.
        answers: (n,) the answers given.
    """
    able = ~(leads > 0)
    able.scatter_(1, answers[:, None], True)
    if found.lower.shape == able.shape:
        able &= ~(found.upper < found.lower.amax(1, keepdim=True))
    return able


def _stacked(sizes: list[list[np.ndarray]]) -> np.ndarray:
    """Return (inputs, ...) for one size of the change, (sizes, inputs, ...) for several."""
    whole = [np.concatenate(parts) for parts in sizes]
    return whole[0] if len(whole) == 1 else np.stack(whole)


def bounds(
    data: DataSet,
    plan: BoundsPlan,
    *,
    runtime: Runtime | None = None,
    store: Store | None = None,
    folder: Path | None = None,
    jobs: int | None = None,
    examples: int = EXAMPLES,
    command: str = "",
    notes: Sequence[str] = (),
) -> Run:
    """Bound a model's outputs around every image of a data set, and try the bounds.

    Args:
        data: images; those without a label take the model's own answer.
        plan: what is asked, of which model.
        runtime: device, seed, threads, memory, progress.
        store: keeps the arrays; default memory.
        folder: keeps the shards that are done, so that a killed run goes on; default memory.
        jobs: shards at once; default one a core. The answer does not depend on it.
        examples: how many images are drawn, the first ones.
        command: what makes this run again.
        notes: what a reader must know of the whole run.

    Raises:
        RefusedFileError: no image could be read.
    """
    model = plan.model
    runtime = runtime or Runtime(device=model.device)
    store = store if store is not None else MemoryStore()
    started = Started("bounds", command)
    sweep = Sweep(model, data, runtime, min(LARGEST_SHARD, shard_size(model)))
    examined, outcome = Examined((), ()), None
    if plan.hindrance:
        told = skipped(plan)
    else:
        task = Task(plan, sweep.runtime, store)
        kept = sweep.kept(folder, plan.described())
        sweep.run(task.shard, kept, jobs=jobs, stage="bounding", stages=task.stages)
        outcome = Outcome(kept, len(sweep.shards), plan.attack)
        if not outcome.images:
            check_any_read(data, [Skipped(index, **one) for index, one in enumerate(outcome.skipped)])
        proved = Proved(outcome, plan)
        examined = examine(plan, data, proved, sweep, store, examples)
        told = findings(proved, examined, store)
    return started.finished(
        model_record(model),
        sweep.runtime.settings(),
        store,
        inputs=examined.inputs,
        findings=told,
        notes=(*notes, *data.notes, *(outcome.notes(data) if outcome else ())),
    )
