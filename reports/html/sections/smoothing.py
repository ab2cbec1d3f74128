"""The panel of randomised smoothing: statistics of another classifier, never shown as a proof about the network."""

from __future__ import annotations

from typing import Any

from xai.reports.evidence import Evidence
from xai.reports.html.axes import Axes
from xai.reports.html.sections.base import Figure, Pictures, Section
from xai.reports.records import Finding
from xai.reports.words import share

CERTIFIED, CEILING = "certified accuracy at ", "largest radius that so many draws can certify"


class Smoothing(Section):
    """Of a data set a step curve and a table, of one image the statement about it."""

    family = "smoothing"
    wide = True
    body = """
{% if f.input %}
<p class="reading">{{ v.statement.value }}</p>
{% else %}
<p class="reading">Statistics, no proof: {{ draws }} noisy copies of each image (standard deviation {{ sigma | number }}) say, each statement with probability at least 1 - {{ alpha | number }}, that the <b>smoothed</b> classifier is right
{% for size in sizes %}within {{ size.name }} for <b>{{ size.value.value | share }}</b>{{ ", " if not loop.last }}{% endfor %} of {{ total }} images (l2).
{{ v.abstained.value | share }} are abstentions. Of the network without noise, which is right for {{ v["accuracy without noise"].value | share }}, it says nothing.</p>
<div class="beside">
<figure><svg class="curve axes" viewBox="0 0 {{ width }} {{ height }}" role="img" aria-label="Share of images that are certified with that probability, by radius: {% for size in sizes %}{{ size.value.value | share }} within {{ size.name }}{{ ", " if not loop.last }}{% endfor %}">
<path class="frame" d="M{{ left }} {{ top }}V{{ bottom }}H{{ right }}"/>
{% for tick in down %}<text x="{{ left - 6 }}" y="{{ tick.at + 4 }}" text-anchor="end">{{ tick.text }}</text><path class="grid" d="M{{ left }} {{ tick.at }}H{{ right }}"/>{% endfor %}
{% for tick in across %}<text x="{{ tick.at }}" y="{{ bottom + 18 }}" text-anchor="middle">{{ tick.text }}</text><path class="frame" d="M{{ tick.at }} {{ bottom }}v4"/>{% endfor %}
<text x="{{ (left + right) / 2 }}" y="{{ height - 2 }}" text-anchor="middle">radius, l2</text>
<path class="grid" d="M{{ ceiling_at }} {{ top }}V{{ bottom }}"/>
<polyline points="{{ points }}"/>
{% for size in sizes %}<path class="whisker" d="M{{ size.at }} {{ size.low }}V{{ size.high }}"/><circle cx="{{ size.at }}" cy="{{ size.middle }}" r="3.5"/>{% endfor %}
</svg><figcaption>share of all images for which the smoothed classifier is right within a radius, by what draws say; no more than {{ ceiling | number }} can be certified with so many draws; bars are 95&nbsp;% intervals over images</figcaption></figure>
<div class="scroll" tabindex="0" role="group" aria-label="Certified accuracy of the smoothed classifier by radius"><table class="tiles numbers">
<caption>Shares of the same images, {{ total }} in all, abstentions and wrong answers included; intervals are over images, and do not count the probability that a statement is wrong</caption>
<thead><tr><th scope="col">radius (l2)</th><th scope="col">certified by draws</th></tr></thead>
{% for size in sizes %}<tr><th scope="row">{{ size.name }}</th><td>{{ size.value.value | share }}<span class="interval">{{ size.value.interval[0] | share }} – {{ size.value.interval[1] | share }}</span></td></tr>
{% endfor %}</table></div></div>
{% endif %}
"""

    def headline(self, finding: Finding) -> list[Figure]:
        """Return the share at the smallest and the largest radius, with the word that says what it is."""
        names = [name for name in finding.values if name.startswith(CERTIFIED)]
        told = []
        for name in dict.fromkeys((*names[:1], *names[-1:])):
            value = finding.values[name].value
            words = f"of the smoothed classifier certified within {name.removeprefix(CERTIFIED)} (l2), by statistics"
            told.append(Figure(share(value if isinstance(value, float) else None), words))
        return told

    def context(self, finding: Finding, run: Evidence, pictures: Pictures) -> dict[str, Any]:  # noqa: ARG002  # a drawing, no picture
        """Place curve, bars and ticks."""
        values, used = finding.values, finding.parameters
        if finding.input is not None:
            return {"v": values}
        radii, shares = (run.array(finding, name) for name in ("radii", "certified accuracy"))
        ceiling = float(used[CEILING] or 0)
        names = [name.removeprefix(CERTIFIED) for name in values if name.startswith(CERTIFIED)]
        axes = Axes(1.05 * max(ceiling, *(float(used[f"epsilon {name}"] or 0) for name in names)) or 1.0)
        return {
            "v": values,
            "total": values["abstained"].n,
            "draws": used["draws that estimate"],
            "sigma": used["sigma"],
            "alpha": used["alpha"],
            "ceiling": ceiling,
            "ceiling_at": axes.across(ceiling),
            "sizes": [_size(name, finding, axes) for name in names],
            "points": axes.steps(radii, shares),
            **axes.frame(),
        }


def _size(name: str, finding: Finding, axes: Axes) -> dict[str, Any]:
    value = finding.values[CERTIFIED + name]
    low, high = value.interval or (0.0, 1.0)
    return {
        "name": name,
        "value": value,
        "at": axes.across(float(finding.parameters[f"epsilon {name}"] or 0)),
        "low": axes.down(low),
        "high": axes.down(high),
        "middle": axes.down(value.value if isinstance(value.value, float) else 0.0),
    }
