"""The panel of many explanations: safe, told in tables, within its budget, and first of all what is suspected."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import torch

from tests.networks import Linear
from tests.reports.test_page import HOSTILE, Checker
from tests.reports.test_performance import cells, table
from tests.reports.test_renderings import words
from xai.api import explain, load
from xai.models.samples.watermark import held_out
from xai.reports.check import check
from xai.reports.html.page import BUDGET, render
from xai.reports.run import Run
from xai.reports.table import rows
from xai.reports.worth import TRUST

COARSE = {"occlusion": {"window": 12, "stride": 6}}


@pytest.fixture(scope="module")
def leaning() -> Run:
    images, labels = held_out(0, 120)
    measures = ["deletion", "pointing"]
    options = {**COARSE, "deletion": {"steps": 4}}
    model = load("sample:watermark")
    return explain(model, (images, labels), summary=True, methods="occlusion", measures=measures, parameters=options)


@pytest.fixture(scope="module")
def html(leaning: Run) -> str:
    return render(leaning).html


def test_the_suspicion_is_told_first_and_its_pictures_are_framed(html: str, leaning: Run) -> None:
    (note,) = [one for one in leaning["occlusion"].record.notes if one.startswith("A suspicion")]
    assert words(html).index(note) < words(html).index("Groups of maps that are alike")
    first = html[html.index("Groups of maps that are alike") :]
    first = first[: first.index("Group 1 of 1 of all maps") if "Group 1 of 1 of all maps" in first else None]
    assert "This is the place that is suspected" in first
    assert first.count("a frame marks the place") == 4, "the mean map, and three examples"
    assert "1 place is suspected" in words(html)


def test_the_counts_of_the_exchange_are_those_of_the_record(html: str, leaning: Run) -> None:
    values = leaning["occlusion"].values
    shown = table(html, "exact McNemar tests")
    assert shown[0] == ["answers", "images", "this place", "elsewhere", "p"]
    for row, name in zip(shown[1:], ("changed", "turned"), strict=True):
        here, there = (values[f"{name} by {place}, star, group 1"] for place in ("the place", "a place elsewhere"))
        assert row[1:4] == [
            str(here.n),
            str(round(float(here.value or 0) * (here.n or 0))),
            str(round(float(there.value or 0) * (there.n or 0))),
        ]


def test_measures_and_classes_are_told_in_tables_with_intervals(html: str, leaning: Run) -> None:
    shown = table(html, "What each measure says")
    assert [row[:2] for row in shown[1:]] == [["Deletion and insertion", "120"], ["Pointing game", "0"]]
    assert shown[2][2] == "it is not known where the object is; masks say so"
    value = leaning["occlusion"].values["deletion speaks for"]
    assert shown[1][2].startswith(f"{100 * float(value.value or 0):.1f}")
    classes = table(html, "By class, the least trusted first")
    trusts = [leaning["occlusion"].values[f"{TRUST}, class {row[0]}"] for row in classes[1:]]
    assert [one.value for one in trusts] == sorted(one.value for one in trusts)  # type: ignore[type-var]  # all numbers
    for row, one in zip(classes[1:], trusts, strict=True):
        low, high = one.interval or (0, 0)
        assert low < high
        assert row[1].startswith(f"{float(one.value or 0):.3g}"[:4])
    assert {row[0] for row in classes[1:]} == set(leaning.record.model.card["classes"])


def test_the_page_is_well_made(html: str) -> None:
    checker = Checker(html)
    assert checker.stack == []
    assert all(attrs.get("alt") for tag, attrs in checker.tags if tag == "img")
    assert not [attrs for _, attrs in checker.tags if "style" in attrs], "the policy forbids style attributes"
    for one in re.findall(r"<table.*?</table>", html, re.DOTALL):
        assert "<caption" in one
        assert all("scope=" in head for head in re.findall(r"<th\b[^>]*>", one))
    assert cells(html)


def test_names_from_outside_are_text() -> None:
    model = load(Linear(), shape=(3, 12, 10), classes=(HOSTILE, "b", "c"), name=HOSTILE)
    run = explain(model, torch.rand(12, 3, 12, 10), summary=True, measures="deletion", methods="occlusion")
    page = render(run).html
    assert "<script" not in page
    assert Checker(page).stack == []


def test_blank_maps_alone_make_a_page() -> None:
    model = load(Linear(), shape=(3, 12, 10), classes=("a", "b", "c"))
    run = explain(model, torch.zeros(3, 3, 12, 10), summary=True, methods="occlusion", measures="deletion")
    assert run["occlusion"].values["blank maps"].value == 3
    page = words(render(run).html)
    assert "3 maps are blank" in page
    assert "No measure judged them" in page


def test_the_page_stays_within_its_budget(html: str) -> None:
    assert len(html.encode()) < BUDGET / 3


def test_the_saved_run_is_checked_and_tampering_is_found(leaning: Run, tmp_path: Path) -> None:
    leaning.save(tmp_path / "run")
    found = check(tmp_path / "run")
    assert found.complaints == ()
    assert any("values, from the rows of single images" in line and not line.startswith("0 ") for line in found.done)
    record = tmp_path / "run" / "record.json"
    written = json.loads(record.read_text())
    written["findings"][0]["values"][TRUST]["value"] = 0.99
    record.write_text(json.dumps(written))
    assert any(TRUST in complaint.words for complaint in check(tmp_path / "run").complaints)


def test_other_renderings_work(leaning: Run) -> None:
    (row,) = rows(leaning)
    assert row["places suspected"] == 1
    assert row[TRUST] == leaning["occlusion"].values[TRUST].value
    assert "Occlusion" in leaning._repr_html_()
    assert len(leaning["occlusion"].show().axes) == 2, "the groups' mean maps, and a colour bar"
    assert leaning["occlusion"].record == type(leaning["occlusion"].record).model_validate_json(
        leaning["occlusion"].record.model_dump_json()
    )
