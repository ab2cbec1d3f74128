"""What follows a layer, run alone: for methods that change one layer's value many times."""

from __future__ import annotations

from typing import Any

import torch
from torch import fx

from xai.models.graph import Graph, Layer


class Tail:
    """The part of a graph behind a layer, with what it needs from before.

    The inputs go through the beginning once, in a batch of the size that the tail is called with: a value from before
    the layer may hold the batch in any axis, or in a size that it computes.

    Args:
        graph: the network.
        layer: whose value is given anew in each call.
        x: inputs (batch, ...) of the only size that the tail takes.
    """

    def __init__(self, graph: Graph, layer: Layer, x: torch.Tensor) -> None:
        self._programs = graph.programs(shared=layer)
        nodes = list(graph.module.graph.nodes)
        place = next(index for index, node in enumerate(nodes) if node.name == layer.node)
        found = _advanced(self._programs[0], x, nodes[: place + 1])
        self._node = nodes[place]
        self._x = x
        self.value: torch.Tensor = found[self._node]
        self._known = {node: found.get(node) for node in nodes[: place + 1] if node.op != "get_attr"}

    def __call__(self, value: torch.Tensor) -> torch.Tensor:
        """Return outputs (batch, classes) for a value of the layer, of the shape of its own."""
        known = {**self._known, self._node: value}
        return torch.cat([program.run(self._x, initial_env=dict(known)) for program in self._programs], dim=1)


def _advanced(program: fx.Interpreter, x: torch.Tensor, nodes: list[fx.Node]) -> dict[fx.Node, Any]:
    """Return what is alive after some nodes have run, the last of them included."""
    program.args_iter = iter((x,))
    program.env = {}
    for node in nodes:
        program.env[node] = program.run_node(node)
        for past in program.user_to_last_uses.get(node, []):
            if past is not nodes[-1]:
                program.env.pop(past, None)
    return program.env
