"""Requirements as JUnit XML, which continuous integration reads: a test suite a run, a test case a requirement.

JUnit knows no "not decided". What must hold and is not decided is an error, so that no gate passes over it; what should
hold is skipped with the reason; what may hold never fails a build.
"""

from __future__ import annotations

from xml.etree.ElementTree import Element, SubElement, tostring

from xai.reports.audit import overall
from xai.reports.evidence import Evidence
from xai.reports.records import AuditRecord, RequirementRecord, RunRecord
from xai.text import visible

_OUTCOME = {
    ("must", "violated"): "failure",
    ("must", "not decided"): "error",
    ("should", "violated"): "failure",
    ("should", "not decided"): "skipped",
    ("may", "violated"): "skipped",
    ("may", "not decided"): "skipped",
}


def junit(run: Evidence) -> bytes:
    """Return the XML of a run with an audit."""
    record, audit = run.record, run.record.audit
    assert audit is not None
    outcomes = [_OUTCOME.get((one.severity, one.verdict), "") for one in audit.requirements]
    totals = {
        "tests": str(len(outcomes)),
        "failures": str(outcomes.count("failure")),
        "errors": str(outcomes.count("error")),
        "skipped": str(outcomes.count("skipped")),
        "time": f"{record.seconds:.3f}",
    }
    root = Element("testsuites", {"name": "xai audit", **{key: totals[key] for key in totals if key != "skipped"}})
    when = record.created.partition("+")[0]
    suite = SubElement(
        root, "testsuite", {"name": _clean(f"audit of {record.model.name}"), **totals, "timestamp": when}
    )
    properties = SubElement(suite, "properties")
    for name, value in _facts(record, audit).items():
        SubElement(properties, "property", {"name": name, "value": _clean(value)})
    for one, outcome in zip(audit.requirements, outcomes, strict=True):
        _case(suite, one, outcome)
    text: str = tostring(root, encoding="unicode")
    return f'<?xml version="1.0" encoding="utf-8"?>\n{text}\n'.encode()


def _facts(record: RunRecord, audit: AuditRecord) -> dict[str, str]:
    return {
        "verdict": overall(audit),
        "policy": audit.policy.source,
        "policy sha256": audit.policy.digest,
        "policy read": audit.policy.read,
        "model sha256": record.model.digest or record.model.fingerprint,
        "xai": record.versions.get("xai", ""),
    }


def _case(suite: Element, one: RequirementRecord, outcome: str) -> None:
    case = SubElement(
        suite,
        "testcase",
        {"classname": f"audit.{one.severity}", "name": _clean(f"{one.id}: {one.demand}"), "time": "0"},
    )
    if outcome:
        told = SubElement(case, outcome, {"message": _clean(f"{one.verdict}: {one.sentence}")})
        if outcome != "skipped":
            told.set("type", f"{one.severity} {one.verdict}")
            told.text = _clean(one.text or one.demand)
    evidence = ", ".join(f"{source.finding}: {source.value}" for source in one.evidence) or "none"
    SubElement(case, "system-out").text = _clean(f"{one.sentence}\nevidence: {evidence}")


def _clean(text: str) -> str:
    """Return a text without the signs that XML cannot hold."""
    return visible(text)
