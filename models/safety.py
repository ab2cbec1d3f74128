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


@dataclass(frozen=True)
class Peek:
    """The first bytes of a file and, of an archive, the names in it.

    Args:
        path: the file.
        head: its first bytes.
        size: bytes.
    """

    path: Path
    head: bytes
    size: int

    @cached_property
    def names(self) -> frozenset[str]:
        """Names of the archive's entries without the leading folder; empty if the file is no archive.

        Raises:
            RefusedFileError: the archive is damaged, holds a name twice, or unpacks to far more than its size.
        """
        if not self.head.startswith(b"PK\x03\x04"):
            return frozenset()
        with opened(self.path, self.size, str(self.path)) as archive:
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
            _check_entries(archive.infolist(), size, what)
            yield archive
    except (zipfile.BadZipFile, zlib.error, OSError, ValueError, EOFError, NotImplementedError, RuntimeError) as error:
        raise RefusedFileError(f"model {what} is damaged or cut short: {' '.join(str(error).split())[:200]}") from error


def _check_entries(entries: list[zipfile.ZipInfo], size: int, what: str) -> None:
    if len(entries) > MAX_ENTRIES:
        raise RefusedFileError(f"model {what} is an archive of {len(entries)} entries; expected fewer")
    total = sum(entry.file_size for entry in entries)
    if total > max(SMALL, MAX_RATIO * size):
        raise RefusedFileError(f"model {what} would unpack from {size} to {total} bytes")
    names = [entry.filename for entry in entries]
    if len(set(names)) != len(names):
        raise RefusedFileError(f"model {what} is an archive in which a name stands twice")


def peek(path: Path) -> Peek:
    """Return the first bytes of a model file; raise RefusedFileError if it is empty or cannot be read."""
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            head = file.read(64)
    except OSError as error:
        raise RefusedFileError(f"model {path} cannot be read: {error.strerror or error}") from error
    if size == 0:
        raise RefusedFileError(f"model {path} is empty")
    return Peek(path, head, size)


def looks_like(file: Peek) -> str:
    """Say in words what a file that no format recognises seems to be."""
    names = file.names
    if "archive_format" in names or any(name.startswith(("serialized_exported_program", "models/")) for name in names):
        return "a torch.export archive (.pt2)"
    signs = {b"\x89HDF": "an HDF5 file (Keras)", b"\x89PNG": "a PNG picture", b"\xff\xd8\xff": "a JPEG picture"}
    signs |= {b"RIFF": "a WEBP picture", b"%PDF": "a PDF", b"\x08": "an ONNX file", b"PK": "a zip archive"}
    return next((text for sign, text in signs.items() if file.head.startswith(sign)), "of an unknown kind")


def sha256(path: Path) -> str:
    """Return the sha256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
