"""Look into an ONNX file: its graph, its constants, what goes in and comes out. Nothing is run."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx.inliner

from xai.errors import RefusedFileError
from xai.models.safety import SMALL

MAX_BYTES = 2**31 - 1  # protobuf's own limit of one message
MAX_DEPTH = 64
NEWEST = 26  # operator set: what onnxruntime takes
MAX_NODES = 50_000
_BITS = {1: 32, 2: 8, 3: 8, 4: 16, 5: 16, 6: 32, 7: 64, 9: 8, 10: 16, 11: 64, 12: 32, 13: 64, 16: 16}  # by data type


@dataclass(frozen=True)
class Port:
    """An input or output of the graph.

    Args:
        name: of its value.
        dtype: number of onnx.TensorProto.DataType.
        shape: a size for each axis, None where it is free; None if the file does not say.
    """

    name: str
    dtype: int
    shape: tuple[int | None, ...] | None

    def sizes_for(self, given: tuple[int, ...]) -> tuple[int, ...] | None:
        """Return the sizes in which one input of a shape goes in: its own, or a flat row's; None if it does not fit."""
        if self.shape is None:
            return given
        own = self.shape[1:]
        if len(own) == len(given) and all(size in (None, other) for size, other in zip(own, given, strict=True)):
            return given
        known = [size for size in own if size != 1]
        return tuple(size or 1 for size in own) if known == [math.prod(given)] else None

    @property
    def refusal(self) -> str:
        """What is said of an input that does not fit."""
        return f"the file's input {self.name!r} has the shape {self.shape[1:] if self.shape else ()}"


@dataclass(frozen=True)
class OnnxFile:
    """A model file that was looked into.

    Args:
        path: where it is.
        model: the message, external data taken in.
        opsets: version of each operator set by domain.
        constants: arrays by name.
        input: the one that the network takes.
        output: the one that is taken for its scores.
        classes: names of classes that the file itself gives.
        assumed: what had to be assumed, in words.
        external: whether numbers were read from another file.
    """

    path: Path
    model: onnx.ModelProto
    opsets: dict[str, int]
    constants: dict[str, np.ndarray]
    input: Port
    output: Port
    classes: tuple[str, ...] = ()
    assumed: tuple[str, ...] = ()
    external: bool = False


