"""Does a group of answers hang on one small place? That place alone is exchanged, and places elsewhere as a control."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from xai.data.samples import Sample
from xai.engine.summary.places import Place, elsewhere
from xai.models.model import Model
from xai.reports.paired import holm, mcnemar
from xai.robustness.victim import Victim
from xai.runtime import Runtime

LEAST = 8  # images on either side: with fewer, no difference could be told from chance
LINE = 0.01  # p-values below it, corrected for all places that were tried, are told as a difference
MORE = 0.1  # of the images by which the place must do more than one elsewhere
CONSTANT = 0.25  # of a place, that must look the same in all images to be called alike
ALIKE = 0.25  # of the usual differences: below it the same thing stands there in all images
BESIDE = 0.75  # of the place that must lie beside the object, in the middle one of the images whose object is known


@dataclass(frozen=True)
class Tried:
    """What became of answers when one small place was exchanged.

    Args:
        place: that was exchanged.
        answer: that the group's images have in common.
        images: of the group, each with that place of an image of another answer.
        changed: of those, how many have another answer then.
        changed_elsewhere: the same with a place of the same size elsewhere.
        others: images of other answers, each with that place of an image of the group.
        turned: of those, how many have the group's answer then.
        turned_elsewhere: the same with a place of the same size elsewhere.
        p_changed: of the exact McNemar test, `changed` against `changed_elsewhere`.
        p_turned: the same of `turned`.
        area: share of the picture that the place takes.
        alike: how different its most constant quarter is within the group, as a share of how different it is in others.
        beside: share of the place that lies beside the object, None where objects are not known.
        border: whether it lies at the border.
    """

    place: Place
    answer: str
    images: int
    changed: int
    changed_elsewhere: int
    others: int
    turned: int
    turned_elsewhere: int
    p_changed: float
    p_turned: float
    area: float
    alike: float | None
    beside: float | None
    border: bool

    @property
    def decides(self) -> bool:
        """Whether the place does clearly more than others, both where it is taken away and where it is put."""
        removed = self.p_changed < LINE and self.changed - self.changed_elsewhere >= MORE * self.images
        put = self.p_turned < LINE and self.turned - self.turned_elsewhere >= MORE * self.others
        return removed and put

    @property
    def foreign(self) -> bool:
        """Whether it can hardly be the object: it lies beside it, or at the border and looks the same everywhere."""
        if self.beside is not None:
            return self.beside >= BESIDE
        return self.border and self.alike is not None and self.alike <= ALIKE

    @property
    def suspected(self) -> bool:
        """Whether to say that the model leans on something that is not the object."""
        return self.decides and self.foreign

    def sentence(self) -> str:
        """Say what was found."""
        where = f"one place ({self.place.told()}, {100 * self.area:.1f} % of the picture)"
        counts = (
            f"of {self.images} images answered “{self.answer}” {self.changed} change their answer when only this place "
            f"is exchanged for that of other images, with a place of the same size elsewhere {self.changed_elsewhere} "
            f"(exact p = {self.p_changed:.2g}); put onto {self.others} images of other answers it alone turns "
            f"{self.turned} of them into “{self.answer}”, a place elsewhere {self.turned_elsewhere} "
            f"(exact p = {self.p_turned:.2g})."
        )
        if self.suspected:
            return (
                f"A suspicion: for “{self.answer}” the model leans on {where}, which {self._why()}: {counts} A person "
                "has to look at it: the pictures are in the report."
            )
        if self.decides:
            return f"For “{self.answer}” {where} decides, and it may well be the object, or a part of it: {counts}"
        return f"The maps for “{self.answer}” point at {where}; that it alone decides is not shown: {counts}"

    def _why(self) -> str:
        if self.beside is not None:
            return f"lies beside the object ({100 * self.beside:.0f} % of it, in the middle image)"
        return "lies at the border, and part of it looks the same in all of them"

    def row(self) -> dict[str, Any]:
        """Return it as it is kept."""
        fields = {name: value for name, value in self.__dict__.items() if name not in ("place", "answer")}
        return {
            **fields,
            "decides": self.decides,
            "suspected": self.suspected,
            "where": self.place.told(),
            "sentence": self.sentence(),
        }


@dataclass(frozen=True)
class Exchange:
    """Exchanges places of images.

    Args:
        model: that answers.
        runtime: memory, seed.
    """

    model: Model
    runtime: Runtime

    def tried(
        self, place: Place, answer: int, group: Sequence[Sample], others: Sequence[Sample], numbered: int
    ) -> Tried | None:
        """Try a place; None where there are too few images for an answer.

        Args:
            place: that the group's maps point at.
            answer: of all images of the group.
            group: images of it.
            others: images of other answers.
            numbered: of all places that are tried; random numbers follow from it.
        """
        if min(len(group), len(others)) < LEAST:
            return None
        ours, theirs = (torch.stack([one.input for one in some]).numpy() for some in (group, others))
        height, width = ours.shape[-2:]
        rng = np.random.default_rng([self.runtime.seed, numbered])
        controls = [elsewhere(place, height, width, rng) for _ in range(max(len(ours), len(theirs)))]
        removed, removed_elsewhere = self._changes(ours, theirs, place, controls, answer, toward=False)
        put, put_elsewhere = self._changes(theirs, ours, place, controls, answer, toward=True)
        beside = [1 - place.of(one.mask).mean() for one in group if one.mask is not None and one.mask.any()]
        return Tried(
            place=place,
            answer=self.model.answers[answer],
            images=len(ours),
            changed=int(removed.sum()),
            changed_elsewhere=int(removed_elsewhere.sum()),
            others=len(theirs),
            turned=int(put.sum()),
            turned_elsewhere=int(put_elsewhere.sum()),
            p_changed=_exact(removed, removed_elsewhere),
            p_turned=_exact(put, put_elsewhere),
            area=float(np.prod(place.size) / (height * width)),
            alike=_alike(place.of(ours), place.of(theirs)),
            beside=float(np.median(beside)) if beside else None,
            border=place.at_border(height, width),
        )

    def _changes(
        self, x: np.ndarray, donors: np.ndarray, place: Place, controls: Sequence[Place], answer: int, *, toward: bool
    ) -> tuple[np.ndarray, np.ndarray]:
        """Say which images get another answer (toward: that answer) with a donor's place, and with a control's."""
        found = []
        for places in ([place] * len(x), controls[: len(x)]):
            mixed = x.copy()
            for number, (one, where) in enumerate(zip(mixed, places, strict=True)):
                where.of(one)[...] = where.of(donors[number % len(donors)])
            found.append((self._answers(mixed) == answer) == toward)
        return found[0], found[1]

    def _answers(self, x: np.ndarray) -> np.ndarray:
        victim, batch = Victim(self.model), self.runtime.batch(self.model.bytes_per_input)
        with torch.no_grad():
            parts = [victim.scores(part.to(self.model.device)).argmax(1) for part in torch.from_numpy(x).split(batch)]
        answers: np.ndarray = torch.cat(parts).cpu().numpy()
        return answers


def corrected(tried: Sequence[Tried | None]) -> list[Tried | None]:
    """Return what was tried with p-values that hold for all places of a run together (Holm 1979)."""
    held = [one for one in tried if one is not None]
    values = iter(holm([p for one in held for p in (one.p_changed, one.p_turned)]))
    return [None if one is None else replace(one, p_changed=next(values), p_turned=next(values)) for one in tried]


def _exact(here: np.ndarray, there: np.ndarray) -> float:
    """Return the p-value of the exact McNemar test of two answers on the same images."""
    return mcnemar(int((here & ~there).sum()), int((there & ~here).sum()))


def _alike(ours: np.ndarray, theirs: np.ndarray) -> float | None:
    """Return how different a place looks among images (n, ...), as a share of how different it looks among others.

    Of all its numbers the quarter that differs least counts: a mark need not fill the place.
    """
    usual = _spread(theirs)
    if not usual.any():
        return None
    return float(np.quantile(_spread(ours)[usual > 0] / usual[usual > 0], CONSTANT))


def _spread(parts: np.ndarray) -> np.ndarray:
    """Return the mean absolute difference of each number from its middle one, of parts (n, ...)."""
    spread: np.ndarray = np.abs(parts - np.median(parts, axis=0)).mean(axis=0)
    return spread
