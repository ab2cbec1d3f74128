"""More steps do worse: an attack that goes on longer must not find less."""

from __future__ import annotations

from pydantic import Field

from xai.errors import NotApplicableError
from xai.registry import Kind, Method, Need
from xai.robustness.alarms.base import Alarm, Signal, Subject, titled, varied


class MoreSteps(Alarm):
    """Carlini et al. 2019, section 4: results must rise with the budget."""

    about = Method(
        name="more_steps",
        title="More steps",
        summary="Attacks the same images with few and with many steps. Many that find less than few do not climb: "
        "gradients or step sizes lead astray.",
        limits="That many steps find as much as few does not show that they find all there is.",
        source="Carlini et al. 2019, On evaluating adversarial robustness",
        kind=Kind.STATISTICAL,
        needs=frozenset({Need.GRADIENTS}),
        default=True,
    )

    few: int = Field(default=10, ge=1, le=100_000, description="Steps of the short attack.")
    many: int = Field(default=100, ge=1, le=100_000, description="Steps of the long one.")

    def look(self, subject: Subject) -> Signal:
        """Attack twice."""
        attack = subject.attack
        if "steps" not in type(attack).model_fields:
            raise NotApplicableError(f"{attack.about.title} has no number of steps")
        short, long = (varied(attack, steps=steps) for steps in (self.few, self.many))
        few = subject.fallen(f"{self.few} steps", attack=short)
        many = subject.fallen(f"{self.many} steps", attack=long)
        contests = subject.contests({titled(short): few}, (titled(long), many))
        return Signal(contests.sentence, contests.speaks, contests.values)
