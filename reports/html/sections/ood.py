"""The panels of out-of-distribution detection: what was fitted, what was scored, one verdict, and how well it tells."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from xai.reports.artefacts import get_rows
from xai.reports.evidence import Evidence
from xai.reports.html.axes import BOTTOM, HEIGHT, LEFT, RIGHT, TOP, WIDTH, ticks_between
from xai.reports.html.sections.base import Cell, Figure, Pictures, Row, Section, Table
from xai.reports.records import Finding, Value
from xai.reports.words import number, share

BINS = 40
FEW = 3  # detectors or sets that are told one by one
INSIDE, OUTSIDE = "in-distribution", "out-of-distribution"
COMBINED, LEFT_OUT = "combined", "chosen on the other sets"
MARKS = {INSIDE: "✓", OUTSIDE: "✗"}

_FRAME = """<path class="frame" d="M{{ h.left }} {{ h.top }}V{{ h.bottom }}H{{ h.right }}"/>
{% for tick in h.across %}<text x="{{ tick.at }}" y="{{ h.bottom + 18 }}" text-anchor="middle">{{ tick.text }}</text><path class="frame" d="M{{ tick.at }} {{ h.bottom }}v4"/>{% endfor %}
<text x="{{ (h.left + h.right) / 2 }}" y="{{ h.height - 2 }}" text-anchor="middle">{{ h.axis }}</text>"""
_HISTOGRAM = (
    """<figure><svg class="curve axes hist" viewBox="0 0 {{ h.width }} {{ h.height }}" role="img" aria-label="{{ h.words }}">
{% for bar in h.held %}<rect class="held" x="{{ bar.x }}" y="{{ bar.y }}" width="{{ bar.width }}" height="{{ bar.height }}"/>{% endfor %}
{% if h.others %}<polyline class="others" points="{{ h.others }}"/>{% endif %}
<path class="line" d="M{{ h.line }} {{ h.top }}V{{ h.bottom }}"/><text class="can" x="{{ h.line_text }}" y="{{ h.top + 10 }}" text-anchor="{{ h.line_anchor }}">threshold</text>
{% if h.at is not none %}<path class="mark-here" d="M{{ h.at }} {{ h.bottom }}l-6 -11h12z"/><text class="can" x="{{ h.at_text }}" y="{{ h.bottom - 16 }}" text-anchor="{{ h.at_anchor }}">this image</text>{% endif %}
"""
    + _FRAME
    + """</svg><figcaption>{{ h.caption }}</figcaption></figure>"""
)


class Fit(Section):
    """Accuracy first, then the threshold on the held-back scores."""

    family = "ood-fit"
    wide = True
    body = (
        """
