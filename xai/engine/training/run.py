"""One training from data to file: train, write, measure the outcome on held-out images, and its parent beside it."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import torch
from torch.nn.modules.batchnorm import _BatchNorm

from xai.data.dataset import DataSet
from xai.engine.facts import model_record, versions
from xai.engine.shards import OtherRunError, keep
from xai.engine.started import Started
from xai.engine.sweep import cores
from xai.engine.training.findings import course
from xai.engine.training.measuring import Measured, Measuring, carded
from xai.engine.training.parts import Loaded, Split, archived, check_classes, split
from xai.engine.training.plan import TrainPlan
from xai.engine.training.result import CARD, drawn_anew, result
from xai.engine.training.trained import Trained
from xai.errors import UsageError
from xai.models.card import Lineage
from xai.models.model import Model
from xai.models.trainable import Trainable, trainable
from xai.models.transfer import frozen_but, rest_frozen
from xai.reports.artefacts import MemoryStore, Store, get_rows, put_named
from xai.reports.folder import written
from xai.robustness.training.learner import Learner
from xai.robustness.training.trainer import DivergedError, Tell, Trainer, nobody, nothing
from xai.robustness.training.watch import FEW, Watch
from xai.runtime import Runtime
from xai.version import __version__

FOLDER = "training"  # that keeps what is done, in a run's folder
_PLAN = "plan.json"
HELD_OUT = "held-out.npz"


@torch.inference_mode(False)
@torch.enable_grad()
def train(
    model: Model,
    data: DataSet,
    plan: TrainPlan,
    *,
    held: DataSet | None = None,
    runtime: Runtime | None = None,
    store: Store | None = None,
    before: Store | None = None,
    folder: Path | None = None,
    place: Path | None = None,
    jobs: int | None = None,
    tell: Tell = nobody,
    command: str = "",
    notes: Sequence[str] = (),
) -> Trained:
    """Train a copy of a model's network, and measure it and its parent on images that neither training saw.

    Args:
        model: the parent; it stays as it is.
        data: images with labels.
        plan: what is asked.
        held: images that the outcome is measured on; default a fifth of the data, drawn by the seed.
        runtime: device, seed, threads, memory, progress.
        store: keeps the arrays; default memory.
        before: keeps those of the parent's measurement.
        folder: keeps a checkpoint, so that a killed run goes on to the same weights; default none.
        place: where the trained file will stand, for its record.
        jobs: shards of the measurement at once.
        tell: is told the row of every epoch that is done.
        command: what makes this run again.
        notes: what a reader must know of the whole run.

    Raises:
        UsageError: labels are missing, of one class only, or the images too few; or the folder is another run's.
        DivergedError: the loss became infinite, or answers guesses.
    """
    runtime = runtime or Runtime(device=model.device)
    runtime = replace(runtime, threads=runtime.threads or cores())  # the weights depend on it in their last digits
    stores = [one if one is not None else MemoryStore() for one in (store, before)]
    started = Started("train", command)
    parts = split(data, held, runtime)
    _begin(folder, model, parts, plan, runtime)
    work = _Work(model, parts, plan, runtime, folder, tell)
    trainer, ended = work.trained()
    made = result(work.network, work.lineage, place)
    measuring = Measuring(plan, parts.held_out, runtime, folder, jobs)
    after = measuring.of(made.model, stores[0], "after")
    earlier = measuring.of(model, stores[1], "before")
    made = replace(made, model=carded(made.model, after))
    files = {"model": put_named(stores[0], made.content, made.name), "card": put_named(stores[0], made.card, CARD)}
    if parts.split_off and (held_out := archived(Loaded(parts.held_out, torch.device("cpu"), runtime))):
        files["held out"] = put_named(stores[0], held_out, HELD_OUT)
    parent = replace(started, verb="attack").finished(
        model_record(model),
        runtime.settings(),
        stores[1],
        inputs=earlier.inputs,
        findings=earlier.findings,
        notes=earlier.notes,
    )
    told = course(
        trainer,
        plan,
        work.lineage,
        ended=ended,
        held_out=len(parts.held_out),
        frozen=work.frozen,
        notes=(*work.notes, *made.notes),
        files=files,
        before=hashlib.sha256(written(parent.record)).hexdigest(),
        store=stores[0],
    )
    shared = dict.fromkeys([*notes, *data.notes, *after.notes, *work.overlap(after, stores[0])])
    run = started.finished(
        model_record(made.model),
        runtime.settings(),
        stores[0],
        inputs=after.inputs,
        findings=(told, *after.findings),
        notes=shared,
    )
    return Trained(run, parent, made, tuple(trainer.rows))


def _begin(folder: Path | None, model: Model, parts: Split, plan: TrainPlan, runtime: Runtime) -> None:
    """Refuse to go on with another run's checkpoint."""
    if folder is None:
        return
    folder.mkdir(parents=True, exist_ok=True)
    listings = [part.listing for part in (parts.training, parts.validation, parts.held_out)]
    asked = [model.fingerprint, model.card.model_dump(mode="json"), listings, plan.described()]
    text = json.dumps([*asked, runtime.settings(), versions()], sort_keys=True, default=str)
    digest = hashlib.sha256(text.encode()).hexdigest()
    file = folder / _PLAN
    if not file.exists():
        keep(file, json.dumps(digest))
    elif file.read_text() != json.dumps(digest):
        raise OtherRunError(folder.parent, "model, data or options differ")


