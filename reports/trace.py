"""The trace matrix: from a standard's clause to requirement, analysis, evidence and status, read off a record.

A status says what the record holds, never that a duty is met: `evidence attached` where every requirement that serves
the clause is decided, all the families of findings that the profile names are there, and the clause asks nothing
beyond; `partial` where something of it is there; `not assessed` where nothing is; `outside scope` where no report of
this kind could serve it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Literal, NamedTuple

from xai.reports.records import ClauseRecord, Finding, ProfileRecord, RequirementRecord, RunRecord

RECORD = "record"  # the family that stands for the record itself
OR = " or "  # between families of which each is evidence by itself
LISTED = 6  # findings of a clause that are named
Status = Literal["evidence attached", "partial", "not assessed", "outside scope"]
STATUSES: tuple[Status, ...] = ("evidence attached", "partial", "not assessed", "outside scope")


class Row(NamedTuple):
    """One clause.

    Args:
        profile: the standard's name.
        clause: its number.
        asks: what it asks.
        requirements: that serve it.
        findings: ids of those that are evidence for it, the first ones.
        more: how many others there are.
        record: whether the record itself is evidence.
        status: what the record holds for it.
        words: what is missing, or why it is out of scope.
    """

    profile: str
    clause: str
    asks: str
    requirements: tuple[RequirementRecord, ...]
    findings: tuple[str, ...]
    more: int
    record: bool
    status: Status
    words: str


def trace(record: RunRecord) -> list[Row]:
    """Return a row a clause of every standard that the policy names."""
    audit = record.audit
    if audit is None:
        return []
    rows = []
    for profile in audit.profiles:
        for clause in profile.clauses:
            serving = [one for one in audit.requirements if serves(one.clauses, profile, clause)]
            rows.append(_row(profile, clause, serving, record.findings))
    return rows


def serves(clauses: Iterable[str], profile: ProfileRecord, clause: ClauseRecord) -> bool:
    """Say whether a clause is among those that are named "<profile> <clause>"."""
    return f"{profile.name} {clause.id}" in clauses


def by_status(rows: Sequence[Row]) -> dict[str, int]:
    """Return how many clauses have which status, and how many there are within scope."""
    found = Counter(row.status for row in rows)
    return {**{status: found[status] for status in STATUSES}, "total": len(rows) - found["outside scope"]}


def _row(
    profile: ProfileRecord, clause: ClauseRecord, serving: Sequence[RequirementRecord], findings: Sequence[Finding]
) -> Row:
    used = {source.finding for one in serving for source in one.evidence}
    named = {family for one in clause.families for family in one.split(OR)}
    told = [finding for finding in findings if finding.id in used or finding.family in named]
    done = {finding.family for finding in told if finding.status == "ok"}
    told.sort(key=lambda finding: (finding.id not in used, finding.status != "ok"))
    status, words = _status(clause, serving, done)
    return Row(
        profile=profile.name,
        clause=clause.id,
        asks=clause.asks,
        requirements=tuple(serving),
        findings=tuple(finding.id for finding in told[:LISTED]),
        more=max(0, len(told) - LISTED),
        record=RECORD in clause.families,
        status=status,
        words=words,
    )


def _status(clause: ClauseRecord, serving: Sequence[RequirementRecord], done: set[str]) -> tuple[Status, str]:
    if clause.outside:
        return "outside scope", clause.outside
    missing = [one for one in clause.families if one != RECORD and done.isdisjoint(one.split(OR))]
    open_ = [one.id for one in serving if one.verdict == "not decided"]
    decided = len(serving) > len(open_)
    if not done and not decided and RECORD not in clause.families:
        return "not assessed", ""
    documents = set(clause.families) == {RECORD}
    lacks = [
        "no requirement serves it" if not serving and not documents else "",
        f"not decided: {', '.join(open_)}" if open_ else "",
        f"no finding of: {', '.join(missing)}" if missing else "",
        f"beyond this report: {clause.beyond}" if clause.beyond else "",
    ]
    words = "; ".join(filter(None, lacks))
    return ("partial", words) if words else ("evidence attached", "")
