"""torch.export archives (.pt2), read entry by entry; torch's own loader unpickles whatever it cannot read otherwise."""

from __future__ import annotations

import io
import json
import math
import pickle
import sys
import zipfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from pydantic import BaseModel, ValidationError
from torch import nn

from xai.errors import RefusedFileError
from xai.models.batch import CHECKS, freed, mixes
from xai.models.card import MAX_NUMBERS, one_line
from xai.models.exported import DTYPES, ExportedProgram, ExportError, TensorMeta, is_quantised, network
from xai.models.formats.base import Contents, Format
from xai.models.opaque import Opaque
from xai.models.program import Program, Unchanged
from xai.models.safety import Peek, opened, peek

MAX_JSON = 256 * 2**20
MAX_EXPANDED = 2**24  # numbers that a tensor may have beyond those stored
_COMPILED = (".so", ".dll", ".dylib", ".o", ".cubin", ".ptx", ".pyd")
_OLD = "serialized_exported_program.json"  # torch 2.1 to 2.7
PLAIN = "save plain tensors; a network that torchao quantised is opened live, or exported to ONNX with its QDQ nodes"


class TorchExport(Format):
    """What torch.export.save writes."""

    name = "torch.export"
    summary = "what torch.export.save writes (.pt2); brings its own architecture"
    suffixes = (".pt2",)

    def recognises(self, file: Peek) -> bool:
        """Tell from the archive's entries."""
        return bool(file.names & {"archive_format", _OLD})

    def read(self, path: Path, *, trusted: bool = False) -> Contents:  # noqa: ARG002  # nothing in it needs to run
        """Return the network that the graph describes; every operator of it is on a list."""
        with opened(path, peek(path).size, f"model {path}") as zipped:
            try:
                return _contents(_Archive(zipped))
            except ExportError as error:
                raise RefusedFileError(f"model {path} is refused: {error}") from error
            except ValidationError as error:
                raise RefusedFileError(
                    f"model {path} is not what torch.export writes: {one_line(error)[:200]}"
                ) from error
            except (
                KeyError,
                TypeError,
                AttributeError,
                IndexError,
                StopIteration,
                RecursionError,
                RuntimeError,
            ) as error:
                reason = " ".join(f"{type(error).__name__}: {error}".split())[:200]
                raise RefusedFileError(f"model {path} is not what torch.export writes: {reason}") from error


class _Payload(BaseModel):
    """Where a tensor's numbers are."""

    path_name: str
    is_param: bool
    use_pickle: bool = False
    tensor_meta: TensorMeta | None = None


class _Payloads(BaseModel):
    config: dict[str, _Payload]


class _Archive:
    """The entries of an archive, without the folder that holds them all.

    Args:
        zipped: the archive.
    """

    def __init__(self, zipped: zipfile.ZipFile) -> None:
        self._zipped = zipped
        names = [entry.filename for entry in zipped.infolist() if not entry.is_dir()]
        roots = {name.partition("/")[0] for name in names}
        self._root = f"{roots.pop()}/" if len(roots) == 1 else ""
        self.names = [name.removeprefix(self._root) for name in names]

    def read(self, name: str) -> bytearray:
        """Return an entry's bytes, checked against their checksum; raise ExportError if there is none of that name."""
        if name not in self.names:
            raise ExportError(f"it has no entry {name[:80]!r}")
        return bytearray(self._zipped.read(self._root + name))

    def json(self, name: str) -> Any:
        """Return an entry's data."""
        text = self.read(name)
        if len(text) > MAX_JSON:
            raise ExportError(f"{name} has {len(text)} bytes; expected at most {MAX_JSON}")
        return json.loads(text)


