"""The panel of repetition: whether the same input gives the same outputs."""

from __future__ import annotations

from typing import Any

from xai.reports.evidence import Evidence
from xai.reports.html.sections.base import Pictures, Section
from xai.reports.records import Finding

APART, CHANGED = "largest difference, ", "answers that change"


class Repetition(Section):
    """A sentence, and a row a way of asking."""

    family = "repetition"
    body = """
<p class="reading">{% if changed is not none %}<b>{{ changed.value | count if changed.value else "None" }}</b> of {{ changed.n }} answers {{ "changes" if changed.value in (0, 1) else "change" }}{% elif ways %}Over {{ ways[0][1].n }} inputs{% endif %}{{ ";" if changed is not none }}
{% if farthest %}outputs lie at most <b>{{ farthest | number }}</b> apart.{% else %}outputs are the same to the last digit.{% endif %}</p>
<table class="facts"><caption>How far the outputs of the same {{ ways[0][1].n }} inputs lie apart, at most</caption>
{% for name, value in ways %}<tr><th scope="row">{{ name }}</th><td>{{ value.value | number if value.value else "the same" }} <span class="unit">{{ value.unit if value.value }}</span></td></tr>
{% endfor %}</table>
"""

    def context(self, finding: Finding, run: Evidence, pictures: Pictures) -> dict[str, Any]:  # noqa: ARG002  # numbers only
        """Take the ways apart from the answers."""
        ways = [(name.removeprefix(APART), one) for name, one in finding.values.items() if name.startswith(APART)]
        return {
            "ways": ways,
            "farthest": max((float(value.value or 0) for _, value in ways), default=0.0),
            "changed": finding.values.get(CHANGED),
        }
