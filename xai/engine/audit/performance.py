"""How often the model is right: over all test images, by class and by group, and what is taken for what."""

from __future__ import annotations

from collections import Counter

import numpy as np

from xai.engine.audit.answers import Answers
from xai.models.model import Model
from xai.reports.artefacts import Store, put, put_rows
from xai.reports.intervals import clopper_pearson
from xai.reports.records import Finding, Value

LOST = "images without an answer"
MATRIX = 1000  # classes: a matrix of more is not kept


def performance(answers: Answers, model: Model, store: Store) -> Finding:
    """Return accuracy with its interval, by class and group, and the confusion matrix.

    Outputs that are not finite are no answer: they count as wrong, and stand nowhere in the matrix.
    """
    total: Counter[str] = Counter()
    right: Counter[str] = Counter()
    matrix = np.zeros((len(model.answers), len(model.answers)) if len(model.answers) <= MATRIX else (0, 0), np.int64)
    lost = 0
    for row in answers.rows():
        parts = ["accuracy", f"accuracy of class {row['class']}"]
        parts += [] if row["group"] is None else [f"accuracy of group {row['group']}"]
        total.update(parts)
        right.update(parts if row["right"] else [])
        lost += not row["finite"]
        if matrix.size and row["finite"]:
            matrix[row["label"], row["predicted"]] += 1
    shares = {
        name: Value(
            value=right[name] / total[name],
            unit="share of all images" if name == "accuracy" else "share of its images",
            n=total[name],
            interval=clopper_pearson(right[name], total[name]),
        )
        for name in sorted(total, key=lambda name: (name != "accuracy", name))
    }
    return Finding(
        id="performance",
        family="performance",
        method="performance",
        title="Right answers",
        description="The share of test images that are answered right, over all and by class and group.",
        limits="It is about images like these: nothing follows for others. Intervals are for images drawn at random "
        "from what the model will meet; those of many classes or groups are not corrected for their number.",
        source="Clopper and Pearson 1934",
        kind="statistical",
        input=None,
        status="ok",
        parameters={"labels": answers.labels, "data digest": answers.digest},
        values={**shares, LOST: Value(value=lost, unit="NaN or infinite outputs, counted as wrong", n=answers.images)},
        artefacts={
            "rows": put_rows(store, answers.rows()),
            **({"confusion": put(store, matrix)} if matrix.size else {}),
            **answers.scores,
        },
    )
