"""Look before reading: what a file is, told from its bytes, without running any of them."""

from __future__ import annotations

import hashlib
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import IO

from xai.errors import RefusedFileError

MAX_ENTRIES = 200_000
MAX_RATIO = 100  # a zip that unpacks to more than this many times its size is a bomb; weights hardly compress
SMALL = 100 * 2**20
_END = 56 + 20 + 22  # bytes of the records that end a zip archive: the large form's end, its locator, the end
_MODELS = (".pt", ".pth", ".pt2", ".ckpt", ".bin", ".safetensors", ".onnx", ".zip")
_SIGNS = (  # where, which bytes, what has them
    (0, b"\x89HDF", "an HDF5 file (Keras): convert it to ONNX first (tf2onnx)"),
    (0, b"GGUF", "a GGUF file, a language model for llama.cpp: networks that score classes are read here"),
    (4, b"TFL3", "a TensorFlow Lite file: convert it to ONNX first (tf2onnx)"),
    (0, b"\x93NUMPY", "a NumPy array: save named tensors with torch.save or safetensors"),
    (
        257,
        b"ustar",
        "a tar archive: unpack it; if torch wrote it before 0.2, load it there and save its state_dict() anew",
    ),
    (0, b"\x1f\x8b", "compressed (gzip): unpack it"),
    (0, b"BZh", "compressed (bzip2): unpack it"),
    (0, b"\xfd7zXZ", "compressed (xz): unpack it"),
    (0, b"7z\xbc\xaf", "compressed (7z): unpack it"),
    (
        0,
        b"x\x9c",
        "compressed (zlib; joblib writes that): save named tensors, or load it in Python and pass the object",
    ),
    (0, b"<?xml", "XML (OpenVINO): give the ONNX file or the network that it was made from"),
    (0, b"\x7fELF", "compiled code: give the network that it was made from"),
    (0, b"\x89PNG", "a PNG picture"),
    (0, b"\xff\xd8\xff", "a JPEG picture"),
    (0, b"RIFF", "a WEBP picture"),
    (0, b"%PDF", "a PDF"),
)


@dataclass(frozen=True)
class Peek:
    """The first bytes of a file and, of an archive, the names in it.

    Args:
        path: the file.
        head: its first bytes.
        size: bytes.
        noun: what the file is to the user.
    """

    path: Path
    head: bytes
    size: int
    noun: str = "model"

    @cached_property
    def names(self) -> frozenset[str]:
        """Names of the archive's entries without the leading folder; empty if the file is no archive.

        Raises:
            RefusedFileError: the archive is damaged, holds a name twice, or unpacks to far more than its size.
        """
        if not self.head.startswith(b"PK\x03\x04"):
            return frozenset()
        with opened(self.path, self.size, f"{self.noun} {self.path}") as archive:
            names = archive.namelist()
        return frozenset(name.partition("/")[2] or name for name in names)


@contextmanager
def opened(source: Path | IO[bytes], size: int, what: str) -> Iterator[zipfile.ZipFile]:
    """Open a zip archive whose directory makes sense; damage that shows while it is read is told as such.

    Args:
        source: the archive.
        size: its bytes.
        what: it is, for messages.

    Raises:
        RefusedFileError: the archive is damaged, holds a name twice, or unpacks to far more than its size.
    """
    try:
        with zipfile.ZipFile(source) as archive:
            _check_end(archive, what)
            _check_entries(archive.infolist(), size, what)
            yield archive
    except (zipfile.BadZipFile, zlib.error, OSError, ValueError, EOFError, NotImplementedError, RuntimeError) as error:
        raise RefusedFileError(f"{what} is damaged or cut short: {' '.join(str(error).split())[:200]}") from error


def _check_end(archive: zipfile.ZipFile, what: str) -> None:
    """Refuse an archive whose directory another reader would look for elsewhere: it could be shown other contents.

    torch goes where the end of the archive points; Python's zipfile takes what stands right before that end.
    """
    file = archive.fp
    assert file is not None
    size = file.seek(0, 2)
    file.seek(max(0, size - _END))
    end = file.read(_END)
    pointed = int.from_bytes(end[-6:-2], "little")
    if end[56:60] == b"PK\x06\x07":  # the form for large archives, which torch always writes
        followed = int.from_bytes(end[64:72], "little") == size - _END and end[:4] == b"PK\x06\x06"
        pointed = int.from_bytes(end[48:56], "little") if followed else -1
    if end[-22:-18] != b"PK\x05\x06" or pointed != archive.start_dir:
        raise RefusedFileError(f"{what} is an archive that different programs would read differently")


def _check_entries(entries: list[zipfile.ZipInfo], size: int, what: str) -> None:
    if len(entries) > MAX_ENTRIES:
        raise RefusedFileError(f"{what} is an archive of {len(entries)} entries; expected fewer")
    total = sum(entry.file_size for entry in entries)
    if total > max(SMALL, MAX_RATIO * size):
        raise RefusedFileError(f"{what} would unpack from {size} to {total} bytes")
    names = [entry.filename for entry in entries]
    if len(set(names)) != len(names):
        raise RefusedFileError(f"{what} is an archive in which a name stands twice")
    outside = next((name for name in names if name.startswith("/") or ".." in name.replace("\\", "/").split("/")), None)
    if outside is not None:
        raise RefusedFileError(f"{what} is an archive that names a place outside itself ({outside[:60]!r})")


def peek(path: Path, noun: str = "model") -> Peek:
    """Return the first bytes of a file; raise RefusedFileError if it is empty or cannot be read."""
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            head = file.read(512)
    except OSError as error:
        raise RefusedFileError(f"{noun} {path} cannot be read: {error.strerror or error}") from error
    if size == 0:
        raise RefusedFileError(f"{noun} {path} is empty")
    return Peek(path, head, size, noun)


def looks_like(file: Peek) -> str:
    """Say in words what a file that no format recognises seems to be, and what to do with it."""
    if file.head.startswith(b"PK\x03\x04"):
        return _archive_kind(file.names)
    found = next((text for place, sign, text in _SIGNS if file.head[place : place + len(sign)] == sign), "")
    return found or "of an unknown kind"


def _archive_kind(names: frozenset[str]) -> str:
    """Say what a zip archive with these entries is."""
    inner = next((name for name in sorted(names) if name.lower().endswith(_MODELS)), "")
    kinds = {
        "a TorchServe archive (.mar): unpack it and give the model in it": "MANIFEST.json" in names and not inner,
        f"a TorchServe archive (.mar): unpack it and give {inner[:60]}": "MANIFEST.json" in names,
        "a Keras file: convert it to ONNX first (tf2onnx)": bool(names & {"model.weights.h5", "metadata.json"}),
        "a torch.package archive, which is code: save net.state_dict() instead": ".data/extern_modules" in names,
        "a file of NumPy arrays: save named tensors with torch.save or safetensors": bool(names)
        and all(name.endswith(".npy") for name in names),
        f"a zip archive that holds {inner[:60]}: unpack it and give that": bool(inner),
    }
    return next((text for text, fits in kinds.items() if fits), "a zip archive of no known kind")


def sha256(path: Path) -> str:
    """Return the sha256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
