"""Two runs compared: what newly fails, what is mended, what changed; by requirement, by image, by map.

A requirement of the first run is decided over the findings of the second as it stood in the first: a threshold that was
lowered in between mends nothing. Images are matched by the sha256 of their file, else by their id.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any, Literal

import numpy as np
from scipy.stats import spearmanr

from xai.reports.artefacts import get_rows
from xai.reports.audit import settle
from xai.reports.derived import outcomes
from xai.reports.evidence import Evidence
from xai.reports.paired import changed, holm, shifted
from xai.reports.records import Finding, Finite, Record, RequirementRecord, RunRecord, Severity, Verdict
from xai.reports.sheets import per_image

SIGNIFICANT = 0.05
NUMBERS = {"distance": "smallest change that an attack found", "largest": "largest change that is proved"}
RANK: dict[Verdict, int] = {"violated": 0, "not decided": 1, "holds": 2}

Turned = Literal["newly failing", "mended", "changed", "same"]
FailOn = Literal["requirement", "decline", "image", "never"]


class Side(Record):
    """One of the two runs."""

    model: str
    source: str
    fingerprint: str
    created: str
    policy: str


class Turn(Record):
    """A requirement of the first run in both; the second's verdict is by the first's demand."""

    id: str
    text: str
    demand: str
    severity: Severity
    before: Verdict
    after: Verdict
    turned: Turned
    said_before: str
    said_after: str


class Outcome(Record):
    """A yes or no over the images that both runs have; `adjusted` is p for all outcomes together (Holm)."""

    finding: str
    name: str
    n: int
    both: int
    lost: int
    gained: int
    neither: int
    before: Finite
    after: Finite
    difference: Finite
    interval: tuple[Finite, Finite]
    p: Finite
    adjusted: Finite = 1.0

    @property
    def declined(self) -> bool:
        """Whether fewer images have it now than chance explains."""
        return self.difference < 0 and self.adjusted < SIGNIFICANT


class Number(Record):
    """A number's mean over the images for which both runs have one."""

    finding: str
    name: str
    n: int
    before: Finite
    after: Finite
    difference: Finite
    interval: tuple[Finite, Finite]


class Image(Record):
    """An image of which something changed: what it lost and what it gained, by finding."""

    id: str
    source: str
    finding: str
    lost: tuple[str, ...]
    gained: tuple[str, ...]


class Moved(Record):
    """How far a map moved: 1 - Spearman's rank correlation; 0 is the same map, 1 an unrelated one, 2 the reverse."""

    method: str
    title: str
    input: str
    target: str
    drift: Finite | None


class Comparison(Record):
    """What became of a run's findings in another."""

    schema_version: Literal["xai.diff/1"] = "xai.diff/1"
    before: Side
    after: Side
    notes: tuple[str, ...]
    requirements: tuple[Turn, ...]
    outcomes: tuple[Outcome, ...]
    numbers: tuple[Number, ...]
    images: tuple[Image, ...]
    maps: tuple[Moved, ...]

    def turned(self, word: Turned) -> list[Turn]:
        """Return the requirements that turned so."""
        return [one for one in self.requirements if one.turned == word]

    @property
    def declined(self) -> list[Outcome]:
        """Outcomes that fewer images have than chance explains."""
        return [one for one in self.outcomes if one.declined]

    @property
    def risen(self) -> list[Outcome]:
        """Outcomes that more images have than chance explains."""
        return [one for one in self.outcomes if one.difference > 0 and one.adjusted < SIGNIFICANT]

    def exit_code(self, fail_on: FailOn = "decline") -> int:
        """Return 1 where something newly fails: a requirement; a decline, too; or a single image, too."""
        words = ("never", "requirement", "decline", "image")
        found = (bool(self.turned("newly failing")), bool(self.declined), any(one.lost for one in self.images))
        return int(any(found[: words.index(fail_on)]))


def compare(before: Evidence, after: Evidence) -> Comparison:
    """Return what became of the findings of one run in another."""
    pairs = list(_pairs(before, after))
    tested = [outcome for pair in pairs for outcome in pair.outcomes()]
    adjusted = holm([one.p for one in tested])
    return Comparison(
        before=_side(before.record),
        after=_side(after.record),
        notes=tuple(_notes(before.record, after.record, pairs)),
        requirements=tuple(_turns(before.record, after.record)),
        outcomes=tuple(one.model_copy(update={"adjusted": p}) for one, p in zip(tested, adjusted, strict=True)),
        numbers=tuple(number for pair in pairs for number in pair.numbers()),
        images=tuple(image for pair in pairs for image in pair.images()),
        maps=tuple(_maps(before, after)),
    )


