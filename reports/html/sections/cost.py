"""The panel of cost: time, memory and work of one answer."""

from __future__ import annotations

from typing import Any

from xai.reports.evidence import Evidence
from xai.reports.html.sections.base import Pictures, Section
from xai.reports.records import Finding


class Cost(Section):
    """A table: what an image alone takes."""

    family = "cost"
    body = """
<table class="facts"><caption>One image alone, on this run’s device</caption>
<tr><th scope="row">time</th><td><b>{{ f.seconds | duration }}</b> <span class="unit">median, about {{ "%.3g" | format(1 / f.seconds) if f.seconds else "–" }} images a second one after the other</span></td></tr>
{% if work is not none %}<tr><th scope="row">multiply-adds</th><td>{{ work | short }} <span class="unit">{{ work | count }}</span></td></tr>{% endif %}
{% if weights is not none %}<tr><th scope="row">weights</th><td>{{ weights | memory }} <span class="unit">{{ weights | count }} bytes</span></td></tr>{% endif %}
{% if activations is not none %}<tr><th scope="row">activations</th><td>{{ activations | memory }} <span class="unit">{{ activations | count }} bytes, all kept at once</span></td></tr>{% endif %}
</table>
{% if work is none %}<p class="unit">Memory and multiply-adds are not known of a black box.</p>{% endif %}
"""

    def context(self, finding: Finding, run: Evidence, pictures: Pictures) -> dict[str, Any]:  # noqa: ARG002  # numbers only
        """Name what the graph tells."""
        named = (("work", "multiply-adds"), ("weights", "weights"), ("activations", "activations"))
        values = finding.values
        return {name: int(values[key].value or 0) if key in values else None for name, key in named}
