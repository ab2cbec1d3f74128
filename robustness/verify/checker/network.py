"""A network as matrices, read from its graph: sums of matrix products, rectifiers, and maxima.

What is read here is judged on its own: no operator is lowered by what bounds or searches use.
"""

from __future__ import annotations

import math
import operator as python_operator
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import sparse
from torch import fx

from xai.models.graph import Graph, attribute

Array = NDArray[np.float64]
Matrix = Any  # (outputs, inputs) dense or sparse; (outputs,) where each number is multiplied by its own
NORMALISING = 4  # roundings of a batch norm's factor
_VALUES = ("self", "input", "other", "mat1", "mat2")  # arguments that the input may change


class UncheckableError(Exception):
    """What cannot be evaluated, and where."""


@dataclass(frozen=True)
class Given:
    """The input.

    Args:
        size: how many numbers it has.
    """

    size: int


@dataclass(frozen=True)
class Affine:
    """A sum of matrices times values, and a constant.

    Args:
        parts: the place of each value, and its matrix.
        bias: (outputs,).
        inexact: roundings that a number of the matrices stands for.
    """

    parts: tuple[tuple[int, Matrix], ...]
    bias: Array
    inexact: int = 0

    @property
    def size(self) -> int:
        """How many numbers it has."""
        return int(self.bias.shape[0])

    @cached_property
    def sizes(self) -> tuple[Matrix, ...]:
        """The matrices' sizes."""
        return tuple(abs(matrix) for _, matrix in self.parts)

    @cached_property
    def terms(self) -> int:
        """Roundings that one sum may have, forwards or backwards."""
        longest = max(self.size, *(int(matrix.shape[-1]) for _, matrix in self.parts))
        return longest * len(self.parts) + 4 + self.inexact


@dataclass(frozen=True)
class Rectified:
    """x where x is positive, slope times x elsewhere.

    Args:
        name: of the graph's node.
        source: place of x.
        size: how many numbers it has.
        slope: 0 to 1.
    """

    name: str
    source: int
    size: int
    slope: float


@dataclass(frozen=True)
class Largest:
    """The largest number of each window.

    Args:
        name: of the graph's node.
        source: place of the value that is looked at.
        windows: (size, places) which of its numbers; -1 where there is none.
        inputs: how many numbers that value has.
    """

    name: str
    source: int
    windows: NDArray[np.int64]
    inputs: int

    @property
    def size(self) -> int:
        """How many numbers it has."""
        return len(self.windows)

    @cached_property
    def onto(self) -> Matrix:
        """Which number stands at each place that is one, (places, inputs)."""
        flat = self.windows[self.windows >= 0]
        return sparse.csr_array((np.ones(len(flat)), (np.arange(len(flat)), flat)), shape=(len(flat), self.inputs))

    def of(self, numbers: Array, outside: float) -> Array:
        """Return numbers (..., inputs) as (..., size, places), `outside` where there is none."""
        return np.where(self.windows >= 0, numbers[..., np.maximum(self.windows, 0)], outside)


Bent = Rectified | Largest  # what is no sum


@dataclass(frozen=True)
class Network:
    """Values, each made of earlier ones; the first is the input.

    Args:
        values: of them.
        output: place of the output.
    """

    values: tuple[Given | Affine | Bent, ...]
    output: int

    @cached_property
    def rectifiers(self) -> dict[str, int]:
        """The place of each rectifier, by name."""
        return {value.name: place for place, value in enumerate(self.values) if isinstance(value, Rectified)}

    @cached_property
    def maxima(self) -> dict[str, int]:
        """The place of each maximum, by name."""
        return {value.name: place for place, value in enumerate(self.values) if isinstance(value, Largest)}


@dataclass(frozen=True)
class _Value:
    """A node that the input changes: a value's place, and its shape with a batch of one."""

    place: int
    shape: tuple[int, ...]


def read_network(graph: Graph, shape: Sequence[int]) -> Network:
    """Return a model's graph as matrices.

    Args:
        graph: of the model.
        shape: of one input.

    Raises:
        UncheckableError: an operator is not one that can be evaluated.
    """
    return _Reader(graph, tuple(shape)).network()


