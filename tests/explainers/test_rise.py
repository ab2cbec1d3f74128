"""RISE against its formula, the published masks' properties, and its pitfalls."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from tests.conftest import IMAGES
from tests.networks import Linear
from xai.api import explain, load
from xai.explainers import rise as module
from xai.explainers.rise import enlarged
from xai.masking.sampling import Balanced, Fair
from xai.models.model import Model
from xai.reports.run import Found


def rise(model: Model, x: torch.Tensor, target: int = 0, seed: int = 0, **parameters: object) -> Found:
    run = explain(model, x, methods="rise", measures="none", target=target, seed=seed, parameters={"rise": parameters})
    return run["rise"]


def test_masks_are_smooth_shifted_and_half_shown() -> None:
    generator = torch.Generator().manual_seed(0)
    cells = torch.randint(2, (400, 8, 8), generator=generator).bool()
    shifts = torch.rand((400, 2), generator=generator)
    masks = enlarged(cells, shifts, (30, 44))
    assert masks.shape == (400, 30, 44)
    assert masks.min() >= 0
    assert masks.max() <= 1 + 1e-6
    assert float(masks.mean()) == pytest.approx(0.5, abs=0.01)
    steps = masks.diff(dim=2).abs().max()
    assert float(steps) <= 1 / (44 // 7) + 1e-6  # from one cell to the next in no less than a cell
    whole = enlarged(cells[:1], torch.zeros(1, 2), (30, 44))
    moved = enlarged(cells[:1], torch.tensor([[0.5, 0.0]]), (30, 44))
    torch.testing.assert_close(moved[0, :-2], whole[0, 2:])  # half of a cell of 5 rows
    torch.testing.assert_close(enlarged(~cells, shifts, (30, 44)), 1 - masks)


def test_the_map_is_the_formula_on_the_recorded_masks(small: Model, noise: torch.Tensor) -> None:
    found = rise(small, noise, 2, samples=301, cells=4, fill=0.3, batch=7)
    codes = torch.from_numpy(found.run.array(found.record, "masks"))
    masks = enlarged(codes[:, :-2].bool().view(-1, 5, 5), codes[:, -2:], (16, 16))
    with torch.no_grad():
        outputs = small(masks[:, None] * noise + (1 - masks[:, None]) * 0.3)[:, 2].double()
    expected = (masks.double() * outputs[:, None, None]).sum(0) / masks.double().sum(0) - outputs.mean()
    np.testing.assert_allclose(found.map, expected, atol=1e-5)
    assert found.record.values["mean output"].value == pytest.approx(float(outputs.mean()), abs=1e-5)


def test_opposites_cancel_what_is_no_place() -> None:
    """An output that only depends on how much is shown, evenly, says nothing of places."""

    class Even(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.stack([(x.mean((1, 2, 3)) - 0.25).square(), x[:, :, :4, :4].mean((1, 2, 3))], 1)

    model = load(Even(), shape=(3, 16, 16))
    x = torch.full((3, 16, 16), 0.5)
    found = rise(model, x, 0, samples=200, fill="black")
    assert np.abs(found.map).max() < 1e-6
    corner = rise(model, x, 1, samples=400, fill="black").map
    assert corner[:4, :4].min() > 2 * np.abs(corner[8:, 8:]).max()


def test_it_finds_where_a_linear_model_looks() -> None:
    network = Linear((3, 24, 24))
    with torch.no_grad():
        network.weight.zero_()
        network.weight[1, :, 4:10, 12:20] = 1
    found = rise(load(network, shape=(3, 24, 24)), torch.ones(3, 24, 24), 1, samples=2000, fill="black")
    row, column = np.unravel_index(found.map.argmax(), found.map.shape)
    assert 4 <= row < 10
    assert 12 <= column < 20


def test_it_stops_when_the_ranking_is_sure_enough(small: Model, noise: torch.Tensor) -> None:
    vague = rise(small, noise, 1, samples=4000, cells=4, interval=0.5)
    sure = rise(small, noise, 1, samples=4000, cells=4, interval=0.3)
    assert vague.record.values["samples"].value < sure.record.values["samples"].value <= 4000
    assert sure.record.values["ranking's interval"].value <= 0.3


def test_balanced_masks_come_nearer_than_as_many_that_are_not(shapes: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    x = shapes.prepare(IMAGES / "ring.png").tensor
    truth = rise(shapes, x, 3, samples=20_000, seed=99).map
    errors = {}
    for kind in (Balanced, Fair):
        monkeypatch.setattr(module, "Balanced", kind)
        found = [rise(shapes, x, 3, samples=512, seed=seed).map for seed in range(3)]
        errors[kind] = np.mean([np.linalg.norm(one - truth) for one in found])
    assert errors[Balanced] < errors[Fair] / 1.3


@pytest.mark.parametrize("batch", [1, 5, 64])
def test_the_batch_size_does_not_matter(small: Model, noise: torch.Tensor, batch: int) -> None:
    one = rise(small, noise, 1, samples=50, batch=2).map
    np.testing.assert_allclose(rise(small, noise, 1, samples=50, batch=batch).map, one, atol=1e-6)
