"""The panel of certainty: dots where the bins are, and words that say which way the model errs."""

from __future__ import annotations

import re

import numpy as np
import pytest

from tests.reports.findings import finding, whole
from tests.reports.full_audit import calibration
from tests.reports.test_renderings import words
from xai.reports.artefacts import MemoryStore, put
from xai.reports.html.axes import BOTTOM, HEIGHT, LEFT, RIGHT, TOP
from xai.reports.html.page import render
from xai.reports.intervals import clopper_pearson
from xai.reports.records import Finding, Value


def page(*changes: tuple[str, np.ndarray], values: dict[str, Value] | None = None) -> str:
    store = MemoryStore()
    made = calibration(store)
    arrays = made.artefacts | {name: put(store, array) for name, array in changes}
    return render(
        whole(made.model_copy(update={"artefacts": arrays, **({"values": values} if values else {})}), store=store)
    ).html


def reliability(html: str) -> list[str]:
    return re.findall(r'<svg class="curve axes reliability".*?</svg>', html, re.DOTALL)


def test_dots_stand_at_certainty_and_share_and_grow_with_the_images() -> None:
    before, after = reliability(page())
    dots = np.array(re.findall(r'<circle cx="([\d.]+)" cy="([\d.]+)" r="([\d.]+)"', before), dtype=float)
    certainty = (dots[:, 0] - LEFT) / (RIGHT - LEFT)
    right = 1 - (dots[:, 1] - TOP) / (HEIGHT - BOTTOM - TOP)
    assert certainty == pytest.approx([0.55, 0.75, 0.975], abs=0.001), "bins without images have no dot"
    assert right == pytest.approx([0.5, 0.6, 0.9], abs=0.001)
    assert (np.diff(dots[:, 2]) > 0).all()
    same = re.findall(r'<circle cx="([\d.]+)" cy="([\d.]+)"', after)
    assert [float(x) - LEFT for x, _ in same] == pytest.approx(
        [(RIGHT - LEFT) * part for part in (0.5, 0.6, 0.9)], abs=0.1
    )


def test_the_table_holds_counts_and_intervals_of_each_bin() -> None:
    html = words(page())
    low, high = clopper_pearson(18, 30)
    assert f"75.0 % 60.0 % {100 * low:.1f} % – {100 * high:.1f} % 30" in html.replace("\xa0", " ")


def test_a_drawing_says_in_words_what_it_shows() -> None:
    before, _ = reliability(page())
    assert "20 answers of 55.0\xa0% right in 50.0\xa0%; 30 answers of 75.0\xa0% right in 60.0\xa0%" in before


def test_it_is_said_whether_the_model_is_too_sure() -> None:
    assert "it is 8.4 points surer than right" in words(page())
    unsure = ("share right", np.array([np.nan, 0.9, 1.0, 1.0]))
    assert "points less sure than right" in words(page(unsure))
    true = ("share right", np.array([np.nan, 0.55, 0.75, 0.975]))
    assert "sure than right" not in words(page(true))


def test_a_temperature_that_does_not_help_is_said_not_to() -> None:
    values = {
        "ece": Value(value=0.01, n=200, interval=(0.0, 0.03)),
        "temperature": Value(value=1.1, unit="fitted on half of the test images", n=90),
        "ece after scaling": Value(value=0.02, n=110, interval=(0.01, 0.04)),
    }
    html = words(page(values=values))
    assert "does not help: it leaves 2.0 points" in html
    assert "the two intervals overlap" in html
    assert "the two intervals overlap" not in words(page())


def test_without_a_temperature_or_a_diagram_the_error_is_told_alone() -> None:
    bare: Finding = finding("calibration", {"ece": Value(value=0.04, n=200, interval=(0.02, 0.07))})
    html = render(whole(bare)).html
    assert "4.0 points" in html
    assert reliability(html) == []
