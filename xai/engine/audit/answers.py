"""The model's answers to every image of a data set: asked once, told as rows, kept as scores."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from xai.data.samples import Sample
from xai.engine.outcome import Gathered
from xai.engine.shards import Answer, Kept
from xai.models.model import Model
from xai.reports.artefacts import Store, get, put
from xai.reports.records import Artefact
from xai.robustness.victim import Victim
from xai.runtime import Runtime

GIVEN = "given"


@dataclass(frozen=True)
class Asking:
    """What all shards share.

    Args:
        model: what is asked.
        runtime: memory.
        store: keeps the scores.
    """

    model: Model
    runtime: Runtime
    store: Store

    def shard(self, number: int, samples: Sequence[Sample], check: Callable[[int], None]) -> Answer:  # noqa: ARG002  # work of a sweep
        """Return a row for each input, and where their scores (n, answers) are kept."""
        if not samples:
            return {"rows": [], "scores": None}
        x = torch.stack([sample.input for sample in samples]).to(self.model.device)
        victim, batch = Victim(self.model), self.runtime.batch(self.model.bytes_per_input)
        with torch.no_grad():
            scores = torch.cat([victim.scores(part) for part in x.split(batch)]).cpu()
        check(len(samples))
        rows = [self._row(sample, own) for sample, own in zip(samples, scores, strict=True)]
        return {"rows": rows, "scores": put(self.store, scores.float().numpy()).model_dump(mode="json")}

    def _row(self, sample: Sample, scores: torch.Tensor) -> dict[str, Any]:
        predicted, finite = int(scores.argmax()), bool(scores.isfinite().all())
        label = predicted if sample.label is None else sample.label
        sure = float(scores.double().softmax(0)[predicted]) if finite else None
        return {
            "id": sample.id,
            "source": sample.source,
            "digest": sample.digest,
            "group": sample.group,
            "label": label,
            "labelled": sample.label is not None,
            "class": self.model.answers[label],
            "predicted": predicted,
            "finite": finite,
            "right": finite and predicted == label,
            "probability": sure,
        }


class Answers(Gathered):
    """The answers to a whole data set.

    Args:
        kept: holds them.
        shards: how many there are.
        store: keeps the scores.
    """

    def __init__(self, kept: Kept, shards: int, store: Store) -> None:
        super().__init__(kept, shards)
        self._store = store

    def scored(self) -> Iterator[tuple[list[dict[str, Any]], np.ndarray]]:
        """Yield the rows of each shard with their scores (n, answers) float32."""
        for answer in self.answers():
            if answer["scores"] is not None:
                yield answer["rows"], get(self._store, Artefact.model_validate(answer["scores"]))

    @property
    def scores(self) -> dict[str, Artefact]:
        """The scores, an artefact a shard."""
        kept = {f"scores/{number:06}": answer["scores"] for number, answer in enumerate(self.answers())}
        return {name: Artefact.model_validate(one) for name, one in kept.items() if one is not None}

    @property
    def labels(self) -> str:
        """Say where the right answers come from."""
        own = sum(not row["labelled"] for row in self.rows())
        return f"the model's own answers for {own} of {self.images}" if own else GIVEN