def read(path: Path) -> OnnxFile:
    """Return what a file holds.

    Raises:
        RefusedFileError: it is damaged, its data lie outside of its folder, or it has not one input and one output.
    """
    if path.stat().st_size > MAX_BYTES:
        raise RefusedFileError(f"model {path}: an ONNX message of more than 2 GiB; store the weights as external data")
    try:
        model = onnx.load_model_from_string(path.read_bytes())
    except Exception as error:  # protobuf's own, a package of onnx's
        raise RefusedFileError(f"model {path} is damaged or cut short: it is no ONNX message") from error
    _make_readable(model)
    if not model.graph.node or not model.opset_import:
        raise RefusedFileError(f"model {path} is damaged or no ONNX model: it has no nodes or no operator set")
    newest = max((entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx")), default=0)
    if newest > NEWEST:
        raise RefusedFileError(
            f"model {path} is of operator set {newest}, newer than {NEWEST}, the newest read here; export it with "
            "opset_version=20"
        )
    if len(model.graph.node) > MAX_NODES:
        raise RefusedFileError(f"model {path} has {len(model.graph.node)} nodes; expected at most {MAX_NODES}")
    if model.functions:
        _check_functions(model, path)
        model = _inlined(model, path)
    outside = [tensor for tensor in _tensors(model.graph) if tensor.data_location == onnx.TensorProto.EXTERNAL]
    claimed = sum(_bytes(tensor, path) for tensor in outside)
    held = sum(file.stat().st_size for file in {_outside(tensor, path) for tensor in outside})
    if claimed > max(SMALL, 2 * held):  # tied weights may name the same bytes twice, and a bomb a thousand times
        raise RefusedFileError(f"model {path}: its data files hold {held} bytes, and its tensors claim {claimed}")
    for tensor in outside:
        _take_in(tensor, path)
    constants = {tensor.name: array(tensor, path) for tensor in model.graph.initializer}
    output, classes, assumed = _output(model.graph, path)
    return OnnxFile(
        path,
        model,
        {"" if entry.domain == "ai.onnx" else entry.domain: entry.version for entry in model.opset_import},
        constants,
        _input(model.graph, constants, path),
        output,
        classes,
        assumed,
        bool(outside),
    )


def _make_readable(message: Any) -> None:
    """Write bytes in names that are no UTF-8 as escapes: protobuf lets them through, and nothing else can read them."""
    for field, value in message.ListFields():
        if field.type == field.TYPE_MESSAGE:
            for inner in value if isinstance(value, Sequence) else (value,):
                _make_readable(inner)
        elif field.type != field.TYPE_STRING:
            continue
        elif isinstance(value, str | bytes):
            if isinstance(value, bytes):
                setattr(message, field.name, _readable(value))
        elif any(isinstance(text, bytes) for text in value):
            value[:] = [_readable(text) for text in value]


def _readable(text: str | bytes) -> str:
    return text.decode(errors="backslashreplace") if isinstance(text, bytes) else text


def _check_functions(model: onnx.ModelProto, path: Path) -> None:
    """Refuse functions that call functions until the nodes fill the memory."""
    bodies = {(function.domain, function.name): function.node for function in model.functions}
    counts: dict[tuple[str, str], int] = {}

    def count(nodes: Iterable[onnx.NodeProto], depth: int) -> int:
        if depth > MAX_DEPTH:
            raise RefusedFileError(f"model {path}: functions call each other more than {MAX_DEPTH} deep, or for ever")
        total = 0
        for node in nodes:
            key = (node.domain, node.op_type)
            if key in bodies and key not in counts:
                counts[key] = count(bodies[key], depth + 1)
            total += counts.get(key, 1)
        return total

    if (nodes := count(model.graph.node, 0)) > MAX_NODES:
        raise RefusedFileError(f"model {path}: its functions unfold to {nodes} nodes; expected at most {MAX_NODES}")


def _inlined(model: onnx.ModelProto, path: Path) -> onnx.ModelProto:
    """Put the bodies of the file's own functions where they are called."""
    try:
        inlined: onnx.ModelProto = onnx.inliner.inline_local_functions(model)
    except Exception as error:  # the inliner raises many kinds for what it cannot resolve
        raise RefusedFileError(f"model {path}: its functions cannot be resolved ({_line(error)})") from error
    return inlined


def _tensors(graph: onnx.GraphProto, depth: int = 0) -> Iterable[onnx.TensorProto]:
    """Yield every tensor of a graph and of the graphs within it."""
    if depth > MAX_DEPTH:
        raise RefusedFileError(f"graphs within graphs, more than {MAX_DEPTH} deep")
    yield from graph.initializer
    for sparse in graph.sparse_initializer:
        yield from (sparse.values, sparse.indices)
    for node in graph.node:
        for attribute in node.attribute:
            yield from (attribute.t, *attribute.tensors)
            for sparse in (attribute.sparse_tensor, *attribute.sparse_tensors):
                yield from (sparse.values, sparse.indices)
            for inner in (attribute.g, *attribute.graphs):
                yield from _tensors(inner, depth + 1)


def _outside(tensor: onnx.TensorProto, path: Path) -> Path:
    """Return the file that holds a tensor's external data, which must lie in the model's own folder."""
    entries = {entry.key: entry.value for entry in tensor.external_data}
    location = entries.get("location", "")
    folder = path.parent.resolve()
    try:
        file: Path = (folder / location).resolve()
    except (ValueError, OSError, RuntimeError):  # no name of a file, or a circle of links
        file = Path("/")
    if not location or not file.is_relative_to(folder):
        raise RefusedFileError(
            f"model {path}: its data lie outside of its folder ({location!r}); put the data file beside the model"
        )
    if not file.is_file():
        raise RefusedFileError(
            f"model {path}: its data file {location!r} is missing, or no file; put it beside the model"
        )
    if file.stat().st_nlink > 1:
        raise RefusedFileError(f"model {path}: its data file {location!r} has several names (hard links); make a copy")
    return file


def _take_in(tensor: onnx.TensorProto, path: Path) -> None:
    """Read a tensor's external data into it."""
    file = _outside(tensor, path)
    entries = {entry.key: entry.value for entry in tensor.external_data}
    location = entries["location"]
    try:
        offset, length = int(entries.get("offset", 0)), int(entries.get("length", 0)) or None
    except ValueError as error:
        raise RefusedFileError(f"model {path}: offset or length of {tensor.name!r} is no number") from error
    wanted = _bytes(tensor, path)
    length = wanted if length is None else length
    if offset < 0 or length != wanted or offset + length > file.stat().st_size:
        raise RefusedFileError(f"model {path}: {location!r} does not hold the {wanted} bytes of {tensor.name!r}")
    with file.open("rb") as data:
        data.seek(offset)
        tensor.raw_data = data.read(length)
    tensor.data_location = onnx.TensorProto.DEFAULT
    del tensor.external_data[:]


def _bytes(tensor: onnx.TensorProto, path: Path) -> int:
    """Return how many bytes a tensor's numbers take."""
    if tensor.data_type not in _BITS:
        raise RefusedFileError(f"model {path}: {tensor.name!r} is of data type {tensor.data_type}, unknown here")
    if any(size < 0 for size in tensor.dims):
        raise RefusedFileError(f"model {path} is damaged: {tensor.name!r} has a negative size")
    return int(math.prod(tensor.dims)) * _BITS[tensor.data_type] // 8


def array(tensor: onnx.TensorProto, path: Path) -> np.ndarray:
    """Return a tensor's numbers; the claimed size is checked before anything is made of it."""
    if tensor.HasField("raw_data") and tensor.data_type in _BITS and _bytes(tensor, path) != len(tensor.raw_data):
        raise RefusedFileError(
            f"model {path} is damaged: {tensor.name!r} should have {_bytes(tensor, path)} bytes and has "
            f"{len(tensor.raw_data)}"
        )
    try:
        found: np.ndarray = onnx.numpy_helper.to_array(tensor)
    except Exception as error:  # the helper raises whatever numpy does
        raise RefusedFileError(f"model {path} is damaged: {tensor.name!r} cannot be read ({_line(error)})") from error
    return found


def attributes(node: onnx.NodeProto, path: Path) -> dict[str, Any]:
    """Return a node's attributes by name: numbers, texts, lists, arrays; graphs stay messages."""
    found: dict[str, Any] = {}
    for attribute in node.attribute:
        try:
            value = onnx.helper.get_attribute_value(attribute)
        except ValueError as error:
            raise RefusedFileError(f"model {path}: {attribute.name!r} of {node.name!r} cannot be read") from error
        if isinstance(value, onnx.TensorProto):
            value = array(value, path)
        elif isinstance(value, bytes):
            value = value.decode(errors="replace")
        elif isinstance(value, list) and value and isinstance(value[0], bytes):
            value = [item.decode(errors="replace") for item in value]
        found[attribute.name] = value
    return found


def _input(graph: onnx.GraphProto, constants: dict[str, np.ndarray], path: Path) -> Port:
    """Return the one input that is no constant."""
    free = [_port(value) for value in graph.input if value.name not in constants]
    if len(free) != 1:
        names = ", ".join(repr(port.name) for port in free[:5]) or "none"
        raise RefusedFileError(
            f"model {path} takes {len(free)} inputs ({names}); expected one: export a network that "
            "takes one tensor and holds what else it needs"
        )
    return free[0]


def _output(graph: onnx.GraphProto, path: Path) -> tuple[Port, tuple[str, ...], tuple[str, ...]]:
    """Return the output that holds scores, the classes' names if a ZipMap gives them, and what was assumed."""
    makers = {name: node for node in graph.node for name in node.output}
    ports: list[Port] = []
    classes: tuple[str, ...] = ()
    for value in graph.output:
        maker = makers.get(value.name)
        if maker is not None and maker.op_type == "ZipMap" and maker.input:
            given = attributes(maker, path)
            classes = tuple(
                str(name) for name in given.get("classlabels_strings") or given.get("classlabels_int64s") or ()
            )
            ports.append(Port(maker.input[0], 1, None))
        elif value.type.HasField("tensor_type"):
            ports.append(_port(value))
    scores = [port for port in ports if port.dtype in (1, 10, 11, 16)]
    if not scores:
        raise RefusedFileError(
            f"model {path} returns no scores: its outputs are no floating point tensors; export the network with its "
            "scores as the output, not with the class that won"
        )
    if len(ports) == 1:
        return scores[0], classes, ()
    if len(scores) > 1:
        names = ", ".join(repr(port.name) for port in scores[:5])
        raise RefusedFileError(
            f"model {path} returns {len(scores)} tensors of scores ({names}); expected one: export a network that "
            "returns only the one to be looked into"
        )
    return scores[0], classes, (f"of its {len(ports)} outputs, {scores[0].name!r} is taken for the scores",)


def _port(value: onnx.ValueInfoProto) -> Port:
    tensor = value.type.tensor_type
    if not tensor.HasField("shape"):
        return Port(value.name, tensor.elem_type, None)
    sizes = tuple(
        axis.dim_value if axis.HasField("dim_value") and axis.dim_value > 0 else None for axis in tensor.shape.dim
    )
    return Port(value.name, tensor.elem_type, sizes)


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:200]
