"""An attack without bounds: where everything is allowed, everything must fall."""

from __future__ import annotations

from dataclasses import replace

from pydantic import Field

from xai.errors import NotApplicableError
from xai.registry import Kind, Method, Need
from xai.reports.records import Value
from xai.robustness.alarms.base import Alarm, Signal, Subject, titled, varied
from xai.robustness.norms import diameter
from xai.robustness.search import Case


class Unbounded(Alarm):
    """Athalye, Carlini and Wagner 2018, section 3.1."""

    about = Method(
        name="unbounded",
        title="Without bounds",
        summary="Attacks with the whole range of values as region: every image of another class lies in it, so an "
        "attack that does not reach them all is not led to what is there.",
        limits="That it reaches them all says nothing of small changes.",
        source="Athalye, Carlini, Wagner 2018, Obfuscated gradients give a false sense of security",
        kind=Kind.EXACT,
        needs=frozenset({Need.GRADIENTS}),
        default=True,
    )

    steps: int = Field(default=100, ge=1, le=100_000, description="Steps of an attempt.")
    restarts: int = Field(default=5, ge=1, le=10_000, description="Attempts at those that stand.")

    def look(self, subject: Subject) -> Signal:
        """Attack, and name for each image that stands another one that it could have become."""
        limits = subject.model.input.range
        if limits is None:
            raise NotApplicableError("no range of values is known, so nothing is the whole of it")
        whole = diameter(limits[1] - limits[0], subject.case.x[0].numel(), subject.region.norm)
        case = Case(subject.case.x, subject.case.label, None, subject.case.clean)
        attack = varied(subject.attack, steps=self.steps, restarts=self.restarts)
        fell = subject.fallen("unbounded", attack=attack, case=case, region=replace(subject.region, epsilon=whole))
        others = len(case.label.unique()) > 1  # each is answered by its label, so one of another class is a success
        stands, total = int((~fell).sum()), len(fell)
        title = titled(attack)
        if not stands:
            sentence = f"Without bounds all of {total} images fall to {title}, as they must."
        elif others:
            sentence = (
                f"Even without bounds {stands} of {total} images stand against {title}, although for each of them an "
                "image of another class lies in the region: the attack is not led there."
            )
        else:
            sentence = (
                f"Without bounds {stands} of {total} images stand against {title}; all are of one class, so nothing "
                "shows that the model has another answer at all."
            )
        return Signal(
            sentence,
            "for" if not stands else "against" if others else "neither",
            {
                "fall": Value(value=total - stands, unit="images", n=total),
                "stand": Value(value=stands, unit="images", n=total),
                "classes among them": Value(value=len(case.label.unique()), unit="classes"),
            },
            {"epsilon": whole},
        )