<p class="reading">{% if accuracy %}The model is right on <b>{{ accuracy.value | share }}</b> of {{ accuracy.n }} labelled images ({{ accuracy.interval[0] | share }} to {{ accuracy.interval[1] | share }}){% if claimed %}; its card claims {{ claimed.value | share }}{% endif %}. {% endif %}
{{ learnt.value | count }} images were learnt of and {{ held.value | count }} held back.
{% if keeps %}The combined threshold keeps <b>{{ keeps.value | share }}</b> of all images like those held back (95 % interval {{ keeps.interval[0] | share }} to {{ keeps.interval[1] | share }}).{% endif %}
{% if passes %}It lets {{ passes.value | share }} of outliers like those that were named pass ({{ passes.interval[0] | share }} to {{ passes.interval[1] | share }}).{% endif %}</p>
"""
        + _HISTOGRAM
    )

    def headline(self, finding: Finding) -> list[Figure]:
        """Return accuracy, and what is kept."""
        values = finding.values
        told = [Figure(_share(values["accuracy"]), "right on labelled images")] if "accuracy" in values else []
        told.append(Figure(number(values["images learnt of"].value), "images learnt of"))
        if "keeps" in values:
            told.append(Figure(_share(values["keeps"]), "of images like those held back are kept, on average"))
        return told

    def context(self, finding: Finding, run: Evidence, pictures: Pictures) -> dict[str, Any]:  # noqa: ARG002  # a drawing, no picture
        """Draw the held-back scores."""
        values = finding.values
        held = run.array(finding, "held")
        return {
            "accuracy": values.get("accuracy"),
            "claimed": values.get("accuracy by the card"),
            "learnt": values["images learnt of"],
            "held": values["images held back"],
            "keeps": values.get("keeps"),
            "passes": values.get("lets pass"),
            "h": histogram(held, _number(values["threshold"]), what="combined scores of held-back images"),
        }


class FittedDetector(Section):
    """One detector's held-back scores with its threshold."""

    family = "ood-detector"
    body = (
        _HISTOGRAM
        + """
<table class="facts"><caption>What it is calibrated to</caption>
{% for name, value in f["values"].items() %}<tr><th scope="row">{{ name }}</th><td>{% if name == "threshold" %}{{ value.value | number }}{% if value.interval %} ({{ value.interval[0] | number }} to {{ value.interval[1] | number }}){% endif %}{% else %}{{ value.value | share }} ({{ value.interval[0] | share }} to {{ value.interval[1] | share }}){% endif %} <span class="unit">{{ value.unit }}, n = {{ value.n }}</span></td></tr>{% endfor %}
</table>"""
    )

    def context(self, finding: Finding, run: Evidence, pictures: Pictures) -> dict[str, Any]:  # noqa: ARG002  # a drawing, no picture
        """Draw the held-back scores."""
        threshold = _number(finding.values["threshold"])
        return {"h": histogram(run.array(finding, "held"), threshold, what="scores of held-back images")}

    def table(self, findings: Sequence[Finding]) -> Table | None:
        """Return thresholds and what they are calibrated to, a row a detector."""
        if len(findings) <= FEW:
            return None
        names = list(dict.fromkeys(name for one in findings for name in one.values))
        return Table(
            title=f"{len(findings)} detectors and their thresholds",
            meaning="Each detector and each combination of them, with the threshold that the held-back images gave it. "
            "Scores are of each detector's own scale; higher is more out-of-distribution.",
            caption="95 % intervals below",
            columns=("detector", *names, "held back"),
            rows=tuple(Row(one, (*(_told(one, name) for name in names), _held(one))) for one in findings),
            secondary=True,
        )


class Score(Section):
    """How many images are foreign, beside how many were to be expected."""

    family = "ood-score"
    wide = True
    body = (
        """
<p class="reading">Of {{ out.n }} images <b>{{ out.value | share }}</b> are out-of-distribution{% if out.interval %} (95 % interval {{ out.interval[0] | share }} to {{ out.interval[1] | share }}){% endif %}{% if expected %}; of images like those held back {{ expected.value | share }} would be ({{ expected.interval[0] | share }} to {{ expected.interval[1] | share }}){% endif %}.</p>
<div class="beside">
"""
        + _HISTOGRAM
        + """
<table class="facts"><caption>Shares with 95 % intervals</caption>
{% for name, value in shares %}<tr><th scope="row">{{ name }}</th><td>{{ value.value | share }}{% if value.interval %} ({{ value.interval[0] | share }} to {{ value.interval[1] | share }}){% endif %} <span class="unit">{{ value.unit }}{% if value.n is not none %}, n = {{ value.n }}{% endif %}</span></td></tr>{% endfor %}
{% if undecided %}<tr><th scope="row">not decided</th><td>{{ undecided.value }} {{ undecided.unit }}</td></tr>{% endif %}
</table></div>"""
    )

    def headline(self, finding: Finding) -> list[Figure]:
        """Return how many images are foreign."""
        out = finding.values[OUTSIDE]
        return [Figure(_share(out), f"of {out.n} images are {OUTSIDE}")] if out.n else []

    def context(self, finding: Finding, run: Evidence, pictures: Pictures) -> dict[str, Any]:  # noqa: ARG002  # a drawing, no picture
        """Draw the scores over the held-back ones."""
        values = finding.values
        return {
            "out": values[OUTSIDE],
            "expected": values.get("expected"),
            "undecided": values.get("not decided"),
            "shares": [(name, one) for name, one in values.items() if name not in ("images", "not decided")],
            "h": histogram(
                run.array(finding, "held"),
                float(finding.parameters["threshold"] or 0),
                what="combined scores: bars of held-back images, the line of these",
                others=run.array(finding, "scores"),
            ),
        }


