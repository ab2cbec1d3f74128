"""The panel of a change: the original, what was added, the adversarial input, and both answers."""

from __future__ import annotations

from typing import Any

import numpy as np

from xai.reports.evidence import Evidence
from xai.reports.figures import colour_bar, coloured, foremost, picture, scale
from xai.reports.html.sections.base import Pictures, Section
from xai.reports.records import Finding

LISTED = 10  # numbers of an input that is no picture


class Change(Section):
    """Three pictures with the scale of the middle one, or the numbers that changed most; a sentence, and tables."""

    family = "change"
    wide = True
    body = """
<p class="reading">The model says <b class="name">{{ v["second answer"].value }}</b> ({{ v["second answer, after"].value | share }}) instead of
<b class="name">{{ v["first answer"].value }}</b> ({{ v["first answer, before"].value | share }} before, {{ v["first answer, after"].value | share }} now):
<code>{{ f.parameters.attack }}</code> changed the input by <b>{{ v[f.parameters.norm].value | number }}</b> ({{ f.parameters.norm }}).
Random noise of the same size leaves the answer as it is in {{ kept }} of {{ draws }} draws.</p>
{% if pictures %}
<div class="triple">
<figure><img class="{{ 'pixels' if small else 'photo' }}" src="{{ before }}" alt="The original; the model says {{ v["first answer"].value }}, {{ v["first answer, before"].value | share }}">
<figcaption>original: <b class="name">{{ v["first answer"].value }}</b>, {{ v["first answer, before"].value | share }}</figcaption></figure>
<figure><img class="{{ 'pixels' if small else 'photo' }}" src="{{ added }}" alt="What was added: from {{ v.lowest.value | number }} to {{ v.highest.value | number }}, in {{ v.changed.value }} of {{ v.changed.n }} pixels visibly">
<figcaption>what was added, drawn {{ magnified }} times as strong{% if channels > 1 %}; of {{ channels }} channels the one that changed most{% endif %}</figcaption>
<div class="bar"><img src="{{ bar }}" alt="Colours from {{ low | number }} to {{ high | number }}">
<div class="ticks"><span>{{ low | number }}</span><span>0</span><span>{{ high | number }}</span></div>
<div class="unit">input units{% if shared %}; one scale for all examples{% endif %}</div></div></figure>
<figure><img class="{{ 'pixels' if small else 'photo' }}" src="{{ after }}" alt="The adversarial input; the model says {{ v["second answer"].value }}, {{ v["second answer, after"].value | share }}">
<figcaption>adversarial: <b class="name">{{ v["second answer"].value }}</b>, {{ v["second answer, after"].value | share }}</figcaption></figure>
</div>
{% else %}
<div class="scroll" tabindex="0" role="group" aria-label="The numbers that changed most"><table class="tiles numbers">
<caption>The {{ rows | length }} of {{ v.changed.n }} numbers that changed most, counted from 0</caption>
<thead><tr><th scope="col">number</th><th scope="col">before</th><th scope="col">after</th><th scope="col">change</th></tr></thead>
{% for row in rows %}<tr><th scope="row">{{ row.place }}</th><td>{{ row.before | number }}</td><td>{{ row.after | number }}</td><td>{{ '%+.4g' | format(row.change) }}</td></tr>
{% endfor %}</table></div>
{% endif %}
<div class="beside">
<table class="tiles numbers"><caption>Probabilities</caption>
<thead><tr><th scope="col">class</th><th scope="col">before</th><th scope="col">after</th></tr></thead>
{% for which in ("first answer", "second answer") %}<tr><th scope="row">{{ v[which].value }}</th><td>{{ v[which ~ ", before"].value | share }}</td><td>{{ v[which ~ ", after"].value | share }}</td></tr>
{% endfor %}</table>
<table class="tiles numbers"><caption>Size of the change, in input units; {{ v.changed.value }} of {{ v.changed.n }} {{ v.changed.unit }}</caption>
<thead><tr><th scope="col">norm</th><th scope="col">size</th></tr></thead>
{% for norm in ("linf", "l2", "l1") %}<tr><th scope="row">{{ norm }}</th><td>{{ v[norm].value | number }}</td></tr>
{% endfor %}</table>
</div>
{% if f.parameters["not explained by"] != "none" %}<p class="unit">No map before and after by {{ f.parameters["not explained by"] }}.</p>{% endif %}
"""

    def context(self, finding: Finding, run: Evidence, pictures: Pictures) -> dict[str, Any]:
        """Draw the three pictures, or list the numbers that changed most."""
        record = run.input(finding)
        before, after = run.prepared(record), run.array(finding, "adversarial")
        noise = finding.values["answer kept under noise"]
        shared: dict[str, Any] = {
            "v": finding.values,
            "pictures": before.ndim == 3,
            "draws": noise.n,
            "kept": round(float(noise.value or 0) * (noise.n or 0)),
        }
        if before.ndim != 3:
            return shared | {"rows": _rows(before, after)}
        low, high = scale(run, finding)
        span = record.range[1] - record.range[0]
        return shared | {
            "before": pictures.add(picture(before, record.range)),
            "after": pictures.add(picture(after, record.range)),
            "added": pictures.add(coloured(foremost(run.array(finding, "perturbation")), (low, high), signed=True)),
            "bar": pictures.add(colour_bar(signed=True)),
            "magnified": f"{span / (high - low):.3g}" if high > low else "1",
            "channels": before.shape[0],
            "small": before.shape[2] <= 128,
            "low": low,
            "high": high,
            "shared": sum(other.family == finding.family and other.status == "ok" for other in run.findings) > 1,
        }


def _rows(before: np.ndarray, after: np.ndarray) -> list[dict[str, Any]]:
    """Return the numbers that changed most, the first ones first where they are equal."""
    change = after.astype(np.float64) - before
    order = np.argsort(-np.abs(change), axis=None, kind="stable")[:LISTED]
    return [
        {
            "place": ", ".join(str(int(index)) for index in np.unravel_index(place, before.shape)),
            "before": float(before.flat[place]),
            "after": float(after.flat[place]),
            "change": float(change.flat[place]),
        }
        for place in order.tolist()
    ]
