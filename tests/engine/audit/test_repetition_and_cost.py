"""The same input twice, alone and in a batch, with other threads; and what an answer costs."""

from __future__ import annotations

import itertools
from dataclasses import replace

import pytest
import torch
from torch import nn

from tests.engine.audit.small import Scores, data_of, inputs, model_of
from xai.data.samples import Sample
from xai.engine.audit.cost import cost
from xai.engine.audit.repetition import repetition
from xai.models.model import Model


def samples(model: Model, count: int = 8) -> list[Sample]:
    x, y = inputs(count, 0)
    return list(data_of(model, x, y).read_many(range(count)).samples)


def test_a_plain_network_answers_the_same_again() -> None:
    model, threads = model_of(), torch.get_num_threads()
    found = repetition(model, samples(model)).values
    assert found["largest difference, asked twice"].value == 0
    assert found["answers that change"].value == 0
    assert found["largest difference, alone and in a batch of 8"].value < 1e-5
    assert torch.get_num_threads() == threads


def test_one_that_counts_its_calls_is_found_out() -> None:
    calls = itertools.count()
    model = model_of(lambda x: x.flatten(1)[:, :4] + torch.nn.functional.one_hot(torch.tensor(next(calls) % 4), 4) * 9)
    found = repetition(model, samples(model)).values
    assert found["largest difference, asked twice"].value == pytest.approx(9)
    assert found["answers that change"].value == 8


def test_one_that_looks_at_the_batch_is_found_out() -> None:
    model = replace(model_of(), forward=lambda x: x.flatten(1)[:, :4] - x.flatten(1)[:, :4].mean(0), graph=None)
    found = repetition(model, samples(model)).values
    assert found["largest difference, asked twice"].value == 0
    assert found["largest difference, alone and in a batch of 8"].value > 0.1
    assert found["answers that change"].value > 0


def test_not_a_number_twice_is_the_same_and_once_is_no_number() -> None:
    model = model_of(Scores(broken=True))
    held = samples(model)
    held[2].input[0, 0, 0] = 0
    assert repetition(model, held).values["largest difference, asked twice"].value == 0
    calls = itertools.count()
    other = model_of(lambda x: x.flatten(1)[:, :4] / (next(calls) % 2))
    found = repetition(other, samples(other))
    assert found.values["largest difference, asked twice"].value is None
    assert found.model_validate_json(found.model_dump_json()) == found


def test_cost_is_counted_on_the_graph_and_timed_on_one_image() -> None:
    model = model_of(nn.Sequential(nn.Flatten(), nn.Linear(20, 6), nn.ReLU(), nn.Linear(6, 4)))
    found = cost(model, samples(model))
    assert found.values["multiply-adds"].value == 20 * 6 + 6 * 4
    assert found.values["weights"].value == 4 * (20 * 6 + 6 + 6 * 4 + 4)
    assert found.seconds > 0
    box = model_of(lambda x: x.flatten(1)[:, :4])
    assert cost(box, samples(box)).values == {}
