"""Norms: sizes, projections and steps against their definitions."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.optimize import minimize

from xai.robustness.norms import Norm, random_in_ball, shrink, shrink_l1, size, steepest

NORMS = tuple(Norm)


def some(count: int = 5, numbers: int = 6) -> torch.Tensor:
    return torch.randn(count, 2, numbers // 2, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize(("norm", "order"), [(Norm.LINF, torch.inf), (Norm.L2, 2), (Norm.L1, 1)])
def test_sizes_are_the_vector_norms(norm: Norm, order: float) -> None:
    x = some()
    wanted = torch.linalg.vector_norm(x.double().flatten(1), ord=order, dim=1)
    assert torch.allclose(size(x, norm), wanted, rtol=1e-12)


@pytest.mark.parametrize("norm", NORMS)
def test_shrinking_gives_the_nearest_point_of_the_ball(norm: Norm) -> None:
    x, radius = some(3, 4), torch.tensor([0.3, 1.0, 100.0], dtype=torch.float64)
    found = shrink(x, radius, norm)
    for row, limit, given in zip(x.flatten(1).double(), radius, found.flatten(1).double(), strict=True):

        def inside(v: object, limit: float = float(limit)) -> float:
            return limit - float(size(torch.as_tensor(v)[None], norm))

        best = minimize(
            lambda v, row=row: float((torch.as_tensor(v) - row).square().sum()),
            (row * 0).numpy(),
            constraints={"type": "ineq", "fun": inside},
            options={"maxiter": 500, "ftol": 1e-12},
        )
        assert inside(given) >= -1e-6
        assert float((given - row).square().sum()) <= best.fun + 1e-4


@pytest.mark.parametrize("norm", NORMS)
def test_points_drawn_from_a_ball_are_in_it_and_fill_it(norm: Norm) -> None:
    drawn = random_in_ball(torch.zeros(4000, 2), 0.5, norm, torch.Generator().manual_seed(0))
    sizes = size(drawn, norm)
    assert float(sizes.max()) <= 0.5 * (1 + 1e-6)
    # uniform in two dimensions: the share within half of the radius is a quarter, whatever the norm
    assert float((sizes <= 0.25).double().mean()) == pytest.approx(0.25, abs=0.03)
    assert drawn.mean(0).abs().max() < 0.02


@pytest.mark.parametrize(("norm", "dual"), [(Norm.LINF, 1), (Norm.L2, 2)])
def test_the_steepest_step_has_size_one_and_gains_the_dual_norm(norm: Norm, dual: float) -> None:
    slope = some()
    step = steepest(slope, norm)
    assert torch.allclose(size(step, norm), torch.ones(5, dtype=torch.float64), atol=1e-6)
    gained = (step * slope).flatten(1).sum(1)
    assert torch.allclose(gained, torch.linalg.vector_norm(slope.flatten(1), ord=dual, dim=1), atol=1e-5)


def test_the_l1_step_moves_the_strongest_hundredth() -> None:
    slope = torch.arange(1.0, 401.0)[None]
    step = steepest(slope, Norm.L1)
    assert step[0, -4:].tolist() == [0.25] * 4
    assert not step[0, :-4].any()


@pytest.mark.parametrize("norm", NORMS)
def test_a_gradient_of_zeros_moves_nothing(norm: Norm) -> None:
    assert not steepest(torch.zeros(2, 3), norm).any()
    assert not shrink(torch.zeros(2, 3), torch.ones(2), norm).any()


@pytest.mark.parametrize("seed", range(6))
def test_shrinking_for_l1_within_a_box_gives_the_nearest_point_of_both(seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    delta = torch.randn(1, 7, generator=generator, dtype=torch.float64)
    room = torch.rand(1, 7, generator=generator, dtype=torch.float64) * (torch.rand(1, 7, generator=generator) < 0.8)
    radius = 3 * torch.rand(1, generator=generator, dtype=torch.float64)
    # sizes in delta's directions are bounded numbers, so the ball is one linear constraint
    best = minimize(
        lambda v: float((torch.as_tensor(v) - delta[0].abs()).square().sum()),
        np.zeros(7),
        jac=lambda v: 2 * (v - delta[0].abs().numpy()),
        bounds=[(0, most) for most in room[0].tolist()],
        constraints={"type": "ineq", "fun": lambda v: float(radius) - v.sum(), "jac": lambda v: -np.ones(7)},
        options={"maxiter": 1000, "ftol": 1e-15},
    )
    found = shrink_l1(delta, radius, room)
    assert torch.allclose(found.abs()[0], torch.as_tensor(best.x), atol=1e-6)
    assert (found * delta >= 0).all()


def test_shrinking_for_l1_keeps_what_fits_and_survives_extremes() -> None:
    delta = torch.tensor([[0.5, -0.25, 0.0]])
    infinite, none = torch.full_like(delta, torch.inf), torch.zeros_like(delta)
    for room, radius, wanted in (
        (infinite, 0.75, delta),
        (infinite, torch.inf, delta),
        (infinite, 0.25, torch.tensor([[0.25, 0.0, 0.0]])),
        (infinite, 0.0, none),
        (none, 1.0, none),
        (torch.full_like(delta, 0.1), 9.0, torch.tensor([[0.1, -0.1, 0.0]])),
    ):
        assert torch.allclose(shrink_l1(delta, torch.tensor([radius]), room), wanted, atol=1e-7)
    assert shrink_l1(torch.tensor([[2.0]]), torch.tensor([0.5]), torch.tensor([[1.0]])).item() == 0.5
