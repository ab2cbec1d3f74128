"""Transfer: another model's gradients lead to failures that the model's own do not show."""

from __future__ import annotations

from xai.errors import NotApplicableError
from xai.registry import Kind, Method, Need
from xai.robustness.alarms.base import Alarm, Signal, Subject
from xai.robustness.victim import Victim


class Transfer(Alarm):
    """Papernot et al. 2017; as a sign of masking Athalye, Carlini and Wagner 2018, section 3.1."""

    about = Method(
        name="transfer",
        title="Transfer",
        summary="Attacks the same images along the gradients of another model that does the same. They know less of "
        "this model than its own, so where they find more, its own mislead.",
        limits="A surrogate that is much unlike the model leads nowhere, and then nothing is said.",
        source="Papernot, McDaniel, Goodfellow, Jha, Celik, Swami 2017, Practical black-box attacks against machine "
        "learning",
        kind=Kind.STATISTICAL,
        needs=frozenset({Need.GRADIENTS}),
        default=True,
    )

    def look(self, subject: Subject) -> Signal:
        """Attack along the surrogate's gradients."""
        surrogate, title = subject.surrogate, subject.attack.about.title
        if surrogate is None:
            raise NotApplicableError("no other model for the same task was given as a surrogate")
        if surrogate.graph is None:
            raise NotApplicableError(f"the surrogate is a black box: {surrogate.no_graph}")
        fell = subject.fallen("transfer", lender=Victim(surrogate).differentiated)
        contests = subject.contests({f"{title} on {surrogate.name}": fell})
        named = {"surrogate": surrogate.name, "surrogate fingerprint": surrogate.fingerprint}
        return Signal(contests.sentence, contests.speaks, contests.values, dict(named))
