"""Bounds as findings: what is certified, what attacks left, and what contradicts a bound and makes all of it fail."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from xai.engine.enclosure import BoundsPlan
from xai.engine.examined import Examined
from xai.engine.proved import Proved
from xai.engine.words import about_numbers, limits
from xai.reports.artefacts import Store, put, put_rows
from xai.reports.records import Artefact, Finding, Scalar

LISTED = 3


def skipped(plan: BoundsPlan) -> tuple[Finding, ...]:
    """Return the one finding of a run that cannot bound anything, with the reason."""
    return (_whole(plan).model_copy(update={"status": "skipped", "reason": plan.hindrance}),)


def findings(proved: Proved, examined: Examined, store: Store) -> tuple[Finding, ...]:
    """Return the whole, and what was looked at closely; all have failed if a point contradicts a bound."""
    plan, outcome = proved.plan, proved.outcome
    whole = _whole(plan)
    breaches = [*proved.breaches, *examined.breaches]
    held: dict[str, Artefact] = {"rows": put_rows(store, outcome.rows()), **proved.arrays, **outcome.adversarial}
    held["answers"] = put_rows(store, [{"name": name} for name in plan.model.answers])
    whole = whole.model_copy(
        update={
            "parameters": {**whole.parameters, "labels": _labels(proved), "data digest": outcome.digest},
            "seconds": proved.seconds + sum(tally["seconds"] for tally in outcome.tallies),
        }
    )
    if breaches:
        return _failed(whole, examined, breaches, held, store)
    if plan.scored:
        held |= {name: put(store, array) for name, array in proved.curves().items()}
    done = whole.model_copy(
        update={"status": "ok", "values": proved.values(), "notes": _notes(proved), "artefacts": held}
    )
    return (done, *examined.findings)


def _failed(
    whole: Finding, examined: Examined, breaches: Sequence[dict[str, Any]], held: dict[str, Artefact], store: Store
) -> tuple[Finding, ...]:
    """Return the findings without their figures, and the evidence against them."""
    shown = "; ".join(f"{one['id']} within {one['epsilon']}: {one['what']}" for one in breaches[:LISTED])
    more = f"; and {len(breaches) - LISTED} more" if len(breaches) > LISTED else ""
    reason = f"a bound is wrong, so that none is to be relied on: this is a fault of the program. {shown}{more}"
    points = {f"point/{index:06}": Artefact.model_validate(one["point"]) for index, one in enumerate(breaches)}
    rows = put_rows(store, [{name: one[name] for name in ("id", "epsilon", "what")} for one in breaches])
    failed = whole.model_copy(
        update={"status": "failed", "reason": reason, "artefacts": {**held, "contradictions": rows, **points}}
    )
    lost: dict[str, Any] = {"status": "failed", "reason": "a bound of this run is wrong", "values": {}, "verdict": None}
    return (failed, *(finding.model_copy(update=lost) for finding in examined.findings))


def _whole(plan: BoundsPlan) -> Finding:
    about, attack = plan.bounder.about, plan.attack
    settings: dict[str, Scalar] = {
        "bounds by": about.title,
        "norm": attack.norm.value,
        "epsilons": ", ".join(attack.epsilons),
        "arithmetic": plan.arithmetic.value,
        "layer": plan.layer or "the outputs",
        "attacks": ", ".join(one.about.title for one in attack.attacks) or "none",
        "largest": plan.largest,
    }
    settings |= {f"epsilon {name}": size for name, size in attack.epsilons.items()}
    for one in attack.attacks:
        settings |= {f"{one.about.name} {name}": value for name, value in one.model_dump(mode="json").items()}
    certified = (
        "The share of images whose answer is right, and proved to be the same for every input within a distance. "
        "Beside it what attacks left standing: the truth lies between the two."
    )
    return Finding(
        id="bounds",
        family="bounds",
        method="bounds",
        title="Certified accuracy" if plan.scored else f"What {about_numbers(plan)} can become",
        description=certified if plan.scored else about.summary,
        limits=limits(plan),
        source=about.source,
        kind=about.kind.value,
        input=None,
        status="skipped",
        parameters=settings,
    )


def _labels(proved: Proved) -> str:
    if not proved.plan.scored:
        return "none: there is no right answer"
    own = int((~proved.standing.labelled).sum())
    return f"the model's own answers for {own} of {len(proved.standing)}" if own else "given"


def _notes(proved: Proved) -> tuple[str, ...]:
    """Say what float32 was seen to do beyond a proof about real numbers."""
    if not proved.plan.scored or not proved.rounding:
        return ()
    return (
        f"for {proved.rounding} of {len(proved.standing)} images the answer is proved for real numbers, and float32 "
        "gives another at a point that was found: they do not count as certified",
    )
