"""The head of a network: its last linear layer, found in the graph and tried."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import fx

from xai.models.graph import Graph, Tapped
from xai.models.layout import operator

_CARRIERS = frozenset(("view", "reshape", "flatten", "squeeze", "clone", "contiguous", "_to_copy", "to"))
_SQUASHES = frozenset(("softmax", "_softmax", "sigmoid", "log_softmax", "_log_softmax"))
_PRODUCTS = {
    "linear": (0, 1, 2, False),
    "addmm": (1, 2, 0, True),
    "mm": (0, 1, None, True),
    "matmul": (0, 1, None, True),
}
_TRIALS = 4
_TOLERANCE = 1e-3


@dataclass(frozen=True)
class Head:
    """The last linear layer: logits are features times weight, plus bias.

    Args:
        weight: (classes, d) float64.
        bias: (classes,) float64.
    """

    weight: torch.Tensor
    bias: torch.Tensor

    def logits(self, features: torch.Tensor) -> torch.Tensor:
        """Return logits (n, classes) of features (n, d)."""
        return features @ self.weight.T + self.bias


@dataclass(frozen=True)
class Found:
    """Where the head is.

    Args:
        features: name of the node that it reads.
        logits: name of the node that is its output.
        squashed: whether a softmax or sigmoid stands between that and the model's outputs.
        head: its numbers; of one output there are two rows, against its class and for it.
    """

    features: str
    logits: str
    squashed: bool
    head: Head


def find_head(graph: Graph, shape: tuple[int, ...]) -> Found | None:
    """Return the last linear layer, or None if the outputs do not come of one, a softmax or sigmoid aside.

    What the graph's structure says is tried on seeded noise: features times weight plus bias must be the logits.

    Args:
        graph: the network.
        shape: of one input.
    """
    node, squashed = _before_output(graph.module.graph)
    bias: fx.Node | None = None
    if operator(node) == "add" and len(node.all_input_nodes) == 2:
        product, bias = sorted(node.all_input_nodes, key=lambda source: operator(source) not in _PRODUCTS)
    else:
        product = node
    if operator(product) not in _PRODUCTS:
        return None
    where = _PRODUCTS[operator(product)]
    features, weight = (product.args[place] for place in where[:2])
    if bias is None and where[2] is not None and len(product.args) > where[2]:
        given = product.args[where[2]]
        bias = given if isinstance(given, fx.Node) else None
    if not isinstance(features, fx.Node) or not isinstance(weight, fx.Node):
        return None
    values = _values(graph, shape, {"features": features, "weight": weight, "bias": bias, "logits": node})
    head = _head(values, transposed=where[3])
    return Found(features.name, node.name, squashed, head) if head else None


def both(logits: torch.Tensor) -> torch.Tensor:
    """Return logits (n, classes), two of one: against its class (0) and for it."""
    return torch.cat((torch.zeros_like(logits), logits), dim=1) if logits.shape[1] == 1 else logits


def _before_output(graph: fx.Graph) -> tuple[fx.Node, bool]:
    """Return the node whose values the outputs are, but for reshaping, softmax or sigmoid; and whether one of these."""
    node: fx.Node = next(node for node in graph.nodes if node.op == "output")
    squashed = False
    while node.all_input_nodes and (node.op == "output" or operator(node) in _CARRIERS | _SQUASHES):
        squashed |= operator(node) in _SQUASHES
        node = node.all_input_nodes[0]
    return node, squashed


def _values(graph: Graph, shape: tuple[int, ...], nodes: dict[str, fx.Node | None]) -> dict[str, torch.Tensor]:
    """Return the values of some nodes for seeded noise, float64."""
    kept: dict[str, torch.Tensor] = {}

    def run_with(name: str, value: torch.Tensor) -> torch.Tensor:
        kept[name] = value
        return value

    taps = {node.name: (lambda value, name=node.name: run_with(name, value)) for node in nodes.values() if node}
    noise = torch.rand((_TRIALS, *shape), generator=torch.Generator().manual_seed(0)).to(graph.device)
    with torch.no_grad():
        Tapped(graph.module, taps).run(noise)
    return {what: kept[node.name].detach().double() for what, node in nodes.items() if node and node.name in kept}


def _head(values: dict[str, torch.Tensor], *, transposed: bool) -> Head | None:
    """Return the head if features times weight plus bias are the logits."""
    features, weight, logits = (values[what] for what in ("features", "weight", "logits"))
    if features.ndim != 2 or weight.ndim != 2 or logits.ndim != 2:
        return None
    weight = weight.T if transposed else weight
    bias = values.get("bias", torch.zeros(len(weight), dtype=torch.float64, device=weight.device)).reshape(-1)
    if weight.shape != (logits.shape[1], features.shape[1]) or len(bias) != len(weight):
        return None
    found = Head(weight, bias)
    if (found.logits(features) - logits).abs().max() > _TOLERANCE * (1 + logits.abs().max()):
        return None
    nothing = torch.zeros_like(weight)
    return Head(torch.cat((nothing, weight)), torch.cat((0 * bias, bias))) if len(weight) == 1 else found
