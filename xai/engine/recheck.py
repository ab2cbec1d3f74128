"""Does a run's evidence hold in the model? Stored inputs and adversarial ones are put before it again.

What is not asked again is said: nothing counts as checked because it was written down.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate
from pathlib import Path
from typing import Any

import numpy as np
import torch

from xai.data.dataset import DataSet
from xai.engine.audit.opening import open_roles
from xai.engine.confirm import Witness, as_scores, witness
from xai.engine.deciding import VerifyPlan, replanned
from xai.engine.facts import model_record
from xai.engine.outcome import ANY
from xai.engine.proofs import Judged, judged
from xai.engine.replayed import close, replayed, restated
from xai.engine.threat import read_norm
from xai.engine.verified import KEPT
from xai.errors import TamperedError, XaiError
from xai.models.model import Model
from xai.reports.artefacts import get, get_bytes, get_rows
from xai.reports.check import NO_MODEL, Checked, Complaint, check
from xai.reports.derived import HOLDS
from xai.reports.evidence import Evidence
from xai.reports.folder import open_run
from xai.reports.policy.reading import reread
from xai.reports.records import Finding
from xai.robustness.norms import size
from xai.robustness.search import reached
from xai.robustness.verify.checker.check import State
from xai.robustness.victim import Victim

SAMPLE = 64  # images that are asked again
SHOWN = 8  # complaints of one kind that are told one by one
SLACK = 1e-6  # of distances
BATCH = 32
VERIFICATION = "verification"
REPLAYED = ("robustness", VERIFICATION)  # families that keep adversarial inputs, a row an image
Parts = Mapping[str, Any]


def recheck(folder: Path, model: Model, *, seed: int = 0) -> Checked:
    """Return what `check` finds in a run's folder, and where the model does not answer as it is written there.

    Args:
        folder: of the run.
        model: that it is about.
        seed: of the sample of images that are asked again.

    Raises:
        UsageError: there is no run in that folder.
    """
    found = check(folder)
    if NO_MODEL not in found.unchecked:
        return found  # there is no record
    found = replace(found, unchecked=tuple(line for line in found.unchecked if line != NO_MODEL))
    run = open_run(folder)
    if others := _other_model(run, model):
        nothing = "answers and adversarial inputs: another model says nothing of them"
        return found + Checked(complaints=tuple(others), unchecked=(nothing,))
    found += Checked(done=("the model: its fingerprint and its card are the record's",))
    if model.draws:
        return found + Checked(unchecked=("answers: the model draws random numbers, so they are others each time",))
    other = witness(model)
    try:
        asking = _Asking(run, model, other, _data(run, model), random.Random(seed))
        found += asking.inputs() + asking.adversarial() + asking.properties() + asking.proofs()
        return found + asking.answers()
    finally:
        other.rest()


def _other_model(run: Evidence, model: Model) -> Iterator[Complaint] | list[Complaint]:
    """Return in what the model is not the one of the record."""
    told, own = run.record.model, model_record(model)
    names = {"fingerprint": (told.fingerprint, own.fingerprint), "card": (told.card, own.card)}
    return [
        Complaint(f"model {model.source}", f"its {name} is not the record's: it is another model")
        for name, (one, other) in names.items()
        if one != other
    ]


def _data(run: Evidence, model: Model) -> DataSet | str:
    """Return the test data that an audit's policy names, or why there are none."""
    if run.record.audit is None:
        return "no policy says where they are"
    try:
        return open_roles(reread(run.record.audit.policy), model).test
    except (XaiError, OSError, ValueError) as error:
        return str(error)


