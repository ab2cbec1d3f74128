"""Arrays of many inputs or labels in files: .npy, .npz and idx, looked at before they are read, and never run."""

from __future__ import annotations

import gzip
import math
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import IO, Any, cast

import numpy as np

from xai.errors import RefusedFileError, UsageError
from xai.models.pictures.arrays import Check, npy_header, read_npy
from xai.models.safety import MAX_RATIO, SMALL, opened

MAX_UNPACKED = 4 * 2**30  # what a file that cannot be memory-mapped may take
_TYPES = {8: "u1", 9: "i1", 11: ">i2", 12: ">i4", 13: ">f4", 14: ">f8"}
_GZIP = b"\x1f\x8b"


@dataclass(frozen=True)
class Stored:
    """An array in a file, opened when it is first used, and anew in another process.

    Args:
        path: the file.
        read: returns the array; see the functions of this module.
        check: raises UsageError for a type and shape that are not wanted.
    """

    path: Path
    read: Callable[[Path, Check], np.ndarray]
    check: Check

    @cached_property
    def array(self) -> np.ndarray:
        """The array; read-only, of the machine's byte order where it is held in memory."""
        return self.read(self.path, self.check)

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name != "array"}


def map_npy(path: Path, check: Check) -> np.ndarray:
    """Return the array of a .npy file, memory-mapped: what is not looked at is not read."""
    with _told(path), path.open("rb") as file:
        dtype, shape, columns_first = npy_header(file, path.stat().st_size, check)
        return _mapped(path, file.tell(), dtype, shape, "F" if columns_first else "C")


@dataclass(frozen=True)
class Member:
    """Reads one array of an .npz file.

    Args:
        name: of the array.
    """

    name: str

    def __call__(self, path: Path, check: Check) -> np.ndarray:
        """Return the array."""
        size = path.stat().st_size
        with _told(path), opened(path, size, f"data {path}") as archive:
            entry = archive.getinfo(f"{self.name}.npy")
            if entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
                raise RefusedFileError("it is compressed in another way than numpy does")
            _check_unpacked(entry.file_size, size, "save it as .npy, which is not read whole")
            with archive.open(entry) as file:
                return read_npy(file, entry.file_size, check)


def npz_names(path: Path) -> list[str]:
    """Return the names of the arrays in an .npz file."""
    with opened(path, path.stat().st_size, f"data {path}") as archive:
        return [name.removesuffix(".npy") for name in archive.namelist()]


def read_idx(path: Path, check: Check) -> np.ndarray:
    """Return the array of an idx file (LeCun's MNIST), memory-mapped, or unpacked if it is compressed with gzip."""
    size = path.stat().st_size
    with _told(path), path.open("rb") as raw:
        packed = raw.read(2) == _GZIP
        raw.seek(0)
        file = cast("IO[bytes]", gzip.GzipFile(fileobj=raw)) if packed else raw
        dtype, shape = _idx_header(file)
        check(dtype, shape)
        declared = math.prod(shape) * dtype.itemsize
        if not packed:
            _check_length(size - file.tell(), declared, dtype, shape)
            return _mapped(path, file.tell(), dtype, shape, "C")
        _check_unpacked(declared, size, "unpack it")
        content = file.read(declared)
        _check_length(len(content) + len(file.read(1)), declared, dtype, shape)
        return np.frombuffer(content, dtype=dtype).reshape(shape)


def idx_dimensions(head: bytes) -> int:
    """Return how many dimensions an idx file has, 0 if these first bytes (512) are not those of one."""
    if head.startswith(_GZIP):
        try:
            head = zlib.decompressobj(31).decompress(head, 4)
        except zlib.error:
            return 0
    return head[3] if len(head) >= 4 and head[:2] == b"\0\0" and head[2] in _TYPES else 0


def read_array(path: Path, check: Check) -> np.ndarray:
    """Return the array of a .npy or idx file, told from its bytes.

    Raises:
        UsageError: there is no such file.
        RefusedFileError: it is neither, damaged, or not what is wanted.
    """
    if not path.is_file():
        raise UsageError(f"data {path} does not exist, or is no file")
    with path.open("rb") as file:
        head = file.read(512)
    if head.startswith(b"\x93NUMPY"):
        return map_npy(path, check)
    if idx_dimensions(head):
        return read_idx(path, check)
    raise RefusedFileError(f"data {path} is neither a .npy nor an idx file")


def _idx_header(file: IO[bytes]) -> tuple[np.dtype[Any], tuple[int, ...]]:
    start = file.read(4)
    dimensions = idx_dimensions(start)
    sizes = file.read(4 * dimensions)
    if not 1 <= dimensions <= 8 or len(sizes) != 4 * dimensions:
        raise RefusedFileError("its header is that of no idx file")
    return np.dtype(_TYPES[start[2]]), tuple(np.frombuffer(sizes, ">u4").tolist())


def _mapped(path: Path, offset: int, dtype: np.dtype[Any], shape: tuple[int, ...], order: str) -> np.ndarray:
    if 0 in shape:
        return np.empty(shape, dtype)
    return np.memmap(path, dtype, "r", offset, shape, cast("Any", order))


def _check_length(received: int, declared: int, dtype: np.dtype[Any], shape: tuple[int, ...]) -> None:
    if received != declared:
        some = "more" if received > declared else f"{received}"
        raise RefusedFileError(f"expected {declared} bytes for {dtype} of {shape}, received {some}: damaged")


def _check_unpacked(declared: int, size: int, remedy: str) -> None:
    if declared > max(SMALL, MAX_RATIO * size):
        raise RefusedFileError(f"it would unpack from {size} to {declared} bytes")
    if declared > MAX_UNPACKED:
        raise RefusedFileError(f"it unpacks to {declared} bytes; expected at most {MAX_UNPACKED}; {remedy}")


@contextmanager
def _told(path: Path) -> Iterator[None]:
    """Name the file in what goes wrong."""
    try:
        yield
    except (RefusedFileError, UsageError) as error:
        text = str(error)
        raise RefusedFileError(text if text.startswith(f"data {path}") else f"data {path}: {text}") from error
    except MemoryError as error:
        raise RefusedFileError(f"data {path} is too large: it asks for more memory than there is") from error
    except Exception as error:  # parsers of broken files raise whatever they run into
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise RefusedFileError(f"data {path} is damaged or cut short: {reason}") from error
