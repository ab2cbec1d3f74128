"""The panel of any family that has none of its own: its values as a table."""

from __future__ import annotations

from typing import Any

from xai.reports.evidence import Evidence
from xai.reports.html.sections.base import FALLBACK, Pictures, Section
from xai.reports.records import Finding


class Generic(Section):
    """Names, values, units, intervals."""

    family = FALLBACK
    body = """
<table class="facts"><caption>Values</caption>
{% for name, value in f["values"].items() %}
<tr><th scope="row">{{ name }}</th><td>{{ "at least " if value.bound and value.value is not none }}{{ value.value | number }}{% if value.reason %} ({{ value.reason }}){% endif %}
{%- if value.interval %} [{{ value.interval[0] | number }}, {{ value.interval[1] | number }}]{% endif %}
{%- if value.n is not none %} (n = {{ value.n }}){% endif %} <span class="unit">{{ value.unit }}</span></td></tr>
{% endfor %}
</table>
"""

    def context(self, finding: Finding, run: Evidence, pictures: Pictures) -> dict[str, Any]:  # noqa: ARG002  # the values are in the finding
        """Need nothing more than the finding."""
        return {}
