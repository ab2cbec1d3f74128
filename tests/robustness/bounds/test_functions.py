"""What is said of each function of one number: its slope, its bends and turns, and how torch rounds it."""

from __future__ import annotations

import itertools
import math

import pytest
import torch

from tests.robustness.bounds.curves import CURVES, PERIODIC, defined, kernel
from xai.robustness.bounds.rounding import LARGEST, SMALLEST

UNIT = 2.0**-24
STRIDE = 6007  # of the bit patterns of float32 that are tried


def grid(name: str, start: float, stop: float) -> torch.Tensor:
    """Return points between, dense at both ends, where the curve has a value."""
    ends = torch.logspace(-9, 0, 2000, dtype=torch.float64) * min(1.0, (stop - start) / 2)
    points = torch.cat([start + ends, stop - ends, torch.linspace(start, stop, 4001, dtype=torch.float64)])
    return points.sort().values[defined(CURVES[name], *[points.sort().values] * 2)]


def stretches(name: str, cuts: tuple[float, ...]) -> list[torch.Tensor]:
    """Return points of each stretch between cuts."""
    reach = 2 * math.pi if name in PERIODIC else 30.0
    return [grid(name, *pair) for pair in itertools.pairwise((-reach, *cuts, reach))]


@pytest.mark.parametrize("name", CURVES)
def test_the_slope_is_that_of_the_function(name: str) -> None:
    curve = CURVES[name]
    for points, derivative in zip(stretches(name, curve.bends), curve.derivatives, strict=True):
        x = points[3:-3].clone().requires_grad_()
        (slope,) = torch.autograd.grad(curve.function(x).sum(), x)
        torch.testing.assert_close(derivative(x.detach()), slope, rtol=1e-7, atol=1e-12)  # torch holds 1 / 6 in float32


@pytest.mark.parametrize("name", CURVES)
def test_between_bends_the_slope_only_rises_or_only_falls(name: str) -> None:
    curve = CURVES[name]
    for points, derivative in zip(stretches(name, curve.bends), curve.derivatives, strict=True):
        slope = derivative(points)
        noise = 1e-14 * (1 + slope.abs()[1:])
        change = slope.diff()
        assert bool((change >= -noise).all()) or bool((change <= noise).all())


@pytest.mark.parametrize("name", CURVES)
def test_between_turns_the_function_only_rises_or_only_falls(name: str) -> None:
    curve = CURVES[name]
    apart = (0.0,) if curve.defined is not None and curve.bends else ()  # it has no value at the bend
    for points in stretches(name, tuple(sorted({*curve.turns, *apart}))):
        value = curve.function(points)
        noise = 1e-14 * (1 + value.abs()[1:] + points.abs()[1:])
        assert bool((value.diff() >= -noise).all()) or bool((value.diff() <= noise).all())
        assert bool((value >= curve.least).all())


@pytest.mark.parametrize("name", CURVES)
def test_it_is_what_torch_computes(name: str) -> None:
    curve = CURVES[name]
    points = torch.cat(stretches(name, ()))
    difference = (kernel(name)(points) - curve.function(points)).abs()
    assert bool((difference <= curve.jump + 1e-14 * (1 + points.abs())).all())
    if curve.jump > 1e-6:
        assert float(difference.max()) > 0.5 * curve.jump


def single_numbers(stride: int) -> torch.Tensor:
    """Return every stride-th of all float32 numbers that a network may compute with."""
    patterns = torch.arange(0, 2**31, stride, dtype=torch.int64).to(torch.int32)
    numbers = patterns.view(torch.float32)
    numbers = numbers[numbers.abs() < LARGEST]
    return torch.cat([numbers, -numbers])


def excess(name: str, x: torch.Tensor, computed: torch.Tensor) -> torch.Tensor:
    """Return by how many units of 2 ** -24 what torch computed in float32 is off, underflow apart."""
    curve = CURVES[name]
    exact = curve.function(x.double())
    counts = defined(curve, x.double(), x.double()) & (exact.abs() < LARGEST)
    sizes = exact.abs() + (x.double().abs() if curve.carried else 0)
    room = curve.jump + (curve.terms or 1) * SMALLEST[torch.float32]
    error = ((computed.double() - exact).abs() - room).clamp(min=0)
    return (error / sizes.clamp(min=1e-300) / UNIT)[counts]


@pytest.mark.parametrize("name", [name for name, curve in CURVES.items() if curve.terms is not None])
def test_torch_rounds_it_no_further_than_is_said(name: str) -> None:
    x, function, terms = single_numbers(STRIDE), kernel(name), CURVES[name].terms
    assert terms is not None
    assert float(excess(name, x, function(x)).max()) <= terms  # the vectorised kernel
    apart = torch.stack([x, x], 1)[:, 0]
    assert float(excess(name, x, function(apart)).max()) <= terms  # the one for numbers that lie apart
    few = x[:: len(x) // 50]
    assert float(excess(name, few, torch.stack([function(one) for one in few])).max()) <= terms  # and one by one
