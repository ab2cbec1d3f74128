"""Deletion and insertion against a plain second version, a closed form, and its pitfalls."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from tests.measures.subjects import gradient, subject
from tests.networks import Linear
from xai.api import load
from xai.measures.deletion import Deletion, centre_blob, edge_map, permuted, ranking
from xai.models.model import Model
from xai.runtime import Runtime


@pytest.fixture
def x() -> torch.Tensor:
    return torch.rand((3, 12, 10), generator=torch.Generator().manual_seed(1))


def test_the_true_order_of_a_linear_model_beats_every_control(linear: Model, x: torch.Tensor) -> None:
    said = Deletion(fill="black", steps=12).measure(subject(linear, x, gradient), Runtime())
    assert said.speaks == "for"
    assert said.values["controls beaten in deletion"].value == 5
    assert said.values["controls beaten in insertion"].value == 5
    assert said.sentence.count("faster than 5 of 5") == 2


def test_the_reversed_order_speaks_against_the_map(linear: Model, x: torch.Tensor) -> None:
    said = Deletion(fill="black").measure(subject(linear, x, lambda *asked: -gradient(*asked)), Runtime())
    assert said.speaks == "against"
    assert said.values["controls beaten in deletion"].value == 0


def test_an_output_that_does_not_follow_the_map_is_said(linear: Model) -> None:
    # Every place speaks against the target, so covering any of them raises its output.
    model = load(Against(), shape=(3, 12, 10))
    x = torch.rand((3, 12, 10), generator=torch.Generator().manual_seed(1))
    said = Deletion(fill="black").measure(subject(model, x, gradient), Runtime())
    assert said.values["controls beaten in deletion"].value == 5
    assert said.speaks == "against"
    assert "does not lower the output" in said.sentence
    assert "does not raise it" in said.sentence


class Against(Linear):
    """Outputs fall with every pixel."""

    def __init__(self) -> None:
        super().__init__()
        self.weight.data = -self.weight.data.abs()


def test_it_equals_a_plain_second_version(linear: Model, x: torch.Tensor) -> None:
    said = Deletion(fill=0.3, steps=7).measure(subject(linear, x, gradient, target=2), Runtime(memory=1))
    contribution = ((x - 0.3) * Linear().weight.detach()[2]).sum(0).double().numpy().ravel()
    order = np.argsort(-gradient(linear, x, linear.target(2)).ravel())
    nothing = float((0.3 * Linear().weight.detach()[2]).sum())
    deleted = [nothing + contribution[order[round(120 * step / 7) :]].sum() for step in range(8)]
    inserted = [nothing + contribution[order[: round(120 * step / 7)]].sum() for step in range(8)]
    np.testing.assert_allclose(said.arrays["curves"][0], [deleted, inserted], atol=2e-4)
    assert said.values["deletion"].value == pytest.approx(np.mean(np.add(deleted[1:], deleted[:-1]) / 2), abs=1e-4)
    assert said.values["insertion"].value == pytest.approx(np.mean(np.add(inserted[1:], inserted[:-1]) / 2), abs=1e-4)


def test_fill_steps_and_every_controls_number_are_recorded(linear: Model, x: torch.Tensor) -> None:
    said = Deletion(fill="grey", steps=4, permutations=2).measure(subject(linear, x, gradient), Runtime())
    assert said.chosen["fill value"] == "0.5, 0.5, 0.5"
    controls = {name.partition(", ")[2] for name in said.values if ", " in name}
    assert controls == {"permuted 1", "permuted 2", "edges", "centre"}
    assert said.arrays["curves"].shape == (5, 2, 5)


@pytest.mark.parametrize("shape", [(12, 10), (64, 64), (7, 7), (3, 20), (1, 1)])
def test_a_permuted_map_holds_the_maps_own_patches(shape: tuple[int, int]) -> None:
    map_ = np.random.default_rng(0).random(shape)
    mixed = permuted(map_, 4, np.random.default_rng(1))
    assert mixed.shape == shape
    assert set(mixed.ravel()) <= set(map_.ravel())
    if shape == (64, 64):
        assert np.array_equal(np.sort(mixed.ravel()), np.sort(map_.ravel()))
        assert not np.array_equal(mixed, map_)
        blocks = {map_[row : row + 16, column].tobytes() for row in range(0, 64, 16) for column in range(64)}
        assert {mixed[row : row + 16, column].tobytes() for row in range(0, 64, 16) for column in range(64)} == blocks


def test_ties_are_broken_by_chance_and_not_by_place() -> None:
    order = np.random.default_rng(0).permutation(100)
    map_ = np.zeros((10, 10))
    map_[4, 5] = 1
    ranked = ranking(map_, order)
    assert ranked[0] == 45
    assert np.array_equal(ranked[1:], order[order != 45])


def test_controls_know_nothing_of_the_model() -> None:
    x = np.zeros((3, 9, 9))
    x[:, :, 5:] = 1
    edges = edge_map(x)
    assert set(np.flatnonzero(edges.max(0))) == {4, 5}
    blob = centre_blob(9, 7)
    assert np.unravel_index(blob.argmax(), blob.shape) == (4, 3)
    assert edge_map(np.ones((1, 1, 1))).tolist() == [[0.0]]
