"""One method's maps of a data set, told in a finding: shares, groups, suspicions, and where the evidence lies."""

from __future__ import annotations

import re
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import chain
from typing import Any

import numpy as np

from xai.data.dataset import DataSet
from xai.data.samples import Sample
from xai.engine.examined import again
from xai.engine.plan import ExplainPlan, missing
from xai.engine.summary.groups import EXAMPLES, Group, Groups, groups_of, spread, try_places
from xai.engine.summary.leaning import Exchange
from xai.engine.summary.looking import Looked
from xai.errors import XaiError
from xai.explainers.base import Attributor, Explainer
from xai.measures.base import Measure
from xai.models.model import Model
from xai.models.targets import is_runner_up
from xai.reports.artefacts import Store, put, put_rows
from xai.reports.figures import picture, thumbnail
from xai.reports.intervals import clopper_pearson
from xai.reports.records import Artefact, Finding, Scalar, Value
from xai.reports.worth import mean_trust, shares
from xai.runtime import Runtime

EXTREME = 4  # images of the highest trust, and of the lowest, that are shown
MOST_SHOWN = 80  # images of which a thumbnail is kept
MANY = 30  # classes beyond which only the rows tell of each
INNER = ("parameters", "unit", "signed")  # of a row while it is made
NUMBER = re.compile(r"-?\d[\d.,e+-]*")
NO_MAP = "it gives no map of each image"
Row = dict[str, Any]


