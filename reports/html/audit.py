"""What an audit puts on the page: the minute's summary, each requirement with its numbers, and the trace matrix."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from jinja2 import Environment
from markupsafe import Markup

from xai.reports.artefacts import get_rows
from xai.reports.audit import chief, overall
from xai.reports.evidence import Evidence
from xai.reports.html.axes import ticks_between
from xai.reports.policy.decide import counted
from xai.reports.policy.expression import ExpressionError, read_demand
from xai.reports.records import AuditRecord, EvidenceRecord, Finding, RequirementRecord, Verdict
from xai.reports.trace import by_status, trace

MARKS: dict[Verdict, str] = {"holds": "✓", "violated": "✗", "not decided": "?"}
ORDER: tuple[Verdict, ...] = ("violated", "not decided", "holds")
WIDTH, SIDE, LINE = 420, 14, 34  # of an interval's drawing, in its own units
UNASSESSED = 20  # lines at most
NAMED = 6  # values of one finding at most
SOURCES = 12  # findings of one requirement at most


class Truth(NamedTuple):
    """What an input is, and whether that was answered."""

    name: str
    right: bool


class Parts(NamedTuple):
    """The parts of the page that an audit adds, none without one."""

    top: Markup = Markup()
    requirements: Markup = Markup()
    trace: Markup = Markup()


def audit_parts(run: Evidence, jinja: Environment) -> Parts:
    """Return what a run's audit puts on the page."""
    audit = run.record.audit
    if audit is None:
        return Parts()
    rows = trace(run.record)
    shared = {
        "audit": audit,
        "marks": MARKS,
        "anchors": {one.id: f"requirement-{one.id}" for one in audit.requirements},
    }
    top = jinja.get_template("audit_top.html").render(
        verdict=overall(audit),
        said=said(audit),
        counts=counts(audit),
        listed={verdict: _of(audit, verdict) for verdict in ORDER},
        unassessed=unassessed(run.findings),
        statuses=by_status(rows),
        **shared,
    )
    body = jinja.get_template("audit.html").render(
        requirements=[_shown(one, run) for one in ranked(audit.requirements)], **shared
    )
    matrix = jinja.get_template("trace.html").render(
        rows=rows, findings={finding.id: finding for finding in run.findings}, anchor=run.anchor, **shared
    )
    return Parts(Markup(top), Markup(body), Markup(matrix))  # rendered with autoescape on


def truths(run: Evidence) -> dict[str, Truth]:
    """Return what the inputs are, by id, as far as the rows of a finding tell; nothing without an audit."""
    wanted = {record.id for record in run.record.inputs} if run.record.audit else set()
    kept = [finding.artefacts["rows"] for finding in run.findings if wanted and "rows" in finding.artefacts]
    for artefact in kept:
        rows = (row for row in get_rows(run.store, artefact) if row.get("id") in wanted and row.get("labelled"))
        found = {row["id"]: Truth(str(row["class"]), bool(row["right"])) for row in rows if "class" in row}
        if found:
            return found
    return {}


def ranked(requirements: Iterable[RequirementRecord]) -> list[RequirementRecord]:
    """Return requirements as they are told: what must hold first, what is violated before what is not decided."""
    severities = ("must", "should", "may")
    return sorted(requirements, key=lambda one: (ORDER.index(one.verdict), severities.index(one.severity)))


def said(audit: AuditRecord) -> str:
    """Say in one sentence what came out."""
    told = chief(audit)
    found = Counter(one.verdict for one in told)
    noun = f"requirement{'' if len(told) == 1 else 's'} that {told[0].severity if told else 'must'} hold"
    parts = [f"{found[word]} {'is' if found[word] == 1 else 'are'} {word}" for word in ORDER[:2] if found[word]]
    if parts:
        return f"Of {len(told)} {noun}, {' and '.join(parts)}."
    return f"All {len(told)} {noun} do." if len(told) > 1 else f"The one {noun} does."


