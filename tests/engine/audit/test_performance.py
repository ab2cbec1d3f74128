"""Right answers, counted again in plain Python."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.stats import binomtest

from tests.engine.audit.small import CLASSES, Scores, answers_of, data_of, inputs, model_of
from xai.engine.audit.answers import GIVEN
from xai.engine.audit.performance import LOST, performance
from xai.reports.artefacts import MemoryStore, get, get_rows

GROUPS = ["day", "night", None, "day"] * 10


@pytest.mark.parametrize("size", [7, 40])
def test_shares_by_class_and_group_are_those_of_a_plain_count(size: int) -> None:
    model, store, (x, y) = model_of(), MemoryStore(), inputs()
    found = performance(answers_of(model, data_of(model, x, y, GROUPS), store, size), model, store)
    predicted = Scores()(x).argmax(1)
    wanted = {"accuracy": (predicted == y).tolist()}
    for index, name in enumerate(CLASSES):
        if (y == index).any():
            wanted[f"accuracy of class {name}"] = (predicted == y)[y == index].tolist()
    for group in ("day", "night"):
        members = torch.tensor([one == group for one in GROUPS])
        wanted[f"accuracy of group {group}"] = (predicted == y)[members].tolist()
    assert set(found.values) == {*wanted, LOST}
    assert found.values[LOST].value == 0
    for name, right in wanted.items():
        value = found.values[name]
        assert value.n == len(right)
        assert value.value == pytest.approx(np.mean(right))
        assert value.interval == pytest.approx(binomtest(sum(right), len(right)).proportion_ci(method="exact"))
    assert next(iter(found.values)) == "accuracy"
    matrix = get(store, found.artefacts["confusion"])
    plain = np.zeros((4, 4), dtype=np.int64)
    for own, answer in zip(y.tolist(), predicted.tolist(), strict=True):
        plain[own, answer] += 1
    np.testing.assert_array_equal(matrix, plain)
    assert found.parameters["labels"] == GIVEN


def test_each_row_tells_the_answer_its_probability_and_its_group() -> None:
    model, store, (x, y) = model_of(), MemoryStore(), inputs()
    answers = answers_of(model, data_of(model, x, y, GROUPS), store)
    rows = list(get_rows(store, performance(answers, model, store).artefacts["rows"]))
    sure = Scores()(x).double().softmax(1)
    assert [row["predicted"] for row in rows] == sure.argmax(1).tolist()
    assert [row["right"] for row in rows] == (sure.argmax(1) == y).tolist()
    assert [row["group"] for row in rows] == GROUPS
    np.testing.assert_allclose([row["probability"] for row in rows], sure.amax(1).detach(), rtol=1e-6)
    scores = np.concatenate([kept for _, kept in answers.scored()])
    np.testing.assert_allclose(scores, Scores()(x).detach(), atol=1e-5)


def test_an_output_that_is_not_a_number_is_wrong_and_has_no_probability() -> None:
    net, store, (x, y) = Scores(broken=True), MemoryStore(), inputs(40, 0)
    x[5, 0, 0, 0] = 0
    model = model_of(net)
    y = Scores()(x).argmax(1)
    found = performance(answers_of(model, data_of(model, x, y), store), model, store)
    assert found.values["accuracy"].value == pytest.approx(39 / 40)
    row = list(get_rows(store, found.artefacts["rows"]))[5]
    assert (row["finite"], row["right"], row["probability"]) == (False, False, None)
    matrix = get(store, found.artefacts["confusion"])
    assert (matrix.sum(), np.trace(matrix)) == (39, 39), "it is taken for no class"
    assert (found.values[LOST].value, found.values[LOST].n) == (1, 40)


def test_without_labels_it_says_whose_answers_count_as_right() -> None:
    model, store, (x, _) = model_of(), MemoryStore(), inputs()
    found = performance(answers_of(model, data_of(model, x, None), store), model, store)
    assert found.parameters["labels"] == "the model's own answers for 40 of 40"


def test_one_output_stands_for_two_classes() -> None:
    x, _ = inputs()
    model = model_of(lambda batch: (batch.flatten(1)[:, :1] - 0.5) * 10, classes=("good", "bad"))
    y = (x.flatten(1)[:, 0] > 0.5).long()
    found = performance(answers_of(model, data_of(model, x, y), store := MemoryStore()), model, store)
    assert found.values["accuracy"].value == 1
    assert get(store, found.artefacts["confusion"]).shape == (2, 2)
