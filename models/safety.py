"""Look before reading: what a file is, told from its bytes, without running any of them."""

from __future__ import annotations

import hashlib
import zipfile
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from xai.errors import RefusedFileError

MAX_ENTRIES = 200_000
MAX_RATIO = 100  # a zip that unpacks to more than this many times its size is a bomb; weights hardly compress
SMALL = 100 * 2**20
HEAD = 132  # DICOM names itself in bytes 128 to 132


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
        try:
            with zipfile.ZipFile(self.path) as archive:
                entries = archive.infolist()
        except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError) as error:
            raise RefusedFileError(f"{self.noun} {self.path} is damaged or cut short: {error}") from error
        if len(entries) > MAX_ENTRIES:
            raise RefusedFileError(f"{self.noun} {self.path} is an archive of {len(entries)} entries; expected fewer")
        total = sum(entry.file_size for entry in entries)
        if total > max(SMALL, MAX_RATIO * self.size):
            raise RefusedFileError(f"{self.noun} {self.path} would unpack from {self.size} to {total} bytes")
        names = [entry.filename for entry in entries]
        if len(set(names)) != len(names):
            raise RefusedFileError(f"{self.noun} {self.path} is an archive in which a name stands twice")
        return frozenset(name.partition("/")[2] or name for name in names)


def peek(path: Path, noun: str = "model") -> Peek:
    """Return the first bytes of a file; raise RefusedFileError if it is empty or cannot be read."""
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            head = file.read(HEAD)
    except OSError as error:
        raise RefusedFileError(f"{noun} {path} cannot be read: {error.strerror or error}") from error
    if size == 0:
        raise RefusedFileError(f"{noun} {path} is empty")
    return Peek(path, head, size, noun)


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
