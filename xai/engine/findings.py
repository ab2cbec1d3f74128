"""Findings: what one method found for some targets, and what its maps are worth."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch

from xai.data.samples import Sample
from xai.engine.attempt import Attempt, attempt
from xai.engine.plan import missing
from xai.engine.trust import trust_record
from xai.explainers.base import Explainer, Explanation
from xai.measures.base import Judgement, Measure, Subject
from xai.models.model import Model
from xai.models.targets import Target
from xai.reports.artefacts import Store, put
from xai.reports.records import Finding, TargetRecord, Trust
from xai.runtime import Runtime, silent


@dataclass(frozen=True)
class Analysis:
    """What all findings of a run share.

    Args:
        model: what is explained.
        measures: that judge every map.
        runtime: device, seed, threads, memory, progress.
        store: keeps the arrays.
    """

    model: Model
    measures: tuple[Measure, ...]
    runtime: Runtime
    store: Store

    def of(self, method: Explainer, sample: Sample, targets: Sequence[Target]) -> list[Finding]:
        """Return a method's finding for each target; one sample's targets share its forward passes."""
        targets = targets if method.about_target() else targets[:1]
        about, key = method.about, sample.digest if method.about_input() else ""
        self.runtime.progress(f"{about.title} on {sample.id if key else self.model.name}", 0, 1)
        if reason := missing(method, self.model) or (method.about_target() and _empty(targets)):
            tried: Attempt[list[Explanation]] = Attempt("skipped", None, reason, 0.0)
        else:
            tried = attempt(
                f"{about.name} on {sample.id}",
                lambda: method.explain(self.model, sample.input, targets, self.runtime, key),
            )
        answers: Sequence[Explanation | None] = tried.answer or [None] * len(targets)
        return [
            self._finding(method, sample, target, replace(tried, seconds=tried.seconds / len(targets)), answer)
            for target, answer in zip(targets, answers, strict=True)
        ]

    def _finding(
        self,
        method: Explainer,
        sample: Sample,
        target: Target,
        tried: Attempt[list[Explanation]],
        answer: Explanation | None,
    ) -> Finding:
        about = method.about
        place = sample.id if method.about_input() else "the model"
        finding = Finding(
            id=f"{about.name}/{place}/{target.key}" if method.about_target() else f"{about.name}/{place}",
            family=method.family,
            method=about.name,
            title=about.title,
            description=about.summary,
            limits=about.limits,
            source=about.source,
            kind=about.kind.value,
            input=sample.id if method.about_input() else None,
            target=_recorded(target) if method.about_target() else None,
            status=tried.status,
            reason=tried.reason,
            parameters=method.model_dump(),
        )
        if answer is None:
            return finding
        judged = self.measures if "map" in answer.arrays else ()
        apart = bool(judged) and not method.about_target()
        return finding.model_copy(
            update={
                "parameters": answer.parameters,
                "values": answer.values,
                "notes": (*answer.notes, *([_judged_for(target)] if apart else [])),
                "seconds": tried.seconds,
                "artefacts": {name: put(self.store, array) for name, array in answer.arrays.items()},
                "trust": tuple(self._trust(measure, method, sample, target, answer) for measure in judged),
            }
        )

    def _trust(self, measure: Measure, method: Explainer, sample: Sample, target: Target, answer: Explanation) -> Trust:
        """Let one measure judge one map."""
        about = measure.about
        self.runtime.progress(f"{about.title} of {method.about.title} on {sample.id}", 0, 1)
        reason = "the map is blank" if answer.is_blank else missing(measure, self.model)
        if reason:
            tried: Attempt[Judgement] = Attempt("skipped", None, reason, 0.0)
        else:
            subject = self._subject(method, sample, target, answer)
            tried = attempt(f"{about.name} of {method.about.name}", lambda: measure.measure(subject, self.runtime))
        said = tried.answer or Judgement("", "neither", {})
        parameters = {**measure.model_dump(), **said.chosen}
        return trust_record(
            about, tried, parameters, {name: put(self.store, array) for name, array in said.arrays.items()}
        )

    def _subject(self, method: Explainer, sample: Sample, target: Target, answer: Explanation) -> Subject:
        quiet = replace(self.runtime, progress=silent)

        def again(model: Model, x: torch.Tensor, targets: Sequence[Target]) -> list[np.ndarray]:
            found = method.explain(model, x, targets, quiet, sample.digest)
            return [np.zeros_like(one.arrays["map"]) if one.is_blank else one.arrays["map"] for one in found]

        return Subject(
            map=answer.arrays["map"],
            model=self.model,
            x=sample.input.to(self.model.device),
            target=target,
            again=again,
            mask=sample.mask,
            key=sample.digest,
        )


def _recorded(target: Target) -> TargetRecord:
    against = None if target.against is None else target.against.index
    return TargetRecord(index=target.index, name=target.name, against=against)


def _judged_for(target: Target) -> str:
    return f"The map is the same for every target; what judges it asks about the output for {target.name}."


def _empty(targets: Sequence[Target]) -> str:
    """Return why there is nothing to explain, or ""."""
    named = [target.label for target in targets if target.is_empty]
    return f"the model answers {named[0]} itself, and nothing stands against that; name a target" if named else ""
