"""Groups of one method's maps, of each class and of all, and what of them hangs on one small place."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from xai.data.samples import Sample
from xai.engine.summary.leaning import LEAST as FEW
from xai.engine.summary.leaning import Exchange, Tried, corrected
from xai.engine.summary.places import Place, place_of
from xai.engine.summary.small import positive
from xai.engine.summary.spectral import grouped

MOST_MAPS = 2000  # that are grouped at once: their graph is held whole
MOST_IMAGES = 64  # of a group, and of others, on which a place is tried
MOST_PLACES = 24  # that are tried
SAME = 0.5  # of what two places take together: with that much in common they are the same
EXAMPLES = 3  # of a group
NOWHERE = (
    "no group of these maps is concentrated on one small place, so that none was tried: the model may lean on one that "
    "such maps do not show; occlusion and kernelshap are sharper than most"
)
ALL = ""  # the name of what groups the maps of all classes
Row = dict[str, Any]
Read = Callable[[Sequence[Row]], list[Sample]]


@dataclass
class Group:
    """Maps that are alike.

    Args:
        of: the answer that they explain, ALL for any.
        number: among those of the same answer, the largest first.
        rows: of its images.
        mean: of its maps, (rows, columns), of what speaks for the answer; it sums to one.
        place: that the mean is concentrated on.
        tried: what became of the answers when the place was exchanged.
        untried: what became of it instead, "" if it was or there is no such place.
        held: share of the mean that lies in the place.
    """

    of: str
    number: int
    rows: Sequence[Row]
    mean: np.ndarray
    place: Place | None
    tried: Tried | None = None
    untried: str = ""
    held: float = 0.0

    def told(self, index: int) -> Row:
        """Return it as it is kept; `map` numbers its mean map."""
        return {
            "of": self.of,
            "group": self.number,
            "map": index,
            "images": len(self.rows),
            "classes": dict(Counter(row["class"] for row in self.rows).most_common()),
            "answers": dict(Counter(row["answer"] for row in self.rows).most_common()),
            "examples": [row["id"] for row in spread(self.rows, EXAMPLES)],
            "place": None if self.place is None else {**self.place.__dict__, "held": self.held},
            "tried": None if self.tried is None else self.tried.row(),
            "untried": self.untried,
        }


@dataclass(frozen=True)
class Groups:
    """All groups of one method's maps.

    Args:
        groups: those of all maps first, then of each answer.
        notes: what a reader must know of them.
    """

    groups: tuple[Group, ...]
    notes: tuple[str, ...]


def groups_of(rows: Sequence[Row], maps: np.ndarray, shape: tuple[int, int]) -> Groups:
    """Return the groups of maps.

    Args:
        rows: a row a map.
        maps: (n, rows, columns) of them.
        shape: rows and columns of an input.
    """
    found: list[Group] = []
    notes: list[str] = []
    by_answer: dict[str, list[int]] = {}
    for index, row in enumerate(rows):
        if row["explained"] == row["answer"]:
            by_answer.setdefault(row["answer"], []).append(index)
    several = len(by_answer) != 1 or len(next(iter(by_answer.values()))) != len(rows)
    for of, members in {**({ALL: list(range(len(rows)))} if several else {}), **by_answer}.items():
        kept = spread(members, MOST_MAPS)
        if len(kept) < len(members):
            whose = f"of “{of}”" if of else "of all classes"
            notes.append(
                f"{len(kept)} of the {len(members)} maps {whose} are grouped, evenly taken in the data's order"
            )
        found += _grouped(of, [rows[index] for index in kept], positive(maps[kept]), shape)
    return Groups(tuple(found), tuple(notes))


def _grouped(of: str, rows: Sequence[Row], maps: np.ndarray, shape: tuple[int, int]) -> Iterable[Group]:
    """Yield the groups of some maps; a map without anything that speaks for its answer is in none."""
    able = np.flatnonzero(maps.any(axis=(1, 2)))
    if not len(able):
        return
    names = grouped(maps[able]).groups
    for number in range(int(names.max()) + 1):
        members = able[names == number]
        mean = maps[members].mean(axis=0)
        place = place_of(mean, *shape) if of != ALL else None
        held = 0.0 if place is None else _held(mean, place, shape)
        yield Group(of, number, [rows[index] for index in members], mean, place, held=held)


def _held(mean: np.ndarray, place: Place, shape: tuple[int, int]) -> float:
    """Return the share of a mean map that lies in a place."""
    rows, columns = (np.arange(size) * small // size for size, small in zip(shape, mean.shape, strict=True))
    large = mean[np.ix_(rows, columns)]
    return float(place.of(large).sum() / large.sum())


def try_places(groups: Groups, rows: Sequence[Row], exchange: Exchange, read: Read) -> Groups:
    """Exchange the places that groups point at, the most concentrated ones first; the same place of an answer once.

    Args:
        groups: of the maps.
        rows: of all images.
        exchange: tries a place.
        read: returns images of rows.
    """
    joined = _joined(groups.groups)
    notes = [*groups.notes, *([] if joined else [NOWHERE])]
    if len(joined) > MOST_PLACES:
        notes.append(f"maps point at {len(joined)} small places; the {MOST_PLACES} most concentrated ones were tried")
    found: list[Tried | None] = []
    for number, (first, *others) in enumerate(joined[:MOST_PLACES]):
        ours = [row for group in (first, *others) for row in group.rows]
        for group in others:
            group.untried = f"the one that group {first.number + 1} points at: see there"
        found.append(_tried(first, ours, rows, exchange, read, number))
    for (first, *_), tried in zip(joined, corrected(found), strict=False):
        first.tried = tried
    if joined and not any(found):
        places = "1 small place" if len(joined) == 1 else f"{len(joined)} small places"
        notes.append(f"maps point at {places}, of which none was tried; “{joined[0][0].of}”: {joined[0][0].untried}")
    return Groups(groups.groups, tuple(notes))


def _tried(
    group: Group, ours: Sequence[Row], rows: Sequence[Row], exchange: Exchange, read: Read, number: int
) -> Tried | None:
    """Exchange the place of a group in images that point at it; None where there are too few."""
    assert group.place is not None
    answer = group.rows[0]["predicted"]  # two classes may have one name
    others = [row for row in rows if row["finite"] and row["predicted"] != answer]
    found = exchange.tried(
        group.place, answer, read(spread(ours, MOST_IMAGES)), read(spread(others, MOST_IMAGES)), number
    )
    if found is None:
        group.untried = (
            f"it was not tried, since {FEW} images that point at it and {FEW} of other answers are needed, and there "
            f"are {len(ours)} and {len(others)} that can be read; give more images"
        )
    return found


def _joined(groups: Iterable[Group]) -> list[list[Group]]:
    """Return the groups that point at a place, those of an answer that point at the same one together.

    The most concentrated come first, by the share of their maps that lies there times their images.
    """
    placed = sorted((one for one in groups if one.place), key=lambda one: -one.held * len(one.rows))
    found: list[list[Group]] = []
    for group in placed:
        same = (held for held in found if held[0].of == group.of and _same(held[0].place, group.place))
        first = next(same, None)
        if first is None:
            found.append([group])
        else:
            first.append(group)
    return found


def _same(one: Place | None, other: Place | None) -> bool:
    return one is not None and other is not None and one.overlap(other) >= SAME


def spread(some: Sequence[Any], most: int) -> list[Any]:
    """Return at most so many, evenly taken in their order."""
    if len(some) <= most:
        return list(some)
    return [some[index * len(some) // most] for index in range(most)]
