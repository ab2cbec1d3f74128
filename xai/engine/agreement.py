"""Do several methods agree? Their maps of one input and target, two at a time."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import combinations
from typing import Any, NamedTuple

import numpy as np

from xai.measures.base import rank_correlation
from xai.reports.artefacts import Store, get, put, put_rows
from xai.reports.paired import shifted
from xai.reports.records import Artefact, Finding, Scalar, Value

TOP = 0.1  # of the pixels, those that are compared
FAMILY = "agreement"
UNITS = ("Spearman; 0 is chance", "share of the highest tenth of either map that is in both")
LIMITS = (
    "Methods may agree because they are wrong in the same way, and differ because they answer different questions. "
    "Smooth maps of one picture are rarely at chance. That they agree is no evidence that they are right."
)


class Pair(NamedTuple):
    """What two maps have in common: Spearman's rank correlation, and the overlap of their highest tenth, 0 to 1."""

    correlation: float
    overlap: float


class Kept(NamedTuple):
    """Maps that can be compared, and why others are left out; both by method."""

    maps: dict[str, np.ndarray]
    left_out: dict[str, str]


def comparable(maps: Mapping[str, tuple[np.ndarray, bool, bool]]) -> Kept:
    """Return what speaks for the target in maps (height, width).

    Args:
        maps: by method: the map, whether it is signed, and whether it is blank.
    """
    kept: dict[str, np.ndarray] = {}
    left_out: dict[str, str] = {}
    for name, (map_, signed, blank) in maps.items():
        own = np.clip(map_, 0, None) if signed else map_
        if blank:
            left_out[name] = "its map is blank"
        elif np.ptp(own) == 0:
            left_out[name] = "nothing in its map speaks for the target"
        else:
            kept[name] = own
    return Kept(kept, left_out)


def pairs(maps: Mapping[str, np.ndarray]) -> dict[tuple[str, str], Pair]:
    """Return what each two maps (height, width), none of one value everywhere, have in common."""
    highest = {name: _highest(map_) for name, map_ in maps.items()}
    return {
        (one, other): Pair(
            rank_correlation(maps[one], maps[other]) or 0.0,
            float((highest[one] * highest[other]).sum() / _many(maps[one])),
        )
        for one, other in combinations(maps, 2)
    }


def chance(pixels: int) -> float:
    """Return the overlap of the highest tenth that two maps without anything in common have on average."""
    return max(1, round(TOP * pixels)) / pixels


def agreements(findings: Sequence[Finding], store: Store) -> list[Finding]:
    """Return a finding for each target that several methods explain of one input.

    Args:
        findings: about one input.
        store: keeps their maps.
    """
    by_target: dict[int, list[Finding]] = {}
    for finding in findings:
        if finding.status == "ok" and "map" in finding.artefacts and finding.target is not None:
            by_target.setdefault(finding.target.index, []).append(finding)
    return [_agreement(several, store) for several in by_target.values() if len(several) > 1]


def _agreement(several: Sequence[Finding], store: Store) -> Finding:
    """Return what the maps of one input and target have in common."""
    first = several[0]
    titles = {one.method: one.title for one in several}
    maps = {one.method: (get(store, one.artefacts["map"]), _is(one, "signed"), _is(one, "blank")) for one in several}
    kept = comparable(maps)
    name = f"{FAMILY}/{first.input}/{first.target.index if first.target else ''}"
    finding = _about(name, list(kept.maps)).model_copy(
        update={
            "input": first.input,
            "target": first.target,
            "notes": tuple(f"{titles[method]} is left out: {why}." for method, why in kept.left_out.items()),
        }
    )
    if len(kept.maps) < 2:
        return finding.model_copy(update={"reason": "fewer than two of the maps can be compared"})
    found = {pair: [one] for pair, one in pairs(kept.maps).items()}
    values = _values(found, first.artefacts["map"].shape)
    return finding.model_copy(
        update={"status": "ok", "values": values, "artefacts": _matrices(found, kept.maps, store)}
    )