def counts(audit: AuditRecord) -> list[dict[str, Any]]:
    """Return for each severity that is used how many requirements came out how."""
    table: list[dict[str, Any]] = []
    for severity in ("must", "should", "may"):
        own = Counter(one.verdict for one in audit.requirements if one.severity == severity)
        told: dict[str, int] = {word: own[word] for word in ORDER}
        if own:
            table.append({"severity": severity, **told})
    return table


def unassessed(findings: Sequence[Finding]) -> list[str]:
    """Return what was asked for and not found out, each once, with its reason."""
    told = Counter(f"{one.title} {_WAS[one.status]}: {one.reason}" for one in findings if one.status != "ok")
    lines = [f"{line} ({count} times)" if count > 1 else line for line, count in told.items()]
    more = len(lines) - UNASSESSED
    return [*lines[:UNASSESSED], *([f"and {more} more"] if more > 0 else [])]


_WAS = {"skipped": "was skipped", "failed": "failed"}


def _of(audit: AuditRecord, verdict: Verdict) -> list[RequirementRecord]:
    return [one for one in ranked(audit.requirements) if one.verdict == verdict]


def _shown(one: RequirementRecord, run: Evidence) -> dict[str, Any]:
    """Return a requirement with its drawing and the findings that it rests on."""
    held = {finding.id: finding for finding in run.findings}
    evidence = [(source, held[source.finding]) for source in one.evidence if source.finding in held]
    sources = _sources(evidence, run)
    limits: dict[str, None] = dict.fromkeys(finding.limits for _, finding in evidence)
    return {
        "record": one,
        "drawing": _drawing(one, evidence),
        "evidence": sources[:SOURCES],
        "unnamed": len(sources[SOURCES:]),
        "limits": list(limits),
    }


def _sources(evidence: Sequence[tuple[EvidenceRecord, Finding]], run: Evidence) -> list[dict[str, Any]]:
    """Return each finding once, with the first names of the values that it gave and how many more there are."""
    named: dict[str, list[str]] = {}
    held = {finding.id: finding for _, finding in evidence}
    for source, _ in evidence:
        of = f"{source.measure}: " if source.measure not in ("", source.value) else ""
        named.setdefault(source.finding, []).append(of + source.value)
    return [
        {"finding": held[key], "anchor": run.anchor(held[key]), "names": names[:NAMED], "more": len(names[NAMED:])}
        for key, names in named.items()
    ]


def _drawing(one: RequirementRecord, evidence: Sequence[tuple[EvidenceRecord, Finding]]) -> dict[str, Any] | None:
    """Place interval, estimate and threshold on a line; None where there is nothing to draw."""
    try:
        demand = read_demand(one.demand)
        threshold = float(demand.threshold)
    except (ExpressionError, ValueError, TypeError):
        return None
    if one.interval is None or isinstance(one.estimate, bool | str | None):
        return None
    (low, high), middle = one.interval, float(one.estimate)
    least, most = min(low, middle, threshold), max(high, middle, threshold)
    pad = 0.15 * (most - least) or 0.05 * abs(most) or 0.05
    values = [finding.values.get(source.value) for source, finding in evidence if not source.measure]
    is_share = "%" in demand.written or any(value is not None and counted(value) is not None for value in values)
    start = max(0.0, least - pad) if is_share and least >= 0 else least - pad
    end = min(1.0, most + pad) if is_share and most <= 1 else most + pad

    def across(value: float) -> float:
        return round(SIDE + (value - start) / (end - start) * (WIDTH - 2 * SIDE), 1)

    at = across(threshold)
    return {
        "width": WIDTH,
        "line": LINE,
        "low": across(low),
        "high": across(high),
        "middle": across(middle),
        "threshold": at,
        "from": at if demand.upward else SIDE,
        "to": WIDTH - SIDE if demand.upward else at,
        "words": f"{demand.comparison} {demand.written}",
        "anchor": "start" if at < WIDTH / 2 else "end",
        "ticks": [
            {"at": across(tick), "text": f"{100 * tick:.4g} %" if is_share else f"{tick:.4g}"}
            for tick in ticks_between(start, end)
        ],
    }