class _Reader:
    """Walks the graph once, for a batch of one."""

    def __init__(self, graph: Graph, shape: tuple[int, ...]) -> None:
        self.values: list[Given | Affine | Bent] = [Given(math.prod(shape))]
        self._input = _Value(0, (1, *shape))
        self._module = graph.module
        self._layers = {node: name for name, nodes in graph.members.items() for node in nodes}
        self._made: dict[str, Any] = {}
        self.node = ""

    def network(self) -> Network:
        output = None
        with torch.no_grad():
            for node in self._module.graph.nodes:
                if node.op == "output":
                    output = self._resolved(node.args[0])
                    output = output[0] if isinstance(output, list | tuple) else output
                else:
                    self._made[node.name] = self._visited(node)
        if not isinstance(output, _Value):
            raise UncheckableError("cannot check: the output does not depend on the input")
        return Network(tuple(self.values), output.place)

    def add(self, value: Affine | Bent, shape: Sequence[int]) -> _Value:
        """Append a value."""
        self.values.append(value)
        return _Value(len(self.values) - 1, tuple(shape))

    def _visited(self, node: fx.Node) -> Any:
        if node.op == "placeholder":
            return self._input
        if node.op == "get_attr":
            return attribute(self._module, str(node.target)).detach().cpu()
        self.node, name = node.name, _name(node)
        arguments, options = self._resolved(node.args), self._resolved(node.kwargs)
        if name.startswith(("_assert", "sym_constrain")):
            return None
        if name == "sym_size":
            return int(arguments[0].shape[arguments[1]])
        if node.target is python_operator.getitem and not isinstance(arguments[0], _Value):
            return arguments[0][arguments[1]]
        if not _depends((arguments, options)):
            assert callable(node.target)
            return node.target(*arguments, **options)
        try:
            rule = _RULES[name]
            call = _bound(node.target, arguments, options)
            if _depends({key: part for key, part in call.items() if key not in _VALUES}):
                raise KeyError(name)  # noqa: TRY301  # a weight that the input changes is no weight
            return rule(self, call, name)
        except (KeyError, AttributeError, TypeError, ValueError, RuntimeError) as error:
            layer = self._layers.get(node, node.name)
            raise UncheckableError(f"cannot check: operator {name} in layer {layer}") from error

    def _resolved(self, argument: Any) -> Any:
        return fx.node.map_arg(argument, lambda node: self._made[node.name])


def _name(node: fx.Node) -> str:
    target = node.target
    return target._schema.name.split("::")[-1] if isinstance(target, torch._ops.OpOverload) else str(target)


def _bound(target: Any, arguments: tuple[Any, ...], options: Mapping[str, Any]) -> dict[str, Any]:
    schema = target._schema.arguments
    given = {argument.name: value for argument, value in zip(schema, arguments, strict=False)}
    return {argument.name: argument.default_value for argument in schema} | given | dict(options)


def _depends(argument: Any) -> bool:
    if isinstance(argument, dict | list | tuple):
        return any(map(_depends, argument.values() if isinstance(argument, dict) else argument))
    return isinstance(argument, _Value)


def _array(tensor: Any) -> Array:
    return np.asarray(torch.as_tensor(tensor).double().numpy())


def _spread(constant: Any, shape: tuple[int, ...]) -> Array:
    """Return a constant (1, ...) broadcast to a value's shape and laid out flat."""
    array = _array(constant)
    if np.broadcast_shapes(array.shape, shape) != shape:
        raise ValueError(shape)
    return np.broadcast_to(array, shape).reshape(-1).copy()


def _diagonal(size: int, factor: Array | float = 1.0) -> Matrix:
    return np.broadcast_to(factor, size).astype(float)


def _scaled(reader: _Reader, x: _Value, factor: Array | float, bias: Array | float = 0.0, inexact: int = 0) -> _Value:
    size = math.prod(x.shape)
    constant, before = np.broadcast_to(bias, size).astype(float), reader.values[x.place]
    if isinstance(before, Affine) and not before.bias.any() and bool(np.all(factor == 1.0)):
        return reader.add(Affine(before.parts, constant, before.inexact), x.shape)  # nothing is computed for that
    return reader.add(Affine(((x.place, _diagonal(size, factor)),), constant, inexact), x.shape)


def _sum(reader: _Reader, call: dict[str, Any], name: str) -> _Value:
    """Add or subtract values and constants."""
    factor = float(call.get("alpha", 1)) * (-1.0 if name.startswith("sub") else 1.0)
    x, y = call["self"], call["other"]
    if isinstance(x, _Value) and isinstance(y, _Value):
        if x.shape != y.shape:
            raise ValueError(name)
        size = math.prod(x.shape)
        parts = ((x.place, _diagonal(size)), (y.place, _diagonal(size, factor)))
        return reader.add(Affine(parts, np.zeros(size)), x.shape)
    if abs(factor) != 1:
        raise ValueError(name)  # the constant would be rounded
    if isinstance(x, _Value):
        return _scaled(reader, x, 1.0, _spread(y, x.shape) * factor)
    return _scaled(reader, y, factor, _spread(x, y.shape))


