"""The minute's summary as Markdown: for a pull request, a mail, a wiki."""

from __future__ import annotations

import re
from collections.abc import Iterator

from xai.reports.audit import overall
from xai.reports.evidence import Evidence
from xai.reports.html.audit import MARKS, ORDER, counts, ranked, said, unassessed
from xai.reports.records import AuditRecord
from xai.reports.trace import STATUSES, by_status, trace
from xai.text import visible

_SIGNS = re.compile(r"([\\`*_{}\[\]()#+!|~-])")


def summary_md(run: Evidence) -> bytes:
    """Return the summary of a run with an audit."""
    audit = run.record.audit
    assert audit is not None
    return ("\n".join(_lines(run, audit)) + "\n").encode("utf-8")


def plain(text: str) -> str:
    """Return a text from outside in one line, none of whose signs mean anything to Markdown or HTML."""
    line = " ".join(visible(text).split())
    line = line.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return _SIGNS.sub(r"\\\1", line)


def _lines(run: Evidence, audit: AuditRecord) -> Iterator[str]:
    verdict = overall(audit)
    yield f"# {MARKS[verdict]} {verdict.capitalize()}: {plain(run.record.model.name)}"
    yield ""
    yield said(audit)
    yield ""
    yield "| | violated | not decided | holds |"
    yield "|---|---:|---:|---:|"
    for row in counts(audit):
        yield f"| {row['severity']} hold | {' | '.join(str(row[word]) for word in ORDER)} |"
    yield ""
    yield "## Requirements"
    yield ""
    yield "| | id | severity | requirement | what was measured |"
    yield "|---|---|---|---|---|"
    for one in ranked(audit.requirements):
        words = plain(one.text) + "<br>" if one.text else ""
        yield (
            f"| {MARKS[one.verdict]} {one.verdict} | {plain(one.id)} | {one.severity} | {words}{plain(one.demand)} | "
            f"{plain(one.sentence)} |"
        )
    yield ""
    yield "## What was not assessed"
    yield ""
    yield from [f"- {plain(line)}" for line in unassessed(run.findings)] or ["All that was asked for gave an answer."]
    yield ""
    rows = trace(run.record)
    if rows:
        found = by_status(rows)
        yield f"Clauses: {', '.join(f'{found[status]} {status}' for status in STATUSES)}."
        yield ""
    yield f"Policy {plain(audit.policy.source)}, read {audit.policy.read}, sha256 {audit.policy.digest}"
