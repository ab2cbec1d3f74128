"""Integrated gradients against captum, a closed form, and the axiom of completeness."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from captum.attr import IntegratedGradients as Reference
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from tests.networks import Linear, Small, Smooth, cnn, seeded
from xai.api import explain, load
from xai.errors import UsageError
from xai.explainers.integratedgradients import Integral, _places
from xai.models.model import Model
from xai.models.targets import Target
from xai.reports.run import Found


def integrated(model: Model, x: torch.Tensor, target: int = 1, **parameters: object) -> Found:
    given = {"integratedgradients": parameters}
    return explain(model, x, methods="integratedgradients", target=target, measures="none", parameters=given)[
        "integratedgradients"
    ]


@pytest.mark.parametrize("make", [Smooth, cnn])
def test_it_equals_captum(noise: torch.Tensor, make: type[nn.Module]) -> None:
    network = seeded(make)
    found = integrated(load(network, shape=(3, 16, 16)), noise, baseline="black", error=0.5, most_steps=16)
    assert found.record.values["steps"].value == 16
    theirs = Reference(network).attribute(noise[None], target=1, n_steps=17, method="riemann_trapezoid")
    theirs = theirs[0].sum(0).detach() * 17 / 16  # captum's weights add up to 16/17
    np.testing.assert_allclose(found.map, theirs, atol=1e-5 * float(theirs.abs().max()))


def test_of_a_linear_model_it_is_what_each_pixel_adds_to_the_baseline(linear: Model) -> None:
    x = torch.rand((3, 12, 10), generator=torch.Generator().manual_seed(1))
    expected = ((x - 0.25) * Linear().weight[2].detach()).sum(0)
    found = integrated(linear, x, target=2, baseline=0.25)
    np.testing.assert_allclose(found.map, expected, atol=1e-5)
    assert found.record.parameters["baseline colour"] == "0.25, 0.25, 0.25"


@pytest.mark.parametrize("make", [Small, Smooth, cnn])
@pytest.mark.parametrize("fill", ["image", "black", "white", 0.3])
def test_attributions_add_up(noise: torch.Tensor, make: type[nn.Module], fill: str | float) -> None:
    network = seeded(make)
    found = integrated(load(network, shape=(3, 16, 16)), noise, baseline=fill, error=1e-3, most_steps=4096)
    values = found.record.values
    colour = {"image": noise.mean((1, 2), keepdim=True), "black": 0.0, "white": 1.0}.get(fill, fill)
    with torch.no_grad():
        after, before = network(torch.stack([noise, torch.zeros_like(noise) + colour]))[:, 1].tolist()
    assert values["output"].value == pytest.approx(after, rel=1e-5)
    assert values["output of the baseline"].value == pytest.approx(before, rel=1e-5)
    assert found.map.sum() == pytest.approx(after - before, rel=2e-3)
    assert values["completeness error"].value == pytest.approx(abs(found.map.sum() / (after - before) - 1), abs=1e-4)
    assert values["completeness error"].value <= 1e-3


def test_steps_are_doubled_until_the_error_is_small_and_no_further(noise: torch.Tensor) -> None:
    network = seeded(Smooth)
    network.conv.weight.data *= 8
    model = load(network, shape=(3, 16, 16))
    found = {error: integrated(model, noise, error=error).record.values for error in (1e-2, 1e-4)}
    assert found[1e-2]["steps"].value < found[1e-4]["steps"].value == 128
    assert all(values["completeness error"].value <= error for error, values in found.items())
    fewer = integrated(model, noise, error=1e-4, most_steps=64).record.values
    assert fewer["steps"].value == 64
    assert fewer["completeness error"].value > 1e-4


def test_too_few_steps_are_said(noise: torch.Tensor) -> None:
    network = seeded(Smooth)
    network.conv.weight.data *= 8
    found = integrated(load(network, shape=(3, 16, 16)), noise, error=1e-6, most_steps=16).record
    assert found.values["steps"].value == 16
    assert found.values["completeness error"].value > 1e-6
    assert "After 16 steps the attributions still miss" in found.notes[0]


def test_a_picture_of_the_baselines_colour_is_blank_and_has_no_error(small: Model) -> None:
    found = integrated(small, torch.full((3, 16, 16), 0.5), baseline="grey")
    assert not found.map.any()
    error = found.record.values["completeness error"]
    assert error.value is None
    assert "the same but for rounding" in error.reason


def test_a_baseline_out_of_range_is_refused(small: Model, noise: torch.Tensor) -> None:
    with pytest.raises(UsageError, match=r"baseline is 3; expected a value in"):
        integrated(small, noise, baseline=3.0)


@given(st.lists(st.floats(-2, 2), min_size=4, max_size=4), st.integers(0, 4))
@settings(deadline=None)
def test_doubled_steps_are_the_trapezoidal_rule(coefficients: list[float], doublings: int) -> None:
    polynomial = np.polynomial.Polynomial(coefficients)
    integral = Integral(Target(0, ""), 0.0, 0.0, torch.ones(1, 1, 1), torch.zeros(1, 1, 1, dtype=torch.float64))
    steps = 4
    for doubling in range(doublings + 1):
        places, weights = _places(steps * 2**doubling, first=doubling == 0)
        sums = (torch.from_numpy(polynomial(places.numpy())) * weights).sum().view(1, 1, 1)
        integral.refine(sums, steps * 2**doubling)
    at = np.linspace(0, 1, integral.steps + 1)
    assert float(integral.total) == pytest.approx(np.trapezoid(polynomial(at), at), abs=1e-9)