@dataclass(frozen=True)
class Telling:
    """What the findings of all methods share.

    Args:
        model: that was explained.
        data: images, for those that are looked at again.
        plan: methods, measures and target.
        looked: the maps.
        runtime: seed, memory, progress.
        store: keeps the arrays.
    """

    model: Model
    data: DataSet
    plan: ExplainPlan
    looked: Looked
    runtime: Runtime
    store: Store

    def skipped(self, method: Explainer) -> Finding:
        """Return the finding of a method that gives no maps here."""
        reason = missing(method, self.model) if isinstance(method, Attributor) else NO_MAP
        return self._about(method).model_copy(update={"status": "skipped", "reason": reason})

    def of(self, method: Explainer) -> Finding:
        """Return what one method's maps say together."""
        begun = time.perf_counter()
        name = method.about.name
        self.runtime.progress(f"summing up {method.about.title}", 0, 1)
        rows, maps, finding = list(self.looked.of(name)), self.looked.maps(name), self._about(method)
        if all(row["status"] != "ok" for row in rows):
            first = rows[0]
            return finding.model_copy(update={"status": first["status"], "reason": first["reason"]})
        mapped = [row for row in rows if row["map"] is not None]
        groups = groups_of(mapped, maps, self._size)
        groups = try_places(groups, rows, Exchange(self.model, self.runtime), self._read)
        for group in groups.groups:
            for row in group.rows:
                row["group of its class" if group.of else "group of all"] = group.number
        return finding.model_copy(
            update={
                "status": "ok",
                "parameters": self._parameters(method, rows, maps),
                "values": self._values(rows, groups),
                "notes": (*_suspicions(groups), *_failures(rows), *_noted(rows), *groups.notes),
                "artefacts": self._artefacts(rows, maps, groups),
                "seconds": time.perf_counter() - begun,
            }
        )

    @property
    def _size(self) -> tuple[int, int]:
        height, width = self.model.input.shape[-2:]
        return height, width

    def _about(self, method: Explainer) -> Finding:
        about = method.about
        return Finding(
            id=f"summary/{about.name}",
            family="summary",
            method=about.name,
            title=f"{about.title}, over all images",
            description=f"{about.summary} Here all images are looked at together: what the measures say of the maps, "
            "and which maps are alike.",
            limits=f"{about.limits} Groups of maps are found by likeness alone, and need not be what a person would "
            "call a strategy. That no place is suspected does not show that there is none.",
            source="; ".join(filter(None, (about.source, "groups: Lapuschkin et al. 2019, Unmasking Clever Hans"))),
            kind=about.kind.value,
            input=None,
            status="skipped",
            parameters=method.model_dump(),
        )

    def _parameters(self, method: Explainer, rows: Sequence[Row], maps: np.ndarray) -> dict[str, Scalar]:
        """Return how the maps were made: what was the same for all images, and what is said of the others."""
        used = [row["parameters"] for row in rows if row["status"] == "ok"]
        same: dict[str, Scalar] = {
            name: value if all(one.get(name) == value for one in used) else "chosen for each image"
            for name, value in used[0].items()
        }
        first = next(row for row in rows if row["status"] == "ok")
        rows_, columns = maps.shape[1:]
        return {
            **method.model_dump(),
            **same,
            "target": self._asked(first),
            "unit": first["unit"],
            "signed": first["signed"],
            "measures": ", ".join(one.about.name for one in self.plan.measures) or "none",
            "resolution": f"{rows_} x {columns}: means over the areas of {self._size[0]} x {self._size[1]} pixels",
            "labels": _labels(rows),
            "data digest": self.looked.digest,
        }

    def _asked(self, first: Row) -> str:
        """Say what is explained of all images."""
        target = "the answer of each image" if self.plan.target is None else first["explained"]
        against = self.plan.against
        if against is None:
            return str(target)
        other = "the highest other" if is_runner_up(against, self.model.classes) else self.model.target(against).label
        return f"{target} rather than {other}"

    def _values(self, rows: Sequence[Row], groups: Groups) -> dict[str, Value]:
        few = len({row["class"] for row in rows}) <= MANY
        trust = mean_trust(rows)
        labelled = [row for row in rows if row["right"] is not None]
        found = {
            "images": Value(value=len(rows), unit="images"),
            "maps": Value(value=sum(row["map"] is not None for row in rows), unit="that are not blank", n=len(rows)),
            "blank maps": Value(value=sum(row["blank"] for row in rows), unit="maps", n=len(rows)),
        }
        if labelled:
            hits = sum(row["right"] for row in labelled)
            found["accuracy"] = Value(
                value=hits / len(labelled),
                unit="share of the labelled images",
                n=len(labelled),
                interval=clopper_pearson(hits, len(labelled)),
            )
        found |= dict(list(trust.items())[: None if few else 1])
        found |= shares(rows, classes=few)
        over_all = sum(not group.of for group in groups.groups) or len(groups.groups)
        found["groups"] = Value(value=over_all, unit="of maps that are alike")
        tried = [group.tried for group in groups.groups if group.tried]
        found["places tried"] = Value(value=len(tried), unit="groups of maps")
        found["places suspected"] = Value(value=sum(one.suspected for one in tried), unit="of them", n=len(tried))
        return found | _leanings(groups.groups)

    def _artefacts(self, rows: Sequence[Row], maps: np.ndarray, groups: Groups) -> dict[str, Artefact]:
        chosen = chain(*extremes(rows), _examples(groups.groups))
        shown, pictures = self._thumbnails(rows, list(dict.fromkeys(row["id"] for row in chosen))[:MOST_SHOWN])
        lines = ({name: value for name, value in row.items() if name not in INNER} for row in rows)
        means = [group.mean.astype(np.float32) for group in groups.groups]
        return {
            "rows": put_rows(self.store, lines),
            "maps": put(self.store, maps),
            "measures": put_rows(self.store, map(_declared, self.plan.measures)),
            "groups": put_rows(self.store, [group.told(index) for index, group in enumerate(groups.groups)]),
            "group maps": put(self.store, np.array(means, dtype=np.float32).reshape(-1, *maps.shape[1:])),
            "pictured": put_rows(self.store, [{"id": name} for name in shown]),
            "thumbnails": put(self.store, pictures),
        }

    def _thumbnails(self, rows: Iterable[Row], names: Sequence[str]) -> tuple[list[str], np.ndarray]:
        """Return small pictures of images, bytes (n, height, width, 3), for the eye; and whose they are."""
        wanted = set(names)
        samples = self._read([row for row in rows if row["id"] in wanted])
        pictures = [thumbnail(picture(one.input.numpy(), self.model.input.span)) for one in samples]
        shape = (0, 1, 1, 3) if not pictures else (-1, *pictures[0].shape)
        return [one.id for one in samples], np.array(pictures, dtype=np.uint8).reshape(shape)

    def _read(self, rows: Sequence[Row]) -> list[Sample]:
        """Return images again; those that cannot be read any more, or were changed, are left out."""
        found = []
        for row in rows:
            place = self._places[row["id"]]
            try:
                found.append(again(self.data, range(place, place + 1), row))
            except (XaiError, OSError):
                continue
        return found

    @cached_property
    def _places(self) -> dict[str, int]:
        return {self.data.id(index): index for index in range(len(self.data))}


