"""FullGrad."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from pydantic import Field
from torch import fx

from xai.explainers.base import Attribution, Attributor, shortfall, upsampled
from xai.models.graph import Graph
from xai.models.layout import Layout, layouts, operator
from xai.models.model import Model
from xai.models.targets import Target
from xai.registry import Kind, Method, Need
from xai.reports.records import Value
from xai.runtime import Runtime

Rescale = Literal["layer", "channel", "none"]
SHIFTS = frozenset(("add", "sub", "rsub"))
SCALES = frozenset(("mul", "div"))
WEIGHTED = frozenset(("conv2d", "convolution", "conv_transpose2d", "linear"))  # of input, weight and bias
NORMS = frozenset(("batch_norm", "native_batch_norm", "_native_batch_norm_legit_no_training", "layer_norm"))
AFFINE = SHIFTS | WEIGHTED | NORMS | {"addmm", "native_layer_norm"}


@dataclass(frozen=True)
class Part:
    """A value of the graph, what its operator adds to it whatever the input, and where its places are."""

    value: torch.Tensor
    bias: torch.Tensor
    layout: Layout | None


class Parts(fx.Interpreter):
    """Runs a graph and keeps every bias: what an affine operator gives for zeros, a batch norm's mean included.

    The picture itself, as the network's first layer gets it, is the first part: a mean that is taken away from it
    before belongs to it.
    """

    def __init__(self, graph: Graph, program: fx.Interpreter) -> None:
        super().__init__(graph.module)
        self.fetch_attr = program.fetch_attr  # type: ignore[method-assign]  # of a copy of the graph its own tensors
        self._layouts = layouts(graph.module.graph)
        self._varying: set[fx.Node] = set()  # what depends on the input
        self._picture = _prepared(graph.module.graph)
        self.parts: list[Part] = []

    def run_node(self, n: fx.Node) -> Any:
        """Run one node; its value is kept where it is a part."""
        value = super().run_node(n)
        if n.op == "placeholder" or self._varying.intersection(n.all_input_nodes):
            self._varying.add(n)
        if n is self._picture:
            value = value.detach().clone().requires_grad_()
            self.parts.append(Part(value, value.detach(), self._layouts.get(n)))
        elif self.parts and n in self._varying and operator(n) in AFFINE and self._adds(n):
            self._keep(n, value)
        return value

    def _adds(self, n: fx.Node) -> bool:
        """Say whether an operator may add something: a sum of two values of the input does not, nor a bare weight."""
        if operator(n) in WEIGHTED:
            return len(n.args) > 2 and n.args[2] is not None
        constant = [one for one in n.all_input_nodes if one not in self._varying]
        return bool(constant) or any(isinstance(one, int | float) for one in n.args[:2])

    def _keep(self, n: fx.Node, value: Any) -> None:
        def zeros(node: fx.Node) -> Any:
            own = self.env[node]
            return torch.zeros_like(own) if node in self._varying and isinstance(own, torch.Tensor) else own

        with torch.no_grad():
            args, kwargs = fx.node.map_arg((n.args, n.kwargs), zeros)
            bias = n.target(*args, **kwargs)  # type: ignore[operator]  # of a call_function it is a function
        first, bias = (one[0] if isinstance(one, tuple | list) else one for one in (value, bias))
        if bias.any():
            self.parts.append(Part(first, bias.expand_as(first), self._layouts.get(n)))


def _prepared(graph: fx.Graph) -> fx.Node:
    """Return the input, after constants have been added to it and it was scaled by them: as the network gets it."""
    node: fx.Node = next(node for node in graph.nodes if node.op == "placeholder")
    while True:
        users = [user for user in node.users if operator(user) != "sym_size"]
        fixed = all(one.op == "get_attr" for user in users for one in user.all_input_nodes if one is not node)
        if len(users) != 1 or not fixed or operator(users[0]) not in SHIFTS | SCALES:
            return node
        node = users[0]


def rescaled(grid: torch.Tensor, how: Rescale) -> torch.Tensor:
    """Return sizes (channels, rows, columns) brought to 0..1, all together or each channel alone; or as they are."""
    sizes = grid.abs()
    if how == "none":
        return sizes
    axes = (0, 1, 2) if how == "layer" else (1, 2)
    low, high = sizes.amin(dim=axes, keepdim=True), sizes.amax(dim=axes, keepdim=True)
    return torch.where(high > low, (sizes - low) / (high - low), torch.zeros_like(sizes))


class FullGrad(Attributor):
    """Gradients of the input and of every bias (Srinivas & Fleuret 2019)."""

    about = Method(
        name="fullgrad",
        title="FullGrad",
        summary=(
            "Bright places are those whose pixels, or whose biases in any layer, weigh heavily in the target's output, "
            "for or against it."
        ),
        limits=(
            "It shows sizes and not signs: what speaks for and what speaks against is alike. What it adds up is the "
            "whole output for networks of ReLUs only; the value 'explained' says how much it is here, and the share "
            "that has no place in the picture is left out."
        ),
        source="Srinivas & Fleuret 2019, Full-Gradient Representation for Neural Network Visualization",
        kind=Kind.HEURISTIC,
        needs=frozenset({Need.GRADIENTS, Need.GRAPH}),
    )
    signed = False
    unit = "size of gradient times value, added over input and biases"

    rescale: Rescale = Field(
        default="none",
        description="what is brought to 0..1 before it is added: none, so that each counts by its size; layer, as its "
        "authors' code does, or channel, as their formula says: what hardly matters then counts as much as the rest",
    )

    def attribute(
        self,
        model: Model,
        x: torch.Tensor,
        targets: Sequence[Target],
        runtime: Runtime,  # noqa: ARG002  # one forward pass needs no batches
    ) -> list[Attribution]:
        """Run forward once, backward once a target, and add up the sizes."""
        graph, classes = model.needed_graph(), len(model.classes)
        runs: dict[int, tuple[torch.Tensor, list[Part]]] = {}  # by copy of the model, where there are several
        programs = graph.programs()
        found = []
        for target in targets:
            copy = target.index // classes
            if copy not in runs:
                parts = Parts(graph, programs[copy])
                runs[copy] = parts.run(x[None]), parts.parts
            found.append(self._added(*runs[copy], target.moved(-copy * classes), x))
        return found

    def _added(self, outputs: torch.Tensor, parts: list[Part], target: Target, x: torch.Tensor) -> Attribution:
        """Return the map of one target."""
        output = target(outputs).sum()
        values = [part.value for part in parts]
        gradients = torch.autograd.grad(output, values, retain_graph=True, materialize_grads=True)
        map_ = torch.zeros_like(x[0])
        explained, placeless = 0.0, 0.0
        for part, gradient in zip(parts, gradients, strict=True):
            share = gradient * part.bias
            explained += float(share.double().sum())
            if part.layout is not None and part.layout.is_feature_map:
                map_ = map_ + self._fine(part.layout.to_grid(share)[0], x)
            else:
                placeless += float(share.double().sum())
        unit = "of input and biases times their gradients, added with their signs"
        return Attribution(
            map_,
            chosen={"parts": len(parts)},
            values={
                "output": Value(value=float(output.detach()), unit="of the target"),
                "explained": Value(value=explained, unit=f"{unit}; the output itself for networks of ReLUs"),
                "without a place": Value(value=placeless, unit=f"{unit}, where a layer has no rows and columns"),
            },
            notes=shortfall(
                explained - placeless,
                float(output.detach()),
                "Input and biases that have a place in the picture, times their gradients,",
            ),
        )

    def _fine(self, grid: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
        """Return a part's map (height, width) of its grid (channels, rows, columns); totals stay if not rescaled."""
        coarse = rescaled(grid, self.rescale).sum(dim=0)
        fine = upsampled(coarse, x)
        return fine * (coarse.numel() / fine.numel()) if self.rescale == "none" else fine