class Verdict(Section):
    """A verdict in words, its score on the calibration, who agrees, and the known images that are most alike."""

    family = "ood-verdict"
    wide = True
    body = (
        """
{% if by %}
<p class="reading"><span class="verdict {{ "good" if inside else "bad" }}"><span class="mark" aria-hidden="true">{{ mark }}</span> {{ verdict }}</span>
Its score {{ score | number }} lies {{ "at or below" if inside else "above" }} the threshold {{ threshold | number }}. Of {{ p.n }} held-back images {{ higher }} {{ "scores" if higher == 1 else "score" }} as high (conformal p = {{ p.value | number }}).
{{ agreement }}</p>
<div class="beside">
"""
        + _HISTOGRAM
        + """
<div class="scroll" tabindex="0" role="group" aria-label="What each family of detectors says"><table class="facts"><caption>Each family by itself</caption>
<thead><tr><th scope="col">family</th><th scope="col">says</th><th scope="col">p</th></tr></thead>
{% for one in families %}<tr><th scope="row">{{ one.title }}</th><td><span aria-hidden="true">{{ one.mark }}</span> {{ one.says }}</td><td>{{ one.p | number }}</td></tr>{% endfor %}
</table></div></div>
{% if alike %}
<h4>The held-back images that are most like it</h4>
<ul class="alike">
{% for one in alike %}<li>{% if one.picture %}<img class="pixels" src="{{ one.picture }}" alt="Held-back image {{ one.id }}">{% endif %}<span><b>{{ one.label or "no label" }}</b> <span class="name">{{ one.id }}</span><br><span class="unit">cosine {{ "%.4f" | format(one.alike) }}</span></span></li>{% endfor %}
</ul>
<p class="unit">By the angle between features: 1 is the same direction. It is where the network sees likeness, which need not be where a person does.</p>
{% endif %}
<details><summary>Every detector</summary><div class="scroll" tabindex="0" role="group" aria-label="What each detector says"><table class="facts"><caption>Scores and thresholds are of each detector's own scale; higher is more out-of-distribution</caption>
<thead><tr><th scope="col">detector</th><th scope="col">says</th><th scope="col">score</th><th scope="col">threshold</th><th scope="col">p</th></tr></thead>
{% for one in by %}<tr><th scope="row">{{ one.title }}</th><td><span aria-hidden="true">{{ one.mark }}</span> {{ one.says }}</td><td>{{ one.score | number }}</td><td>{{ one.threshold | number }}</td><td>{{ one.p | number }}</td></tr>{% endfor %}
</table></div></details>
{% else %}<p class="reading">{{ f["values"]["said"].value }}.</p>{% endif %}
"""
    )

    def context(self, finding: Finding, run: Evidence, pictures: Pictures) -> dict[str, Any]:
        """Draw where the score lies, and show the known images."""
        if "judgements" not in finding.artefacts:
            return {"by": []}
        values = finding.values
        rows = [_says(row) for row in get_rows(run.store, finding.artefacts["judgements"])]
        score, threshold = _number(values["score"]), _number(values["threshold"])
        inside = values["verdict"].value == INSIDE
        held = run.array(finding, "held")
        return {
            "by": [row for row in rows if row["single"]],
            "families": [row for row in rows if not row["single"] and row["name"] != COMBINED],
            "inside": inside,
            "verdict": values["verdict"].value,
            "mark": MARKS[INSIDE if inside else OUTSIDE],
            "score": score,
            "threshold": threshold,
            "p": values["p-value"],
            "higher": int((held >= score).sum()) or "none",
            "agreement": _agreement(rows),
            "alike": _alike(finding, run, pictures),
            "h": histogram(held, threshold, what="combined scores of held-back images", at=score),
        }


