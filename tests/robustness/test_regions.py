"""Regions: what they hold, and that nothing leaves them by rounding."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from xai.errors import UsageError
from xai.robustness.norms import Norm
from xai.robustness.regions import Region, read_epsilon


@pytest.mark.parametrize("norm", tuple(Norm))
@given(epsilon=st.floats(1e-6, 10), seed=st.integers(0, 100), scale=st.floats(0.01, 100))
@settings(max_examples=60, deadline=None)
def test_projected_points_are_in_the_region_to_the_last_bit(
    norm: Norm, epsilon: float, seed: int, scale: float
) -> None:
    generator = torch.Generator().manual_seed(seed)
    x = torch.rand(4, 3, 5, generator=generator)
    points = x + scale * torch.randn(4, 3, 5, generator=generator)
    region = Region(norm, epsilon, 0.0, 1.0)
    assert region.holds(x, region.project(x, points)).all()
    assert region.holds(x, region.draw(x, generator)).all()


def test_a_box_is_rounded_inwards() -> None:
    x = torch.tensor([[0.3, 0.7, 0.1]])
    lower, upper = Region(Norm.LINF, 0.1, 0.0, 1.0).box(x)
    assert (lower.double() >= x.double() - 0.1).all()
    assert (upper.double() <= x.double() + 0.1).all()
    assert torch.allclose(upper - lower, torch.tensor([[0.2, 0.2, 0.2]]), atol=1e-6)


def test_a_point_outside_by_a_bit_is_not_held() -> None:
    x = torch.full((1, 4), 0.5)
    region = Region(Norm.LINF, 0.25, 0.0, 1.0)
    assert region.holds(x, x + 0.25).all()
    assert not region.holds(x, torch.nextafter(x + 0.25, torch.tensor(1.0))).any()
    assert not Region(Norm.LINF, 9.0, 0.0, 1.0).holds(x, x + 0.6).any()


def test_a_region_without_range_is_a_whole_ball() -> None:
    x = torch.zeros(1, 3)
    assert torch.equal(Region(Norm.LINF, 2.0).project(x, x + 5), x + 2)
    assert Region(Norm.L2, math.inf, 0, 1).holds(x, x + 1).all()


@pytest.mark.parametrize(
    ("text", "value"), [("8/255", 8 / 255), (" 0.03 ", 0.03), ("1e-2", 0.01), (0.5, 0.5), ("0", 0)]
)
def test_epsilons_are_read(text: str | float, value: float) -> None:
    assert read_epsilon(text) == value


@pytest.mark.parametrize(
    "text",
    ["1e99999999", "1e-99999999", "0." + "1" * 200, "eight", "8/0", "-1/255", "nan", "inf", "", math.nan, "1e999"],
)
def test_what_is_no_epsilon_is_refused(text: str | float) -> None:
    with pytest.raises(UsageError, match="expected a number that is not negative"):
        read_epsilon(text)


def test_the_l1_projection_is_the_nearest_point_of_ball_and_range() -> None:
    x, points = torch.tensor([[0.9, 0.5, 0.5]]), torch.tensor([[1.9, 0.9, 0.6]])
    # the first number can change by 0.1 only: what it may not use is left to the second
    found = Region(Norm.L1, 0.4, 0.0, 1.0).project(x, points)
    assert torch.allclose(found, torch.tensor([[1.0, 0.8, 0.5]]), atol=1e-6)


@given(low=st.floats(-2, 0), high=st.floats(0.01, 2))
@settings(max_examples=60, deadline=None)
def test_clipped_points_are_in_the_range_to_the_last_bit(low: float, high: float) -> None:
    region = Region(Norm.L2, math.inf, low, high)
    points = 10 * torch.randn(4, 9, generator=torch.Generator().manual_seed(0))
    clipped = region.clip(points)
    assert ((clipped.double() >= low) & (clipped.double() <= high)).all()
    inside = (points > low) & (points < high)
    assert torch.equal(clipped[inside], points[inside])
    assert torch.allclose(clipped, points.clamp(low, high), atol=1e-6)


def test_the_reach_is_the_way_to_the_farthest_corner() -> None:
    x = torch.tensor([[0.25, 0.5]])
    region = Region(Norm.L2, math.inf, 0.0, 1.0)
    assert region.reach(x, Norm.LINF).item() == 0.75
    assert region.reach(x, Norm.L1).item() == 1.25
    assert Region(Norm.L2, math.inf).reach(x, Norm.L2).isinf().all()
    assert (region.span, Region(Norm.L2, 1.0).span, Region(Norm.L2, 1.0, -1.0, 3.0).span) == (1, 1, 4)
