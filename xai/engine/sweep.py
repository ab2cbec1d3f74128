"""One pass over a data set, shard by shard and by any number of jobs: the same answers whatever their number."""

from __future__ import annotations

import hashlib
import json
import os
import threading
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from xai.data.dataset import DataSet
from xai.data.samples import Sample
from xai.engine.facts import versions
from xai.engine.shards import Answer, Kept, work_off
from xai.models.model import Model
from xai.runtime import Runtime

SHARD_BYTES = 32 * 2**20  # of a shard's inputs: several copies of them live at once
LARGEST_SHARD = 128
SMALL = 2**20  # bytes of activations an input: with less, a second thread costs more than it brings

Work = Callable[[int, Sequence[Sample], Callable[[int], None]], Answer]


def shard_size(model: Model) -> int:
    """Return how many inputs a shard holds: what is in memory at once, whatever the size of the data."""
    return max(8, min(LARGEST_SHARD, SHARD_BYTES // (4 * int(np.prod(model.input.shape)))))


class Sweep:
    """A data set in shards, and how they are worked off.

    Args:
        model: what is asked.
        data: images.
        runtime: device, seed, threads, memory, progress.
        size: of a shard.
    """

    def __init__(self, model: Model, data: DataSet, runtime: Runtime, size: int) -> None:
        self.model, self.data, self.shards = model, data, data.shards(size)
        alone = len(self.shards) >= cores() or model.bytes_per_input < SMALL
        threads = runtime.threads or (1 if alone else cores())
        self.runtime = replace(runtime, threads=threads)  # it follows from the data: the same whatever the jobs

    def kept(self, folder: Path | None, asked: Mapping[str, Any]) -> Kept:
        """Return what keeps the answers to what was asked: in a folder that outlives a killed run, or in memory."""
        model, data = self.model, self.data
        parts = [model.fingerprint, model.card.model_dump(mode="json"), data.listing, asked, self.runtime.settings()]
        text = json.dumps([*parts, versions()], sort_keys=True, default=str)
        return Kept(folder, hashlib.sha256(text.encode()).hexdigest())

    def run(self, work: Work, kept: Kept, *, jobs: int | None, stage: str, stages: int) -> None:
        """Do every shard that is not done yet.

        Args:
            work: gives the answer for a shard's number and samples; it tells its third argument how many inputs are
                done with a stage, which ends it when the run is interrupted.
            kept: holds the answers, with what could not be read, how images were treated, and digests.
            jobs: shards at once; default one a core.
            stage: what progress is called.
            stages: how often an image is looked at.
        """
        threads = self.runtime.threads
        bar = _Bar(self.runtime, stage, stages * len(self.data))
        jobs = 1 if self.model.draws else jobs or max(1, cores() // threads)  # drawn numbers are the whole process's

        def one(number: int, check: Callable[[], None]) -> Answer:
            part = self.data.read_many(self.shards[number])

            def tell(count: int) -> None:
                check()
                bar.add(count)

            bar.add(stages * len(part.skipped))
            with repeatable(self.model, self.runtime, "shard", str(number)):
                answer = work(number, part.samples, tell)
            skipped = [{"id": one.id, "source": one.source, "reason": one.reason} for one in part.skipped]
            treated = Counter(treatment for sample in part.samples for treatment in dict.fromkeys(sample.treatments))
            return {**answer, "skipped": skipped, "treated": dict(treated), "digests": part.digests.hex()}

        for _ in work_off(range(len(self.shards)), one, kept, jobs=jobs, threads=threads):
            bar.add(0)


def cores() -> int:
    """Return how many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def repeatable(model: Model, runtime: Runtime, *names: str) -> AbstractContextManager[object]:
    """Let what a model draws follow from the run's seed and the names; what draws nothing needs no such thing."""
    return runtime.seeded(*names) if model.draws else nullcontext()


class _Bar:
    """Progress that several threads tell of."""

    def __init__(self, runtime: Runtime, stage: str, total: int) -> None:
        self._runtime, self._stage, self._total, self._done = runtime, stage, total, 0
        self._lock = threading.Lock()

    def add(self, count: int) -> None:
        with self._lock:
            self._done += count
            self._runtime.progress(self._stage, min(self._done, self._total), self._total)
