"""Many findings of one family in one table: true numbers, the worst first, each folded below, links that find them."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.reports.findings import finding, share, whole
from tests.reports.full_audit import answered, corruption, detector, full_audit
from tests.reports.test_page import Checker
from tests.reports.test_performance import table
from tests.reports.test_renderings import words
from xai.reports.artefacts import MemoryStore
from xai.reports.html.page import render
from xai.reports.html.sections.base import LEVELS, level, section_for


@pytest.fixture(scope="module")
def html(tmp_path_factory: pytest.TempPathFactory) -> str:
    return render(full_audit(tmp_path_factory.mktemp("audit"))).html


def test_corruptions_are_one_table_the_most_harmful_first(html: str) -> None:
    rows = table(html, "Right of all 200 images")
    assert rows[0] == ["corruption", "severity 1", "severity 3", "severity 5"]
    assert [row[0] for row in rows[1:]] == ["Jpeg", "Fog", "The corruption"]
    assert [cell.split()[0] for cell in rows[1][1:]] == ["75.0", "45.0", "30.0"]
    assert rows[2][3] == "–", "a severity that was not tried"
    assert rows[3][1] == "skipped: it is made for pictures"


def test_a_corruption_alone_is_a_panel() -> None:
    html = render(whole(corruption("fog", {1: 190, 3: 150}))).html
    assert "What happens without an attacker" not in html
    assert [row[0] for row in table(html, "Share of all 200 images")] == ["severity", "1", "3"]


def test_the_shade_says_how_many_are_wrong(html: str) -> None:
    cells = re.findall(r'<td class="wrong level-(\d)">([\d.]+)\xa0%<span', html)
    assert cells
    assert [(int(shade), 100 - float(right)) for shade, right in cells] == [
        (level(1 - float(right) / 100), 100 - float(right)) for _, right in cells
    ]
    assert [level(part) for part in (-0.1, 0.0, 0.001, 0.5, 1.0, 1.1)] == [0, 0, 1, LEVELS // 2, LEVELS, LEVELS]


def test_few_detectors_are_panels_and_many_are_a_table() -> None:
    store = MemoryStore()
    few, many = (render(whole(*(detector(f"d{i}", store) for i in range(count)), store=store)).html for count in (3, 4))
    assert "detectors and their thresholds" not in few
    assert "4 detectors and their thresholds" in many
    assert table(many, "95 % intervals below")[1] == ["D0", "0.9 0.8 – 0.95", "95.0 % 90.0 % – 99.0 %", "40"]
    assert many.count("What it is calibrated to") == 4, "each is there by itself too"


def test_sets_of_outliers_are_ordered_by_how_well_they_are_told() -> None:
    told = [
        finding(
            "ood-set",
            {"AUROC": share(count, 100)} if count else {},
            name=f"set {count}",
            parameters={"nearness": "far"},
        )
        for count in (90, 0, 50, 99)
    ]
    view = section_for("ood-set").table(told)
    assert view is not None
    assert [row.finding.method for row in view.rows] == ["set 50", "set 90", "set 99", "set 0"]
    assert [cell.text for cell in view.rows[0].cells] == ["far", "50.0\xa0%", "–", "–", "–"]
    assert section_for("ood-set").table(told[:3]) is None, "few are told one by one"


def test_what_failed_stands_in_the_table_with_its_reason() -> None:
    lost = [finding("ood-set", name=f"set {i}", status="failed", reason="no image could be read") for i in range(4)]
    rows = table(render(whole(*lost)).html, "Shares with 95 % intervals")
    assert [row[1] for row in rows[1:]] == ["failed: no image could be read"] * 4


def test_every_link_of_the_page_leads_to_one_place(html: str) -> None:
    tags = Checker(html).tags
    places = [attrs["id"] for _, attrs in tags if "id" in attrs]
    assert len(places) == len(set(places))
    targets = {str(attrs["href"])[1:] for tag, attrs in tags if tag == "a" and str(attrs["href"]).startswith("#")}
    assert targets
    assert targets <= set(places)


def test_a_requirement_leads_to_the_row_that_it_rests_on(tmp_path: Path) -> None:
    run = full_audit(tmp_path)
    (jpeg,) = (one for one in run.findings if one.method == "jpeg")
    html = render(run).html
    assert f'<tr id="{run.anchor(jpeg)}"><th scope="row">Jpeg</th>' in html
    assert f'<a href="#{run.anchor(jpeg)}">Jpeg</a>' in html


def test_what_is_secondary_about_an_image_is_folded_in_an_audit_only(html: str) -> None:
    about = html[html.index('class="input"') :]
    folded = about[about.index("More about it: The drift") :]
    assert "nothing changed its answer" in folded
    assert "no layer has places" not in folded[: folded.index("</section>")]
    drift = finding("drift", about="star", status="skipped", reason="nothing changed its answer")
    assert "More about it" not in render(whole(drift)).html


def test_evidence_of_many_values_is_named_in_part(tmp_path: Path) -> None:
    rows = answered(200, tuple(f"class {i:02}" for i in range(20)))
    html = words(render(full_audit(tmp_path, rows)).html)
    assert "accuracy of class class 05 and 14 more); statistical" in html


def test_an_input_is_said_to_be_right_or_wrong(tmp_path: Path) -> None:
    rows = answered()
    assert [rows[3][name] for name in ("class", "right")] == ["circle", False]
    about = words(render(full_audit(tmp_path, rows)).html)
    assert "70.0 % ✗ wrong, it is circle" in about
    rows[3]["right"] = True
    assert "70.0 % ✓ right" in words(render(full_audit(tmp_path, rows)).html)
    rows[3]["labelled"] = False
    html = words(render(full_audit(tmp_path, rows)).html)
    assert "✗ wrong" not in html
    assert "✓ right" not in html, "nobody knows"
