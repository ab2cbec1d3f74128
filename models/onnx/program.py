"""An ONNX graph as a torch module: node by node, each with the place in the source that it came from."""

from __future__ import annotations

import math
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
import torch
from torch import fx, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.fx.traceback import preserve_node_meta, set_current_meta
from torch.utils._python_dispatch import _disable_current_modes

from xai.errors import RefusedFileError
from xai.models.onnx import symbolic
from xai.models.onnx.batch import freed_gather, freed_shape
from xai.models.onnx.naming import places
from xai.models.onnx.operators.base import (
    MAX_NUMBERS,
    Node,
    UnsupportedError,
    Value,
    check_size,
    says_how,
    table,
)
from xai.models.onnx.operators.elementwise import DTYPES
from xai.models.onnx.reading import OnnxFile, attributes
from xai.models.quiet import quiet
from xai.models.stack import Stack, module_stacks

_RANDOM = frozenset(
    ("RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike", "Bernoulli", "Multinomial")
)
_MOVING = frozenset(
    ("Cast", "Concat", "Gather", "Reshape", "Slice", "Squeeze", "Transpose", "Unsqueeze", "Add", "Mul", "Sub", "Div")
)
_HEAVY = frozenset(("LSTM", "GRU", "RNN", "Conv", "ConvTranspose"))  # constants of a real network need none of them
_STATISTICS = frozenset((("BatchNormalization", 3), ("BatchNormalization", 4)))
_PREPROCESSING = frozenset(("Sub", "Div", "Pow", "Equal", "Where", "Mod"))  # what they take is chosen, not learnt


MAX_FOLDED = 2**29  # bytes of all constants that follow from others, unless the file itself holds much
GROWTH = 8  # times what the file holds: weights of 8 bits become 32, and may be transposed
SECONDS = 20  # that folding may take


class _Folding:
    """What is left for constants that follow from others; each is small, and a file may ask for thousands.

    Args:
        held: bytes of the file's own constants.
    """

    def __init__(self, held: int) -> None:
        self.most = self.left = max(MAX_FOLDED, GROWTH * held)
        self.until = time.monotonic() + SECONDS

    def spend(self, value: np.ndarray) -> None:
        """Raise RefusedFileError if a value is one too many."""
        self.left -= value.nbytes
        if self.left < 0:
            raise RefusedFileError(f"constants that follow from others take more than {self.most // 2**20} MiB")
        if time.monotonic() > self.until:
            raise RefusedFileError(f"constants that follow from others take more than {SECONDS} s to compute")


@dataclass(frozen=True)
class Step:
    """One node and what runs it.

    Args:
        node: the node.
        function: from the table.
        marker: carries the node's place, so that an export notes it.
    """

    node: Node
    function: Callable[..., Any]
    marker: fx.Node


