"""An ONNX file in onnxruntime: what the graph is compared with, and what runs where a node is unknown."""

from __future__ import annotations

import logging
import math
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
import onnx.shape_inference
import onnxruntime
import torch

from xai.errors import RefusedFileError
from xai.models.onnx.reading import OnnxFile

log = logging.getLogger(__name__)

_NUMBERS = {
    1: np.float32,
    2: np.uint8,
    3: np.int8,
    5: np.int16,
    6: np.int32,
    7: np.int64,
    10: np.float16,
    11: np.float64,
}
_SILENT = 4
SECONDS = 60  # that one input may take
MAX_VALUE = 2**31  # bytes of one value of a graph that is run as it is


def runner(file: OnnxFile) -> Callable[[torch.Tensor], torch.Tensor]:
    """Return a function that runs a file in onnxruntime: (batch, ...) -> (batch, outputs), float32.

    Args:
        file: that was looked into; all its external data are taken in, so onnxruntime has no other file to open.

    Raises:
        RefusedFileError: onnxruntime does not take it, or not inputs of that type.
    """
    if file.input.dtype not in _NUMBERS:
        raise RefusedFileError(f"model {file.path}: its input is of data type {file.input.dtype}; expected numbers")
    dtype = _NUMBERS[file.input.dtype]
    session = _session(file)

    def run(x: torch.Tensor) -> torch.Tensor:
        values = x.detach().cpu().numpy()
        sizes = file.input.sizes_for(values.shape[1:])
        if sizes is None:
            raise ValueError(file.input.refusal)
        values = values.reshape(len(values), *sizes)
        if np.issubdtype(dtype, np.integer):
            values = np.rint(values)
        fed = {file.input.name: np.ascontiguousarray(values.astype(dtype))}
        with _bounded(SECONDS * max(len(values), 1)) as options:
            (scores,) = session.run([file.output.name], fed, options)
        return torch.from_numpy(np.asarray(scores, dtype=np.float32))

    return run


@contextmanager
def _bounded(seconds: float) -> Iterator[onnxruntime.RunOptions]:
    """Let a run end after some seconds: a file may loop for ever."""
    options = onnxruntime.RunOptions()
    options.log_severity_level = _SILENT
    timer = threading.Timer(seconds, lambda: setattr(options, "terminate", True))
    timer.daemon = True
    timer.start()
    try:
        yield options
    finally:
        timer.cancel()


def _session(file: OnnxFile) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = _SILENT
    options.intra_op_num_threads = torch.get_num_threads()
    # Its rewriting folds constants of any size that a hostile file asks for.
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    try:
        return onnxruntime.InferenceSession(_message(file), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime's exceptions have no common root
        raise RefusedFileError(
            f"model {file.path}: onnxruntime does not take it ({' '.join(str(error).split())[:200]})"
        ) from error


def check_values(file: OnnxFile) -> None:
    """Raise RefusedFileError if a value of the graph is absurdly large, as far as sizes are known before it runs."""
    try:
        inferred = onnx.shape_inference.infer_shapes(file.model, data_prop=True)
    except Exception as error:  # what the inference raises has no common root
        log.debug("no shapes could be inferred: %s", error)
        return
    for value in (*inferred.graph.value_info, *inferred.graph.output):
        sizes = [axis.dim_value for axis in value.type.tensor_type.shape.dim if axis.dim_value > 0]
        if 4 * math.prod(sizes) > MAX_VALUE:
            raise RefusedFileError(
                f"model {file.path}: its value {value.name!r} has the shape {sizes}, more than 2 GiB"
            )


def _message(file: OnnxFile) -> bytes:
    """Return the model as one message, in which the scores are an output."""
    graph = file.model.graph
    if file.output.name not in {value.name for value in graph.output}:
        graph.output.add().name = file.output.name
    try:
        message: bytes = file.model.SerializeToString()
    except ValueError as error:
        raise RefusedFileError(f"model {file.path} is larger than 2 GiB, more than onnxruntime takes here") from error
    return message
