"""ONNX: a graph of operators, whatever framework it came from."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

from xai.errors import RefusedFileError
from xai.models.formats.base import Contents, Format
from xai.models.onnx.operators.base import UnsupportedError
from xai.models.onnx.orientation import is_picture, readings
from xai.models.onnx.program import OnnxProgram
from xai.models.onnx.reading import OnnxFile, read
from xai.models.onnx.runtime import Runner
from xai.models.opaque import Opaque
from xai.models.safety import Peek

log = logging.getLogger(__name__)

_TAGS = frozenset((0x12, 0x1A, 0x22, 0x28, 0x32, 0x3A, 0x42, 0x72))  # of the message's other fields
MAX_BATCH = 4096
_WHOLE = (2, 3, 5, 6, 7)  # types of whole numbers: pixels of 0 to 255


class Onnx(Format):
    """What torch.onnx, tf2onnx, skl2onnx and others write."""

    name = "ONNX"
    summary = "an ONNX graph (.onnx), external data beside it; brings its own architecture"
    suffixes = (".onnx",)

    def recognises(self, file: Peek) -> bool:
        """Tell from the message's first fields: the version of its form, then another of its fields."""
        return len(file.head) > 2 and file.head[0] == 0x08 and file.head[1] < 64 and file.head[2] in _TAGS

    def read(self, path: Path, *, trusted: bool = False) -> Contents:  # noqa: ARG002  # nothing in it can run
        """Return the graph as a module; a graph with a node that is unknown here as a black box in onnxruntime."""
        file = read(path)
        batch = file.input.shape[0] if file.input.shape else None
        if batch is not None and batch > MAX_BATCH:
            raise RefusedFileError(
                f"model {path}: its batch is fixed at {batch}; expected at most {MAX_BATCH}, or a free one"
            )
        assumed = list(file.assumed)
        reference = None
        try:
            by = "" if batch is None else f", {batch} input{'s'[: batch > 1]} at a time"
            reference = Opaque(Runner(file), f"onnxruntime{by}", batch)
        except RefusedFileError as error:
            assumed.append(f"its answers could not be compared with onnxruntime's: {error}")
        try:
            network = _program(file, batch)
        except RefusedFileError as error:
            raise RefusedFileError(f"model {path}: {error}") from error
        except Exception as error:
            if reference is None:
                raise _unreadable(path, error, assumed[-1]) from error
            log.debug("no program", exc_info=True)
            reason = _line(error) if isinstance(error, UnsupportedError) else f"its graph does not run: {_line(error)}"
            reference.reason = f"{reason}; it runs in {reference.reason}"
            return Contents(reference, hints=_hints(file), assumed=tuple(assumed), readings=readings(file))
        return Contents(
            network,
            hints=_hints(file),
            assumed=tuple(assumed),
            reference=reference,
            readings=readings(file),
            whole=not file.external,
        )


def _program(file: OnnxFile, batch: int | None) -> OnnxProgram:
    """Return the graph as a module, ready for any batch."""
    if file.input.dtype in _WHOLE:
        raise UnsupportedError("its input is of whole numbers, and rounding has no gradient")
    network = OnnxProgram(file)
    if batch is not None:
        network.free_batch(batch)
    return network


def _hints(file: OnnxFile) -> dict[str, Any]:
    """Return what the file declares: the classes, and of the input what does not depend on how its axes are read."""
    found: dict[str, Any] = {"classes": file.classes} if file.classes else {}
    shape = file.input.shape[1:] if file.input.shape else ()
    if not shape or None in shape:
        return found
    if not any(is_picture(reading.shape) for reading in readings(file)[:1]):
        return {**found, "input": {"shape": shape, "range": None}}
    return {
        **found,
        "input": {"shape": shape, "range": (0.0, 255.0)} if file.input.dtype in _WHOLE else {"shape": shape},
    }


def _unreadable(path: Path, error: Exception, other: str) -> RefusedFileError:
    """Return the error for a file that runs neither here nor in onnxruntime; other says what keeps it from that."""
    if not isinstance(error, UnsupportedError):
        return RefusedFileError(f"model {path}: {_line(error)}; and {other}")
    log.debug("%s", other)  # of an unknown operator onnxruntime says the same in many more words
    return RefusedFileError(
        f"model {path}: {_line(error)}, and onnxruntime does not take it either; export the network with operators of "
        "ONNX itself, or give what runs it as a callable(batch) -> scores in Python"
    )


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:300]
