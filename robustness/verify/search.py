"""Branch and bound: the part that is known least of is cut in two, until none is left, one is met, or time is up."""

from __future__ import annotations

import heapq
from collections.abc import Callable
from dataclasses import dataclass

import torch

from xai.robustness.verify.domains import Domain
from xai.robustness.verify.falsify import Falsifier
from xai.robustness.verify.ways import Way

LATE = "time is up"


@dataclass(frozen=True)
class Found:
    """How a search ended.

    Args:
        proved: whether every part was decided: the case has no input.
        counterexample: an input (...) of the case, or None.
        bound: the lowest bound of any part.
        parts: how many were looked at.
        leaves: the parts that were decided, which make up the region if it is proved.
        stuck: why it ended undecided before its time.
    """

    proved: bool
    counterexample: torch.Tensor | None
    bound: float
    parts: int
    leaves: tuple[Domain, ...]
    stuck: str = ""


def search(way: Way, falsifier: Falsifier, stop: Callable[[], bool], most: int = 10**6) -> Found:
    """Decide whether a region holds an input of a case.

    Args:
        way: how parts are bounded and cut.
        falsifier: asked about the points where bounds are met.
        stop: whether time is up; asked between batches.
        most: parts that may wait; more do not fit memory.
    """
    looked = way.look([Domain()])
    waiting: list[tuple[float, int, Domain]] = []
    leaves: list[Domain] = []
    parts = 1
    while True:
        found = falsifier.meets(falsifier.inside(looked.points))
        if found is not None:
            return Found(False, found, -float("inf"), parts, ())
        for domain in looked.domains:
            if domain.bound > 0:
                leaves.append(domain)
            else:
                heapq.heappush(waiting, (domain.bound, parts + len(waiting) + len(leaves), domain))
        if not waiting:
            return Found(True, None, min(leaf.bound for leaf in leaves), parts, tuple(leaves))
        chosen = [heapq.heappop(waiting)[2] for _ in range(min(len(waiting), max(1, way.batch // 2)))]
        lowest = chosen[0].bound
        if stop():
            return Found(False, None, lowest, parts, (), LATE)
        if not all(domain.next for domain in chosen):
            return Found(False, None, lowest, parts, (), "a part cannot be cut any further")
        if len(waiting) > most:
            return Found(False, None, lowest, parts, (), f"{most} parts wait, and more would not fit memory")
        halves = [half for domain in chosen for half in domain.halves(domain.next[0])]
        looked = way.look(halves)
        parts += len(halves)
