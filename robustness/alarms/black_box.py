"""A black box beats a white box: whoever sees less finds more."""

from __future__ import annotations

from pydantic import Field

from xai.errors import NotApplicableError
from xai.registry import Kind, Method, Need
from xai.robustness.alarms.base import Alarm, Signal, Subject, varied
from xai.robustness.attacks.base import Attack, attacks


class BlackBox(Alarm):
    """Athalye, Carlini and Wagner 2018, section 3.1."""

    about = Method(
        name="black_box",
        title="Without gradients",
        summary="Attacks the same images in the same region by what needs no gradients. It knows less, so where it "
        "finds more, the gradients mislead.",
        limits="That it finds no more shows no robustness: its queries are few. A lead of some images can also be a "
        "weak ordinary attack.",
        source="Athalye, Carlini, Wagner 2018, Obfuscated gradients give a false sense of security",
        kind=Kind.STATISTICAL,
        needs=frozenset({Need.GRADIENTS}),
        default=True,
    )

    queries: int = Field(default=500, ge=1, le=10_000_000, description="Points an image that the model is shown.")

    def look(self, subject: Subject) -> Signal:
        """Try each attack that needs no gradients."""
        found = self._without_gradients(subject)
        others = {
            attack.about.title: subject.fallen(f"black box {attack.about.name}", attack=attack) for attack in found
        }
        contests = subject.contests(others)
        return Signal(contests.sentence, contests.speaks, contests.values)

    def _without_gradients(self, subject: Subject) -> list[Attack]:
        blind = [cls for cls in attacks.all().values() if not cls.about.needs and not cls.minimal]
        fit, reasons = [], ["no attack without gradients is known here"]
        for attack in (varied(cls(), queries=self.queries) for cls in blind):
            try:
                targeted = subject.case.wanted is not None
                attack.applies(subject.victim.classes, subject.region.norm, targeted=targeted)
                fit.append(attack)
            except NotApplicableError as error:
                reasons.append(str(error))
        if not fit:
            raise NotApplicableError("; ".join(reasons[-len(blind) :] if blind else reasons))
        return fit
