"""What a forward pass costs: the multiply-adds of matrix products and convolutions, read off the graph's shapes."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import fx

from xai.models.graph import EXAMPLES, Graph
from xai.models.layout import operator, shape_of

Count = Callable[[fx.Node], int]


def multiply_adds(graph: Graph) -> dict[str, int]:
    """Return the multiply-adds for one input of every operator that has any, by its node's name.

    Counted are matrix products, convolutions, attention's two products and recurrent layers, each sum of n products as
    n multiply-adds; all else - norms, activations, pooling, softmax - counts nothing.
    """
    of_input = _of_input(graph.module.graph)
    counted = {node: _COUNTS[operator(node)](node) for node in graph.module.graph.nodes if _is_counted(node)}
    return {node.name: count // EXAMPLES if node in of_input else count for node, count in counted.items() if count}


def _is_counted(node: fx.Node) -> bool:
    return node.op == "call_function" and operator(node) in _COUNTS


def _of_input(graph: fx.Graph) -> set[fx.Node]:
    """Return what follows from the input, so that its work grows with the batch; the rest is done once."""
    found: set[fx.Node] = set()
    for node in graph.nodes:
        if node.op == "placeholder" or not found.isdisjoint(node.all_input_nodes):
            found.add(node)
    return found


def _argument(node: fx.Node, name: str, default: Any = None) -> Any:
    """Return an operator's argument by its name in the schema."""
    target = node.target
    if name in node.kwargs or not isinstance(target, torch._ops.OpOverload):
        return node.kwargs.get(name, default)
    names = [argument.name for argument in target._schema.arguments]
    place = names.index(name) if name in names else len(node.args)
    return node.args[place] if place < len(node.args) else default


def _shape(source: Any) -> tuple[int, ...]:
    return shape_of(source) if isinstance(source, fx.Node) else ()


def _convolution(node: fx.Node) -> int:
    """Count a kernel for every place of the output; of a transposed convolution for every place of the input."""
    source, kernel = node.args[:2]
    transposed = "transpose" in operator(node) or bool(_argument(node, "transposed", False))
    return math.prod(_shape(source if transposed else node)) * math.prod(_shape(kernel)[1:])


def _product(first: int) -> Count:
    """Return the count of a product whose matrices begin with that argument: the output's size times the inner one."""
    return lambda node: math.prod(_shape(node)) * _shape(node.args[first])[-1]


def _attention(node: fx.Node) -> int:
    """Count queries x keys, and weights x values."""
    query, key, value = (_shape(source) for source in node.args[:3])
    return math.prod(query[:-1]) * key[-2] * (query[-1] + value[-1])


def _einsum(node: fx.Node) -> int:
    """Count pairs of operands from the left; letters of one operand alone are summed before, without a product."""
    equation, operands = str(node.args[0]).replace(" ", ""), node.args[1]
    assert isinstance(operands, list | tuple)
    shapes = [_shape(source) for source in operands]
    left, _, output = equation.partition("->")
    terms = left.split(",")
    if "." in equation or len(terms) != len(shapes):
        return 0
    if "->" not in equation:
        output = "".join(letter for letter in left if left.count(letter) == 1)
    sizes = {letter: size for term, shape in zip(terms, shapes, strict=True) for letter, size in zip(term, shape)}  # noqa: B905  # a repeated letter is a diagonal
    total, held = 0, set(terms[0])
    for index, term in enumerate(terms[1:], start=1):
        needed = set(output).union(*terms[index + 1 :])
        summed = (held & set(term)) - needed
        kept = (held | set(term)) & needed
        total += math.prod(sizes[letter] for letter in kept | summed) if summed else 0
        held = kept
    return total


def _recurrent(node: fx.Node) -> int:
    """Count every matrix of the weights once for each step."""
    matrices = [_shape(weight) for weight in _argument(node, "params", ()) if len(_shape(weight)) == 2]
    return math.prod(_shape(node.args[0])[:-1]) * sum(math.prod(matrix) for matrix in matrices)


_COUNTS: dict[str, Count] = {
    **dict.fromkeys(("conv1d", "conv2d", "conv3d", "convolution", "_convolution"), _convolution),
    **dict.fromkeys(("conv_transpose1d", "conv_transpose2d", "conv_transpose3d"), _convolution),
    **dict.fromkeys(("linear", "mm", "bmm", "matmul", "mv", "dot"), _product(0)),
    **dict.fromkeys(("addmm", "baddbmm", "addbmm", "addmv"), _product(1)),
    "scaled_dot_product_attention": _attention,
    "einsum": _einsum,
    **dict.fromkeys(("lstm", "gru", "rnn_tanh", "rnn_relu"), _recurrent),
}
