"""What is said of an input's neighbours: do they carry its answer, and are they as near as neighbours use to be?"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from xai.data.labels import NONE
from xai.engine.reference.reading import Reading
from xai.reports.artefacts import Store, put, put_rows
from xai.reports.records import Finding, Value

FAMILY = "neighbours"
UNUSUAL = 0.05  # share of the entries that are as far from their own nearest, up to which it is unusual
TITLE = "Nearest in the reference"
LIMITS = (
    "That an entry is near does not mean that it made the model answer so: nothing is said of a cause, nor whether the "
    "model was trained on it. Near is what the network takes for alike, which need not be what a person does, and "
    "neighbours that carry the answer do not make it right."
)


@dataclass(frozen=True)
class Asked:
    """An input that is put beside the data.

    Args:
        id: of the input.
        answer: place among the model's answers; None where outputs are no classes.
    """

    id: str
    answer: int | None


def blank(asked: Asked) -> Finding:
    """Return a finding that says nothing yet."""
    return Finding(
        id=f"{FAMILY}/{asked.id}",
        family=FAMILY,
        method=FAMILY,
        title=TITLE,
        description="The entries of a data set that are most like the input where the network decides, by the cosine "
        "of the features that its last layer reads.",
        limits=LIMITS,
        source="",
        kind="exact",
        input=asked.id,
        status="skipped",
    )


def neighbours(place: int, asked: Asked, reading: Reading, store: Store) -> Finding:
    """Return what is said of one input.

    Args:
        place: of it, among all inputs.
        asked: the input.
        reading: of the data.
        store: keeps rows and thumbnails.
    """
    rows = [_row(int(index), float(alike), place, reading) for index, alike in _near(place, reading)]
    own = reading.others(place)
    values = {**_nearness(place, rows, own, reading), **_labels(asked, rows, reading)}
    values["said"] = Value(value=_sentence(asked, values, rows, reading))
    artefacts = {"rows": put_rows(store, rows), "nearest among the reference": put(store, own)}
    if reading.pictures:
        artefacts["thumbnails"] = put(store, np.stack([reading.pictures[row["entry"]] for row in rows]))
    return blank(asked).model_copy(
        update={"status": "ok", "values": values, "artefacts": artefacts, "notes": tuple(_notes(rows, values))}
    )


def _near(place: int, reading: Reading) -> list[tuple[int, float]]:
    return list(zip(reading.near.places[place].tolist(), reading.near.values[place].tolist(), strict=True))


def _row(index: int, alike: float, place: int, reading: Reading) -> dict[str, Any]:
    return {**entry(index, reading), "alike": alike, "same": index in reading.same.get(place, ())}


def entry(index: int, reading: Reading) -> dict[str, Any]:
    """Return what is told of an entry that is shown."""
    data, answers = reading.data, reading.eye.model.answers
    label = int(reading.labels[index])
    return {
        "entry": index,
        "id": data.id(index),
        "label": None if label == NONE else answers[label],
        "answer": answers[reading.answers[index]],
    }


def _nearness(place: int, rows: list[dict[str, Any]], own: np.ndarray, reading: Reading) -> dict[str, Value]:
    nearest = float(reading.nearest[0][place])
    far = float((own <= nearest).mean()) if len(own) and np.isfinite(nearest) else None
    return {
        "nearest": Value(value=rows[0]["alike"], unit="cosine of the features", n=reading.read),
        "same picture": Value(value=len(reading.same.get(place, ())), unit="entries that are the very picture"),
        "nearest other": Value(
            value=nearest if np.isfinite(nearest) else None, unit="cosine, of another picture", n=len(own)
        ),
        "as far": Value(
            value=far,
            unit="share of the entries that are as far from their own nearest other picture, or farther",
            n=len(own),
            reason="" if far is not None else "there are not two other pictures",
        ),
        "unusual": Value(value=None if far is None else far <= UNUSUAL, unit=f"whether that is {UNUSUAL:.0%} or less"),
    }


def _labels(asked: Asked, rows: list[dict[str, Any]], reading: Reading) -> dict[str, Value]:
    """Return how many neighbours carry the input's answer as their label, and how many would by chance."""
    labelled = reading.labels[(reading.labels != NONE) & (reading.answers != NONE)]
    if asked.answer is None or not len(labelled):
        reason = "the model's outputs are no classes" if asked.answer is None else "the reference has no labels"
        return {"carry the answer": Value(value=None, reason=reason)}
    known = [row["entry"] for row in rows if row["label"] is not None]
    return {
        "carry the answer": Value(
            value=int((reading.labels[known] == asked.answer).sum()), unit="neighbours with that label", n=len(known)
        ),
        "by chance": Value(
            value=float((labelled == asked.answer).mean()),
            unit="share of the labelled entries that carry it",
            n=len(labelled),
        ),
    }


def _sentence(asked: Asked, values: Mapping[str, Value], rows: list[dict[str, Any]], reading: Reading) -> str:
    name = "" if asked.answer is None else reading.eye.model.answers[asked.answer]
    carry = values["carry the answer"]
    if "by chance" not in values:
        said = f"The {len(rows)} nearest entries are shown without counting labels: {carry.reason}"
    elif not carry.n:
        said = f"None of the {len(rows)} nearest entries has a label"
    else:
        expected = carry.n * float(values["by chance"].value or 0)
        said = (
            f"{carry.value} of the {carry.n} nearest entries that have a label carry the answer, {name}; entries "
            f"taken at random would give {expected:.2g}"
        )
    far = values["as far"]
    if far.value is None:
        return f"{said}."
    how = "unusually far" if values["unusual"].value else "no farther than usual"
    return (
        f"{said}. Its nearest other picture is {how}: {100 * float(far.value):.3g} % of the {far.n} entries that were "
        "compared are as far from theirs, or farther."
    )


def _notes(rows: list[dict[str, Any]], values: Mapping[str, Value]) -> list[str]:
    same = int(values["same picture"].value or 0)
    if not same:
        return []
    shown = [row["id"] for row in rows if row["same"]]
    named = f": {', '.join(shown)}" if shown else ""
    many = "One entry of the reference is" if same == 1 else f"{same} entries of the reference are"
    return [f"{many} this very picture{named}. It counts among the neighbours, and is no evidence that others agree."]
