"""The panel of an attack: what it was tried on, what fell, and what that cost."""

from __future__ import annotations

from typing import Any

from xai.reports.evidence import Evidence
from xai.reports.html.sections.base import Pictures, Section
from xai.reports.records import Finding

TRIED, FELL = "tried", "fell"


class Attack(Section):
    """A sentence, and a row a size of the change."""

    family = "attack"
    body = """
<p class="reading"><b>{{ fell }}</b> of {{ total }} images fell to it; it took {{ f["values"].forwards.value | short }} passes and {{ f["values"].backwards.value | short }} gradients.</p>
<table class="tiles numbers"><caption>Only what stood before it is tried</caption>
<thead><tr><th scope="col">change</th><th scope="col">tried</th><th scope="col">fell</th><th scope="col">of those</th></tr></thead>
{% for row in rows %}<tr><th scope="row">{{ row.name or "the smallest" }}</th><td>{{ row.tried | count }}</td><td>{{ row.fell | count }}</td><td>{{ row.share | share }}</td></tr>
{% endfor %}</table>
"""

    def context(self, finding: Finding, run: Evidence, pictures: Pictures) -> dict[str, Any]:  # noqa: ARG002  # no picture
        """Bring tried and fell together, by size."""
        rows = []
        for name, value in finding.values.items():
            if name == TRIED or name.startswith(f"{TRIED} at "):
                tried, fell = (int(one.value or 0) for one in (value, finding.values[FELL + name.removeprefix(TRIED)]))
                size = name.removeprefix(TRIED).removeprefix(" at ")
                rows.append({"name": size, "tried": tried, "fell": fell, "share": fell / tried if tried else None})
        total = next((value.n for name, value in finding.values.items() if name.startswith(TRIED)), 0)
        return {"rows": rows, "fell": sum(row["fell"] for row in rows), "total": total}