class _Pair:
    """One finding in both runs, with the rows of the images that both have."""

    def __init__(self, before: Evidence, after: Evidence, first: Finding, second: Finding) -> None:
        self.finding = first
        ones, others = (_rows(run, finding) for run, finding in ((before, first), (after, second)))
        shared = [key for key in ones if key in others]
        self.rows = [(ones[key], others[key]) for key in shared]
        self.alone = len(ones) - len(shared), len(others) - len(shared)
        self.found = [(outcomes(first, one), outcomes(second, other)) for one, other in self.rows]

    def outcomes(self) -> Iterator[Outcome]:
        for name in self._names():
            said = [(one[name], other[name]) for one, other in self.found if name in one and name in other]
            first, second = zip(*said, strict=True)
            made = changed(first, second)
            yield Outcome(
                finding=self.finding.id,
                name=name,
                n=len(said),
                before=sum(first) / len(said),
                after=sum(second) / len(said),
                **made._asdict(),
            )

    def numbers(self) -> Iterator[Number]:
        for column, name in NUMBERS.items():
            said = [(one[column], other[column]) for one, other in self.rows if _number(one, column, other)]
            if said:
                first, second = zip(*said, strict=True)
                difference, interval = shifted(first, second)
                yield Number(
                    finding=self.finding.id,
                    name=name,
                    n=len(said),
                    before=float(np.mean(first)),
                    after=float(np.mean(second)),
                    difference=difference,
                    interval=interval,
                )

    def images(self) -> Iterator[Image]:
        for (row, _), (one, other) in zip(self.rows, self.found, strict=True):
            lost = tuple(name for name, had in one.items() if had and other.get(name) is False)
            gained = tuple(name for name, had in one.items() if not had and other.get(name) is True)
            if lost or gained:
                yield Image(
                    id=str(row.get("id")),
                    source=str(row.get("source", "")),
                    finding=self.finding.id,
                    lost=lost,
                    gained=gained,
                )

    def _names(self) -> list[str]:
        both = [name for one, other in self.found for name in one if name in other]
        return list(dict.fromkeys(both))


def _number(one: Mapping[str, Any], column: str, other: Mapping[str, Any]) -> bool:
    return all(isinstance(row.get(column), int | float) and not isinstance(row[column], bool) for row in (one, other))


def _pairs(before: Evidence, after: Evidence) -> Iterator[_Pair]:
    others = {finding.id: finding for finding in per_image(after.findings)}
    for finding in per_image(before.findings):
        if finding.id in others:
            yield _Pair(before, after, finding, others[finding.id])


def _rows(run: Evidence, finding: Finding) -> dict[tuple[str, int], dict[str, Any]]:
    """Return the rows by image; of images that stand twice in the data the first goes with the first."""
    seen: Counter[str] = Counter()
    found = {}
    for row in get_rows(run.store, finding.artefacts["rows"]):
        key = str(row.get("digest") or row.get("id"))
        found[key, seen[key]] = row
        seen[key] += 1
    return found


def _turns(before: RunRecord, after: RunRecord) -> Iterator[Turn]:
    if before.audit is None:
        return
    settled = settle(before.audit, after.findings).requirements
    for one, other in zip(before.audit.requirements, settled, strict=True):
        yield Turn(
            id=one.id,
            text=one.text,
            demand=one.demand,
            severity=one.severity,
            before=one.verdict,
            after=other.verdict,
            turned=_turned(one, other),
            said_before=one.sentence,
            said_after=other.sentence,
        )


def _turned(one: RequirementRecord, other: RequirementRecord) -> Turned:
    if RANK[other.verdict] < RANK[one.verdict]:
        return "newly failing"
    if RANK[other.verdict] > RANK[one.verdict]:
        return "mended" if other.verdict == "holds" else "changed"
    return "same" if one.estimate == other.estimate else "changed"


def _maps(before: Evidence, after: Evidence) -> Iterator[Moved]:
    """Compare the maps of one method, input and target."""
    others = {_about(after, finding): finding for finding in _mapped(after)}
    for finding in _mapped(before):
        other = others.get(_about(before, finding))
        if other is not None:
            yield Moved(
                method=finding.method,
                title=finding.title,
                input=str(finding.input),
                target=finding.target.name if finding.target else "",
                drift=_drift(before.array(finding, "map"), after.array(other, "map")),
            )


def _mapped(run: Evidence) -> list[Finding]:
    return [one for one in run.findings if one.status == "ok" and one.input is not None and "map" in one.artefacts]


def _about(run: Evidence, finding: Finding) -> tuple[str, str, str]:
    return finding.method, run.input(finding).digest, finding.target.name if finding.target else ""


def _drift(one: np.ndarray, other: np.ndarray) -> float | None:
    """Return 1 - Spearman's rank correlation; None for maps of two sizes, or where one is blank."""
    if one.shape != other.shape or np.ptp(one) == 0 or np.ptp(other) == 0:
        return None
    return float(1 - spearmanr(one.ravel(), other.ravel()).statistic)


def _side(record: RunRecord) -> Side:
    return Side(
        model=record.model.name,
        source=record.model.source,
        fingerprint=record.model.fingerprint,
        created=record.created,
        policy=record.audit.policy.digest if record.audit else "",
    )


def _notes(before: RunRecord, after: RunRecord, pairs: list[_Pair]) -> Iterator[str]:
    """Say what keeps the two from being compared in full."""
    if before.model.fingerprint == after.model.fingerprint:
        yield "both runs are of the same model"
    if before.model.card.get("classes") != after.model.card.get("classes"):
        yield "the models name their classes differently"
    policies = [record.audit.policy.digest if record.audit else "" for record in (before, after)]
    if not policies[0]:
        yield "the first run has no requirements"
    elif policies[0] != policies[1]:
        yield "the runs' policies differ: the second is judged by the first's requirements"
    for pair in pairs:
        if any(pair.alone):
            yield f"{pair.finding.id}: {pair.alone[0]} images are in the first run only, {pair.alone[1]} in the second"
        moved = sum(one.get("label") != other.get("label") for one, other in pair.rows)
        if moved:
            yield f"{pair.finding.id}: {moved} images have another label in the second run"
    if not pairs:
        yield "no finding has rows of single images in both runs: there is nothing to pair"