def extremes(rows: Iterable[Row]) -> tuple[list[Row], list[Row]]:
    """Return the rows of the most and of the least trusted maps; of equal ones those that come first in the data."""
    judged = [row for row in rows if row["trust"] is not None and row["map"] is not None]
    most = sorted(judged, key=lambda row: -row["trust"])[:EXTREME]
    least = sorted(judged, key=lambda row: row["trust"])[:EXTREME]
    return most, least


def _examples(groups: Iterable[Group]) -> Iterator[Row]:
    """Yield rows of images of each group: first of the suspected ones, then of those of all maps, then of classes."""
    for group in sorted(groups, key=lambda one: (not (one.tried and one.tried.suspected), one.of != "")):
        yield from spread(group.rows, EXAMPLES)


def _declared(measure: Measure) -> Row:
    """Return what a measure says of itself."""
    about = measure.about
    return {
        "measure": about.name,
        "title": about.title,
        "summary": about.summary,
        "limits": about.limits,
        "source": about.source,
        "kind": about.kind.value,
        "parameters": measure.model_dump(mode="json"),
    }


def _suspicions(groups: Groups) -> Iterator[str]:
    """Yield what a person has to look at."""
    yield from (group.tried.sentence() for group in groups.groups if group.tried and group.tried.suspected)


def _failures(rows: Sequence[Row]) -> Iterator[str]:
    """Yield what broke, with the first reason: of the method, and of each measure."""
    broken: dict[str, list[tuple[str, str]]] = {}
    for row in rows:
        if row["status"] != "ok":
            broken.setdefault("no map was made", []).append((row["id"], row["reason"]))
        for measure, said in row["measures"].items():
            if said["status"] == "failed":
                broken.setdefault(f"{measure} failed", []).append((row["id"], said["reason"]))
    for what, held in broken.items():
        name, reason = held[0]
        yield f"{what} on {len(held)} of {len(rows)} images; the first, {name}: {reason}"


def _noted(rows: Sequence[Row]) -> Iterator[str]:
    """Yield what the method says of single maps: what differs in numbers and names alone is told once."""
    kinds: dict[str, list[tuple[str, str]]] = {}
    for row in rows:
        for note in row["notes"]:
            kinds.setdefault(NUMBER.sub("", note.replace(row["explains"], "")), []).append((row["id"], note))
    for held in kinds.values():
        name, note = held[0]
        if len(held) == len(rows) and len({text for _, text in held}) == 1:
            yield note
        else:
            yield f"{len(held)} of {len(rows)} maps have a note of this kind; the first, {name}: {note}"


def _leanings(groups: Iterable[Group]) -> dict[str, Value]:
    """Return the counts behind each suspicion."""
    found: dict[str, Value] = {}
    for group in groups:
        if group.tried is None or not group.tried.suspected:
            continue
        tried, whose = group.tried, f"{group.of}, group {group.number + 1}"
        for name, count, total in (
            ("changed by the place", tried.changed, tried.images),
            ("changed by a place elsewhere", tried.changed_elsewhere, tried.images),
            ("turned by the place", tried.turned, tried.others),
            ("turned by a place elsewhere", tried.turned_elsewhere, tried.others),
        ):
            interval = clopper_pearson(count, total)
            found[f"{name}, {whose}"] = Value(value=count / total, unit="share of answers", n=total, interval=interval)
    return found


def _labels(rows: Sequence[Row]) -> str:
    """Say where the right answers come from."""
    own = sum(not row["labelled"] for row in rows)
    return f"none for {own} of {len(rows)}" if own else "given"
