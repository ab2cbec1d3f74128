"""What an alarm is: a second look at a model whose gradients may only seem to lead nowhere.

Attacks that follow gradients say nothing about a model that hides them. An alarm tries other ways into the same region,
on a few of the images, and counts those that fall to them and not to what was done before: the run's attacks, whose
figure is doubted.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, ClassVar

import torch
from pydantic import BaseModel, ConfigDict

from xai.errors import NotApplicableError
from xai.models.model import Model
from xai.registry import Family, Method, Need
from xai.reports.intervals import clopper_pearson
from xai.reports.records import Scalar, Speaks, Value
from xai.robustness.attacks.base import Attack, Scene, attacks
from xai.robustness.borrowed import Borrower, Lender
from xai.robustness.regions import Region
from xai.robustness.search import Case, search
from xai.robustness.victim import Victim
from xai.runtime import Runtime

LEVEL = 0.01  # how often chance alone may raise an alarm, at most
RUN = "the run's attacks"


@dataclass(frozen=True)
class Subject:
    """What alarms look at.

    Args:
        model: that was attacked.
        case: some images that it gets right.
        region: where adversarial inputs were looked for.
        runtime: seed and device.
        batch: how many inputs go through the model at once.
        surrogate: another model for the same task, or None.
        felled: (n,) bool: which of the images the run's attacks felled in that region; None if there was no run.
    """

    model: Model
    case: Case
    region: Region
    runtime: Runtime
    batch: int
    surrogate: Model | None = None
    felled: torch.Tensor | None = None

    def __len__(self) -> int:
        """Return how many images there are."""
        return len(self.case.x)

    @property
    def victim(self) -> Victim:
        """The model under attack."""
        return Victim(self.model)

    @cached_property
    def attack(self) -> Attack:
        """An attack along gradients, as it is when none is named: other ways are variations of it."""
        known = [cls() for cls in attacks.all().values() if cls.about.default and Need.GRADIENTS in cls.about.needs]
        fit = [attack for attack in known if not attack.minimal and self.region.norm in attack.norms]
        if not fit:
            raise NotApplicableError(f"no attack along gradients runs by default in {self.region.norm}")
        return fit[0]

    @cached_property
    def plain(self) -> torch.Tensor:
        """(n,) bool: which images fall to that attack."""
        return self.fallen("plain")

    def contests(
        self, others: Mapping[str, torch.Tensor], ordinary: tuple[str, torch.Tensor] | None = None
    ) -> Contests:
        """Compare ways to attack: with what the run felled; without a run all others with the ordinary one.

        Args:
            others: what each is called, and which images fall to it, (n,) bool.
            ordinary: the same of the way that others must not beat; default `attack`.

        Raises:
            NotApplicableError: nothing was found, and the images are too few for that to say anything.
        """
        name, fell = ordinary or (titled(self.attack), self.plain)
        if self.felled is None:
            check_enough(self, len(others))
            return Contests((name, fell), others)
        found = Contests((RUN, self.felled), {name: fell, **others}, self.region.epsilon)
        if not found.all[found.best].gained:
            check_enough(self, len(found.all))
        return found

    def fallen(
        self,
        name: str,
        *,
        attack: Attack | None = None,
        case: Case | None = None,
        region: Region | None = None,
        lender: Lender | None = None,
    ) -> torch.Tensor:
        """Attack the images; return which of them fall, (n,) bool.

        Args:
            name: random numbers follow from the run's seed and it.
            attack: default the ordinary one.
            case: default the subject's.
            region: default the subject's.
            lender: gives the gradients in the model's stead; the answers that count are still the model's.
        """
        case, region = case or self.case, region or self.region
        scene = Scene(region, self.runtime.generator("alarm", name), case.wanted is not None)
        victim = Borrower(self.model, lender=lender)
        found = search(attack or self.attack, victim, case, scene, batch=self.batch, enough=region.epsilon)
        return found.distance.isfinite()


@dataclass(frozen=True)
class Signal:
    """What an alarm says.

    Args:
        sentence: what was found, in plain words.
        speaks: for the accuracy under attack; against it, which is the alarm; or neither.
        values: what was measured, by name.
        chosen: parameters as they were used, where the alarm chose them.
    """

    sentence: str
    speaks: Speaks
    values: dict[str, Value]
    chosen: dict[str, Scalar] = field(default_factory=dict)


class Alarm(BaseModel, ABC):
    """A sign of gradient masking. Its fields are its parameters.

    A subclass declares `about` and writes `look`.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    about: ClassVar[Method]

    @abstractmethod
    def look(self, subject: Subject) -> Signal:
        """Return what was seen; raise NotApplicableError where there is nothing to be seen."""

    def listen(self, subject: Subject) -> Signal:
        """Look; random numbers follow from the runtime's seed and the alarm's name, and nothing else is touched."""
        with subject.runtime.seeded("alarm", self.about.name), torch.no_grad():
            return self.look(subject)


