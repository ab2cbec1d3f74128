"""The renderings of an audit: the same verdicts everywhere, hostile names as text, made again without torch."""

from __future__ import annotations

import csv
import io
import re
import subprocess
import sys
from html import unescape
from pathlib import Path

import pytest
from junitparser import Error, Failure, JUnitXml, Skipped

from tests.house.test_import import BLOCK
from tests.reports.audits import audited
from tests.reports.test_page import HOSTILE, Checker
from xai.reports.html.page import render
from xai.reports.junit import junit
from xai.reports.renderings import RENDERINGS, renderings
from xai.reports.run import Run
from xai.reports.sheets import cell, samples_csv, trace_csv
from xai.reports.summary import plain, summary_md

WANTED = {
    "ACC": "holds",
    "ROB": "violated",
    "ECE": "not decided",
    "OOD": "not decided",
    "FAST": "holds",
    "SAME": "holds",
}


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return audited(tmp_path)


def table(content: bytes) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(content.decode())))


def words(html: str) -> str:
    return re.sub(r"\s+", " ", unescape(re.sub("<[^>]*>", " ", html)))


def test_the_example_has_every_verdict(run: Run) -> None:
    assert run.record.audit is not None
    assert {one.id: one.verdict for one in run.record.audit.requirements} == WANTED


def test_a_public_parser_reads_the_verdicts(run: Run, tmp_path: Path) -> None:
    (tmp_path / "junit.xml").write_bytes(junit(run))
    suites = JUnitXml.fromfile(str(tmp_path / "junit.xml"))
    assert (suites.tests, suites.failures, suites.errors) == (6, 1, 1)
    (suite,) = suites
    assert (suite.tests, suite.failures, suite.errors, suite.skipped) == (6, 1, 1, 1)
    outcomes = {case.name.partition(":")[0]: [type(one) for one in case.result] for case in suite}
    assert outcomes == {"ACC": [], "ROB": [Failure], "ECE": [Error], "OOD": [Skipped], "FAST": [], "SAME": []}
    failure = next(one for case in suite for one in case.result if isinstance(one, Failure))
    assert failure.message.startswith("violated: robust_accuracy(standard, 2/255) is 66.50")
    assert HOSTILE in failure.text
    properties = {one.name: one.value for one in suite.properties()}
    assert properties["verdict"] == "violated"
    assert run.record.audit is not None
    assert properties["policy sha256"] == run.record.audit.policy.digest


def test_signs_that_xml_cannot_hold_are_replaced(run: Run) -> None:
    model = run.record.model.model_copy(update={"name": "a\x00b\x1b\ud800\ufffe"})
    content = junit(Run(run.record.model_copy(update={"model": model}), run.store))
    assert "audit of a\ufffdb" in next(iter(JUnitXml.fromstring(content))).name


def test_the_page_tells_what_is_violated_first(run: Run) -> None:
    html = render(run).html
    assert Checker(html).stack == []
    top = words(html[: html.index("</header>")])
    assert "✗ Violated Of 3 requirements that must hold, 1 is violated and 1 is not decided." in top
    places = [
        top.index(word) for word in ("What is violated", "ROB", "What is not decided", "ECE", "OOD", "What was not")
    ]
    assert places == sorted(places)
    assert "ACC" not in top
    assert "The ood was skipped: no outlying data were named" in top
    assert run.record.audit is not None
    assert run.record.audit.policy.digest in top


def test_every_requirement_links_to_the_finding_that_it_rests_on(run: Run) -> None:
    html = render(run).html
    ids = [str(attrs["id"]) for _, attrs in Checker(html).tags if "id" in attrs]
    assert len(ids) == len(set(ids))
    links = {str(attrs["href"])[1:] for tag, attrs in Checker(html).tags if tag == "a" and str(attrs["href"])[0] == "#"}
    assert links <= set(ids)
    panels = re.findall(r'<article class="panel requirement.*?</article>', html, re.DOTALL)
    assert [re.search('id="requirement-(.*?)"', one)[1] for one in panels] == [  # type: ignore[index]
        "ROB", "ECE", "OOD", "ACC", "FAST", "SAME",
    ]  # fmt: skip
    assert '<a href="#finding-1">The robustness</a> (robust accuracy at 2/255); heuristic' in panels[0]
    assert "There is no evidence." in panels[2]
    assert re.search(r'<article class="panel ok wide" id="finding-1">\s*<header><h3>The robustness', html)


def test_names_from_outside_are_text_on_the_page(run: Run) -> None:
    checker = Checker(render(run).html)
    assert "script" not in [tag for tag, _ in checker.tags]
    assert not [attrs for _, attrs in checker.tags if any(name.startswith("on") or name == "style" for name in attrs)]


def test_no_rendering_says_compliant(run: Run) -> None:
    for content in (render(run).html.encode(), *renderings(run).values()):
        assert b"complian" not in content.lower()
        assert b"certified safe" not in content.lower()


def test_the_summary_means_nothing_to_markdown_but_its_own_tables(run: Run) -> None:
    text = summary_md(run).decode()
    lines = text.splitlines()
    assert lines[0].startswith("# ✗ Violated: ")
    assert "<script" not in text
    rows = [line for line in lines if line.startswith(("| ✓", "| ✗", "| ?"))]
    assert [line.split("|")[2].strip() for line in rows] == ["ROB", "ECE", "OOD", "ACC", "FAST", "SAME"]
    assert all(len(re.findall(r"(?<!\\)\|", line)) == 6 for line in rows)
    assert plain("a\n# b [x](y) `c` <d>") == r"a \# b \[x\]\(y\) \`c\` &lt;d&gt;"


def test_a_row_an_image_with_what_each_analysis_says(run: Run) -> None:
    rows = table(samples_csv(run))
    assert len(rows) == 200
    assert rows[0]["id"] == "image-0"
    assert rows[3]["robustness: right"] == "False"
    assert rows[199]["robustness: distance"] == "0.5"
    assert rows[0]["robustness: corrupted.blur 3"] == "True"
    assert rows[1]["group"].startswith("'=cmd|"), "a spreadsheet would compute it"


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@x", "\t=1", "\r=1"])
def test_texts_that_a_spreadsheet_computes_are_escaped(text: str) -> None:
    assert str(cell(text)).startswith("'")
    assert cell(-1.5) == -1.5


def test_without_standards_the_trace_is_empty(run: Run) -> None:
    assert table(trace_csv(run)) == []


def test_all_is_made_again_without_torch_and_the_same(run: Run, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    run.save(folder)
    names = [*RENDERINGS, "report.html"]
    before = {name: (folder / name).read_bytes() for name in names}
    for name in names:
        (folder / name).unlink()
    code = BLOCK + f"from xai.cli.main import run; sys.exit(run(['report', {str(folder)!r}]))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert {name: (folder / name).read_bytes() for name in names} == before
    run.save(folder, overwrite=True)
