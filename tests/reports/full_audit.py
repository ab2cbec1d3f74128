"""An audit with every panel that only audits have, of plain data: hostile names, skipped findings, folded ones."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from tests.reports.findings import finding, images, share, stored, whole
from tests.reports.test_page import HOSTILE
from xai.reports.artefacts import MemoryStore, Store, put, put_rows
from xai.reports.audit import begin, settle
from xai.reports.policy.reading import read_policy
from xai.reports.records import ClauseRecord, Finding, ProfileRecord, Value
from xai.reports.run import Run

CLASSES = ("circle", HOSTILE, "triangle")
POLICY = """\
model: {source: net.pt, intended_use: sorting shapes}
data: {test: images/}
requirements:
  - {id: ACC, text: Nearly all answers are right., require: accuracy >= 80 %, clauses: [own 1, own 2]}
  - {id: WORST, require: worst_class_accuracy >= 80 %}
  - {id: ROB, require: "robust_accuracy(standard, 2/255) >= 90 %", clauses: [own 2]}
  - {id: ECE, require: ece <= 0.05, severity: should}
  - {id: JPG, require: "corruption(jpeg, 3) >= 90 %", severity: should, clauses: [own 3]}
  - {id: FOG, require: "corruption(fog, 3) >= 90 %", severity: should}
  - {id: MAP, require: "explanation.randomisation >= 0.5", severity: may}
