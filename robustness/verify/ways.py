"""Ways to bound the parts of a region, and to say where to cut them next."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from xai.robustness.verify.domains import Domain
from xai.robustness.verify.problem import Problem


@dataclass(frozen=True)
class Looked:
    """What was found of some parts.

    Args:
        domains: the parts, with bounds and with where to cut next.
        points: (n, ...) where the bounds are met, if the network follows them: candidates for a counterexample.
    """

    domains: tuple[Domain, ...]
    points: torch.Tensor


class Way(ABC):
    """A way to search.

    Args:
        problem: what is searched.
    """

    name: str
    batch: int  # parts at once

    def __init__(self, problem: Problem) -> None:
        self.problem = problem

    @abstractmethod
    def look(self, domains: Sequence[Domain]) -> Looked:
        """Bound some parts."""
