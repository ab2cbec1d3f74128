"""Findings and whole runs for the tests of audits: plain data, without a network."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np

from xai.reports.artefacts import MemoryStore, Store, put, put_rows
from xai.reports.intervals import clopper_pearson
from xai.reports.records import (
    AuditRecord,
    Finding,
    InputRecord,
    ModelRecord,
    Prediction,
    RunRecord,
    Scalar,
    Speaks,
    Status,
    Trust,
    Value,
)
from xai.reports.run import Run

CLASSES = ("circle", "square")


def share(count: int, total: int) -> Value:
    """Return a share as the engine records it."""
    value = count / total if total else None
    return Value(value=value, unit="share of all images", n=total, interval=clopper_pearson(count, total))


def finding(
    family: str,
    values: dict[str, Value] | None = None,
    *,
    name: str = "",
    status: Status = "ok",
    reason: str = "",
    kind: str = "exact",
    about: str | None = None,
    parameters: dict[str, Scalar] | None = None,
    trust: tuple[Trust, ...] = (),
) -> Finding:
    """Return a finding of a family."""
    return Finding(
        id=name or family,
        family=family,
        method=name or family,
        title=f"The {family}",
        description="What it means.",
        limits="What it does not mean.",
        source="Somebody 2020",
        kind=kind,
        input=about,
        status=status,
        reason=reason,
        values=values or {},
        parameters=parameters or {},
        trust=trust,
    )


def judged(measure: str, speaks: Speaks, status: Status = "ok", reason: str = "") -> Trust:
    """Return what a measure says."""
    return Trust(
        measure=measure,
        title=f"The {measure}",
        sentence=f"it speaks {speaks}",
        speaks=speaks,
        description="What it looks at.",
        limits="What it does not mean.",
        source="Somebody 2021",
        kind="heuristic",
        status=status,
        reason=reason,
    )


def attacked(counts: dict[str, int], total: int = 200, **parameters: Scalar) -> Finding:
    """Return a finding of accuracy under attack, by size."""
    values = {"accuracy": share(total * 9 // 10, total)}
    values |= {f"robust accuracy at {size}": share(count, total) for size, count in counts.items()}
    settings: dict[str, Scalar] = {"norm": "linf", "plan": "standard", "labels": "given", **parameters}
    return finding("robustness", values, kind="heuristic", parameters=settings)


def images(
    right: list[bool], distance: list[float], groups: tuple[str, ...] = ("day", "night")
) -> list[dict[str, Any]]:
    """Return the rows of an attack, an image each; 0.0 as a distance says that nothing was found."""
    return [
        {
            "id": f"image-{i}",
            "source": f"images/{i}.png",
            "digest": f"{i:064x}",
            "group": groups[i % len(groups)],
            "label": i % 2,
            "labelled": True,
            "right": good,
            "distance": distance[i] or None,
            "corrupted": {"blur 3": good},
        }
        for i, good in enumerate(right)
    ]


def stored(rows: list[dict[str, Any]], sizes: tuple[str, ...], store: Store, **parameters: Scalar) -> Finding:
    """Return a finding of accuracy under attack whose values follow from its rows, with all that a page draws."""
    right = np.array([row["right"] for row in rows])
    found = np.array([np.inf if row["distance"] is None else row["distance"] for row in rows])
    distance = np.where(right, found, 0.0)
    epsilons = {name: float(Fraction(name)) for name in sizes}
    counts = {name: int((distance > size).sum()) for name, size in epsilons.items()}
    made = attacked(counts, len(rows), **{f"epsilon {name}": size for name, size in epsilons.items()}, **parameters)
    fell = np.isfinite(found) & right
    values = {**made.values, "accuracy": share(int(right.sum()), len(rows))}
    values |= {f"success rate at {name}": share(int(right.sum()) - n, int(right.sum())) for name, n in counts.items()}
    values |= {"claimed": Value(value=int(fell.sum()), n=int(right.sum())), "not confirmed": Value(value=0, n=9)}
    steps = np.unique([0.0, *distance[np.isfinite(distance)], *epsilons.values()])
    curve = {"epsilons": steps, "robust accuracy": np.array([(distance > step).mean() for step in steps])}
    artefacts = {"rows": put_rows(store, rows), **{name: put(store, array) for name, array in curve.items()}}
    settings: dict[str, Scalar] = {**made.parameters, "confirmed in": "onnxruntime"}
    return made.model_copy(update={"values": values, "parameters": settings, "artefacts": artefacts})


def whole(
    *findings: Finding,
    audit: AuditRecord | None = None,
    name: str = "net",
    store: MemoryStore | None = None,
    chosen: tuple[str, ...] = (),
) -> Run:
    """Return a run with these findings and one input."""
    store = store or MemoryStore()
    prepared = put(store, np.linspace(0, 1, 3 * 8 * 8, dtype=np.float32).reshape(3, 8, 8))
    given = InputRecord(
        id="star",
        source="star.png",
        digest="0" * 64,
        treatments=(),
        range=(0.0, 1.0),
        prepared=prepared,
        predictions=(Prediction(index=0, name="circle", output=1.0, probability=0.7),),
        chosen=chosen,
    )
    model = ModelRecord(
        name=name,
        source=f"{name}.pt",
        format="torch",
        architecture="",
        digest="1" * 64,
        fingerprint="2" * 64,
        card={
            "input": {"shape": [3, 8, 8], "range": [0.0, 1.0]},
            "classes": list(CLASSES),
            "output": "logits",
            "measured": {},
        },
        assumed=(),
        parameters=1234,
        layers=(),
        no_graph="",
    )
    record = RunRecord(
        verb="audit",
        command=f"xai audit {name}.yaml",
        created="2026-01-01T00:00:10+00:00",
        seconds=12.0,
        versions={"xai": "0"},
        settings={"device": "cpu", "seed": 0, "threads": 1, "memory": 2**20},
        model=model,
        inputs=(given,),
        findings=findings,
        audit=audit,
    )
    return Run(record, store)