def _times(reader: _Reader, call: dict[str, Any], name: str) -> _Value:
    """Multiply by constants, or divide by them."""
    x, y = call["self"], call["other"]
    if name.startswith("div"):
        if call.get("rounding_mode") is not None:
            raise ValueError(name)
        return _scaled(reader, x, 1.0 / _spread(y, x.shape), inexact=1)
    value, constant = (x, y) if isinstance(x, _Value) else (y, x)
    return _scaled(reader, value, _spread(constant, value.shape))


def _negated(reader: _Reader, call: dict[str, Any], _: str) -> _Value:
    return _scaled(reader, call["self"], -1.0)


def _product(reader: _Reader, x: _Value, weight: Array, bias: Array | None) -> _Value:
    """Multiply the last axis by a matrix (outputs, inputs)."""
    *rest, inner = x.shape
    if weight.ndim != 2 or inner != weight.shape[1]:
        raise ValueError(x.shape)
    times = math.prod(rest)
    matrix = weight if times == 1 else sparse.csr_array(sparse.kron(sparse.eye_array(times), weight))
    constant = np.tile(np.zeros(len(weight)) if bias is None else bias, times)
    return reader.add(Affine(((x.place, matrix),), constant), (*rest, len(weight)))


def _linear(reader: _Reader, call: dict[str, Any], _: str) -> _Value:
    bias = call["bias"]
    return _product(reader, call["input"], _array(call["weight"]), None if bias is None else _array(bias))


def _matmul(reader: _Reader, call: dict[str, Any], _: str) -> _Value:
    other = call["other"] if "other" in call else call["mat2"]
    return _product(reader, call["self"], _array(other).T, None)


def _addmm(reader: _Reader, call: dict[str, Any], name: str) -> _Value:
    if call["alpha"] != 1 or call["beta"] != 1 or not isinstance(call.get("mat1"), _Value):
        raise ValueError(name)
    weight = _array(call["mat2"]).T
    return _product(reader, call["mat1"], weight, _spread(call["self"], (1, len(weight))))


def _rectifier(reader: _Reader, call: dict[str, Any], name: str) -> _Value:
    x: _Value = call["self"]
    slope = float(call["negative_slope"]) if name.startswith("leaky") else 0.0
    if not 0 <= slope <= 1:
        raise ValueError(name)
    return reader.add(Rectified(reader.node, x.place, math.prod(x.shape), slope), x.shape)


def _moved(reader: _Reader, x: _Value, places: NDArray[np.int64], fill: float = 0.0) -> _Value:
    """Return the value whose numbers are those at places, `fill` where a place is negative."""
    size, flat = math.prod(x.shape), places.reshape(-1)
    if fill == 0 and len(flat) == size and bool((flat == np.arange(size)).all()):
        return _Value(x.place, places.shape)
    rows = np.flatnonzero(flat >= 0)
    matrix = sparse.csr_array((np.ones(len(rows)), (rows, flat[rows])), shape=(len(flat), size))
    return reader.add(Affine(((x.place, matrix),), np.where(flat >= 0, 0.0, fill)), places.shape)


def _numbered(x: _Value) -> torch.Tensor:
    return torch.arange(math.prod(x.shape)).reshape(x.shape)


def _arranged(reader: _Reader, call: dict[str, Any], name: str) -> _Value:
    """Follow where each number goes."""
    x = call.pop("self") if "self" in call else call.pop("input")
    if name == "pad":
        return _padded(reader, x, call)
    function = _SHUFFLES[name]
    return _moved(reader, x, np.asarray(function(_numbered(x), call).numpy()))


def _padded(reader: _Reader, x: _Value, call: dict[str, Any]) -> _Value:
    if call["mode"] != "constant":
        raise ValueError(call["mode"])
    places = torch.nn.functional.pad(_numbered(x), list(call["pad"]), value=-1)
    return _moved(reader, x, np.asarray(places.numpy()), float(call["value"] or 0.0))


