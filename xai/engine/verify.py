"""Images verified one by one: attacks first, then bounds, then branch and bound until its time is up.

An image is a shard, so that a killed run loses no more than the images that were being looked at. No verdict is
trusted: a counterexample is stored, read again and put before the model and another program; what was proved is tried
at points of the region, and one that contradicts it makes the whole a failure.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from xai.data.dataset import DataSet, Skipped, check_any_read
from xai.data.samples import Sample
from xai.engine.attack import Assault
from xai.engine.changes import EXAMPLES, Study
from xai.engine.confirm import Witness, confirm, witness
from xai.engine.deciding import ROUNDED_AWAY, Judge, VerifyPlan, beyond
from xai.engine.facts import model_record
from xai.engine.outcome import Outcome
from xai.engine.proofs import SUFFIX, written
from xai.engine.shards import Answer
from xai.engine.started import Started
from xai.engine.sweep import Sweep
from xai.engine.verified import findings, skipped
from xai.errors import AnalysisError
from xai.reports.artefacts import MemoryStore, Store, get, put, put_bytes
from xai.reports.records import Artefact, Finding, InputRecord
from xai.reports.run import Run
from xai.robustness.bounds.analysis import TimeUpError
from xai.robustness.bounds.rounding import Arithmetic
from xai.robustness.search import Case
from xai.robustness.verify.checker.check import State
from xai.robustness.verify.decide import Outcome as Decision
from xai.robustness.verify.decide import Verdict
from xai.robustness.victim import Victim
from xai.runtime import Runtime

ATTACK = "attack"


@dataclass(frozen=True)
class Task:
    """What all images of a run share.

    Args:
        plan: what is asked.
        runtime: device, seed, threads, memory.
        store: keeps the counterexamples.
        witness: another program that runs the model.
    """

    plan: VerifyPlan
    runtime: Runtime
    store: Store
    witness: Witness

    @property
    def assault(self) -> Assault:
        """The attacks that come first."""
        return Assault(self.plan.model, self.plan.attack, self.runtime, self.store, self.witness)

    @property
    def stages(self) -> int:
        """How often an image is looked at."""
        return self.assault.stages + 1

    def shard(self, number: int, samples: Sequence[Sample], check: Callable[[int], None]) -> Answer:
        """Attack an image and decide it; return its row, and where its counterexample is kept."""
        if not samples:
            return {"rows": [], "tallies": [], "adversarial": None, "breaches": [], "times": []}
        begun = time.perf_counter()
        attacked = self.assault.shard(number, samples, check)
        look = _Look(self, number, samples[0], attacked, lambda: check(0))
        look.decide(begun)
        seconds = time.perf_counter() - begun
        look.prove()
        check(1)
        return {**attacked, **look.kept, "rows": [look.row], "times": [seconds]}


class _Look:
    """One image."""

    def __init__(self, task: Task, number: int, sample: Sample, attacked: Answer, check: Callable[[], None]) -> None:
        self.task, self.plan, self.number, self.sample = task, task.plan, number, sample
        told = attacked["rows"][0]
        self.row: dict[str, Any] = {"confirmed": False, "reason": "", **told}
        self.row |= {"verdict": None, "by": "", "parts": 0, "case": "", "bound": None}
        self.kept: dict[str, Any] = {"breaches": []}
        self.found = attacked["adversarial"]
        self.proved: tuple[Judge, Decision] | None = None
        self.x = sample.input[None].to(task.plan.model.device)
        self.check = check

    def decide(self, begun: float) -> None:
        """Fill the row; what is wrong without a change is not verified."""
        if not self.row["right"]:
            return
        if self.row["confirmed"]:
            self._told(Verdict.VIOLATED, ATTACK)
            return
        judge = self._judge()
        late = begun + self.plan.timeout
        found = self._certified(judge, late) or judge.decide(max(0.0, late - time.perf_counter()))
        bound = found.bound if found.bound is not None and math.isfinite(found.bound) else None
        self.row |= {"parts": found.parts, "case": found.case, "bound": bound}
        if found.verdict is Verdict.HOLDS:
            self._try(judge, found)
        elif found.counterexample is not None:
            self._counter(found)
        else:
            self._told(Verdict.NOT_DECIDED, "", found.reason)

    def _told(self, verdict: Verdict, by: str, reason: str = "") -> None:
        self.row |= {"verdict": verdict.value, "by": by, "reason": reason}

    def _judge(self) -> Judge:
        plan, wanted = self.plan, self.plan.wanted(self.x, self.row["predicted"])
        seed = self.task.runtime.generator("verify", self.sample.digest).initial_seed()
        return Judge(
            plan, wanted, plan.network(self.check), lambda output: bool(beyond(wanted, output[None].double())[0]), seed
        )

    def _certified(self, judge: Judge, late: float) -> Decision | None:
        """Return the verdict by one pass of bounds, if that is enough: a search begins with many points instead.

        It leaves nothing that could be checked: where proofs are kept, the search itself bounds the region.
        """
        bounding, answer = self.plan.bounding, torch.tensor([self.row["predicted"]], device=self.x.device)
        if self.plan.hindrance or self.plan.keep_proofs:
            return None
        analysis = bounding.analysis(judge.wanted.cases[0].region)
        try:
            proved = bounding.certified(replace(analysis, late=lambda: time.perf_counter() > late), answer)
        except (AnalysisError, TimeUpError):
            return None
        if not bool(proved):
            return None
        return Decision(Verdict.HOLDS, bounding.bounder.about.title, 0.0, 1)

    def _try(self, judge: Judge, found: Decision) -> None:
        """Try a proof at points of the region, those that an attack claimed among them."""
        points = judge.points()
        if self.found is not None:
            claimed = torch.from_numpy(get(self.task.store, Artefact.model_validate(self.found))).to(points.device)
            region = self.plan.attack.region(self.plan.model, self.plan.size[1])
            points = torch.cat([points, claimed[region.holds(self.x, claimed)]])
        wrong = judge.contradicted(points)
        if wrong is not None:
            kept = put(self.task.store, wrong.cpu().numpy()).model_dump(mode="json")
            self.kept["breaches"].append({"id": self.sample.id, "what": "an input is not as was proved", "point": kept})
        rounded = self.plan.arithmetic is Arithmetic.REAL and judge.rounded_away(points)
        if wrong is not None or rounded:
            self._told(Verdict.NOT_DECIDED, "", ROUNDED_AWAY)
        else:
            self._told(Verdict.HOLDS, found.by)
            self.proved = judge, found

    def prove(self) -> None:
        """Keep the proof, and the input that it is about, and put it before the independent checker."""
        if self.proved is None or not self.plan.keep_proofs:
            return
        content, said = written(self.proved[1], self.proved[0])
        self.row["proof"] = {"number": self.number, "state": said.state.value, "reason": said.reason}
        if not content:
            return
        store = self.task.store
        x = put(store, self.x.cpu().numpy())
        self.kept["proof"] = put_bytes(store, content, SUFFIX).model_dump(mode="json")
        self.kept["proved"] = x.model_dump(mode="json")
        if said.state is State.WRONG:
            self._told(Verdict.NOT_DECIDED, "", f"the independent checker does not confirm its proof: {said.reason}")

    def _counter(self, found: Decision) -> None:
        """Store a counterexample, and look at it again as anyone would who gets the file."""
        assert found.counterexample is not None
        plan, task = self.plan, self.task
        region = plan.attack.region(plan.model, plan.size[1])
        point = region.project(self.x, found.counterexample[None].to(self.x.device))
        with torch.no_grad():
            clean = Victim(plan.model).scores(self.x)
        case = Case(self.x, torch.tensor([self.row["label"]], device=self.x.device), None, clean)
        points = point.cpu().numpy()
        again = confirm(plan.model, case, points, plan.attack, np.array([plan.size[1]]), task.witness)
        self.kept["adversarial"] = put(task.store, points).model_dump(mode="json")
        self.row |= {
            "adversarial": [self.number, 0],
            "distance": float(region.distance(self.x, point)[0]),
            "attack": found.by,
            "answer": again.answers[0],
            "confirmed": not again.reasons[0],
            "rounded": again.rounded[0],
        }
        if again.reasons[0]:
            self._told(Verdict.NOT_DECIDED, "", f"a counterexample was found and not confirmed: {again.reasons[0]}")
        else:
            self._told(Verdict.VIOLATED, found.by)


def verify(
    data: DataSet,
    plan: VerifyPlan,
    *,
    runtime: Runtime | None = None,
    store: Store | None = None,
    folder: Path | None = None,
    jobs: int | None = None,
    examples: int = EXAMPLES,
    command: str = "",
    notes: Sequence[str] = (),
) -> Run:
    """Decide for every image of a data set whether its right answer stays the same within a size of the change.

    Args:
        data: images; those without a label take the model's own answer.
        plan: what is asked, of which model.
        runtime: device, seed, threads, memory, progress.
        store: keeps the arrays; default memory.
        folder: keeps the images that are done, so that a killed run goes on; default memory.
        jobs: images at once; default one a core. What is decided does not depend on it, what is not decided in time
            does.
        examples: how many of the counterexamples are drawn.
        command: what makes this run again.
        notes: what a reader must know of the whole run.

    Raises:
        RefusedFileError: no image could be read.
    """
    model = plan.model
    runtime = runtime or Runtime(device=model.device)
    store = store if store is not None else MemoryStore()
    started = Started("verify", command)
    sweep = Sweep(model, data, runtime, 1)
    inputs: tuple[InputRecord, ...] = ()
    changes: tuple[Finding, ...] = ()
    outcome = None
    if plan.hindrance and not plan.attack.attacks:
        told = skipped(plan)
    else:
        kept = sweep.kept(folder, plan.described())
        task = Task(plan, sweep.runtime, store, witness(model))
        try:
            with torch.random.fork_rng(devices=[]):
                sweep.run(task.shard, kept, jobs=jobs, stage="verifying", stages=task.stages)
        finally:
            task.witness.rest()
        outcome = Outcome(kept, len(sweep.shards), plan.attack)
        if not outcome.images:
            check_any_read(data, [Skipped(index, **one) for index, one in enumerate(outcome.skipped)])
        told = findings(outcome, plan, task.witness, store)
        violated = (row for row in outcome.rows() if row["verdict"] == Verdict.VIOLATED.value)
        study = Study(
            model, data, sweep.shards, plan.attack.norm, outcome.adversarial, sweep.runtime, store, explained=False
        )
        inputs, changes = study.of(violated, examples)
    return started.finished(
        model_record(model),
        sweep.runtime.settings(),
        store,
        inputs=inputs,
        findings=(*told, *changes),
        notes=(*notes, *data.notes, *(outcome.notes(data) if outcome else ())),
    )
