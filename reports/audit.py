"""What was required, decided over what was found: the part of a record that `xai audit` adds, and its re-evaluation."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Literal, NamedTuple

from xai.errors import RefusedFileError
from xai.reports.policy.decide import Decision, decide
from xai.reports.policy.expression import ExpressionError, read_demand
from xai.reports.policy.fields import Policy
from xai.reports.policy.reading import ReadPolicy, read_policy_text
from xai.reports.records import (
    AuditRecord,
    EvidenceRecord,
    Finding,
    PolicyRecord,
    ProfileRecord,
    PropertiesRecord,
    RequirementRecord,
    RunRecord,
    Severity,
    Verdict,
)

FailOn = Literal["must", "should", "undecided"]
VIOLATED, UNDECIDED = 1, 5  # exit codes
NOT_YET = "nothing has been measured yet"
KEPT = ("id", "text", "demand", "severity", "clauses")  # what the policy says of a requirement


class Difference(NamedTuple):
    """Where a recorded audit is not what its policy and findings give.

    Args:
        requirement: its id, "" for the policy itself.
        field: that differs.
        recorded: what the record says.
        found: what follows from policy and findings.
    """

    requirement: str
    field: str
    recorded: str
    found: str


def begin(
    read: ReadPolicy,
    profiles: Sequence[ProfileRecord] = (),
    properties: PropertiesRecord | None = None,
    *,
    now: datetime | None = None,
) -> AuditRecord:
    """Return the audit as it stands in the record before the first analysis: all is required and nothing decided.

    Args:
        read: the policy.
        profiles: the standards that it names.
        properties: the file of properties that it names.
        now: when it was read; default now.
    """
    when = (now or datetime.now(UTC)).isoformat(timespec="seconds")
    return AuditRecord(
        policy=PolicyRecord(source=str(read.source), digest=read.digest, read=when, text=read.text),
        properties=properties,
        profiles=tuple(profiles),
        requirements=tuple(_required(read.policy)),
    )


def settle(audit: AuditRecord, findings: Sequence[Finding]) -> AuditRecord:
    """Return the audit with every requirement decided over the findings; findings of a whole run decide anew."""
    return audit.model_copy(update={"requirements": tuple(_settled(one, findings) for one in audit.requirements)})


def overall(audit: AuditRecord) -> Verdict:
    """Return whether all of the chief requirements hold: violated if one is, not decided if one is not."""
    verdicts = {one.verdict for one in chief(audit)}
    if "violated" in verdicts:
        return "violated"
    return "not decided" if "not decided" in verdicts else "holds"


def chief(audit: AuditRecord) -> list[RequirementRecord]:
    """Return what must hold; where nothing must, what should; where nothing should, what may."""
    order: tuple[Severity, ...] = ("must", "should", "may")
    held = [[one for one in audit.requirements if one.severity == severity] for severity in order]
    return next(filter(None, held), [])


def exit_code(audit: AuditRecord, fail_on: FailOn = "must") -> int:
    """Return the exit code of a gate.

    Args:
        audit: settled.
        fail_on: "must": 1 if what must hold is violated, 5 if it is not decided. "should": the same of what should
            hold, too. "undecided": 1 for either.
    """
    looked: set[Severity] = {"must"} if fail_on == "must" else {"must", "should"}
    verdicts = {one.verdict for one in audit.requirements if one.severity in looked}
    if "violated" in verdicts or (fail_on == "undecided" and "not decided" in verdicts):
        return VIOLATED
    return UNDECIDED if "not decided" in verdicts else 0


def reevaluate(record: RunRecord) -> list[Difference]:
    """Return where a record's audit differs from what its own policy and findings give; nothing if there is none."""
    if record.audit is None:
        return []
    try:
        policy = read_policy_text(record.audit.policy.text)
    except RefusedFileError as error:
        return [Difference("", "policy", "a policy", str(error))]
    wanted = {one.id: one for one in _required(policy)}
    held = {one.id: one for one in record.audit.requirements}
    differences = [
        Difference(name, "requirement", "absent", wanted[name].demand) for name in wanted if name not in held
    ]
    named, kept = policy.properties, record.audit.properties
    if (named is None) != (kept is None):
        differences.append(Difference("", "properties", kept.source if kept else "absent", named or "none"))
    if len(held) < len(record.audit.requirements):
        differences.append(Difference("", "requirements", "an id stands twice", "each once"))
    for name, one in held.items():
        if name not in wanted:
            differences.append(Difference(name, "requirement", one.demand, "absent from the policy"))
            continue
        differences += _compared(one, wanted[name], KEPT)
        differences += _compared(one, _settled(wanted[name], record.findings), _DECIDED)
    return differences


def _required(policy: Policy) -> list[RequirementRecord]:
    demands = policy.demands()
    return [
        RequirementRecord(
            id=one.id,
            text=one.text,
            demand=str(demands[one.id]),
            severity=one.severity,
            clauses=one.clauses,
            verdict="not decided",
            sentence=NOT_YET,
            reason=NOT_YET,
        )
        for one in policy.requirements
    ]


def _settled(one: RequirementRecord, findings: Sequence[Finding]) -> RequirementRecord:
    """Return a requirement decided over the findings."""
    try:
        decision = decide(read_demand(one.demand), findings)
    except ExpressionError as error:  # the record was written by another version, or by hand
        decision = Decision(
            "not decided", f"{one.demand} cannot be read: {error}", reason=f"it cannot be read: {error}"
        )
    kinds = list(dict.fromkeys((source.trust or source.finding).kind for source in decision.sources))
    return one.model_copy(
        update={
            "verdict": decision.verdict,
            "sentence": decision.sentence,
            "reason": decision.reason,
            "kind": ", ".join(kinds),
            "estimate": decision.estimate,
            "interval": decision.interval,
            "n": decision.n,
            "needed": decision.needed,
            "evidence": tuple(
                EvidenceRecord(
                    finding=source.finding.id, value=source.name, measure=source.trust.measure if source.trust else ""
                )
                for source in decision.sources
            ),
        }
    )


_DECIDED = tuple(name for name in RequirementRecord.model_fields if name not in KEPT)


def _compared(recorded: RequirementRecord, found: RequirementRecord, names: Sequence[str]) -> list[Difference]:
    return [
        Difference(recorded.id, name, str(getattr(recorded, name)), str(getattr(found, name)))
        for name in names
        if not _same(getattr(recorded, name), getattr(found, name))
    ]


def _same(one: object, other: object) -> bool:
    """Compare; numbers may differ in their last digits, which another machine's library rounds elsewhere."""
    if isinstance(one, tuple) and isinstance(other, tuple):
        return len(one) == len(other) and all(map(_same, one, other))
    if isinstance(one, float) and isinstance(other, float):
        return abs(one - other) <= 1e-9 * max(1.0, abs(one), abs(other))
    return one == other