@dataclass(frozen=True)
class _Asking:
    """What the questions share.

    Args:
        run: whose evidence is looked at.
        model: that is asked.
        other: another program that runs it.
        data: the test images, or why they are not there.
        random: chooses the sample.
    """

    run: Evidence
    model: Model
    other: Witness
    data: DataSet | str
    random: random.Random

    def inputs(self) -> Checked:
        """Put every input that is kept whole before the model again."""
        entries = self.run.record.inputs
        complaints, lost = [], []
        for entry in entries:
            try:
                x = torch.from_numpy(get(self.run.store, entry.prepared))[None]
            except (TamperedError, ValueError) as error:
                lost.append(f"the outputs for {entry.id}: {error}")
                continue
            outputs = self._outputs(x)[0]
            told = {one.index: one.output for one in entry.predictions}
            written, again = np.array(list(told.values())), outputs.numpy()[list(told)]
            if not close(again, written, float(outputs.abs().max())):
                complaints.append(Complaint(f"input {entry.id}", "the model gives other outputs than those recorded"))
        done = (f"{len(entries) - len(lost)} stored inputs, put before the model again",) if entries else ()
        return Checked(done, _listed(complaints), tuple(lost))

    def adversarial(self) -> Checked:
        """Put every adversarial input that was confirmed before the model again, and before another program."""
        found = Checked()
        for finding in self.run.findings:
            if finding.family in REPLAYED and finding.status == "ok":
                found += self._attempted(finding.id, lambda: self._replayed(finding))  # noqa: B023  # called at once
        if found.done and self.other.run is None:
            found += Checked(unchecked=(f"adversarial inputs in onnxruntime: {self.other.reason}",))
        return found

    def proofs(self) -> Checked:
        """Put the proofs of a sample of images before the independent checker again."""
        found = Checked()
        for finding in self.run.findings:
            if finding.family == VERIFICATION and finding.status == "ok":
                found += self._attempted(finding.id, lambda: self._proved(finding))  # noqa: B023  # called at once
        return found

    def properties(self) -> Checked:
        """Put the counterexample of every property before the model again, and before another program."""
        found, audit = Checked(), self.run.record.audit
        kept = audit.properties if audit else None
        if kept is not None:
            found += self._attempted("properties", lambda: restated(self.run, kept, self.model))
        for one in self.run.findings:
            if one.family == "property" and one.status == "ok":
                found += self._attempted(one.id, lambda: replayed(self.run, one, self.model, self.other))  # noqa: B023  # called at once
        return found

    def answers(self) -> Checked:
        """Put a sample of the test images before the model again."""
        finding = next((one for one in self.run.findings if one.family == "performance" and one.status == "ok"), None)
        if finding is None:
            return Checked()
        if isinstance(self.data, str):
            return Checked(unchecked=(f"answers to the test images: the data are not there: {self.data}",))
        data = self.data
        return self._attempted(finding.id, lambda: self._sampled(finding, data))

    def _attempted(self, name: str, work: Callable[[], Checked]) -> Checked:
        """Do it; what cannot be read is said, and complained of by whoever checks the files."""
        try:
            return work()
        except (XaiError, OSError, ValueError, KeyError, IndexError, TypeError) as error:
            return Checked(unchecked=(f"{name}: its evidence cannot be read: {' '.join(str(error).split())[:200]}",))

    def _replayed(self, finding: Finding) -> Checked:
        rows = [row for row in get_rows(self.run.store, finding.artefacts["rows"]) if row.get("confirmed")]
        wanted = finding.parameters["wanted"]
        names = self.model.answers
        target = None if wanted == ANY else names.index(str(wanted))
        originals = self._originals(rows)
        complaints, measured = [], 0
        for number, group in _by_shard(rows):
            points = get(self.run.store, finding.artefacts[f"adversarial/{number:06}"])
            x = torch.from_numpy(points[[row["adversarial"][1] for row in group]])
            label = torch.tensor([row["label"] for row in group])
            aim = None if target is None else torch.full_like(label, target)
            scores = self._scores(x)
            ways = {"the model": scores}
            if self.other.run is not None:
                ways[self.other.name] = as_scores(self.model, self.other.run(x)).cpu()
            for way, answers in ways.items():
                fooled = reached(answers, label, aim).tolist()
                complaints += [
                    Complaint(f"{finding.id}: {row['id']}", f"{way} does not fall for its adversarial input")
                    for row, fell in zip(group, fooled, strict=True)
                    if not fell
                ]
            given = scores.argmax(1).tolist()
            complaints += [
                Complaint(f"{finding.id}: {row['id']}", f"the model answers {names[own]}, not what is recorded")
                for row, own in zip(group, given, strict=True)
                if own != row["answer"]
            ]
            for row, point in zip(group, x, strict=True):
                if row["id"] in originals:
                    measured += 1
                    complaints += self._apart(finding, row, originals[row["id"]], point)
        where = f" and in {self.other.name}" if self.other.run is not None else ""
        done: tuple[str, ...] = (
            f"{finding.id}: {len(rows)} adversarial inputs, read again and put before the model{where}",
        )
        done += (f"{finding.id}: how far {measured} of them lie from their originals",) if measured else ()
        left = len(rows) - measured
        lost = (f"{finding.id}: how far {left} adversarial inputs lie from their originals",) if left else ()
        return Checked(done, _listed(complaints), lost)

    def _proved(self, finding: Finding) -> Checked:
        """Prove of each kept input what its row says, by its own proof and the model at hand."""
        rows = [row for row in get_rows(self.run.store, finding.artefacts["rows"]) if row["verdict"] == HOLDS]
        kept = [row for row in rows if f"proof/{row.get('proof', {}).get('number', -1):06}" in finding.artefacts]
        taken = self.random.sample(kept, min(SAMPLE, len(kept)))
        plan = replanned(self.model, finding)
        said = {row["id"]: self._judged(finding, row, plan) for row in taken}
        sure = [name for name, one in said.items() if one.state is State.CHECKED]
        told = {row["id"]: row["proof"]["state"] for row in taken}
        complaints = [
            Complaint(f"{finding.id}: {name}", f"its proof is {one.state}: {one.reason}")
            for name, one in said.items()
            if one.state is State.WRONG or told[name] not in (one.state.value, State.NOT_CHECKED.value)
        ]
        again = f"{finding.id}: {len(sure)} of {len(rows)} proofs, evaluated again for the inputs that are kept"
        done = (again,) if sure else ()
        left = len(rows) - len(sure)
        lost = (f"{finding.id}: {left} of {len(rows)} verdicts that hold: {_why(rows, kept, taken)}",) if left else ()
        return Checked(done, _listed(complaints), lost)

    def _judged(self, finding: Finding, row: Parts, plan: VerifyPlan) -> Judged:
        proof, proved = (finding.artefacts[f"{name}/{row['proof']['number']:06}"] for name in KEPT)
        x = torch.from_numpy(get(self.run.store, proved)).to(self.model.device)
        return judged(get_bytes(self.run.store, proof), self.model, plan.wanted(x, row["predicted"]))

    def _apart(self, finding: Finding, row: Parts, original: torch.Tensor, point: torch.Tensor) -> list[Complaint]:
        """Measure a change again."""
        norm = read_norm(str(finding.parameters["norm"]))
        distance = float(size(point[None].double() - original[None].double(), norm)[0])
        if abs(distance - row["distance"]) <= SLACK * max(1.0, distance):
            return []
        words = f"its adversarial input lies {distance:.6g} away, and {row['distance']:.6g} is recorded"
        return [Complaint(f"{finding.id}: {row['id']}", words)]

    def _originals(self, rows: Sequence[Parts]) -> dict[str, torch.Tensor]:
        """Return the inputs that rows are about: those kept in the run, and a sample of the rest from the data."""
        kept = {entry.id: entry for entry in self.run.record.inputs}
        found = {
            row["id"]: torch.from_numpy(get(self.run.store, kept[row["id"]].prepared))
            for row in rows
            if row["id"] in kept and kept[row["id"]].digest == row["digest"]
        }
        if isinstance(self.data, DataSet):
            rest = [row for row in rows if row["id"] not in found]
            for row, x in self._read(self.data, self.random.sample(rest, min(SAMPLE, len(rest)))):
                if x is not None:
                    found[row["id"]] = x
        return found

    def _sampled(self, finding: Finding, data: DataSet) -> Checked:
        rows = list(get_rows(self.run.store, finding.artefacts["rows"]))
        places = sorted(self.random.sample(range(len(rows)), min(SAMPLE, len(rows))))
        scores = self._kept_scores(finding, places)
        complaints, asked = [], 0
        for place, (row, x) in zip(places, self._read(data, [rows[place] for place in places]), strict=True):
            name = f"{finding.id}: {row['id']}"
            if x is None:
                complaints.append(Complaint(name, "the data hold no such image any more, or another one"))
                continue
            asked += 1
            own = self._scores(x[None])[0].numpy()
            written = scores[place]
            scale = float(np.abs(written[np.isfinite(written)]).max(initial=0))
            if not close(own, written, scale) or int(np.argmax(written)) != row["predicted"]:
                complaints.append(Complaint(name, "the model gives another answer than the one recorded"))
        done = (f"{finding.id}: {asked} of {len(rows)} images, drawn at random and put before the model again",)
        left = len(rows) - len(places)
        lost = (f"{finding.id}: answers to the other {left} images",) if left else ()
        return Checked(done, _listed(complaints), lost)

    def _kept_scores(self, finding: Finding, places: Sequence[int]) -> dict[int, np.ndarray]:
        """Return the scores of some rows, which are kept in parts."""
        names = sorted(name for name in finding.artefacts if name.startswith("scores/"))
        parts = [get(self.run.store, finding.artefacts[name]) for name in names]
        begins = [0, *accumulate(map(len, parts))]
        return {
            place: part[place - begin]
            for begin, part in zip(begins, parts, strict=False)
            for place in places
            if begin <= place < begin + len(part)
        }

    def _read(self, data: DataSet, rows: Sequence[Parts]) -> Iterator[tuple[Parts, torch.Tensor | None]]:
        """Yield the image of each row as the data hold it; None where it is gone or another one."""
        wanted = {row["id"] for row in rows}
        index = {name: place for place in range(len(data)) if (name := data.id(place)) in wanted}
        for row in rows:
            part = data.read_many([index[row["id"]]]) if row["id"] in index else None
            sample = part.samples[0] if part is not None and part.samples else None
            yield row, sample.input if sample is not None and sample.digest == row["digest"] else None

    def _scores(self, x: torch.Tensor) -> torch.Tensor:
        victim = Victim(self.model)
        with torch.no_grad():
            return torch.cat([victim.scores(part.to(self.model.device)) for part in x.split(BATCH)]).cpu()

    def _outputs(self, x: torch.Tensor) -> torch.Tensor:
        with torch.no_grad():
            return self.model(x.to(self.model.device)).cpu()


def _why(rows: Sequence[Parts], kept: Sequence[Parts], taken: Sequence[Parts]) -> str:
    """Return why some verdicts were not checked."""
    if not kept:
        return "their proofs were not kept"
    reasons = [row["proof"]["reason"] for row in rows if row.get("proof", {}).get("reason")]
    reasons += [f"{SAMPLE} proofs were drawn at random"] if len(taken) < len(kept) else []
    return "; ".join(dict.fromkeys(reasons)) or "their proofs are not confirmed"


def _by_shard(rows: Iterable[Parts]) -> Iterator[tuple[int, list[Parts]]]:
    """Yield rows by the file that holds their adversarial inputs."""
    groups: dict[int, list[Parts]] = {}
    for row in rows:
        groups.setdefault(row["adversarial"][0], []).append(row)
    yield from groups.items()


def _listed(complaints: Sequence[Complaint]) -> tuple[Complaint, ...]:
    """Return the first complaints, and how many more there are."""
    more = len(complaints) - SHOWN
    return (*complaints[:SHOWN], *([Complaint("and", f"{more} more like these")] if more > 0 else []))
