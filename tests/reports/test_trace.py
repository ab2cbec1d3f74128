"""The trace matrix: a status says what is there, and never more."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import pytest

from tests.reports.audits import audited
from tests.reports.test_page import Checker
from xai.reports.html.page import render
from xai.reports.records import ClauseRecord, ProfileRecord
from xai.reports.run import Run
from xai.reports.sheets import trace_csv
from xai.reports.trace import Row, by_status, trace

PROFILE = ProfileRecord(
    name="own",
    title="=House <rules>",
    digest="0" * 64,
    clauses=(
        ClauseRecord(id="1", asks="It is right.", families=("robustness",)),
        ClauseRecord(id="2", asks="It withstands.", families=("robustness", "bounds")),
        ClauseRecord(id="3", asks="It is calibrated.", families=("calibration",)),
        ClauseRecord(id="4", asks="It knows.", families=("ood",)),
        ClauseRecord(id="5", asks="It is documented.", families=("record",)),
        ClauseRecord(id="6", asks="It is documented.", families=("record",), beyond="a signature"),
        ClauseRecord(id="7", asks="It is kept.", outside="it is about archives"),
        ClauseRecord(id="9", asks="It is told.", families=("robustness or bounds",)),
        ClauseRecord(id="10", asks="It is verified.", families=("robustness", "bounds or verification")),
        ClauseRecord(id="8", asks="It is verified.", families=("bounds",)),
    ),
)
WANTED = {
    "1": ("evidence attached", ""),
    "2": ("partial", "no finding of: bounds"),
    "3": ("partial", "no requirement serves it"),
    "4": ("not assessed", ""),
    "5": ("evidence attached", ""),
    "6": ("partial", "beyond this report: a signature"),
    "7": ("outside scope", "it is about archives"),
    "9": ("partial", "no requirement serves it"),
    "10": ("partial", "no requirement serves it; no finding of: bounds or verification"),
    "8": ("not assessed", ""),
}


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return audited(tmp_path, (PROFILE,))


def rows(run: Run) -> dict[str, Row]:
    return {row.clause: row for row in trace(run.record)}


def test_a_status_says_what_the_record_holds(run: Run) -> None:
    assert {name: (row.status, row.words) for name, row in rows(run).items()} == WANTED
    assert [one.id for one in rows(run)["2"].requirements] == ["ACC", "ROB"]
    assert rows(run)["1"].findings == ("robustness",)
    assert rows(run)["4"].findings == ("ood",), "the skipped finding is named"
    assert by_status(trace(run.record))["not assessed"] == 2
    assert by_status(trace(run.record))["total"] == 9


def test_a_violated_requirement_is_evidence_and_an_open_one_is_not(run: Run) -> None:
    audit = run.record.audit
    assert audit is not None
    open_ = tuple(one.model_copy(update={"verdict": "not decided", "evidence": ()}) for one in audit.requirements)
    other = run.record.model_copy(update={"audit": audit.model_copy(update={"requirements": open_})})
    assert {row.clause: row.words for row in trace(other)}["1"] == "not decided: ACC"
    none = other.model_copy(update={"findings": ()})
    assert {row.clause: row.status for row in trace(none)}["1"] == "not assessed"


def test_the_sheet_holds_the_matrix(run: Run) -> None:
    table = list(csv.DictReader(io.StringIO(trace_csv(run).decode())))
    assert [(row["clause"], row["requirement"]) for row in table] == [
        ("1", "ACC"), ("2", "ACC"), ("2", "ROB"), *((name, "") for name in ("3", "4", "5", "6", "7", "9", "10", "8"))
    ]  # fmt: skip
    assert {row["clause"]: (row["status"], row["words"]) for row in table} == WANTED
    assert table[2]["verdict"] == "violated"
    assert table[0]["standard"] == "'=House <rules>"
    assert table[5]["evidence"] == "record.json"


def test_the_page_shows_the_matrix_with_links(run: Run) -> None:
    html = render(run).html
    assert Checker(html).stack == []
    matrix = html[html.index('<section class="trace"') : html.index('<section class="model"')]
    assert matrix.count("<tr>") == 11
    assert '<a href="#requirement-ROB">ROB</a>' in matrix
    assert '<a href="#finding-1">The robustness</a>' in matrix
    assert '<a href="#finding-3">The ood</a> (skipped)' in matrix
    assert "2 of 9 clauses" in html[: html.index("</header>")]
