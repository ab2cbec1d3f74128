"""The panel of right answers: over all images, by class and group the worst first, and what is taken for what."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from xai.reports.artefacts import get_rows
from xai.reports.evidence import Evidence
from xai.reports.html.sections.base import Pictures, Section, level
from xai.reports.records import Finding, Value

LOST = "images without an answer"
OF_CLASS, OF_GROUP = "accuracy of class ", "accuracy of group "
GIVEN = "given"  # labels that are not the model's own answers
SHOWN = 12  # classes or groups at most, the worst
GRID = 20  # classes at most of a matrix that is drawn whole
LISTED = 10  # confusions at most, where it is not
WIDTH = 240  # of a bar's drawing, in its own units


class Confused(NamedTuple):
    """How many images of a class got an answer that is another."""

    truth: str
    answer: str
    images: int


class Performance(Section):
    """A sentence, bars with intervals, and the confusion matrix as a shaded table."""

    family = "performance"
    wide = True
    body = """
{% if total is none %}<p class="reading">No image was answered.</p>{% else %}
<p class="reading">Of {{ total.n | count }} images <b>{{ total.value | share }}</b> are right (95 % interval {{ total.interval[0] | share }} to {{ total.interval[1] | share }}){{ ", where the model’s own answers count as right for some" if own }}.
{% for part in parts %}{{ " " }}{% if part.even %}Every {{ part.noun }} has {{ part.shown[0].value.value | share }}.{% else %}The worst {{ part.noun }}, <b class="name">{{ part.shown[0].name }}</b>, has {{ part.shown[0].value.value | share }} of {{ part.shown[0].value.n | count }}.{% endif %}{% endfor %}
{% if lost %}{{ " " }}For <b>{{ lost | count }}</b> of them the outputs are NaN or infinite: they count as wrong, and no answer of the {{ "matrix" if grid else "list" }} is theirs.{% endif %}</p>
{% endif %}
<div class="beside">
{% for part in parts %}
<table class="spans"><caption>By {{ part.noun }}, the worst first{% if part.more %}: {{ part.shown | length }} of {{ part.shown | length + part.more }}, no other is below {{ part.least | share }}{% endif %}; lines are 95 % intervals, each by itself, and the broken line is that of all images</caption>
<thead><tr><th scope="col">{{ part.noun }}</th><th scope="col">right</th><th scope="col">from 0 to 100 %</th></tr></thead>
{% for one in part.shown %}<tr><th scope="row">{{ one.name }}</th><td>{{ one.value.value | share }}<span class="interval">{{ one.value.interval[0] | share }} – {{ one.value.interval[1] | share }}, n = {{ one.value.n | count }}</span></td>
<td><svg viewBox="0 0 {{ width }} 20" preserveAspectRatio="none" aria-hidden="true"><rect class="ground" width="{{ width }}" height="20"/><rect class="part" width="{{ one.middle }}" height="20"/><path class="all" d="M{{ all }} 0V20"/><path class="whisker" d="M{{ one.low }} 10H{{ one.high }}M{{ one.low }} 5v10M{{ one.high }} 5v10"/></svg></td></tr>
{% endfor %}</table>
{% endfor %}
{% if grid %}
<div><p class="how">How many images of the class that a row names got which answer. The stronger the colour, the larger the part of the row; framed cells are right.</p>
<div class="scroll whole-height" tabindex="0" role="group" aria-label="Confusion matrix"><table class="tiles confusion"><caption>Confusion matrix</caption>
<thead><tr><th scope="col">is \\ answered</th>{% for name in grid.names %}<th scope="col">{{ name }}</th>{% endfor %}</tr></thead>
{% for row in grid.rows %}<tr><th scope="row">{{ row.name }}</th>{% for cell in row.cells %}<td class="{{ "right" if cell.right else "wrong" }} level-{{ cell.level }}">{{ cell.count | count }}</td>{% endfor %}</tr>
{% endfor %}</table></div></div>
{% elif confused %}
<table class="tiles numbers"><caption>What is most often taken for what{% if kinds > confused | length %}: {{ confused | length }} of {{ kinds | count }} confusions{% endif %}</caption>
<thead><tr><th scope="col">is</th><th scope="col">answered</th><th scope="col">images</th></tr></thead>
{% for one in confused %}<tr><th scope="row">{{ one.truth }}</th><td class="name">{{ one.answer }}</td><td>{{ one.images | count }}</td></tr>
{% endfor %}</table>
{% elif total and wrong == 0 %}
<p>No image is taken for another class.</p>
{% endif %}
</div>
"""

    def context(self, finding: Finding, run: Evidence, pictures: Pictures) -> dict[str, Any]:  # noqa: ARG002  # drawings, no picture
        """Place bars, and shade the matrix or list its heaviest entries."""
        values = finding.values
        total = values.get("accuracy")
        parts = [_part(noun, values, start) for noun, start in (("group", OF_GROUP), ("class", OF_CLASS))]
        matrix = run.array(finding, "confusion") if "confusion" in finding.artefacts else None
        names = [] if matrix is None else _names(finding, run, len(matrix))
        grid = None if matrix is None else shaded(matrix, names)
        confused: list[Confused] = []
        if grid is None:
            confused = sorted(_of_rows(finding, run) if matrix is None else _of_matrix(matrix, names), key=_most_first)
        return {
            "total": total,
            "own": finding.parameters.get("labels", GIVEN) != GIVEN,
            "lost": values[LOST].value if LOST in values else 0,
            "all": 0 if total is None else _across(_number(total)),
            "width": WIDTH,
            "parts": [part for part in parts if part is not None],
            "grid": grid,
            "confused": confused[:LISTED],
            "kinds": len(confused),
            "wrong": sum(one.images for one in confused),
        }


def shaded(matrix: np.ndarray, names: Sequence[str]) -> dict[str, Any] | None:
    """Return the rows and columns that a drawn matrix has, None if they are too many.

    A class that neither occurs nor is answered is left out.

    Args:
        matrix: (classes, classes) images by class and answer.
        names: of the classes.
    """
    seen: list[int] = np.flatnonzero(matrix.sum(0) + matrix.sum(1)).tolist()
    if not 0 < len(seen) <= GRID:
        return None
    rows = []
    for label in seen:
        whole = int(matrix[label].sum())
        cells = [
            {"count": count, "right": answer == label, "level": level(count / max(1, whole))}
            for answer, count in zip(seen, matrix[label, seen].tolist(), strict=True)
        ]
        rows.append({"name": names[label], "cells": cells})
    return {"names": [names[answer] for answer in seen], "rows": rows}


def _part(noun: str, values: dict[str, Value], start: str) -> dict[str, Any] | None:
    """Return the worst classes or groups, None where there are not two of them."""
    found = [(name.removeprefix(start), value) for name, value in values.items() if name.startswith(start)]
    if len(found) < 2:
        return None
    found.sort(key=lambda pair: (_number(pair[1]), -(pair[1].n or 0), pair[0]))
    rest = found[SHOWN:]
    return {
        "noun": noun,
        "even": _number(found[0][1]) == _number(found[-1][1]),
        "shown": [_bar(name, value) for name, value in found[:SHOWN]],
        "more": len(rest),
        "least": _number(rest[0][1]) if rest else None,
    }


def _bar(name: str, value: Value) -> dict[str, Any]:
    low, high = value.interval or (0.0, 1.0)
    return {
        "name": name,
        "value": value.model_copy(update={"interval": (low, high)}),
        "middle": _across(_number(value)),
        "low": _across(low),
        "high": _across(high),
    }


def _across(share: float) -> float:
    return round(share * WIDTH, 1)


def _names(finding: Finding, run: Evidence, count: int) -> list[str]:
    """Return the answers' names: the card's, or those that the rows tell."""
    classes = run.record.model.card.get("classes") or []
    if len(classes) == count:
        return [str(name) for name in classes]
    told = {row["label"]: row["class"] for row in _rows(finding, run)}
    return [str(told.get(answer, f"answer {answer}")) for answer in range(count)]


def _rows(finding: Finding, run: Evidence) -> Iterator[dict[str, Any]]:
    """Return a row an image, where they are kept."""
    return get_rows(run.store, finding.artefacts["rows"]) if "rows" in finding.artefacts else iter(())


def _of_matrix(matrix: np.ndarray, names: Sequence[str]) -> Iterator[Confused]:
    """Yield the entries beside the diagonal that are not empty."""
    for label, answer in np.argwhere(matrix):
        if label != answer:
            yield Confused(names[label], names[answer], int(matrix[label, answer]))


def _of_rows(finding: Finding, run: Evidence) -> Iterator[Confused]:
    """Yield what was taken for what, where there is no matrix."""
    classes = run.record.model.card.get("classes") or []
    found: Counter[tuple[str, int]] = Counter()
    for row in _rows(finding, run):
        if row["predicted"] != row["label"] and row.get("finite", True):
            found[row["class"], row["predicted"]] += 1
    for (truth, answer), count in found.items():
        yield Confused(truth, str(classes[answer]) if answer < len(classes) else f"answer {answer}", count)


def _most_first(one: Confused) -> tuple[int, str, str]:
    return -one.images, one.truth, one.answer


def _number(value: Value) -> float:
    return float(value.value or 0)
