"""The maps of a data set, shard by shard: a row and a small map an image and method, and nothing else is kept."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any

import numpy as np
import torch

from xai.data.dataset import DataSet
from xai.data.samples import Sample
from xai.engine.agreement import comparable, pairs
from xai.engine.findings import Analysis
from xai.engine.outcome import Gathered
from xai.engine.plan import ExplainPlan
from xai.engine.shards import Answer, Kept
from xai.engine.summary.small import packed, shrunk, small_shape, unpacked
from xai.explainers.base import Explainer
from xai.models.model import Model
from xai.models.targets import Target, contrast
from xai.reports.artefacts import MemoryStore, get
from xai.reports.records import Trust
from xai.reports.worth import trust_of
from xai.robustness.victim import Victim
from xai.runtime import Runtime, silent

MAIN = 4  # values of a measure that are kept: those that it tells first


@dataclass(frozen=True)
class Looking:
    """What all shards share.

    Args:
        model: that is explained.
        plan: methods, measures and target.
        methods: those of the plan that give a map of each image.
        runtime: device, seed, memory.
    """

    model: Model
    plan: ExplainPlan
    methods: tuple[Explainer, ...]
    runtime: Runtime

    def shard(self, number: int, samples: Sequence[Sample], check: Callable[[int], None]) -> Answer:  # noqa: ARG002  # work of a sweep
        """Return a row for each input, and for each method what came of it and its map."""
        rows: list[dict[str, Any]] = []
        found: dict[str, list[dict[str, Any]]] = {method.about.name: [] for method in self.methods}
        maps: dict[str, list[np.ndarray]] = {name: [] for name in found}
        agreement: list[dict[str, Any]] = []
        for sample in samples:
            row, target = self._answered(sample)
            rows.append(row)
            whole: dict[str, tuple[np.ndarray, bool, bool]] = {}
            for method in self.methods:
                name = method.about.name
                part, map_ = self._explained(method, sample, target)
                found[name].append(part)
                if map_ is not None:
                    whole[name] = (map_, part["signed"], part["blank"])
                    maps[name] += [] if part["blank"] else [shrunk(map_)]
                check(1)
            agreement.append(_agreement(row, whole))
        return {
            "rows": rows,
            "agreement": agreement,
            "methods": found,
            "maps": {name: packed(np.array(some, dtype=np.float32)) for name, some in maps.items()},
        }

    def _answered(self, sample: Sample) -> tuple[dict[str, Any], Target | None]:
        """Return what is known of an image, and what is to be explained; None where the outputs are no numbers."""
        x = sample.input[None].to(self.model.device)
        with self.runtime.seeded("outputs", sample.id), torch.no_grad():
            scores = Victim(self.model).scores(x)[0].double().cpu()
        finite, predicted = bool(scores.isfinite().all()), int(scores.argmax())
        labelled, answers = sample.label is not None, self.model.answers
        wanted = self.plan.target if self.plan.target is not None else predicted
        target = self.model.target(wanted if len(answers) == len(self.model.classes) else 0)
        if self.plan.against is not None:
            target = contrast(target, self.plan.against, scores, self.model.classes)
        row = {
            "id": sample.id,
            "source": sample.source,
            "digest": sample.digest,
            "group": sample.group,
            "label": sample.label,
            "labelled": labelled,
            "class": answers[predicted if sample.label is None else sample.label],
            "predicted": predicted,
            "answer": answers[predicted],
            "finite": finite,
            "right": finite and predicted == sample.label if labelled else None,
            "probability": float(scores.softmax(0)[predicted]) if finite else None,
            "explains": target.name,
            "explained": target.label,
        }
        return row, target if finite else None

    def _explained(
        self, method: Explainer, sample: Sample, target: Target | None
    ) -> tuple[dict[str, Any], np.ndarray | None]:
        """Return what came of one method for one image, and its map if it has one."""
        if target is None:
            return _unexplained("failed", "the outputs are NaN or infinite"), None
        store = MemoryStore()  # large maps live as long as their image
        analysis = Analysis(self.model, self.plan.measures, replace(self.runtime, progress=silent), store)
        (finding,) = analysis.of(method, sample, [target])
        if finding.status != "ok":
            return _unexplained(finding.status, finding.reason), None
        part = {
            "status": "ok",
            "reason": "",
            "blank": finding.values["blank"].value is True,
            "trust": trust_of(one.speaks for one in finding.trust if one.status == "ok"),
            "measures": {one.measure: _said(one) for one in finding.trust},
            "notes": list(finding.notes),
            "unit": finding.values["highest"].unit,
            "signed": finding.values["signed"].value,
            "parameters": finding.parameters,
        }
        return part, get(store, finding.artefacts["map"])


class Looked(Gathered):
    """The maps of a whole data set.

    Args:
        kept: holds them.
        shards: how many there are.
        shape: of an input, (channels, height, width).
    """

    def __init__(self, kept: Kept, shards: int, shape: tuple[int, ...]) -> None:
        super().__init__(kept, shards)
        self._shape = small_shape(*shape[-2:])

    def of(self, method: str) -> Iterator[dict[str, Any]]:
        """Yield a row an image for one method; `map` numbers its map among those that are not blank."""
        count = 0
        for answer in self.answers():
            for row, part in zip(answer["rows"], answer["methods"][method], strict=True):
                has_map = part["status"] == "ok" and not part["blank"]
                yield {**row, **part, "map": count if has_map else None}
                count += has_map

    def agreement(self) -> Iterator[dict[str, Any]]:
        """Yield a row an image: what the maps of each two methods have in common."""
        for answer in self.answers():
            yield from answer.get("agreement", [])

    def maps(self, method: str) -> np.ndarray:
        """Return the small maps (n, rows, columns) float32 of one method, without blank ones."""
        parts = [unpacked(answer["maps"][method], self._shape) for answer in self.answers() if answer["rows"]]
        return np.concatenate(parts) if parts else np.zeros((0, *self._shape), dtype=np.float32)

    def notes(self, data: DataSet) -> tuple[str, ...]:
        """Return what a reader must know of the data."""
        without = sum(not row["labelled"] for row in self.rows())
        told = f"images without a label: {without} of {self.images}; they are told by the class that the model answers"
        return (*self.reading(data), *([told] if without else []))


def _agreement(row: Mapping[str, Any], maps: Mapping[str, tuple[np.ndarray, bool, bool]]) -> dict[str, Any]:
    """Return what the maps of one image have in common, two at a time."""
    kept = comparable(maps)
    return {
        **{name: row[name] for name in ("id", "source", "digest", "label")},
        "pairs": {f"{one} and {other}": list(pair) for (one, other), pair in pairs(kept.maps).items()},
        "left out": kept.left_out,
    }


def _unexplained(status: str, reason: str) -> dict[str, Any]:
    return {"status": status, "reason": reason, "blank": False, "trust": None, "measures": {}, "notes": []}


def _said(trust: Trust) -> dict[str, Any]:
    """Return what one measure says, small."""
    if trust.status != "ok":
        return {"speaks": None, "status": trust.status, "reason": trust.reason, "values": {}}
    values = {name: value.value for name, value in islice(trust.values.items(), MAIN)}
    return {"speaks": trust.speaks, "status": "ok", "reason": "", "values": values}
