"""The panel of accuracy under attack: the curve, the sizes that were asked for, and what was claimed and confirmed."""

from __future__ import annotations

from typing import Any

import numpy as np

from xai.reports.evidence import Evidence
from xai.reports.html.axes import Axes
from xai.reports.html.sections.base import Figure, Pictures, Section
from xai.reports.records import Finding
from xai.reports.words import number, share

GIVEN = "given"  # labels that are not the model's own answers
ALONE = "the model only"  # it was confirmed in no other program
ROUNDED = {
    "stands": "still fool the model",
    "falls": "no longer do",
    "leaves the region": "do so only from beyond the allowed size",
}
MEDIAN, ANY = "smallest change, median", "any other class"
ROBUST, SUCCESS, ROUNDING = "robust accuracy at ", "success rate at ", "8-bit rounding: "


class Robustness(Section):
    """A step curve with intervals, one sentence, a table."""

    family = "robustness"
    wide = True
    body = """
<p class="reading">Of {{ total }} images {{ accuracy.value | share }} are right.
{% if labelled %}Of the {{ labelled.n }} that have a label {{ labelled.value | share }} are; for the others the model's own answer is taken for right.
{% endif %}{% if sizes %}{% set last = sizes[-1] %}Under attack{% if toward %} toward “{{ toward }}”{% endif %}, within {{ last.name }} ({{ f.parameters.norm }}), <b>{{ last.robust.value | share }}</b> are {% if toward %}right, and were not turned into “{{ toward }}”{% else %}still right{% endif %}{{ " " }}
({{ confidence }} interval {{ last.robust.interval[0] | share }} to {{ last.robust.interval[1] | share }}).
{% endif %}
{% if median is not none %}Half of all images {% if toward %}are turned into “{{ toward }}”{% else %}have another answer{% endif %} within <b>{{ median | number }}</b>.{% endif %}</p>
<div class="beside">
<figure><svg class="curve axes" viewBox="0 0 {{ width }} {{ height }}" role="img" aria-label="Share of images that stand, by size of the change: {% for size in sizes %}{{ size.robust.value | share }} within {{ size.name }}, {% endfor %}{{ accuracy.value | share }} without a change">
<path class="frame" d="M{{ left }} {{ top }}V{{ bottom }}H{{ right }}"/>
{% for tick in down %}<text x="{{ left - 6 }}" y="{{ tick.at + 4 }}" text-anchor="end">{{ tick.text }}</text><path class="grid" d="M{{ left }} {{ tick.at }}H{{ right }}"/>{% endfor %}
{% for tick in across %}<text x="{{ tick.at }}" y="{{ bottom + 18 }}" text-anchor="middle">{{ tick.text }}</text><path class="frame" d="M{{ tick.at }} {{ bottom }}v4"/>{% endfor %}
<text x="{{ (left + right) / 2 }}" y="{{ height - 2 }}" text-anchor="middle">size of the change, {{ f.parameters.norm }}</text>
<polyline points="{{ points }}"/>
{% for size in sizes %}<path class="whisker" d="M{{ size.at }} {{ size.low }}V{{ size.high }}"/><circle cx="{{ size.at }}" cy="{{ size.middle }}" r="3.5"/>{% endfor %}
</svg><figcaption>share of all images that are right and for which nothing nearer was found; bars are {{ confidence }} intervals</figcaption></figure>
<div>
<div class="scroll" tabindex="0" role="group" aria-label="Accuracy under attack by size of the change"><table class="tiles numbers">
<caption>Two denominators: robust accuracy is a share of all {{ total }} images, the success rate of the {{ attacked }} that were attacked (all right at first); {{ confidence }} intervals below</caption>
<thead><tr><th scope="col">change</th><th scope="col">robust accuracy</th>{% if sizes %}<th scope="col">success rate</th>{% endif %}</tr></thead>
<tr><th scope="row">none</th><td>{{ accuracy.value | share }}<span class="interval">{{ accuracy.interval[0] | share }} – {{ accuracy.interval[1] | share }}</span></td>{% if sizes %}<td></td>{% endif %}</tr>
{% for size in sizes %}<tr><th scope="row">{{ size.name }}</th><td>{{ size.robust.value | share }}<span class="interval">{{ size.robust.interval[0] | share }} – {{ size.robust.interval[1] | share }}</span></td>
<td>{{ size.success.value | share }}<span class="interval">{{ size.success.interval[0] | share }} – {{ size.success.interval[1] | share }}</span></td></tr>
{% endfor %}</table></div>
<table class="facts"><caption>What was found was looked at again: stored, read back, classified in another batch size{{ " and in " ~ witness if witness }}</caption>
<tr><th scope="row">adversarial inputs</th><td>{{ claimed.value | count }} found, {% if unconfirmed.value %}<b>{{ unconfirmed.value | count }} not confirmed</b>{% else %}all confirmed{% endif %}{% if not witness %} <span class="unit">in {{ f.parameters["confirmed in"] }}</span>{% endif %}</td></tr>
{% if rounded %}<tr><th scope="row">saved as 8-bit pictures</th><td>{% for name, value in rounded %}{{ value.value | share }} {{ rounding.get(name, name) }}{{ ", " if not loop.last }}{% endfor %}</td></tr>{% endif %}
{% if needed %}<tr><th scope="row">for an interval of ±1 point</th><td>{{ needed.value | count }} images would be needed; there are {{ total | count }}</td></tr>{% endif %}
</table></div></div>
"""

    def headline(self, finding: Finding) -> list[Figure]:
        """Return accuracy, and what is left of it at the smallest and the largest size of the change."""
        shares = {name: value.value for name, value in finding.values.items() if isinstance(value.value, float)}
        sizes = [name for name in shares if name.startswith(ROBUST)]
        norm = finding.parameters["norm"]
        own = "" if finding.parameters.get("labels") == GIVEN else ", where the model's own answers count as right"
        toward = _toward(finding)
        standing = f"right, and not turned into “{toward}”" if toward else "right under attack"
        told = [Figure(share(shares["accuracy"]), f"right without an attack{own}")] if "accuracy" in shares else []
        told += [
            Figure(share(shares[name]), f"{standing} within {name.removeprefix(ROBUST)} ({norm})")
            for name in dict.fromkeys((*sizes[:1], *sizes[-1:]))
        ]
        if not sizes and (median := shares.get(MEDIAN)) is not None:
            told.append(Figure(number(median), f"is enough for half of the images ({norm})"))
        return told

    def context(self, finding: Finding, run: Evidence, pictures: Pictures) -> dict[str, Any]:  # noqa: ARG002  # a drawing, no picture
        """Place curve, bars and ticks."""
        values = finding.values
        names = [name.removeprefix(ROBUST) for name in values if name.startswith(ROBUST)]
        sizes, shares = (run.array(finding, name) for name in ("epsilons", "robust accuracy"))
        asked = [float(finding.parameters[f"epsilon {name}"] or 0) for name in names]
        axes = Axes(max(_widest(sizes, shares), 1.05 * max(asked, default=0.0)))
        return {
            "total": values["accuracy"].n,
            "attacked": values["claimed"].n,
            "accuracy": values["accuracy"],
            "median": values[MEDIAN].value if MEDIAN in values else None,
            "toward": _toward(finding),
            "labelled": values.get("accuracy where labelled"),
            "claimed": values["claimed"],
            "unconfirmed": values["not confirmed"],
            "rounding": ROUNDED,
            "witness": "" if (seen := str(finding.parameters["confirmed in"])).startswith(ALONE) else seen,
            "needed": values.get("images for an interval of +-1 point"),
            "rounded": [
                (name.removeprefix(ROUNDING), one) for name, one in values.items() if name.startswith(ROUNDING)
            ],
            "confidence": "95 %",
            "sizes": [_size(name, finding, axes) for name in names],
            "points": axes.steps(sizes, shares),
            **axes.frame(),
        }


def _toward(finding: Finding) -> str:
    """Return the class that was aimed at, "" if it was any."""
    wanted = str(finding.parameters.get("wanted", ANY))
    return "" if wanted == ANY else wanted


def _size(name: str, finding: Finding, axes: Axes) -> dict[str, Any]:
    """Place the bar of one size of the change."""
    robust = finding.values[ROBUST + name]
    low, high = robust.interval or (0.0, 1.0)
    epsilon, middle = finding.parameters[f"epsilon {name}"], robust.value
    return {
        "name": name,
        "robust": robust,
        "success": finding.values[SUCCESS + name],
        "at": axes.across(float(epsilon or 0)),
        "low": axes.down(low),
        "high": axes.down(high),
        "middle": axes.down(middle if isinstance(middle, float) else 0.0),
    }


def _widest(sizes: np.ndarray, shares: np.ndarray) -> float:
    """Return where the drawing ends: where the curve has ended, but for the farthest hundredth."""
    lasting = sizes[shares > shares.min() + 0.01 * (shares.max() - shares.min())]
    return float(1.1 * (lasting.max() if len(lasting) and lasting.max() > 0 else sizes.max())) or 1.0
