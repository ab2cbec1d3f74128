"""KernelSHAP against Shapley's own formula, captum, and its pitfalls."""

from __future__ import annotations

from itertools import combinations
from math import factorial

import numpy as np
import pytest
import torch
from captum.attr import KernelShap as Reference

from tests.explainers.test_lime import colourful
from tests.networks import Linear
from xai.api import explain, load
from xai.explainers.kernelshap import solved
from xai.models.model import Model
from xai.reports.run import Found


def kernelshap(model: Model, x: torch.Tensor, target: int = 0, **parameters: object) -> Found:
    given = {"segmentation": "grid", "fill": "black", **parameters}
    return explain(model, x, methods="kernelshap", measures="none", target=target, parameters={"kernelshap": given})[
        "kernelshap"
    ]


def by_segment(found: Found) -> np.ndarray:
    labels = found.run.array(found.record, "segment labels")
    return np.array([found.map[labels == number][0] for number in range(labels.max() + 1)])


class Curved(torch.nn.Module):
    """Products of means over places: what parts do together counts."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        left, right = x[..., :12].mean((1, 2, 3)), x[..., 12:].mean((1, 2, 3))
        return torch.stack([8 * left * right + left, (3 * x.mean((1, 2, 3))).sin() * left, right.exp()], 1)


@pytest.fixture(scope="module")
def curved() -> Model:
    return load(Curved(), shape=(3, 24, 24))


def shapley(model: Model, x: torch.Tensor, labels: np.ndarray, target: int) -> np.ndarray:
    """Return the shares by the definition: the mean of what a part adds, over all orders."""
    count = labels.max() + 1
    places = torch.from_numpy(labels)

    def value(shown: tuple[int, ...]) -> float:
        mask = torch.isin(places, torch.tensor(shown, dtype=places.dtype))
        return float(model((x * mask)[None])[0, target])

    shares = np.zeros(count)
    for part in range(count):
        others = [other for other in range(count) if other != part]
        for size in range(count):
            weight = factorial(size) * factorial(count - size - 1) / factorial(count)
            for shown in combinations(others, size):
                shares[part] += weight * (value((*shown, part)) - value(shown))
    return shares


@pytest.mark.parametrize("target", [0, 1, 2])
def test_few_segments_get_their_exact_shapley_values(curved: Model, target: int) -> None:
    found = kernelshap(curved, colourful(), target, segments=6)
    labels = found.run.array(found.record, "segment labels")
    np.testing.assert_allclose(by_segment(found), shapley(curved, colourful(), labels, target), atol=1e-5)
    assert found.record.values["samples"].value == 62
    assert found.record.values["ranking's interval"].value == 0


def test_samples_come_near_the_exact_values_and_always_add_up(curved: Model) -> None:
    exact = by_segment(kernelshap(curved, colourful(), 1, segments=9))
    found = kernelshap(curved, colourful(), 1, segments=9, samples=400)
    assert found.record.values["samples"].value == 400
    near = by_segment(found)
    assert np.abs(near - exact).max() < 0.08 * np.abs(exact).max()
    values = found.record.values
    assert near.sum() == pytest.approx(values["output"].value - values["output when covered"].value, abs=1e-6)


def test_it_agrees_with_captum(curved: Model) -> None:
    x = colourful()
    found = kernelshap(curved, x, 1, segments=9)
    labels = torch.from_numpy(found.run.array(found.record, "segment labels"))
    torch.manual_seed(0)
    theirs = Reference(curved.forward).attribute(
        x[None], target=1, feature_mask=labels[None, None].long().expand(1, 3, 24, 24), n_samples=4000
    )
    np.testing.assert_allclose(found.map, theirs[0, 0].numpy(), atol=0.1 * np.abs(found.map).max())


def test_a_linear_model_gets_each_segments_contribution() -> None:
    wide = load(Linear((3, 24, 24)), shape=(3, 24, 24))
    x = colourful()
    found = kernelshap(wide, x, 1, segments=16, samples=200)
    contribution = (x * Linear((3, 24, 24)).weight.detach()[1]).sum(0).numpy()
    labels = found.run.array(found.record, "segment labels")
    expected = [contribution[labels == number].sum() for number in range(16)]
    np.testing.assert_allclose(by_segment(found), expected, atol=1e-4 * np.abs(expected).max())


def test_it_stops_when_the_ranking_is_sure_enough(curved: Model) -> None:
    x = torch.rand((3, 24, 24), generator=torch.Generator().manual_seed(5))
    vague = kernelshap(curved, x, 1, segments=36, samples=2000, interval=0.7)
    sure = kernelshap(curved, x, 1, segments=36, samples=2000, interval=0.4)
    assert vague.record.values["samples"].value < sure.record.values["samples"].value <= 2000
    widths = [found.record.values["ranking's interval"].value for found in (sure, vague)]
    assert widths[0] <= 0.4 < widths[1] <= 0.7


def test_few_samples_still_add_up() -> None:
    found = solved(np.diag([1.0, 1.0, 0.0]), np.array([1.0, 2.0, 0.0]), 6.0)
    assert found.sum() == pytest.approx(6)
