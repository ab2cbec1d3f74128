"""The panel of what is verified of all images: both sides of the truth closing in on each other, and a row an image."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from xai.reports.artefacts import get_rows
from xai.reports.evidence import Evidence
from xai.reports.html.axes import LEFT, RIGHT, WIDTH, Axes
from xai.reports.html.sections.base import Figure, Pictures, Section
from xai.reports.records import Finding, Value
from xai.reports.words import share

VERIFIED, ATTACKED, OPEN = "verified accuracy at ", "accuracy under attack at ", "not decided at "
CHECKED, GIVEN = "proofs checked", "given"
NUMBERS = {"real": "real numbers, without rounding", "float": "the float32 network, rounding included"}
MARKS = {"holds": "✓", "violated": "✗", "not decided": "~", "wrong": "✗"}
SPEAKS = {"holds": "for", "violated": "against", "not decided": "neither", "wrong": "against"}
SHOWN = 200  # rows; all are in the artefact
RANK = {"violated": 0, "not decided": 1, "wrong": 2, "holds": 3}


class Verification(Section):
    """One sentence, two curves over the time that an image took, how it was decided, and the rows."""

    family = "verification"
    wide = True
    body = """
<p class="reading">Of {{ total }} images {{ accuracy.value | share }} are right{{ ", where the model's own answers count as right" if own }}. For every input within {{ size }} ({{ f.parameters.norm }})
<b>{{ verified.value | share }}</b> are <b>proved</b> to stay right ({{ confidence }} interval over images {{ verified.interval[0] | share }} to {{ verified.interval[1] | share }});
counterexamples leave {{ attacked.value | share }} standing, so the truth lies between the two. {{ open.value | share }} are not decided.
The proof is about {{ numbers }}.</p>
<div class="beside">
<figure><svg class="curve axes" viewBox="0 0 {{ width }} {{ height }}" role="img" aria-label="Share of images by the seconds spent on each: proved {% for mark in marks %}{{ mark.proved | share }} within {{ mark.text }} s, {% endfor %}{{ verified.value | share }} in the end; standing {% for mark in marks %}{{ mark.left | share }} within {{ mark.text }} s, {% endfor %}{{ attacked.value | share }} in the end">
<path class="frame" d="M{{ left }} {{ top }}V{{ bottom }}H{{ right }}"/>
{% for tick in down %}<text x="{{ left - 6 }}" y="{{ tick.at + 4 }}" text-anchor="end">{{ tick.text }}</text><path class="grid" d="M{{ left }} {{ tick.at }}H{{ right }}"/>{% endfor %}
{% for mark in marks %}<text x="{{ mark.at }}" y="{{ bottom + 18 }}" text-anchor="middle">{{ mark.text }}</text><path class="frame" d="M{{ mark.at }} {{ bottom }}v4"/>{% endfor %}
<text x="{{ (left + right) / 2 }}" y="{{ height - 2 }}" text-anchor="middle">seconds spent on an image</text>
<polyline class="most" points="{{ above }}"/>
<polyline points="{{ below }}"/>
</svg><figcaption>solid line: proved to stay right, the truth is at least this; broken line: right and not felled by a counterexample, the truth is at most this; what is between them at the right end is not decided</figcaption></figure>
<div>
<table class="tiles numbers"><caption>All are shares of the same images, {{ total }} in all, those that are wrong without a change included; {{ confidence }} intervals below</caption>
<thead><tr><th scope="col">within {{ size }} ({{ f.parameters.norm }})</th><th scope="col">share</th></tr></thead>
{% for name, value in told %}<tr><th scope="row">{{ name }}</th><td>{{ value.value | share }}<span class="interval">{{ value.interval[0] | share }} – {{ value.interval[1] | share }}</span></td></tr>
{% endfor %}</table>
<table class="facts"><caption>What decided it</caption>
{% for name, value in ways %}<tr><th scope="row">{{ name }}</th><td>{{ value.value | count }} of {{ total }}</td></tr>{% endfor %}
{% if checked %}<tr><th scope="row">proofs checked by a second program</th><td>{{ checked.value | count }} of {{ checked.n | count }} that hold</td></tr>{% endif %}
<tr><th scope="row">time allowed</th><td>{{ f.parameters.timeout | number }} s for each image</td></tr>
<tr><th scope="row">time taken</th><td>{{ f.seconds | duration }} over all images; the slowest {{ slowest | duration }}</td></tr>
<tr><th scope="row">confirmed in</th><td>{{ f.parameters["confirmed in"] }}</td></tr>
</table></div></div>
<div class="scroll" tabindex="0" role="group" aria-label="The verdict on each image"><table class="tiles numbers verdicts">
<caption>{% if rows | length < total %}{{ rows | length }} of {{ total }} images, violated and undecided ones first; all are in the evidence{% else %}Every image, violated and undecided ones first{% endif %}; best bound: by how much the worst part of the region is known to lie above the limit, proved above 0</caption>
<thead><tr><th scope="col">image</th><th scope="col">answer</th><th scope="col">verdict</th><th scope="col">decided by</th><th scope="col" class="figure">seconds</th><th scope="col" class="figure">parts</th><th scope="col">what else</th></tr></thead>
{% for row in rows %}<tr><th scope="row">{{ row.id }}</th><td class="name">{{ row.answer }}</td><td class="{{ row.speaks }}"><span class="mark" aria-hidden="true">{{ row.mark }}</span> {{ row.verdict }}</td><td>{{ row.by }}</td><td class="figure">{{ "%.2f" | format(row.seconds) }}</td><td class="figure">{{ row.parts | count }}</td><td class="reason">{{ row.said }}{% if row.bound is not none %}{{ "; " if row.said }}best bound {{ row.bound | number }}{% endif %}</td></tr>
{% endfor %}</table></div>
"""

    def headline(self, finding: Finding) -> list[Figure]:
        """Return both sides of the truth."""
        values, norm = finding.values, finding.parameters["norm"]
        size = str(finding.parameters["epsilons"])
        return [
            Figure(_share(values[VERIFIED + size]), f"proved right within {size} ({norm})"),
            Figure(_share(values[ATTACKED + size]), f"at most, by the counterexamples found within {size}"),
            Figure(_share(values[OPEN + size]), "not decided"),
        ]

    def context(self, finding: Finding, run: Evidence, pictures: Pictures) -> dict[str, Any]:  # noqa: ARG002  # a drawing, no picture
        """Place the curves, and put the rows in order."""
        values, size = finding.values, str(finding.parameters["epsilons"])
        rows = list(get_rows(run.store, finding.artefacts["rows"]))
        names = [row["name"] for row in get_rows(run.store, finding.artefacts["answers"])]
        times = run.array(finding, "times")
        verdicts = np.array([_verdict(row) for row in rows], dtype=object)
        axes = Times(times)
        sides = {verdict: np.sort(times[verdicts == verdict]) for verdict in ("holds", "violated")}
        right = float((verdicts != "wrong").mean())
        marks = [
            {
                "at": axes.across(tick),
                "text": f"{tick:g}",
                "proved": (sides["holds"] <= tick).sum() / len(rows),
                "left": right - (sides["violated"] <= tick).sum() / len(rows),
            }
            for tick in axes.ticks
        ]
        named = {"proved to stay right": VERIFIED, "right and not felled": ATTACKED, "not decided": OPEN}
        return {
            "total": len(rows),
            "size": size,
            "accuracy": values["accuracy"],
            "own": finding.parameters["labels"] != GIVEN,
            "verified": values[VERIFIED + size],
            "attacked": values[ATTACKED + size],
            "open": values[OPEN + size],
            "told": [
                ("right without a change", values["accuracy"]),
                *((words, values[name + size]) for words, name in named.items()),
            ],
            "ways": [(name, value) for name, value in values.items() if " by " in name],
            "slowest": float(times.max()),
            "checked": values.get(CHECKED),
            "numbers": NUMBERS[str(finding.parameters["arithmetic"])],
            "confidence": "95\N{NO-BREAK SPACE}%",
            "rows": _ordered(rows, times, names)[:SHOWN],
            **axes.frame(),
            "width": WIDTH,
            "marks": marks,
            "below": axes.curve(sides["holds"], 0.0, 1 / len(rows)),
            "above": axes.curve(sides["violated"], right, -1 / len(rows)),
        }


class Times(Axes):
    """A share over seconds, whose orders of magnitude are as wide as each other.

    Args:
        times: (n,) that are to be drawn.
    """

    def __init__(self, times: np.ndarray) -> None:
        known = times[times > 0]
        low, high = (float(known.min()), float(known.max())) if len(known) else (0.1, 1.0)
        self._low = math.floor(math.log10(low) - 1e-9)
        self._high = max(self._low + 1, math.ceil(math.log10(high) + 1e-9))
        super().__init__(10.0**self._high)

    @property
    def ticks(self) -> list[float]:
        """Powers of ten."""
        return [10.0**power for power in range(self._low, self._high + 1)]

    def across(self, size: float) -> float:
        """Return where a time stands."""
        part = (math.log10(max(size, 10.0**self._low)) - self._low) / (self._high - self._low)
        return round(LEFT + min(part, 1.0) * (RIGHT - LEFT), 1)

    def curve(self, times: np.ndarray, share: float, step: float) -> str:
        """Return the points of a curve that moves by a step at each of the times."""
        points = [f"{LEFT},{self.down(share)}"]
        for time in times.tolist():
            at = self.across(time)
            points.append(f"{at},{self.down(share)}")
            share += step
            points.append(f"{at},{self.down(share)}")
        return " ".join([*points, f"{RIGHT},{self.down(share)}"])


def _verdict(row: dict[str, Any]) -> str:
    return str(row["verdict"] or "wrong")


def _ordered(rows: Sequence[dict[str, Any]], times: np.ndarray, names: Sequence[str]) -> list[dict[str, Any]]:
    """Return what the table says of each image, what needs a look first."""
    told = [_row(row, float(seconds), names) for row, seconds in zip(rows, times, strict=True)]
    return sorted(told, key=lambda row: RANK[row["verdict"]])


def _row(row: dict[str, Any], seconds: float, names: Sequence[str]) -> dict[str, Any]:
    verdict = _verdict(row)
    said = row["reason"]
    if verdict == "wrong":
        said = f"the right answer is {names[row['label']]}" if row["finite"] else "the outputs are no numbers"
    elif verdict == "violated":
        said = f"becomes {names[row['answer']]} at a distance of {row['distance']:.4g}"
    elif "proof" in row:
        said = f"proof {row['proof']['state']}{': ' if row['proof']['reason'] else ''}{row['proof']['reason']}"
    return {
        "id": row["id"],
        "answer": names[row["predicted"]],
        "verdict": verdict,
        "mark": MARKS[verdict],
        "speaks": SPEAKS[verdict],
        "by": row["by"] or "–",
        "seconds": seconds,
        "parts": row["parts"],
        "said": said,
        "bound": row["bound"] if verdict == "not decided" else None,
    }


def _share(value: Value) -> str:
    return share(value.value) if isinstance(value.value, float) else "–"
