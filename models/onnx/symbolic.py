"""Arithmetic of sizes: what ONNX graphs compute of shapes, on arrays whose numbers may be symbolic."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable
from functools import reduce
from typing import Any

import numpy as np
import torch

from xai.models.onnx.operators.base import Dims, Node, UnsupportedError, axes_of, axis_of, ints

_BINARY: dict[str, Callable[[Any, Any], Any]] = {
    "Add": operator.add,
    "Sub": operator.sub,
    "Mul": operator.mul,
    "Max": lambda x, y: np.frompyfunc(torch.sym_max, 2, 1)(x, y),
    "Min": lambda x, y: np.frompyfunc(torch.sym_min, 2, 1)(x, y),
    "Mod": operator.mod,
    "Equal": lambda x, y: np.frompyfunc(_same, 2, 1)(x, y).astype(bool),
}
_PLAIN = frozenset(("Cast", "Identity", "CastLike", "Floor", "Ceil"))


def computed(node: Node, inputs: list[Dims]) -> Dims:
    """Return what a node makes of sizes.

    Raises:
        UnsupportedError: the operator is not one that graphs use on shapes.
    """
    if node.kind in _BINARY:
        return tidy(reduce(_BINARY[node.kind], inputs))
    if node.kind in _PLAIN:
        return inputs[0]
    if node.kind not in _FUNCTIONS:
        raise UnsupportedError("it is computed of the sizes of the input, which are free")
    return tidy(_FUNCTIONS[node.kind](node, *inputs))


def tidy(values: Any) -> Dims:
    """Return whole numbers as such where no symbol is left."""
    found = np.asarray(values)
    if found.dtype == object and all(isinstance(value, int) for value in found.reshape(-1).tolist()):
        return found.astype(np.int64)
    return found


def is_symbolic(value: Any) -> bool:
    """Say whether a value is an array that holds a symbol."""
    return isinstance(value, np.ndarray) and value.dtype == object


def _same(x: Any, y: Any) -> bool:
    """Say whether two sizes are the same for every batch; a free size never equals a number such as -1."""
    if isinstance(x, int) and isinstance(y, int):
        return x == y
    return isinstance(x, torch.SymInt) and isinstance(y, torch.SymInt) and x.node.expr == y.node.expr


def _divided(node: Node, x: Dims, y: Dims) -> Any:
    return x // y if x.dtype.kind != "f" and y.dtype.kind != "f" else x / y


def _gathered(node: Node, x: Dims, indices: Dims) -> Any:
    return np.take(x, np.asarray(ints(indices)).reshape(indices.shape), axis=node.get("axis", 0))


def _sliced(node: Node, x: Dims, *how: Dims) -> Any:
    starts, ends = (node["starts"], node["ends"]) if not how else (ints(how[0]), ints(how[1]))
    axes = axes_of(node, how[2] if len(how) > 2 else None, x.ndim) or list(range(len(starts)))
    steps = ints(how[3]) if len(how) > 3 else [1] * len(starts)
    place: list[Any] = [slice(None)] * x.ndim
    for axis, first, last, step in zip(axes, starts, ends, steps, strict=True):
        place[axis] = slice(first, last if abs(last) < 2**31 - 1 else None, step)
    return x[tuple(place)]


def _unsqueezed(node: Node, x: Dims, axes: Dims | None = None) -> Any:
    named = node["axes"] if axes is None else ints(axes)
    for axis in sorted(axis_of(axis, x.ndim + len(named)) for axis in named):
        x = np.expand_dims(x, axis)
    return x


def _squeezed(node: Node, x: Dims, axes: Dims | None = None) -> Any:
    named = axes_of(node, axes, x.ndim)
    return x.squeeze() if named is None else x.squeeze(tuple(named))


def _reshaped(node: Node, x: Dims, wanted: Dims | None = None) -> Any:
    return x.reshape(node["shape"] if wanted is None else ints(wanted))


def _expanded(node: Node, x: Dims, wanted: Dims) -> Any:
    return np.broadcast_to(x, np.broadcast_shapes(x.shape, tuple(int(size) for size in wanted)))


def _product(node: Node, x: Dims, axes: Dims | None = None) -> Any:
    product = math.prod(x.reshape(-1).tolist())
    return np.array([product] if node.get("keepdims", 1) else product, dtype=object)


_FUNCTIONS: dict[str, Callable[..., Any]] = {
    "Concat": lambda node, *parts: np.concatenate(parts, axis=node["axis"]),
    "Div": _divided,
    "Expand": _expanded,
    "Gather": _gathered,
    "Neg": lambda node, x: -x,
    "ReduceProd": _product,
    "Reshape": _reshaped,
    "Shape": lambda node, x: np.array(x.shape),
    "Slice": _sliced,
    "Squeeze": _squeezed,
    "Unsqueeze": _unsqueezed,
    "Where": lambda node, condition, x, y: np.where(condition.astype(bool), x, y),
}
