"""An audit in a notebook: verdict and requirements first, what was not assessed, hostile names as text."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.reports.audits import audited
from tests.reports.findings import finding, whole
from tests.reports.full_audit import full_audit
from tests.reports.test_page import HOSTILE, Checker
from tests.reports.test_renderings import WANTED, words
from xai.errors import UsageError
from xai.reports.html.notebook import FIRST, SHOWN, audit_summary
from xai.reports.run import Run


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return audited(tmp_path)


def test_verdict_and_requirements_are_told_the_worst_first(run: Run) -> None:
    html = words(run._repr_html_())
    assert html.index("Violated") < html.index("Requirements") < html.index("What was not assessed")
    places = [html.index(f" {one} ") for one in ("ROB", "ECE", "OOD", "ACC", "FAST", "SAME")]
    assert places == sorted(places)
    for one in run.requirements:
        assert words(one.sentence) in html
    assert sum(html.count(f"{mark} ") for mark in ("✗ violated", "? not decided", "✓ holds")) == len(WANTED)
    assert "The ood was skipped: no outlying data were named" in html


def test_names_from_outside_are_text_and_tags_are_closed(run: Run) -> None:
    html = run._repr_html_()
    assert HOSTILE not in html
    assert "&lt;script&gt;" in html
    checker = Checker(html)
    assert checker.stack == []
    assert not {"script", "img", "style", "link"} & {tag for tag, _ in checker.tags}


def test_a_long_audit_is_told_in_part(run: Run) -> None:
    audit = run.record.audit
    assert audit is not None
    many = tuple(audit.requirements[0].model_copy(update={"id": f"R{i}"}) for i in range(SHOWN + 3))
    lost = tuple(finding("ood", name=f"n{i}", status="failed", reason=f"reason {i}") for i in range(FIRST + 2))
    long = whole(*lost, audit=audit.model_copy(update={"requirements": many}))
    html = words(long._repr_html_())
    assert "and 3 more requirements" in html
    assert f"R{SHOWN}" not in html
    assert "and 2 more" in html


def test_a_run_without_an_audit_shows_its_findings(tmp_path: Path) -> None:
    plain = whole(finding("timing"))
    assert "1 finding" in plain._repr_html_()
    with pytest.raises(UsageError, match="nothing was required"):
        audit_summary(plain)
    assert "Requirements" in full_audit(tmp_path)._repr_html_()
    assert "The robustness" in full_audit(tmp_path)["robustness"]._repr_html_(), "one finding is shown as any other"
