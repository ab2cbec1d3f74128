"""Values that follow from the rows of single images: computed again, they must be what the finding says.

Only what can be read off the rows without the program that made them: shares of right answers, of answers that stand
at a size of the change, and of those that are proved. What cannot be derived is said to be so by its absence.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from xai.reports.intervals import clopper_pearson
from xai.reports.records import Finding, Value

AT = " at "
_STANDS, _PROVED, _RIGHT = "robust accuracy", "certified accuracy", "accuracy"
_OF_GROUP, _OF_CLASS = "accuracy of group ", "accuracy of class "
HOLDS = "holds"
Row = Mapping[str, Any]


def derived(finding: Finding, rows: Sequence[Row]) -> dict[str, Value]:
    """Return the values that follow from a finding's rows, by name; those that do not follow are not among them."""
    found = {name: _count(finding, name, rows) for name in finding.values}
    return {name: _share(*counted) for name, counted in found.items() if counted is not None}


def differing(finding: Finding, rows: Sequence[Row]) -> list[tuple[str, Value, Value]]:
    """Return name, recorded value and derived value wherever the two are not the same."""
    return [
        (name, finding.values[name], value)
        for name, value in derived(finding, rows).items()
        if not _same(finding.values[name], value)
    ]


def _count(finding: Finding, name: str, rows: Sequence[Row]) -> tuple[int, int] | None:
    """Return how many rows count for a value, and of how many."""
    if not all(isinstance(row.get("right"), bool) for row in rows):
        return None
    if name == _RIGHT:
        return sum(row["right"] for row in rows), len(rows)
    for start, column in ((_OF_GROUP, "group"), (_OF_CLASS, "class")):
        if name.startswith(start) and all(column in row for row in rows):
            own = [row["right"] for row in rows if str(row[column]) == name.removeprefix(start)]
            return sum(own), len(own)
    what, at, size = name.partition(AT)
    if not at:
        return None
    if what == _STANDS:
        return _standing(finding, size, rows)
    if what == _PROVED and all(size in (row.get("verdicts") or {}) for row in rows):
        return sum(row["right"] and row["verdicts"][size] == HOLDS for row in rows), len(rows)
    return None


def _standing(finding: Finding, size: str, rows: Sequence[Row]) -> tuple[int, int] | None:
    """Return how many images are right and have nothing adversarial within a size that was found."""
    epsilon = finding.parameters.get(f"epsilon {size}")
    if isinstance(epsilon, bool) or not isinstance(epsilon, int | float):
        return None
    if not all("distance" in row for row in rows):
        return None
    return sum(row["right"] and (row["distance"] is None or row["distance"] > epsilon) for row in rows), len(rows)


def _share(count: int, total: int) -> Value:
    return Value(value=count / total if total else None, n=total, interval=clopper_pearson(count, total))


def _same(one: Value, other: Value) -> bool:
    if one.n != other.n or isinstance(one.value, str) or isinstance(other.value, str):
        return False
    if one.value is None or other.value is None:
        return one.value is other.value
    pairs = [(one.value, other.value), *zip(one.interval or (), other.interval or (), strict=False)]
    return all(math.isclose(recorded, found, abs_tol=1e-9) for recorded, found in pairs)


def outcomes(finding: Finding, row: Row) -> dict[str, bool]:
    """Return what became of one image, by name: right, standing at a size, proved at a size, right when damaged."""
    right = row.get("right")
    if not isinstance(right, bool):
        return {}
    found = {"right": right}
    for name, epsilon in finding.parameters.items():
        if name.startswith("epsilon ") and "distance" in row and isinstance(epsilon, int | float):
            size, distance = name.removeprefix("epsilon "), row["distance"]
            found[f"right under attack at {size}"] = right and (distance is None or distance > epsilon)
    found |= {f"proved right at {size}": right and said == HOLDS for size, said in (row.get("verdicts") or {}).items()}
    return found | {f"right under {name}": bool(good) for name, good in (row.get("corrupted") or {}).items()}
