"""The panel of neighbours: the entries of a data set that are most like an input, beside it."""

from __future__ import annotations

from typing import Any

from xai.reports.artefacts import get_rows
from xai.reports.evidence import Evidence
from xai.reports.figures import picture, thumbnail
from xai.reports.html.sections.base import Pictures, Section
from xai.reports.records import Finding


class Neighbours(Section):
    """One sentence, and the input with its nearest entries, each with label, answer and cosine."""

    family = "neighbours"
    wide = True
    body = """
<p class="reading">{{ f["values"]["said"].value }}</p>
<div class="examples close">
{% if own %}<figure><img class="pixels" src="{{ own }}" alt="This picture: the model answers {{ answer }}"><figcaption><b>this picture</b><br>answer <span class="name">{{ answer }}</span></figcaption></figure>
{% endif %}
{% for one in rows %}<figure>{% if one.picture %}<img class="pixels" src="{{ one.picture }}" alt="Nearest {{ loop.index }}, {{ one.id }}: {{ "label " ~ one.label if one.label else "no label" }}, cosine {{ "%.4f" | format(one.alike) }}{% if one.same %}; it is this very picture{% endif %}">{% endif %}
<figcaption><b>{{ loop.index }}. {{ one.label or "no label" }}</b>{% if one.same %} (this very picture){% endif %}<br>{% if one.answer != one.label %}answer <span class="name">{{ one.answer }}</span><br>{% endif %}cosine {{ "%.4f" | format(one.alike) }}<br><span class="name">{{ one.id }}</span></figcaption></figure>
{% endfor %}
</div>
<p class="unit">By the angle between features of layer <code>{{ f.parameters.layer }}</code>: 1 is the same direction. The first line is the entry’s label; its answer is told where it is another.</p>
"""

    def context(self, finding: Finding, run: Evidence, pictures: Pictures) -> dict[str, Any]:
        """Lay out the entries, the nearest first."""
        record = run.input(finding)
        rows = list(get_rows(run.store, finding.artefacts["rows"]))
        drawn = "thumbnails" in finding.artefacts
        shown = run.array(finding, "thumbnails") if drawn else None
        own = thumbnail(picture(run.prepared(record), record.range)) if drawn else None
        return {
            "own": "" if own is None else pictures.add(own),
            "answer": record.predictions[0].name,
            "rows": [
                {**row, "picture": "" if shown is None else pictures.add(shown[place])}
                for place, row in enumerate(rows)
            ],
        }
