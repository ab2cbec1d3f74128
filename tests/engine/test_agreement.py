"""Do several methods agree: closed forms, what is left out, and the mean over many images."""

from __future__ import annotations

import re

import numpy as np
import pytest
import torch
from scipy.stats import spearmanr

from tests.conftest import IMAGES
from tests.networks import Linear
from tests.reports.test_page import HOSTILE, Checker
from tests.reports.test_performance import table
from tests.reports.test_renderings import words
from xai.api import explain, load
from xai.engine.agreement import agreements, chance, comparable, pairs
from xai.errors import UsageError
from xai.models.model import Model
from xai.reports.artefacts import get
from xai.reports.derived import derived, differing
from xai.reports.html.page import render
from xai.reports.records import Value
from xai.reports.run import Run

BOTH = ["gradcam", "occlusion"]
COARSE = {"occlusion": {"window": 12, "stride": 6}}
NAMES = "gradcam and occlusion"


@pytest.fixture(scope="module")
def single(shapes: Model) -> Run:
    return explain(shapes, IMAGES / "star.png", methods=BOTH, measures="none", parameters=COARSE)


@pytest.fixture(scope="module")
def together(shapes: Model) -> Run:
    return explain(shapes, IMAGES, summary=True, methods=BOTH, measures="none", parameters=COARSE)


def test_correlation_and_overlap_are_those_of_what_speaks_for_the_target(single: Run) -> None:
    found = single["agreement"]
    one, other = single["gradcam"].map, np.clip(single["occlusion"].map, 0, None)
    assert single["occlusion"].map.min() < 0, "it is signed"
    assert found.values[f"{NAMES}: rank correlation"].value == pytest.approx(spearmanr(one.ravel(), other.ravel())[0])
    many = round(0.1 * one.size)
    tops = [set(np.argsort(-map_.ravel(), kind="stable")[:many]) for map_ in (one, other)]
    assert found.values[f"{NAMES}: overlap"].value == pytest.approx(len(tops[0] & tops[1]) / many, abs=0.02)
    assert found.values["overlap by chance"].value == pytest.approx(0.1, abs=1e-3)
    assert (
        found.record.parameters["signed maps"] == "what speaks for the target; what speaks against it counts as nothing"
    )
    assert (found.record.input, found.record.target) == ("star", single["gradcam"].record.target)
    assert get(single.store, found.record.artefacts["overlaps"])[0, 1] == found.values[f"{NAMES}: overlap"].value


def test_the_same_map_agrees_and_its_opposite_does_not() -> None:
    ramp = np.arange(400, dtype=np.float32).reshape(20, 20)
    found = pairs({"one": ramp, "same": 3 * ramp, "opposite": -ramp})
    assert found["one", "same"] == pytest.approx((1, 1))
    assert found["one", "opposite"] == pytest.approx((-1, 0))


def test_maps_without_anything_in_common_overlap_by_chance() -> None:
    rng = np.random.default_rng(0)
    found = [pairs({"a": rng.random((20, 20)), "b": rng.random((20, 20))})["a", "b"].overlap for _ in range(200)]
    assert np.mean(found) == pytest.approx(chance(400), abs=0.01)


def test_equal_values_share_their_places() -> None:
    """Half of a picture is bright: a tenth of it overlaps with another tenth in it as often as drawn at random."""
    half = np.zeros((10, 10))
    half[:5] = 1
    peak = np.zeros((10, 10))
    peak[0] = np.arange(1, 11)
    assert pairs({"half": half, "peak": peak})["half", "peak"].overlap == pytest.approx(0.2)


def test_blank_maps_and_those_that_speak_only_against_are_left_out_with_the_reason() -> None:
    ramp = np.arange(4.0).reshape(2, 2)
    kept = comparable({"a": (ramp, False, False), "b": (ramp, False, True), "c": (-ramp - 1, True, False)})
    assert list(kept.maps) == ["a"]
    assert kept.left_out == {"b": "its map is blank", "c": "nothing in its map speaks for the target"}


def test_blank_maps_leave_nothing_to_compare(single: Run) -> None:
    first, second = single.findings[:2]
    blank = first.model_copy(update={"values": {**first.values, "blank": Value(value=True)}})
    (found,) = agreements([blank, second], single.store)
    assert (found.status, found.reason) == ("skipped", "fewer than two of the maps can be compared")
    assert found.notes == ("Grad-CAM is left out: its map is blank.",)


def test_one_method_has_nothing_to_agree_with(shapes: Model) -> None:
    run = explain(shapes, IMAGES / "star.png", methods="gradcam", measures="none")
    assert [finding.family for finding in run.findings] == ["explanation"]
    run = explain(shapes, IMAGES / "star.png", summary=True, methods="gradcam", measures="none")
    assert [finding.family for finding in run.findings] == ["summary"]


def test_each_target_has_its_own(shapes: Model) -> None:
    run = explain(shapes, IMAGES / "star.png", methods=BOTH, measures="none", parameters=COARSE, top=2)
    found = [finding for finding in run.findings if finding.family == "agreement"]
    assert [one.target.name for one in found if one.target] == [p.name for p in run.record.inputs[0].predictions[:2]]


def test_over_many_images_it_is_the_mean_of_the_single_ones(shapes: Model, together: Run) -> None:
    alone = explain(shapes, IMAGES, methods=BOTH, measures="none", parameters=COARSE)
    singles = [one.values for one in alone.findings if one.family == "agreement"]
    found = together["agreement"]
    for name in (f"{NAMES}: rank correlation", f"{NAMES}: overlap"):
        value = found.values[name]
        assert value.value == pytest.approx(np.mean([one[name].value for one in singles]))
        assert value.n == 6
        assert value.interval is not None
        assert value.interval[0] <= value.value <= value.interval[1]
    assert differing(found.record, found.rows) == []
    assert set(derived(found.record, found.rows)) == {f"{NAMES}: rank correlation", f"{NAMES}: overlap"}


def test_the_matrix_is_a_table_that_can_be_read_without_colours(single: Run, together: Run) -> None:
    for run in (single, together):
        html = render(run).html
        shown = table(html, "Spearman’s rank correlation of each two maps")
        assert shown[0] == ["method", "occlusion"]
        value = run["agreement"].values[f"{NAMES}: overlap"].value
        assert shown[1][0] == "gradcam"
        assert f"overlap {100 * float(value or 0):.1f}" in shown[1][1]
        assert "by chance 10.0" in words(html)
        assert Checker(html).stack == []
        part = next(one for one in re.findall(r"<table.*?</table>", html, re.DOTALL) if "Spearman" in one)
        assert all("scope=" in head for head in re.findall(r"<th\b[^>]*>", part))


def test_names_from_outside_are_text() -> None:
    model = load(Linear(), shape=(3, 12, 10), classes=(HOSTILE, "b", "c"), name=HOSTILE)
    html = render(explain(model, torch.rand(3, 12, 10), methods=["occlusion", "lime"], target=0, measures="none")).html
    assert "Do the methods agree?" in html
    assert "<script" not in html


def test_it_is_told_in_numbers(single: Run) -> None:
    with pytest.raises(UsageError, match="told in numbers"):
        single["agreement"].show()
