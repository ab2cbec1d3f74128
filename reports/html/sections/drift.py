"""The panel of a map's drift: before and after the change on one scale, and how far noise of that size moves it."""

from __future__ import annotations

from typing import Any

from xai.reports.evidence import Evidence, kind
from xai.reports.figures import adversarial, colour_bar, coloured, is_blank, is_signed, overlaid, picture, scale, tiles
from xai.reports.html.sections.base import Pictures, Section
from xai.reports.records import Finding


class Drift(Section):
    """Two overlays, one colour bar, one sentence, and the numbers."""

    family = "drift"
    secondary = True
    body = """
{% macro moved(value) %}{{ "–" if value is none else "< 0.001" if 0 < value < 0.001 else "%.3f" | format(value) }}{% endmacro %}
{% if v.drift.value is not none %}
<p class="reading">For <b class="name">{{ f.target.name }}</b>, the first answer, the map moved by <b>{{ moved(v.drift.value) }}</b>{% if v["drift under noise"].value is not none %};
random noise of the same size moves it by <b>{{ moved(v["drift under noise"].value) }}</b>{% endif %}.
0 is the same map, 1 an unrelated one, 2 the reverse.</p>
{% endif %}
{% if not blank %}
<div class="pair">
{% for one in maps %}<figure><img class="{{ 'pixels' if small else 'photo' }}" src="{{ one.picture }}" alt="{{ f.title }}: the map of the {{ one.of }} over it, which is shown in grey. Values from {{ one.low | number }} to {{ one.high | number }}">
<figcaption>{{ one.of }}</figcaption></figure>
{% endfor %}
</div>
<div class="bar"><img src="{{ bar }}" alt="Colours from {{ low | number }} to {{ high | number }}">
<div class="ticks"><span>{{ low | number }}</span><span>{{ ((low + high) / 2) | number }}</span><span>{{ high | number }}</span></div>
<div class="unit">{{ unit }}{% if signed %}: red speaks for {{ f.target.name }}, blue against{% endif %};
one scale for all maps of this method</div></div>
{% endif %}
<table class="tiles numbers"><caption>How far the map moved: 1 - Spearman's rank correlation; and which share of its highest tenth stayed (.1 by chance)</caption>
<thead><tr><th scope="col">by</th><th scope="col">drift</th><th scope="col">stayed</th></tr></thead>
<tr><th scope="row">the attack</th><td>{{ moved(v.drift.value) }}</td><td>{{ v["top kept"].value | share }}</td></tr>
<tr><th scope="row">noise of the same size <span class="unit">(median of {{ v["drift under noise"].n }})</span></th><td>{{ moved(v["drift under noise"].value) }}</td><td>{{ v["top kept under noise"].value | share }}</td></tr>
</table>
{% if not blank %}
<details><summary>The maps in numbers</summary>
{% for one in maps %}
<div class="scroll" tabindex="0" role="group" aria-label="{{ f.title }}: means of the map of the {{ one.of }} over tiles"><table class="tiles">
<caption>{{ one.of | capitalize }}: means over {{ one.table | length }} x {{ one.table[0] | length }} tiles of the picture, from the top left</caption>
{% for row in one.table %}<tr>{% for cell in row %}<td>{{ '%.2g' | format(cell) }}</td>{% endfor %}</tr>
{% endfor %}</table></div>
{% endfor %}</details>
{% endif %}
"""

    def context(self, finding: Finding, run: Evidence, pictures: Pictures) -> dict[str, Any]:
        """Draw both maps."""
        if is_blank(finding):
            return {"v": finding.values, "blank": True}
        record, signed = run.input(finding), is_signed(finding)
        inputs = (
            ("original", "before", run.prepared(record)),
            ("adversarial input", "after", adversarial(run, finding)),
        )
        limits = scale(run, finding)
        maps = []
        for of, name, below in inputs:
            raw = run.array(finding, name)
            over = overlaid(picture(below, record.range), coloured(raw, limits, signed=signed))
            words = {"of": of, "low": float(raw.min()), "high": float(raw.max())}
            maps.append({**words, "picture": pictures.add(over), "table": tiles(raw)})
        return {
            "v": finding.values,
            "blank": False,
            "maps": maps,
            "bar": pictures.add(colour_bar(signed=signed)),
            "small": record.prepared.shape[2] <= 128,
            "low": limits[0],
            "high": limits[1],
            "signed": signed,
            "unit": kind(finding)[1],
        }
