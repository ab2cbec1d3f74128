"""What float32 does to a network: bounds of real numbers need not hold for it, bounds of floating point do."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from tests.robustness.bounds.nets import box_of, lowered, output_bounds
from tests.robustness.bounds.operators import Applied
from xai.errors import NotApplicableError
from xai.robustness.bounds.methods.base import bounders
from xai.robustness.bounds.program import Program
from xai.robustness.bounds.rounding import Arithmetic, gamma

SHAPE = (2, 4, 4)


class Magnified(nn.Module):
    """An operator, and then sums in which large numbers cancel, so that its rounding is all that is left."""

    def __init__(self, heart: nn.Module) -> None:
        super().__init__()
        self.heart = heart
        self.large, self.back = nn.Conv2d(2, 16, 1), nn.Linear(16 * 16, 3)
        self.large.weight.data.mul_(1e6)
        sums = self.back.weight.data.unflatten(1, (8, 2, 16))
        sums[:, :, 1] = -sums[:, :, 0]
        self.large.weight.data.unflatten(0, (8, 2))[:, 1] = self.large.weight.data.unflatten(0, (8, 2))[:, 0]
        self.large.bias.data.unflatten(0, (8, 2))[:, 1] = self.large.bias.data.unflatten(0, (8, 2))[:, 0] + 1e-3

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.back(self.large(self.heart(x)).flatten(1))


HEARTS = {
    "conv": nn.Conv2d(2, 2, 3, padding=1),
    "mean": Applied(lambda x: x - x.mean((2, 3), keepdim=True)),
    "exp": Applied(torch.exp),
    "clamp": Applied(lambda x: x.clamp(max=0.1)),
    "scale": Applied(lambda x: x * 0.1 + 0.3),
    "softmax": Applied(lambda x: x.softmax(2)),
}


@pytest.mark.parametrize("name", HEARTS)
def test_rounding_leaves_the_bounds_of_real_numbers_and_not_those_of_floating_point(name: str) -> None:
    torch.manual_seed(0)
    net = Magnified(HEARTS[name]).eval()
    _, steps = lowered(net, SHAPE)
    x = torch.rand(6, *SHAPE)
    outputs = net(x).detach().double()
    for method in bounders.all():
        real = output_bounds(steps, box_of(x, 0.0), method, Arithmetic.REAL)
        rounded = output_bounds(steps, box_of(x, 0.0), method, Arithmetic.FLOAT)
        assert bool(((outputs < real.lower) | (outputs > real.upper)).any())
        assert bool(((outputs >= rounded.lower) & (outputs <= rounded.upper)).all())
        assert bool((rounded.lower <= real.lower).all())
        assert bool((rounded.upper >= real.upper).all())


def test_a_shift_of_batch_normalisation_that_cancels_answers_for_its_parts() -> None:
    norm = nn.BatchNorm2d(2).eval()
    norm.running_mean.fill_(12345.678)
    norm.running_var.fill_(0.3)
    with torch.no_grad():
        norm.bias.copy_(norm.running_mean * (norm.running_var + norm.eps).rsqrt())
    net = nn.Sequential(norm, nn.Flatten(), nn.Linear(32, 2)).eval()
    _, steps = lowered(net, SHAPE)
    x = torch.rand(50, *SHAPE)
    outputs = net(x).detach().double()
    bounds = output_bounds(steps, box_of(x, 0.0), "crown", Arithmetic.FLOAT)
    assert bool(((outputs >= bounds.lower) & (outputs <= bounds.upper)).all())


WITHOUT_NUMBERS = {
    "overflow": lambda x: ((x * 1e30) * 1e30 - (x * 1e30) * 1e30).clamp(0, 1),
    "overflow within a sum": lambda x: torch.sigmoid((3e38 * x).sum(1) - (3e38 * x).sum(1)),
    "overflow of an exponential": lambda x: torch.tanh(torch.exp(200 * x) - torch.exp(200 * x)),
    "overflow of a product": lambda x: ((1e25 * x) * (1e25 * x.flip(1))).clamp(0, 1),
}
WITHOUT_VALUES = {
    "logarithm": lambda x: torch.log(x - 0.5).clamp(0, 1),
    "root": lambda x: torch.sqrt(x - 0.5).clamp(0, 1),
    "one over the root": lambda x: torch.rsqrt(x - 0.5).clamp(0, 1),
    "quotient": lambda x: (1 / (x - 0.5)).clamp(0, 1),
    "power": lambda x: torch.sigmoid((x - 0.5) ** 1.5),
    "inverse power": lambda x: torch.sigmoid((x - 0.5) ** -2),
    "root of a value that is later forgotten": lambda x: torch.where(torch.eye(4) > 0, torch.sqrt(x - 0.5), 1.0),
}


def bounds_of(function, method: str, arithmetic: Arithmetic):
    net = nn.Sequential(Applied(function), nn.Flatten()).eval()
    _, steps = lowered(net, SHAPE)
    return output_bounds(steps, box_of(torch.full((1, *SHAPE), 0.5), 0.4), method, arithmetic)


@pytest.mark.parametrize("method", bounders.all())
@pytest.mark.parametrize("name", WITHOUT_NUMBERS)
def test_what_may_overflow_in_float32_is_not_bounded_in_floating_point(name: str, method: str) -> None:
    bounds = bounds_of(WITHOUT_NUMBERS[name], method, Arithmetic.FLOAT)
    assert bool((bounds.lower == -math.inf).all())
    assert bool((bounds.upper == math.inf).all())


@pytest.mark.parametrize("arithmetic", Arithmetic)
@pytest.mark.parametrize("method", bounders.all())
@pytest.mark.parametrize("name", WITHOUT_VALUES)
def test_what_may_have_no_value_is_not_bounded(name: str, method: str, arithmetic: Arithmetic) -> None:
    bounds = bounds_of(WITHOUT_VALUES[name], method, arithmetic)
    assert bool((bounds.lower == -math.inf).all())
    assert bool((bounds.upper == math.inf).all())


@pytest.mark.parametrize("method", bounders.all())
def test_a_number_beyond_float64_gives_no_wrong_bound(method: str) -> None:
    bounds = bounds_of(lambda x: ((1e30 * (x + 1)) ** 3) ** 3 * 1e30, method, Arithmetic.REAL)  # up to 1e303
    assert bool((bounds.upper > 1e300).all())
    bounds = bounds_of(lambda x: ((1e30 * (x + 1)) ** 3) ** 4, method, Arithmetic.REAL)  # above 1e360
    assert bool((bounds.lower < math.inf).all())
    assert bool((bounds.upper == math.inf).all())


@pytest.mark.parametrize("method", bounders.all())
def test_one_sample_that_is_lost_leaves_the_others(method: str) -> None:
    net = nn.Sequential(Applied(lambda x: torch.sqrt(x - 0.5)), nn.Flatten()).eval()
    _, steps = lowered(net, SHAPE)
    bounds = output_bounds(steps, box_of(torch.tensor([0.6, 0.9])[:, None, None, None].expand(2, *SHAPE), 0.2), method)
    assert bool(bounds.width[0].isinf().all())
    assert bool((bounds.width[1] < 0.5).all())


def test_what_torch_rounds_in_a_way_of_its_own_is_refused_in_floating_point() -> None:
    _, steps = lowered(nn.Sequential(nn.LayerNorm(4), nn.Flatten()).eval(), SHAPE)
    assert isinstance(steps, Program)
    steps.needs(Arithmetic.REAL)
    with pytest.raises(NotApplicableError, match="layer_norm in layer 0: how torch rounds it is not known"):
        steps.needs(Arithmetic.FLOAT)


@pytest.mark.parametrize("terms", [10, 1000])
def test_a_sum_in_any_order_stays_within_gamma(terms: int) -> None:
    generator = torch.Generator().manual_seed(0)
    numbers = torch.randn(200, terms, generator=generator)
    exact = numbers.double().sum(1)
    sizes = numbers.double().abs().sum(1)
    for order in range(5):
        shuffled = numbers[:, torch.randperm(terms, generator=generator)]
        one_by_one = torch.zeros(200)
        for column in shuffled.T:
            one_by_one = one_by_one + column
        for found in (one_by_one, shuffled.sum(1)):
            assert bool(((found.double() - exact).abs() <= gamma(terms - 1, 2.0**-24) * sizes).all()), order
