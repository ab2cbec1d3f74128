"""A golden audit: its record gives the same page and the same files again; pytest --update-golden writes it anew."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.reports.full_audit import CLASSES, answered, full_audit
from tests.reports.test_golden import differences, plain
from xai.reports.audit import reevaluate
from xai.reports.folder import open_run
from xai.reports.html.page import BUDGET, render
from xai.reports.renderings import renderings
from xai.reports.run import Run

GOLDEN = ROOT / "tests" / "golden_audit"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return full_audit(tmp_path_factory.mktemp("policy"), name="net <1>")


@pytest.fixture(scope="module")
def golden(request: pytest.FixtureRequest, made: Run) -> Path:
    if request.config.getoption("--update-golden"):
        shutil.rmtree(GOLDEN, ignore_errors=True)
        made.save(GOLDEN)
    return GOLDEN


def test_the_same_audit_gives_the_golden_record(golden: Path, made: Run) -> None:
    ours, theirs = (json.loads(run.record.model_dump_json()) for run in (made, open_run(golden)))
    assert differences(ours, theirs) == []


def test_the_golden_record_gives_the_golden_page(golden: Path) -> None:
    page = render(open_run(golden)).html
    assert plain(page) == plain((golden / "report.html").read_text(encoding="utf-8"))


def test_the_golden_record_gives_the_golden_files(golden: Path) -> None:
    made = renderings(open_run(golden))
    assert {name: content.decode() for name, content in made.items()} == {
        name: (golden / name).read_bytes().decode() for name in made
    }
    assert {"junit.xml", "trace.csv", "samples.csv", "summary.md"} <= set(made)


def test_the_golden_verdicts_follow_from_the_record_alone(golden: Path) -> None:
    assert reevaluate(open_run(golden).record) == []


def test_the_page_says_why_an_image_is_looked_at(golden: Path) -> None:
    assert "Looked at closely as one of those: wrong, least sure." in render(open_run(golden)).html


def test_a_page_of_ten_thousand_images_stays_within_its_budget(tmp_path: Path) -> None:
    names = (*CLASSES, *(f"class {i}" for i in range(997)))
    run = full_audit(tmp_path, answered(10_000, names))
    page = render(run)
    assert len(page.html.encode()) < BUDGET
    assert page.files == {}, "no picture had to move"
    small = render(full_audit(tmp_path, answered(1000, names)))
    assert len(page.html) < 1.1 * len(small.html), "it grows with classes, not with images"
