"""The panel of many explanations: what the measures say by class, images to look at, groups of maps that are alike."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from PIL import Image

from xai.reports.artefacts import get_rows
from xai.reports.evidence import Evidence
from xai.reports.figures import colour_bar, coloured, overlaid
from xai.reports.html.sections.base import Figure, Pictures, Section
from xai.reports.records import Finding, Value
from xai.reports.words import amount, number, share
from xai.reports.worth import OF_CLASS, SAYS, TRUST, mean_trust, shares

CLASSES = 12  # that are listed at most, the least trusted
EXTREME = 4  # of the most and of the least trusted images
DRAWN = 16  # groups of single classes at most
FOLDED = 2  # examples of each of them
NAMED = 3  # classes of a group that are named
SUSPECTED, TRIED = "places suspected", "places tried"
Row = Mapping[str, Any]

_FIGURE = """<figure><img class="pixels" src="{{ one.picture }}" alt="{{ one.alt }}"><figcaption><span class="name">{{ one.id }}</span>{% if one.words %}<br>{{ one.words }}{% endif %}</figcaption></figure>"""
_GROUP = (
    """<div class="group"><figure><img class="pixels" src="{{ g.map }}" alt="{{ g.alt }}"><figcaption>mean map</figcaption></figure>
<div><p class="reading"><b>{{ g.title }}</b>: {{ g.images | count }} of {{ g.total | count }} maps. {{ g.words }}{% if g.sentence %} {{ g.sentence }}{% endif %}</p>
{% if g.tried %}<div class="scroll whole-height" tabindex="0" role="group" aria-label="{{ g.title }}: what was exchanged"><table class="tiles numbers detectors"><caption>One place of {{ (100 * g.tried.area) | round(1) }} % of the picture exchanged, and one of the same size elsewhere; p-values of exact McNemar tests, corrected for all places that were tried (Holm)</caption>
<thead><tr><th scope="col">answers</th><th scope="col">images</th><th scope="col">this place</th><th scope="col">elsewhere</th><th scope="col">p</th></tr></thead>
<tr><th scope="row">that change, of images whose maps point there</th><td>{{ g.tried.images }}</td><td>{{ g.tried.changed }}</td><td>{{ g.tried.changed_elsewhere }}</td><td>{{ "%.2g" | format(g.tried.p_changed) }}</td></tr>
<tr><th scope="row">that become theirs, of other images</th><td>{{ g.tried.others }}</td><td>{{ g.tried.turned }}</td><td>{{ g.tried.turned_elsewhere }}</td><td>{{ "%.2g" | format(g.tried.p_turned) }}</td></tr>
</table></div>{% endif %}
{% if g.examples %}<div class="examples">{% for one in g.examples %}"""
    + _FIGURE
    + """{% endfor %}</div>{% endif %}</div></div>"""
)


class Summary(Section):
    """Sentences, tables with intervals, the most and least trusted maps, and groups with their examples."""

    family = "summary"
    wide = True
    body = (
        """
{% if rather %}<p class="reading">Each map is of <b class="name">{{ f.parameters.target }}</b>: why the one, and not the other.</p>{% endif %}
<p class="reading">{{ images | count }} images, {{ maps | count }} maps{% if blank %}; <b>{{ blank | count }}</b> {{ "map is" if blank == 1 else "maps are" }} blank{% endif %}.
{% if trust %}Their mean trust is <b>{{ trust.value | number }}</b> of -1 to 1{% if trust.interval %} (95 % interval {{ trust.interval[0] | number }} to {{ trust.interval[1] | number }}){% endif %}{% if worst %}; the least trusted class, <b class="name">{{ worst.name }}</b>, has {{ worst.value.value | number }}{% if worst.value.interval %} ({{ worst.value.interval[0] | number }} to {{ worst.value.interval[1] | number }}){% endif %}{% endif %}.{% else %}No measure judged them.{% endif %}{{ " " }}
{% if suspected %}<b>{{ suspected }} {{ "place is" if suspected == 1 else "places are" }} suspected</b>: see below.{% elif tried %}{{ tried }} small {{ "place" if tried == 1 else "places" }} that maps point at {{ "was" if tried == 1 else "were" }} tried, and none is suspected.{% else %}No small place was tried: that the model leans on none is not shown.{% endif %}</p>
{% if measures %}
<div class="scroll whole-height" tabindex="0" role="group" aria-label="What each measure says of the maps"><table class="tiles numbers detectors">
<caption>What each measure says of the maps that it judged; 95 % intervals below</caption>
<thead><tr><th scope="col">measure</th><th scope="col">judged</th><th scope="col">for</th><th scope="col">against</th><th scope="col">undecided</th></tr></thead>
{% for one in measures %}<tr><th scope="row">{{ one.title }}</th><td>{{ one.judged | count }}</td>{% if one.shares %}{% for value in one.shares %}<td>{{ value.value | share }}<span class="interval">{{ value.interval[0] | share }} – {{ value.interval[1] | share }}</span></td>{% endfor %}{% else %}<td class="reason" colspan="3">{{ one.reason or "no map" }}</td>{% endif %}</tr>
{% endfor %}</table></div>
<p class="unit">Trust of one map: the measures that speak for it less those against it, as a share of all that gave an answer.</p>
{% endif %}
{% if classes | length > 1 %}
<div class="scroll whole-height" tabindex="0" role="group" aria-label="Trust by class"><table class="tiles numbers detectors">
<caption>By class, the least trusted first{% if more %}: {{ classes | length }} of {{ classes | length + more }}{% endif %}; the share of maps that a measure speaks for and, below, against, with 95 % intervals</caption>
<thead><tr><th scope="col">class</th><th scope="col">mean trust</th><th scope="col">maps</th>{% for title in judging %}<th scope="col">{{ title }}</th>{% endfor %}</tr></thead>
{% for one in classes %}<tr><th scope="row">{{ one.name }}</th><td>{{ one.value.value | number }}<span class="interval">{{ one.value.interval[0] | number }} – {{ one.value.interval[1] | number }}</span></td><td>{{ one.value.n | count }}</td>{% for pair in one.said %}<td>{% if pair %}for {{ pair[0].value | share }}<span class="interval">{{ pair[0].interval[0] | share }} – {{ pair[0].interval[1] | share }}</span>against {{ pair[1].value | share }}<span class="interval">{{ pair[1].interval[0] | share }} – {{ pair[1].interval[1] | share }}</span>{% else %}–{% endif %}</td>{% endfor %}</tr>
{% endfor %}</table></div>
{% endif %}
{% for part in extremes %}
<h4>{{ part.title }}</h4>
<div class="examples">{% for one in part.shown %}"""
        + _FIGURE
        + """{% endfor %}</div>
{% endfor %}
{% if extremes %}<div class="bar"><img src="{{ bar }}" alt="Colours from {{ low | number }} to {{ high | number }}">
<div class="ticks"><span>{{ low | number }}</span><span>{{ ((low + high) / 2) | number }}</span><span>{{ high | number }}</span></div>
<div class="unit">{{ unit }}{% if signed %}: red speaks for what is explained, blue against{% endif %}; one scale for all maps of this method that are shown</div></div>{% endif %}
{% if groups %}
<h4>Groups of maps that are alike</h4>
<p class="meaning">By spectral clustering of what speaks for the answer, as many groups as the largest gap of the eigenvalues says. Examples are taken evenly in the data’s order.</p>
{% for g in groups %}"""
        + _GROUP
        + """{% endfor %}