class Evaluation(Section):
    """AUROC of every detector on every set; the combination beside the best of the single ones."""

    family = "ood-evaluation"
    wide = True
    body = """
<p class="reading">Over {{ sets | length }} sets the combined verdict's worst AUROC is <b>{{ f["values"]["worst AUROC"].value | share }}</b>, its mean {{ f["values"]["mean AUROC"].value | share }}.
The best of any single detector reaches {{ f["values"]["worst AUROC of a single one"].value | share }} at worst ({{ worst_name }}) and {{ f["values"]["mean AUROC of a single one"].value | share }} on average ({{ mean_name }}): which one that is, is known only afterwards.
{% if left_out %}{{ " " }}With members chosen on all sets but the judged one the combination reaches {{ left_out[0].value | share }} at worst and {{ left_out[1].value | share }} on average.{% endif %}{{ " " }}
The threshold keeps {{ f["values"]["kept"].value | share }} of these {{ f["values"]["kept"].n }} in-distribution images{% if promised %}; {{ promised.interval[0] | share }} to {{ promised.interval[1] | share }} were promised{% endif %}.</p>
<div class="scroll whole-height" tabindex="0" role="group" aria-label="AUROC by detector and set"><table class="tiles numbers detectors">
<caption>AUROC in per cent: the probability that an outlier scores higher than an in-distribution image; 50 is chance, below 50 outliers look more familiar than what is known. The best single detector of each set is marked “best”; 95 % intervals of the combined verdict below its figures</caption>
<thead><tr><th scope="col">detector</th>{% for one in sets %}<th scope="col">{{ one.name }}<span class="interval">{{ one.nearness }}</span></th>{% endfor %}<th scope="col">worst</th><th scope="col">mean</th></tr></thead>
{% for row in table %}<tr{% if row.whole %} class="whole"{% endif %}><th scope="row">{{ row.title }}</th>{% for cell in row.cells %}<td>{% if cell.best %}<b>{{ cell.text }}</b><span class="interval">best</span>{% else %}{{ cell.text }}{% endif %}{% if cell.interval %}<span class="interval">{{ cell.interval }}</span>{% endif %}</td>{% endfor %}<td>{{ row.worst }}</td><td>{{ row.mean }}</td></tr>
{% endfor %}</table></div>
"""

    def headline(self, finding: Finding) -> list[Figure]:
        """Return worst and mean AUROC of the combined verdict."""
        values = finding.values
        return [
            Figure(_share(values["worst AUROC"]), "AUROC of the combined verdict on its worst set"),
            Figure(_share(values["mean AUROC"]), "on average over all sets"),
            Figure(_share(values["kept"]), "of the in-distribution images are kept"),
        ]

    def context(self, finding: Finding, run: Evidence, pictures: Pictures) -> dict[str, Any]:  # noqa: ARG002  # a table, no picture
        """Make a table of the figures."""
        rows = list(get_rows(run.store, finding.artefacts["figures"]))
        values = finding.values
        sets = list({row["set"]: {"name": row["set"], "nearness": row["nearness"]} for row in rows}.values())
        left = [
            values[f"{what} AUROC, {LEFT_OUT}"] for what in ("worst", "mean") if f"{what} AUROC, {LEFT_OUT}" in values
        ]
        return {
            "sets": sets,
            "table": _table(rows, [one["name"] for one in sets]),
            "left_out": left,
            "worst_name": values["worst AUROC of a single one"].unit.rpartition(": ")[2],
            "mean_name": values["mean AUROC of a single one"].unit.rpartition(": ")[2],
            "promised": values.get("promised"),
        }


