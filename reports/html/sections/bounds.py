"""The panel of bounds over a data set: what is certified, what stands under attack, and the gap between the two."""

from __future__ import annotations

from typing import Any

from xai.reports.evidence import Evidence
from xai.reports.html.axes import Axes
from xai.reports.html.sections.base import Figure, Pictures, Section
from xai.reports.records import Finding, Value
from xai.reports.words import number, share

CERTIFIED, ATTACKED, OPEN = "certified accuracy at ", "accuracy under attack at ", "not decided at "
WIDTHS, MEDIAN, GIVEN, NONE = "mean width at ", "largest certified change, median", "given", "none"
NUMBERS = {"real": "real numbers, without rounding", "float": "the float32 network, rounding included"}


class Bounds(Section):
    """Two step curves with intervals, one sentence, a table; only widths where nothing can be right or wrong."""

    family = "bounds"
    wide = True
    body = """
{% if sizes %}{% set last = sizes[-1] %}
<p class="reading">Of {{ total }} images {{ accuracy.value | share }} are right{{ ", where the model's own answers count as right" if own }}. For every input within {{ last.name }} ({{ f.parameters.norm }})
<b>{{ last.certified.value | share }}</b> are <b>proved</b> to stay right ({{ confidence }} interval over images {{ last.certified.interval[0] | share }} to {{ last.certified.interval[1] | share }}){% if last.attacked %};
attacks leave {{ last.attacked.value | share }} standing, so the truth lies between the two. {{ last.open.value | share }} are not decided{% endif %}.
{% if median is not none %}Half of all images are proved within at least <b>{{ median | at_least }}</b>.{% endif %}
The proof is about {{ numbers }}, by {{ f.parameters["bounds by"] }}.</p>
<div class="beside">
<figure><svg class="curve axes" viewBox="0 0 {{ width }} {{ height }}" role="img" aria-label="Share of images by size of the change: {% for size in sizes %}within {{ size.name }} {{ size.certified.value | share }} certified{% if size.attacked %} and {{ size.attacked.value | share }} standing under attack{% endif %}, {% endfor %}{{ accuracy.value | share }} right without a change">
<path class="frame" d="M{{ left }} {{ top }}V{{ bottom }}H{{ right }}"/>
{% for tick in down %}<text x="{{ left - 6 }}" y="{{ tick.at + 4 }}" text-anchor="end">{{ tick.text }}</text><path class="grid" d="M{{ left }} {{ tick.at }}H{{ right }}"/>{% endfor %}
{% for tick in across %}<text x="{{ tick.at }}" y="{{ bottom + 18 }}" text-anchor="middle">{{ tick.text }}</text><path class="frame" d="M{{ tick.at }} {{ bottom }}v4"/>{% endfor %}
<text x="{{ (left + right) / 2 }}" y="{{ height - 2 }}" text-anchor="middle">size of the change, {{ f.parameters.norm }}</text>
{% if above %}<polyline class="most" points="{{ above }}"/>{% endif %}
<polyline points="{{ below }}"/>
{% for size in sizes %}{% if size.attacked %}<path class="whisker" d="M{{ size.at + 3 }} {{ size.attacked_low }}V{{ size.attacked_high }}"/><circle class="open" cx="{{ size.at + 3 }}" cy="{{ size.attacked_at }}" r="3.5"/>{% endif %}
<path class="whisker" d="M{{ size.at - 3 }} {{ size.certified_low }}V{{ size.certified_high }}"/><circle cx="{{ size.at - 3 }}" cy="{{ size.certified_at }}" r="3.5"/>{% endfor %}
</svg><figcaption>solid line and full dots: certified, the truth is at least this{% if above %}; broken line and open dots: not felled by an attack, the truth is at most this{% endif %}; shares of all images, bars are {{ confidence }} intervals</figcaption></figure>
<div>
<div class="scroll" tabindex="0" role="group" aria-label="Certified accuracy by size of the change"><table class="tiles numbers">
<caption>All are shares of the same images, {{ total }} in all, those that are wrong without a change included; {{ confidence }} intervals below</caption>
<thead><tr><th scope="col">change</th><th scope="col">certified</th>{% if above %}<th scope="col">under attack</th>{% endif %}<th scope="col">not decided</th></tr></thead>
<tr><th scope="row">none</th><td></td>{% if above %}<td>{{ accuracy.value | share }}<span class="interval">{{ accuracy.interval[0] | share }} – {{ accuracy.interval[1] | share }}</span></td>{% endif %}<td></td></tr>
{% for size in sizes %}<tr><th scope="row">{{ size.name }}</th>{% for value in size.told %}<td>{{ value.value | share }}<span class="interval">{{ value.interval[0] | share }} – {{ value.interval[1] | share }}</span></td>{% endfor %}</tr>
{% endfor %}</table></div>
{% else %}
<p class="reading">For every input within the size of the change, each number lies between its bounds: over {{ images }} and {{ count }} numbers a size, {% for name, value in widths %}within {{ name }} they are <b>{{ value.value | number if value.value is not none else "unboundedly far" }}</b> apart on average{{ "; " if not loop.last }}{% endfor %}.
The proof is about {{ numbers }}, by {{ f.parameters["bounds by"] }}.</p>
<div><div>
{% endif %}
<table class="facts"><caption>How tight the bounds are, and what they were tried with</caption>
{% for name, value in widths %}<tr><th scope="row">mean width within {{ name }}</th><td>{{ value.value | number if value.value is not none else "not bounded" }} <span class="unit">{{ value.unit }}</span></td></tr>{% endfor %}
<tr><th scope="row">points tried</th><td>{{ tried.value | count }}, all inside the bounds</td></tr>
{% if sizes %}<tr><th scope="row">attacks</th><td>{{ f.parameters.attacks }}</td></tr>{% endif %}
<tr><th scope="row">time</th><td>{{ "%.1f" | format(f.seconds) }} s, attacks included</td></tr>
</table></div></div>
"""

    def headline(self, finding: Finding) -> list[Figure]:
        """Return what is certified and what stands at the smallest and the largest size of the change."""
        values, norm = finding.values, finding.parameters["norm"]
        names = [name.removeprefix(CERTIFIED) for name in values if name.startswith(CERTIFIED)]
        told = []
        for name in dict.fromkeys((*names[:1], *names[-1:])):
            told.append(Figure(_share(values[CERTIFIED + name]), f"proved right within {name} ({norm})"))
            if ATTACKED + name in values:
                told.append(Figure(_share(values[ATTACKED + name]), f"at most, by what attacks left within {name}"))
        return told

    def context(self, finding: Finding, run: Evidence, pictures: Pictures) -> dict[str, Any]:  # noqa: ARG002  # a drawing, no picture
        """Place curves, bars and ticks."""
        values = finding.values
        images = finding.artefacts["rows"].shape[0]
        widths = [(name.removeprefix(WIDTHS), value) for name, value in values.items() if name.startswith(WIDTHS)]
        shared = {
            "widths": widths,
            "count": widths[0][1].n if widths else 0,
            "images": f"{images} image{'s' * (images != 1)}",
            "tried": values["points tried"],
            "numbers": NUMBERS[str(finding.parameters["arithmetic"])],
            "sizes": [],
        }
        names = [name.removeprefix(CERTIFIED) for name in values if name.startswith(CERTIFIED)]
        if not names:
            return shared
        certified, at_least = (run.array(finding, name) for name in ("certified epsilons", "certified accuracy"))
        attacked, at_most = (run.array(finding, name) for name in ("attacked epsilons", "attacked accuracy"))
        asked = [float(finding.parameters[f"epsilon {name}"] or 0) for name in names]
        axes = Axes(1.05 * max(float(certified.max()), *asked) or 1.0)
        return {
            **shared,
            "total": values["accuracy"].n,
            "accuracy": values["accuracy"],
            "own": finding.parameters["labels"] != GIVEN,
            "median": values[MEDIAN].value if MEDIAN in values else None,
            "confidence": "95\N{NO-BREAK SPACE}%",
            "sizes": [_size(name, finding, axes) for name in names],
            "below": axes.steps_before(certified, at_least),
            "above": axes.steps(attacked, at_most) if ATTACKED + names[0] in values else "",
            **axes.frame(),
        }


def _size(name: str, finding: Finding, axes: Axes) -> dict[str, Any]:
    """Place the bars of one size of the change."""
    values = finding.values
    sides = {
        "certified": values[CERTIFIED + name],
        "attacked": values.get(ATTACKED + name),
        "open": values[OPEN + name],
    }
    placed: dict[str, Any] = {"name": name, **sides, "told": [value for value in sides.values() if value is not None]}
    placed["at"] = axes.across(float(finding.parameters[f"epsilon {name}"] or 0))
    for side in ("certified", "attacked"):
        value = sides[side]
        if value is not None and value.interval and isinstance(value.value, float):
            low, high = value.interval
            placed |= {
                f"{side}_low": axes.down(low),
                f"{side}_high": axes.down(high),
                f"{side}_at": axes.down(value.value),
            }
    return placed


def _share(value: Value) -> str:
    return share(value.value) if isinstance(value.value, float) else number(value.value)
