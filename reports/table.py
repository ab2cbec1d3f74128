"""Findings as rows of a table: for data frames, and whatever else wants columns."""

from __future__ import annotations

from xai.reports.evidence import Evidence
from xai.reports.records import Finding, InputRecord, Scalar


def rows(run: Evidence) -> list[dict[str, Scalar]]:
    """Return a row a finding: what it is about, its values, and what each measure says of it.

    A value's column has its name; a measure's columns are "<measure>" (for, against, neither; None if it did not
    answer) and "<measure>: <value>".
    """
    inputs = {record.id: record for record in run.record.inputs}
    return [_row(finding, inputs.get(finding.input or "")) for finding in run.findings]


def _row(finding: Finding, record: InputRecord | None) -> dict[str, Scalar]:
    first = record.predictions[0] if record else None
    row: dict[str, Scalar] = {
        "input": finding.input,
        "predicted": first.name if first else None,
        "probability": first.probability if first else None,
        "method": finding.method,
        "target": finding.target.name if finding.target else None,
        "status": finding.status,
        "reason": finding.reason,
        "seconds": finding.seconds,
    }
    row |= {name: value.value for name, value in finding.values.items()}
    for trust in finding.trust:
        row[trust.measure] = trust.speaks if trust.status == "ok" else None
        row |= {f"{trust.measure}: {name}": value.value for name, value in trust.values.items()}
    return row