class OutlierSet(Section):
    """One set: both histograms, both ROC curves, and the figures."""

    family = "ood-set"
    wide = True
    body = (
        """
<p class="reading">AUROC <b>{{ f["values"]["AUROC"].value | share }}</b> ({{ f["values"]["AUROC"].interval[0] | share }} to {{ f["values"]["AUROC"].interval[1] | share }}). At the threshold <b>{{ found.value | share }}</b> of {{ found.n }} outliers are found ({{ found.interval[0] | share }} to {{ found.interval[1] | share }}).
The best single detector here is {{ f["values"]["best single detector"].value }}, {{ f["values"]["best single detector"].unit }}.</p>
<div class="beside">
"""
        + _HISTOGRAM
        + """
<figure><svg class="curve axes" viewBox="0 0 {{ r.width }} {{ r.height }}" role="img" aria-label="{{ r.words }}">
<path class="frame" d="M{{ r.left }} {{ r.top }}V{{ r.bottom }}H{{ r.right }}"/>
{% for tick in r.down %}<text x="{{ r.left - 6 }}" y="{{ tick.at + 4 }}" text-anchor="end">{{ tick.text }}</text><path class="grid" d="M{{ r.left }} {{ tick.at }}H{{ r.right }}"/>{% endfor %}
{% for tick in r.across %}<text x="{{ tick.at }}" y="{{ r.bottom + 18 }}" text-anchor="middle">{{ tick.text }}</text>{% endfor %}
<text x="{{ (r.left + r.right) / 2 }}" y="{{ r.height - 2 }}" text-anchor="middle">in-distribution images that are refused</text>
<polyline class="most" points="{{ r.single }}"/><polyline points="{{ r.combined }}"/>
</svg><figcaption>share of outliers that are found, by share of in-distribution images that are refused; the whole line is the combined verdict, the broken one the best single detector</figcaption></figure>
</div>
<table class="facts"><caption>The combined verdict, 95 % bootstrap intervals</caption>
{% for name in ("AUROC", "AUPR-in", "AUPR-out", "FPR95") %}<tr><th scope="row">{{ name }}</th><td>{{ f["values"][name].value | share }} ({{ f["values"][name].interval[0] | share }} to {{ f["values"][name].interval[1] | share }}) <span class="unit">{{ f["values"][name].unit }}</span></td></tr>{% endfor %}
<tr><th scope="row">outliers</th><td>{{ f["values"]["outliers"].value | share }} <span class="unit">{{ f["values"]["outliers"].unit }}</span></td></tr>
</table>"""
    )

    def context(self, finding: Finding, run: Evidence, pictures: Pictures) -> dict[str, Any]:  # noqa: ARG002  # drawings, no picture
        """Draw histograms and ROC curves."""
        inside, outside = (run.array(finding, name) for name in ("inside", "outside"))
        single = [run.array(finding, f"{name}, single") for name in ("inside", "outside")]
        return {
            "found": finding.values["found"],
            "h": histogram(
                inside,
                float(finding.parameters["threshold"] or 0),
                what="combined scores: bars of in-distribution images, the line of the outliers",
                others=outside,
            ),
            "r": {
                **_square(),
                "combined": roc(inside, outside),
                "single": roc(*single),
                "words": _roc_words(inside, outside),
            },
        }

    def table(self, findings: Sequence[Finding]) -> Table | None:
        """Return how well each set is told apart, the worst first."""
        if len(findings) <= FEW:
            return None
        rows = [
            Row(
                one,
                (
                    Cell(str(one.parameters.get("nearness", "–"))),
                    _told(one, "AUROC"),
                    _told(one, "FPR95"),
                    _told(one, "found"),
                    _best(one),
                ),
            )
            for one in findings
        ]
        return Table(
            title=f"{len(findings)} sets of outliers, one by one",
            meaning="How well the combined verdict tells each set from the test images, the worst first. An AUROC of "
            "50 % is chance, below it outliers look more familiar than what is known.",
            caption="Shares with 95 % intervals; FPR95 is the share of outliers that pass where 95 % of the known images "
            "are kept, found is the share of them above the threshold",
            columns=("set", "nearness", "AUROC", "FPR95", "found", "best single detector"),
            rows=tuple(sorted(rows, key=_told_apart)),
        )


def _told(finding: Finding, name: str) -> Cell:
    """Write a value with its interval below: a share as a percentage."""
    value = finding.values.get(name)
    if value is None:
        return Cell("–")
    write = number if name == "threshold" else share
    below = f"{write(value.interval[0])} – {write(value.interval[1])}" if value.interval else ""
    return Cell(write(value.value if isinstance(value.value, float) else None), below)


def _held(finding: Finding) -> Cell:
    return Cell(next((str(value.n) for value in finding.values.values() if value.n is not None), "–"))


def _best(finding: Finding) -> Cell:
    value = finding.values.get("best single detector")
    return Cell("–") if value is None else Cell(str(value.value), value.unit)


def _told_apart(row: Row) -> tuple[bool, float]:
    """Order by AUROC; what failed stands last."""
    value = row.finding.values.get("AUROC")
    return value is None, 0.0 if value is None else _number(value)


