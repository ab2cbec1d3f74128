"""What is told of a training: its course, and where the network comes from."""

from __future__ import annotations

from typing import Any

from xai.engine.training.plan import TrainPlan
from xai.models.card import Lineage
from xai.reports.artefacts import Store, put_rows
from xai.reports.folder import DIFF, MEASURED
from xai.reports.intervals import clopper_pearson
from xai.reports.records import Artefact, Finding, Value
from xai.robustness.training.trainer import WATCHED, Trainer
from xai.robustness.training.watch import STEPS, STRONGER

FIGURES = {
    "clean": "clean accuracy",
    "attacked": "attacked accuracy",
    "stronger": "attacked accuracy, stronger",
    "certified": "certified accuracy",
}


def course(
    trainer: Trainer,
    plan: TrainPlan,
    lineage: Lineage,
    *,
    ended: str,
    held_out: int,
    frozen: int,
    notes: tuple[str, ...],
    files: dict[str, Artefact],
    before: str,
    store: Store,
) -> Finding:
    """Return the finding of a training that has ended.

    Args:
        trainer: with the rows of its epochs.
        plan: what was asked.
        lineage: of the trained network.
        ended: why, in words.
        held_out: images that the outcome is measured on.
        frozen: numbers that were not trained.
        notes: what a reader must know.
        files: that the training leaves, by what they are.
        before: sha256 of the record of the parent's measurement.
        store: keeps the rows.
    """
    about, rows = plan.objective.about, trainer.rows
    return Finding(
        id="training",
        family="training",
        method=about.name,
        title=about.title,
        description=about.summary,
        limits=about.limits,
        source=about.source,
        kind=about.kind.value,
        input=None,
        status="ok",
        parameters={**_parameters(trainer, plan, lineage), MEASURED: before},
        values=_values(trainer, ended, held_out, frozen),
        notes=notes,
        seconds=sum(row["seconds"] for row in rows),
        artefacts={"epochs": put_rows(store, rows), **files},
    )


def _parameters(trainer: Trainer, plan: TrainPlan, lineage: Lineage) -> dict[str, Any]:
    size = {"epsilon": plan.epsilon} if plan.objective.norms else {}
    measured = {} if plan.objective.norms or not plan.epsilon else {"measured at": plan.written}
    return {
        **plan.objective.model_dump(mode="json"),
        **plan.recipe.model_dump(mode="json"),
        "norm": plan.norm.value,
        **size,
        **measured,
        "epsilon as written": plan.written if plan.objective.norms else "",
        "layers": ", ".join(plan.layers) or "all",
        "watched": WATCHED[plan.objective.watched],
        "stronger attack": f"{STRONGER}, {STEPS} steps",
        "seed": trainer.runtime.seed,
        "parent": lineage.parent,
        "parent fingerprint": lineage.parent_fingerprint,
        "data": lineage.data,
        "data digest": lineage.data_digest,
        "initial weights": "drawn anew" if plan.scratch else "the parent's",
        "comparison": DIFF,
    }


def _values(trainer: Trainer, ended: str, held_out: int, frozen: int) -> dict[str, Value]:
    best, watched = trainer.rows[trainer.best - 1], len(trainer.watch.x)
    learnt = sum(one.numel() for one in trainer.learner.trained.learnt.values())
    found = {
        "epochs": Value(value=len(trainer.rows), unit="epochs"),
        "best epoch": Value(value=trainer.best, unit="counted from 1"),
        "stopped": Value(value=ended),
        "images": Value(value=len(trainer.pictures), unit="images"),
        "validation images": Value(value=watched, unit="images"),
        "held-out images": Value(value=held_out, unit="images"),
        "steps": Value(value=trainer.step, unit="steps"),
        "trained numbers": Value(value=learnt, unit="numbers"),
        "frozen numbers": Value(value=frozen, unit="numbers"),
    }
    for key, name in FIGURES.items():
        if best[key] is not None:
            right = round(best[key] * watched)
            share = Value(value=best[key], unit="share", n=watched, interval=clopper_pearson(right, watched))
            found[name] = share
    return found