_SHUFFLES: dict[str, Callable[[torch.Tensor, dict[str, Any]], torch.Tensor]] = {
    "reshape": lambda x, call: x.reshape(call["shape"]),
    "view": lambda x, call: x.reshape(call["size"]),
    "_unsafe_view": lambda x, call: x.reshape(call["size"]),
    "flatten": lambda x, call: x.flatten(call["start_dim"], call["end_dim"]),
    "permute": lambda x, call: x.permute(call["dims"]),
    "transpose": lambda x, call: x.transpose(call["dim0"], call["dim1"]),
    "squeeze": lambda x, call: x.squeeze() if call.get("dim") is None else x.squeeze(call["dim"]),
    "unsqueeze": lambda x, call: x.unsqueeze(call["dim"]),
}


def _kept(_: _Reader, call: dict[str, Any], name: str) -> _Value:
    """Pass on what an operator leaves as it is."""
    if name.endswith("dropout") and call["train"]:
        raise ValueError(name)
    kept: _Value = call["input"] if "input" in call else call["self"]
    return kept


def _pair(value: Any) -> tuple[int, int]:
    numbers = [int(one) for one in value] if isinstance(value, list | tuple) else [int(value)]
    return (numbers[0], numbers[-1])


def _windows(
    shape: tuple[int, ...], kernel: tuple[int, int], stride: Any, padding: Any, dilation: Any = 1
) -> NDArray[np.int64]:
    """Return the places (channels, rows, columns, kernel rows, kernel columns) under a window; -1 in the padding."""
    _, channels, height, width = shape
    (down, right), (above, left), (apart, aside) = _pair(stride), _pair(padding), _pair(dilation)
    places = np.arange(channels * height * width).reshape(channels, height, width)
    places = np.pad(places, ((0, 0), (above, above), (left, left)), constant_values=-1)
    size = ((kernel[0] - 1) * apart + 1, (kernel[1] - 1) * aside + 1)
    seen = np.lib.stride_tricks.sliding_window_view(places, size, axis=(1, 2))
    return np.asarray(seen[:, ::down, ::right, ::apart, ::aside])


