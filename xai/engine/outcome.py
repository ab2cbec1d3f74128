"""What the shards of an attack say together, as findings."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

import numpy as np

from xai.data.dataset import DataSet, digest_of
from xai.engine.confirm import Witness
from xai.engine.shards import Kept
from xai.engine.standing import Standing, tallied
from xai.engine.threat import AttackPlan
from xai.models.model import Model
from xai.reports.artefacts import Store, put, put_rows
from xai.reports.records import Artefact, Finding, Scalar
from xai.robustness.attacks.base import Attack
from xai.robustness.corruptions.base import Corruption

LISTED, TREATMENTS = 5, 10
ANY = "any other class"


class Gathered:
    """The answers of all shards.

    Args:
        kept: holds them.
        shards: how many there are.
    """

    def __init__(self, kept: Kept, shards: int) -> None:
        self._kept, self._shards = kept, shards
        self.skipped: list[dict[str, str]] = []
        self.treated: Counter[str] = Counter()
        self.tallies: list[dict[str, Any]] = []
        self.adversarial: dict[str, Artefact] = {}
        self.images, digests = 0, []
        for number in range(shards):
            answer = kept[number]
            self.skipped += answer["skipped"]
            self.treated.update(answer["treated"])
            self.tallies += answer.get("tallies", [])
            self.images += len(answer["rows"])
            digests.append(bytes.fromhex(answer["digests"]))
            if answer.get("adversarial"):
                self.adversarial[f"adversarial/{number:06}"] = Artefact.model_validate(answer["adversarial"])
        self.digest = digest_of(digests)

    def answers(self) -> Iterator[dict[str, Any]]:
        """Yield what each shard answered, in the data's order."""
        for number in range(self._shards):
            yield self._kept[number]

    def rows(self) -> Iterator[dict[str, Any]]:
        """Yield a row an image, in the data's order."""
        for answer in self.answers():
            yield from answer["rows"]

    def reading(self, data: DataSet) -> list[str]:
        """Say what could not be read, and how images were changed to become inputs."""
        notes = []
        if self.skipped:
            shown = "; ".join(f"{one['id']}: {one['reason']}" for one in self.skipped[:LISTED])
            more = f"; and {len(self.skipped) - LISTED} more" if len(self.skipped) > LISTED else ""
            notes.append(f"{len(self.skipped)} of {len(data)} images could not be read and are left out: {shown}{more}")
        return notes + self._treatments()

    def notes(self, data: DataSet) -> tuple[str, ...]:
        """Return what a reader must know of the data."""
        notes = self.reading(data)
        counts = Counter((row.get("labelled", True), row.get("finite", True)) for row in self.rows())
        if without := counts[False, True] + counts[False, False]:
            notes.append(
                f"images without a label: {without} of {self.images}; the model's own answer is taken for the right "
                "one, so they count as right at first, whatever they show"
            )
        if broken := counts[True, False] + counts[False, False]:
            notes.append(f"for {broken} of {self.images} images the outputs are NaN or infinite: they count as wrong")
        return tuple(notes)

    def _treatments(self) -> list[str]:
        """Say how many images were changed in which way to become inputs, the most frequent first."""
        ranked = sorted(self.treated.items(), key=lambda item: (-item[1], item[0]))
        told = [f"{count} of {self.images} images: {treatment}" for treatment, count in ranked[:TREATMENTS]]
        more = [f"images were treated in {len(ranked) - TREATMENTS} other ways"] if ranked[TREATMENTS:] else []
        return told + more


class Outcome(Gathered):
    """The answers of all shards to an attack.

    Args:
        kept: holds them.
        shards: how many there are.
        plan: the threat model.
    """

    def __init__(self, kept: Kept, shards: int, plan: AttackPlan) -> None:
        super().__init__(kept, shards)
        self.plan = plan


def findings(outcome: Outcome, model: Model, other: Witness, store: Store) -> tuple[Finding, ...]:
    """Return the whole, and what each attack did to it."""
    plan = outcome.plan
    standing = Standing(outcome.rows(), plan)
    settings: dict[str, Scalar] = {
        "norm": plan.norm.value,
        "epsilons": ", ".join(plan.epsilons) or "none: the smallest change is looked for",
        "wanted": ANY if plan.wanted is None else model.answers[plan.wanted],
        "plan": _plan(plan),
        "attacks": ", ".join(attack.about.name for attack in plan.attacks),
        "labels": _labels(standing),
        "data digest": outcome.digest,
        "confirmed in": other.name or f"the model only: {other.reason}",
    }
    if len(model.answers) != len(model.classes):
        settings["answers"] = "; ".join(f"{index}, {name}" for index, name in enumerate(model.answers))
    settings |= {f"epsilon {name}": size for name, size in plan.epsilons.items()}
    rows = put_rows(store, outcome.rows())
    curve = {name: put(store, array) for name, array in standing.curve_arrays().items()}
    whole = Finding(
        id="robustness",
        family="robustness",
        method="robustness",
        title="Accuracy under attack",
        description="The share of images whose answer is right, and for which none of the attacks found another answer "
        "within a distance."
        if plan.wanted is None
        else "The share of images whose answer is right, and which none of the attacks turned into the wanted class "
        "within a distance; images of that class are not attacked.",
        limits=_limits(standing, plan),
        source="",
        kind="heuristic",
        input=None,
        status="ok",
        parameters=settings,
        values=standing.values(),
        notes=(*_targeted(outcome, model), *_unconfirmed(outcome, standing)),
        seconds=sum(tally["seconds"] for tally in outcome.tallies),
        artefacts={"rows": rows, **curve, **outcome.adversarial},
    )
    done = [_finding(attack, outcome) for attack in plan.attacks]
    left_out = [_about(attack, "attack", reason) for attack, reason in plan.skipped]
    return (whole, *done, *left_out, *_corrupted(outcome, standing, model))