def histogram(
    held: np.ndarray,
    threshold: float,
    *,
    what: str,
    others: np.ndarray | None = None,
    at: float | None = None,
) -> dict[str, Any]:
    """Place bars of known scores, a line of others, the threshold, and one image's score.

    What lies far above is drawn at the right end: one score of a thousand would leave nothing to be seen of the rest.

    Args:
        held: (n,) scores.
        threshold: of them.
        what: is drawn, in words.
        others: (m,) scores of other images.
        at: the score of one image.
    """
    parts = [held, *([] if others is None else [others])]
    low = min([threshold, *(float(part.min()) for part in parts if len(part))])
    usual = max([threshold, *(float(np.quantile(part, 0.98)) for part in parts[:1] if len(part))])
    farthest = max([usual, *(float(np.quantile(part, 0.98)) for part in parts[1:] if len(part))])
    high = min(max(farthest, usual if at is None else at), low + 3 * (usual - low))
    low = low if at is None else min(low, at)
    high = low + 1.05 * (high - low) if high > low else low + 1.0
    edges = np.linspace(low, high, BINS + 1)
    shares = [np.histogram(np.clip(part, low, high), edges)[0] / max(1, len(part)) for part in parts]
    shares = [one / (one.max() or 1.0) for one in shares]  # beside a heap of outliers the known ones must be seen
    left, right, bottom = 12, RIGHT, HEIGHT - BOTTOM

    def across(score: float) -> float:
        return round(left + min(max((score - low) / (high - low), 0.0), 1.0) * (right - left), 1)

    def down(part: float) -> float:
        return round(bottom - part * (bottom - TOP - 14), 1)

    line = across(threshold)
    steps = []
    for place, part in enumerate(shares[1] if others is not None else []):
        steps += [f"{across(float(edges[place + end]))},{down(float(part))}" for end in (0, 1)]
    beyond = sum(int((part > high).sum()) for part in parts) + (at is not None and at > high)
    return {
        "width": WIDTH,
        "height": HEIGHT,
        "left": left,
        "right": right,
        "top": TOP,
        "bottom": bottom,
        "held": [
            {
                "x": across(float(edges[place])),
                "y": down(float(part)),
                "width": round((right - left) / BINS - 0.5, 1),
                "height": round(bottom - down(float(part)), 1),
            }
            for place, part in enumerate(shares[0])
            if part
        ],
        "others": " ".join(steps),
        "line": line,
        **_beside("line", line, left, right),
        "at": None if at is None else across(at),
        **_beside("at", left if at is None else across(at), left, right),
        "across": [{"at": across(tick), "text": f"{tick:.4g}"} for tick in ticks_between(low, high)],
        "axis": "score; higher is more out-of-distribution",
        "caption": _caption(what, beyond, several=others is not None),
        "words": _words(parts, threshold, at),
    }


def _caption(what: str, beyond: int, *, several: bool) -> str:
    heights = "; each as high as its own highest" if several else ""
    return what + heights + (f"; {beyond} beyond the right end are drawn there" if beyond else "")


def roc(inside: np.ndarray, outside: np.ndarray) -> str:
    """Return the points of the curve of outliers found (up) over in-distribution images refused (right)."""
    levels = np.unique(np.concatenate((inside, outside)))[::-1]
    chosen = levels[np.unique(np.linspace(0, len(levels) - 1, 200).round().astype(int))]
    refused = [float((inside >= level).mean()) for level in chosen]
    found = [float((outside >= level).mean()) for level in chosen]
    return " ".join(
        f"{_right(x):.1f},{_up(y):.1f}" for x, y in zip([0.0, *refused, 1.0], [0.0, *found, 1.0], strict=True)
    )


def _right(part: float) -> float:
    return LEFT + part * (RIGHT - LEFT)


def _up(part: float) -> float:
    return HEIGHT - BOTTOM - part * (HEIGHT - BOTTOM - TOP)


def _square() -> dict[str, Any]:
    ticks = (0, 0.25, 0.5, 0.75, 1)
    return {
        "width": WIDTH,
        "height": HEIGHT,
        "left": LEFT,
        "right": RIGHT,
        "top": TOP,
        "bottom": HEIGHT - BOTTOM,
        "down": [{"at": _up(tick), "text": f"{100 * tick:.0f} %"} for tick in ticks],
        "across": [{"at": _right(tick), "text": f"{100 * tick:.0f} %"} for tick in ticks],
    }


