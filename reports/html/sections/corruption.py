"""The panel of a corruption, and the table of several: accuracy by severity."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from xai.reports.evidence import Evidence
from xai.reports.html.sections.base import Cell, Pictures, Row, Section, Table, level
from xai.reports.records import Finding, Value
from xai.reports.words import share

AT = "accuracy at severity "


class Corruption(Section):
    """A row a severity; of several corruptions, a row each."""

    family = "corruption"
    body = """
<table class="tiles numbers"><caption>Share of all {{ total }} images that are right; 95 % intervals below</caption>
<thead><tr><th scope="col">severity</th><th scope="col">right</th></tr></thead>
{% for severity, value in severities %}<tr><th scope="row">{{ severity }}</th><td>{{ value.value | share }}<span class="interval">{{ value.interval[0] | share }} – {{ value.interval[1] | share }}</span></td></tr>
{% endfor %}</table>
"""

    def context(self, finding: Finding, run: Evidence, pictures: Pictures) -> dict[str, Any]:  # noqa: ARG002  # numbers only
        """Take the severities from the names."""
        found = _severities(finding)
        return {"severities": list(found.items()), "total": next((value.n for value in found.values()), 0)}

    def table(self, findings: Sequence[Finding]) -> Table:
        """Return accuracy by severity, a row a corruption, the most harmful first."""
        severities = sorted({name for one in findings for name in _severities(one)}, key=_place)
        total = next((value.n for one in findings for value in _severities(one).values()), 0)
        rows = [Row(one, tuple(_cell(_severities(one).get(name)) for name in severities)) for one in findings]
        return Table(
            title="What happens without an attacker",
            meaning="Noise, blur, weather and storage, each at several severities: the share of all images that are "
            "still right. The most harmful stands first.",
            caption=f"Right of all {total} images; 95 % intervals below. The stronger the colour, the more are wrong",
            columns=("corruption", *(f"severity {name}" for name in severities)),
            rows=tuple(sorted(rows, key=lambda row: _harm(row.finding))),
        )


def _severities(finding: Finding) -> dict[str, Value]:
    return {name.removeprefix(AT): value for name, value in finding.values.items() if name.startswith(AT)}


def _place(severity: str) -> tuple[int, str]:
    return len(severity), severity


def _cell(value: Value | None) -> Cell:
    if value is None or not isinstance(value.value, float):
        return Cell("–")
    below = f"{share(value.interval[0])} – {share(value.interval[1])}" if value.interval else ""
    return Cell(share(value.value), below, level(1 - value.value))


def _harm(finding: Finding) -> tuple[bool, float, str]:
    """Order by what is left on average; what was not tried stands last."""
    left = [float(value.value or 0) for value in _severities(finding).values()]
    return not left, sum(left) / max(1, len(left)), finding.title
