"""The panel of an explanation: the map over the picture, alone, and in numbers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from jinja2 import Environment
from markupsafe import Markup

from xai.reports.evidence import Evidence, kind
from xai.reports.figures import colour_bar, coloured, is_blank, is_signed, overlaid, picture, scale, tiles
from xai.reports.html.sections.base import Pictures, Section, template
from xai.reports.records import Finding

MANY = 6  # maps of one picture, beyond which they are shown side by side first
SIGNS = {"for": "✓", "against": "✗", "neither": "~"}
_SHEET = """
<article class="panel wide gathered">
{% set drawn = cards | selectattr("over") | list | length %}<header><h3>{{ drawn }} {{ "map" if drawn == 1 else "maps" }} of this picture{% if drawn < cards | length %}; {{ cards | length - drawn }} of {{ cards | length }} methods gave none{% endif %}</h3></header>
{% if targets | length == 1 %}<p class="reading">What speaks for <b>{{ targets[0] }}</b>.</p>{% endif %}
<p class="meaning">Each on its own scale, over the picture in grey; where a map has signs, red speaks for it and blue against it. Below, what the checks say of the map: ✓ for it, ✗ against it, ~ undecided.</p>
<div class="examples">{% for one in cards %}
<figure>{% if one.over %}<img class="{{ 'pixels' if one.small else 'photo' }}" src="{{ one.over }}" alt="{{ one.f.title }} over the picture. {{ one.words }}">{% endif %}
<figcaption><b>{{ one.f.title }}</b>{% if one.f.target and targets | length > 1 %} for <span class="name">{{ one.f.target.name }}</span>{% endif %}<br>{{ one.said }}{% for sign, title in one.checks %}<br>{{ sign }} {{ title }}{% endfor %}</figcaption></figure>{% endfor %}</div>
<details class="printed"><summary>Each by itself: what it means, what it does not, how it was made ({{ panels | length }})</summary>
<div class="panels">
{% for panel in panels %}{{ panel }}{% endfor %}
</div></details>
</article>
"""


class Explanation(Section):
    """Overlay, map, colour bar, one sentence, and the map's means as a table."""

    family = "explanation"
    body = """
{% if not blank %}
<p class="reading">The strongest response{% if f.target %} <b>{{ "for" if speaks_for else "against" }} {{ f.target.name }}</b>{% endif %} lies at row {{ f["values"]["peak row"].value }},
column {{ f["values"]["peak column"].value }}, in the {{ place }} of the picture; half of the map's total lies in
{{ f["values"]["half in"].value | share }} of its area.</p>
<div class="pair">
<figure><img class="{{ 'pixels' if small else 'photo' }}" src="{{ over }}" alt="{{ f.title }} over the picture, which is shown in grey. {{ words }}">
<figcaption>over the picture (in grey)</figcaption></figure>
<figure><img class="{{ 'pixels' if small else 'photo' }}" src="{{ alone }}" alt="The map alone. {{ words }}">
<figcaption>the map alone</figcaption></figure>
</div>
<div class="bar"><img src="{{ bar }}" alt="Colours from {{ low | number }} to {{ high | number }}">
<div class="ticks"><span>{{ low | number }}</span><span>{{ ((low + high) / 2) | number }}</span><span>{{ high | number }}</span></div>
<div class="unit">{{ unit }}{% if signed and f.target %}: red speaks for {{ f.target.name }}, blue against{% endif %}{% if shared %};
one scale for all maps of this method{% endif %}</div></div>
<details><summary>The map in numbers</summary>
<div class="scroll" tabindex="0" role="group" aria-label="{{ f.title }}: means of the map over tiles of the picture"><table class="tiles">
<caption>Means over {{ table | length }} x {{ table[0] | length }} tiles of the picture, from the top left</caption>
{% for row in table %}<tr>{% for cell in row %}<td>{{ '%.2g' | format(cell) }}</td>{% endfor %}</tr>
{% endfor %}</table></div></details>
{% endif %}
"""

    def together(
        self, findings: Sequence[Finding], run: Evidence, pictures: Pictures, jinja: Environment
    ) -> list[Markup]:
        """Return the panels; of many findings a sheet of all maps, and the panels folded below it."""
        panels = super().together(findings, run, pictures, jinja)
        if len(findings) <= MANY:
            return panels
        targets = list(dict.fromkeys(finding.target.name for finding in findings if finding.target))
        cards = [self._card(finding, run, pictures) for finding in findings]
        return [Markup(template(jinja, _SHEET).render(cards=cards, panels=panels, targets=targets))]  # escapes names

    def _card(self, finding: Finding, run: Evidence, pictures: Pictures) -> dict[str, Any]:
        """Return what the sheet shows of one finding."""
        checks = [(SIGNS[trust.speaks], trust.title) for trust in finding.trust if trust.status == "ok"]
        if finding.status != "ok" or is_blank(finding):
            said = f"{finding.status}: {finding.reason}" if finding.status != "ok" else "the map is blank"
            return {"f": finding, "over": "", "said": said, "checks": checks}
        shown = self.context(finding, run, pictures)
        side = "for" if shown["speaks_for"] else "against"
        return {
            **shown,
            "f": finding,
            "said": f"strongest {side} it in the {shown['place']}"
            if shown["signed"]
            else f"strongest in the {shown['place']}",
            "checks": checks,
        }

    def context(self, finding: Finding, run: Evidence, pictures: Pictures) -> dict[str, Any]:
        """Draw the map."""
        if is_blank(finding):
            return {"blank": True}
        record, raw, signed = run.input(finding), run.array(finding, "map"), is_signed(finding)
        low, high = scale(run, finding)
        colours = coloured(raw, (low, high), signed=signed)
        below = picture(run.prepared(record), record.range)
        place = _place(finding, raw.shape)
        return {
            "blank": False,
            "over": pictures.add(overlaid(below, colours)),
            "alone": pictures.add(colours),
            "bar": pictures.add(colour_bar(signed=signed)),
            "small": raw.shape[1] <= 128,
            "low": low,
            "high": high,
            "signed": signed,
            "shared": run.extremes[kind(finding)][2] > 1,
            "unit": finding.values["highest"].unit,
            "table": tiles(raw),
            "place": place,
            "speaks_for": raw.ravel()[np.abs(raw).argmax()] >= 0,
            "words": f"Values from {raw.min():.4g} to {raw.max():.4g}; the strongest lies in the {place}.",
        }


def _place(finding: Finding, shape: tuple[int, ...]) -> str:
    """Say in words where the map's peak is."""
    row, column = (finding.values[name].value for name in ("peak row", "peak column"))
    third = [3 * int(place or 0) // size for place, size in zip((row, column), shape, strict=True)]
    vertical, horizontal = ("upper", "middle", "lower")[third[0]], ("left", "centre", "right")[third[1]]
    return "centre" if (vertical, horizontal) == ("middle", "centre") else f"{vertical} {horizontal}"
