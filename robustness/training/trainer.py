"""The loop: steps, epochs, checkpoints; a run that was killed goes on to the same weights."""

from __future__ import annotations

import json
import math
import os
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import torch
from pydantic import BaseModel, ConfigDict, Field

from xai.errors import AnalysisError, RefusedFileError
from xai.robustness.training.learner import Learner
from xai.robustness.training.objectives.base import Objective, Step
from xai.robustness.training.watch import Row, Watch, diverges, events
from xai.runtime import Runtime

CHECKPOINT = "training.pt"

EVERY = 60.0  # seconds between checkpoints within an epoch
WARM, HELD = 0.05, 0.5  # shares of the training at which the learning rate has risen, and begins to fall
WATCHED = {"clean": "clean", "attacked": "stronger", "certified": "certified"}  # by which figure epochs are compared
Tell = Callable[[Row], None]


def nothing() -> None:
    """Do nothing."""


def nobody(_: Row) -> None:
    """Tell nobody."""


class DivergedError(AnalysisError):
    """The loss became infinite or no number, or rose beyond guessing (exit code 3)."""


class Recipe(BaseModel):
    """How is trained, whatever the objective."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    epochs: int = Field(default=20, ge=1, le=100_000, description="How often every image is shown.")
    batch: int = Field(default=128, ge=1, le=65_536, description="Images that make a step.")
    lr: float = Field(
        default=1e-3, gt=0, description="Highest learning rate of AdamW: it rises first, and falls from half-way on."
    )
    weight_decay: float = Field(default=1e-4, ge=0, description="Of AdamW.")
    clip: float = Field(default=10.0, gt=0, description="Largest l2 norm of a step's gradient.")
    patience: int | None = Field(
        default=None, ge=1, description="Stop when nothing got better for so many epochs; default never."
    )


class Pictures(Protocol):
    """The images that are trained on."""

    def __len__(self) -> int:
        """Return how many there are."""

    def take(self, indices: Sequence[int]) -> tuple[torch.Tensor, torch.Tensor]:
        """Return images (n, ...) in input units and labels (n,)."""


@dataclass
class Trainer:
    """A training under way.

    Args:
        learner: the network.
        objective: what is minimised.
        recipe: how.
        epsilon: the size of the change; 0 where the objective knows none.
        pictures: what is trained on.
        watch: what is looked at after every epoch.
        runtime: device, seed, threads, progress.
        prepare: called after the network was put into training mode, as to let frozen parts rest.
        folder: keeps a checkpoint, so that a killed run goes on; None for none.
        tell: is told the row of every epoch that is done.
    """

    learner: Learner
    objective: Objective
    recipe: Recipe
    epsilon: float
    pictures: Pictures
    watch: Watch
    runtime: Runtime
    prepare: Callable[[], None] = nothing
    folder: Path | None = None
    tell: Tell = nobody
    rows: list[Row] = field(default_factory=list)
    step: int = 0
    best: int = 0  # epoch, counted from 1; 0 before any
    _summed: float = 0.0
    _spent: float = 0.0
    _kept: dict[str, torch.Tensor] = field(default_factory=dict)  # weights of the best epoch
    _saved: float = field(default_factory=time.monotonic)

    def __post_init__(self) -> None:
        """Make the optimiser, and take up a checkpoint."""
        self.network = self.learner.trained.network
        learnt = list(self.learner.trained.learnt.values())
        self.optimiser = torch.optim.AdamW(learnt, lr=self.recipe.lr, weight_decay=self.recipe.weight_decay)
        self.batches = -(-len(self.pictures) // self.recipe.batch)
        self.total = self.recipe.epochs * self.batches
        if self.folder is not None and (self.folder / CHECKPOINT).exists():
            self._take_up(self.folder / CHECKPOINT)

    def run(self) -> str:
        """Train to the end, give the network the weights of the best epoch, and return why it ended, in words."""
        try:
            while self.step < self.total and not self._is_patient_no_more():
                self._epoch()
        finally:
            self.network.eval()
        if self._is_patient_no_more() and self.step < self.total:
            ended = f"nothing got better for {self.recipe.patience} epochs"
        else:
            ended = "all epochs were run"
        self.network.load_state_dict(self._kept)
        return ended

    def _epoch(self) -> None:
        epoch = self.step // self.batches
        generator = self.runtime.generator("order", str(epoch))
        order = torch.randperm(len(self.pictures), generator=generator, device=generator.device)
        parts = order.cpu().tensor_split(self.batches)
        self.network.train()
        self.prepare()
        for part in parts[self.step % self.batches :]:
            begun = time.perf_counter()
            self._learn(part.tolist())
            self._spent += time.perf_counter() - begun
            self.runtime.progress("training", self.step, self.total)
            if self.step % self.batches and time.monotonic() - self._saved > EVERY:
                self._save()
        self._look(epoch + 1)

    def _learn(self, indices: Sequence[int]) -> None:
        share = self.step / self.total
        for group in self.optimiser.param_groups:
            group["lr"] = self.recipe.lr * rate(share)
        x, labels = self.pictures.take(indices)
        with self.runtime.seeded("step", str(self.step)) as generator:
            size = self.objective.size(self.epsilon, share)
            loss = self.objective.loss(self.learner, Step(x, labels, size, share, generator))
            self.optimiser.zero_grad(set_to_none=True)
            loss.backward()
            norm = torch.nn.utils.clip_grad_norm_(self.learner.trained.learnt.values(), self.recipe.clip)
        lost = float(loss.detach())
        if not (math.isfinite(lost) and math.isfinite(float(norm))):
            self._diverged(f"the loss is {lost:g} in step {self.step + 1}, the size of its gradient {float(norm):g}")
        self.optimiser.step()
        self._summed += lost * len(indices)
        self.step += 1

    def _look(self, epoch: int) -> None:
        """Measure an epoch, say what is wrong with it, and keep its weights if none was better."""
        begun = time.perf_counter()
        self.network.eval()
        share = self.step / self.total
        row: Row = {
            "epoch": epoch,
            "loss": self._summed / len(self.pictures),
            **self.watch.look(epoch),
            "epsilon": self.objective.size(self.epsilon, share),
            "lr": self.recipe.lr * rate((self.step - 1) / self.total),
            "seconds": self._spent + time.perf_counter() - begun,
        }
        self.rows.append(row)
        watched, ended = len(self.watch.x), self.step >= self.total
        row["events"] = events(self.rows, self.learner.classes, watched, ended=ended)
        self._summed, self._spent = 0.0, 0.0
        if diverges(self.rows, self.learner.classes, watched, ended=ended):
            self.rows.pop()
            self._diverged(f"the loss has risen to {row['loss']:.3g}, and answers are guesses")
        if self._is_better(row):
            self.best = epoch
            self._kept = {name: tensor.detach().clone() for name, tensor in self.network.state_dict().items()}
        self._save()
        self.tell(row)

    def _is_better(self, row: Row) -> bool:
        """Say whether an epoch is the best so far: at the full size, more right; of two that are equal the later."""
        if not self.best:
            return True
        before = self.rows[self.best - 1]
        figures = [(one["epsilon"] >= self.epsilon, self.watched(one)) for one in (row, before)]
        return figures[0] >= figures[1]

    def watched(self, row: Row) -> float:
        """Return the figure by which epochs are compared."""
        found = row[WATCHED[self.objective.watched]]
        return float(row["clean"] if found is None else found)

    def _is_patient_no_more(self) -> bool:
        if self.recipe.patience is None or not self.rows or self.rows[-1]["epsilon"] < self.epsilon:
            return False
        return len(self.rows) - self.best >= self.recipe.patience

    def _diverged(self, what: str) -> None:
        lower = f"{self.recipe.lr / 10:g}"
        size = " or let the change grow more slowly" if self.epsilon else ""
        raise DivergedError(
            f"the training diverges in epoch {len(self.rows) + 1}: {what}; no model was written. Take a lower learning "
            f"rate, such as --lr {lower} instead of {self.recipe.lr:g}{size}"
        )

    def _save(self) -> None:
        """Keep all that the next step follows from, all or nothing."""
        self._saved = time.monotonic()
        if self.folder is None:
            return
        content = {
            "step": self.step,
            "rows": json.dumps(self.rows),
            "best": self.best,
            "summed": self._summed,
            "spent": self._spent,
            "network": self.network.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "kept": self._kept,
        }
        with tempfile.NamedTemporaryFile(dir=self.folder, delete=False) as fresh:
            torch.save(content, fresh)
        os.replace(fresh.name, self.folder / CHECKPOINT)  # noqa: PTH105  # atomic, as Path.replace

    def _take_up(self, path: Path) -> None:
        try:
            content: dict[str, Any] = torch.load(path, map_location=self.runtime.device, weights_only=True)
        except Exception as error:  # torch's reader raises whatever damaged bytes lead it to
            raise RefusedFileError(f"checkpoint {path} is damaged; begin anew with --overwrite") from error
        self.network.load_state_dict(content["network"])
        self.optimiser.load_state_dict(content["optimiser"])
        self.step, self.best, self._kept = content["step"], content["best"], content["kept"]
        self.rows, self._summed, self._spent = json.loads(content["rows"]), content["summed"], content["spent"]


def rate(share: float) -> float:
    """Return the part of the highest learning rate when a share, 0 to 1, of the training is done."""
    if share < HELD:
        return min(1.0, max(share, 0.01 * WARM) / WARM)
    return 0.5 * (1 + math.cos(math.pi * (share - HELD) / (1 - HELD)))
