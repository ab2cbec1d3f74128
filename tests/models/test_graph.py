"""The graph: layers, layouts, taps."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from tests.networks import Small, seeded
from xai.api import load
from xai.models.layout import Layout
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
    assert layer.layout == Layout(("", "t", ""), (3, 5), prefix)
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
    assert layer.layout.axes == ("", "h", "w", "")
    value = torch.rand(2, 8, 8, 6)
    assert torch.equal(layer.layout.to_grid(value), value.permute(0, 3, 1, 2))


@given(st.integers(1, 4), st.integers(2, 5), st.integers(2, 5), st.integers(0, 3))
@settings(deadline=None)
def test_a_grid_is_the_inverse_of_flattening(channels: int, rows: int, columns: int, prefix: int) -> None:
    picture = torch.rand(2, channels, rows, columns)
    tokens = torch.cat([torch.zeros(2, prefix, channels), picture.flatten(2).transpose(1, 2)], dim=1)
    layout = Layout(("", "t", ""), (rows, columns), prefix)
    assert torch.equal(layout.to_grid(tokens), picture)
