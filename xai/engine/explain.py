"""Explanations of pictures: every method of a plan for every sample, and what each map is worth."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch

from xai.data.samples import Sample
from xai.engine.agreement import agreements
from xai.engine.facts import input_record, model_record, outputs_of, settings_of
from xai.engine.findings import Analysis
from xai.engine.ood.detector import Detector
from xai.engine.ood.verdict import Watchman
from xai.engine.plan import ExplainPlan
from xai.engine.reference.run import Beside, Reference
from xai.engine.started import Started
from xai.models.model import Model
from xai.models.targets import Target, contrast
from xai.reports.artefacts import MemoryStore, Store
from xai.reports.records import Finding, InputRecord
from xai.reports.run import Run
from xai.runtime import Runtime


def explain(
    model: Model,
    samples: Iterable[Sample],
    plan: ExplainPlan,
    *,
    detector: Detector | None = None,
    reference: Reference | None = None,
    runtime: Runtime | None = None,
    store: Store | None = None,
    command: str = "",
    notes: Sequence[str] = (),
) -> Run:
    """Explain every sample by every method of the plan, and judge every map by every measure of it.

    A method that does not apply is skipped, one that breaks has failed: both are findings with their reason. Where
    several methods explain the same output of an image, a finding tells whether they agree.

    Args:
        model: what is explained.
        samples: inputs, in order.
        plan: methods, measures and targets.
        detector: says of each sample, beside its explanations, whether it is foreign to the model.
        reference: data that the samples are put beside, once they are explained.
        runtime: device, seed, threads, memory, progress.
        store: keeps the arrays; default memory.
        command: what makes this run again.
        notes: what a reader must know of the whole run.
    """
    runtime = runtime or Runtime(device=model.device)
    store = store if store is not None else MemoryStore()
    started = Started("explain", command)
    analysis = Analysis(model, plan.measures, runtime, store)
    watchman = None if detector is None else Watchman(model, detector, runtime, store)
    beside = None if reference is None else Beside(model, reference, runtime, store)
    inputs: list[InputRecord] = []
    findings: list[Finding] = []
    wanted: dict[Target, Sample] = {}  # every target that was asked for, with the first sample that asked
    for sample in samples:
        with runtime.seeded("outputs", sample.id):
            outputs = outputs_of(model, sample)
        inputs.append(input_record(sample, outputs, model, store))
        if beside is not None:
            beside.note(sample)
        targets = _targets(plan, outputs, model)
        wanted = {**dict.fromkeys(targets, sample), **wanted}
        findings += [] if watchman is None else [watchman.verdict(sample)]
        about = [
            finding
            for method in plan.methods
            if method.about_input()
            for finding in analysis.of(method, sample, targets)
        ]
        findings += [*about, *agreements(about, store)]
    findings += [
        finding
        for method in plan.methods
        if not method.about_input()
        for target, sample in list(wanted.items())[: None if method.about_target() else 1]
        for finding in analysis.of(method, sample, [target])
    ]
    compared = [] if beside is None else beside.findings()
    said = () if beside is None else beside.notes(compared)
    return started.finished(
        model_record(model),
        settings_of(runtime, model),
        store,
        inputs=inputs,
        findings=[*findings, *compared],
        notes=[*notes, *said],
    )


def _targets(plan: ExplainPlan, outputs: torch.Tensor, model: Model) -> list[Target]:
    """Return what is explained of one input: the named class, or the highest of its outputs (classes,)."""
    highest = outputs.double().cpu().topk(min(plan.top, len(outputs))).indices.tolist()
    targets = [model.target(wanted) for wanted in (highest if plan.target is None else [plan.target])]
    if plan.against is None:
        return targets
    return [contrast(target, plan.against, outputs, model.classes) for target in targets]
