"""What was verified of all images, as findings: what is proved, what attacks left, and how the two closed in."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from xai.engine.confirm import Witness
from xai.engine.deciding import Deciding, VerifyPlan
from xai.engine.outcome import ANY, Outcome
from xai.engine.proofs import PROOF
from xai.engine.standing import Standing
from xai.engine.words import NUMBERS
from xai.reports.artefacts import Store, put, put_rows
from xai.reports.records import Artefact, Finding, Scalar, Value
from xai.robustness.bounds.rounding import Arithmetic
from xai.robustness.verify.checker.check import State
from xai.robustness.verify.decide import Verdict

ALL, LISTED = "share of all images", 3
KEPT = (PROOF, "proved")  # of an image: the proof, and the input that it is about
CHECKED = "proofs checked"
SOURCE = (
    "Bunel et al. 2020, Branch and bound for piecewise linear neural network verification; Wang et al. 2021, "
    "Beta-CROWN: efficient bound propagation with per-neuron split constraints"
)
CLOCK = (
    "how far a search comes in its time depends on the machine and on what else it does, so that another run may "
    "decide more or fewer; what is decided stays decided. A longer timeout or a smaller region may help"
)


def skipped(plan: VerifyPlan) -> tuple[Finding, ...]:
    """Return the one finding of a run that can neither prove nor attack anything, with the reason."""
    return (_whole(plan).model_copy(update={"status": "skipped", "reason": plan.hindrance}),)


def findings(outcome: Outcome, plan: VerifyPlan, other: Witness, store: Store) -> tuple[Finding, ...]:
    """Return the whole; it has failed if an input of a region contradicts what was proved of it."""
    whole = _whole(plan)
    verified = Verified(outcome, plan)
    times = [seconds for answer in outcome.answers() for seconds in answer["times"]]
    held: dict[str, Artefact] = {"rows": put_rows(store, verified.rows), **outcome.adversarial}
    held["times"] = put(store, np.array(times, dtype=np.float64))
    for number, answer in enumerate(outcome.answers()):
        held |= {f"{name}/{number:06}": Artefact.model_validate(answer[name]) for name in KEPT if answer.get(name)}
    held["answers"] = put_rows(store, [{"name": name} for name in plan.model.answers])
    settings: dict[str, Scalar] = {
        "labels": verified.labels,
        "data digest": outcome.digest,
        "confirmed in": other.name or f"the model only: {other.reason}",
    }
    whole = whole.model_copy(update={"parameters": {**whole.parameters, **settings}, "seconds": float(sum(times))})
    breaches = [breach for answer in outcome.answers() for breach in answer["breaches"]]
    if breaches:
        return (_failed(whole, breaches, held),)
    update = {"status": "ok", "values": verified.values(), "notes": verified.notes(), "artefacts": held}
    return (whole.model_copy(update=update),)


def _failed(whole: Finding, breaches: Sequence[Mapping[str, Any]], held: dict[str, Artefact]) -> Finding:
    shown = "; ".join(f"{one['id']}: {one['what']}" for one in breaches[:LISTED])
    more = f"; and {len(breaches) - LISTED} more" if len(breaches) > LISTED else ""
    reason = f"a proof is wrong, so that none is to be relied on: this is a fault of the program. {shown}{more}"
    points = {f"point/{index:06}": Artefact.model_validate(one["point"]) for index, one in enumerate(breaches)}
    return whole.model_copy(update={"status": "failed", "reason": reason, "artefacts": {**held, **points}})


class Verified:
    """The verdicts of all images.

    Args:
        outcome: the shards' answers.
        plan: what was asked.
    """

    def __init__(self, outcome: Outcome, plan: VerifyPlan) -> None:
        self.plan, self.rows = plan, list(outcome.rows())
        self._standing = Standing(self.rows, plan.attack)
        self.right = self._standing.right
        self.holds, self.violated, self.open = (
            self.right & np.array([row["verdict"] == verdict.value for row in self.rows], dtype=bool)
            for verdict in (Verdict.HOLDS, Verdict.VIOLATED, Verdict.NOT_DECIDED)
        )

    @property
    def labels(self) -> str:
        """Where the right answers come from."""
        own = int((~self._standing.labelled).sum())
        return f"the model's own answers for {own} of {len(self.rows)}" if own else "given"

    def values(self) -> dict[str, Value]:
        """Return everything that is measured of the whole."""
        share, name = self._standing.share, self.plan.size[0]
        found = {"accuracy": share(self.right, ALL)}
        labelled = self._standing.labelled
        if labelled.any() and not labelled.all():
            found["accuracy where labelled"] = share(self.right, "share of the labelled images", labelled)
        found[f"verified accuracy at {name}"] = share(self.holds, ALL).model_copy(update={"bound": "least"})
        found[f"accuracy under attack at {name}"] = share(self.right & ~self.violated, ALL)
        found[f"not decided at {name}"] = share(self.open, ALL)
        for (verdict, by), count in sorted(self._ways().items()):
            found[f"{verdict} by {by}"] = Value(value=count, unit="images", n=len(self.rows))
        if self.plan.keep_proofs:
            count = sum(row.get("proof", {}).get("state") == State.CHECKED.value for row in self.rows)
            found[CHECKED] = Value(value=count, unit="images that hold", n=int(self.holds.sum()))
        return found

    def _ways(self) -> Counter[tuple[str, str]]:
        return Counter((row["verdict"], row["by"]) for row in self.rows if row["by"])

    def notes(self) -> tuple[str, ...]:
        """Return what a reader must know of these verdicts."""
        if not self.open.any():
            return ()
        reasons = Counter(row["reason"] for row in self.rows if row["verdict"] == Verdict.NOT_DECIDED.value)
        told = "; ".join(f"{count}: {reason}" for reason, count in reasons.most_common(LISTED))
        more = f"; and {len(reasons) - LISTED} other reasons" if len(reasons) > LISTED else ""
        count = f"{int(self.open.sum())} of {len(self.rows)} images"
        return (f"not decided within {self.plan.timeout:g} seconds each: {count} ({told}{more}). Note that {CLOCK}.",)


def others(plan: Deciding) -> str:
    """Say who else has looked at the proofs."""
    if not plan.keep_proofs:
        return "No other program has checked any proof: none was kept."
    about = "" if plan.arithmetic is Arithmetic.REAL else " for real numbers, not for how float32 rounds,"
    return (
        f"Those that are said to be checked were evaluated again,{about} by a checker that shares no code with the "
        "search; xai check does so with the model at hand."
    )


def _whole(plan: VerifyPlan) -> Finding:
    name, epsilon = plan.size
    attack = plan.attack
    settings: dict[str, Scalar] = {
        "norm": attack.norm.value,
        "epsilons": name,
        f"epsilon {name}": epsilon,
        "wanted": ANY,
        "arithmetic": plan.arithmetic.value,
        "timeout": plan.timeout,
        "proofs kept": plan.keep_proofs,
        "attacks": ", ".join(one.about.title for one in attack.attacks) or "none",
    }
    for one in attack.attacks:
        settings |= {f"{one.about.name} {key}": value for key, value in one.model_dump(mode="json").items()}
    return Finding(
        id="verification",
        family="verification",
        method="verification",
        title="Verified accuracy",
        description="The share of images whose answer is right, and proved to be the same for every input within the "
        "size of the change; beside it the share for which no input with another answer was found.",
        limits="It is about every input of each image's region, and about no other; an image that is not decided may "
        f"be either. {NUMBERS[plan.arithmetic]} The proofs come from this program's own bounds and search: they are "
        f"tried at points of each region. {others(plan)}",
        source=SOURCE,
        kind="sound",
        input=None,
        status="skipped",
        parameters=settings,
    )
