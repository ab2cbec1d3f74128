"""The layer that Grad-CAM and its kin look at, found from the graph's structure."""

from __future__ import annotations

from operator import getitem
from typing import Any

import torch
from torch import fx

from xai.errors import NotApplicableError
from xai.models.graph import Graph, Layer, Tap, Tapped
from xai.models.layout import operator, shape_of

_VIEWS = ("view", "reshape", "_unsafe_view", "permute", "transpose", "select", "unbind", "slice", "split", "chunk")
_CARRIERS = frozenset(
    (*_VIEWS, "squeeze", "unsqueeze", "expand", "clone", "mul", "div", "add", "softmax", str(getitem))
)
_HEAD_NORMS = frozenset(("layer_norm", "rms_norm", "native_layer_norm"))


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
    projections = _attention_inputs(graph.module.graph)
    maps = [layer for layer in graph.layers.values() if _is_map(layer) and layer.node not in projections]
    candidates = [layer for layer in maps if layer.module] or maps
    if not candidates:
        raise NotApplicableError("no layer was found whose output has rows and columns of the picture")
    last = candidates[-1]
    layout = last.layout
    assert layout is not None
    if layout.prefix:
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


def _attention_inputs(graph: fx.Graph) -> set[str]:
    """Return the nodes that are queries, keys, values or weights of an attention: they are no features."""
    found: set[str] = set()
    waiting = [source for node in graph.nodes for source in _attended(node)]
    while waiting:
        node = waiting.pop()
        if node.name in found:
            continue
        found.add(node.name)
        if operator(node) in _CARRIERS or (operator(node) in _HEAD_NORMS and len(shape_of(node)) == 4):
            waiting += node.all_input_nodes[:1]
    return found


def _attended(node: fx.Node) -> list[fx.Node]:
    """Return what an attention, or a product of two tensors that both depend on the input, reads."""
    sources = [source for source in node.all_input_nodes if source.op == "call_function"]
    if operator(node) == "scaled_dot_product_attention":
        return sources[:3]
    return sources if operator(node) in ("matmul", "bmm") and len(sources) == 2 else []


class _WithoutZeros(Tapped):
    """Runs a graph as if no parameter were all zeros: a head that is not trained yet must not hide what it reads."""

    def fetch_attr(self, target: str) -> Any:
        """Return a tensor of the network."""
        tensor = super().fetch_attr(target)
        return torch.ones_like(tensor) if isinstance(tensor, torch.nn.Parameter) and not tensor.any() else tensor


def _reaching(graph: Graph, layers: list[Layer], shape: tuple[int, ...]) -> list[Layer]:
    """Return the layers whose places have a gradient, for seeded noise and a seeded mix of the outputs."""
    generator = torch.Generator().manual_seed(0)
    values: dict[str, torch.Tensor] = {}

    def keep(name: str) -> Tap:
        def tap(value: torch.Tensor) -> torch.Tensor:
            values[name] = value.clone() if value.requires_grad else value.detach().clone().requires_grad_()
            return values[name]

        return tap

    with torch.enable_grad():
        by_node = {layer.node: layer for layer in layers}
        taps = {layer.node: keep(layer.name) for layer in by_node.values()}
        outputs = _WithoutZeros(graph.module, taps).run(torch.rand((1, *shape), generator=generator).to(graph.device))
        mix = torch.randn(outputs.shape, generator=generator).to(graph.device)
        gradients = torch.autograd.grad((outputs * mix).sum(), list(values.values()), allow_unused=True)
    found = dict(zip(values, gradients, strict=True))
    return [
        layer
        for layer in by_node.values()
        if layer.layout and (g := found.get(layer.name)) is not None and bool(layer.layout.to_grid(g).abs().max() > 0)
    ]
