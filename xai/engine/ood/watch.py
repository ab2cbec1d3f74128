"""Detectors at work on shards of images: the scores of each, and what they say."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch

from xai.data.dataset import DataSet, Skipped, check_any_read
from xai.data.samples import Sample
from xai.engine.outcome import Gathered
from xai.engine.shards import Answer
from xai.engine.sweep import Sweep, shard_size
from xai.errors import AnalysisError
from xai.models.model import Model
from xai.robustness.ood.detectors.base import Reads, Seen
from xai.robustness.ood.features import Reader, content_keys
from xai.robustness.ood.fitting import BATCH, Batch, FittedSet
from xai.robustness.ood.guard import Guard
from xai.robustness.ood.probes import make_probe
from xai.runtime import Runtime

Row = dict[str, Any]


@dataclass(frozen=True)
class Watch:
    """Fitted detectors before a model.

    Args:
        model: that they were fitted to.
        fitted: the detectors.
        runtime: device, seed, threads, memory.
        guard: their thresholds and combinations, where there are some already.
    """

    model: Model
    fitted: FittedSet
    runtime: Runtime
    guard: Guard | None = None

    @cached_property
    def reader(self) -> Reader:
        """What looks at the model."""
        return self.fitted.reader(self.model)

    def seen(self, inputs: torch.Tensor) -> Iterator[Seen]:
        """Yield what is seen of some inputs, batch by batch: what the detectors read, and features."""
        size = self.runtime.batch(self.model.bytes_per_input, BATCH)
        for part in Batch(inputs).parts(size):
            yield self.reader.read(part.inputs, reads=self.fitted.reads | {Reads.FEATURES})

    def scores(self, seen: Seen) -> dict[str, torch.Tensor]:
        """Return the scores (n,) of every detector, and of the combinations where there are some."""
        found = self.fitted.score(seen)
        return found if self.guard is None else self.guard.joined(found)

    def shard(
        self, samples: Sequence[Sample], check: Callable[[int], None], inputs: torch.Tensor | None = None
    ) -> Answer:
        """Score some inputs; return a row for each.

        Args:
            samples: what the rows are about.
            check: told how many are done.
            inputs: what is scored in their place.
        """
        rows: list[Row] = []
        if not samples:
            return {"rows": rows}
        x = torch.stack([sample.input for sample in samples]) if inputs is None else inputs
        keys = content_keys(x).tolist()
        for seen in self.seen(x):
            scores = self.scores(seen)
            answers = seen.logits.argmax(1).tolist()
            finite = torch.stack([seen.logits.isfinite().all(1).cpu(), *(one.isfinite() for one in scores.values())])
            for place, whole in enumerate(finite.all(0).tolist()):
                sample, key = samples[len(rows)], keys[len(rows)]
                told = {name: float(one[place]) for name, one in scores.items()} if whole else None
                rows.append(_row(sample, key, answers[place], told))
            check(len(answers))
        return {"rows": rows}


@dataclass(frozen=True)
class Scored:
    """The rows of a data set.

    Args:
        data: the images.
        outcome: the answers of its shards.
        sweep: how they were worked off.
    """

    data: DataSet
    outcome: Gathered
    sweep: Sweep

    def rows(self) -> Iterator[Row]:
        """Yield a row an image, in the data's order."""
        return self.outcome.rows()

    def scores(self) -> dict[str, torch.Tensor]:
        """Return all scores (n,) float64 by detector and combination, of the images that have some."""
        return tabled(self.rows())

    @property
    def keys(self) -> torch.Tensor:
        """What tells the images of `scores` apart, (n,) int64; see `content_keys`."""
        return torch.tensor([row["key"] for row in self.rows() if row["scores"] is not None], dtype=torch.int64)

    @property
    def without(self) -> list[str]:
        """The ids of images whose scores are no numbers."""
        return [row["id"] for row in self.rows() if row["scores"] is None]


def some_scored(found: Scored, name: str) -> Scored:
    """Return what was found of images called so; raise AnalysisError if none of them has scores."""
    if len(found.without) == found.outcome.images:
        raise AnalysisError(f"outputs or scores are NaN or infinite for all {found.outcome.images} images of {name}")
    return found


def tabled(rows: Iterable[Mapping[str, Any]]) -> dict[str, torch.Tensor]:
    """Return the scores of rows as columns (n,) float64; rows without are left out."""
    columns: dict[str, list[float]] = {}
    for row in rows:
        for name, value in (row["scores"] or {}).items():
            columns.setdefault(name, []).append(value)
    return {name: torch.tensor(values, dtype=torch.float64) for name, values in columns.items()}


def watched(
    watch: Watch,
    data: DataSet,
    asked: Mapping[str, Any],
    folder: Path | None,
    *,
    jobs: int | None,
    stage: str,
    probe: str = "",
) -> Scored:
    """Score every image of a data set, shard by shard.

    Args:
        watch: what scores.
        data: images.
        asked: what tells this from other work on the same data.
        folder: keeps the shards that are done; None: memory.
        jobs: shards at once.
        stage: what progress is called.
        probe: makes outliers of the images, which are scored in their place; "" for none.

    Raises:
        RefusedFileError: no image could be read.
        NotApplicableError: the probe cannot be made of such inputs.
    """
    sweep = Sweep(watch.model, data, watch.runtime, shard_size(watch.model))
    watch.reader.read(torch.zeros(1, *watch.model.input.shape), reads=watch.fitted.reads)  # found once, not by each job
    if folder is not None:
        folder.parent.mkdir(exist_ok=True)
    kept = sweep.kept(folder, {**asked, "probe": probe})

    def work(_: int, samples: Sequence[Sample], check: Callable[[int], None]) -> Answer:
        return watch.shard(samples, check, _made(probe, samples, watch) if probe and samples else None)

    sweep.run(work, kept, jobs=jobs, stage=stage, stages=1)
    outcome = Gathered(kept, len(sweep.shards))
    if not outcome.images:
        check_any_read(data, [Skipped(index, **one) for index, one in enumerate(outcome.skipped)])
    return Scored(data, outcome, sweep)


def _made(probe: str, samples: Sequence[Sample], watch: Watch) -> torch.Tensor:
    inputs = torch.stack([sample.input for sample in samples])
    return make_probe(probe, inputs, watch.model.input, watch.runtime, [sample.digest for sample in samples])


def _row(sample: Sample, key: int, answer: int, scores: dict[str, float] | None) -> Row:
    return {
        "id": sample.id,
        "source": sample.source,
        "digest": sample.digest,
        "group": sample.group,
        "label": sample.label,
        "key": key,
        "predicted": answer,
        "scores": scores,
    }
