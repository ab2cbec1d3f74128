"""The panel of right answers: the worst first, true numbers in the matrix, a list where it is too large."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.reports.findings import finding, share, whole
from tests.reports.full_audit import CLASSES, answered, full_audit, performance
from tests.reports.test_page import HOSTILE, Checker
from tests.reports.test_renderings import words
from xai.reports.artefacts import MemoryStore
from xai.reports.html.page import render
from xai.reports.html.sections.performance import GRID, LISTED, SHOWN, WIDTH, shaded
from xai.reports.records import Value


def panel(rows: list[dict[str, Any]], classes: int | None = len(CLASSES)) -> str:
    """Return the panel of some rows."""
    store = MemoryStore()
    page = render(whole(performance(rows, store, classes), store=store)).html
    return page[page.index("Right answers</h3>") : page.index("Parameters and evidence")]


def cells(html: str) -> list[list[str]]:
    """Return the texts of a table's rows."""
    rows = re.findall(r"<tr[^>]*>(.*?)</tr>", html, re.DOTALL)
    return [[words(cell).strip() for cell in re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", row, re.DOTALL)] for row in rows]


def table(html: str, caption: str) -> list[list[str]]:
    return next(cells(one) for one in re.findall(r"<table.*?</table>", html, re.DOTALL) if caption in words(one))


def test_names_from_outside_are_text(tmp_path: Path) -> None:
    html = render(full_audit(tmp_path)).html
    assert "<script" not in html
    assert Checker(html).stack == []
    assert not [attrs for _, attrs in Checker(html).tags if "style" in attrs], "the policy forbids style attributes"


def test_the_matrix_says_what_the_rows_say() -> None:
    rows = answered(180)
    counted = Counter((row["label"], row["predicted"]) for row in rows)
    shown = table(panel(rows), "Confusion matrix")
    assert [row[0] for row in shown[1:]] == ["is \\ answered", *CLASSES][1:]
    assert [[int(cell) for cell in row[1:]] for row in shown[1:]] == [
        [counted[label, answer] for answer in range(3)] for label in range(3)
    ]


def test_a_matrix_is_shaded_by_the_part_of_its_row_and_right_cells_are_framed() -> None:
    grid = shaded(np.array([[1, 99, 0], [0, 50, 0], [0, 0, 0]]), ["a", "b", "c"])
    assert grid is not None
    assert grid["names"] == ["a", "b"], "what neither occurs nor is answered is left out"
    levels = [[cell["level"] for cell in row["cells"]] for row in grid["rows"]]
    assert levels == [[1, 8], [0, 8]], "one of a hundred is seen, and nothing has no shade"
    assert [[cell["right"] for cell in row["cells"]] for row in grid["rows"]] == [[True, False], [False, True]]


def test_the_worst_stand_first_and_the_rest_is_counted() -> None:
    names = tuple(f"class {i:02}" for i in range(30))
    rows = [
        {**row, "predicted": row["label"], "right": True, "class": names[row["label"]]} for row in answered(600, names)
    ]
    for row in rows:
        if row["label"] in (7, 11) and int(row["id"].partition("-")[2]) % 60 in (7, 11):
            row["predicted"], row["right"] = 3, False
    for row in rows[11::30]:
        row["predicted"], row["right"] = 3, False
    html = panel(rows, 30)
    shown = table(html, "By class")
    assert [row[0] for row in shown[1:4]] == ["class 11", "class 07", "class 00"]
    assert [row[1][:6] for row in shown[1:4]] == ["0.0 % ", "50.0 %", "100.0 "]
    assert len(shown) == 1 + SHOWN
    assert f"{SHOWN} of 30, no other is below 100.0" in words(html)
    assert "Confusion matrix" not in html
    most = table(html, "What is most often taken for what")
    assert most[1:] == [["class 11", "class 03", "20"], ["class 07", "class 03", "10"]]


def test_no_class_is_the_worst_where_all_are_alike() -> None:
    rows = [{**row, "predicted": row["label"], "right": True} for row in answered(180)]
    html = words(panel(rows))
    assert "Every class has 100.0 %." in html.replace("\xa0", " ")
    assert "worst class," not in html
    assert "The worst class, " in words(panel(answered(180)))


def test_images_without_an_answer_are_told_and_are_no_confusion() -> None:
    rows = answered(180)
    for row in rows[:3]:
        row |= {"finite": False, "right": False, "predicted": 2}
    store = MemoryStore()
    made = performance(rows, store, None)
    made = made.model_copy(update={"values": {**made.values, "images without an answer": Value(value=3, n=180)}})
    html = render(whole(made, store=store)).html
    assert "For 3 of them the outputs are NaN or infinite: they count as wrong" in words(html)
    most = table(html, "What is most often taken for what")[1:]
    wrong = sum(row["predicted"] != row["label"] for row in rows[3:])
    assert sum(int(row[2]) for row in most) == wrong


def test_without_a_matrix_confusions_come_of_the_rows_and_are_bounded() -> None:
    names = tuple(f"class {i:02}" for i in range(25))
    rows = answered(1000, names)
    by_matrix, by_rows = (cells(panel(rows, classes)) for classes in (25, None))
    assert [row[0] for row in by_matrix if len(row) == 3] == [row[0] for row in by_rows if len(row) == 3]
    assert f"{LISTED} of 25 confusions" in words(panel(rows, None))
    assert len(names) > GRID


def test_bars_stand_where_the_shares_are() -> None:
    html = panel(answered())
    bars = [float(one) for one in re.findall(r'class="part" width="([\d.]+)"', html)]
    told = [float(one) for one in re.findall(r"<td>([\d.]+)\xa0%<span", html)]
    assert bars == pytest.approx([WIDTH * one / 100 for one in told], abs=0.2)
    assert len(bars) == 5


def test_labels_that_are_the_models_own_are_said_to_be() -> None:
    store = MemoryStore()
    own = performance(answered(), store).model_copy(update={"parameters": {"labels": "the model's own answers for 9"}})
    assert "the model’s own answers count as right for some" in words(render(whole(own, store=store)).html)
    assert "own answers count" not in words(panel(answered()))


def test_a_finding_of_no_image_or_of_one_class_is_told() -> None:
    assert "No image was answered." in render(whole(finding("performance"))).html
    alone = finding("performance", {"accuracy": share(5, 5), f"accuracy of class {HOSTILE}": share(5, 5)})
    html = render(whole(alone)).html
    assert "By class" not in html
    assert "No image is taken for another class." in html
