"""An ONNX file in onnxruntime: what the graph is compared with, and what runs where a node is unknown.

A file may loop for ever or ask for any size, and what its nodes come to is known only as they run. So onnxruntime runs
in a process of its own, which may have so much memory and so much time.
"""

from __future__ import annotations

import contextlib
import io
import json
import subprocess
import sys
import threading
import weakref

import numpy as np
import torch

from xai.errors import AnalysisError, RefusedFileError, XaiError
from xai.models.onnx import worker
from xai.models.onnx.reading import OnnxFile
from xai.models.opening import seconds_left, waiting

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
SECONDS = 60.0  # that one input may take once the model is open
MAX_BYTES = 2 * 2**30  # that a file may fill beyond what it holds itself
_COPIES = 4  # of what the file holds: as it comes, as it is read, as it is laid out, and room between them


class _TooLargeError(Exception):
    """The memory that a run may have does not do for it."""


class Runner:
    """Runs a file in onnxruntime.

    Args:
        file: that was looked into; all its external data are taken in, so onnxruntime has no other file to open.

    Raises:
        RefusedFileError: onnxruntime does not take it, or not inputs of that type.
    """

    def __init__(self, file: OnnxFile) -> None:
        if file.input.dtype not in _NUMBERS:
            raise RefusedFileError(f"model {file.path}: its input is of data type {file.input.dtype}; expected numbers")
        self._input = file.input
        self._dtype = _NUMBERS[file.input.dtype]
        self._process = _Process(file)

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        """Return outputs (batch, outputs) float32 of inputs (batch, ...)."""
        values = x.detach().cpu().numpy()
        sizes = self._input.sizes_for(values.shape[1:])
        if sizes is None:
            raise ValueError(self._input.refusal)
        values = values.reshape(len(values), *sizes)
        if np.issubdtype(self._dtype, np.integer):
            values = np.rint(values)
        return torch.from_numpy(self._process.scores(np.ascontiguousarray(values.astype(self._dtype))))

    def rest(self) -> None:
        """End the process; the next call starts it again."""
        self._process.rest()


class _Process:
    """onnxruntime with one model, in a process that has its limits and is started again where it ran into them.

    Args:
        file: to be run.

    Raises:
        RefusedFileError: onnxruntime does not take it.
    """

    def __init__(self, file: OnnxFile) -> None:
        self._path = file.path
        self._model = _message(file)
        self._fixed = bool(file.input.shape and file.input.shape[0])
        self._ports = {"input": file.input.name, "output": file.output.name}
        self._lock = threading.Lock()
        self._at_once: int | None = None  # inputs that the memory did for, None before it ever did not
        self._process: subprocess.Popen[bytes] | None = None
        try:
            self._start()
        except (OSError, ValueError, _TooLargeError) as error:
            raise RefusedFileError(f"model {file.path}: onnxruntime does not take it ({error})") from error

    def scores(self, x: np.ndarray) -> np.ndarray:
        """Return the outputs (batch, ...) float32 for inputs; a batch that is too large is run in parts.

        Raises:
            ValueError: onnxruntime's own words for what went wrong.
            XaiError: it takes more memory or time than a file may.
        """
        size = self._at_once
        if size is not None and size < len(x):
            return np.concatenate([self.scores(x[i : i + size]) for i in range(0, len(x), size)])
        try:
            return self._scores(x)
        except _TooLargeError as error:
            if len(x) <= 1 or self._fixed:
                raise self._refused(
                    f"takes more than {MAX_BYTES / 2**30:.3g} GiB of memory, the most it may"
                ) from error
            self._at_once = len(x) // 2
        return self.scores(x)

    def rest(self) -> None:
        """End the process until the next call."""
        with self._lock:
            if self._process is not None:
                _end(self._process)
                self._process = None

    def _scores(self, x: np.ndarray) -> np.ndarray:
        written = io.BytesIO()
        np.save(written, x, allow_pickle=False)
        with self._lock:
            if self._process is None:
                self._start()
            answer = self._asked(written.getvalue(), max(len(x), 1))
        found: np.ndarray = np.load(io.BytesIO(answer), allow_pickle=False)
        return found

    def _start(self) -> None:
        given = {
            **self._ports,
            "path": [entry for entry in sys.path if entry],
            "threads": torch.get_num_threads(),
            "bytes": MAX_BYTES + _COPIES * len(self._model),
        }
        self._process = subprocess.Popen(
            [sys.executable, "-I", worker.__file__, json.dumps(given)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            start_new_session=True,  # an interruption is its owner's, who ends it
        )
        weakref.finalize(self, _end, self._process)
        self._asked(self._model, 1)

    def _asked(self, content: bytes, inputs: int) -> bytes:
        """Return the answer of the process; it is ended where it takes too long."""
        process = self._process
        assert process is not None
        assert process.stdin is not None
        assert process.stdout is not None
        left = seconds_left()
        allowed = SECONDS * inputs if left is None else min(left, SECONDS * inputs)
        late = threading.Event()

        def end() -> None:
            late.set()
            process.kill()

        timer = threading.Timer(max(allowed, 0), end)
        timer.daemon = True
        timer.start()
        try:
            with waiting():
                worker.send(process.stdin, content)
                answer = worker.received(process.stdout)
        except (OSError, EOFError) as error:
            _end(process)
            self._process = None
            if late.is_set():
                raise self._refused(f"was not done after {allowed:.0f} s, the most it may take") from error
            raise _TooLargeError("it ended, as it does when memory runs out") from error
        finally:
            timer.cancel()
        if answer[:1] != worker.DONE:
            said = answer[1:].decode(errors="replace")
            raise _TooLargeError(said) if answer[:1] == worker.TOO_LARGE else ValueError(said)
        return answer[1:]

    def _refused(self, what: str) -> XaiError:
        """Return the error for a file while it is opened, and for a run of an open model."""
        kind = AnalysisError if seconds_left() is None else RefusedFileError
        advice = "its loops or sizes may have no bound: export the network without loops, for smaller inputs"
        return kind(f"model {self._path}: onnxruntime {what}; {advice}")


def _end(process: subprocess.Popen[bytes]) -> None:
    process.kill()
    for stream in (process.stdin, process.stdout):
        if stream is not None:
            with contextlib.suppress(OSError):  # what was not sent any more
                stream.close()
    process.wait()


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
