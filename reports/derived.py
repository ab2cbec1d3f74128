"""Values that follow from the rows of single images: computed again, they must be what the finding says.

Only what can be read off the rows without the program that made them: shares of right answers, of answers that stand
at a size of the change, of those that are proved, and of those that are not decided; and what measures say of maps.
What cannot be derived is said to be so by its absence.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from xai.reports import worth
from xai.reports.intervals import clopper_pearson
from xai.reports.records import Finding, Value

HOLDS, VIOLATED = "holds", "violated"
_SIZE = "epsilon "  # how the parameters begin that give a size of the change by its name
Row = Mapping[str, Any]


@dataclass(frozen=True)
class Fact:
    """A yes or no about one image.

    Args:
        share: name of the value that is its share, of the images that have such a fact.
        so: the yes or no.
        said: the same as it is said of one image; "" where only the share is of interest.
    """

    share: str
    so: bool
    said: str = ""


def derived(finding: Finding, rows: Sequence[Row]) -> dict[str, Value]:
    """Return the values that follow from a finding's rows, by name; those that do not follow are not among them."""
    told: dict[str, list[bool]] = {}
    for row in rows:
        for fact in _facts(finding, row):
            told.setdefault(fact.share, []).append(fact.so)
    found = {name: _share(sum(told[name]), len(told[name])) for name in finding.values if name in told}
    means = {**worth.mean_trust(rows), **_agreement(rows)}
    return {**found, **{name: means[name] for name in finding.values if name in means}}


def differing(finding: Finding, rows: Sequence[Row]) -> list[tuple[str, Value, Value]]:
    """Return name, recorded value and derived value wherever the two are not the same."""
    return [
        (name, finding.values[name], value)
        for name, value in derived(finding, rows).items()
        if not _same(finding.values[name], value)
    ]


def outcomes(finding: Finding, row: Row) -> dict[str, bool]:
    """Return what became of one image, by name: right, standing at a size, proved at a size, right when damaged."""
    found = {fact.said: fact.so for fact in _facts(finding, row) if fact.said}
    if not found:
        return {}
    return found | {f"right under {name}": bool(good) for name, good in (row.get("corrupted") or {}).items()}


def _facts(finding: Finding, row: Row) -> Iterator[Fact]:
    """Yield what measures say of a row's map, and what follows from its answer's being right, if that is told."""
    yield from (Fact(name, so) for name, so in worth.facts(row))
    right = row.get("right")
    if not isinstance(right, bool):
        return
    yield Fact("accuracy", right, "right")
    for column in ("group", "class"):
        if column in row:
            yield Fact(f"accuracy of {column} {row[column]}", right)
    if row.get("labelled"):
        yield Fact("accuracy where labelled", right)
    for name, epsilon in finding.parameters.items():
        if name.startswith(_SIZE) and isinstance(epsilon, int | float) and not isinstance(epsilon, bool):
            yield from _at(row, name.removeprefix(_SIZE), epsilon, right=right)


def _at(row: Row, size: str, epsilon: float, *, right: bool) -> Iterator[Fact]:
    """Yield what a row says of its image at one size of the change."""
    verdicts = row.get("verdicts") or ({size: row["verdict"]} if "verdict" in row else {})
    if "verdict" in row:
        stands = right and row["verdict"] != VIOLATED
    elif "distance" in row:
        falls = row["distance"] is not None and row["distance"] <= epsilon
        is_confirmed = bool(row.get("confirmed", True))
        stands = right and not (falls and (is_confirmed or size not in verdicts))
        yield Fact(f"robust accuracy at {size}", stands)
        if row.get("attacked"):
            yield Fact(f"success rate at {size}", falls and is_confirmed)
    else:
        stands = right
    if "distance" in row:
        yield Fact(f"accuracy under attack at {size}", stands, f"right under attack at {size}")
    if size in verdicts:
        proved = right and verdicts[size] == HOLDS
        yield Fact(f"verified accuracy at {size}", proved, f"proved right at {size}")
        yield Fact(f"certified accuracy at {size}", proved)
        yield Fact(f"not decided at {size}", stands and not proved)


def _agreement(rows: Sequence[Row]) -> dict[str, Value]:
    """Return how far the maps of each two methods agree on average."""
    told: dict[str, list[float]] = {}
    for row in rows:
        for pair, (correlation, overlap) in (row.get("pairs") or {}).items():
            told.setdefault(f"{pair}: rank correlation", []).append(correlation)
            told.setdefault(f"{pair}: overlap", []).append(overlap)
    return {name: Value(value=sum(found) / len(found), n=len(found)) for name, found in told.items()}


def _share(count: int, total: int) -> Value:
    return Value(value=count / total if total else None, n=total, interval=clopper_pearson(count, total))


def _same(one: Value, other: Value) -> bool:
    if one.n != other.n or isinstance(one.value, str) or isinstance(other.value, str):
        return False
    if one.value is None or other.value is None:
        return one.value is other.value
    pairs = [(one.value, other.value), *zip(one.interval or (), other.interval or (), strict=False)]
    return all(math.isclose(recorded, found, abs_tol=1e-9) for recorded, found in pairs)
