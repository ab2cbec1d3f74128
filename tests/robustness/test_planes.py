"""The nearest point of a plane within a range, against linear and quadratic programs."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.optimize import linprog, minimize

from xai.robustness.norms import Norm, size
from xai.robustness.planes import to_plane


def smallest(x: np.ndarray, slope: np.ndarray, rise: float, norm: Norm, low: float, high: float) -> float:
    """Return the size of the smallest change d with slope . d = rise that keeps x + d in the range."""
    count = len(x)
    bounds = list(zip(low - x, high - x, strict=True))
    if norm is Norm.L2:
        found = minimize(
            lambda d: d @ d,
            np.zeros(count),
            jac=lambda d: 2 * d,
            bounds=bounds,
            constraints={"type": "eq", "fun": lambda d: slope @ d - rise, "jac": lambda d: slope},
            options={"ftol": 1e-14, "maxiter": 1000},
        )
        return math.sqrt(found.fun)
    extra = 1 if norm is Norm.LINF else count
    sizes = np.ones((count, 1)) if norm is Norm.LINF else np.eye(count)
    above = np.r_[np.c_[np.eye(count), -sizes], np.c_[-np.eye(count), -sizes]]
    program = linprog(
        np.r_[np.zeros(count), np.ones(extra)],
        above,
        np.zeros(2 * count),
        np.r_[slope, np.zeros(extra)][None],
        [rise],
        bounds=[*bounds, *[(0, None)] * extra],
    )
    return float(program.fun)


@pytest.mark.parametrize("norm", sorted(Norm))
@pytest.mark.parametrize(("low", "high"), [(0.0, 1.0), (-math.inf, math.inf), (-math.inf, 1.0)])
def test_changes_are_the_smallest_that_reach_the_plane(norm: Norm, low: float, high: float) -> None:
    generator = torch.Generator().manual_seed(1)
    x = torch.rand(12, 2, 4, generator=generator, dtype=torch.float64)
    slope = torch.randn(12, 2, 4, generator=generator, dtype=torch.float64)
    slope[3, 0] = 0
    x[4, 1, :2] = torch.tensor([0.0, 1.0])
    rise = 0.3 * torch.randn(12, generator=generator, dtype=torch.float64)  # within reach of the range
    change = to_plane(x, slope, rise, norm, low, high)
    assert torch.allclose((change * slope).flatten(1).sum(1), rise, atol=1e-9)
    assert ((x + change >= low - 1e-12) & (x + change <= high + 1e-12)).all()
    for row in range(12):
        flat = (x[row].flatten().numpy(), slope[row].flatten().numpy(), float(rise[row]))
        assert float(size(change[row : row + 1], norm)) == pytest.approx(smallest(*flat, norm, low, high), rel=1e-5)


@pytest.mark.parametrize("norm", sorted(Norm))
def test_a_plane_out_of_reach_is_approached_as_far_as_the_range_goes(norm: Norm) -> None:
    x, slope = torch.tensor([[0.2, 0.5, 0.9]]), torch.tensor([[1.0, -2.0, 0.0]])
    moved = x + to_plane(x, slope, torch.tensor([50.0]), norm, 0, 1)
    assert torch.allclose(moved, torch.tensor([[1.0, 0.0, 0.9]]))


@pytest.mark.parametrize("norm", sorted(Norm))
def test_a_slope_of_zeros_and_a_rise_of_zero_move_nothing(norm: Norm) -> None:
    x = torch.rand(1, 5, generator=torch.Generator().manual_seed(0))
    assert not to_plane(x, torch.zeros(1, 5), torch.ones(1), norm, 0, 1).any()
    assert not to_plane(x, torch.ones(1, 5), torch.zeros(1), norm, 0, 1).any()
