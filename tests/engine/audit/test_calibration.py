"""Certainty against share of right answers, beside a plain loop and a known temperature."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.special import softmax
from scipy.stats import binomtest

from tests.engine.audit.small import Scores, answers_of, data_of, inputs, model_of
from tests.reports.findings import whole
from xai.engine.audit.calibration import (
    BINS,
    Scored,
    calibration,
    diagram,
    expected_calibration_error,
    fit_temperature,
)
from xai.reports.artefacts import MemoryStore, get
from xai.reports.html.page import render
from xai.reports.policy.decide import decide
from xai.reports.policy.expression import read_demand
from xai.runtime import Runtime


def plain_error(sure: np.ndarray, right: np.ndarray) -> float:
    """Return the error as Guo et al. write it: bins ((m - 1) / M, m / M]."""
    found = 0.0
    for number in range(1, BINS + 1):
        members = (sure > (number - 1) / BINS) & (sure <= number / BINS)
        if members.any():
            found += members.mean() * abs(right[members].mean() - sure[members].mean())
    return found


def drawn(temperature: float, count: int = 20_000) -> Scored:
    """Return scores whose labels are drawn from their softmax at a temperature."""
    rng = np.random.default_rng(1)
    scores = rng.normal(0, 4, (count, 4))
    chances = softmax(scores / temperature, axis=1)
    labels = (rng.random((count, 1)) > chances.cumsum(1)).sum(1).clip(max=3)
    return Scored(scores, labels)


@pytest.mark.parametrize("seed", range(4))
def test_the_error_is_that_of_a_plain_loop_over_bins(seed: int) -> None:
    rng = np.random.default_rng(seed)
    sure, right = rng.uniform(0.05, 1, 500), rng.random(500) < 0.6
    sure[:4] = 1.0
    assert expected_calibration_error(sure, right) == pytest.approx(plain_error(sure, right))
    held = diagram(sure, right)
    assert held["count"].sum() == 500
    used = held["count"] > 0
    gaps = np.abs(held["certainty"] - held["share right"])[used]
    assert (held["count"][used] / 500 * gaps).sum() == pytest.approx(plain_error(sure, right))


@pytest.mark.parametrize("temperature", [0.4, 1.0, 3.0])
def test_a_known_temperature_is_recovered_and_mends_the_error(temperature: float) -> None:
    known = drawn(temperature)
    found, reason = fit_temperature(known)
    assert reason == ""
    assert found is not None
    assert found == pytest.approx(temperature, rel=0.05)
    assert expected_calibration_error(*known.sure(found)) < 0.015
    if temperature != 1:
        assert expected_calibration_error(*known.sure()) > 0.05


@pytest.mark.parametrize(
    ("scale", "spoilt", "words"),
    [
        (1.0, "right", "all 40 images that it is fitted on are right"),
        (90.0, "right", "all 40 images that it is fitted on are right"),  # the loss is 0 for many a temperature
        (1.0, "wrong", "scores tell nothing of what is right"),
        (1e4, "", "it is not between 0.0183 and 54.6"),
        (1e-4, "", "it is not between 0.0183 and 54.6"),
    ],
)
def test_a_temperature_that_no_image_determines_is_none(scale: float, spoilt: str, words: str) -> None:
    known = drawn(1.0, 40)
    labels = {"right": known.scores.argmax(1), "wrong": known.scores.argmin(1)}.get(spoilt, known.labels)
    found, reason = fit_temperature(Scored(scale * known.scores, labels))
    assert found is None
    assert words in reason


def test_without_a_temperature_nothing_is_scaled_and_the_reason_is_told() -> None:
    model, (x, y) = model_of(), inputs(60, 0)
    store = MemoryStore()
    found = calibration(answers_of(model, data_of(model, x, y), store), None, store, Runtime())
    for name in ("temperature", "ece after scaling"):
        assert found.values[name].value is None
        assert "are right" in found.values[name].reason
    assert not [name for name in found.artefacts if name.startswith("scaled")]
    assert "not determined: all" in render(whole(found, store=store)).html
    made = decide(read_demand("calibration.temperature <= 2 as measured"), [found])
    assert made.verdict == "not decided"
    assert "are right" in made.reason


@pytest.mark.parametrize("wrong", [0, 30])
def test_answers_that_are_all_right_or_all_wrong_leave_room_for_others(wrong: int) -> None:
    model, (x, y) = model_of(), inputs(30, wrong)
    store = MemoryStore()
    ece = calibration(answers_of(model, data_of(model, x, y), store), None, store, Runtime()).values["ece"]
    assert ece.interval is not None
    unseen = binomtest(0, 30).proportion_ci(0.95).high
    assert min(ece.value + unseen, 1.0) <= ece.interval[1] + 1e-12  # type: ignore[operator]  # it is a number


def test_the_temperature_changes_no_answer() -> None:
    known = drawn(1.0, 200)
    np.testing.assert_array_equal(known.sure(7.0)[1], known.sure()[1])


def test_the_halves_depend_on_content_and_not_on_order() -> None:
    model, (x, y) = model_of(), inputs()
    order = torch.randperm(40, generator=torch.Generator().manual_seed(5))
    found = [
        calibration(answers_of(model, data_of(model, *pair), store := MemoryStore()), None, store, Runtime()).values
        for pair in ((x, y), (x[order], y[order]))
    ]
    for name in ("ece", "temperature", "ece after scaling"):
        assert found[0][name].value == pytest.approx(found[1][name].value, rel=1e-4), name
    assert found[0]["temperature"].n + found[0]["ece after scaling"].n == 40  # type: ignore[operator]  # counted above
    assert "half of the test images" in found[0]["temperature"].unit


def test_other_images_give_the_temperature_where_there_are_some() -> None:
    model, store, (x, y) = model_of(), MemoryStore(), inputs(100)
    y[40:46] = (y[40:46] + 1) % 4  # where all are right there is no temperature
    test, held = (answers_of(model, data_of(model, x[part], y[part]), store) for part in (slice(40), slice(40, None)))
    found = calibration(test, held, store, Runtime())
    scores = Scores()(x).detach().double().numpy()
    wanted, _ = fit_temperature(Scored(scores[40:], y[40:].numpy()))
    assert found.values["temperature"].value == pytest.approx(wanted, rel=1e-3)
    assert found.values["temperature"].n == 60
    assert found.values["ece after scaling"].n == 40
    sure, right = Scored(scores[:40], y[:40].numpy()).sure()
    assert found.values["ece"].value == pytest.approx(plain_error(sure, right), rel=1e-4)
    lower, upper = found.values["ece"].interval or (1, 0)
    assert lower <= found.values["ece"].value <= upper
    assert get(store, found.artefacts["count"]).sum() == 40


@pytest.mark.parametrize(
    ("labelled", "words"), [(False, "right answers of some test images are not known"), (True, "no output is finite")]
)
def test_it_is_skipped_where_it_can_say_nothing(labelled: bool, words: str) -> None:
    x, y = inputs(12)
    if labelled:
        x[:, 0, 0, 0] = 0
    model = model_of(Scores(broken=labelled))
    answers = answers_of(model, data_of(model, x, y if labelled else None), store := MemoryStore())
    found = calibration(answers, None, store, Runtime())
    assert (found.status, found.values) == ("skipped", {})
    assert words in found.reason