@dataclass(frozen=True)
class Contest:
    """Two ways to attack the same images.

    Args:
        ordinary: (n,) bool: which fall to the way that is doubted.
        other: (n,) bool: which fall to the other one.
    """

    ordinary: torch.Tensor
    other: torch.Tensor

    @property
    def gained(self) -> int:
        """How many fall to the other way only."""
        return int((self.other & ~self.ordinary).sum())

    @property
    def lost(self) -> int:
        """How many fall to the ordinary way only."""
        return int((self.ordinary & ~self.other).sum())

    @property
    def chance(self) -> float:
        """How likely so many gains are if a difference is as often a gain as a loss: the exact one-sided sign test."""
        total = self.gained + self.lost
        return float(sum(math.comb(total, count) for count in range(self.gained, total + 1)) / 2**total)


class Contests:
    """The ordinary way against others, on the same images.

    Args:
        ordinary: what it is called, and which images fall to it.
        others: the same of the others.
        figure: the epsilon of the accuracy under attack that the ordinary way gave; None if it gave none.
    """

    def __init__(
        self, ordinary: tuple[str, torch.Tensor], others: Mapping[str, torch.Tensor], figure: float | None = None
    ) -> None:
        self.name, self.fell = ordinary
        self.figure = figure
        self.all = {name: Contest(self.fell, fell) for name, fell in others.items()}
        self.level = LEVEL / len(others)

    @property
    def best(self) -> str:
        """The other way whose gains are the least likely; where there is a figure, the one that gains most."""
        if self.figure is not None:
            return min(self.all, key=lambda name: (-self.all[name].gained, self.all[name].chance))
        return min(self.all, key=lambda name: (self.all[name].chance, -self.all[name].gained))

    @property
    def speaks(self) -> Speaks:
        """Against the ordinary way if another one gains more than chance, or the figure's own interval, explains.

        Never for it where another one gains at all.
        """
        if self._beyond_figure or any(contest.chance <= self.level for contest in self.all.values()):
            return "against"
        gains = any(contest.gained for contest in self.all.values())
        nothing = not self.fell.any() and not any(contest.other.any() for contest in self.all.values())
        return "neither" if gains or nothing else "for"

    @property
    def _stand(self) -> int:
        """How many stand against the ordinary way."""
        return int((~self.fell).sum())

    @property
    def _beyond_figure(self) -> bool:
        """Whether the share that is left lies below the interval of the figure: no chance is asked, it was found."""
        if self.figure is None:
            return False
        low, _ = clopper_pearson(self._stand, len(self.fell)) or (0.0, 1.0)
        return self._stand - self.all[self.best].gained < low * len(self.fell)

    @property
    def counted(self) -> str:
        """The best contest's counts, in words."""
        best, total = self.all[self.best], len(self.fell)
        return f"{int(best.other.sum())} of {total} images fall to {self.best}, {int(self.fell.sum())} to {self.name}"

    @property
    def sentence(self) -> str:
        """What the counts mean."""
        best = self.all[self.best]
        if self.figure is not None and (best.gained or self.speaks == "for"):
            return self._of_the_figure(best)
        if self.speaks == "against":
            return f"{self.counted}; chance explains such a lead with a probability of {best.chance:.1g}."
        if self.speaks == "for":
            return f"{self.counted}: the other way finds no more."
        if not best.gained:
            return f"No image falls to {self.name} or to {self.best}: there is nothing to compare."
        return f"{self.counted}: chance explains that lead (probability {best.chance:.2g})."

    def _of_the_figure(self, best: Contest) -> str:
        left = f"that {self.name} left standing at {self.figure:.4g}"
        if not best.gained:
            return f"{self.counted}: none {left}."
        found = f"{best.gained} of {self._stand} images {left} fall{'s' * (best.gained == 1)} to {self.best}"
        if self.speaks == "against":
            return f"{found}: the figure is too high."
        return f"{found}: the figure is too high by that; chance explains as much (probability {best.chance:.2g})."

    @property
    def values(self) -> dict[str, Value]:
        """The counts behind it."""
        total = len(self.fell)
        found = {f"fall to {self.name}": Value(value=int(self.fell.sum()), unit="images", n=total)}
        for name, contest in self.all.items():
            found[f"fall to {name}"] = Value(value=int(contest.other.sum()), unit="images", n=total)
            found[f"only to {name}"] = Value(value=contest.gained, unit="images")
            found[f"only to {self.name}, not to {name}"] = Value(value=contest.lost, unit="images")
            found[f"chance of {name}"] = Value(
                value=contest.chance, unit=f"one-sided sign test; raised at {self.level:.2g} or less"
            )
        return found


def check_enough(subject: Subject, ways: int = 1) -> None:
    """Raise NotApplicableError if the images are so few that no lead of one of so many ways could be beyond chance."""
    needed = math.ceil(math.log2(ways / LEVEL))
    if len(subject) < needed:
        raise NotApplicableError(
            f"it needs at least {needed} images to tell a difference from chance; there are {len(subject)}"
        )


def titled(attack: Attack) -> str:
    """Return what an attack is called, with its number of steps if it has one."""
    steps = getattr(attack, "steps", None)
    return attack.about.title if steps is None else f"{attack.about.title} of {steps} steps"


def varied(attack: Attack, **fields: Any) -> Attack:
    """Return an attack with other values of those parameters that it has."""
    return attack.model_copy(
        update={name: value for name, value in fields.items() if name in type(attack).model_fields}
    )


alarms: Family[Alarm] = Family("alarm", "xai.robustness.alarms", Alarm, key=lambda leaf: leaf.about.name)  # type: ignore[type-abstract]  # a family is of subclasses of its abstract base
