"""Copies of a graph whose tensors are drawn anew. Nothing is changed in place: a copy only reads other tensors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import fx

from xai.errors import NotApplicableError
from xai.models.graph import Graph, Layer, Substitute, Tap, Tapped

Tensors = Mapping[str, torch.Tensor]


def trained_layers(graph: Graph) -> list[list[str]]:
    """Return the trained tensors of each operator that reads a matrix or kernel of them, from the output to the input.

    A tensor that several operators read is listed where it is first met; vectors (norms, biases) go with the matrix
    before them.
    """
    layers: list[list[str]] = [[]]
    taken: set[str] = set()
    parameters = dict(graph.module.named_parameters(remove_duplicate=False))
    for node in reversed(list(graph.module.graph.nodes)):
        read = [str(source.target) for source in node.all_input_nodes if source.op == "get_attr"]
        fresh = [name for name in dict.fromkeys(read) if name in parameters and name not in taken]
        taken.update(fresh)
        layers[-1] += fresh
        if any(parameters[name].ndim >= 2 for name in fresh):
            layers.append([])
    found = [layer for layer in layers if layer]
    if not found:
        raise NotApplicableError("the model holds no trained numbers that could be drawn anew")
    return found


def redraw(graph: Graph, names: Sequence[str]) -> dict[str, torch.Tensor]:
    """Return new values for some tensors, normal with each one's own mean and deviation, from torch's generator."""
    parameters = dict(graph.module.named_parameters(remove_duplicate=False))
    drawn = {}
    for name in names:
        old = parameters[name].detach()
        deviation = old.std() if old.numel() > 1 else old.abs().sum()
        fresh = torch.randn(old.shape, dtype=old.dtype) * deviation.cpu() + old.mean().cpu()
        drawn[name] = fresh.to(old.device)
    return drawn


class Copies(Graph):
    """Copies of a graph that differ in some tensors; what comes before the first of these is computed once for all.

    Its outputs are those of the first copy, then those of the second, ...: (batch, copies * classes).

    Args:
        graph: the original.
        copies: for each copy the tensors that differ, by name; the same names in all.
    """

    is_whole = False

    def __init__(self, graph: Graph, copies: Sequence[Tensors]) -> None:
        super().__init__(graph.module, graph.device)
        self._copies = copies

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        """Return outputs (batch, copies * classes)."""
        return self.run(x, {})

    def run(self, x: torch.Tensor, taps: Mapping[str, Tap], substitute: Substitute | None = None) -> torch.Tensor:
        """Return outputs (batch, copies * classes); a tap sees the value that all copies share.

        Raises:
            NotApplicableError: there are several copies, and a tapped layer differs between them.
        """
        nodes = {self.layer(name).node: tap for name, tap in taps.items()}
        return torch.cat(_Branching(self.module, nodes, self._copies, substitute).run_all(x), dim=1)

    def programs(self, shared: Layer | None = None) -> list[fx.Interpreter]:
        """Return an interpreter a copy.

        Raises:
            NotApplicableError: there are several copies, and the layer differs between them.
        """
        names = [node.name for node in self.module.graph.nodes]
        differing = (node for node in self.module.graph.nodes if str(node.target) in self._copies[0])
        first = min(names.index(user.name) for node in differing for user in node.users)
        if len(self._copies) > 1 and shared is not None and names.index(shared.node) >= first:
            raise NotApplicableError("the layer that is looked at differs between the copies")
        return [_Copy(self.module, tensors) for tensors in self._copies]


class _Copy(fx.Interpreter):
    """Runs a graph with some tensors in place of its own."""

    def __init__(self, module: fx.GraphModule, tensors: Tensors) -> None:
        super().__init__(module)
        self._tensors = tensors

    def fetch_attr(self, target: str) -> Any:
        """Return a tensor of this copy."""
        return self._tensors[target] if target in self._tensors else super().fetch_attr(target)


class _Branching(Tapped):
    """Runs the common beginning once, and the rest for each copy."""

    def __init__(
        self,
        module: fx.GraphModule,
        taps: Mapping[str, Tap],
        copies: Sequence[Tensors],
        substitute: Substitute | None = None,
    ) -> None:
        super().__init__(module, taps, substitute)
        self._copies = copies
        self._current: Tensors = {}

    def fetch_attr(self, target: str) -> Any:
        """Return a tensor of the current copy."""
        return self._current[target] if target in self._current else super().fetch_attr(target)

    def run_all(self, x: torch.Tensor) -> list[torch.Tensor]:
        """Return the outputs (batch, classes) of each copy."""
        constants = [node for node in self.graph.nodes if node.op == "get_attr"]
        steps = [node for node in self.graph.nodes if node.op != "get_attr"]
        differing = {node for node in constants if str(node.target) in self._copies[0]}
        first = next(index for index, node in enumerate(steps) if differing.intersection(node.all_input_nodes))
        if len(self._copies) > 1 and any(node.name in self._taps for node in steps[first:]):
            raise NotApplicableError("the layer that is looked at differs between the copies")
        self.args_iter = iter(self.graph.process_inputs(x))
        self.env = {node: self.run_node(node) for node in constants}
        self._advance(steps[:first], needed={source for node in steps[first:] for source in node.all_input_nodes})
        shared = self.env
        outputs = []
        for copy in self._copies:
            self._current = copy
            self.env = {**shared, **{node: self.run_node(node) for node in differing}}
            self._advance(steps[first:], needed=set())
            outputs.append(self.graph.process_outputs(self.env[steps[-1]]))
        return outputs

    def _advance(self, steps: Sequence[fx.Node], needed: set[fx.Node]) -> None:
        """Run some nodes; values that nothing needs any more are let go."""
        last_use = {source: node for node in steps for source in node.all_input_nodes}
        for node in steps:
            self.env[node] = self.run_node(node)
            for source in node.all_input_nodes:
                if source.op != "get_attr" and last_use[source] is node and source not in needed:
                    self.env.pop(source, None)
