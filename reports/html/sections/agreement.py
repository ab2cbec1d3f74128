"""The panel of agreement: a matrix of what the maps of several methods have in common."""

from __future__ import annotations

from typing import Any

from xai.reports.evidence import Evidence
from xai.reports.html.sections.base import Figure, Pictures, Section, level
from xai.reports.records import Finding, Value
from xai.reports.words import number

AND = " and "
CORRELATION, OVERLAP = "rank correlation", "overlap"
MEAN_CORRELATION, MEAN_OVERLAP, CHANCE = f"mean {CORRELATION}", f"mean {OVERLAP}", "overlap by chance"


class Agreement(Section):
    """A sentence, and a matrix whose cells hold both numbers."""

    family = "agreement"
    secondary = True
    body = """
<p class="reading">{% if over %}Over {{ over | count }} images the{% else %}The{% endif %} maps of {{ names | length }} methods have a mean rank correlation of <b>{{ correlation.value | number }}</b>,
and {{ overlap.value | share }} of the places that are among the highest tenth of one are among those of another; by chance {{ chance.value | share }} would be.</p>
<div class="scroll whole-height" tabindex="0" role="group" aria-label="Agreement of {{ names | join(", ") }}"><table class="tiles numbers detectors">
<caption>Spearman’s rank correlation of each two maps; below, the overlap of their highest tenth{% if over %}, means over the images with 95 % intervals{% endif %}. The stronger the colour, the higher the correlation</caption>
<thead><tr><th scope="col">method</th>{% for name in names[1:] %}<th scope="col">{{ name }}</th>{% endfor %}</tr></thead>
{% for row in rows %}<tr><th scope="row">{{ row.name }}</th>{% for cell in row.cells %}{% if cell %}<td class="right level-{{ cell.level }}">{{ "%.2f" | format(cell.correlation.value) }}{% if cell.correlation.interval %}<span class="interval">{{ cell.correlation.interval[0] | number }} – {{ cell.correlation.interval[1] | number }}</span>{% endif %}<span class="interval">overlap {{ cell.overlap.value | share }}{% if cell.overlap.interval %}<br>{{ cell.overlap.interval[0] | share }} – {{ cell.overlap.interval[1] | share }}{% endif %}</span></td>{% else %}<td></td>{% endif %}{% endfor %}</tr>
{% endfor %}</table></div>
"""

    def headline(self, finding: Finding) -> list[Figure]:
        """Return how far the methods agree over all images."""
        found = finding.values[MEAN_CORRELATION]
        return [Figure(number(found.value), f"mean rank correlation of the methods' maps, {found.n} images")]

    def context(self, finding: Finding, run: Evidence, pictures: Pictures) -> dict[str, Any]:  # noqa: ARG002  # a table, no picture
        """Lay out the matrix: above its diagonal, since each pair is told once."""
        values, names = finding.values, str(finding.parameters["methods"]).split(", ")
        return {
            "names": names,
            "over": values[MEAN_CORRELATION].n if finding.input is None else None,
            "correlation": values[MEAN_CORRELATION],
            "overlap": values[MEAN_OVERLAP],
            "chance": values[CHANCE],
            "rows": [{"name": one, "cells": [_cell(values, one, other) for other in names[1:]]} for one in names[:-1]],
        }


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