def _contents(archive: _Archive) -> Contents:
    _check_kind(archive)
    program, tensors = _old(archive) if _OLD in archive.names else _new(archive)
    held = _held(program.tensors, tensors)
    meta = program.input
    shape = tuple(size.example for size in meta.sizes)
    if not DTYPES[meta.dtype].is_floating_point or len(shape) < 2 or not 0 < math.prod(shape) <= MAX_NUMBERS:
        raise ExportError(f"its input is {DTYPES[meta.dtype]} of shape {shape}; expected a batch of decimal numbers")
    content = _opened(network(program, held), meta.sizes[0].as_int, shape[1:], DTYPES[meta.dtype])
    open_sizes = any(size.as_int is None for size in meta.sizes[1:])
    note = (f"the export takes inputs of several sizes: that of its example, {shape[1:]}, is taken",) * open_sizes
    return replace(content, hints={"input": {"shape": shape[1:]}}, assumed=(*content.assumed, *note))


def _opened(made: Program, batch: int | None, shape: tuple[int, ...], dtype: torch.dtype) -> Contents:
    """Return the network for any batch, or as a black box where its batch cannot be freed or it has no gradient."""
    note: tuple[str, ...] = ()
    if batch is not None:
        free = freed(made.program, shape, batch, dtype)
        if free is None:
            return _of_fixed_batch(made, batch, shape, dtype)
        note = (
            f"the export's batch was fixed at {batch}: it has been freed, and gives the same on {CHECKS} random inputs",
        )
        made = Program(free)
    if is_quantised(made):
        reason = "the network is quantised: it rounds its values to whole numbers, and rounding has no gradient"
        return Contents(Opaque(Unchanged(made), reason), assumed=note)
    return Contents(made, assumed=note)


def _of_fixed_batch(made: Program, batch: int, shape: tuple[int, ...], dtype: torch.dtype) -> Contents:
    """Run what takes one batch only as a black box."""
    if mixes(made, shape, batch, dtype):
        raise ExportError("its answer to an input depends on the other inputs of the batch")
    reason = (
        f"the export fixes the batch at {batch} and it cannot be freed; export again with "
        "dynamic_shapes=({0: torch.export.Dim('batch')},)"
    )
    return Contents(Opaque(Unchanged(made), reason, batch=batch), assumed=(reason,))


def _check_kind(archive: _Archive) -> None:
    """Refuse what holds compiled code."""
    compiled = [name for name in archive.names if name.startswith("data/aotinductor/") or name.endswith(_COMPILED)]
    if compiled:
        raise ExportError(
            f"it holds compiled code ({compiled[0][:80]}), which could do anything; "
            "save the program itself with torch.export.save"
        )
    if "byteorder" in archive.names and archive.read("byteorder").decode() != sys.byteorder:
        raise ExportError("it was written on a machine that keeps its numbers the other way round")


def _new(archive: _Archive) -> tuple[ExportedProgram, Mapping[str, torch.Tensor]]:
    """Read what torch writes since 2.8: each tensor an entry."""
    models = [name for name in archive.names if name.startswith("models/")]
    if len(models) != 1 or not models[0].endswith(".json"):
        raise ExportError(f"expected one program in it, found {len(models)} ({', '.join(models)[:80]})")
    name = models[0].removeprefix("models/").removesuffix(".json")
    program = ExportedProgram.model_validate(archive.json(models[0]))
    tensors: dict[str, torch.Tensor] = {}
    for folder in ("constants", "weights"):
        if f"data/{folder}/{name}.pt" in archive.names:
            tensors |= _unpickled(archive.read(f"data/{folder}/{name}.pt"), f"data/{folder}/{name}.pt")
        else:
            payloads = _Payloads.model_validate(archive.json(f"data/{folder}/{name}_{folder}_config.json")).config
            tensors |= _stored(archive, f"data/{folder}", payloads, set(program.tensors))
    return program, tensors


