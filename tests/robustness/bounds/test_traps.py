"""Networks that bounds were once wrong about, or that they broke on."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from tests.robustness.bounds.nets import assert_sound, box_of, lowered
from xai.robustness.bounds.analysis import Analysis
from xai.robustness.bounds.relaxations.base import UnboundedError
from xai.robustness.bounds.rounding import Arithmetic, Rounding


class Applied(nn.Module):
    """A function between two linear layers."""

    def __init__(self, function: Callable[[torch.Tensor], torch.Tensor]) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.function, self.first, self.last = function, nn.Linear(3, 4), nn.Linear(4, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.last(self.function(self.first(x)))  # type: ignore[no-any-return]  # modules are untyped


class Rows(nn.Module):
    """Factors for the columns of a map, seen through a window that is narrower than the map."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first, self.second = nn.Conv2d(1, 4, 3, padding=1), nn.Conv2d(4, channels, 1)
        self.factor = nn.Parameter(torch.tensor([0.0, 0.3, -0.5, 0.2, 0.0, 1.0]))
        self.offset, self.head = nn.Parameter(torch.randn(6)), nn.Linear(channels * 36, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.first(x).relu() * self.factor + self.offset
        return self.head((self.second(x) - 0.5).relu().flatten(1))  # type: ignore[no-any-return]  # modules are untyped


def padded() -> nn.Module:
    """Return a convolution of which some outputs see nothing but padding."""
    torch.manual_seed(0)
    wide = nn.Conv2d(4, 260, 1, padding=2, bias=False)
    layers = [nn.Conv2d(1, 4, 3, padding=1), nn.ReLU(), wide, nn.ReLU(), nn.Flatten(), nn.Linear(260 * 100, 2)]
    return nn.Sequential(*layers)


@pytest.mark.parametrize("threshold", [0.0, 1.0, 20.0])
def test_softplus_is_the_input_itself_above_its_threshold(threshold: float) -> None:
    net = Applied(lambda x: F.softplus(3 * x - 1, 1.0, threshold))
    assert_sound(net, lowered(net, (3,))[1], box_of(torch.rand(1, 3), 0.8))


@pytest.mark.parametrize("channels", [6, 260])
def test_a_window_has_the_factors_of_its_own_columns(channels: int) -> None:
    net = Rows(channels)
    assert_sound(net, lowered(net, (1, 6, 6))[1], box_of(torch.rand(1, 1, 6, 6), 0.5), ["crown"])


def test_outputs_that_see_padding_only_are_bounded() -> None:
    net = padded()
    assert_sound(net, lowered(net, (1, 6, 6))[1], box_of(torch.rand(1, 1, 6, 6), 0.2), ["crown"])


def test_layer_norm_over_the_last_axis_of_a_map_is_bounded() -> None:
    torch.manual_seed(0)
    layers = [nn.Linear(3, 8), nn.LayerNorm(8), nn.GELU(), nn.Linear(8, 8), nn.ReLU(), nn.Flatten(), nn.Linear(200, 2)]
    net = nn.Sequential(*layers)
    assert_sound(net, lowered(net, (5, 5, 3))[1], box_of(torch.rand(1, 5, 5, 3), 0.01), ["crown"])


class Shrinking(nn.Module):
    """Numbers that are too small for float32 on the way; as a product with constants, or of branches."""

    def __init__(self, *, branches: bool) -> None:
        super().__init__()
        self.branches = branches

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.branches:
            small = x * 1e-25
            return small * small * (x * 1e25) * 1e25
        return (x - 0.5) * 1e-30 * 1e-30 * 1e30 * 1e30


@pytest.mark.parametrize("branches", [False, True])
def test_a_product_that_is_too_small_for_a_number_keeps_its_sign(branches: bool) -> None:
    net = Shrinking(branches=branches).eval()
    _, steps = lowered(net, (2,))
    inputs = box_of(torch.tensor([[0.1, -0.4]]), 0.3)
    analysis = Analysis(steps.steps, inputs, Rounding(Arithmetic.REAL, torch.float32))
    with torch.no_grad():
        found = analysis.spread(steps.output)
    points = inputs.box.lower + torch.rand(50, *inputs.box.lower.shape).double() * inputs.box.width
    values = steps.value(points.flatten(0, 2)).reshape(points.shape)
    assert bool(((values >= found.lower) & (values <= found.upper)).all())


def test_constants_that_float32_would_lose_are_noticed() -> None:
    net = Applied(lambda x: x * 1e-50)
    assert lowered(net, (3,))[1].faint
    assert not lowered(Applied(lambda x: x * 0.0), (3,))[1].faint


@pytest.mark.parametrize(
    ("function", "words"),
    [
        (lambda x: x + 4e-4 * torch.randn(4), "randn in layer .*: it draws other numbers every time"),
        (lambda x: F.softplus(x - 1, 1.0, -1.0), "softplus in layer .*: a negative threshold"),
        (lambda x: F.relu_(x[:, 1:]).sum(1, keepdim=True) + x, "there is no rule"),
    ],
)
def test_what_cannot_be_bounded_is_named(function: Callable[[torch.Tensor], torch.Tensor], words: str) -> None:
    with pytest.raises(UnboundedError, match=words):
        lowered(Applied(function), (3,))


def test_a_constant_in_double_precision_is_no_fault() -> None:
    twice = torch.tensor(2.0, dtype=torch.float64)
    graph, steps = lowered(Applied(lambda x: (x * twice).float()), (3,))
    x = torch.rand(5, 3)
    torch.testing.assert_close(steps.value(x).float(), graph(x))
