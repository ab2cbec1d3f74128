"""A network at a glance: its main blocks and how data flow between them, at a depth that leaves few enough to draw."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from operator import getitem

from torch import fx

from xai.models.cost import multiply_adds
from xai.models.graph import Graph, last_used
from xai.models.layout import operator, shape_of

MOST = 40  # blocks of a drawing, input and outputs included
_MOVES = ("view", "reshape", "_unsafe_view", "flatten", "unflatten", "squeeze", "unsqueeze", "permute", "transpose")
_PARTS = ("select", "slice", "unbind", "split", "split_with_sizes", "chunk", str(getitem))
_COPIES = ("expand", "clone", "contiguous", "_to_copy", "to", "alias", "detach", "dropout")
_CARRIERS = frozenset((*_MOVES, *_PARTS, *_COPIES))


@dataclass(frozen=True)
class Block:
    """A part of a network.

    Args:
        name: as in the source, "" for an operator that the network itself calls.
        kind: the module's class, the operator, or "input" and "outputs".
        shape: of its output, without the batch.
        parameters: how many trained numbers it holds.
        multiply_adds: for one input.
        sources: the blocks that it reads, as places in the list of blocks; all come before it.
        module: whether it is a module of the source.
    """

    name: str
    kind: str
    shape: tuple[int, ...]
    parameters: int
    multiply_adds: int
    sources: tuple[int, ...]
    module: bool


@dataclass
class _Part:
    """Some operators that stand together.

    Args:
        name: see Block.
        kind: see Block.
        nodes: the operators, in order.
        module: see Block.
    """

    name: str
    kind: str
    nodes: list[fx.Node]
    module: bool = False


def blocks(graph: Graph, most: int = MOST) -> tuple[Block, ...]:
    """Return the network's blocks in order of computation: input, at most `most` - 2 parts of it, outputs.

    Modules are opened one level after the other as long as few enough parts come of it. Operators that only move
    numbers about are no parts; where even the outermost level has too many, neighbours are joined.
    """
    flowing = _flowing(graph.module.graph)
    scopes = _scopes(graph)
    parts = _parts(graph, 1, scopes, flowing)
    for depth in range(2, 1 + max(map(len, scopes.values()), default=0)):
        deeper = _parts(graph, depth, scopes, flowing)
        if len(deeper) > most - 2:
            break
        parts = deeper
    while len(parts) > most - 2:
        parts = _joined(parts, _sources(graph.module.graph, parts, flowing), most - 2)
    costs = multiply_adds(graph)
    *read, end = _sources(graph.module.graph, parts, flowing)
    (entry,) = (node for node in graph.module.graph.nodes if node.op == "placeholder")
    outputs = graph.module.graph.output_node().all_input_nodes[0]
    return (
        Block("", "input", shape_of(entry)[1:], 0, 0, (), module=False),
        *(_block(graph, part, costs, sources) for part, sources in zip(parts, read, strict=True)),
        Block("", "outputs", shape_of(outputs)[1:], 0, 0, tuple(sorted(end)), module=False),
    )


def _block(graph: Graph, part: _Part, costs: Mapping[str, int], sources: set[int]) -> Block:
    return Block(
        name=part.name,
        kind=part.kind,
        shape=shape_of(last_used(part.nodes))[1:],
        parameters=graph.parameters_of(part.nodes),
        multiply_adds=sum(costs.get(node.name, 0) for node in part.nodes),
        sources=tuple(sorted(sources)),
        module=part.module,
    )


def _flowing(graph: fx.Graph) -> set[fx.Node]:
    """Return the tensors that depend on the input; positions and class tokens by themselves do not."""
    found: set[fx.Node] = set()
    for node in graph.nodes:
        depends = node.op == "placeholder" or any(source in found for source in node.all_input_nodes)
        if depends and shape_of(node):
            found.add(node)
    return found


def _scopes(graph: Graph) -> dict[fx.Node, list[str]]:
    """Return the modules that each operator stands in, from the outermost to the innermost."""
    found: dict[fx.Node, list[str]] = {}
    for name, nodes in graph.members.items():
        if graph.layers[name].module:
            for node in nodes:
                found.setdefault(node, []).append(name)
    return found


def _parts(graph: Graph, depth: int, scopes: dict[fx.Node, list[str]], flowing: set[fx.Node]) -> list[_Part]:
    """Cut the operators into modules of that depth, and those that an opened module calls itself."""
    parts: list[_Part] = []
    for node in graph.module.graph.nodes:
        if node.op != "call_function" or node not in flowing:
            continue
        part = _part(graph, node, scopes.get(node, [])[:depth], depth)
        if part is None:
            continue
        if parts and part.module and (part.name, part.kind) == (parts[-1].name, parts[-1].kind):
            parts[-1].nodes.append(node)
        else:
            parts.append(part)
    return [_whole(part, graph, flowing) if part.module else part for part in parts]


def _part(graph: Graph, node: fx.Node, modules: Sequence[str], depth: int) -> _Part | None:
    """Return the part that an operator belongs to, None for one that only moves numbers about."""
    if modules and (len(modules) == depth or graph.layers[modules[-1]].leaf):
        return _Part(modules[-1], graph.layers[modules[-1]].kind, [node], module=True)
    if operator(node) in _CARRIERS:
        return None
    if {path for path, _ in (node.meta.get("nn_module_stack") or {}).values()} == {""}:  # before the network itself
        return _Part("", "(x - mean) / std", [node], module=True)
    own = node.name if node.name in graph.layers else ""
    return _Part(modules[-1] if modules else own, operator(node), [node])


def _whole(part: _Part, graph: Graph, flowing: set[fx.Node]) -> _Part:
    """Add the operators of a module that the input does not reach: they may read parameters too."""
    constant = [node for node in graph.members.get(part.name, []) if node not in flowing]
    return _Part(part.name, part.kind, [*constant, *part.nodes], module=True)


def _sources(graph: fx.Graph, parts: Sequence[_Part], flowing: set[fx.Node]) -> list[set[int]]:
    """Return what each part reads, and last what the outputs read: parts count from 1, the input is 0."""
    place = {node: index for index, part in enumerate(parts, start=1) for node in part.nodes}
    read: list[set[int]] = [set() for _ in range(len(parts) + 2)]
    origins: dict[fx.Node, set[int]] = {}
    for node in graph.nodes:
        sources = {origin for source in node.all_input_nodes for origin in origins.get(source, ())}
        own = len(read) - 1 if node.op == "output" else place.get(node, 0)
        if node.op == "placeholder" or own:
            read[own] |= sources - {own}
            origins[node] = {own}
        elif node in flowing:  # sizes are no data
            origins[node] = sources
    return read[1:]


def _joined(parts: Sequence[_Part], read: Sequence[set[int]], most: int) -> list[_Part]:
    """Join neighbours, and cut where a single tensor is handed on if such a place is near."""
    least = -(-len(parts) // most)
    edges = [(source, reader) for reader, sources in enumerate(read, start=1) for source in sources]
    groups: list[list[_Part]] = [[]]
    for index, part in enumerate(parts, start=1):
        groups[-1].append(part)
        crossing = {source for source, reader in edges if source <= index < reader}
        if len(groups[-1]) >= (least if len(crossing) <= 1 else 3 * least):
            groups.append([])
    return [_one(group) for group in groups if group]


def _one(group: list[_Part]) -> _Part:
    if len(group) == 1:
        return group[0]
    names = [part.name for part in group if part.name]
    name = f"{names[0]} … {names[-1]}" if len(names) > 1 else "".join(names)
    return _Part(name, f"{len(group)} operators", [node for part in group for node in part.nodes])
