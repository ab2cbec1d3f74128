"""The panels of cost and of repetition: units that people read, and no answer said to change that did not."""

from __future__ import annotations

import pytest

from tests.reports.findings import finding, whole
from tests.reports.full_audit import cost, repetition
from tests.reports.test_renderings import words
from xai.reports.html.page import render
from xai.reports.records import Finding, Value
from xai.reports.words import duration, points


def told(one: Finding) -> str:
    return words(render(whole(one)).html).replace("\xa0", " ").replace("\u202f", " ")


def test_time_memory_and_work_are_told_in_units() -> None:
    html = told(cost())
    assert "time 1.48 ms" in html
    assert "about 676 images a second" in html
    assert "multiply-adds 14.7 M 14 746 176" in html
    assert "weights 313.2 KiB 320 728 bytes" in html
    assert "activations 512 KiB 524 288 bytes" in html


def test_of_a_black_box_only_the_time_is_known() -> None:
    html = told(finding("cost").model_copy(update={"seconds": 2.5}))
    assert "time 2.50 s" in html
    assert "not known of a black box" in html


@pytest.mark.parametrize(
    ("changed", "apart", "sentence"),
    [
        (0, 0.0, "None of 16 answers changes; outputs are the same to the last digit."),
        (0, 3.8e-6, "None of 16 answers changes; outputs lie at most 3.8e-06 apart."),
        (1, 0.2, "1 of 16 answers changes; outputs lie at most 0.2 apart."),
        (3, 0.2, "3 of 16 answers change; outputs lie at most 0.2 apart."),
    ],
)
def test_it_is_said_whether_answers_change(changed: int, apart: float, sentence: str) -> None:
    assert sentence in told(repetition(changed, apart))


def test_values_that_are_no_answers_do_not_change_answers() -> None:
    values = {"largest difference, asked twice": Value(value=0.5, unit="in the outputs' unit", n=4)}
    html = told(finding("repetition", values))
    assert "Over 4 inputs outputs lie at most 0.5 apart." in html
    assert "answers change" not in html


def test_durations_and_points_are_written_for_people() -> None:
    assert [duration(one).replace("\xa0", " ") for one in (0.0, 2e-5, 0.0995, 0.1, 12)] == [
        "0.00 s",
        "0.02 ms",
        "99.5 ms",
        "0.10 s",
        "12.00 s",
    ]
    assert [points(one) for one in (0.0, 0.0001, 0.0174, 1.0)] == [
        "0.0 points",
        "< 0.1 points",
        "1.7 points",
        "100.0 points",
    ]
