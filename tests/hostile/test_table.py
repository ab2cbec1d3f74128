"""The table of hostile files: it holds each of them, what the page shows is what was measured, and a fault is seen."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks.hostile import PAGE, page, row, table, total
from tests.conftest import ROOT
from tests.hostile import CASES
from tests.hostile.base import MARKER, Case

FIGURES = json.loads((ROOT / "benchmarks" / "results" / "hostile-cpu.json").read_text())


def test_every_hostile_file_was_measured_and_none_showed_a_fault() -> None:
    assert [(each["format"], each["attack"]) for each in FIGURES["rows"]] == [
        (case.form, case.attack) for case in CASES
    ], "run python -m benchmarks hostile"
    assert FIGURES["total"] == total(FIGURES["rows"])
    assert FIGURES["total"]["with a fault"] == 0
    assert len({str(case) for case in CASES}) == len(CASES)


def test_the_page_shows_what_was_measured() -> None:
    assert page(PAGE.read_text(), FIGURES) == PAGE.read_text(), "run python -m benchmarks.hostile"


def unsafe(path: Path) -> None:
    """Write a file that is fine, and the marker that its opening might have left."""
    path.write_bytes(b"GGUF" + bytes(99))
    path.with_name(MARKER).touch()


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the limit and the peak of memory are Linux's")
def test_a_fault_is_named_in_its_row() -> None:
    found = row(Case("any", "left | a marker", unsafe, "a reason that is not given"))
    assert found["faults"] == ["the file left a marker", "another reason"]
    shown = table({"rows": [found], "total": total([found])})
    assert "| any | left \\| a marker | 4 | there | 1 |" in shown
    assert "**FAULT: the file left a marker; another reason.** model model.pt is a GGUF file" in shown
    assert "**1 files, 1 with a fault**" in shown
    missing = row(Case("any", "is not there", lambda _: None, "a GGUF file"))
    assert missing["faults"] == ["exit code 2", "another reason"]
