"""Randomised smoothing over a data set: what draws say of each image, with which probability; statistics, no proof."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch

from xai.data.dataset import DataSet, Skipped, check_any_read
from xai.data.samples import Sample
from xai.engine.examined import EXAMPLES, again
from xai.engine.facts import input_record, model_record, outputs_of
from xai.engine.outcome import Gathered
from xai.engine.shards import Answer, Kept
from xai.engine.started import Started
from xai.engine.sweep import Sweep
from xai.engine.threat import read_sizes
from xai.errors import UsageError
from xai.models.model import Model
from xai.reports.artefacts import MemoryStore, Store, put, put_rows
from xai.reports.intervals import clopper_pearson
from xai.reports.records import Finding, InputRecord, Scalar, Value
from xai.reports.run import Run
from xai.robustness.norms import Norm
from xai.robustness.smoothing.certify import ABOUT, ABSTAINED, Certificate, caution, conclude, gather, sentence
from xai.robustness.smoothing.draws import NOTHING, Draws, Tally, answers
from xai.robustness.smoothing.plan import Smoothing
from xai.runtime import Runtime

SHARD = 8  # images: one may take minutes, and what was drawn for one that is not done is kept as well
RADII = (0.5, 1.0, 2.0)  # in standard deviations, where no size is named
VALUES = "its outputs are values, not classes: noise has no most frequent answer"
ALL, STATEMENTS = "share of all images", "share of the images, by what draws say"


@dataclass(frozen=True)
class SmoothingPlan:
    """What is asked.

    Args:
        model: whose smoothed classifier is certified.
        smoothing: noise and number of draws.
        epsilons: radii by name, ascending, l2 in input units.
    """

    model: Model
    smoothing: Smoothing
    epsilons: dict[str, float]

    @property
    def hindrance(self) -> str:
        """Why nothing can be certified, or ""."""
        return smoothing_hindrance(self.model)

    def described(self) -> dict[str, Any]:
        """Return the plan as data: the same plan, the same data."""
        return {"smoothing": asdict(self.smoothing), "epsilons": self.epsilons}


def smoothing_hindrance(model: Model) -> str:
    """Return why a model cannot be smoothed, or ""."""
    return (
        "its outputs are values, not classes: noise has no most frequent answer"
        if model.card.output == "values"
        else ""
    )


def plan_smoothing(
    model: Model,
    epsilons: Iterable[str | float] | None = None,
    *,
    norm: str | None = None,
    sigma: float | None = None,
    draws: int | None = None,
    n0: int | None = None,
    alpha: float | None = None,
) -> SmoothingPlan:
    """Return the plan; raise UsageError for any value that does not fit.

    Args:
        model: whose smoothed classifier is certified.
        epsilons: radii, l2 in input units; default multiples of sigma.
        norm: l2, the one norm that Gaussian noise says something of.
        sigma: standard deviation of the noise, in input units.
        draws: that estimate; default 1000.
        n0: that select; default 100.
        alpha: the probability that a statement is wrong; default .001.
    """
    if norm not in (None, Norm.L2.value):
        raise UsageError(f"Gaussian noise certifies l2 radii only; expected norm l2, received {norm!r}")
    if sigma is None:
        raise UsageError(
            "smoothing needs the noise's standard deviation in input units: give sigma, such as --sigma 0.25 for "
            "pictures in [0, 1]; the network should have been trained with such noise"
        )
    given = {"n": draws, "n0": n0, "alpha": alpha}
    smoothing = Smoothing(sigma, **{name: value for name, value in given.items() if value is not None})  # type: ignore[arg-type]  # Smoothing checks them
    sizes = [f"{part * sigma:g}" for part in RADII] if epsilons is None else epsilons
    return SmoothingPlan(model, smoothing, read_sizes(model, Norm.L2, sizes))


@dataclass(frozen=True)
class _Task:
    """What all shards share."""

    plan: SmoothingPlan
    runtime: Runtime
    kept: Kept

    def shard(self, number: int, samples: Sequence[Sample], check: Callable[[int], None]) -> Answer:
        begun = time.perf_counter()
        rows = [self._row(f"{number:06}-{place:06}", sample, check) for place, sample in enumerate(samples)]
        return {"rows": rows, "seconds": time.perf_counter() - begun}

    def _row(self, part: str, sample: Sample, check: Callable[[int], None]) -> dict[str, Any]:
        model, plan = self.plan.model, self.plan.smoothing
        draws = Draws(model, sample.input.to(model.device), plan, self.runtime, sample.digest)
        text = self.kept.begun(part)
        tally = draws.tally if text is None else Tally.model_validate_json(text)
        check(sum(sum(counts.values()) for counts in tally.counts.values()))
        for _ in plan.blocks[tally.done :]:
            tally = draws.advance(tally, check)
            self.kept.begin(part, tally.model_dump_json())
        certificate = conclude(plan, tally)
        with torch.no_grad():
            own = int(answers(model, model(sample.input[None].to(model.device)))[0])
        return {
            "id": sample.id,
            "source": sample.source,
            "digest": sample.digest,
            "group": sample.group,
            "label": own if sample.label is None else sample.label,
            "given": sample.label is not None,
            "without noise": own,
            **asdict(certificate),
        }


def smooth(
    data: DataSet,
    plan: SmoothingPlan,
    *,
    runtime: Runtime | None = None,
    store: Store | None = None,
    folder: Path | None = None,
    jobs: int | None = None,
    examples: int = EXAMPLES,
    command: str = "",
    notes: Sequence[str] = (),
) -> Run:
    """Certify a model's smoothed classifier at every image of a data set, by draws.

    Args:
        data: images; for those without a label the network's own answer without noise is taken.
        plan: what is asked, of which model.
        runtime: device, seed, threads, memory, progress.
        store: keeps the arrays; default memory.
        folder: keeps the shards, and the draws of images, that are done; default memory.
        jobs: shards at once; default one a core. The answer does not depend on it.
        examples: of how many images, the first ones, the statement is told.
        command: what makes this run again.
        notes: what a reader must know of the whole run.

    Raises:
        RefusedFileError: no image could be read.
    """
    model = plan.model
    runtime = runtime or Runtime(device=model.device)
    store = store if store is not None else MemoryStore()
    started = Started("bounds", command)
    sweep = Sweep(model, data, runtime, SHARD)
    inputs: tuple[InputRecord, ...] = ()
    outcome = None
    if plan.hindrance:
        told: tuple[Finding, ...] = (_whole(plan).model_copy(update={"reason": plan.hindrance}),)
    else:
        kept = sweep.kept(folder, plan.described())
        task = _Task(plan, sweep.runtime, kept)
        sweep.run(task.shard, kept, jobs=jobs, stage="drawing", stages=plan.smoothing.n0 + plan.smoothing.n)
        outcome = Gathered(kept, len(sweep.shards))
        if not outcome.images:
            check_any_read(data, [Skipped(index, **one) for index, one in enumerate(outcome.skipped)])
        inputs, statements = _examples(plan, data, sweep, outcome, store, examples)
        told = (_done(plan, outcome, store), *statements)
    return started.finished(
        model_record(model),
        sweep.runtime.settings(),
        store,
        inputs=inputs,
        findings=told,
        notes=(*notes, *data.notes, *(outcome.notes(data) if outcome else ())),
    )


def _done(plan: SmoothingPlan, outcome: Gathered, store: Store) -> Finding:
    """Return what is said of all images together."""
    rows = list(outcome.rows())
    label = np.array([row["label"] for row in rows], dtype=np.int64)
    own = np.array([row["without noise"] for row in rows], dtype=np.int64)
    said = gather([_certificate(row) for row in rows], [row["id"] for row in rows])
    given = sum(row["given"] for row in rows)
    radii = np.where(said.predicted == label, said.radius, 0.0)
    certified = {name: said.certified(label, size) for name, size in plan.epsilons.items()}
    shares = {
        "accuracy without noise": ((own == label) & (own != NOTHING), ALL),
        "abstained": (said.predicted == ABSTAINED, STATEMENTS),
        "not known to be wrong": ((said.predicted == label) | (said.predicted == ABSTAINED), STATEMENTS),
        **{f"certified accuracy at {name}": (hits, STATEMENTS) for name, hits in certified.items()},
    }
    values = {name: _share(hits, unit) for name, (hits, unit) in shares.items()}
    values |= {
        name: value.model_copy(update={"bound": "least"})
        for name, value in values.items()
        if name.startswith("certified")
    }
    told = "l2, over all images; 0 for abstentions and wrong answers"
    values["certified radius, median"] = Value(value=float(np.median(radii)), unit=told, n=len(rows), bound="least")
    nothing = int((said.nothing > 0).sum())
    values["images with draws that gave no numbers"] = Value(value=nothing, unit="images", n=len(rows))
    sizes = np.unique(np.concatenate([[0.0], radii]))
    whole = _whole(plan)
    notes, own_labels = [caution(plan.smoothing, len(rows))], f"{len(rows) - given} of {len(rows)}"
    settings = {"labels": "given" if given == len(rows) else f"the network's own answers for {own_labels}"}
    if given < len(rows):
        notes.append(f"images without a label: {own_labels}; the network's answer without noise counts as right")
    return whole.model_copy(
        update={
            "status": "ok",
            "reason": "",
            "parameters": {**whole.parameters, **settings, "data digest": outcome.digest},
            "values": values,
            "notes": tuple(notes),
            "seconds": sum(answer["seconds"] for answer in outcome.answers()),
            "artefacts": {
                "rows": put_rows(store, rows),
                "radii": put(store, sizes),
                "certified accuracy": put(store, np.array([said.certified(label, size).mean() for size in sizes])),
            },
        }
    )


def _certificate(row: dict[str, Any]) -> Certificate:
    return Certificate(**{name: row[name] for name in ("predicted", "lower", "radius", "selected", "count", "nothing")})


def _share(hits: np.ndarray, unit: str) -> Value:
    count, total = int(hits.sum()), len(hits)
    return Value(value=count / total, unit=unit, n=total, interval=clopper_pearson(count, total))


def _examples(
    plan: SmoothingPlan, data: DataSet, sweep: Sweep, outcome: Gathered, store: Store, count: int
) -> tuple[tuple[InputRecord, ...], list[Finding]]:
    """Return the first images, and the statement about each."""
    inputs, told = [], []
    places = ((number, row) for number, answer in enumerate(outcome.answers()) for row in answer["rows"])
    finite = (each for each in places if each[1]["without noise"] != NOTHING)
    for number, row in islice(finite, count):
        sample = again(data, sweep.shards[number], row)
        inputs.append(input_record(sample, outputs_of(plan.model, sample), plan.model, store))
        certificate = _certificate(row)
        abstained = certificate.predicted == ABSTAINED
        values = {
            "statement": Value(value=sentence(certificate, plan.smoothing, plan.model)),
            "answer": Value(value="none" if abstained else plan.model.answers[certificate.predicted]),
            "radius": Value(value=certificate.radius, unit="l2, in input units"),
            "share of the answer, at least": Value(value=certificate.lower, unit="of all noise", n=plan.smoothing.n),
        }
        whole = _whole(plan)
        update = {
            "id": f"{ABOUT.name}/{sample.id}",
            "method": ABOUT.name,
            "input": sample.id,
            "status": "ok",
            "values": values,
        }
        told.append(whole.model_copy(update=update | {"title": ABOUT.title, "reason": ""}))
    return tuple(inputs), told


def _whole(plan: SmoothingPlan) -> Finding:
    smoothing = plan.smoothing
    settings: dict[str, Scalar] = {
        "norm": Norm.L2.value,
        "sigma": smoothing.sigma,
        "draws that select": smoothing.n0,
        "draws that estimate": smoothing.n,
        "alpha": smoothing.alpha,
        "largest radius that so many draws can certify": smoothing.ceiling,
    }
    return Finding(
        id="smoothed",
        family="smoothing",
        method="smoothed",
        title="Certified accuracy of the smoothed classifier",
        description=ABOUT.summary,
        limits=ABOUT.limits,
        source=ABOUT.source,
        kind=ABOUT.kind.value,
        input=None,
        status="skipped",
        parameters=settings | {f"epsilon {name}": size for name, size in plan.epsilons.items()},
    )
