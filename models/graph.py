"""The one program: a functional graph of ATen operators with a free batch dimension.

Layer taps, Grad-CAM, feature maps and bounds all read this graph, so nothing depends on Python hooks firing, and
a TorchScript file offers what a live module offers.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import fx, nn

from xai.errors import unknown
from xai.models.layout import Layout, layouts, operator, shape_of
from xai.models.split import split

ROOT = "network"  # the module that the exported wrapper holds the network under
EXAMPLES = 2  # inputs in the example batch; one would be baked into the graph

Tap = Callable[[torch.Tensor], torch.Tensor]
Substitute = Callable[[Any], Callable[..., Any]]  # gives what is called instead of an operator


@dataclass(frozen=True)
class Layer:
    """A part of the network that has a name, and its output.

    Args:
        name: as in the source; "@1" marks the second use of a module.
        kind: the module's class.
        node: name of the graph's node that is its output.
        shape: of its output, without the batch.
        parameters: how many trained numbers it holds.
        layout: where rows and columns are in its output, if it has them.
        leaf: whether no other layer lies within it.
        module: whether it is a module of the source; else an operator that the network itself calls.
    """

    name: str
    kind: str
    node: str
    shape: tuple[int, ...]
    parameters: int
    layout: Layout | None
    leaf: bool
    module: bool

    @property
    def is_feature_map(self) -> bool:
        """Whether its output has rows and columns of the picture, and channels at each place."""
        return self.layout is not None and self.layout.is_feature_map

    @property
    def channel_axis(self) -> int:
        """Which axis of its output, the batch being the first, holds the channels."""
        return self.layout.names.index("", 1) if self.layout and self.layout.is_feature_map else 1

    @property
    def channels(self) -> int:
        """How many channels its output has."""
        return self.shape[self.channel_axis - 1] if self.shape else 0

    def by_channel(self, value: torch.Tensor) -> torch.Tensor:
        """Return its output with the channels behind the batch: (batch, channels, ...)."""
        return self.layout.to_grid(value) if self.layout and self.layout.is_feature_map else value


class Graph:
    """A network as a graph.

    Args:
        module: the functional graph with its tensors; called with (batch, channels, height, width) in input units.
        device: where its tensors are.
    """

    is_whole = True  # the module's own tensors are all that runs

    def __init__(self, module: fx.GraphModule, device: torch.device) -> None:
        self.module = module
        self.device = device
        self._splits: dict[str, tuple[fx.GraphModule, fx.GraphModule]] = {}

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        """Return outputs (batch, classes) of inputs (batch, channels, height, width)."""
        outputs: torch.Tensor = self.module(x)
        return outputs

    def run(self, x: torch.Tensor, taps: Mapping[str, Tap], substitute: Substitute | None = None) -> torch.Tensor:
        """Return outputs; the value of each layer named in taps is replaced by what its tap returns.

        Args:
            x: (batch, channels, height, width) in input units.
            taps: by the layer's name.
            substitute: gives what is called instead of each operator.
        """
        nodes = {self.layer(name).node: tap for name, tap in taps.items()}
        return Tapped(self.module, nodes, substitute).run(x)  # type: ignore[no-any-return]  # fx.Interpreter.run is untyped

    def programs(self, shared: Layer | None = None) -> list[fx.Interpreter]:  # noqa: ARG002  # copies of a graph ask for it
        """Return what runs the graph, one for each copy of it, whose outputs stand side by side.

        Args:
            shared: a layer whose value all copies must have in common, if there is one.
        """
        return [fx.Interpreter(self.module)]

    def split(self, layer: Layer) -> tuple[fx.GraphModule, fx.GraphModule]:
        """Return what leads to a layer's value, and what follows from it; see `xai.models.split.split`."""
        if layer.node not in self._splits:
            self._splits[layer.node] = split(self.module, layer.node)
        return self._splits[layer.node]

    def layer(self, name: str) -> Layer:
        """Return the layer of that name; raise UsageError with near matches if there is none."""
        if name not in self.layers:
            raise unknown("layer", name, self.layers)
        return self.layers[name]

    @cached_property
    def layers(self) -> dict[str, Layer]:
        """Every named layer, in the order in which its output is computed."""
        modules, kinds = self._modules
        members = self.members
        found = layouts(self.module.graph)
        order = {node: i for i, node in enumerate(self.module.graph.nodes)}
        ends = sorted(((last_used(nodes), name) for name, nodes in members.items()), key=lambda end: order[end[0]])
        return {
            name: Layer(
                name=name,
                kind=kinds.get(name) or operator(node),
                node=node.name,
                shape=shape_of(node)[1:],
                parameters=self.parameters_of(members[name]),
                layout=found.get(node),
                leaf=not any(other.startswith(name.split("@")[0] + ".") for other in members),
                module=name in modules,
            )
            for node, name in ends
        }

    @cached_property
    def members(self) -> dict[str, list[fx.Node]]:
        """The operators within every named layer, an outer layer before those within it."""
        members = dict(self._modules[0])
        for node in self.module.graph.nodes:
            if _is_unscoped(node):
                members.setdefault(node.name, [node])
        return members

    def parameters_of(self, nodes: Iterable[fx.Node]) -> int:
        """Return how many trained numbers some operators read; what several of them read counts once."""
        used = {source for node in nodes for source in node.all_input_nodes if source.op == "get_attr"}
        tensors = (attribute(self.module, str(source.target)) for source in used)
        return sum(tensor.numel() for tensor in tensors if isinstance(tensor, nn.Parameter))

    @property
    def parameters(self) -> int:
        """How many trained numbers the network holds."""
        return sum(parameter.numel() for parameter in self.module.parameters())

    @property
    def bytes_of_weights(self) -> int:
        """Bytes of every tensor that the graph reads, mean and std included."""
        names = [str(node.target) for node in self.module.graph.nodes if node.op == "get_attr"]
        tensors = {id(tensor): tensor for tensor in (attribute(self.module, name) for name in names)}
        return sum(tensor.numel() * tensor.element_size() for tensor in tensors.values())

    @cached_property
    def bytes_per_input(self) -> int:
        """Bytes of float32 activations that live at once for one input."""
        last_use = {source: node for node in self.module.graph.nodes for source in node.all_input_nodes}
        alive: dict[fx.Node, int] = {}
        peak = 0
        for node in self.module.graph.nodes:
            if node.op != "get_attr":
                alive[node] = 4 * _numel(shape_of(node)) // EXAMPLES
            peak = max(peak, sum(alive.values()))
            alive = {n: size for n, size in alive.items() if last_use.get(n) is not node and n in last_use}
        return max(peak, 1)

    @cached_property
    def fingerprint(self) -> str:
        """sha256 over the operators, their wiring and every tensor."""
        digest = hashlib.sha256()
        index = {node: i for i, node in enumerate(self.module.graph.nodes)}
        for node in self.module.graph.nodes:
            arguments = fx.node.map_arg((node.args, node.kwargs), lambda source: f"%{index[source]}")
            target = "" if node.op in ("get_attr", "placeholder") else str(node.target)
            digest.update(f"{node.op} {target} {arguments}\n".encode())
            if node.op == "get_attr":
                digest.update(_bytes(attribute(self.module, str(node.target))))
        return digest.hexdigest()

    @cached_property
    def _modules(self) -> tuple[dict[str, list[fx.Node]], dict[str, str]]:
        return _scopes(self.module.graph)