<div class="bar"><img src="{{ group_bar }}" alt="Colours from 0 to {{ highest | share }}">
<div class="ticks"><span>0</span><span>{{ (highest / 2) | share }}</span><span>{{ highest | share }}</span></div>
<div class="unit">of mean maps: share of what speaks for the answer that lies in one of their {{ cells | count }} places; one scale for all of them</div></div>
{% endif %}
{% if folded %}
<details><summary>Groups of each class ({{ folded | length }}{% if unfolded %} of {{ folded | length + unfolded }}{% endif %})</summary>
{% for g in folded %}"""
        + _GROUP
        + """{% endfor %}</details>
{% endif %}
"""
    )

    def headline(self, finding: Finding) -> list[Figure]:
        """Return mean trust, and how many places are suspected."""
        values = finding.values
        told = []
        if TRUST in values:
            told.append(
                Figure(number(values[TRUST].value), f"mean trust of {finding.title}, -1 to 1{_between(values[TRUST])}")
            )
        if values[TRIED].value:
            found = int(values[SUSPECTED].value or 0)
            told.append(Figure(amount(found), f"{'place' if found == 1 else 'places'} suspected by {finding.title}"))
        return told

    def context(self, finding: Finding, run: Evidence, pictures: Pictures) -> dict[str, Any]:
        """Count, draw, and put what is suspected first."""
        rows = list(get_rows(run.store, finding.artefacts["rows"]))
        album = _Album(finding, run, pictures, rows)
        told = [*get_rows(run.store, finding.artefacts["groups"])]
        first = [one for one in told if not one["of"] or _is_suspected(one)]
        rest = [one for one in told if one not in first]
        if len({one["of"] for one in told}) == 1:
            first, rest = told, []
        first.sort(key=lambda one: not _is_suspected(one))
        values = finding.values
        return {
            "images": values["images"].value,
            "maps": values["maps"].value,
            "blank": values["blank maps"].value,
            "rather": any(row.get("explained", row["explains"]) != row["explains"] for row in rows),
            "trust": values.get(TRUST),
            "suspected": values[SUSPECTED].value,
            "tried": values[TRIED].value,
            **_judged(finding, run, rows),
            "extremes": album.extremes(),
            "bar": pictures.add(colour_bar(signed=album.signed)),
            "low": album.limits[0],
            "high": album.limits[1],
            "signed": album.signed,
            "unit": finding.parameters["unit"],
            "groups": [album.group(one, told) for one in first],
            "folded": [album.group({**one, "examples": one["examples"][:FOLDED]}, told) for one in rest[:DRAWN]],
            "unfolded": len(rest[DRAWN:]),
            "group_bar": pictures.add(colour_bar(signed=False)),
            "highest": album.highest,
            "cells": album.cells,
        }


def _between(value: Value) -> str:
    if value.interval is None:
        return ""
    low, high = value.interval
    return f"; 95 % interval {number(low)} to {number(high)}"


def _judged(finding: Finding, run: Evidence, rows: Sequence[Row]) -> dict[str, Any]:
    """Return the tables of the measures: over all, and by class."""
    declared = list(get_rows(run.store, finding.artefacts["measures"]))
    found, trust = shares(rows, classes=True), mean_trust(rows)
    measures = [
        {
            "title": one["title"],
            "judged": (found.get(f"{one['measure']} {SAYS[0][1]}") or Value(value=None, n=0)).n,
            "shares": [value for _, words in SAYS if (value := found.get(f"{one['measure']} {words}"))],
            "reason": _reason(rows, one["measure"]),
        }
        for one in declared
    ]
    of_class = [(name.partition(OF_CLASS)[2], value) for name, value in trust.items() if OF_CLASS in name]
    judging = [one for one in declared if f"{one['measure']} {SAYS[0][1]}" in found]
    classes = [
        {"name": name, "value": value, "said": [_pair(found, one["measure"], name) for one in judging]}
        for name, value in of_class
    ]
    return {
        "measures": measures,
        "judging": [one["title"] for one in judging],
        "classes": classes[:CLASSES],
        "more": len(classes[CLASSES:]),
        "worst": classes[0] if len(classes) > 1 else None,
    }


def _pair(found: Mapping[str, Value], measure: str, name: str) -> tuple[Value, Value] | None:
    """Return the shares of a class's maps that a measure speaks for and against."""
    pair = [found.get(f"{measure} {words}{OF_CLASS}{name}") for _, words in SAYS[:2]]
    return (pair[0], pair[1]) if pair[0] and pair[1] else None


