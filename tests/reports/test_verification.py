"""The report of what is verified: true numbers in every text, both curves meet the table, hostile names as text."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest

import xai
from tests.engine.test_verify import Folded, images, loaded, margins
from tests.reports.test_page import HOSTILE, Checker
from tests.reports.test_robustness import panels, words
from tests.robustness.victims import Scores
from xai.reports.artefacts import get_rows
from xai.reports.html.page import render, share
from xai.reports.html.sections.verification import Times
from xai.reports.run import Run


@pytest.fixture(scope="module")
def run() -> Run:
    model = loaded(Scores(), classes=(HOSTILE, "b", "c", "d", "e"), name=HOSTILE)
    x, y = images(model)
    eps = float(margins(model, x, "linf")[2:].sort().values[4:6].mean())
    return xai.verify(model, (x, y), eps=eps, timeout=5, examples=1)


@pytest.fixture(scope="module")
def html(run: Run) -> str:
    return render(run).html


def size(run: Run) -> str:
    return str(run.findings[0].parameters["epsilons"])


def test_names_from_outside_are_text_and_nothing_runs(html: str) -> None:
    checker = Checker(html)
    assert checker.stack == []
    assert "script" not in [tag for tag, _ in checker.tags]
    assert not [attrs for _, attrs in checker.tags if any(name.startswith("on") or name == "style" for name in attrs)]


def test_the_top_gives_both_sides_of_the_truth(run: Run, html: str) -> None:
    told = re.findall("<li><b>(.*?)</b> (.*?)</li>", html[: html.index("</header>")])
    values = run.findings[0].values
    sides = ("verified accuracy at ", "accuracy under attack at ", "not decided at ")
    assert [value for value, _ in told] == [share(values[side + size(run)].value) for side in sides]  # type: ignore[arg-type]  # shares are floats


def test_every_image_has_its_verdict_in_words_those_to_look_at_first(run: Run, html: str) -> None:
    (panel,) = panels(html, "Verified accuracy")
    body = panel[panel.index('class="tiles numbers verdicts"') :]
    told = [words(row).split() for row in re.findall('<tr><th scope=row>.*?</tr>|<tr><th scope="row">.*?</tr>', body)]
    rows = {row["id"]: row for row in get_rows(run.store, run.findings[0].artefacts["rows"])}
    verdicts = []
    for line in told[: len(rows)]:
        row = rows[line[0]]
        verdict = row["verdict"] or "wrong"
        verdicts.append(verdict)
        assert verdict in " ".join(line)
        assert {"holds": "✓", "violated": "✗", "wrong": "✗"}[verdict] in line
    assert len(verdicts) == 12
    rank = ["violated", "not decided", "wrong", "holds"]
    assert verdicts == sorted(verdicts, key=rank.index)
    assert "the right answer is" in body
    assert "becomes " in body


def test_the_curves_end_where_the_table_says(run: Run, html: str) -> None:
    (panel,) = panels(html, "Verified accuracy")
    values, times = run.findings[0].values, run.array(run.findings[0], "times")
    axes = Times(times)
    above, below = re.findall(
        '<polyline[^>]* points="([^"]*)"', panel.replace("<polyline points", "<polyline x points")
    )
    for points, side in ((above, "accuracy under attack at "), (below, "verified accuracy at ")):
        end = float(points.split()[-1].split(",")[1])
        assert end == pytest.approx(axes.down(float(values[side + size(run)].value or 0)), abs=0.15)  # drawn to a tenth
    label = re.search('role="img" aria-label="([^"]*)"', panel)
    assert label is not None
    assert f"{share(values['verified accuracy at ' + size(run)].value)} in the end" in label[1]  # type: ignore[arg-type]  # a share is a float


def test_a_time_stands_between_the_powers_of_ten_around_it() -> None:
    axes = Times(np.array([0.02, 5.0, 30.0]))
    assert axes.ticks == pytest.approx([0.01, 0.1, 1, 10, 100])
    places = [axes.across(tick) for tick in axes.ticks]
    assert np.diff(places) == pytest.approx(np.diff(places)[0], abs=0.11)
    assert axes.across(10**0.5) == pytest.approx((places[2] + places[3]) / 2, abs=0.11)
    assert axes.across(0.0) == places[0]
    flat = Times(np.array([1.0]))
    assert flat.ticks[0] < flat.ticks[-1]


def test_a_counterexample_is_drawn_with_what_was_added(html: str, run: Run) -> None:
    (panel,) = panels(html, "What changed")
    assert panel.count("<img") == 4
    assert "Colours from" in panel
    finding = next(one for one in run.findings if one.family == "change")
    assert "instead of" in words(panel)
    assert str(finding.values["second answer"].value)[0] in "bcde<"


def test_properties_are_one_table_with_each_by_itself(tmp_path: Path) -> None:
    model = loaded(Folded(), shape=(3,), range=(0.0, 1.0), output="values", classes=[HOSTILE, "angle"])
    path = tmp_path / "p.yaml"
    path.write_text(
        f"properties:\n  - name: {json.dumps(HOSTILE)}\n    output: angle\n    between: [-1000, 1e3]\n    box: [0, 1]\n"
        "  - output: angle\n    between: [-1000, -999]\n    box: [0, 1]\n"
    )
    run = xai.verify(model, properties=path, timeout=5)
    assert [finding.verdict for finding in run.findings] == ["holds", "violated"]
    html = render(run).html
    assert Checker(html).stack == []
    told = words(html)
    assert "✓ holds" in told
    assert "✗ violated" in told
    assert "Violated. An input was found that violates it" in told
    assert "What the model answers there" in told
    assert "No other program has checked any proof: none was kept" in told
    point = run.array(run.findings[1], "counterexample")[0]
    for number in point:
        assert f"{float(number):.6g}" in told
