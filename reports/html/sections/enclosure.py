"""The panel of one image's bounds: a bar for each number, and inside it what points of the region reach."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from xai.reports.evidence import Evidence
from xai.reports.html.axes import ticks_between
from xai.reports.html.sections.base import Pictures, Section
from xai.reports.records import Finding
from xai.reports.words import at_least, at_most, number

WIDTH, LEFT, RIGHT, ROW, TOP, FOOT = 420, 104, 350, 22, 6, 24  # of a drawing, in its own units
OUTPUTS = "the outputs"
NAMED = 13  # characters of a name beside a bar
VERDICTS = {
    "holds": "every input of the region has this answer",
    "violated": "an attack found an input of the region with another answer",
    "not decided": "the bounds do not suffice to say whether every input of the region has this answer",
}
MARKS = {"holds": "✓", "violated": "✗", "not decided": "~"}
SPEAKS = {"holds": "for", "violated": "against", "not decided": "neither"}


class Enclosure(Section):
    """A drawing a size of the change, what is decided, and the numbers."""

    family = "enclosure"
    secondary = True
    wide = True
    body = """
{% if answer %}<p class="reading">The model says <b class="name">{{ answer }}</b>.{% if largest is not none %} It is proved to for every change of up to <b>{{ largest | at_least }}</b> ({{ f.parameters.norm }}).{% endif %}</p>
<div class="trust"><ul>
{% for size in sizes %}<li class="{{ size.speaks }}"><span class="mark" aria-hidden="true">{{ size.mark }}</span><span><b>Within {{ size.name }}: {{ size.verdict }}.</b> {{ size.says[:1] | upper }}{{ size.says[1:] }}.
{% if size.count > 1 %}{{ size.count }} answers can still win: <span class="name">{{ size.winners }}</span>.{% endif %}</span></li>
{% endfor %}</ul></div>{% else %}
<p class="reading">For every input of the region, each number of {{ what }} lies in its bar{% if shown < total %}; those that can change most are drawn{% endif %}.</p>
{% endif %}
<div class="beside">
{% for size in sizes %}
<figure><svg class="axes enclosures" viewBox="0 0 {{ width }} {{ size.height }}" role="img" aria-label="Bounds within {{ size.name }}: {% for row in size.rows %}{{ row.name }} from {{ row.lower }} to {{ row.upper }}, reached {{ row.low }} to {{ row.high }}{{ "; " if not loop.last }}{% endfor %}">
{% for tick in size.ticks %}<path class="grid" d="M{{ tick.at }} {{ top }}V{{ size.bottom }}"/><text x="{{ tick.at }}" y="{{ size.bottom + 15 }}" text-anchor="middle">{{ tick.text }}</text>{% endfor %}
{% for row in size.rows %}<text x="{{ left - 6 }}" y="{{ row.at + 15 }}" text-anchor="end">{{ row.short }}<title>{{ row.name }}</title></text>
<rect class="bound" x="{{ row.bound.x }}" y="{{ row.at + 3 }}" width="{{ row.bound.width }}" height="16"/>
<rect class="reached" x="{{ row.reached.x }}" y="{{ row.at + 6 }}" width="{{ row.reached.width }}" height="10"/>
<rect class="sampled" x="{{ row.sampled.x }}" y="{{ row.at + 9 }}" width="{{ row.sampled.width }}" height="4"/>
<circle cx="{{ row.value_at }}" cy="{{ row.at + 11 }}" r="2.5"/>
{% if row.can is not none %}<text x="{{ right + 6 }}" y="{{ row.at + 15 }}"{% if row.can %} class="can"{% endif %}>{{ "can win" if row.can else "cannot" }}</text>{% endif %}
{% endfor %}</svg><figcaption>within {{ size.name }} ({{ f.parameters.norm }})</figcaption></figure>
{% endfor %}</div>
<p class="unit">The outer bar is what is proved, the middle one what {{ climbs }} steps along gradients reached, the innermost what random points and corners did, the dot the image itself{% if sizes | length > 1 %}; each drawing has a scale of its own{% endif %}.{% if shown < total %} Of {{ total }} numbers {{ shown }} are drawn.{% endif %}</p>
<details><summary>The bounds in numbers</summary>
{% for size in sizes %}<div class="scroll" tabindex="0" role="group" aria-label="Bounds within {{ size.name }}"><table class="tiles numbers">
<caption>Within {{ size.name }} ({{ f.parameters.norm }}); reached: by sampled and climbed points; used: the share of the bounds' width that they reached</caption>
<thead><tr><th scope="col">number</th><th scope="col">lower</th><th scope="col">reached</th><th scope="col">image</th><th scope="col">reached</th><th scope="col">upper</th><th scope="col">used</th>{% if answer %}<th scope="col">can win</th>{% endif %}</tr></thead>
{% for row in size.rows %}<tr><th scope="row">{{ row.name }}</th><td>{{ row.lower }}</td><td>{{ row.low }}</td><td>{{ row.value }}</td><td>{{ row.high }}</td><td>{{ row.upper }}</td><td>{{ row.used | share }}</td>{% if answer %}<td>{{ "–" if row.can is none else "yes" if row.can else "no" }}</td>{% endif %}</tr>
{% endfor %}</table></div>
{% endfor %}</details>
"""

    def context(self, finding: Finding, run: Evidence, pictures: Pictures) -> dict[str, Any]:  # noqa: ARG002  # a drawing, no picture
        """Place the bars."""
        held = {name: run.array(finding, name) for name in finding.artefacts}
        values, layer = finding.values, finding.parameters["layer"]
        classes = run.record.model.card["classes"] if "answer" in values else None
        names = [name.removeprefix("epsilon ") for name in finding.parameters if name.startswith("epsilon ")]
        return {
            "answer": values["answer"].value if "answer" in values else "",
            "largest": values["largest certified change"].value if "largest certified change" in values else None,
            "shown": len(held["shown"]),
            "total": held["lower"].shape[1],
            "what": layer if layer == OUTPUTS else f"layer {layer}",
            "climbs": finding.parameters["climbing steps"],
            "width": WIDTH,
            "left": LEFT,
            "right": RIGHT,
            "top": TOP,
            "sizes": [_size(step, name, finding, held, classes) for step, name in enumerate(names)],
        }


def _size(
    step: int, name: str, finding: Finding, held: dict[str, np.ndarray], classes: list[str] | None
) -> dict[str, Any]:
    """Return the drawing of one size of the change."""
    ends = ("lower", "upper", "sampled lowest", "sampled highest", "climbed lowest", "climbed highest")
    shown = held["shown"]
    part = {end: held[end][step][shown] for end in ends} | {"value": held["value"][shown]}
    part["low"] = np.minimum(part["sampled lowest"], part["climbed lowest"])
    part["high"] = np.maximum(part["sampled highest"], part["climbed highest"])
    scale = _Scale(np.concatenate([part["lower"], part["upper"], part["low"], part["high"]]))
    able = held["winners"][step] if "winners" in held else None
    bottom = TOP + ROW * len(shown)
    told: dict[str, Any] = {
        "name": name,
        "rows": [
            _row(place, int(number), part, scale, _name(int(number), classes), _can(int(number), able, held))
            for place, number in enumerate(shown)
        ],
        "bottom": bottom,
        "height": bottom + FOOT,
        "ticks": [{"at": scale.across(tick), "text": f"{tick:.3g}"} for tick in ticks_between(scale.low, scale.high)],
    }
    if able is not None:
        verdict, winning = str(finding.values[f"verdict at {name}"].value), finding.values[f"can win at {name}"]
        told |= {"verdict": verdict, "says": VERDICTS[verdict], "mark": MARKS[verdict], "speaks": SPEAKS[verdict]}
        told |= {"winners": winning.value, "count": winning.n}
    return told


def _row(
    place: int, number: int, part: dict[str, np.ndarray], scale: _Scale, name: str, can: bool | None
) -> dict[str, Any]:
    lower, upper, low, high, value = (float(part[end][place]) for end in ("lower", "upper", "low", "high", "value"))
    width = upper - lower
    sampled = (float(part[end][place]) for end in ("sampled lowest", "sampled highest"))
    return {
        "name": name,
        "short": name if len(name) <= NAMED else f"{name[: NAMED - 1]}…",
        "number": number,
        "at": TOP + ROW * place,
        "bound": scale.bar(lower, upper),
        "reached": scale.bar(low, high),
        "sampled": scale.bar(*sampled),
        "value_at": scale.across(value),
        "lower": _written(lower, at_least),
        "upper": _written(upper, at_most),
        "low": _written(low),
        "high": _written(high),
        "value": _written(value),
        "used": (high - low) / width if np.isfinite(width) and width > 0 else None,
        "can": can,
    }


def _name(number: int, classes: list[str] | None) -> str:
    return str(number) if classes is None else classes[number]


def _can(number: int, able: np.ndarray | None, held: dict[str, np.ndarray]) -> bool | None:
    """Say whether a score's class can win; of a single score, whose two answers share it, nothing is said."""
    if able is None or len(able) != held["lower"].shape[1]:
        return None
    return bool(able[number])


def _written(value: float, write: Callable[[float], str] = number) -> str:
    if not np.isfinite(value):
        return "not bounded"
    text = write(value)
    return text.replace("-", "\N{MINUS SIGN}", 1) if value < 0 else text


class _Scale:
    """Where values stand; what has no bound ends at the edge."""

    def __init__(self, values: np.ndarray) -> None:
        finite = values[np.isfinite(values)]
        low, high = (float(finite.min()), float(finite.max())) if len(finite) else (0.0, 1.0)
        room = 0.04 * (high - low) or max(abs(high), 1.0) * 1e-3
        self.low, self.high = low - room, high + room

    def across(self, value: float) -> float:
        share = (np.clip(value, self.low, self.high) - self.low) / (self.high - self.low)
        return round(float(LEFT + share * (RIGHT - LEFT)), 1)

    def bar(self, low: float, high: float) -> dict[str, float]:
        begin, end = self.across(low), self.across(high)
        return {"x": begin, "width": round(max(end - begin, 0.5), 1)}
