"""One pass over the data: a share is held back, all detectors learn of the rest, and right answers are counted.

Which images are held back follows from what they hold: neither from their order nor their names, and of two that are
the same not one is learnt of while the other is held back.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save_file

from xai.data.dataset import DataSet, Skipped, check_any_read, digest_of
from xai.data.samples import Sample
from xai.engine.ood.plan import FitPlan
from xai.engine.sweep import Sweep, repeatable
from xai.errors import UsageError
from xai.robustness.ood.features import content_keys
from xai.robustness.ood.fitting import Batch, FittedSet, Fitting
from xai.robustness.ood.statistics import drawn

BLOCK = 16  # shards between which a killed run goes on
FILE = "learnt.safetensors"
_SEED = 23  # of what is held back


def held_back(keys: torch.Tensor, share: float) -> torch.Tensor:
    """Say which inputs with keys (n,) int64 are held back, about that share of them."""
    return drawn(keys, _SEED) < int((share - 0.5) * 2**64)


@dataclass
class Counts:
    """What was counted on the way.

    Args:
        done: shards.
        images: that were learnt of.
        held: indices of those that were held back.
        keys: of all images that were read; see `content_keys`.
        labelled: images that were learnt of and have a label.
        right: those of them whose answer is the label.
        treated: images by what was done to them.
        skipped: entries that could not be read.
        digests: of all entries, in order; see `digest_of`.
    """

    done: int = 0
    images: int = 0
    held: list[int] = field(default_factory=list)
    keys: list[int] = field(default_factory=list)
    labelled: int = 0
    right: int = 0
    treated: Counter[str] = field(default_factory=Counter)
    skipped: list[dict[str, Any]] = field(default_factory=list)
    digests: list[str] = field(default_factory=list)

    @property
    def digest(self) -> str:
        """sha256 of the data that were read."""
        return digest_of(bytes.fromhex(one) for one in self.digests)


class Learning:
    """The pass.

    Args:
        plan: what is asked.
        data: in-distribution images.
        sweep: the same in shards.
        folder: keeps what was learnt so far; None: nothing outlives a killed run.
    """

    def __init__(self, plan: FitPlan, data: DataSet, sweep: Sweep, folder: Path | None) -> None:
        self.plan, self.data, self.sweep = plan, data, sweep
        self.file = None if folder is None else folder / FILE
        self.fitting = Fitting(plan.reader, plan.detectors, sweep.runtime)
        self.counts = Counts()

    def run(self) -> FittedSet:
        """Learn of every shard that was not learnt of yet.

        Raises:
            RefusedFileError: no image could be read.
            UsageError: every image was held back, or another run was begun in the folder.
            AnalysisError: the model gives NaN or infinite values, or every detector failed.
        """
        self._resume()
        shards, runtime = self.sweep.shards, self.sweep.runtime
        before = torch.get_num_threads()
        if runtime.threads:
            torch.set_num_threads(runtime.threads)
        try:
            for number in range(self.counts.done, len(shards)):
                runtime.progress("learning", number, len(shards))
                with repeatable(self.plan.model, runtime, "learning", str(number)):
                    self._learn(shards[number])
                self.counts.done = number + 1
                if self.counts.done % BLOCK == 0 or self.counts.done == len(shards):
                    self._keep()
        finally:
            torch.set_num_threads(before)
        check_any_read(self.data, [Skipped(**one) for one in self.counts.skipped])
        if not self.counts.images:
            raise UsageError(
                f"all {len(self.data)} images were held back: images that hold the same are never parted; give more "
                "images, or a smaller --holdout"
            )
        return self.fitting.done()

    def _learn(self, shard: Sequence[int]) -> None:
        part = self.data.read_many(shard)
        counts = self.counts
        counts.skipped += [{"index": one.index, **_told(one)} for one in part.skipped]
        counts.digests.append(part.digests.hex())
        counts.treated.update(t for sample in part.samples for t in dict.fromkeys(sample.treatments))
        if not part.samples:
            return
        keys = content_keys(part.inputs)
        counts.keys += keys.tolist()
        held = held_back(keys, self.plan.holdout)
        counts.held += [index for index, back in zip(part.indices, held.tolist(), strict=True) if back]
        chosen = (~held).nonzero()[:, 0]
        if len(chosen):
            samples = [part.samples[place] for place in chosen.tolist()]
            self._count(samples, self.fitting.add(Batch(part.inputs[chosen], _labels(samples), keys[chosen])))

    def _count(self, samples: Sequence[Sample], logits: torch.Tensor) -> None:
        answers = logits.argmax(1).tolist()
        known = [(sample.label, answer) for sample, answer in zip(samples, answers, strict=True)]
        self.counts.images += len(known)
        self.counts.labelled += sum(label is not None for label, _ in known)
        self.counts.right += sum(label == answer for label, answer in known)

    def _keep(self) -> None:
        """Keep what was learnt, all or nothing; merged here in any case, so that a run that goes on is the same."""
        sums = self.fitting.sums()
        if self.file is None:
            return
        self.file.parent.mkdir(exist_ok=True)
        fresh = self.file.with_suffix(".fresh")
        facts = {"asked": self._asked(), "counts": json.dumps(vars(self.counts))}
        save_file({name: value.cpu().contiguous() for name, value in sums.items()}, fresh, metadata=facts)
        os.replace(fresh, self.file)  # noqa: PTH105  # atomic, as Path.replace

    def _resume(self) -> None:
        if self.file is None or not self.file.exists():
            return
        with safe_open(self.file, "pt") as kept:
            facts = kept.metadata()
            sums = {name: kept.get_tensor(name) for name in kept.keys()}  # noqa: SIM118  # it is no mapping
        if facts["asked"] != self._asked():
            raise UsageError(
                f"{self.file.parent.parent} holds the beginning of another run: model, data or options differ; give "
                "the same ones, or --overwrite to begin anew"
            )
        self.counts = Counts(**json.loads(facts["counts"]))
        self.counts.treated = Counter(self.counts.treated)
        self.fitting.resume(sums, self.counts.images)

    def _asked(self) -> str:
        plan = {
            name: value for name, value in self.plan.described().items() if name in ("detectors", "layers", "holdout")
        }
        return json.dumps([self.plan.model.fingerprint, self.data.listing, plan], sort_keys=True, default=str)


def _labels(samples: Sequence[Sample]) -> torch.Tensor:
    return torch.tensor([-1 if sample.label is None else sample.label for sample in samples])


def _told(one: Any) -> dict[str, str]:
    return {"id": one.id, "source": one.source, "reason": one.reason}