class Tapped(fx.Interpreter):
    """Runs a graph and hands the values of some nodes to taps.

    Args:
        module: the graph.
        taps: by node name.
        substitute: gives what is called instead of each operator.
    """

    def __init__(self, module: fx.GraphModule, taps: Mapping[str, Tap], substitute: Substitute | None = None) -> None:
        super().__init__(module)
        self._taps = taps
        self._substitute = substitute
        self.extra_traceback = substitute is None  # what stands for an operator says itself what it cannot do

    def call_function(self, target: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Call an operator, or what stands for it."""
        return super().call_function(self._substitute(target) if self._substitute else target, args, kwargs)

    def run_node(self, n: fx.Node) -> Any:
        """Run one node."""
        value = super().run_node(n)
        return self._taps[n.name](value) if n.name in self._taps else value


def _scopes(graph: fx.Graph) -> tuple[dict[str, list[fx.Node]], dict[str, str]]:
    """Return the nodes within every named module, and the modules' classes."""
    members: dict[str, list[fx.Node]] = {}
    kinds: dict[str, str] = {}
    keys: dict[str, list[str]] = {}  # of each use of a module that has a tensor to show, in order
    for node in graph.nodes:
        if node.op != "call_function" or not shape_of(node):
            continue
        for key, (path, kind) in (node.meta.get("nn_module_stack") or {}).items():
            if not path.startswith(f"{ROOT}."):
                continue
            uses = keys.setdefault(path, [])
            if key not in uses:
                uses.append(key)
            use = uses.index(key)
            name = path.removeprefix(f"{ROOT}.") + (f"@{use}" if use else "")
            members.setdefault(name, []).append(node)
            kinds[name] = (kind if isinstance(kind, str) else kind.__name__).rpartition(".")[2]
    shown = {name: nodes for name, nodes in members.items() if any(map(_is_tensor, nodes))}
    return shown, kinds


def _is_unscoped(node: fx.Node) -> bool:
    """Say whether an operator is called by the network itself and not by one of its modules."""
    stack = node.meta.get("nn_module_stack") or {}
    named = any(path.startswith(f"{ROOT}.") for path, _ in stack.values())
    return node.op == "call_function" and not named and _is_tensor(node)


def _is_tensor(node: fx.Node) -> bool:
    return isinstance(node.meta.get("val"), torch.Tensor)


def last_used(nodes: Iterable[fx.Node]) -> fx.Node:
    """Return the last of some nodes that gives a tensor to something outside of them."""
    inside = list(nodes)
    held = set(inside)
    tensors = [node for node in inside if _is_tensor(node)] or inside
    used_outside = [node for node in tensors if any(user not in held for user in node.users)]
    return (used_outside or tensors)[-1]


def attribute(module: nn.Module, name: str) -> torch.Tensor:
    """Return the tensor of that name, which may lie within submodules."""
    owner, _, leaf = name.rpartition(".")
    tensor: torch.Tensor = getattr(module.get_submodule(owner), leaf)
    return tensor


def _numel(shape: tuple[int, ...]) -> int:
    count = 1 if shape else 0
    for size in shape:
        count *= size
    return count


def _bytes(tensor: torch.Tensor) -> bytes:
    return tensor.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().tobytes()