class OnnxProgram(nn.Module):
    """Runs an ONNX graph.

    Args:
        file: that holds it.

    Raises:
        UnsupportedError: a node is unknown here.
        RefusedFileError: the graph is damaged.
    """

    def __init__(self, file: OnnxFile) -> None:
        super().__init__()
        self.shape = None if file.input.shape is None else file.input.shape[1:]
        self.dtype = DTYPES.get(file.input.dtype, torch.float32)
        self._port, self._in, self._out = file.input, file.input.name, file.output.name
        needed = _needed(file)
        nodes = [_node(message, file) for message in needed]
        self.constants = dict(file.constants)
        folding = _Folding(sum(array.nbytes for array in self.constants.values()))
        functions = [_function(node, message.domain) for node, message in zip(nodes, needed, strict=True)]
        kept = [i for i, node in enumerate(nodes) if not self._folded(node, functions[i], folding)]
        found = places(needed)
        carriers = fx.Graph()
        self.steps = [
            Step(nodes[i], functions[i], _marker(carriers, nodes[i], stack))
            for i, stack in zip(kept, module_stacks([found[i] for i in kept]), strict=True)
        ]
        self.tensors: dict[str, str] = {}
        self._register()
        self.batch = 1
        self.before: dict[str, list[int]] = {}  # sizes of the values that reshapes take, for the batch that was baked

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return scores (batch, outputs) of inputs (batch, ...)."""
        with preserve_node_meta():
            return self._run(self._shaped(x), self._freed)

    def free_batch(self, batch: int) -> None:
        """Note which sizes reshapes were written for, so that other batch sizes run.

        Args:
            batch: the size that the file fixes.
        """
        if self.shape is None or None in self.shape:
            return
        self.batch = batch

        def note(step: Step, inputs: list[Value]) -> Any:
            if step.node.kind in ("Reshape", "Gather") and isinstance(inputs[0], torch.Tensor):
                self.before[step.node.outputs[0]] = list(inputs[0].shape)
            return self._computed(step, inputs)

        with quiet(), FakeTensorMode(allow_non_fake_inputs=True), torch.no_grad():
            self._run(torch.zeros((batch, *(size or 1 for size in self.shape)), dtype=self._floating()), note)

    def _floating(self) -> torch.dtype:
        return self.dtype if self.dtype.is_floating_point else torch.float32

    def _shaped(self, x: torch.Tensor) -> torch.Tensor:
        """Return the input in the file's own shape and precision; rows of a flat input may come as a picture."""
        x = x.to(self._floating())
        sizes = self._port.sizes_for(tuple(x.shape[1:]))
        if sizes is None:
            raise UnsupportedError(self._port.refusal)
        return x if sizes == tuple(x.shape[1:]) else x.reshape(x.shape[0], *sizes)

    def _run(self, x: torch.Tensor, compute: Callable[[Step, list[Value]], Any]) -> torch.Tensor:
        values: dict[str, Value] = {self._in: x}
        for step in self.steps:
            with _named(step.node), set_current_meta(step.marker):
                inputs = [self._value(step.node, place, values) for place in range(len(step.node.inputs))]
                made = compute(step, inputs)
            values |= zip(step.node.outputs, made if isinstance(made, tuple) else (made,), strict=False)
        found = values.get(self._out)
        if not isinstance(found, torch.Tensor):
            raise UnsupportedError("the output does not depend on the input")
        return found

    def _value(self, node: Node, place: int, values: dict[str, Value]) -> Value:
        """Return a node's input: a tensor if it follows from the network's input, else an array, or None."""
        name = node.inputs[place]
        if not name:
            return None
        if name in values:
            return values[name]
        if name not in self.constants:
            raise UnsupportedError(f"its input {name!r} is not made by any node before it")
        return self.constants[name]

    def _computed(self, step: Step, inputs: list[Value]) -> Any:
        """Run a node: on tensors, or on sizes alone."""
        node = step.node
        given = [value for value in inputs if value is not None]
        if given and all(isinstance(value, np.ndarray) for value in given):
            if not any(symbolic.is_symbolic(value) for value in given):
                with _disable_current_modes():
                    return _on_host(_sized(node, step.function, _data(node, inputs)))
            if any(symbolic.is_symbolic(value) and not says_how(node.kind, i) for i, value in enumerate(inputs)):
                return symbolic.computed(node, [np.asarray(value) for value in given])
        data = [
            getattr(self, self.tensors[name]) if isinstance(value, np.ndarray) and name in self.tensors else value
            for name, value in zip(node.inputs, inputs, strict=True)
        ]
        how = [value if says_how(node.kind, place) else data[place] for place, value in enumerate(inputs)]
        return step.function(node, *_data(node, how))

    def _freed(self, step: Step, inputs: list[Value]) -> Any:
        """Run a node; what was baked for one batch size is made right for the batch that comes."""
        node, (x, wanted) = step.node, [*inputs, None][:2]
        before = self.before.get(node.outputs[0])
        if before is None or not isinstance(x, torch.Tensor) or list(x.shape) == before:
            return self._computed(step, inputs)
        if not isinstance(wanted, np.ndarray) or wanted.dtype == object:
            return self._computed(step, inputs)
        if node.kind == "Gather":
            return freed_gather(x, wanted, before) if x.ndim == self.batch == 1 else self._computed(step, inputs)
        written = [before[i] if n == 0 and not node.get("allowzero", 0) else n for i, n in enumerate(wanted.tolist())]
        return x.reshape(freed_shape(before, list(x.shape), written, self.batch))

    def _folded(self, node: Node, function: Callable[..., Any], folding: _Folding) -> bool:
        """Compute a node whose inputs are all constants, once; say whether it was one."""
        if node.kind == "Constant":
            self.constants[node.outputs[0]] = _constant(node)
            return True
        if node.kind in _RANDOM or not all(name in self.constants for name in node.inputs if name):
            return False
        if node.kind == "Identity":
            self.constants[node.outputs[0]] = self.constants[node.inputs[0]]
            return True
        inputs: list[Value] = [
            None if not name else array if says_how(node.kind, i) else tensor(array)
            for i, name in enumerate(node.inputs)
            for array in [self.constants.get(name, np.zeros(0))]
        ]
        with _named(node), torch.no_grad():
            _check_made(node, function, inputs)
            if node.kind in _HEAVY:
                raise UnsupportedError("it is a layer whose inputs are all constants")
            made = function(node, *inputs)
            for name, value in zip(node.outputs, made if isinstance(made, tuple) else (made,), strict=False):
                found = self.constants[name] = _on_host(value)
                folding.spend(found)
        return True

    def _register(self) -> None:
        """Keep the constants that are data as parameters and buffers, each once."""
        uses: dict[str, list[tuple[str, int]]] = {}
        for step in self.steps:
            for place, name in enumerate(step.node.inputs):
                if name in self.constants and not says_how(step.node.kind, place):
                    uses.setdefault(name, []).append((step.node.kind, place))
        registered: dict[int, str] = {}
        for name, places_used in uses.items():
            array = self.constants[name]
            if id(array) not in registered:
                attribute = registered[id(array)] = f"tensor_{len(registered)}_{re.sub(r'[^0-9A-Za-z]+', '_', name)}"[
                    :200
                ]
                value = tensor(array)
                if _is_trained(value, places_used):
                    self.register_parameter(attribute, nn.Parameter(value, requires_grad=False))
                else:
                    self.register_buffer(attribute, value)
            self.tensors[name] = registered[id(array)]