def _convolution(reader: _Reader, call: dict[str, Any], name: str) -> _Value:
    x: _Value = call["input"]
    if isinstance(call["padding"], str) or call.get("transposed") or len(x.shape) != 4:
        raise ValueError(name)
    weight, groups = _array(call["weight"]), int(call["groups"])
    outputs, inner, *kernel = weight.shape
    seen = _windows(x.shape, (kernel[0], kernel[1]), call["stride"], call["padding"], call["dilation"])
    channels, height, width = seen.shape[:3]
    if channels != inner * groups:
        raise ValueError(name)
    under = seen.reshape(groups, inner, height * width, -1).transpose(0, 2, 1, 3).reshape(groups, height * width, -1)
    columns = np.repeat(under, outputs // groups, axis=0)  # (outputs, places, numbers under the window)
    rows = np.broadcast_to(np.arange(outputs * height * width).reshape(outputs, -1, 1), columns.shape)
    entries = np.broadcast_to(weight.reshape(outputs, 1, -1), columns.shape)
    inside = columns >= 0
    size = (outputs * height * width, math.prod(x.shape))
    matrix = sparse.csr_array((entries[inside], (rows[inside], columns[inside])), shape=size)
    bias = np.zeros(outputs) if call["bias"] is None else _array(call["bias"])
    return reader.add(Affine(((x.place, matrix),), np.repeat(bias, height * width)), (1, outputs, height, width))


def _average(reader: _Reader, call: dict[str, Any], name: str) -> _Value:
    x: _Value = call["self"]
    if call["ceil_mode"] or call["divisor_override"] or len(x.shape) != 4:
        raise ValueError(name)
    kernel = _pair(call["kernel_size"])
    seen = _windows(x.shape, kernel, call["stride"] or kernel, call["padding"])
    channels, height, width = seen.shape[:3]
    columns = seen.reshape(channels * height * width, -1)
    inside = columns >= 0
    if not call["count_include_pad"] and not inside.all():
        raise ValueError(name)
    rows = np.broadcast_to(np.arange(len(columns))[:, None], columns.shape)[inside]
    entries = np.full(len(rows), 1.0 / math.prod(kernel))
    matrix = sparse.csr_array((entries, (rows, columns[inside])), shape=(len(columns), math.prod(x.shape)))
    return reader.add(Affine(((x.place, matrix),), np.zeros(len(columns)), 1), (1, channels, height, width))


def _adaptive(reader: _Reader, call: dict[str, Any], name: str) -> _Value:
    """Average over as many windows as there are outputs, which may overlap."""
    x: _Value = call["self"]
    if len(x.shape) != 4:
        raise ValueError(name)
    _, channels, *sizes = x.shape
    wanted = [size if number is None else int(number) for size, number in zip(sizes, call["output_size"], strict=True)]
    down, across = (_shares(size, count) for size, count in zip(sizes, wanted, strict=True))
    matrix = sparse.csr_array(sparse.kron(sparse.eye_array(channels), sparse.kron(down, across)))
    return reader.add(Affine(((x.place, matrix),), np.zeros(matrix.shape[0]), 3), (1, channels, *wanted))


def _shares(size: int, count: int) -> Matrix:
    """Return what each of so many windows along an axis takes of each number."""
    found = np.zeros((count, size))
    for window in range(count):
        begin, end = window * size // count, -(-(window + 1) * size // count)
        found[window, begin:end] = 1.0 / (end - begin)
    return sparse.csr_array(found)


def _mean(reader: _Reader, call: dict[str, Any], name: str) -> _Value:
    """Average over axes."""
    x: _Value = call["self"]
    axes = [axis % len(x.shape) for axis in call["dim"]] if call.get("dim") else []
    if not axes or 0 in axes or call.get("dtype") is not None:
        raise ValueError(name)
    kept = [1 if axis in axes else size for axis, size in enumerate(x.shape)]
    rows = np.broadcast_to(np.arange(math.prod(kept)).reshape(kept), x.shape).reshape(-1)
    count, size = math.prod(x.shape) // math.prod(kept), math.prod(x.shape)
    matrix = sparse.csr_array((np.full(size, 1.0 / count), (rows, np.arange(size))), shape=(math.prod(kept), size))
    shape = kept if call["keepdim"] else [part for axis, part in enumerate(x.shape) if axis not in axes]
    return reader.add(Affine(((x.place, matrix),), np.zeros(math.prod(kept)), 1), shape)


def _largest(reader: _Reader, call: dict[str, Any], name: str) -> _Value:
    x: _Value = call["self"]
    if call["ceil_mode"] or len(x.shape) != 4:
        raise ValueError(name)
    kernel = _pair(call["kernel_size"])
    seen = _windows(x.shape, kernel, call["stride"] or kernel, call["padding"], call["dilation"])
    windows = seen.reshape(math.prod(seen.shape[:3]), -1)
    return reader.add(Largest(reader.node, x.place, windows, math.prod(x.shape)), (1, *seen.shape[:3]))


def _normalised(reader: _Reader, call: dict[str, Any], name: str) -> _Value:
    """Normalise by what was learnt: subtract, scale, add."""
    x: _Value = call["input"]
    if call.get("training") or call.get("train") or call["running_mean"] is None:
        raise ValueError(name)
    shape = (1, x.shape[1], *(1 for _ in x.shape[2:]))

    def along(constant: Any, otherwise: float) -> Array:
        numbers = np.full(x.shape[1], otherwise) if constant is None else _array(constant)
        return np.broadcast_to(numbers.reshape(shape), x.shape).reshape(-1)

    factor = along(call["weight"], 1.0) / np.sqrt(along(call["running_var"], 1.0) + float(call["eps"]))
    centred = _scaled(reader, x, 1.0, -along(call["running_mean"], 0.0))
    return _scaled(reader, centred, factor, along(call["bias"], 0.0), NORMALISING)


_RULES: dict[str, Callable[[_Reader, dict[str, Any], str], _Value | tuple[_Value, None, None]]] = {
    **dict.fromkeys(("add", "add_", "sub", "sub_"), _sum),
    **dict.fromkeys(("mul", "mul_", "div", "div_"), _times),
    **dict.fromkeys(("matmul", "mm"), _matmul),
    **dict.fromkeys(("relu", "relu_", "leaky_relu", "leaky_relu_"), _rectifier),
    **dict.fromkeys((*_SHUFFLES, "pad"), _arranged),
    **dict.fromkeys(("dropout", "feature_dropout", "alias", "clone", "contiguous", "detach", "detach_"), _kept),
    "batch_norm": _normalised,
    "_native_batch_norm_legit_no_training": lambda *call: (_normalised(*call), None, None),
    **dict.fromkeys(("conv2d", "convolution"), _convolution),
    "linear": _linear,
    "addmm": _addmm,
    "neg": _negated,
    "avg_pool2d": _average,
    **dict.fromkeys(("adaptive_avg_pool2d", "_adaptive_avg_pool2d"), _adaptive),
    "mean": _mean,
    "max_pool2d": _largest,
}