"""
OWN = ProfileRecord(
    name="own",
    title="House rules, edition 1",
    note="Made for tests.",
    digest="0" * 64,
    clauses=(
        ClauseRecord(id="1", asks="It is right.", families=("performance",)),
        ClauseRecord(id="2", asks="It is right under attack.", families=("performance", "robustness")),
        ClauseRecord(id="3", asks="It withstands the weather.", families=("corruption",)),
        ClauseRecord(id="4", asks="It knows what it does not know.", families=("ood-evaluation",)),
        ClauseRecord(id="5", asks="It is kept.", outside="it is about archives"),
    ),
)


def answered(count: int = 200, classes: tuple[str, ...] = CLASSES) -> list[dict[str, Any]]:
    """Return rows of answers: each seventh image is taken for the next class."""
    labels = [i % len(classes) for i in range(count)]
    said = [(label + (i % 7 == 3)) % len(classes) for i, label in enumerate(labels)]
    return [
        {
            "id": f"image-{i}",
            "source": f"images/{i}.png",
            "digest": f"{i:064x}",
            "group": ("day", "night")[i % 3 == 1],
            "label": label,
            "labelled": True,
            "class": classes[label],
            "predicted": answer,
            "finite": True,
            "right": answer == label,
            "probability": 0.9,
        }
        for i, (label, answer) in enumerate(zip(labels, said, strict=True))
    ]


def performance(rows: list[dict[str, Any]], store: Store, classes: int | None = len(CLASSES)) -> Finding:
    """Return a finding of right answers as the engine records it; without a matrix if the classes are None."""
    values = {"accuracy": share(sum(row["right"] for row in rows), len(rows))}
    for column in ("class", "group"):
        for name in sorted({row[column] for row in rows}):
            own = [row["right"] for row in rows if row[column] == name]
            values[f"accuracy of {column} {name}"] = share(sum(own), len(own))
    artefacts = {"rows": put_rows(store, rows)}
    if classes is not None:
        matrix = np.zeros((classes, classes), np.int64)
        np.add.at(matrix, tuple(np.array([[row["label"], row["predicted"]] for row in rows]).T), 1)
        artefacts["confusion"] = put(store, matrix)
    made = finding("performance", values, kind="statistical", parameters={"labels": "given"})
    return made.model_copy(update={"title": "Right answers", "artefacts": artefacts})


def calibration(store: Store) -> Finding:
    """Return a finding of certainty with three bins in use, too sure before the temperature and right after it."""
    values = {
        "ece": Value(value=0.085, n=200, interval=(0.06, 0.12)),
        "temperature": Value(value=1.7, unit="fitted on the calibration images", n=90),
        "ece after scaling": Value(value=0.01, n=200, interval=(0.004, 0.03)),
        "mean certainty": Value(value=0.905, n=200),
    }
    count, sure = np.array([0, 20, 30, 150]), np.array([np.nan, 0.55, 0.75, 0.975])
    right = np.array([np.nan, 0.5, 0.6, 0.9])
    arrays = {"count": count, "certainty": sure, "share right": right}
    arrays |= {"scaled count": count, "scaled certainty": right, "scaled share right": right}
    made = finding("calibration", values, kind="statistical", parameters={"bins": 4})
    kept = {name: put(store, array) for name, array in arrays.items()}
    return made.model_copy(update={"title": "Certainty", "artefacts": kept})


def repetition(changed: int = 0, apart: float = 3.8e-6) -> Finding:
    """Return a finding of the same inputs asked again."""
    values = {
        "largest difference, asked twice": Value(value=0.0, unit="in the outputs' unit", n=16),
        "largest difference, alone and in a batch of 16": Value(value=apart, unit="in the outputs' unit", n=16),
        "answers that change": Value(value=changed, unit="images", n=16),
    }
    return finding("repetition", values)


def cost(seconds: float = 0.00148) -> Finding:
    """Return a finding of what an image costs."""
    values = {
        "multiply-adds": Value(value=14_746_176, unit="an image"),
        "weights": Value(value=320_728, unit="bytes"),
        "activations": Value(value=524_288, unit="bytes an image, all at once"),
    }
    return finding("cost", values).model_copy(update={"seconds": seconds})


def corruption(name: str, right: dict[int, int], total: int = 200) -> Finding:
    """Return a finding of a corruption, with so many right images by severity."""
    values = {f"accuracy at severity {severity}": share(count, total) for severity, count in right.items()}
    return finding("corruption", values, name=name, kind="statistical").model_copy(update={"title": name.capitalize()})


def detector(name: str, store: Store) -> Finding:
    """Return a finding of a fitted detector."""
    values = {
        "threshold": Value(value=0.9, unit="score, by keep rate", n=40, interval=(0.8, 0.95)),
        "keeps": Value(value=0.95, unit="share", n=40, interval=(0.9, 0.99)),
    }
    held = {"held": put(store, np.linspace(0, 1, 40))}
    return finding("ood-detector", values, name=name).model_copy(update={"artefacts": held, "title": name.upper()})


def full_audit(folder: Path, rows: list[dict[str, Any]] | None = None, name: str = HOSTILE) -> Run:
    """Return a run with an audit; its policy is written to a folder."""
    path = folder / "audit.yaml"
    path.write_text(POLICY)
    audit = begin(read_policy(path), (OWN,), now=datetime(2026, 1, 1, tzinfo=UTC))
    audit = audit.model_copy(update={"policy": audit.policy.model_copy(update={"source": "audit.yaml"})})
    store = MemoryStore()
    rows = answered() if rows is None else rows
    rows[3]["id"] = "star"  # the run's one input, which is taken for another class
    right, distance = [row["right"] for row in rows], [0.005 if i % 3 else 0.5 for i in range(len(rows))]
    findings = (
        performance(rows, store, max(len(CLASSES), *(row["label"] + 1 for row in rows))),
        calibration(store),
        repetition(),
        cost(),
        stored(images(right, distance), ("1/255", "2/255"), store),
        corruption("fog", {1: 190, 3: 185}),
        corruption("jpeg", {1: 150, 3: 90, 5: 60}),
        finding("corruption", name="snow", status="skipped", reason="it is made for pictures"),
        *(detector(one, store) for one in ("msp", "energy", "knn", "vim")),
        finding("drift", name="drift/star", about="star", status="skipped", reason="nothing changed its answer"),
        finding("explanation", name="gradcam/star", about="star", status="failed", reason="no layer has places"),
    )
    return whole(*findings, audit=settle(audit, findings), store=store, name=name, chosen=("wrong", "least sure"))
