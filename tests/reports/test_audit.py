"""The audit of a record: required before, decided after, and decided again from the record alone."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from tests.reports.findings import attacked, finding, whole
from xai.errors import UsageError
from xai.reports.audit import NOT_YET, begin, exit_code, overall, reevaluate, settle
from xai.reports.policy.reading import read_policy
from xai.reports.records import AuditRecord, Finding, RunRecord, Value

POLICY = """\
model: {source: net.pt, intended_use: sorting shapes}
data: {test: images/}
requirements:
  - {id: ACC, text: It is right., require: accuracy >= 80 %, clauses: [own 1]}
  - {id: ROB, require: "robust_accuracy(standard, 1/255) >= 50 %"}
  - {id: ECE, require: ece <= 0.05, severity: should}
"""
FOUND = (
    attacked({"1/255": 20}),
    finding("calibration", {"ece": Value(value=0.04, n=200, interval=(0.02, 0.07))}),
)


def audit(tmp_path: Path, text: str = POLICY) -> AuditRecord:
    path = tmp_path / "audit.yaml"
    path.write_text(text, newline="")
    return begin(read_policy(path), now=datetime(2026, 1, 1, tzinfo=UTC))


def test_before_the_first_analysis_all_is_required_and_nothing_decided(tmp_path: Path) -> None:
    record = audit(tmp_path)
    assert record.policy.read == "2026-01-01T00:00:00+00:00"
    assert record.policy.text == POLICY
    assert [one.demand for one in record.requirements] == [
        "accuracy >= 80 % with 95 % confidence",
        "robust_accuracy(standard, 1/255) >= 50 % with 95 % confidence",
        "ece <= 0.05 with 95 % confidence",
    ]
    assert {one.verdict for one in record.requirements} == {"not decided"}
    assert {one.reason for one in record.requirements} == {NOT_YET}
    assert overall(record) == "not decided"


def test_settled_requirements_carry_verdict_numbers_and_evidence(tmp_path: Path) -> None:
    accuracy, robust, error = settle(audit(tmp_path), FOUND).requirements
    assert [one.verdict for one in (accuracy, robust, error)] == ["holds", "violated", "not decided"]
    assert accuracy.estimate == 0.9
    assert accuracy.interval is not None
    assert accuracy.interval[0] > 0.8
    assert [(one.finding, one.value) for one in robust.evidence] == [("robustness", "robust accuracy at 1/255")]
    assert (robust.n, robust.kind) == (200, "heuristic")
    assert error.needed is None


@pytest.mark.parametrize(
    ("findings", "wanted", "codes"),
    [
        (FOUND, "violated", (1, 1, 1)),
        ((attacked({"1/255": 190}), FOUND[1]), "holds", (0, 5, 1)),
        (
            (attacked({"1/255": 190}), finding("calibration", {"ece": Value(value=0.2, interval=(0.1, 0.3))})),
            "holds",
            (0, 1, 1),
        ),
        ((FOUND[1],), "not decided", (5, 5, 1)),
        (
            (attacked({"1/255": 190}), finding("calibration", {"ece": Value(value=0.0, interval=(0.0, 0.0))})),
            "holds",
            (0, 0, 0),
        ),
    ],
)
def test_the_gate_opens_where_what_it_looks_at_holds(
    findings: tuple[Finding, ...], wanted: str, codes: tuple[int, ...], tmp_path: Path
) -> None:
    settled = settle(audit(tmp_path), findings)
    assert overall(settled) == wanted
    assert tuple(exit_code(settled, word) for word in ("must", "should", "undecided")) == codes  # type: ignore[arg-type]


def test_a_run_has_passed_where_all_that_must_hold_does(tmp_path: Path) -> None:
    good = (attacked({"1/255": 190}), FOUND[1])
    assert whole(*good, audit=settle(audit(tmp_path), good)).passed
    assert not whole(*FOUND, audit=settle(audit(tmp_path), FOUND)).passed
    assert not whole(audit=settle(audit(tmp_path), ())).passed, "nothing passes since it was skipped"
    assert [one.id for one in whole(audit=audit(tmp_path)).requirements] == ["ACC", "ROB", "ECE"]
    assert whole().requirements == ()
    with pytest.raises(UsageError, match="nothing was required"):
        _ = whole().passed


def record_of(tmp_path: Path) -> RunRecord:
    return whole(*FOUND, audit=settle(audit(tmp_path), FOUND)).record


def test_a_record_is_decided_again_from_itself(tmp_path: Path) -> None:
    record = RunRecord.model_validate_json(record_of(tmp_path).model_dump_json())
    assert reevaluate(record) == []
    assert reevaluate(whole(*FOUND).record) == []


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("verdict", "holds"),
        ("estimate", 0.9),
        ("interval", (0.6, 0.9)),
        ("demand", "robust_accuracy(standard, 1/255) >= 5 % with 95 % confidence"),
        ("severity", "may"),
        ("n", 100),
        ("evidence", ()),
        ("sentence", "all is well"),
        ("clauses", ("own 2",)),
        ("text", "other words"),
    ],
)
def test_a_changed_requirement_is_found(field: str, value: object, tmp_path: Path) -> None:
    record = record_of(tmp_path)
    assert record.audit is not None
    changed = [*record.audit.requirements]
    changed[1] = changed[1].model_copy(update={field: value})
    other = record.model_copy(update={"audit": record.audit.model_copy(update={"requirements": tuple(changed)})})
    assert ("ROB", field) in [(one.requirement, one.field) for one in reevaluate(other)]


def test_a_requirement_that_was_left_out_or_put_in_is_found(tmp_path: Path) -> None:
    record = record_of(tmp_path)
    assert record.audit is not None
    first, *rest = record.audit.requirements
    for requirements, word in (
        (rest, "ACC"),
        ([first, first, *rest], ""),
        ([first.model_copy(update={"id": "X"}), *rest], "X"),
    ):
        other = record.model_copy(
            update={"audit": record.audit.model_copy(update={"requirements": tuple(requirements)})}
        )
        assert word in [one.requirement for one in reevaluate(other)]


def test_a_changed_finding_changes_the_verdict(tmp_path: Path) -> None:
    record = record_of(tmp_path)
    better = attacked({"1/255": 190})
    assert reevaluate(record.model_copy(update={"findings": (better, FOUND[1])}))[0].field == "verdict"
    policy = POLICY.replace("50 %", "1 %")
    assert record.audit is not None
    lowered = record.audit.policy.model_copy(update={"text": policy})
    found = reevaluate(record.model_copy(update={"audit": record.audit.model_copy(update={"policy": lowered})}))
    assert {one.field for one in found} >= {"demand", "verdict"}
    none = record.audit.policy.model_copy(update={"text": "x"})
    (only,) = reevaluate(record.model_copy(update={"audit": record.audit.model_copy(update={"policy": none})}))
    assert only.field == "policy"


def test_windows_line_ends_of_a_policy_are_kept(tmp_path: Path) -> None:
    record = audit(tmp_path, POLICY.replace("\n", "\r\n"))
    assert record.policy.text.count("\r\n") == POLICY.count("\n")


def test_where_nothing_must_hold_what_should_decides(tmp_path: Path) -> None:
    text = POLICY.replace("clauses: [own 1]}", "severity: may}").replace('50 %"}', '50 %", severity: should}')
    settled = settle(audit(tmp_path, text), FOUND)
    assert [one.severity for one in settled.requirements] == ["may", "should", "should"]
    assert overall(settled) == "violated"
    assert exit_code(settled, "must") == 0
    assert exit_code(settled, "should") == 1
