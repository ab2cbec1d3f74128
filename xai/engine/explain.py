"""Explanations of pictures: every method of a plan, for every sample."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable
from datetime import UTC, datetime

import torch

from xai.data.samples import Sample
from xai.engine.facts import input_record, model_record, versions
from xai.engine.plan import ExplainPlan, missing
from xai.errors import AnalysisError, NotApplicableError, UsageError, XaiError
from xai.explainers.base import Explainer
from xai.models.model import Model
from xai.models.targets import Target
from xai.reports.artefacts import MemoryStore, Store, put
from xai.reports.records import Finding, RunRecord, TargetRecord, Value
from xai.reports.run import Run
from xai.runtime import Runtime

log = logging.getLogger(__name__)


def explain(
    model: Model,
    samples: Iterable[Sample],
    plan: ExplainPlan,
    *,
    runtime: Runtime | None = None,
    store: Store | None = None,
    command: str = "",
) -> Run:
    """Explain every sample by every method of the plan.

    A method that does not apply is skipped, one that breaks has failed: both are findings with their reason.

    Args:
        model: what is explained.
        samples: inputs, in order.
        plan: methods and target.
        runtime: device, seed, threads, memory, progress.
        store: keeps the arrays; default memory.
        command: what makes this run again.
    """
    runtime = runtime or Runtime(device=model.device)
    store = store if store is not None else MemoryStore()
    created, begun = datetime.now(UTC), time.perf_counter()
    inputs, findings = [], []
    for sample in samples:
        with runtime.seeded("outputs", sample.id):
            outputs = _outputs(model, sample)
        record = input_record(sample, outputs, model, store)
        inputs.append(record)
        target = model.target(plan.target if plan.target is not None else record.predictions[0].index)
        findings += [_finding(model, sample, method, target, runtime, store) for method in plan.methods]
    return Run(
        RunRecord(
            verb="explain",
            command=command,
            created=created.isoformat(timespec="seconds"),
            seconds=time.perf_counter() - begun,
            versions=versions(),
            settings=runtime.settings(),
            model=model_record(model),
            inputs=tuple(inputs),
            findings=tuple(findings),
        ),
        store,
    )


def _outputs(model: Model, sample: Sample) -> torch.Tensor:
    """Return the model's outputs (classes,) for one sample."""
    with torch.no_grad():
        outputs = model(sample.input[None].to(model.device))[0]
    if not torch.isfinite(outputs).all():
        raise AnalysisError(f"the model's outputs for {sample.source} hold NaN or infinite values")
    return outputs


def _finding(
    model: Model, sample: Sample, method: Explainer, target: Target, runtime: Runtime, store: Store
) -> Finding:
    """Run one method on one sample; whatever happens becomes a finding."""
    about = method.about
    blank = Finding(
        id=f"{about.name}/{sample.id}",
        family="explanation",
        method=about.name,
        title=about.title,
        description=about.summary,
        limits=about.limits,
        source=about.source,
        kind=about.kind.value,
        input=sample.id,
        target=TargetRecord(index=target.index, name=target.name),
        status="failed",
        parameters=method.model_dump(),
    )
    if reason := missing(method, model):
        return blank.model_copy(update={"status": "skipped", "reason": reason})
    runtime.progress(f"{about.title} on {sample.id}", 0, 1)
    begun = time.perf_counter()
    try:
        found = method.explain(model, sample.input, target, runtime, sample.id)
    except NotApplicableError as error:
        return blank.model_copy(update={"status": "skipped", "reason": str(error)})
    except UsageError:
        raise
    except XaiError as error:
        return blank.model_copy(update={"reason": str(error)})
    except Exception as error:
        log.exception("%s failed on %s", about.name, sample.id)
        return blank.model_copy(update={"reason": f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"})
    values = {**found.values, "signed": Value(value=method.signed)}
    return blank.model_copy(
        update={
            "status": "ok",
            "parameters": found.parameters,
            "values": values,
            "notes": found.notes,
            "seconds": time.perf_counter() - begun,
            "artefacts": {"map": put(store, found.map)},
        }
    )
