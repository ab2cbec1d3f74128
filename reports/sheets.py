"""Tables for spreadsheets: the trace matrix, and a row an image. Cells that a spreadsheet would compute are escaped."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from xai.reports.artefacts import ROWS, get_rows
from xai.reports.evidence import Evidence
from xai.reports.records import Finding, RequirementRecord
from xai.reports.trace import Row, trace
from xai.text import visible

_COMPUTED = ("=", "+", "-", "@", "\t", "\r")
SAMPLE = ("id", "source", "digest", "group", "label")  # what all rows about one image agree on
TRACE = (
    "standard",
    "clause",
    "asks",
    "requirement",
    "severity",
    "demand",
    "verdict",
    "analyses",
    "evidence",
    "status",
    "words",
)
ROWS_OF = "rows"  # the artefact with a row an image


def trace_csv(run: Evidence) -> bytes:
    """Return the trace matrix: a row for each clause and each requirement that serves it."""
    titles = {profile.name: profile.title for profile in run.record.audit.profiles} if run.record.audit else {}
    names = {finding.id: finding.title for finding in run.findings}
    rows = trace(run.record)
    return _csv(TRACE, (_line(row, one, titles, names) for row in rows for one in row.requirements or (None,)))


def _line(
    row: Row, one: RequirementRecord | None, titles: Mapping[str, str], names: Mapping[str, str]
) -> dict[str, object]:
    """Return a clause and one requirement that serves it, or none."""
    evidence = "; ".join([*row.findings, *(["record.json"] if row.record else [])])
    return {
        "standard": titles[row.profile],
        "clause": row.clause,
        "asks": row.asks,
        **{name: getattr(one, name) if one else "" for name in ("severity", "demand", "verdict")},
        "requirement": one.id if one else "",
        "analyses": "; ".join(names[finding] for finding in row.findings),
        "evidence": f"{evidence}; and {row.more} more" if row.more else evidence,
        "status": row.status,
        "words": row.words,
    }


def samples_csv(run: Evidence) -> bytes:
    """Return a row an image, with what each analysis that has such rows says of it, in columns "<finding>: <name>"."""
    images: dict[str, dict[str, Any]] = {}
    columns: dict[str, None] = {}
    for finding in per_image(run.findings):
        for row in get_rows(run.store, finding.artefacts[ROWS_OF]):
            image = images.setdefault(str(row.get("id")), {})
            for name, value in flat(row):
                key = name if name in SAMPLE else f"{finding.id}: {name}"
                if name not in SAMPLE:
                    columns[key] = None
                image.setdefault(key, value)
    return _csv([*SAMPLE, *columns], images.values())


def per_image(findings: Sequence[Finding]) -> list[Finding]:
    """Return the findings that keep a row an image."""
    return [
        finding
        for finding in findings
        if finding.status == "ok" and ROWS_OF in finding.artefacts and finding.artefacts[ROWS_OF].dtype == ROWS
    ]


def flat(row: Mapping[str, Any], start: str = "") -> Iterator[tuple[str, Any]]:
    """Yield a row's values by name; of what lies within, by "<name>.<inner name>"; lists are left out."""
    for name, value in row.items():
        if isinstance(value, dict):
            yield from flat(value, f"{start}{name}.")
        elif not isinstance(value, list):
            yield f"{start}{name}", value


def cell(value: object) -> object:
    """Return what a cell holds: texts without control signs, and without a beginning that would be computed."""
    if not isinstance(value, str):
        return "" if value is None else value
    text = visible(value)
    return f"'{text}" if value.startswith(_COMPUTED) else text


def _csv(names: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> bytes:
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow([cell(name) for name in names])
    writer.writerows([cell(row.get(name)) for name in names] for row in rows)
    return file.getvalue().encode("utf-8")
