"""The graph: layers, layouts, taps."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from tests.networks import Branching, Small, seeded
from xai.api import load
from xai.models.layout import Factor, Layout
from xai.models.model import Model


def test_layers_tell_kind_shape_and_parameters(small: Model) -> None:
    layer = small.graph.layer("again")
    assert (layer.kind, layer.shape, layer.parameters, layer.leaf) == ("Conv2d", (8, 16, 16), 8 * 8 * 9 + 8, True)
    assert small.graph.parameters == sum(p.numel() for p in Small().parameters())


def test_the_batch_is_free_and_the_graph_equals_the_module(small: Model) -> None:
    network = seeded(Small)
    mean = torch.tensor((0.4, 0.5, 0.6)).view(3, 1, 1)
    for batch in (1, 2, 3, 17):
        x = torch.rand(batch, 3, 16, 16)
        torch.testing.assert_close(small(x), network((x - mean) / 0.25), atol=1e-5, rtol=1e-5)


def test_a_tap_is_a_copy_that_the_outputs_follow_from(small: Model, noise: torch.Tensor) -> None:
    tap = small.tap(noise[None], small.layer("stem"))
    (gradient,) = torch.autograd.grad(tap.outputs[0, 0], tap.value)
    assert gradient.shape == tap.value.shape == (1, 8, 16, 16)
    direct = small.layer("stem")
    assert tap.layer == direct
    step = 1e-3 * gradient / gradient.norm()
    moved = small.graph.run(noise[None], {"stem": lambda value: value + step})[0, 0] - tap.outputs[0, 0]
    assert moved.item() == pytest.approx((gradient * step).sum().item(), rel=0.05)


def test_memory_is_estimated_from_what_lives_at_once(small: Model) -> None:
    # a residual block holds at least two (8, 16, 16) activations at once, and never all of them
    one = 4 * 8 * 16 * 16
    assert 2 * one <= small.graph.bytes_per_input <= 5 * one


def _tokens(batch: int, rows: int, columns: int, channels: int, prefix: int) -> Layout:
    axes = ((Factor("", batch),), (Factor("h", rows), Factor("w", columns)), (Factor("", channels),))
    return Layout(axes, (rows, columns), prefix)


class Transformer(nn.Module):
    """Class and register tokens before the patches, which are flattened in the order of rows."""

    def __init__(self, prefix: int = 2, *, pooled: bool = False) -> None:
        super().__init__()
        self.patch = nn.Conv2d(3, 8, 4, 4)
        self.extra = nn.Parameter(torch.randn(1, prefix, 8))
        self.norm = nn.LayerNorm(8)
        self.attention = nn.MultiheadAttention(8, 2, batch_first=True)
        self.after = nn.LayerNorm(8)
        self.head = nn.Linear(8, 3)
        self.pooled, self.prefix = pooled, prefix

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        tokens = self.patch(x).flatten(2).transpose(1, 2)
        tokens = torch.cat([self.extra.expand(x.shape[0], -1, -1), tokens], dim=1)
        normed = self.norm(tokens)
        tokens = tokens + self.attention(normed, normed, normed, need_weights=False)[0]
        tokens = self.after(tokens)
        return self.head(tokens[:, self.prefix :].mean(1) if self.pooled else tokens[:, 0])


@pytest.mark.parametrize("prefix", [1, 2, 5])
def test_tokens_go_back_on_their_grid(prefix: int) -> None:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = Transformer(prefix).eval()
    model = load(network, shape=(3, 12, 20))
    layer = model.spatial_layer
    assert layer.name == "norm"
    assert layer.layout == _tokens(2, 3, 5, 8, prefix)
    x = torch.rand(1, 3, 12, 20)
    grid = layer.layout.to_grid(model.tap(x, layer).value)
    tokens = torch.cat([network.extra, network.patch(x).flatten(2).transpose(1, 2)], 1)
    expected = network.norm(tokens)[:, prefix:].transpose(1, 2).reshape(1, 8, 3, 5)
    torch.testing.assert_close(grid, expected)


def test_a_transformer_that_pools_is_read_at_its_end() -> None:
    model = load(Transformer(1, pooled=True), shape=(3, 12, 20))
    assert model.spatial_layer.name == "after"


class Moves(nn.Module):
    """Moves the axes about and back, as shifted windows and channels-last blocks do."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 6, 3, padding=1)
        self.last = nn.LayerNorm(6)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.head = nn.Linear(6, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.last(self.conv(x).permute(0, 2, 3, 1))
        windows = torch.roll(y, (1, 1), (1, 2)).view(-1, 2, 4, 2, 4, 6).permute(0, 1, 3, 2, 4, 5).reshape(-1, 16, 6)
        back = windows.view(-1, 2, 2, 4, 4, 6).permute(0, 1, 3, 2, 4, 5).reshape(-1, 8, 8, 6)
        y = y + torch.roll(back, (-1, -1), (1, 2))
        return self.head(self.pool(y.permute(0, 3, 1, 2)).flatten(1))


def test_rows_and_columns_survive_permutes_and_windows() -> None:
    model = load(Moves(), shape=(3, 8, 8))
    layer = model.layer("last")
    assert layer.layout is not None
    assert layer.layout.names == ("", "h", "w", "")
    value = torch.rand(2, 8, 8, 6)
    assert torch.equal(layer.layout.to_grid(value), value.permute(0, 3, 1, 2))


class Windows(nn.Module):
    """Cuts the picture into windows or a coarse grid, works within them, and puts it together again."""

    def __init__(self, *, grid: bool) -> None:
        super().__init__()
        self.grid = grid
        self.stem = nn.Conv2d(3, 6, 1)
        self.work = nn.Linear(6, 6)
        self.whole = nn.Identity()
        self.head = nn.Linear(6, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        b, p = x.shape[0], 4
        y = self.stem(x)
        cut = y.reshape(b, 6, 8 // p, p, 12 // p, p).permute(0, 2, 4, 3, 5, 1)
        if self.grid:
            y = self.work(cut.permute(0, 3, 4, 1, 2, 5).reshape(b * p * p, 6, 6)).reshape(b, p, p, 2, 3, 6)
            y = y.permute(0, 3, 4, 1, 2, 5)
        else:
            y = self.work(cut.reshape(b * 6, p * p, 6)).reshape(b, 2, 3, p, p, 6)
        y = torch.relu(y.permute(0, 5, 1, 3, 2, 4).reshape(b, 6, 8, 12))
        return self.head(y.mean((2, 3)))


@pytest.mark.parametrize("grid", [False, True])
def test_windows_that_are_cut_and_joined_again_are_followed(grid: bool) -> None:
    model = load(Windows(grid=grid), shape=(3, 8, 12))
    layer = model.layer("relu")
    assert layer.layout is not None
    assert layer.layout.names == ("", "", "h", "w")
    assert layer.layout.grid == (8, 12)
    assert not model.layer("work").layout.is_feature_map


class Turning(nn.Module):
    """Turns the picture upside down through grid_sample."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3, padding=1)
        self.norm = nn.InstanceNorm2d(4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.conv(x)
        turned = torch.tensor([[-1.0, 0, 0], [0, -1, 0]]).expand(x.shape[0], 2, 3)
        grid = nn.functional.affine_grid(turned, [x.shape[0], 4, 8, 8], align_corners=False)
        return self.norm(nn.functional.grid_sample(y, grid, align_corners=False)).relu().mean((2, 3))


def test_what_was_moved_about_is_not_taken_for_the_picture() -> None:
    assert load(Turning(), shape=(3, 8, 8)).spatial_layer.name == "conv"


class Straight(nn.Module):
    """Pools what a convolution gives, and takes it for a vector by a view."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.last = nn.Conv2d(1, 8, 3), nn.Linear(72, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        pooled = torch.max_pool2d(self.conv(x).relu(), 2)
        return self.last(pooled.view(x.shape[0], 72))


@pytest.mark.parametrize("batch", [1, 5])
def test_values_lie_channels_last_on_a_cpu_and_mean_the_same(batch: int) -> None:
    network = Straight().eval()
    model = load(network, shape=(1, 8, 8), mean=0.0, std=1.0)
    seen: list[torch.Tensor] = []
    x = torch.rand(batch, 1, 8, 8, requires_grad=True)
    outputs = model.needed_graph().run(x, {"conv": lambda value: seen.append(value) or value})
    assert seen[0].is_contiguous(memory_format=torch.channels_last)
    assert not seen[0].is_contiguous()
    torch.testing.assert_close(outputs, network(x))
    ours, theirs = (torch.autograd.grad(given.sum(), x)[0] for given in (outputs, network(x)))
    torch.testing.assert_close(ours, theirs)
    assert network.conv.weight.is_contiguous()


class Functional(nn.Module):
    """A CNN without modules."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.rand(4, 3, 3, 3))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.relu(nn.functional.conv2d(x.transpose(2, 3), self.weight, padding=1)).mean((2, 3))


def test_a_network_without_modules_has_its_operators_for_layers() -> None:
    model = load(Functional(), shape=(3, 8, 12))
    layer = model.spatial_layer
    assert (layer.name, layer.kind, layer.module) == ("relu", "relu", False)
    assert layer.layout is not None
    assert layer.layout.names == ("", "", "w", "h")
    value = torch.rand(2, 4, 12, 8)
    assert torch.equal(layer.layout.to_grid(value), value.transpose(2, 3))


@given(st.integers(1, 4), st.integers(2, 5), st.integers(2, 5), st.integers(0, 3))
@settings(deadline=None)
def test_a_grid_is_the_inverse_of_flattening(channels: int, rows: int, columns: int, prefix: int) -> None:
    picture = torch.rand(2, channels, rows, columns)
    tokens = torch.cat([torch.zeros(2, prefix, channels), picture.flatten(2).transpose(1, 2)], dim=1)
    layout = _tokens(2, rows, columns, channels, prefix)
    assert layout.is_feature_map
    assert torch.equal(layout.to_grid(tokens), picture)


def test_a_program_with_programs_inside_is_a_black_box(tmp_path: Path) -> None:
    path = tmp_path / "branching.pt"
    torch.jit.save(torch.jit.script(Branching().eval()), path)
    model = load(path, shape=(3, 12, 10))
    assert model.graph is None
    assert "its data decide which operators run" in model.no_graph
    bright, dark = torch.full((1, 3, 12, 10), 0.5), torch.full((1, 3, 12, 10), -0.5)
    torch.testing.assert_close(model(dark), model(bright))
    assert model.fingerprint == model.digest
