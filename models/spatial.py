"""The layer that Grad-CAM and its kin look at, found from the graph's structure."""

from __future__ import annotations

from typing import Any

import torch

from xai.errors import NotApplicableError
from xai.models.graph import Graph, Layer, Tap, Tapped


def last_spatial_layer(graph: Graph, shape: tuple[int, ...]) -> Layer:
    """Return the last named layer with rows and columns whose places still matter for the outputs.

    In a transformer that reads its class token this is the normalisation before the last attention: behind it the
    places no longer reach the outputs. Of several layers with that output the outermost is named.

    Args:
        graph: the network.
        shape: of one input, (channels, height, width).

    Raises:
        NotApplicableError: no layer has rows and columns.
    """
    candidates = [layer for layer in graph.layers.values() if _is_map(layer)]
    if not candidates:
        raise NotApplicableError("no layer of this network has rows and columns: it works on flat features")
    last = candidates[-1]
    layout = last.layout
    assert layout is not None
    if layout.prefix:
        # Queries, keys and values side by side are no features: only layers as wide as the tokens count.
        candidates = [layer for layer in candidates if _channels(layer) == _channels(last)]
        reached = _reaching(graph, candidates, shape)
        if not reached:
            raise NotApplicableError("no layer's rows and columns reach the outputs of this network")
        last = reached[-1]
    return next(layer for layer in candidates if layer.node == last.node)


def _is_map(layer: Layer) -> bool:
    layout = layer.layout
    if layout is None or not layout.is_feature_map or layout.grid[0] * layout.grid[1] < 2:
        return False
    return not layer.kind.startswith("AdaptiveAvgPool")


def _channels(layer: Layer) -> int:
    assert layer.layout is not None
    return next(size for size, axis in zip(layer.shape, layer.layout.axes[1:], strict=True) if not axis)


class _WithoutZeros(Tapped):
    """Runs a graph as if no parameter were all zeros: a head that is not trained yet must not hide what it reads."""

    def fetch_attr(self, target: str) -> Any:
        """Return a tensor of the network."""
        tensor = super().fetch_attr(target)
        return torch.ones_like(tensor) if isinstance(tensor, torch.nn.Parameter) and not tensor.any() else tensor


def _reaching(graph: Graph, layers: list[Layer], shape: tuple[int, ...]) -> list[Layer]:
    """Return the layers whose places have a gradient, for seeded noise and a seeded mix of the outputs."""
    generator = torch.Generator().manual_seed(0)
    device = next(graph.module.parameters()).device
    values: dict[str, torch.Tensor] = {}

    def keep(name: str) -> Tap:
        def tap(value: torch.Tensor) -> torch.Tensor:
            values[name] = value.clone() if value.requires_grad else value.detach().clone().requires_grad_()
            return values[name]

        return tap

    with torch.enable_grad():
        by_node = {layer.node: layer for layer in layers}
        taps = {layer.node: keep(layer.name) for layer in by_node.values()}
        outputs = _WithoutZeros(graph.module, taps).run(torch.rand((1, *shape), generator=generator).to(device))
        mix = torch.randn(outputs.shape, generator=generator).to(device)
        gradients = torch.autograd.grad((outputs * mix).sum(), list(values.values()), allow_unused=True)
    found = dict(zip(values, gradients, strict=True))
    return [
        layer
        for layer in by_node.values()
        if layer.layout and (g := found.get(layer.name)) is not None and bool(layer.layout.to_grid(g).abs().max() > 0)
    ]
