"""The table of hostile files: a fault is seen."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.hostile import BEGIN, page, row, table, total
from tests.hostile.base import MARKER, Case


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
    assert (
        page(f"words\n{BEGIN}an older table", {"rows": [found], "total": total([found])}) == f"words\n{BEGIN}{shown}\n"
    )
    missing = row(Case("any", "is not there", lambda _: None, "a GGUF file"))
    assert missing["faults"] == ["exit code 2", "another reason"]
