"""Some images looked at closely: how much of what the bounds allow is reached by points that were climbed to."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np
import torch

from xai.data.dataset import DataSet
from xai.data.samples import Sample
from xai.engine.attempt import attempt
from xai.engine.enclosure import BoundsPlan
from xai.engine.facts import input_record, outputs_of
from xai.engine.probe import STEPS, Probe
from xai.engine.proved import Proved
from xai.engine.sweep import Sweep
from xai.engine.words import about_numbers, limits
from xai.errors import AnalysisError
from xai.reports.artefacts import Store, get, put
from xai.reports.records import Artefact, Finding, InputRecord, Scalar, Value
from xai.robustness.bounds.interval import Interval

EXAMPLES = 4
SHOWN = 10  # numbers that are climbed to, and drawn
NAMED = 12  # answers that can win are named up to so many


@dataclass(frozen=True)
class Examined:
    """What was looked at closely.

    Args:
        inputs: the images.
        findings: one for each.
        breaches: what contradicts the bounds.
    """

    inputs: tuple[InputRecord, ...]
    findings: tuple[Finding, ...]
    breaches: tuple[dict[str, Any], ...] = ()


def examine(plan: BoundsPlan, data: DataSet, proved: Proved, sweep: Sweep, store: Store, count: int) -> Examined:
    """Return the first images with their bounds, and what points reach of them."""
    probe = Probe(plan.bounding, sweep.runtime)
    inputs: list[InputRecord] = []
    findings: list[Finding] = []
    breaches: list[dict[str, Any]] = []
    whole = (each for each in proved.rows() if each[2].get("finite", True))
    for number, place, row in islice(whole, count):
        sweep.runtime.progress("looking at single images", len(findings), count)
        view = _View(plan, probe, proved, store, row, number, place)
        shard = sweep.shards[number]
        tried = attempt(f"the bounds of {row['id']}", lambda: view.found(again(data, shard, row)))  # noqa: B023  # called at once
        if tried.answer is None:
            findings.append(
                view.blank.model_copy(update={"status": tried.status, "reason": tried.reason, "input": None})
            )
            continue
        record, finding, told = tried.answer
        inputs.append(record)
        findings.append(finding.model_copy(update={"seconds": tried.seconds}))
        breaches += told
    return Examined(tuple(inputs), tuple(findings), tuple(breaches))


def again(data: DataSet, shard: range, row: Mapping[str, Any]) -> Sample:
    """Read an image again."""
    part = data.read_many([next(index for index in shard if data.id(index) == row["id"])])
    if part.skipped:
        raise AnalysisError(f"{row['id']} could not be read again: {part.skipped[0].reason}")
    if part.samples[0].digest != row["digest"]:
        raise AnalysisError(f"{row['id']} was changed since it was read")
    return part.samples[0]


@dataclass(frozen=True)
class _View:
    """One image."""

    plan: BoundsPlan
    probe: Probe
    proved: Proved
    store: Store
    row: Mapping[str, Any]
    shard: int
    place: int

    @property
    def blank(self) -> Finding:
        """The finding without what was found."""
        plan, about = self.plan, self.plan.bounder.about
        settings: dict[str, Scalar] = {
            "norm": plan.attack.norm.value,
            "arithmetic": plan.arithmetic.value,
            "layer": plan.layer or "the outputs",
            "climbing steps": STEPS,
        }
        return Finding(
            id=f"{about.name}/{self.row['id']}",
            family="enclosure",
            method=about.name,
            title=f"What {about_numbers(plan)} can become",
            description=about.summary,
            limits=limits(plan),
            source=about.source,
            kind=about.kind.value,
            input=self.row["id"],
            status="skipped",
            parameters=settings | {f"epsilon {name}": size for name, size in plan.attack.epsilons.items()},
        )

    def found(self, sample: Sample) -> tuple[InputRecord, Finding, list[dict[str, Any]]]:
        """Climb, compare, and tell."""
        record = input_record(sample, outputs_of(self.plan.model, sample), self.plan.model, self.store)
        x = sample.input[None].to(self.plan.model.device)
        lower, upper = (self._kept(name).reshape(self._sizes, -1) for name in ("lower", "upper"))
        able = self._kept("winners").reshape(self._sizes, -1) if self.plan.scored else None
        shown = _shown(lower[-1], upper[-1], scored=self.plan.scored)
        reached: dict[str, list[np.ndarray]] = {}
        told = []
        for step, (name, epsilon) in enumerate(self.plan.attack.epsilons.items()):
            region = self.plan.attack.region(self.plan.model, epsilon)
            points = {
                "sampled": self.probe.sampled(region, x, [sample.digest], name)[0],
                "climbed": self.probe.climbed(region, x, shown),
            }
            bound = Interval(*(torch.from_numpy(end[step])[None].to(x.device) for end in (lower, upper)))
            ruling = None if able is None else torch.from_numpy(able[step])[None].to(x.device)
            for kind, some in points.items():
                values = self.probe.values(some)
                for end, extreme in (("lowest", values.amin(0)), ("highest", values.amax(0))):
                    reached.setdefault(f"{kind} {end}", []).append(extreme.cpu().numpy())
                for breach in self.probe.breaches(bound, ruling, values[None]):
                    kept = put(self.store, some[breach.point].cpu().numpy()).model_dump(mode="json")
                    told.append({"id": sample.id, "epsilon": name, "what": breach.what, "point": kept})
        arrays = {"lower": lower, "upper": upper, **{name: np.stack(held) for name, held in reached.items()}}
        arrays["value"] = self.probe.values(x)[0].cpu().numpy()
        arrays["shown"] = np.array(shown)
        arrays |= {} if able is None else {"winners": able}
        update: dict[str, Any] = {
            "status": "ok",
            "verdict": list(self.row["verdicts"].values())[-1] if self.plan.scored else None,
            "values": self._values(lower, upper, able, reached),
            "artefacts": {name: put(self.store, array) for name, array in arrays.items()},
        }
        return record, self.blank.model_copy(update=update), told

    @property
    def _sizes(self) -> int:
        return len(self.plan.attack.epsilons)

    def _kept(self, name: str) -> np.ndarray:
        """Return this image's part of what its shard kept."""
        held: Artefact = self.proved.arrays[f"{name}/{self.shard:06}"]
        array = get(self.store, held)
        part: np.ndarray = array[self.place] if self._sizes == 1 else array[:, self.place]
        return part

    def _values(
        self, lower: np.ndarray, upper: np.ndarray, able: np.ndarray | None, reached: Mapping[str, list[np.ndarray]]
    ) -> dict[str, Value]:
        """Return what is measured, by size of the change."""
        found: dict[str, Value] = {}
        answers = self.plan.model.answers
        if able is not None:
            found["answer"] = Value(value=answers[self.row["predicted"]])
        for step, name in enumerate(self.plan.attack.epsilons):
            if able is not None:
                found[f"verdict at {name}"] = Value(value=self.row["verdicts"][name])
                winning = [answers[index] for index in np.flatnonzero(able[step])]
                more = f" and {len(winning) - NAMED} more" if len(winning) > NAMED else ""
                found[f"can win at {name}"] = Value(value=", ".join(winning[:NAMED]) + more, n=len(winning))
            width = float((upper[step] - lower[step]).mean())
            found[f"mean width at {name}"] = Value(value=width if np.isfinite(width) else None, n=lower.shape[1])
            spread = reached["climbed highest"][step] - reached["climbed lowest"][step]
            share = float(spread.mean()) / width if np.isfinite(width) and width else None
            found[f"reached at {name}"] = Value(
                value=share, unit="share of the bounds' mean width that climbing reached"
            )
        if "largest" in self.row:
            found["largest certified change"] = Value(value=self.row["largest"], unit=self.plan.attack.norm.value)
        return found


def _shown(lower: np.ndarray, upper: np.ndarray, *, scored: bool) -> list[int]:
    """Return the numbers that are drawn, in their order: the highest scores, or those that can change most."""
    if len(lower) <= SHOWN + 2:
        return list(range(len(lower)))
    first = np.argsort(-(upper if scored else upper - lower), kind="stable")[:SHOWN]
    return sorted(first.tolist())
