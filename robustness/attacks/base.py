"""What an attack is: a formula that says where to look next, given what was seen; the base looks, counts and judges.

An attack never calls the model. `search` asks it for points, looks at them for many inputs at once, keeps every point
that fools the model within the region, and lets those leave that are done.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from pydantic import BaseModel, ConfigDict

from xai.errors import NotApplicableError
from xai.registry import Family, Method
from xai.robustness.losses import margin
from xai.robustness.norms import Norm
from xai.robustness.regions import Region

State = dict[str, torch.Tensor]


@dataclass(frozen=True)
class Scene:
    """What all inputs of a search share.

    Args:
        region: where an adversarial input may lie.
        generator: of every random number.
        targeted: whether a certain class is wanted, not only another one.
    """

    region: Region
    generator: torch.Generator
    targeted: bool


@dataclass
class Lanes:
    """Attempts under way, a row each.

    Args:
        sample: (n,) place of the input in the search.
        attempt: (n,) how many attempts at this input came before: random restarts, other target classes.
        step: (n,) how many points of this attempt were looked at before.
        origin: (n, ...) the input itself, in input units.
        label: (n,) its right class.
        wanted: (n,) the class that is wanted, where one is.
        clean: (n, classes) the scores of the input itself.
        x: (n, ...) the points that are looked at next.
        own: what the attack remembers, tensors of n rows by name.
    """

    sample: torch.Tensor
    attempt: torch.Tensor
    step: torch.Tensor
    origin: torch.Tensor
    label: torch.Tensor
    wanted: torch.Tensor
    clean: torch.Tensor
    x: torch.Tensor
    own: State

    def __len__(self) -> int:
        """Return how many attempts are under way."""
        return len(self.sample)

    def take(self, rows: torch.Tensor) -> Lanes:
        """Return some rows, by mask or index."""
        own = {name: value[rows] for name, value in self.own.items()}
        return Lanes(**{name: value[rows] for name, value in self._rows().items()}, own=own)

    def put(self, rows: torch.Tensor, part: Lanes) -> None:
        """Take the points and memories of some rows, by mask, from what `take` gave for them."""
        self.x = self.x.clone()
        self.x[rows] = part.x
        self.own = {name: value.clone() for name, value in self.own.items()}
        for name, value in part.own.items():
            self.own[name][rows] = value

    def join(self, other: Lanes) -> Lanes:
        """Return the rows of both."""
        own = {name: torch.cat((value, other.own[name])) for name, value in self.own.items()}
        theirs = other._rows()
        return Lanes(**{name: torch.cat((value, theirs[name])) for name, value in self._rows().items()}, own=own)

    def _rows(self) -> dict[str, torch.Tensor]:
        return {name: value for name, value in vars(self).items() if name != "own"}


@dataclass(frozen=True)
class Seen:
    """What was seen at the points of some lanes.

    Args:
        scores: (n, classes).
        fooled: (n,) whether the goal is reached there.
        loss: (n,) what the attack raises, or (n, k).
        gradient: (n, ...) of the loss, (n, k, ...) of k losses; empty after the last look, and for a black-box attack.
    """

    scores: torch.Tensor
    fooled: torch.Tensor
    loss: torch.Tensor
    gradient: torch.Tensor

    def take(self, rows: torch.Tensor) -> Seen:
        """Return some rows, by mask or index."""
        gradient = self.gradient[rows] if len(self.gradient) else self.gradient
        return Seen(self.scores[rows], self.fooled[rows], self.loss[rows], gradient)


class Attack(BaseModel, ABC):
    """What all attacks share. The fields of a subclass are its parameters.

    A subclass declares `about` and `norms`, and writes `looks`, `begin` and `advance`; `loss` if it is not the margin.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    about: ClassVar[Method]
    norms: ClassVar[frozenset[Norm]]
    minimal: ClassVar[bool] = False  # whether it looks for the smallest change, whatever epsilon is
    classes: ClassVar[int] = 2  # that it needs at least
    aimed: ClassVar[bool] = True  # whether it can aim at a wanted class
    planned: ClassVar[Mapping[tuple[str, Norm], Mapping[str, Any]]] = {}  # parameters that a named plan sets in a norm

    @property
    @abstractmethod
    def looks(self) -> int:
        """How many points an attempt looks at; the last needs no gradient."""

    @property
    def tries(self) -> int:
        """How often an input that stands is tried anew."""
        return 1

    @property
    def aims(self) -> int:
        """How many other classes are aimed at, one after the other, a try; 1: at none in particular."""
        return 1

    def attempts(self, classes: int, targeted: bool) -> int:
        """Return how many attempts an input gets at most; a wanted class is the only one to aim at."""
        return self.tries * (1 if targeted else min(self.aims, classes - 1))

    @abstractmethod
    def begin(self, lanes: Lanes, scene: Scene) -> None:
        """Set the first points, lanes.x (they are the inputs themselves so far), and what the attack remembers."""

    @abstractmethod
    def advance(self, lanes: Lanes, seen: Seen, scene: Scene) -> None:
        """Set the next points, lanes.x, after what was seen at those before; lanes.step counts those looked at."""

    def finished(self, lanes: Lanes, seen: Seen) -> torch.Tensor:  # noqa: ARG002  # for subclasses
        """Say which attempts have nothing more to look at, (n,), after what was seen at lanes.x; none before `looks`.

        Which inputs are done, because a point near enough was found, is the loop's to know.
        """
        return torch.zeros_like(seen.fooled)

    def loss(self, scores: torch.Tensor, lanes: Lanes, targeted: bool) -> torch.Tensor:
        """Return what is raised, (n,)."""
        return -margin(scores, lanes.wanted) if targeted else margin(scores, lanes.label)

    def applies(self, classes: int, norm: Norm, *, targeted: bool = False) -> None:
        """Raise NotApplicableError if it cannot be tried for so many classes in that norm, or aim at a wanted class."""
        if norm not in self.norms:
            raise NotApplicableError(f"it knows the norms {', '.join(sorted(self.norms))}, not {norm}")
        if classes < self.classes:
            raise NotApplicableError(f"it needs at least {self.classes} classes; the model has {classes}")
        if targeted and not self.aimed:
            raise NotApplicableError("it looks for any wrong class; it cannot aim at a wanted one")


attacks: Family[Attack] = Family("attack", "xai.robustness.attacks", Attack, key=lambda leaf: leaf.about.name)  # type: ignore[type-abstract]  # a family is of subclasses of its abstract base
