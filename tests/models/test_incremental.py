"""Copies of a picture that differ in a part: incremental outputs against those of whole copies."""

from __future__ import annotations

import copy
import random

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F

from tests.architectures import ARCHITECTURES, SIDE, Loader
from xai.api import load
from xai.models.folded import folded
from xai.models.incremental import Incremental
from xai.models.model import Model
from xai.models.patches import Patch, Sliding, Whole

SIZE = 19


def whole(
    module: torch.nn.Module, x: torch.Tensor, parts: torch.Tensor, corners: list[tuple[int, int]]
) -> torch.Tensor:
    """Return the outputs of whole copies."""
    copies = x.repeat(len(corners), 1, 1, 1)
    for one, part, (top, left) in zip(copies, parts, corners, strict=True):
        one[:, top : top + part.shape[1], left : left + part.shape[2]] = part
    return module(copies)


def drawn(shape: tuple[int, int], count: int, side: int, seed: int) -> tuple[torch.Tensor, list[tuple[int, int]]]:
    """Return parts (count, 3, side, side) and the corners where they go."""
    generator = torch.Generator().manual_seed(seed)
    corners = [
        tuple(int(torch.randint(size - side + 1, (), generator=generator)) for size in shape) for _ in range(count)
    ]
    return torch.rand((count, 3, side, side), generator=generator), corners


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("side", [3, 40])
def test_it_gives_what_whole_copies_give(architecture: str, side: int, loaded: Loader) -> None:
    model = loaded(architecture)
    x = torch.rand((1, 3, SIDE, SIDE), generator=torch.Generator().manual_seed(3))
    parts, corners = drawn((SIDE, SIDE), 3, side, 5)
    with torch.no_grad():
        expected = whole(model.forward, x, parts, corners)
        found = model.incremental(x[0])(parts, corners)
        moved = (expected - model(x)).abs().max()
    assert moved > 0
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=float(expected.abs().max()) * 1e-5)


class Pieces(nn.Module):
    """A network of every operator that carries patches, its numbers drawn."""

    def __init__(self, kernel: int, stride: int, padding: int, dilation: int, ceil: bool) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 4, (kernel, 3), (stride, 1), (padding, 1), (dilation, 1))
        self.normed = nn.BatchNorm2d(4)
        self.bent = nn.PReLU(4)
        self.largest = nn.MaxPool2d(3, 2, 1, ceil_mode=ceil)
        self.grouped = nn.Conv2d(4, 8, 3, padding=1, groups=2)
        self.mean = nn.AvgPool2d(2, 1, 1, ceil_mode=ceil)
        self.point = nn.Conv2d(8, 6, 1, (2, 1), bias=False)
        self.last = nn.Linear(6, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.bent(self.normed(self.first(F.pad(x, (2, 0, 1, 3), value=0.4))))
        x = self.largest(x)
        two = self.grouped(x)
        x = torch.cat([x, torch.sigmoid(two[:, :4])], 1) * two + x.repeat(1, 2, 1, 1) / 3
        x = F.gelu(self.point(self.mean(x)))
        return self.last(x.amax((2, 3)))


@pytest.mark.parametrize("seed", range(12))
def test_it_is_exact_whatever_the_windows(seed: int) -> None:
    rng = random.Random(seed)
    kernel, stride, padding, dilation = rng.randint(1, 5), rng.randint(1, 3), rng.randint(0, 2), rng.randint(1, 2)
    ceil, side = rng.random() < 0.5, rng.randint(1, SIZE)
    torch.manual_seed(seed)
    network = Pieces(kernel, stride, padding, dilation, ceil).eval()
    network.normed.running_mean.normal_()
    network.normed.running_var.uniform_(0.5, 2)
    module = copy.deepcopy(load(network, shape=(3, SIZE, SIZE + 4)).graph.module).double()
    network.double()
    x = torch.rand(1, 3, SIZE, SIZE + 4).double()
    parts, corners = drawn((SIZE, SIZE + 4), 4, side, seed)
    with torch.no_grad():
        expected = whole(network, x, parts.double(), corners)
        for form in (module, folded(module)):
            incremental = Incremental(form, x)
            torch.testing.assert_close(incremental.outputs, network(x))
            torch.testing.assert_close(incremental(parts.double(), corners), expected)


NUMBERS = [st.integers(1, 7), st.integers(1, 4), st.integers(0, 3), st.integers(1, 3), st.integers(1, 9)]


@given(*NUMBERS, st.integers(0, 20))
@settings(deadline=None)
def test_what_a_window_reaches_is_what_convolution_changes(
    kernel: int, stride: int, padding: int, dilation: int, size: int, start: int
) -> None:
    axis = Sliding(kernel, stride, padding, dilation)
    total = 32
    results = (total + 2 * padding - axis.span) // stride + 1
    line = torch.zeros(1, 1, total)
    line[..., start : start + size] = 1
    changed = F.conv1d(line, torch.ones(1, 1, kernel), None, stride, padding, dilation)[0, 0].nonzero()[:, 0]
    (first,), length = axis.reached([start], size, results)
    assert first >= 0
    assert first + length <= results
    if len(changed):
        assert first <= int(changed[0])
        assert int(changed[-1]) < first + length


def test_only_what_is_reached_is_computed(small: Model) -> None:
    x = torch.rand(3, 16, 16)
    incremental = small.incremental(x)
    assert incremental.bytes_per_copy(1) < incremental.bytes_per_copy(8) < 2 * small.bytes_per_input


def test_a_part_beyond_what_is_cut_leaves_the_rest() -> None:
    patch = Patch(torch.ones(1, 1, 2, 2), [(0, 0)], Whole(torch.zeros(1, 1, 6, 6)))
    assert patch.cut([(3, 3)], (2, 2)).sum() == 0
    assert patch.cut([(1, 1)], (3, 3)).sum() == 1
    assert patch.everywhere().sum() == 4


def test_what_draws_random_numbers_and_black_boxes_have_none() -> None:
    box = load(lambda x: x.mean((2, 3)), shape=(3, 8, 8))
    assert box.incremental(torch.rand(3, 8, 8)) is None


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_folding_keeps_the_outputs(architecture: str, loaded: Loader) -> None:
    model = loaded(architecture)
    x = torch.rand((2, 3, SIDE, SIDE), generator=torch.Generator().manual_seed(3))
    before = copy.deepcopy(model.graph.module.state_dict())
    torch.testing.assert_close(model.outputs(x), model(x), rtol=1e-4, atol=1e-5 * float(model(x).abs().max()))
    kept = model.graph.module.state_dict()
    assert all(torch.equal(kept[name], tensor) for name, tensor in before.items())
    normed = [node for node in model.quick.graph.nodes if "batch_norm" in str(node.target)]
    convolved = [node for node in model.graph.module.graph.nodes if "batch_norm" in str(node.target)]
    behind = [node for node in convolved if "conv2d" in str(node.args[0].target) and len(node.args[0].users) == 1]
    assert len(normed) == len(convolved) - len(behind)


def test_what_folding_breaks_is_left_as_it_is() -> None:
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.AdaptiveAvgPool2d(1), nn.Flatten()).eval()
    network[1].running_var.fill_(1e-38)
    network[1].eps = 0.0
    network[1].weight.data.fill_(1e-19)
    network[0].weight.data.fill_(1e25)
    model = load(network, shape=(3, 8, 8))
    x = torch.rand(2, 3, 8, 8)
    torch.testing.assert_close(model.outputs(x), model(x))
