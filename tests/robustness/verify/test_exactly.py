"""Exact arithmetic: what a network gives at a point, to the last bit, or nothing."""

from __future__ import annotations

from fractions import Fraction

import pytest
import torch
from torch import nn

import xai
from tests.robustness.verify.proofs import convolutional, dense, pooling
from xai.robustness.verify.checker import exactly as module
from xai.robustness.verify.checker.exactly import exactly
from xai.robustness.verify.checker.network import Network, read_network


def network_of(net: nn.Module, shape: tuple[int, ...]) -> Network:
    model = xai.load(net.eval(), shape=shape, mean=0.0, std=1.0, output="values")
    return read_network(model.needed_graph(), shape)


@pytest.mark.parametrize(
    ("net", "shape"), [(dense(4, 0), (4,)), (dense(4, 1, nn.LeakyReLU(0.25)), (4,)), (pooling(0), (1, 8, 8))]
)
def test_it_is_what_float64_rounds_to(net: nn.Module, shape: tuple[int, ...]) -> None:
    network, point = network_of(net, shape), torch.rand(shape, generator=torch.Generator().manual_seed(0))
    found = exactly(network, point.flatten().tolist())
    assert found is not None
    expected = net.double()(point.double()[None])[0]
    assert torch.tensor([float(one) for one in found]).double() == pytest.approx(expected.detach(), rel=1e-6, abs=1e-7)
    assert all(one.denominator & (one.denominator - 1) == 0 for one in found), "sums of products of floats are dyadic"


def test_a_difference_that_float64_rounds_away_is_there() -> None:
    net = nn.Linear(2, 1)
    net.weight.data, net.bias.data = torch.tensor([[1.0, 2.0**-80]]), torch.tensor([0.0])
    assert exactly(network_of(net, (2,)), [1.0, 1.0]) == [1 + Fraction(1, 2**80)]


def test_numbers_that_are_rounded_themselves_give_nothing() -> None:
    """A batch norm's factor, and an average over nine."""
    network = network_of(convolutional(0), (1, 8, 8))
    assert exactly(network, [0.0] * 64) is None


def test_what_is_too_large_gives_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST", 10)
    assert exactly(network_of(dense(4, 0), (4,)), [0.0] * 4) is None
