"""A graph as two: what leads to a node, and what follows from it."""

from __future__ import annotations

from torch import fx


def split(module: fx.GraphModule, name: str) -> tuple[fx.GraphModule, fx.GraphModule]:
    """Return the first graph, x -> (value, others), and the second, (value, *others) -> outputs.

    Run one after the other they are the whole; tensors are shared.

    Args:
        module: the whole.
        name: of the node whose value stands between them.
    """
    nodes = list(module.graph.nodes)
    place = next(index for index, node in enumerate(nodes) if node.name == name)
    before, behind = nodes[: place + 1], nodes[place + 1 :]
    needed = {source for node in behind for source in node.all_input_nodes}
    own = before[-1]
    others = [node for node in before[:-1] if node in needed and node.op != "get_attr"]
    first, second = fx.Graph(), fx.Graph()
    made: dict[fx.Node, fx.Node] = {}
    for node in before:
        made[node] = first.node_copy(node, made.__getitem__)
    first.output((made[own], [made[node] for node in others]))
    first.eliminate_dead_code()
    given = {node: second.placeholder(node.name) for node in (own, *others)}
    given |= {node: second.node_copy(node) for node in before if node.op == "get_attr" and node in needed}
    for node in behind:
        given[node] = second.node_copy(node, given.__getitem__)
    return fx.GraphModule(module, first), fx.GraphModule(module, second)