def over_all(rows: Iterable[Mapping[str, Any]], methods: Sequence[str], shape: Sequence[int], store: Store) -> Finding:
    """Return what the maps of many images have in common, on average.

    Args:
        rows: an image each, with "pairs": {"<one> and <other>": [correlation, overlap]} and "left out", by method.
        methods: that gave maps.
        shape: of the maps.
        store: keeps rows.
    """
    held = list(rows)
    found: dict[tuple[str, str], list[Pair]] = {}
    for one, other in combinations(methods, 2):
        told = [Pair(*row["pairs"][f"{one} and {other}"]) for row in held if f"{one} and {other}" in row["pairs"]]
        if told:
            found[one, other] = told
    lost = {method: sum(method in row["left out"] for row in held) for method in methods}
    notes = tuple(
        f"{method} is left out of {count} of {len(held)} images: its map is blank, or nothing in it speaks for "
        "the target."
        for method, count in lost.items()
        if count
    )
    finding = _about(FAMILY, methods).model_copy(update={"notes": notes})
    if not found:
        return finding.model_copy(update={"reason": "no image has two maps that can be compared"})
    return finding.model_copy(
        update={"status": "ok", "values": _values(found, shape), "artefacts": {"rows": put_rows(store, held)}}
    )


def _about(name: str, methods: Sequence[str]) -> Finding:
    parameters: dict[str, Scalar] = {
        "methods": ", ".join(methods),
        "highest": TOP,
        "signed maps": "what speaks for the target; what speaks against it counts as nothing",
        "equal values": "share their ranks, and their places among the highest tenth",
    }
    return Finding(
        id=name,
        family=FAMILY,
        method=FAMILY,
        title="Do the methods agree?",
        description="Whether the maps of several methods put the same places first: their rank correlation, and how "
        "much of the highest tenth of their pixels they have in common.",
        limits=LIMITS,
        source="",
        kind="exact",
        input=None,
        status="skipped",
        parameters=parameters,
    )


def _values(found: Mapping[tuple[str, str], Sequence[Pair]], shape: Sequence[int]) -> dict[str, Value]:
    """Return means over images, of each pair and of all."""
    values: dict[str, Value] = {}
    for (one, other), told in found.items():
        for place, what in enumerate(("rank correlation", "overlap")):
            values[f"{one} and {other}: {what}"] = _mean([pair[place] for pair in told], UNITS[place])
    images = max(len(told) for told in found.values())
    for place, what in enumerate(("rank correlation", "overlap")):
        means = [np.mean([pair[place] for pair in told]) for told in found.values()]
        values[f"mean {what}"] = Value(
            value=float(np.mean(means)), unit=f"over {len(means)} pairs of methods", n=images
        )
    values["overlap by chance"] = Value(value=chance(int(np.prod(shape))), unit=UNITS[1])
    return values


def _mean(numbers: Sequence[float], unit: str) -> Value:
    """Return one number as it is, of several their mean with its bootstrap interval."""
    if len(numbers) == 1:
        return Value(value=numbers[0], unit=unit, n=1)
    mean, interval = shifted([0.0] * len(numbers), numbers)
    return Value(value=mean, unit=unit, n=len(numbers), interval=interval)


def _matrices(
    found: Mapping[tuple[str, str], Sequence[Pair]], names: Iterable[str], store: Store
) -> dict[str, Artefact]:
    """Keep both numbers of each pair as matrices (methods, methods)."""
    order = {name: place for place, name in enumerate(names)}
    both = np.ones((2, len(order), len(order)))
    for (one, other), told in found.items():
        both[:, order[one], order[other]] = both[:, order[other], order[one]] = told[0]
    return {"rank correlations": put(store, both[0]), "overlaps": put(store, both[1])}


def _highest(map_: np.ndarray) -> np.ndarray:
    """Return how far each pixel is among the highest tenth, 0 to 1: equal ones at its end share what is left."""
    many = _many(map_)
    end = np.partition(map_.ravel(), -many)[-many]
    above, equal = map_ > end, map_ == end
    share: np.ndarray = above + equal * ((many - above.sum()) / equal.sum())
    return share


def _many(map_: np.ndarray) -> int:
    return max(1, round(TOP * map_.size))


def _is(finding: Finding, name: str) -> bool:
    return finding.values[name].value is True