def tensor(array: np.ndarray) -> torch.Tensor:
    """Return an array as a tensor of its own memory."""
    if array.dtype.name == "bfloat16":
        return torch.from_numpy(array.view(np.int16).copy()).view(torch.bfloat16)
    try:
        return torch.from_numpy(np.array(array))
    except TypeError as error:
        raise UnsupportedError(f"it takes numbers of type {array.dtype}") from error


def _as_array(value: torch.Tensor) -> np.ndarray:
    if value.dtype == torch.bfloat16:
        value = value.float()
    found: np.ndarray = value.detach().contiguous().numpy()
    return found


def _is_trained(value: torch.Tensor, uses: list[tuple[str, int]]) -> bool:
    if not value.is_floating_point() or value.numel() < 2:
        return False
    return any(use not in _STATISTICS and use[0] not in _PREPROCESSING for use in uses)


def _check_made(node: Node, function: Callable[..., Any], inputs: list[Value]) -> None:
    """Refuse a constant that is absurdly large, before it is computed."""
    count = math.prod(max(value.numel(), 1) for value in inputs if isinstance(value, torch.Tensor))
    if node.kind in _MOVING and count <= MAX_NUMBERS:
        return
    with quiet(), FakeTensorMode(allow_non_fake_inputs=True):
        made = function(node, *inputs)
    for value in made if isinstance(made, tuple) else (made,):
        if isinstance(value, torch.Tensor):
            check_size(value.shape)


def _sized(node: Node, function: Callable[..., Any], inputs: list[Value]) -> Any:
    """Compute a node whose sizes alone might make it absurdly large."""
    if math.prod(max(value.numel(), 1) for value in inputs if isinstance(value, torch.Tensor)) > MAX_NUMBERS:
        _check_made(node, function, inputs)
    return function(node, *inputs)


def _data(node: Node, inputs: list[Value]) -> list[Value]:
    """Return arrays as tensors where they are data."""
    return [
        tensor(value) if isinstance(value, np.ndarray) and not says_how(node.kind, place) else value
        for place, value in enumerate(inputs)
    ]


def _on_host(made: Any) -> Any:
    if isinstance(made, tuple):
        return tuple(map(_on_host, made))
    return made if isinstance(made, np.ndarray) else _as_array(made)


def _needed(file: OnnxFile) -> list[onnx.NodeProto]:
    """Return the nodes that the output depends on, in the file's order."""
    wanted = {file.output.name}
    found = []
    for node in reversed(file.model.graph.node):
        if wanted.intersection(node.output):
            wanted.update(node.input)
            found.append(node)
    return found[::-1]


def _node(message: onnx.NodeProto, file: OnnxFile) -> Node:
    domain = "" if message.domain == "ai.onnx" else message.domain
    return Node(
        message.op_type,
        message.name or message.output[0],
        file.opsets.get(domain, 0),
        attributes(message, file.path),
        tuple(message.input),
        tuple(message.output),
    )


def _function(node: Node, domain: str) -> Callable[..., Any]:
    known = table()
    key = ("" if domain == "ai.onnx" else domain, node.kind)
    if key not in known and node.kind != "Constant":
        of = f" of {domain}" if domain else ""
        raise UnsupportedError(f"operator {node.kind}{of} (node {node.name!r}, opset {node.opset}) is unknown here")
    return known.get(key, _constant)


def _constant(node: Node) -> np.ndarray:
    """Return what a Constant node holds."""
    for name, dtype in (
        ("value", None),
        ("value_float", "f4"),
        ("value_floats", "f4"),
        ("value_int", "i8"),
        ("value_ints", "i8"),
    ):
        if name in node.attributes:
            return np.asarray(node[name], dtype=dtype)
    raise UnsupportedError(f"node {node.name!r} holds a constant of a kind that is unknown here")


def _marker(carriers: fx.Graph, node: Node, stack: Stack) -> fx.Node:
    """Return a node that carries the place in the form that torch.export uses."""
    marker = carriers.placeholder(re.sub(r"\W", "_", node.name) or "node")
    marker.meta["nn_module_stack"] = stack
    return marker


@contextmanager
def _named(node: Node) -> Iterator[None]:
    """Name the node in whatever goes wrong in it."""
    try:
        yield
    except (UnsupportedError, RefusedFileError) as error:
        text = str(error)
        raise type(error)(text if "node '" in text else f"node {node.name!r} ({node.kind}): {text}") from error
    except KeyError as error:
        raise UnsupportedError(f"node {node.name!r} ({node.kind}): attribute {error} is missing") from error
