"""The lowest value of a linear function over clipped balls: beside a linear program, and beside a convex one."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.optimize import linprog

from tests.robustness.bounds.nets import ball_of, box_of, points_in
from xai.robustness.bounds.inputs import Inputs
from xai.robustness.norms import Norm

NUMBERS, ROWS, SAMPLES = 7, 3, 4


def drawn(seed: int, radius: float, norm: Norm) -> tuple[Inputs, torch.Tensor]:
    """Return balls clipped to the range from 0 to 1, some centres at its ends, and rows with zeros among them."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.rand(SAMPLES, NUMBERS, generator=generator).mul(1.4).sub(0.2).clamp(0, 1)
    rows = torch.randn(ROWS, SAMPLES, 1, NUMBERS, generator=generator, dtype=torch.float64)
    rows[0, :, :, ::3] = 0.0
    return ball_of(x, radius, norm), rows


def by_linear_program(inputs: Inputs, row: torch.Tensor, sample: int, radius: float) -> float:
    """Return the lowest value over an l1 ball in a box, the change split in what rises and what falls."""
    lower, upper, centre = (part[sample, 0].numpy() for part in (inputs.box.lower, inputs.box.upper, inputs.centre))
    cost = row[sample, 0].numpy()
    limits = [
        *zip(np.zeros(NUMBERS), upper - centre, strict=True),
        *zip(np.zeros(NUMBERS), centre - lower, strict=True),
    ]
    found = linprog(np.concatenate([cost, -cost]), A_ub=np.ones((1, 2 * NUMBERS)), b_ub=[radius], bounds=limits)
    return float(found.fun + cost @ centre)


def by_clipping(inputs: Inputs, row: torch.Tensor, sample: int, radius: float) -> float:
    """Return the lowest value over an l2 ball in a box: numbers at their ends one after the other, the rest in line.

    At the optimum the change is minus the row times one factor, cut off at the box; with the set of numbers that are
    cut the factor follows from the radius, and numbers are cut in the order of slope over room.
    """
    lower, upper, centre = (part[sample, 0].numpy() for part in (inputs.box.lower, inputs.box.upper, inputs.centre))
    slope = row[sample, 0].numpy()
    room = np.where(slope > 0, centre - lower, upper - centre)
    order = np.argsort(-np.abs(slope) / np.maximum(room, 1e-300))
    for cut in range(NUMBERS + 1):
        left = radius**2 - (room[order[:cut]] ** 2).sum()
        free = order[cut:]
        length = np.sqrt((slope[free] ** 2).sum())
        if left < 0 or length == 0:
            break
        factor = np.sqrt(left) / length
        change = np.minimum(np.abs(slope) * factor, room)
        if (np.abs(slope[free]) * factor <= room[free] + 1e-15).all() and (
            change[order[:cut]] >= room[order[:cut]]
        ).all():
            return float(slope @ centre - np.abs(slope) @ change)
    return float(slope @ centre - np.abs(slope) @ room)


@pytest.mark.parametrize(("norm", "reference"), [(Norm.L1, by_linear_program), (Norm.L2, by_clipping)])
@pytest.mark.parametrize("radius", [1e-6, 0.1, 0.7, 1.5, 40.0])
def test_the_lowest_value_is_exact(norm, reference, radius: float) -> None:
    for seed in range(4):
        inputs, rows = drawn(seed, radius, norm)
        found = inputs.lowest(rows)
        for row in range(ROWS):
            for sample in range(SAMPLES):
                exact = reference(inputs, rows[row], sample, radius)
                assert found[row, sample] == pytest.approx(exact, rel=1e-9, abs=1e-9)


@pytest.mark.parametrize("norm", [Norm.L1, Norm.L2])
def test_no_point_of_a_ball_lies_below(norm: Norm) -> None:
    for radius in (0.0, 1e-9, 0.3, 2.0):
        inputs, rows = drawn(9, radius, norm)
        reached = torch.einsum("rbon,cbn->rbc", rows, points_in(inputs, 400)).amin(-1)
        assert bool((inputs.lowest(rows) <= reached).all())


@pytest.mark.parametrize("norm", [Norm.L1, Norm.L2])
def test_a_ball_of_radius_zero_is_its_centre(norm: Norm) -> None:
    inputs, rows = drawn(3, 0.0, norm)
    value = torch.einsum("rbon,bon->rb", rows, inputs.centre)
    torch.testing.assert_close(inputs.lowest(rows), value, rtol=1e-12, atol=1e-12)


def test_the_lowest_value_over_a_box_is_that_of_a_corner() -> None:
    torch.manual_seed(0)
    x, rows = torch.rand(2, 5), torch.randn(3, 2, 1, 5, dtype=torch.float64)
    inputs = box_of(x, 0.1, 0.3)
    corners = torch.tensor(np.array(np.meshgrid(*[[0, 1]] * 5)).reshape(5, -1).T)
    points = inputs.box.lower[None] + corners[:, None, None] * inputs.box.width
    exact = torch.einsum("rbon,cbon->rbc", rows, points).amin(-1)
    found = inputs.lowest(rows)
    assert bool((found <= exact).all())
    torch.testing.assert_close(found, exact, rtol=1e-12, atol=1e-12)
