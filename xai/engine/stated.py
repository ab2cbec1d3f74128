"""Properties of a file, decided one by one: each is a shard of its own, and a finding of its own."""

from __future__ import annotations

import hashlib
import json
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from xai.engine.claim import Claim
from xai.engine.confirm import Witness, witness
from xai.engine.deciding import ROUNDED_AWAY, Deciding, Judge
from xai.engine.facts import model_record, versions
from xai.engine.proofs import PROOF, SUFFIX, written
from xai.engine.shards import Answer, Kept, work_off
from xai.engine.started import Started
from xai.engine.sweep import SMALL, cores
from xai.engine.verified import CLOCK, SOURCE, others
from xai.engine.words import NUMBERS
from xai.errors import XaiError
from xai.reports.artefacts import MemoryStore, Store, get, put, put_bytes
from xai.reports.records import Artefact, Finding, Value
from xai.reports.run import Run
from xai.robustness.bounds.rounding import Arithmetic
from xai.robustness.verify.checker.check import State
from xai.robustness.verify.decide import Outcome, Verdict
from xai.robustness.verify.statements import Compiled
from xai.runtime import Runtime


@dataclass(frozen=True)
class _Statements:
    """What all properties of a run share."""

    compiled: Sequence[Compiled]
    plan: Deciding
    runtime: Runtime
    store: Store
    witness: Witness

    def decide(self, number: int, check: Callable[[], None]) -> Answer:
        """Decide one property."""
        begun = time.perf_counter()
        self.runtime.progress("verifying", number, len(self.compiled))
        stated = self.compiled[number]
        seed = self.runtime.generator("property", str(number)).initial_seed()
        judge = Judge(self.plan, stated.property, self._network(stated, check), stated.violated, seed, stated.pair)
        found = judge.decide(self.plan.timeout)
        answer = _told(found)
        if found.verdict is Verdict.HOLDS:
            answer |= self._tried(judge) or self._proved(found, judge)
        elif found.counterexample is not None:
            answer |= self._counter(stated, found)
        return {**answer, "seconds": time.perf_counter() - begun}

    def _network(self, stated: Compiled, check: Callable[[], None]) -> Callable[[torch.Tensor], torch.Tensor]:
        """Return the network as it runs; of pairs on both inputs of a joint one."""
        single, pair = self.plan.network(check), stated.pair
        if pair is None:
            return single
        return lambda joint: torch.cat([single(one) for one in pair.inputs(joint)], 1)

    def _tried(self, judge: Judge) -> Answer:
        points = judge.points()
        wrong = judge.contradicted(points)
        if wrong is not None:
            return {"verdict": None, "breach": put(self.store, wrong.cpu().numpy()).model_dump(mode="json")}
        if self.plan.arithmetic is Arithmetic.REAL and judge.rounded_away(points):
            return {"verdict": Verdict.NOT_DECIDED.value, "by": "", "reason": ROUNDED_AWAY}
        return {}

    def _proved(self, found: Outcome, judge: Judge) -> Answer:
        """Keep the proof, and put it before the independent checker; what that does not confirm is not decided."""
        if not self.plan.keep_proofs:
            return {}
        content, said = written(found, judge)
        told = {"proof": said.state.value + (f": {said.reason}" if said.reason else "")}
        if said.state is State.WRONG:
            reason = f"the independent checker does not confirm its proof: {said.reason}"
            return {"verdict": Verdict.NOT_DECIDED.value, "by": "", "reason": reason}
        kept = {PROOF: put_bytes(self.store, content, SUFFIX).model_dump(mode="json")} if content else {}
        return {**told, "arrays": kept}

    def _counter(self, stated: Compiled, found: Outcome) -> Answer:
        """Store a counterexample, and put it before the model and another program as it was stored."""
        assert found.counterexample is not None
        joint, pair = found.counterexample[None], stated.pair
        inputs = torch.cat(pair.inputs(joint)) if pair is not None else joint
        kept = put(self.store, inputs.cpu().numpy())
        x = torch.from_numpy(get(self.store, kept))
        with torch.no_grad():
            own = self.plan.model(x.to(self.plan.model.device)).flatten(1).cpu()
        reason = "" if stated.violated(own.flatten()) else "the model does not violate it in another batch size"
        if outside := Claim.of(stated).outside(x.numpy()):
            reason = f"it {outside}"
        if not reason and self.witness.run is not None:
            try:
                seen = self.witness.run(x).flatten(1)
                reason = "" if stated.violated(seen.flatten()) else f"{self.witness.name} does not violate it there"
            except (XaiError, ValueError) as error:
                reason = f"{self.witness.name} failed: {error}"
        arrays = {"counterexample": kept, "outputs": put(self.store, own.numpy())}
        shown = {"arrays": {name: one.model_dump(mode="json") for name, one in arrays.items()}}
        if reason:
            told = f"a counterexample was found and not confirmed: {reason}"
            return {**shown, "verdict": Verdict.NOT_DECIDED.value, "by": "", "reason": told}
        return shown

    def digest(self) -> str:
        """Return what was asked in one word."""
        model = self.plan.model
        asked = [model.fingerprint, model.card.model_dump(mode="json"), self.plan.described(), self.runtime.settings()]
        asked += [versions()]
        parts = hashlib.sha256(json.dumps(asked, sort_keys=True, default=str).encode())
        for stated in self.compiled:
            parts.update(stated.property.name.encode())
            for case in stated.property.cases:
                box = case.region.box
                for tensor in (case.matrix, case.limits, box.lower, box.upper, case.region.centre, case.region.radius):
                    if tensor is not None:
                        parts.update(np.ascontiguousarray(tensor.cpu().numpy()).tobytes())
        return parts.hexdigest()