class _Work:
    """The training itself."""

    def __init__(
        self,
        model: Model,
        parts: Split,
        plan: TrainPlan,
        runtime: Runtime,
        folder: Path | None,
        tell: Tell,
    ) -> None:
        self.model, self.plan, self.runtime, self.folder, self.tell = model, plan, runtime, folder, tell
        self.training = Loaded(parts.training, model.device, runtime)
        self.validation = Loaded(parts.validation, model.device, runtime)
        self.notes = list(check_classes(self.training.labels, model, parts.training.source))
        if len(self.validation) < FEW:
            self.notes.append(
                f"only {len(self.validation)} validation images choose the epoch: too few to tell what goes wrong"
            )
        skipped = len(self.training.skipped) + len(self.validation.skipped)
        self.notes += [f"{skipped} images could not be read, and are left out"] if skipped else []
        self.network: Trainable = trainable(model)
        self.notes += self.network.notes
        if plan.scratch and (left := drawn_anew(self.network.own, runtime.seed)):
            raise UsageError(
                f"the weights of {', '.join(left[:3])} cannot be drawn anew: these modules have no reset_parameters; "
                "give the architecture without weights, such as net.py:function"
            )
        self.prepare: Callable[[], None] = nothing
        self._freeze()
        self._check_batches()
        self.lineage = Lineage(
            parent=model.source,
            parent_fingerprint=model.derived or model.fingerprint,
            data=parts.training.source,
            data_digest=self.training.digest,
            images=len(self.training),
            objective=plan.objective.about.name,
            parameters={name: value for name, value in plan.described().items() if not isinstance(value, list)},
            seed=runtime.seed,
            version=__version__,
        )

    def _check_batches(self) -> None:
        """Refuse batches of one image where figures of a batch are taken."""
        smallest = len(self.training) // -(-len(self.training) // self.plan.recipe.batch)
        if smallest < 2 and any(isinstance(one, _BatchNorm) for one in self.network.own.modules()):
            raise UsageError(
                f"--batch {self.plan.recipe.batch} makes batches of one of the {len(self.training)} images, and batch "
                "normalisation needs two at least: take a larger one"
            )

    def overlap(self, after: Measured, store: Store) -> list[str]:
        """Say how many of the images that the outcome is measured on were seen in the training."""
        rows = list(get_rows(store, after.findings[0].artefacts["rows"]))
        both = sum(row["digest"] in self.training.seen or row["digest"] in self.validation.seen for row in rows)
        if not both:
            return []
        return [f"{both} of {len(rows)} held-out images were trained on, or chose the epoch: the outcome is flattered"]

    def _freeze(self) -> None:
        """Leave nothing but the named layers to be trained."""
        own, layers = self.network.own, self.plan.layers
        if layers:
            frozen_but(own, layers)
            self.prepare = partial(rest_frozen, own)
        self.frozen = sum(one.numel() for one in own.parameters() if not one.requires_grad)

    def trained(self) -> tuple[Trainer, str]:
        """Train, and return the trainer with why it ended."""
        learner = Learner(self.network, self.plan.norm)
        x, labels = self.validation.all()
        watch = Watch(learner, self.plan.objective, x, labels, self.plan.epsilon, self.runtime)
        trainer = Trainer(
            learner,
            self.plan.objective,
            self.plan.recipe,
            self.plan.epsilon,
            self.training,
            watch,
            self.runtime,
            prepare=self.prepare,
            folder=self.folder,
            tell=self.tell,
        )
        try:
            return trainer, trainer.run()
        except DivergedError:
            if self.folder is not None:
                shutil.rmtree(self.folder)  # to go on from there would lead there again
            raise