def _old(archive: _Archive) -> tuple[ExportedProgram, Mapping[str, torch.Tensor]]:
    """Read what torch wrote before: the tensors as state dicts."""
    program = ExportedProgram.model_validate(archive.json(_OLD))
    tensors: dict[str, torch.Tensor] = {}
    for entry in ("serialized_constants.pt", "serialized_state_dict.pt"):
        tensors |= _unpickled(archive.read(entry), entry) if entry in archive.names else {}
    return program, tensors


def _unpickled(content: bytearray, entry: str) -> dict[str, torch.Tensor]:
    """Return tensors by name, by torch's reader that runs no code, and by no other."""
    if not content:
        return {}
    with opened(io.BytesIO(content), len(content), f"model {entry}"):
        try:
            tensors = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
        except pickle.UnpicklingError as error:
            raise ExportError(
                f"{entry} holds Python objects besides tensors, and opening them could run code"
            ) from error
    return {str(name): tensor for name, tensor in tensors.items() if isinstance(tensor, torch.Tensor)}


def _stored(
    archive: _Archive, folder: str, payloads: Mapping[str, _Payload], wanted: set[str]
) -> dict[str, torch.Tensor]:
    """Return the tensors that the graph reads; those that share their numbers in the file share them here."""
    numbers: dict[tuple[str, int], torch.Tensor] = {}
    made: dict[str, torch.Tensor] = {}
    tensors = {}
    for name, payload in payloads.items():
        if name not in wanted:
            continue
        if payload.use_pickle or payload.tensor_meta is None:
            raise ExportError(f"{name[:80]!r} is stored as a pickle, which could run code; {PLAIN}")
        meta = payload.tensor_meta
        source = payload.path_name, meta.dtype
        if source not in numbers:
            numbers[source] = _numbers(archive.read(f"{folder}/{payload.path_name}"), DTYPES[meta.dtype], name)
        key = f"{payload.path_name} {meta.model_dump_json()}"
        tensors[name] = made.setdefault(key, _strided(numbers[source], meta, name))
    return tensors


def _numbers(content: bytearray, dtype: torch.dtype, name: str) -> torch.Tensor:
    if len(content) % dtype.itemsize:
        raise ExportError(f"{name[:80]!r} has {len(content)} bytes, which are no whole number of {dtype}")
    return torch.frombuffer(content, dtype=dtype) if content else torch.empty(0, dtype=dtype)


def _strided(numbers: torch.Tensor, meta: TensorMeta, name: str) -> torch.Tensor:
    """Return a view of stored numbers, checked to lie within them."""
    sizes, strides = ([size.as_int for size in each] for each in (meta.sizes, meta.strides))
    offset = meta.storage_offset.as_int
    whole = [number for number in (*sizes, *strides, offset) if isinstance(number, int) and number >= 0]
    if len(whole) != len(sizes) + len(strides) + 1 or len(sizes) != len(strides) or meta.layout != 7:
        raise ExportError(f"{name[:80]!r} is no plain tensor of known size")
    *_, start = whole
    shape, steps = whole[: len(sizes)], whole[len(sizes) : -1]
    last = start + sum((size - 1) * step for size, step in zip(shape, steps, strict=True))
    count = math.prod(shape)
    if count and (last >= len(numbers) or count > len(numbers) + MAX_EXPANDED):
        raise ExportError(
            f"{name[:80]!r} of shape {shape} does not lie within the {len(numbers)} numbers stored for it"
        )
    return numbers.as_strided(shape, steps, start) if count else numbers.new_empty(shape)


def _held(kinds: Mapping[str, str], tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Return the tensors as the network holds them; a parameter under two names stays one."""
    parameters: dict[int, nn.Parameter] = {}
    held = {}
    for name, kind in kinds.items():
        if name not in tensors:
            raise ExportError(f"it holds no numbers for {name[:80]!r}")
        tensor = tensors[name].detach()
        if kind == "parameter" and tensor.is_floating_point():
            tensor = parameters.setdefault(id(tensors[name]), nn.Parameter(tensor, requires_grad=False))
        held[name] = tensor
    return held