def _labels(standing: Standing) -> str:
    """Say where the right answers come from."""
    own = int((~standing.labelled).sum())
    return f"the model's own answers for {own} of {len(standing)}" if own else "given"


def _plan(plan: AttackPlan) -> str:
    """Return a plan's name, and which of its attacks could not be tried."""
    if not plan.name:
        return "the user's own"
    missing = ", ".join(attack.about.title for attack, _ in plan.skipped)
    return f"{plan.name}, without {missing}" if missing else plan.name


def _limits(standing: Standing, plan: AttackPlan) -> str:
    figure = "the true figure is at most this one" if plan.wanted is None else "more images may be turned into it"
    if lost := int(standing.unconfirmed().sum()):
        figure += f", but for the {lost} images that fell to something that was not confirmed"
    return (
        f"Attacks find failures, they prove no robustness: {figure}. It is about these images, this norm and these "
        "attacks."
    )


def _targeted(outcome: Outcome, model: Model) -> tuple[str, ...]:
    """Say what a run toward one class leaves open."""
    wanted = outcome.plan.wanted
    if wanted is None:
        return ()
    own = sum(row["right"] and not row["attacked"] for row in outcome.rows())
    return (
        f"only answers {model.answers[wanted]!r} were looked for: nothing is said of other wrong ones; {own} of "
        f"{outcome.images} images are of that class, were not attacked, and count as standing",
    )


def _unconfirmed(outcome: Outcome, standing: Standing) -> tuple[str, ...]:
    """List claims that did not survive being looked at again."""
    lost = [row for row in outcome.rows() if row.get("confirmed") is False]
    if not lost:
        return ()
    shown = "; ".join(f"{row['id']}: {row['reason']}" for row in lost[:LISTED])
    said = f"{len(lost)} claimed successes did not survive, and count neither as success nor as standing: {shown}"
    if not outcome.plan.epsilons:
        return (said,)
    name, epsilon = list(outcome.plan.epsilons.items())[-1]
    above = standing.share(standing.stands(epsilon) | standing.unconfirmed(), "").value or 0.0
    return (f"{said}. If they stand, robust accuracy at {name} is {100 * above:.2f} %",)


def _finding(attack: Attack, outcome: Outcome) -> Finding:
    own = [tally for tally in outcome.tallies if tally["attack"] == attack.about.name]
    return _about(attack, "attack").model_copy(
        update={
            "status": "ok",
            "values": tallied(attack, outcome.tallies, outcome.images),
            "seconds": sum(tally["seconds"] for tally in own),
        }
    )


def _corrupted(outcome: Outcome, standing: Standing, model: Model) -> Iterator[Finding]:
    """Yield what each corruption does to accuracy, over its severities."""
    columns: dict[str, list[bool]] = {}
    for row in outcome.rows():
        for name, right in row.get("corrupted", {}).items():
            columns.setdefault(name, []).append(right)
    groups: dict[str, list[tuple[Corruption, str]]] = {}
    for one, reason in outcome.plan.corruptions:
        groups.setdefault(one.about.name, []).append((one, reason))
    for name, entries in groups.items():
        reasons = [reason for _, reason in entries if reason]
        finding = _about(entries[0][0], "corruption", reasons[0] if reasons else "")
        if reasons:
            yield finding
            continue
        shares = {
            f"accuracy at severity {one.severity}": standing.share(
                np.array(columns[f"{name} {one.severity}"], dtype=bool), "share of all images"
            )
            for one, _ in entries
        }
        strengths = {
            f"{key} at severity {one.severity}": value
            for one, _ in entries
            for key, value in one.chosen(model.input).items()
            if key != "severity"
        }
        yield finding.model_copy(update={"status": "ok", "values": shares, "parameters": strengths})


def _about(attack: Attack | Corruption, family: str, reason: str = "") -> Finding:
    about = attack.about
    return Finding(
        id=about.name,
        family=family,
        method=about.name,
        title=about.title,
        description=about.summary,
        limits=about.limits,
        source=about.source,
        kind=about.kind.value,
        input=None,
        status="skipped",
        reason=reason,
        parameters=attack.model_dump(mode="json"),
    )