def _roc_words(inside: np.ndarray, outside: np.ndarray) -> str:
    """Tell a ROC curve by a few of its points."""
    points = []
    for refused in (0.01, 0.05, 0.1, 0.2):
        level = float(np.quantile(inside, 1 - refused))
        points.append(f"{share(float((outside > level).mean()))} found where {refused:.0%} are refused")
    return f"ROC of the combined verdict: {', '.join(points)}"


def _words(parts: Sequence[np.ndarray], threshold: float, at: float | None) -> str:
    """Tell a histogram by its quartiles and the threshold."""
    told = []
    for name, part in zip(("known images", "the others"), parts, strict=False):
        if len(part):
            low, middle, high = (f"{value:.4g}" for value in np.quantile(part, [0.25, 0.5, 0.75]))
            above = share(float((part > threshold).mean()))
            told.append(
                f"scores of {name}: half lie between {low} and {high}, the median is {middle}, {above} lie above"
            )
    one = "" if at is None else f"; this image scores {at:.4g}"
    return f"{'; '.join(told)} the threshold {threshold:.4g}{one}"


def _beside(name: str, place: float, left: float, right: float) -> dict[str, Any]:
    """Return where a word stands beside a mark: within the drawing."""
    if place > (left + right) / 2:
        return {f"{name}_text": place - 8, f"{name}_anchor": "end"}
    return {f"{name}_text": place + 8, f"{name}_anchor": "start"}


def _says(row: dict[str, Any]) -> dict[str, Any]:
    says = INSIDE if row["inside"] else OUTSIDE
    return {**row, "says": says, "mark": MARKS[says]}


def _agreement(rows: Sequence[dict[str, Any]]) -> str:
    """Say how many detectors and families call the image foreign."""
    single = [row for row in rows if row["single"]]
    families = [row for row in rows if not row["single"] and row["name"] != COMBINED]
    told = f"{sum(not row['inside'] for row in single)} of {len(single)} detectors say {OUTSIDE} by themselves"
    if len(families) > 1:
        told += f", and {sum(not row['inside'] for row in families)} of {len(families)} families of them"
    return f"{told}."


def _alike(finding: Finding, run: Evidence, pictures: Pictures) -> list[dict[str, Any]]:
    if "alike" not in finding.artefacts:
        return []
    rows = list(get_rows(run.store, finding.artefacts["alike"]))
    shown = run.array(finding, "alike pictures") if "alike pictures" in finding.artefacts else None
    return [{**row, "picture": "" if shown is None else pictures.add(shown[place])} for place, row in enumerate(rows)]


def _table(rows: Sequence[dict[str, Any]], sets: Sequence[str]) -> list[dict[str, Any]]:
    """Return a row a detector: combinations first, then single ones by their mean."""
    by = {(row["set"], row["name"]): row for row in rows}
    names = dict.fromkeys(row["name"] for row in rows)
    single = [name for name in names if by[sets[0], name]["family"]]
    auroc = {name: [by[one, name]["AUROC"][0] for one in sets] for name in names}
    best = {one: max(single, key=lambda name: by[one, name]["AUROC"][0]) for one in sets}  # called at once
    whole = [name for name in names if name in (COMBINED, LEFT_OUT)]
    families = [name for name in names if name not in single and name not in whole]
    ordered = [*whole, *families, *sorted(single, key=lambda name: -float(np.mean(auroc[name])))]
    return [
        {
            "title": by[sets[0], name]["title"],
            "whole": name in whole,
            "cells": [_cell(by[one, name]["AUROC"], best[one] == name, name in whole) for one in sets],
            "worst": f"{100 * min(auroc[name]):.1f}",
            "mean": f"{100 * float(np.mean(auroc[name])):.1f}",
        }
        for name in ordered
    ]


def _cell(figure: Sequence[float], best: bool, whole: bool) -> dict[str, Any]:
    value, low, high = (f"{100 * part:.1f}" for part in figure)
    return {"text": value, "best": best, "interval": f"{low} – {high}" if whole else ""}


def _number(value: Value) -> float:
    return float(value.value) if isinstance(value.value, int | float) else float("nan")


def _share(value: Value) -> str:
    return share(value.value) if isinstance(value.value, float) else number(value.value)