def _reason(rows: Iterable[Row], measure: str) -> str:
    """Return why a measure did not judge, where it first did not."""
    said = (row["measures"].get(measure) for row in rows)
    return next((one["reason"] for one in said if one and one["reason"]), "")


def _is_suspected(group: Row) -> bool:
    return bool(group["tried"] and group["tried"]["suspected"])


class _Album:
    """The pictures of one finding, and the scales of their colours."""

    def __init__(self, finding: Finding, run: Evidence, pictures: Pictures, rows: Sequence[Row]) -> None:
        self.finding, self.pictures = finding, pictures
        self.rows = {row["id"]: row for row in rows}
        self.maps, self.means = run.array(finding, "maps"), run.array(finding, "group maps")
        shown = get_rows(run.store, finding.artefacts["pictured"])
        self.small = dict(zip((one["id"] for one in shown), run.array(finding, "thumbnails"), strict=True))
        self.size: tuple[int, int] = tuple(run.record.model.card["input"]["shape"][-2:])
        self.signed = bool(finding.parameters["signed"])
        self.limits = self._limits()
        self.highest = float(self.means.max()) if self.means.size else 0.0
        self.cells = int(np.prod(self.maps.shape[1:]))

    def _limits(self) -> tuple[float, float]:
        seen = [self.maps[self.rows[name]["map"]] for name in self.small if self.rows[name]["map"] is not None]
        low, high = (float(np.min(seen)), float(np.max(seen))) if seen else (0.0, 0.0)
        far = max(abs(low), abs(high))
        return (-far, far) if self.signed else (min(low, 0.0), high)

    def extremes(self) -> list[dict[str, Any]]:
        """Return the most and the least trusted images, with their maps; nothing where all are trusted alike."""
        judged = [row for row in self.rows.values() if row["trust"] is not None and row["map"] is not None]
        trusts = [row["trust"] for row in judged]
        if not judged or min(trusts) == max(trusts):
            return []
        found = []
        most = min(EXTREME, len(judged) // 2)  # no image is among the most and among the least trusted
        for title, end, turned in (("Most trusted", max(trusts), -1), ("Least trusted", min(trusts), 1)):
            ordered = sorted(judged, key=lambda row: turned * row["trust"])[:most]
            shown = [self._example(row, None) for row in ordered if row["id"] in self.small]
            same = f": {trusts.count(end)} of {len(trusts)} maps have {end:.2g}"
            found.append({"title": f"{title}{same}", "shown": shown})
        return found

    def group(self, one: Row, told: Sequence[Row]) -> dict[str, Any]:
        """Return one group with its mean map and its examples."""
        mean, place, tried = self.means[one["map"]], one["place"], one["tried"]
        same = [other for other in told if other["of"] == one["of"]]
        whose = f" of “{one['of']}”" if one["of"] else " of all maps"
        row, column = np.unravel_index(mean.argmax(), mean.shape)
        frame = place if tried and tried["decides"] else None
        sentence = f"It points at one small place: {one['untried']}."
        if tried:
            is_suspected = f"This is the place that is suspected: {tried['where']}."
            sentence = is_suspected if tried["suspected"] else tried["sentence"]
        return {
            "title": f"Group {one['group'] + 1} of {len(same)}{whose}",
            "images": one["images"],
            "total": sum(other["images"] for other in same),
            "words": _mixture(one),
            "sentence": sentence if place else "",
            "tried": tried,
            "map": self.pictures.add(self._framed(coloured(mean, (0.0, self.highest), signed=False), frame)),
            "alt": f"Mean map; its highest place is row {row + 1} of {mean.shape[0]}, column {column + 1} of "
            f"{mean.shape[1]}"
            + (f"; a frame marks the place, which holds {share(place['held'])} of it" if frame else ""),
            "examples": [self._example(self.rows[name], frame) for name in one["examples"] if name in self.small],
        }

    def _example(self, row: Row, frame: Row | None) -> dict[str, Any]:
        """Return an image beside its map over it."""
        below = self.small[row["id"]]
        height, width = below.shape[:2]
        colours = coloured(self.maps[row["map"]], self.limits, signed=self.signed)
        large = np.asarray(Image.fromarray(colours).resize((width, height), Image.Resampling.NEAREST))
        both = [self._framed(one, frame) for one in (below, overlaid(below, large))]
        gap = np.full((height, max(1, width // 16), 3), 255, dtype=np.uint8)
        trust = "" if row["trust"] is None else f", trust {row['trust']:.2g}"
        words = f"answered {row['answer']}{_truth(row)}{trust}"
        return {
            "id": row["id"],
            "picture": self.pictures.add(np.concatenate([both[0], gap, both[1]], axis=1)),
            "words": words,
            "alt": f"{row['id']} and its map over it; {words}" + ("; a frame marks the place" if frame else ""),
        }

    def _framed(self, pixels: np.ndarray, place: Row | None) -> np.ndarray:
        """Return a picture with a frame, dark and light by turns, around a place of the input."""
        if place is None:
            return pixels
        drawn = pixels.copy()
        down, across = (have / size for have, size in zip(pixels.shape[:2], self.size, strict=True))
        top, bottom = (int(place[name] * down) for name in ("top", "bottom"))
        left, right = (int(place[name] * across) for name in ("left", "right"))
        box = drawn[top:bottom, left:right]
        if min(box.shape[:2]) > 2:
            for edge in (box[0], box[-1], box[:, 0], box[:, -1]):
                edge[::2], edge[1::2] = 255, 0
        return drawn


def _truth(row: Row) -> str:
    if row["right"] is None:
        return ""
    return ", which is right" if row["right"] else f", and it is {row['class']}"


def _mixture(one: Row) -> str:
    """Say of which classes a group is, and what the model answers, the most frequent first."""
    classes, answers = one["classes"], one["answers"]
    if one["of"]:
        return f"They are of the class {_listed(classes)}." if list(classes) != [one["of"]] else ""
    same = "" if classes == answers else f" The answers: {_listed(answers)}."
    return f"Classes: {_listed(classes)}.{same}"


def _listed(counts: Mapping[str, int]) -> str:
    shown = ", ".join(f"{name} ({count})" for name, count in list(counts.items())[:NAMED])
    return shown + (f" and {len(counts) - NAMED} more" if len(counts) > NAMED else "")
