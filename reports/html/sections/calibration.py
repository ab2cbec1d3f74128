"""The panel of certainty: how often answers of each certainty are right, before and after the temperature."""

from __future__ import annotations

from typing import Any

import numpy as np

from xai.reports.evidence import Evidence
from xai.reports.html.axes import Axes
from xai.reports.html.sections.base import Pictures, Section
from xai.reports.intervals import clopper_pearson
from xai.reports.records import Finding
from xai.reports.words import points, share

COUNT, CERTAINTY, RIGHT = "count", "certainty", "share right"
STAGES = (("", "as the model says"), ("scaled ", "with the temperature"))
RADII = 2.5, 7.0  # of a bin with few images, and of the one with most


class Calibration(Section):
    """A sentence, a reliability diagram for each stage, and the bins in numbers."""

    family = "calibration"
    wide = True
    body = """
<p class="reading">Over {{ ece.n | count }} images certainty and share of right answers lie <b>{{ ece.value | points }}</b> apart on average (ECE {{ ece.value | number }}{% if ece.interval %}, 95 % interval {{ ece.interval[0] | number }} to {{ ece.interval[1] | number }}{% endif %}){% if lean %}: {{ lean }}{% endif %}.
{% if scaled and scaled.value is not none %}{{ " " }}A temperature of <b>{{ temperature.value | number }}</b>, {{ temperature.unit }} (n = {{ temperature.n | count }}), {{ "leaves" if scaled.value < ece.value else "does not help: it leaves" }} {{ scaled.value | points }} (ECE {{ scaled.value | number }}{% if scaled.interval %}, {{ scaled.interval[0] | number }} to {{ scaled.interval[1] | number }}{% endif %}, over {{ scaled.n | count }} images){{ "; the two intervals overlap" if overlap }}.{% elif temperature %}{{ " " }}A temperature that mends it is not determined: {{ temperature.reason or "it could not be measured" }}.{% endif %}</p>
<div class="beside">
{% for one in stages %}
<figure><svg class="curve axes reliability" viewBox="0 0 {{ one.width }} {{ one.height }}" role="img" aria-label="Share of right answers by certainty, {{ one.title }}: {{ one.words }}">
<path class="frame" d="M{{ one.left }} {{ one.top }}V{{ one.bottom }}H{{ one.right }}"/>
{% for tick in one.down %}<text x="{{ one.left - 6 }}" y="{{ tick.at + 4 }}" text-anchor="end">{{ tick.text }}</text><path class="grid" d="M{{ one.left }} {{ tick.at }}H{{ one.right }}"/>{% endfor %}
{% for tick in one.across %}<text x="{{ tick.at }}" y="{{ one.bottom + 18 }}" text-anchor="middle">{{ tick.text }}</text><path class="frame" d="M{{ tick.at }} {{ one.bottom }}v4"/>{% endfor %}
<text x="{{ (one.left + one.right) / 2 }}" y="{{ one.height - 2 }}" text-anchor="middle">certainty</text>
<path class="ideal" d="M{{ one.left }} {{ one.bottom }}L{{ one.right }} {{ one.top }}"/>
{% for bin in one.bins %}<path class="whisker" d="M{{ bin.at }} {{ bin.low }}V{{ bin.high }}"/><circle cx="{{ bin.at }}" cy="{{ bin.middle }}" r="{{ bin.radius }}"/>{% endfor %}
</svg><figcaption>{{ one.title }}: share of right answers by certainty. On the broken line the two are the same; below it the model is too sure. The larger a dot, the more images; bars are 95 % intervals</figcaption></figure>
{% endfor %}
</div>
{% if stages %}<details><summary>The bins in numbers</summary>
<div class="beside">
{% for one in stages %}<table class="tiles numbers"><caption>{{ one.title | capitalize }}; bins without images are left out</caption>
<thead><tr><th scope="col">mean certainty</th><th scope="col">right</th><th scope="col">images</th></tr></thead>
{% for bin in one.bins %}<tr><th scope="row">{{ bin.certainty | share }}</th><td>{{ bin.share | share }}<span class="interval">{{ bin.interval[0] | share }} – {{ bin.interval[1] | share }}</span></td><td>{{ bin.count | count }}</td></tr>
{% endfor %}</table>
{% endfor %}</div></details>{% endif %}
"""

    def context(self, finding: Finding, run: Evidence, pictures: Pictures) -> dict[str, Any]:  # noqa: ARG002  # drawings, no picture
        """Place the dots of both diagrams."""
        values = finding.values
        ece, scaled = values["ece"], values.get("ece after scaling")
        arrays = {
            start: [run.array(finding, start + name) for name in (COUNT, CERTAINTY, RIGHT)]
            for start, _ in STAGES
            if start + COUNT in finding.artefacts
        }
        return {
            "ece": ece,
            "scaled": scaled,
            "temperature": values.get("temperature"),
            "overlap": scaled is not None and scaled.value is not None and _overlap(ece.interval, scaled.interval),
            "lean": _lean(*arrays[""]) if "" in arrays else "",
            "stages": [_diagram(title, *arrays[start]) for start, title in STAGES if start in arrays],
        }


def _lean(count: np.ndarray, certainty: np.ndarray, right: np.ndarray) -> str:
    """Say whether the model is too sure or not sure enough; "" where it is neither."""
    filled = count > 0
    apart = float((count[filled] * (certainty[filled] - right[filled])).sum() / max(1, count.sum()))
    if abs(apart) < 0.001:
        return ""
    return f"it is {points(abs(apart))} {'surer' if apart > 0 else 'less sure'} than right"


def _diagram(title: str, count: np.ndarray, certainty: np.ndarray, right: np.ndarray) -> dict[str, Any]:
    axes = Axes(1.0)
    bins = [
        _bin(axes, int(count[place]), float(certainty[place]), float(right[place]), int(count.max()))
        for place in np.flatnonzero(count)
    ]
    words = "; ".join(
        f"{one['count']} answers of {share(one['certainty'])} right in {share(one['share'])}" for one in bins
    )
    frame = axes.frame() | {
        "across": [{"at": axes.across(part), "text": f"{100 * part:.0f} %"} for part in (0, 0.5, 1)]
    }
    return {"title": title, "bins": bins, "words": words, **frame}


def _bin(axes: Axes, count: int, certainty: float, right: float, most: int) -> dict[str, Any]:
    """Place one bin's dot and interval."""
    low, high = clopper_pearson(round(right * count), count)
    least, largest = RADII
    return {
        "count": count,
        "certainty": certainty,
        "share": right,
        "interval": (low, high),
        "at": axes.across(certainty),
        "middle": axes.down(right),
        "low": axes.down(low),
        "high": axes.down(high),
        "radius": round(least + (largest - least) * (count / most) ** 0.5, 1),
    }


def _overlap(one: tuple[float, float] | None, other: tuple[float, float] | None) -> bool:
    return one is not None and other is not None and one[0] <= other[1] and other[0] <= one[1]
