"""Places of operators among the modules of their source, in the form that torch.export notes them."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby

Place = tuple[tuple[str, str], ...]  # (full name, kind) of each module around an operator, the outermost first
Stack = dict[str, tuple[str, str]]


def module_stacks(places: Sequence[Place]) -> list[Stack]:
    """Return the stack of each operator, in the order in which they run; a leaf's later uses are marked "@1", "@2"."""
    parents = {place[:depth] for place in places for depth in range(len(place))}
    uses: dict[Place, int] = {}
    found: list[Stack] = []
    for place, run in groupby(places):
        use = uses.get(place, 0)
        uses[place] = use + 1
        suffix = f"@{use}" if use and place not in parents else ""
        found += [_stack(place, suffix) for _ in run]
    return found


def _stack(place: Place, suffix: str) -> Stack:
    paths = [f"network.{name}" for name, _ in place]
    ends = [""] * (len(paths) - 1) + [suffix] * bool(paths)
    return {path + end: (path, kind) for path, end, (_, kind) in zip(paths, ends, place, strict=True)}
