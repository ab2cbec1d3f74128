"""A network run on two inputs at once: its values are those of two runs, and its bounds hold."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from tests.robustness.bounds.nets import lowered, output_bounds
from xai.robustness.bounds.analysis import Analysis
from xai.robustness.bounds.interval import Interval
from xai.robustness.bounds.rounding import Arithmetic, Rounding
from xai.robustness.verify.pairs import Pair, Pairing, doubled


def nets() -> dict[str, tuple[nn.Module, tuple[int, ...]]]:
    torch.manual_seed(0)
    return {
        "mlp": (nn.Sequential(nn.Linear(4, 16), nn.ReLU(), nn.Linear(16, 8), nn.Tanh(), nn.Linear(8, 3)), (4,)),
        "conv": (nn.Sequential(nn.Conv2d(2, 3, 3), nn.ReLU(), nn.Flatten(), nn.Linear(12, 2)), (2, 4, 4)),
        "linear": (nn.Linear(4, 1), (4,)),
    }


def a_pair(pairing: Pairing, shape: tuple[int, ...]) -> tuple[Pair, Interval]:
    generator = torch.Generator().manual_seed(1)
    lower = torch.rand(1, 1, *shape, generator=generator, dtype=torch.float64) - 0.5
    upper = lower + torch.rand(1, 1, *shape, generator=generator, dtype=torch.float64) * 0.4
    moves = torch.zeros(torch.Size(shape).numel(), dtype=torch.bool)
    moves[[0, 2]] = True
    return Pair(pairing, moves.reshape(shape), upper[0, 0]), Interval(lower, upper)


def joints(pair: Pair, box: Interval, count: int) -> torch.Tensor:
    region = pair.region(box).box
    lower, upper = region.lower[:, 0], region.upper[:, 0]
    shares = torch.rand(count, *lower.shape[1:], generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    corners = torch.rand(count, *lower.shape[1:], generator=torch.Generator().manual_seed(3)).round()
    return lower + (upper - lower) * torch.cat((shares, corners.double()))


@pytest.mark.parametrize("pairing", Pairing)
@pytest.mark.parametrize("name", nets())
def test_values_are_those_of_two_runs_and_bounds_hold(name: str, pairing: Pairing) -> None:
    net, shape = nets()[name]
    _, steps = lowered(net, shape)
    pair, box = a_pair(pairing, shape)
    double = doubled(steps, pair)
    joint = joints(pair, box, 300)
    first, second = pair.inputs(joint)
    found = double.value(joint)
    with torch.no_grad():
        wanted = torch.cat([net.double()(x).flatten(1) for x in (first, second)], 1)
    torch.testing.assert_close(found, wanted, rtol=0, atol=1e-6)
    for method in ("ibp", "crown"):
        for arithmetic in Arithmetic:
            bounds = output_bounds(double, pair.region(box), method, arithmetic)
            assert (bounds.lower <= wanted).all()
            assert (wanted <= bounds.upper).all()


@pytest.mark.parametrize("pairing", Pairing)
def test_a_joint_input_is_two_inputs_of_the_box_that_differ_where_they_may(pairing: Pairing) -> None:
    pair, box = a_pair(pairing, (5,))
    joint = joints(pair, box, 200)
    first, second = pair.inputs(joint)
    assert torch.equal(first[:, ~pair.moves], second[:, ~pair.moves])
    assert (first[:, pair.moves] != second[:, pair.moves]).any()
    assert ((box.lower[0] <= second) & (second <= box.upper[0])).all()
    if pairing is Pairing.STEP:
        assert (second >= first).all()
        single = pair.inputs(joint.float())
        assert (single[1] >= single[0]).all()
        assert (single[1].double() <= torch.maximum(box.upper[0], single[0].double())).all()


def test_every_pair_of_the_box_is_a_joint_input() -> None:
    step, box = a_pair(Pairing.STEP, (4,))
    region = step.region(box).box
    lower, upper = box.lower[0, 0], box.upper[0, 0]
    generator = torch.Generator().manual_seed(4)
    for _ in range(100):
        a, b = (lower + (upper - lower) * torch.rand(4, generator=generator, dtype=torch.float64) for _ in range(2))
        a, b = torch.minimum(a, b), torch.where(step.moves, torch.maximum(a, b), torch.minimum(a, b))
        joint = torch.stack((a, b - a))
        assert ((region.lower[0, 0] <= joint) & (joint <= region.upper[0, 0])).all()
        torch.testing.assert_close(step.inputs(joint[None])[1][0], b, rtol=0, atol=1e-15)


def test_bounds_of_a_difference_cancel_what_the_inputs_share() -> None:
    net = nn.Linear(4, 1)
    with torch.no_grad():
        net.weight.copy_(torch.tensor([[2.0, 5.0, 0.0, -7.0]]))
    _, steps = lowered(net, (4,))
    moves = torch.tensor([True, False, False, False])
    box = Interval(torch.zeros(1, 1, 4).double(), torch.ones(1, 1, 4).double())
    pair = Pair(Pairing.STEP, moves, torch.full((4,), 2.0).double())  # nothing is cut: the network stays linear
    double = doubled(steps, pair)
    analysis = Analysis(double.steps, pair.region(box), Rounding(Arithmetic.REAL, torch.float64))
    analysis.spread(double.output, analysis.lowest)
    rows = torch.tensor([[-1.0, 1.0], [1.0, -1.0]]).double().reshape(2, 1, 1, 2)
    found = analysis.lowest(double.output, rows)[:, 0]
    torch.testing.assert_close(found, torch.tensor([0.0, -2.0]).double(), atol=1e-9, rtol=0)
