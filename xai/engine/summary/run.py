"""Explanations of a whole data set: one finding a method, whose rows and small maps are artefacts."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from xai.data.dataset import DataSet, Skipped, check_any_read
from xai.engine.agreement import over_all
from xai.engine.facts import model_record, settings_of
from xai.engine.plan import ExplainPlan, missing
from xai.engine.started import Started
from xai.engine.summary.looking import Looked, Looking
from xai.engine.summary.telling import Telling
from xai.engine.sweep import SMALL, Sweep, cores, shard_size
from xai.errors import UsageError
from xai.explainers.base import Attributor, Explainer
from xai.models.model import Model
from xai.reports.artefacts import MemoryStore, Store
from xai.reports.run import Run
from xai.runtime import Runtime

VERB = "explain summary"


def check_alone(*, summary: bool, single: Mapping[str, object], together: Mapping[str, object]) -> None:
    """Raise UsageError for an option that belongs to the other way of explaining.

    Args:
        summary: whether a data set is summed up.
        single: options, by name, for images that are told one by one; None where not given.
        together: options for data sets.
    """
    ways = {
        "masks": "a manifest names masks in a column of its own",
        "detector": "see xai ood score",
        "reference": "explain images one by one",
    }
    for name, value in (single if summary else together).items():
        if value is not None and summary:
            raise UsageError(f"{name} was given with a summary, which does not take it: {ways[name]}")
        if value is not None:
            raise UsageError(f"{name} was given without summary: images that are told one by one have no such thing")


def check_summary(model: Model, plan: ExplainPlan) -> None:
    """Raise UsageError where a data set cannot be summed up."""
    if model.card.output == "values":
        raise UsageError("a summary is of a classifier: this model's outputs are values; explain images one by one")
    if plan.top != 1:
        raise UsageError("a summary explains one output of each image; leave the number of highest outputs out")
    if not any(isinstance(method, Attributor) for method in plan.methods):
        raise UsageError("none of the methods gives a map of each image; name one that does, see xai methods")


def summarise(
    model: Model,
    data: DataSet,
    plan: ExplainPlan,
    *,
    runtime: Runtime | None = None,
    store: Store | None = None,
    folder: Path | None = None,
    command: str = "",
    notes: Sequence[str] = (),
) -> Run:
    """Explain every image of a data set by every method of the plan, judge every map, and tell them together.

    Args:
        model: a classifier.
        data: images, with labels or without.
        plan: methods, measures and target.
        runtime: device, seed, threads, memory, progress.
        store: keeps the arrays; default memory.
        folder: keeps the shards that are done, so that a killed run goes on; default memory.
        command: what makes this run again.
        notes: what a reader must know of the whole run.

    Raises:
        UsageError: the model or the plan does not fit.
        RefusedFileError: no image could be read.
    """
    check_summary(model, plan)
    runtime = runtime or Runtime(device=model.device)
    runtime = replace(runtime, threads=runtime.threads or (1 if model.bytes_per_input < SMALL else cores()))
    store = store if store is not None else MemoryStore()
    started = Started(VERB, command)
    able = tuple(one for one in plan.methods if isinstance(one, Attributor) and not missing(one, model))
    sweep = Sweep(model, data, runtime, shard_size(model))
    kept = sweep.kept(folder, _asked(plan, able))
    looking = Looking(model, plan, able, sweep.runtime)
    # Methods and measures draw from the process's one generator, so shards are done one after the other.
    sweep.run(looking.shard, kept, jobs=1, stage="explaining", stages=len(able))
    looked = Looked(kept, len(sweep.shards), model.input.shape)
    if not looked.images:
        check_any_read(data, [Skipped(index, **one) for index, one in enumerate(looked.skipped)])
    telling = Telling(model, data, plan, looked, sweep.runtime, store)
    findings = [telling.of(method) if method in able else telling.skipped(method) for method in plan.methods]
    if len(able) > 1:
        names = [method.about.name for method in able]
        findings.append(over_all(looked.agreement(), names, model.input.shape[-2:], store))
    return started.finished(
        model_record(model),
        settings_of(sweep.runtime, model),
        store,
        findings=findings,
        notes=(*notes, *data.notes, *looked.notes(data)),
    )


def _asked(plan: ExplainPlan, able: Iterable[Explainer]) -> dict[str, Any]:
    """Return what the answers of a shard depend on."""
    return {
        "summary": {one.about.name: one.model_dump(mode="json") for one in able},
        "measures": {one.about.name: one.model_dump(mode="json") for one in plan.measures},
        "target": plan.target,
        "against": plan.against,
    }
