"""The panel of a property: its verdict, what decided it, and the input that violates it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from xai.reports.evidence import Evidence
from xai.reports.figures import colour_bar, coloured, foremost, picture
from xai.reports.html.sections.base import Cell, Figure, Pictures, Row, Section, Table
from xai.reports.records import Finding
from xai.reports.words import duration, number

MARKS = {"holds": "✓", "violated": "✗", "not decided": "~"}
SPEAKS = {"holds": "for", "violated": "against", "not decided": "neither"}
SAYS = {
    "holds": "no input that it names violates it: that is proved",
    "violated": "an input was found that violates it, and the model was asked about it again",
    "not decided": "it was neither proved, nor was an input found that violates it",
}
LISTED = 12  # numbers of an input or output


class Property(Section):
    """A verdict in words, and tables or pictures of a counterexample."""

    family = "property"
    wide = True
    body = """
<div class="trust"><ul><li class="{{ speaks }}"><span class="mark" aria-hidden="true">{{ mark }}</span><span><b>{{ f.verdict[:1] | upper }}{{ f.verdict[1:] }}.</b> {{ says[:1] | upper }}{{ says[1:] }}.</span></li></ul></div>
{% if inputs %}
{% if pictures %}
<div class="{{ "triple" if pictures | length > 2 else "pair" }}">{% for one in pictures %}
<figure><img class="{{ 'pixels' if small else 'photo' }}" src="{{ one.source }}" alt="{{ one.words }}"><figcaption>{{ one.words }}</figcaption>
{% if one.bar %}<div class="bar"><img src="{{ one.bar }}" alt="Colours from {{ -reach | number }} to {{ reach | number }}"><div class="ticks"><span>{{ -reach | number }}</span><span>0</span><span>{{ reach | number }}</span></div><div class="unit">input units</div></div>{% endif %}</figure>
{% endfor %}</div>
{% else %}
<div class="scroll" tabindex="0" role="group" aria-label="The input that violates it"><table class="tiles numbers">
<caption>The input{{ "s" if inputs | length > 1 }} that violate{{ "s" if inputs | length == 1 }} it{% if more %}, {{ rows | length }} of {{ count }} numbers{{ ", those that differ most" if inputs | length > 1 }}{% endif %}, counted from 0, in input units</caption>
<thead><tr><th scope="col">number</th>{% for one in inputs %}<th scope="col">{{ one }}</th>{% endfor %}</tr></thead>
{% for row in rows %}<tr><th scope="row">{{ row.place }}</th>{% for value in row.told %}<td>{{ value }}</td>{% endfor %}</tr>
{% endfor %}</table></div>
{% endif %}
<div class="scroll" tabindex="0" role="group" aria-label="What the model answers there"><table class="tiles numbers">
<caption>What the model answers there{% if outputs_more %}, the {{ outputs | length }} highest outputs{% endif %}</caption>
<thead><tr><th scope="col">output</th>{% for one in inputs %}<th scope="col">{{ one }}</th>{% endfor %}</tr></thead>
{% for row in outputs %}<tr><th scope="row">{{ row.name }}</th>{% for value in row.told %}<td>{{ value }}</td>{% endfor %}</tr>
{% endfor %}</table></div>
{% endif %}
<table class="facts"><caption>How it was decided</caption>
<tr><th scope="row">decided by</th><td>{{ f["values"]["decided by"].value }}</td></tr>
{% if "proof" in f["values"] %}<tr><th scope="row">proof</th><td>{{ f["values"].proof.value }}</td></tr>{% endif %}
<tr><th scope="row">time</th><td>{{ f.seconds | duration }} of {{ f.parameters.timeout | number }} s allowed</td></tr>
<tr><th scope="row">parts</th><td>{{ f["values"].parts.value | count }} {{ f["values"].parts.unit }}</td></tr>
{% for name in ("violated by", "left") if name in f["values"] %}<tr><th scope="row">{{ "violated where" if name == "violated by" else "what is left" }}</th><td>{{ f["values"][name].value }}</td></tr>{% endfor %}
{% if "best bound" in f["values"] %}<tr><th scope="row">best bound</th><td>{{ f["values"]["best bound"].value | number }} {{ f["values"]["best bound"].unit }}; proved where it is above 0</td></tr>{% endif %}
<tr><th scope="row">about</th><td>{{ numbers }}</td></tr>
</table>
"""

    def headline(self, finding: Finding) -> list[Figure]:
        """Return the verdict."""
        return [Figure(f"{MARKS[str(finding.verdict)]} {finding.verdict}", finding.title)]

    def table(self, findings: Sequence[Finding]) -> Table | None:
        """Return all properties, a row each."""
        return Table(
            title="The properties",
            meaning="Each must hold for every input that it names.",
            caption="What is not decided may hold or not",
            columns=("property", "verdict", "decided by", "time", "parts"),
            rows=tuple(Row(finding, _cells(finding)) for finding in findings),
        )

    def context(self, finding: Finding, run: Evidence, pictures: Pictures) -> dict[str, Any]:
        """Draw or list the counterexample."""
        verdict = str(finding.verdict)
        numbers = {"real": "the network in real numbers", "float": "the float32 network, rounding included"}
        shared: dict[str, Any] = {
            "mark": MARKS[verdict],
            "speaks": SPEAKS[verdict],
            "says": SAYS[verdict],
            "numbers": numbers[str(finding.parameters["arithmetic"])],
            "inputs": [],
        }
        if "counterexample" not in finding.artefacts:
            return shared
        inputs, outputs = run.array(finding, "counterexample"), run.array(finding, "outputs")
        names = ["value"] if len(inputs) == 1 else ["first input", "second input"]
        rows = _rows(inputs)
        highest = np.argsort(-outputs.max(0), kind="stable")[:LISTED]
        classes = run.record.model.card["classes"]
        return shared | {
            "inputs": names,
            "pictures": _pictures(inputs, run, pictures),
            "small": inputs.ndim == 4 and inputs.shape[3] <= 128,
            "reach": _reach(inputs),
            "rows": rows,
            "count": inputs[0].size,
            "more": inputs[0].size > len(rows),
            "outputs": [
                {"name": classes[place], "told": [number(float(one[place])) for one in outputs]}
                for place in sorted(highest.tolist())
            ],
            "outputs_more": outputs.shape[1] > len(highest),
        }


def _cells(finding: Finding) -> tuple[Cell, ...]:
    if finding.status != "ok":
        return ()
    verdict, values = str(finding.verdict), finding.values
    reason = str(values["reason"].value) if "reason" in values else ""
    decided, parts = str(values["decided by"].value), number(values["parts"].value)
    return Cell(f"{MARKS[verdict]} {verdict}", reason), Cell(decided), Cell(duration(finding.seconds)), Cell(parts)


def _pictures(inputs: np.ndarray, run: Evidence, pictures: Pictures) -> list[dict[str, str]]:
    """Return the inputs as pictures, and of two what differs between them."""
    if inputs.ndim != 4:
        return []
    words = ["the input that violates it"] if len(inputs) == 1 else ["the first input", "the second input"]
    told = [
        {"source": pictures.add(picture(one, run.range)), "words": name, "bar": ""}
        for one, name in zip(inputs, words, strict=True)
    ]
    if len(inputs) > 1:
        reach = _reach(inputs)
        colours = coloured(foremost(inputs[1] - inputs[0]), (-reach, reach), signed=True)
        bar = pictures.add(colour_bar(signed=True))
        told.append({"source": pictures.add(colours), "words": "the second less the first", "bar": bar})
    return told


def _reach(inputs: np.ndarray) -> float:
    return float(np.abs(inputs[-1] - inputs[0]).max()) or 1.0


def _rows(inputs: np.ndarray) -> list[dict[str, Any]]:
    """Return numbers of the inputs: of two those that differ most."""
    flat = inputs.reshape(len(inputs), -1)
    order = np.argsort(-np.abs(flat[-1] - flat[0]), kind="stable") if len(flat) > 1 else np.arange(flat.shape[1])
    return [
        {
            "place": ", ".join(str(int(index)) for index in np.unravel_index(place, inputs.shape[1:])),
            "told": [f"{float(one[place]):.6g}" for one in flat],
        }
        for place in order[:LISTED].tolist()
    ]
