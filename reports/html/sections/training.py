"""The panel of a training: what was minimised on which images, how it went, and which epoch was kept and why."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from xai.reports.artefacts import get_rows
from xai.reports.evidence import Evidence
from xai.reports.html.axes import SHARES, Plane, spread, ticks_between, whole_ticks
from xai.reports.html.sections.base import Figure, Pictures, Section
from xai.reports.records import Finding, Scalar, Value
from xai.reports.words import amount, number, share

FEW = 12  # epochs whose table is not folded
LISTED = 8  # things noticed that are not folded
CLEAR = 24  # of the left end, so that what is written over a mark does not lie on an axis's numbers
COMPARISON = "diff.html"  # the page beside the report that compares with the parent
Row = Mapping[str, Any]  # what is kept of an epoch


class Curve(NamedTuple):
    """An accuracy that is followed from epoch to epoch.

    Args:
        name: in the rows of the epochs, and beside its line.
        value: of the finding, for the epoch that is kept.
        words: how the accuracy is meant.
    """

    name: str
    value: str
    words: str


CURVES = (
    Curve("clean", "clean accuracy", "without an attack"),
    Curve("attacked", "attacked accuracy", "under the attack of the training"),
    Curve("stronger", "attacked accuracy, stronger", "under a stronger attack"),
    Curve("certified", "certified accuracy", "by the training’s own bounds"),
)

_CHART = """
{% macro chart(c) %}
<figure><svg class="curve axes epochs" viewBox="0 0 {{ c.width }} {{ c.height }}" role="img" aria-label="{{ c.words }}">
<path class="frame" d="M{{ c.left }} {{ c.top }}V{{ c.bottom }}H{{ c.right }}"/>
{% for tick in c.down %}<text x="{{ c.left - 6 }}" y="{{ tick.at + 4 }}" text-anchor="end">{{ tick.text }}</text><path class="grid" d="M{{ c.left }} {{ tick.at }}H{{ c.right }}"/>{% endfor %}
{% for tick in c.across %}<text x="{{ tick.at }}" y="{{ c.bottom + 18 }}" text-anchor="middle">{{ tick.text }}</text><path class="frame" d="M{{ tick.at }} {{ c.bottom }}v4"/>{% endfor %}
<text x="{{ (c.left + c.right) / 2 }}" y="{{ c.height - 2 }}" text-anchor="middle">epoch</text>
{% if c.kept is not none %}<path class="kept" d="M{{ c.kept }} {{ c.top }}V{{ c.bottom }}"/><text class="said" x="{{ c.kept_text }}" y="{{ c.top - 7 }}" text-anchor="middle">kept</text>{% endif %}
{% for line in c.lines %}
{% for part in line.parts %}{% if part | length > 1 %}<polyline class="{{ line.name }}" points="{% for x, y in part %}{{ x }},{{ y }} {% endfor %}"/>{% else %}<circle cx="{{ part[0][0] }}" cy="{{ part[0][1] }}" r="2"/>{% endif %}{% endfor %}
{% if line.dot is not none %}<circle{{ ' class="open"' | safe if not line.watched }} cx="{{ c.kept }}" cy="{{ line.dot }}" r="3.5"/>{% endif %}
<path class="lead" d="M{{ line.parts[-1][-1][0] }} {{ line.parts[-1][-1][1] }}L{{ c.right + 7 }} {{ line.beside }}"/><text class="said" x="{{ c.right + 10 }}" y="{{ line.beside + 4 }}">{{ line.name }}</text>
{% endfor %}
</svg><figcaption>{{ c.caption }}</figcaption></figure>
{% endmacro %}
"""
_NOTICED = """
{% macro noticed(events) %}<ul>{% for one in events %}<li><b>{{ one.epochs }}</b>: {{ one.words }}</li>{% endfor %}</ul>{% endmacro %}
{% if events %}<div class="note" role="group" aria-label="Noticed during training"><p>Noticed during training:</p>
{{ noticed(events[:listed]) }}
{% if events[listed:] %}<details><summary>{{ events[listed:] | length }} more</summary>{{ noticed(events[listed:]) }}</details>{% endif %}
</div>{% endif %}
"""
_STORY = """
<p class="reading">The loss of <b>{{ f.title }}</b>{% if threat %}, for changes within {{ threat }},{% endif %} was minimised on <b>{{ images.value | count }}</b> images, for {{ done }}{% if asked != done %} of {{ asked }}{% endif %} epoch{{ "s" if asked != 1 }}{% if steps.value is not none %} ({{ steps.value | count }} step{{ "s" if steps.value != 1 }}){% endif %}{% if asked != done %}: {{ stopped.value }}{% endif %}.
{% if kept is none %}No epoch was kept{% if best.reason %}: {{ best.reason }}{% endif %}.{% else %}Epoch <b>{{ kept }}</b> is kept{% if done == 1 %}, the only one{% elif chosen %}, chosen for its accuracy {{ chosen }}{% else %}; there was no accuracy to choose it by{% endif %}{% if reached %}. On {{ judged }} validation images it reaches {% for one in reached %}<b>{{ one.value.value | share }}</b> {{ one.words }}{{ " and " if loop.revindex == 2 else ", " if not loop.last }}{% endfor %}{% endif %}.{% endif %}
{% if chosen and reached and done > 1 %}{{ " " }}These images chose the epoch, so the figures are likelier too high than too low.{% endif %}
{% if held.value %}{{ " " }}The figures that count are those on {{ held.value | count }} held-out images, in the other panels.{% else %}{{ " " }}No images were held out: nothing says how it does on images that played no part.{% endif %}</p>
"""
_TABLES = """
<div class="beside">
{% if figures %}<table class="tiles numbers"><caption>Epoch {{ kept }}, which is kept, on the validation images; 95 % intervals below{{ ", as if these images had not chosen it" if chosen and done > 1 }}</caption>
<thead><tr><th scope="col">accuracy</th><th scope="col">right</th><th scope="col">images</th></tr></thead>
{% for one in figures %}<tr><th scope="row">{{ one.words }}</th><td>{{ one.value.value | share }}{% if one.value.interval %}<span class="interval">{{ one.value.interval[0] | share }} – {{ one.value.interval[1] | share }}</span>{% elif one.value.reason %}<span class="interval">{{ one.value.reason }}</span>{% endif %}</td><td>{{ one.value.n | count }}</td></tr>
{% endfor %}</table>{% endif %}
<table class="facts"><caption>Where it comes from</caption>
<tr><th scope="row">parent</th><td>{{ used.parent or "none" }}{% if used["parent fingerprint"] %}<br><code class="hash">{{ used["parent fingerprint"] }}</code>{% endif %}</td></tr>
<tr><th scope="row">initial weights</th><td>{{ used["initial weights"] }}; {{ learning.value | count }} numbers learn{% if frozen.value %}, {{ frozen.value | count }} stay as they are{% endif %}</td></tr>
<tr><th scope="row">data</th><td>{{ used.data }}: {{ images.value | count }} images to train on, {{ validation.value | count }} for validation, {{ held.value | count }} held out<br><code class="hash">{{ used["data digest"] }}</code></td></tr>
<tr><th scope="row">objective</th><td>{{ f.title }} <code>{{ f.method }}</code></td></tr>
<tr><th scope="row">changes</th><td>{% if threat %}within {{ threat }}{% else %}none{% endif %}</td></tr>
<tr><th scope="row">seed</th><td>{{ used.seed }}</td></tr>
<tr><th scope="row">end</th><td>{{ stopped.value or "–" }}</td></tr>
</table></div>
"""
_EPOCHS = """
{% macro epochs() %}
<div class="scroll" tabindex="0" role="group" aria-label="The epochs"><table class="tiles numbers"><caption>Shares of the validation images; a dash is what was not measured, or is no number</caption>
<thead><tr>{% for column in columns %}<th scope="col">{{ column }}</th>{% endfor %}</tr></thead>
{% for row in rows %}<tr{{ ' class="whole"' | safe if row.kept }}><th scope="row">{{ row.epoch }}{{ ", kept" if row.kept }}</th>{% for cell in row.cells %}<td>{{ cell }}</td>{% endfor %}</tr>
{% endfor %}</table></div>
{% endmacro %}
{% if rows | length > few %}<details><summary>The {{ rows | length }} epochs in numbers</summary>{{ epochs() }}</details>
{% elif rows %}{{ epochs() }}{% endif %}
{% if compared %}<p>Compared with the parent: <a href="{{ compared }}">{{ compared }}</a></p>{% endif %}
"""


class Training(Section):
    """What was noticed, a sentence, accuracies and loss over the epochs, figures, lineage, and the epochs in numbers."""

    family = "training"
    wide = True
    body = (
        _CHART
        + _NOTICED
        + _STORY
        + """
{% if charts %}<div class="beside">{% for one in charts %}{{ chart(one) }}{% endfor %}</div>{% endif %}
"""
        + _TABLES
        + _EPOCHS
    )

    def headline(self, finding: Finding) -> list[Figure]:
        """Return how long it was trained on how many images; what validation images say is no figure of the whole."""
        done, images = (_whole(finding.values[name]) for name in ("epochs", "images"))
        return [Figure(f"{done} epoch{'s' * (done != 1)}", f"{finding.title} on {amount(images)} images")]

    def context(self, finding: Finding, run: Evidence, pictures: Pictures) -> dict[str, Any]:  # noqa: ARG002  # drawings, no picture
        """Draw the curves, and name what the sentence and the tables tell."""
        rows = list(get_rows(run.store, finding.artefacts["epochs"]))
        values, used = finding.values, finding.parameters
        kept, watched = values["best epoch"].value, str(used["watched"])
        curves = [one for one in CURVES if _known(rows, one.name)]
        figures = [] if kept is None else [_figure(values, one) for one in CURVES if one.value in values]
        return {
            **_counts(values),
            "used": used,
            "asked": used["epochs"],
            "kept": kept,
            "best": values["best epoch"],
            "chosen": next((one.words for one in curves if one.name == watched), ""),
            "threat": f"{written} ({used['norm']})" if (written := used["epsilon as written"]) else "",
            "figures": figures,
            "reached": [one for one in figures if one["value"].value is not None],
            "judged": amount(_whole(values["validation images"])),
            "events": _events(rows),
            "listed": LISTED,
            "charts": _charts(rows, curves, kept, watched),
            "few": FEW,
            **_table(rows, curves, kept),
            "compared": COMPARISON if used.get("comparison") == COMPARISON else "",
        }


def _figure(values: Mapping[str, Value], curve: Curve) -> dict[str, Any]:
    return {"words": curve.words, "value": values[curve.value]}


def _counts(values: Mapping[str, Value]) -> dict[str, Any]:
    """Name what was counted."""
    named = {
        "images": "images",
        "validation": "validation images",
        "held": "held-out images",
        "steps": "steps",
        "learning": "trained numbers",
        "frozen": "frozen numbers",
        "stopped": "stopped",
    }
    return {"done": _whole(values["epochs"])} | {name: values[key] for name, key in named.items()}


def _events(rows: Sequence[Row]) -> list[dict[str, str]]:
    """Return what was noticed, each once with its epochs."""
    found: dict[str, list[int]] = {}
    for row in rows:
        for words in row["events"]:
            found.setdefault(words, []).append(row["epoch"])
    return [{"words": words, "epochs": _spans(epochs)} for words, epochs in found.items()]


def _spans(epochs: Sequence[int]) -> str:
    """Write epochs in a row as one: "Epochs 2 to 4, 7"."""
    spans: list[list[int]] = []
    for epoch in epochs:
        if spans and epoch == spans[-1][-1] + 1:
            spans[-1].append(epoch)
        else:
            spans.append([epoch])
    told = (str(span[0]) if len(span) == 1 else f"{span[0]} to {span[-1]}" for span in spans)
    return f"Epoch{'s' * (len(epochs) > 1)} {', '.join(told)}"


def _charts(rows: Sequence[Row], curves: Sequence[Curve], kept: Scalar, watched: str) -> list[dict[str, Any]]:
    """Draw accuracies and loss over the epochs; nothing of what is not known."""
    drawn = [_accuracies(rows, curves, kept, watched)] if curves else []
    return [*drawn, _losses(rows, kept)] if _known(rows, "loss") else drawn


def _accuracies(rows: Sequence[Row], curves: Sequence[Curve], kept: Scalar, watched: str) -> dict[str, Any]:
    """Draw accuracies, with a dot at the epoch that is kept: a full one on the line that chose it."""
    plane = Plane(_ends(rows), (0, 1))
    pairs = {one.name: [(at, part) for at, part in _pairs(rows, one.name) if part is not None] for one in curves}
    lines = [_line(name, plane, own) | _dot(plane, own, kept, watched=name == watched) for name, own in pairs.items()]
    caption = "accuracy on the validation images; " + "; ".join(f"{one.name}: {one.words}" for one in curves)
    if any(len(own) < len(rows) for own in pairs.values()):
        caption += "; lines join the epochs in which it was measured"
    if any(line["watched"] and line["dot"] is not None for line in lines):
        caption += ". The full dot is on the one that chose the epoch"
    told = ", ".join(f"{one.name} {_told(rows, one.name, kept, share)}" for one in curves)
    words = f"Accuracy on the validation images by epoch: {told}"
    ticks = [(tick, f"{100 * tick:.0f} %") for tick in SHARES]
    return _chart(rows, plane, ticks, lines, kept) | {"caption": caption, "words": words}


def _losses(rows: Sequence[Row], kept: Scalar) -> dict[str, Any]:
    """Draw the loss, broken where it is no number, and beside it the size of the change where that varies."""
    low, high = min(0.0, *_known(rows, "loss")), max(0.0, *_known(rows, "loss"))
    high = high if high > low else low + 1.0
    plane = Plane(_ends(rows), (low, high))
    lines = [_line("loss", plane, _pairs(rows, "loss"))]
    words, caption = f"Loss by epoch: {_told(rows, 'loss', kept, number)}", "mean loss of the training images"
    if _varies(rows, "epsilon"):
        sizes = _known(rows, "epsilon")
        lines.append(_line("epsilon", Plane(_ends(rows), (0.0, max(sizes))), _pairs(rows, "epsilon")))
        words += f"; epsilon {_told(rows, 'epsilon', kept, number)}"
        caption += (
            f"; the thin line is the size of the change at each epoch’s end, from {number(min(sizes))} to "
            f"{number(max(sizes))} on a scale of its own"
        )
    ticks = [(tick, f"{tick:.3g}") for tick in ticks_between(low, high)]
    return _chart(rows, plane, ticks, lines, kept) | {"caption": caption, "words": words}


def _line(name: str, plane: Plane, pairs: Sequence[tuple[int, float | None]]) -> dict[str, Any]:
    """Place a line."""
    return {"name": name, "parts": plane.places(pairs), "dot": None}


def _dot(plane: Plane, pairs: Sequence[tuple[int, float]], kept: Scalar, *, watched: bool) -> dict[str, Any]:
    """Place the dot of the epoch that is kept, if it was measured then."""
    return {"dot": next((plane.down(part) for at, part in pairs if at == kept), None), "watched": watched}


def _chart(
    rows: Sequence[Row],
    plane: Plane,
    down: Sequence[tuple[float, str]],
    lines: Sequence[dict[str, Any]],
    kept: Scalar,
) -> dict[str, Any]:
    """Bring axes, lines and the words at their right ends together."""
    beside = spread([line["parts"][-1][-1][1] for line in lines], plane.bottom)
    at = plane.across(kept) if isinstance(kept, int) else None
    return {
        **plane.frame(whole_ticks(*_ends(rows)), down),
        "kept": at,
        "kept_text": None if at is None else max(at, plane.left + CLEAR),
        "lines": [line | {"beside": place} for line, place in zip(lines, beside, strict=True)],
    }


def _told(rows: Sequence[Row], name: str, kept: Scalar, write: Callable[[float], str]) -> str:
    """Tell a line by its first and its last number, and by that of the epoch that is kept."""
    known = _known(rows, name)
    at = next((row.get(name) for row in rows if row["epoch"] == kept), None)
    return f"{write(known[0])} at first, {write(known[-1])} at last" + (
        "" if at is None else f", {write(at)} in epoch {kept}, which is kept"
    )


def _table(rows: Sequence[Row], curves: Sequence[Curve], kept: Scalar) -> dict[str, Any]:
    """Return columns and rows of the epochs in numbers; what is the same in all of them is left out."""
    written = {"loss": number} | {one.name: share for one in curves}
    written |= {name: number for name in ("epsilon", "lr") if _varies(rows, name)} | {"seconds": number}
    return {
        "columns": ["epoch", *written],
        "rows": [
            {
                "epoch": row["epoch"],
                "kept": row["epoch"] == kept,
                "cells": [write(row.get(name)) for name, write in written.items()],
            }
            for row in rows
        ],
    }


def _ends(rows: Sequence[Row]) -> tuple[int, int]:
    return rows[0]["epoch"], rows[-1]["epoch"]


def _known(rows: Sequence[Row], name: str) -> list[float]:
    return [row[name] for row in rows if row.get(name) is not None]


def _pairs(rows: Sequence[Row], name: str) -> list[tuple[int, float | None]]:
    return [(row["epoch"], row.get(name)) for row in rows]


def _varies(rows: Sequence[Row], name: str) -> bool:
    return len(set(_known(rows, name))) > 1


def _whole(value: Value) -> int:
    return value.value if isinstance(value.value, int) else 0