def _told(found: Outcome) -> Answer:
    bound = found.bound if found.bound is not None and math.isfinite(found.bound) else None
    return {
        "verdict": found.verdict.value,
        "by": found.by,
        "parts": found.parts,
        "case": found.case,
        "bound": bound,
        "reason": found.reason,
        "arrays": {},
        "breach": None,
    }


def verify_properties(
    compiled: Sequence[Compiled],
    plan: Deciding,
    *,
    runtime: Runtime | None = None,
    store: Store | None = None,
    folder: Path | None = None,
    jobs: int | None = None,
    command: str = "",
    notes: Sequence[str] = (),
) -> Run:
    """Decide properties of a model.

    Args:
        compiled: the properties.
        plan: how.
        runtime: device, seed, threads, memory, progress.
        store: keeps the arrays; default memory.
        folder: keeps the properties that are done, so that a killed run goes on; default memory.
        jobs: properties at once; default one a core.
        command: what makes this run again.
        notes: what a reader must know of the whole run.
    """
    runtime = runtime or Runtime(device=plan.model.device)
    store = store if store is not None else MemoryStore()
    started = Started("verify", command)
    alone = len(compiled) >= cores() or plan.model.bytes_per_input < SMALL
    runtime = replace(runtime, threads=runtime.threads or (1 if alone else cores()))
    if not plan.hindrance:
        _ = plan.program  # made once, before there are threads
    asked = _Statements(compiled, plan, runtime, store, witness(plan.model))
    kept = Kept(folder, asked.digest())
    at_once = jobs or max(1, cores() // runtime.threads)
    try:
        for _ in work_off(range(len(compiled)), asked.decide, kept, jobs=at_once, threads=runtime.threads):
            runtime.progress("verifying", 0, len(compiled))
    finally:
        asked.witness.rest()
    other = asked.witness
    found = [_finding(number, one, kept[number], plan, other, store) for number, one in enumerate(compiled)]
    return started.finished(
        model_record(plan.model),
        runtime.settings(),
        store,
        findings=found,
        notes=notes,
    )


def _finding(number: int, stated: Compiled, answer: Answer, plan: Deciding, other: Witness, store: Store) -> Finding:
    claim = Claim.of(stated)
    arrays = {name: Artefact.model_validate(one) for name, one in answer["arrays"].items()}
    finding = Finding(
        id=f"property/{number}",
        family="property",
        method="property",
        title=stated.property.name,
        description="A statement that must hold for every input that it names; a violation is an input beyond its "
        "limits, which only to touch is none.",
        limits=f"It is about the inputs that it names, and about no other. {NUMBERS[plan.arithmetic]} The proof comes "
        f"from this program's own bounds and search: it is tried at points. {others(plan)}",
        source=SOURCE,
        kind="sound",
        input=None,
        status="ok",
        seconds=answer["seconds"],
        parameters={
            "arithmetic": plan.arithmetic.value,
            "timeout": plan.timeout,
            "confirmed in": other.name or f"the model only: {other.reason}",
            "about two inputs": stated.pair is not None,
            **claim.parameters(),
        },
        artefacts={**claim.artefacts(store), **arrays},
    )
    if answer["breach"] is not None:
        point = {"point": Artefact.model_validate(answer["breach"])}
        reason = "the proof is wrong at a point of the region: this is a fault of the program"
        return finding.model_copy(
            update={"status": "failed", "reason": reason, "artefacts": {**finding.artefacts, **point}}
        )
    values = {
        "decided by": Value(value=answer["by"] or "nothing"),
        "parts": Value(value=answer["parts"], unit="of the region that were bounded"),
    }
    if answer.get("proof"):
        values["proof"] = Value(value=answer["proof"], unit="by a checker that shares no code with the search")
    if answer["case"]:
        values["violated by" if answer["verdict"] == Verdict.VIOLATED.value else "left"] = Value(value=answer["case"])
    if answer["reason"]:
        values["reason"] = Value(value=answer["reason"])
    if answer["bound"] is not None:
        values["best bound"] = Value(value=answer["bound"], unit="above the limit, of the part that is known least of")
    late = (f"Not decided: {answer['reason']}. Note that {CLOCK}.",) if answer["reason"] else ()
    return finding.model_copy(update={"verdict": answer["verdict"], "values": values, "notes": late})
