"""What a training reaches: attacks and bounds of the trained network and of its parent, on held-out images."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from xai.data.dataset import DataSet
from xai.engine.asked import certify
from xai.engine.attack import attack
from xai.engine.training.plan import TrainPlan
from xai.models.model import Model
from xai.reports.artefacts import Store
from xai.reports.records import Finding, InputRecord
from xai.runtime import Runtime

FIGURES = ("accuracy", "robust accuracy", "certified accuracy")  # of the outcome that a card tells


@dataclass(frozen=True)
class Measured:
    """What was found of a model."""

    findings: tuple[Finding, ...]
    inputs: tuple[InputRecord, ...]
    notes: tuple[str, ...]


@dataclass(frozen=True)
class Measuring:
    """How both models are measured."""

    plan: TrainPlan
    data: DataSet
    runtime: Runtime
    folder: Path | None
    jobs: int | None

    def of(self, model: Model, store: Store, name: str) -> Measured:
        """Attack a model on the held-out images, and bound it where it was trained for that."""
        runtime = replace(self.runtime, threads=0)  # shards choose their own
        room, jobs = self._room(name, "attack"), self.jobs
        asked = self.plan.attacking(model)
        runs = [attack(model, self.data, asked, runtime=runtime, store=store, folder=room, jobs=jobs)]
        bounded = self.plan.bounding(model)
        if bounded is not None:
            room = self._room(name, "bounds")
            more = certify(self.data, bounded, runtime=runtime, store=store, folder=room, jobs=jobs, examples=0)
            runs.append(more)
        inputs = {entry.id: entry for run in runs for entry in run.record.inputs}
        notes = dict.fromkeys(note for run in runs for note in run.record.notes)
        return Measured(tuple(one for run in runs for one in run.findings), tuple(inputs.values()), tuple(notes))

    def _room(self, *names: str) -> Path | None:
        if self.folder is None:
            return None
        room = self.folder.joinpath("-".join(names))
        room.mkdir(parents=True, exist_ok=True)
        return room


def carded(model: Model, found: Measured) -> Model:
    """Return a model whose card tells what was measured of it on held-out images."""
    figures: dict[str, str | int | float] = {
        name: value.value
        for finding in found.findings
        for name, value in finding.values.items()
        if name.startswith(FIGURES) and isinstance(value.value, float)
    }
    return replace(model, card=model.card.model_copy(update={"measured": figures}))
