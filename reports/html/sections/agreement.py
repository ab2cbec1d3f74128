"""The panel of agreement: a matrix of what the maps of several methods have in common."""

from __future__ import annotations

from typing import Any

from xai.reports.evidence import Evidence
from xai.reports.html.sections.base import Figure, Pictures, Section, level
from xai.reports.records import Finding, Value
from xai.reports.words import number

AND = " and "
MANY = 6  # methods, beyond which both numbers do not fit into one cell
CORRELATION, OVERLAP = "rank correlation", "overlap"
MEAN_CORRELATION, MEAN_OVERLAP, CHANCE = f"mean {CORRELATION}", f"mean {OVERLAP}", "overlap by chance"


class Agreement(Section):
    """A sentence, and a matrix whose cells hold both numbers; of many methods one on either side of its diagonal."""

    family = "agreement"
    secondary = True
    body = """
<p class="reading">{% if over %}Over {{ over | count }} images the{% else %}The{% endif %} maps of {{ names | length }} methods have a mean rank correlation of <b>{{ correlation.value | number }}</b>,
and {{ overlap.value | share }} of the places that are among the highest tenth of one are among those of another; by chance {{ chance.value | share }} would be.</p>
<div class="scroll whole-height" tabindex="0" role="group" aria-label="Agreement of {{ names | join(", ") }}">{% if square %}<table class="tiles numbers detectors many">
<caption>Above the diagonal Spearman’s rank correlation of each two maps, in percent; below it the overlap of their highest tenth, in percent{% if over %}; means over the images, whose intervals are in the record{% endif %}. Methods that are alike stand beside one another; the stronger the colour, the higher</caption>
<thead><tr><th scope="col">method</th>{% for row in square %}<th scope="col"><abbr title="{{ row.name }}">{{ loop.index }}</abbr></th>{% endfor %}</tr></thead>
{% for row in square %}<tr><th scope="row">{{ loop.index }} {{ row.name }}</th>{% for cell in row.cells %}{% if cell %}<td class="right level-{{ cell.level }}">{{ cell.percent }}</td>{% else %}<td></td>{% endif %}{% endfor %}</tr>
{% endfor %}</table>{% else %}<table class="tiles numbers detectors">
<caption>Spearman’s rank correlation of each two maps; below, the overlap of their highest tenth{% if over %}, means over the images with 95 % intervals{% endif %}. The stronger the colour, the higher the correlation</caption>
<thead><tr><th scope="col">method</th>{% for name in names[1:] %}<th scope="col">{{ name }}</th>{% endfor %}</tr></thead>
{% for row in rows %}<tr><th scope="row">{{ row.name }}</th>{% for cell in row.cells %}{% if cell %}<td class="right level-{{ cell.level }}">{{ "%.2f" | format(cell.correlation.value) }}{% if cell.correlation.interval %}<span class="interval">{{ cell.correlation.interval[0] | number }} – {{ cell.correlation.interval[1] | number }}</span>{% endif %}<span class="interval">overlap {{ cell.overlap.value | share }}{% if cell.overlap.interval %}<br>{{ cell.overlap.interval[0] | share }} – {{ cell.overlap.interval[1] | share }}{% endif %}</span></td>{% else %}<td></td>{% endif %}{% endfor %}</tr>
{% endfor %}</table>{% endif %}</div>
"""

    def headline(self, finding: Finding) -> list[Figure]:
        """Return how far the methods agree over all images."""
        found = finding.values[MEAN_CORRELATION]
        return [Figure(number(found.value), f"mean rank correlation of the methods' maps, {found.n} images")]

    def context(self, finding: Finding, run: Evidence, pictures: Pictures) -> dict[str, Any]:  # noqa: ARG002  # a table, no picture
        """Lay out the matrix: of few methods above its diagonal, since each pair is told once."""
        values, names = finding.values, str(finding.parameters["methods"]).split(", ")
        return {
            "names": names,
            "over": values[MEAN_CORRELATION].n if finding.input is None else None,
            "correlation": values[MEAN_CORRELATION],
            "overlap": values[MEAN_OVERLAP],
            "chance": values[CHANCE],
            "rows": [{"name": one, "cells": [_cell(values, one, other) for other in names[1:]]} for one in names[:-1]],
            "square": _square(values, names) if len(names) > MANY else [],
        }


def _square(values: dict[str, Value], names: list[str]) -> list[dict[str, Any]]:
    """Return the rows of all methods with all, alike ones beside one another."""
    ordered = _beside(values, names)
    return [
        {
            "name": one,
            "cells": [
                _percent(values, one, other, CORRELATION if row < column else OVERLAP)
                for column, other in enumerate(ordered)
            ],
        }
        for row, one in enumerate(ordered)
    ]


def _beside(values: dict[str, Value], names: list[str]) -> list[str]:
    """Return methods in an order that puts each beside the one, of those left, whose maps correlate most with its."""
    ordered, left = names[:1], names[1:]
    while left:
        last = ordered[-1]
        ordered.append(max(left, key=lambda other: _size(_of(values, last, other, CORRELATION))))
        left.remove(ordered[-1])
    return ordered


def _of(values: dict[str, Value], one: str, other: str, what: str) -> Value | None:
    return values.get(f"{one}{AND}{other}: {what}") or values.get(f"{other}{AND}{one}: {what}")


def _size(value: Value | None) -> float:
    return value.value if value is not None and isinstance(value.value, float) else -1.0


def _percent(values: dict[str, Value], one: str, other: str, what: str) -> dict[str, Any] | None:
    value = _of(values, one, other, what)
    if value is None or not isinstance(value.value, float):
        return None
    return {"percent": str(round(100 * value.value)), "level": level(value.value)}


def _cell(values: dict[str, Value], one: str, other: str) -> dict[str, Any] | None:
    correlation = values.get(f"{one}{AND}{other}: {CORRELATION}")
    if correlation is None:
        return None
    size = correlation.value if isinstance(correlation.value, float) else 0.0
    return {
        "correlation": correlation,
        "overlap": values[f"{one}{AND}{other}: {OVERLAP}"],
        "level": level(size),
    }
