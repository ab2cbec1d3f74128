"""What every method owes: nothing lies outside, and an affine network is bounded exactly."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from tests.robustness.bounds.nets import box_of, lowered, output_bounds, points_in
from xai.robustness.bounds.methods.base import bounders

SHAPE = (2, 6, 6)


class Residual(nn.Module):
    """Convolutions, a branch, normalisation and a linear head."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.two = nn.Conv2d(2, 4, 3, padding=1), nn.Conv2d(4, 4, 3, padding=1)
        self.norm, self.head = nn.BatchNorm2d(4), nn.Linear(36, 5)
        self.norm.running_mean.uniform_(-1, 1)  # type: ignore[union-attr]  # it is kept by default
        self.norm.running_var.uniform_(0.5, 2)  # type: ignore[union-attr]  # it is kept by default

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        first = self.one(x).relu()
        second = (self.norm(self.two(first)) + first).relu()
        return self.head(second[:, :, ::2, ::2].flatten(1))  # type: ignore[no-any-return]  # modules are untyped


@pytest.mark.parametrize("method", bounders.all())
def test_no_point_lies_outside(method: str) -> None:
    torch.manual_seed(0)
    net = Residual().eval()
    _, steps = lowered(net, SHAPE)
    inputs = box_of(torch.rand(3, *SHAPE), 0.05)
    bounds = output_bounds(steps, inputs, method)
    outputs = net.double()(points_in(inputs, 200).flatten(0, 1)).unflatten(0, (200, 3))
    assert bool((outputs >= bounds.lower).all())
    assert bool((outputs <= bounds.upper).all())
    assert float(bounds.width.max()) < 20


@pytest.mark.parametrize("method", bounders.all())
def test_an_affine_network_is_bounded_exactly(method: str) -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(2, 3, 3, stride=2), nn.BatchNorm2d(3), nn.Flatten(), nn.Linear(12, 4)).eval()
    _, steps = lowered(net, SHAPE)
    inputs = box_of(torch.rand(2, *SHAPE), 0.1)
    bounds = output_bounds(steps, inputs, method)
    net.double()
    zero = torch.zeros(1, *SHAPE, dtype=torch.float64)
    matrix = torch.autograd.functional.jacobian(lambda x: net(x)[0], zero)[:, 0].flatten(1)
    middle = net(inputs.centre[:, 0])
    reach = 0.1 * matrix.abs().sum(1)
    torch.testing.assert_close(bounds.lower, middle - reach, rtol=0, atol=1e-7)
    torch.testing.assert_close(bounds.upper, middle + reach, rtol=0, atol=1e-7)
