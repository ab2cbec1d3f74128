"""Branch and bound: the part that is known least of is cut in two, until none is left, one is met, or time is up."""

from __future__ import annotations

import heapq
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


class Search:
    """Decides whether a region holds an input of a case, a batch of parts at a time.

    Args:
        way: how parts are bounded and cut.
        falsifier: asked about the points where bounds are met.
        most: parts that may wait; more do not fit memory.
    """

    def __init__(self, way: Way, falsifier: Falsifier, most: int = 10**6) -> None:
        self.way, self._falsifier, self._most = way, falsifier, most
        self._waiting: list[tuple[float, int, Domain]] = [(-float("inf"), 0, Domain())]
        self._leaves: list[Domain] = []
        self._parts = self._pushed = 0

    def go_on(self) -> Found | None:
        """Cut and bound some more parts; return how the search ended, or None if it has not."""
        count = max(1, self.way.batch // 2)
        chosen = [heapq.heappop(self._waiting)[2] for _ in range(min(len(self._waiting), count))]
        if self._parts and not all(domain.next for domain in chosen):
            return self.given_up("a part cannot be cut any further", chosen[0].bound)
        parts = [half for domain in chosen for half in domain.halves(domain.next[0])] if self._parts else chosen
        looked = self.way.look(parts)
        self._parts += len(parts)
        for domain in looked.domains:
            if domain.bound > 0:
                self._leaves.append(domain)
            else:
                self._pushed += 1
                heapq.heappush(self._waiting, (domain.bound, self._pushed, domain))
        if not self._waiting:
            lowest = min(leaf.bound for leaf in self._leaves)
            return Found(True, None, lowest, self._parts, tuple(self._leaves))
        found = self._falsifier.near(looked.points)
        if found is not None:
            return Found(False, found, -float("inf"), self._parts, ())
        if len(self._waiting) > self._most:
            return self.given_up(f"{self._most} parts wait, and more would not fit memory")
        return None

    def given_up(self, why: str, bound: float = float("inf")) -> Found:
        """Return how far the search has come."""
        lowest = min(bound, self._waiting[0][0]) if self._waiting else bound
        return Found(False, None, lowest, self._parts, (), why)
