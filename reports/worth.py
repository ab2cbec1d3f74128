"""What many maps are worth: what each measure says of each of them, counted from the rows of single images."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from xai.reports.intervals import bounded_mean, clopper_pearson
from xai.reports.records import Speaks, Value

SAYS: tuple[tuple[Speaks, str], ...] = (
    ("for", "speaks for"),
    ("against", "speaks against"),
    ("neither", "is undecided"),
)
TRUST = "mean trust"
OF_CLASS = ", class "  # between a value's name and the class it is about
UNIT = "share of the maps that it judged"
Row = Mapping[str, Any]


def trust_of(said: Iterable[Speaks]) -> float | None:
    """Return how far one map is trusted, -1 to 1: measures for it less those against it, as a share of all that spoke.

    None where no measure gave an answer.
    """
    told = list(said)
    return (told.count("for") - told.count("against")) / len(told) if told else None


def facts(row: Row) -> Iterator[tuple[str, bool]]:
    """Yield what the measures say of one image's map, as a yes or no by the name of the share that counts it."""
    for measure, said in (row.get("measures") or {}).items():
        if said.get("speaks") is not None:
            for speaks, words in SAYS:
                yield f"{measure} {words}", said["speaks"] == speaks
                yield f"{measure} {words}{OF_CLASS}{row.get('class')}", said["speaks"] == speaks


def shares(rows: Iterable[Row], *, classes: bool) -> dict[str, Value]:
    """Return the share of maps that each measure speaks for, against, or leaves undecided.

    Args:
        rows: of the images.
        classes: whether to tell it of each class, too.
    """
    told: dict[str, list[bool]] = {}
    for row in rows:
        for name, so in facts(row):
            if classes or OF_CLASS not in name:
                told.setdefault(name, []).append(so)
    ordered = sorted(told, key=lambda name: OF_CLASS in name)
    return {name: _share(sum(told[name]), len(told[name])) for name in ordered}


def mean_trust(rows: Iterable[Row]) -> dict[str, Value]:
    """Return the mean trust of all maps that were judged, and of those of each class, the least trusted class first."""
    held: dict[str, list[float]] = {}
    for row in rows:
        if row.get("trust") is not None:
            for name in (TRUST, f"{TRUST}{OF_CLASS}{row.get('class')}"):
                held.setdefault(name, []).append(row["trust"])
    values = {name: sum(found) / len(found) for name, found in held.items()}
    ordered = sorted(values, key=lambda name: (name != TRUST, values[name]))
    return {name: _mean(values[name], len(held[name])) for name in ordered}


def _mean(value: float, total: int) -> Value:
    low, high = (2 * end - 1 for end in bounded_mean((value + 1) / 2, total))
    return Value(value=value, unit="-1 to 1", n=total, interval=(low, high))


def _share(count: int, total: int) -> Value:
    return Value(value=count / total, unit=UNIT, n=total, interval=clopper_pearson(count, total))
