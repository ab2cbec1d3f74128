"""The trust table: what every measure says of the maps of every explainer, on `shapes`, `digits` and CIFAR ResNet-20.

Shares are of pictures; medians are over pictures. `shapes` has masks, so the pointing game applies there only. The
CIFAR network and its pictures are read through XAI_DATA and left out without it. A deep dream is no map: its row says
how often the objective rose, and how often the model then calls the picture what was raised. Nothing judges pictures of
channels.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pandas as pd
import torch

from benchmarks._published import CIFAR, subject
from xai.api import load
from xai.data.samples import Sample
from xai.engine.explain import explain
from xai.engine.plan import plan_explain
from xai.explainers.base import explainers
from xai.models.model import Model
from xai.models.samples import digits, shapes
from xai.runtime import Runtime

PICTURES = {"shapes": 24, "digits": 48, "CIFAR ResNet-20": 12}
SEED = 123
PARAMETERS = {
    "lime": {"samples": 200},
    "kernelshap": {"samples": 200},
    "rise": {"samples": 300},
    "smoothgrad": {"samples": 20},
    "scorecam": {"channels": 16},
    "integratedgradients": {"most_steps": 64},
}


@dataclass(frozen=True)
class Subject:
    """A model and the pictures it is explained on, (n, channels, height, width), with masks where they are known."""

    model: Model
    images: torch.Tensor
    masks: torch.Tensor | None = None


def measure(device: str) -> dict[str, Any]:
    return {name: _table(one, device) for name, one in _subjects(device)}


def _subjects(device: str) -> Iterator[tuple[str, Subject]]:
    drawn = shapes.generate(PICTURES["shapes"], SEED)
    yield "shapes", Subject(load("sample:shapes", device=device), drawn.images, drawn.masks)
    test = digits.split()[1]
    yield "digits", Subject(load("sample:digits", device=device), test.images[: PICTURES["digits"]])
    if "XAI_DATA" in os.environ:
        published = subject(CIFAR, device)
        yield "CIFAR ResNet-20", Subject(published.model, published.x[: PICTURES["CIFAR ResNet-20"]])


def _table(subject: Subject, device: str) -> dict[str, Any]:
    plan = plan_explain(subject.model, ["all"], parameters=PARAMETERS, measures_named=["all"])
    masks: Any = [None] * len(subject.images) if subject.masks is None else subject.masks.numpy()
    samples = [
        Sample(id=str(number), source="", digest=str(number), input=image, treatments=(), mask=mask)
        for number, (image, mask) in enumerate(zip(subject.images, masks, strict=True))
    ]
    run = explain(subject.model, samples, plan, runtime=Runtime(device=torch.device(device), seed=SEED))
    frame = run.to_dataframe()
    shown = frame[(frame["status"] == "ok") & frame["method"].isin(explainers.all())]
    rows = {str(method): _row(part) for method, part in shown.groupby("method")}
    return {"pictures": len(samples), "seconds": round(run.record.seconds), **rows}


def _row(part: pd.DataFrame) -> dict[str, Any]:
    """Return what a method's findings have in common."""
    if part["raised"].notna().all():
        same = (part["model's answer"] == part["target"]).mean()
        return {"pictures made": len(part), "objective rose": _round(part["rose"].mean()), "seen as": _round(same)}
    row: dict[str, Any] = {"maps": len(part), "blank": int(part["blank"].sum())}
    for name in ("cascade", "deletion", "infidelity", "pointing", "randomisation"):
        said = part[name].dropna() if name in part else part.iloc[:0]
        if len(said):
            row[name] = {word: _round((said == word).mean()) for word in ("for", "against", "neither")}
            row[name] |= {
                column.partition(": ")[2]: _round(pd.to_numeric(part[column]).median())
                for column in part.columns
                if column.startswith(f"{name}: ") and column.partition(": ")[2] in MEDIANS
            }
    if "pointing" in row:
        row["pointing"] |= {
            "hits": _round(part["pointing: hit"].astype(float).mean()),
            "mass": _round(part["pointing: mass"].mean()),
            "area": _round(part["pointing: area"].mean()),
        }
    return row


MEDIANS = (
    "controls beaten in deletion",
    "controls beaten in insertion",
    "median",
    "blank maps",
    "infidelity",
    "max-sensitivity",
)


def _round(value: float) -> float | None:
    return None if pd.isna(value) else round(float(value), 3)
