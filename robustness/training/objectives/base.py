"""What an objective is: the loss of one step, and the figure by which epochs are compared."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from pydantic import BaseModel, ConfigDict, Field

from xai.registry import Family, Method
from xai.robustness.norms import Norm
from xai.robustness.training.learner import Learner

Watched = Literal["clean", "attacked", "certified"]


@dataclass(frozen=True)
class Step:
    """What one step learns from.

    Args:
        x: (n, ...) inputs.
        labels: (n,) their classes.
        epsilon: the size of the change at this step; 0 where the objective knows none.
        share: how much of the training is done, 0 to 1.
        generator: of every random number.
    """

    x: torch.Tensor
    labels: torch.Tensor
    epsilon: float
    share: float
    generator: torch.Generator


class Objective(BaseModel, ABC):
    """What all objectives share. The fields of a subclass are its parameters.

    A subclass declares `about`, `watched` and `norms`, and writes `loss`; `size` if the size of the change grows.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    about: ClassVar[Method]
    watched: ClassVar[Watched]  # the figure on validation images that the best epoch has most of
    norms: ClassVar[frozenset[Norm]]  # that it can be trained for; none where it knows no change

    @abstractmethod
    def loss(self, learner: Learner, step: Step) -> torch.Tensor:
        """Return what is minimised, a number with a gradient."""

    def size(self, epsilon: float, share: float) -> float:  # noqa: ARG002  # most train at full size from the start
        """Return the size of the change when a share, 0 to 1, of the training is done."""
        return epsilon

    def attack_steps(self) -> int:
        """Return how many steps the attack takes by which it is watched."""
        return 10


class Attacking(Objective):
    """What objectives share that look for the worst inputs by PGD in every step."""

    watched: ClassVar[Watched] = "attacked"
    norms: ClassVar[frozenset[Norm]] = frozenset(Norm)

    steps: int = Field(default=7, ge=1, le=1000, description="Steps of PGD for every step of the training.")
    ramp: float = Field(
        default=0.2, ge=0, le=1, description="Share of the training in which the size of the change rises from 0."
    )

    def size(self, epsilon: float, share: float) -> float:
        """Rise in a straight line: a network that has learnt nothing yet cannot withstand the whole."""
        return epsilon * ramp(share, 0.0, self.ramp)

    def attack_steps(self) -> int:
        """Watch it by its own attack: what a stronger one finds besides shows that it has learnt that attack alone."""
        return self.steps


objectives: Family[Objective] = Family(
    "objective",
    "xai.robustness.training.objectives",
    Objective,  # type: ignore[type-abstract]  # a family is of subclasses of its abstract base
    key=lambda leaf: leaf.about.name,
)


def ramp(share: float, start: float, end: float) -> float:
    """Return what rises in a straight line from 0 to 1 between two shares of the training."""
    return 1.0 if share >= end else max(0.0, (share - start) / (end - start))
