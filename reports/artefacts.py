"""Lossless arrays beside a record, named by their sha256; in memory, or in a run's folder."""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from xai.errors import TamperedError
from xai.reports.records import Artefact

FOLDER = "artefacts"
NAMED = ("model.safetensors", "model.pt2", "model.yaml", "held-out.npz")  # that stand in a run's folder by their names
ROWS = "json lines"


class Store(Protocol):
    """Where artefacts' bytes are kept, by path relative to the run's folder."""

    def write(self, path: str, content: bytes) -> None:
        """Keep bytes."""

    def read(self, path: str) -> bytes:
        """Return bytes that were kept; raise TamperedError if they are gone."""


class MemoryStore:
    """Keeps artefacts until the run is saved."""

    def __init__(self) -> None:
        self._content: dict[str, bytes] = {}

    def write(self, path: str, content: bytes) -> None:
        """Keep bytes."""
        self._content[path] = content

    def read(self, path: str) -> bytes:
        """Return bytes that were kept."""
        return self._content[path]


class FolderStore:
    """Keeps artefacts in a run's folder.

    Args:
        folder: the run's folder.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def write(self, path: str, content: bytes) -> None:
        """Write a file."""
        file = self._inside(path)
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)

    def read(self, path: str) -> bytes:
        """Read a file of the run's folder, and of nowhere else."""
        try:
            return self._inside(path).read_bytes()
        except OSError as error:
            raise TamperedError(f"artefact {path} of run {self._folder} is missing or unreadable") from error

    def _inside(self, path: str) -> Path:
        file = (self._folder / path).resolve()
        if not file.is_relative_to(self._folder.resolve()):
            raise TamperedError(f"artefact {path!r} of run {self._folder} points outside the run's folder")
        return file


def put(store: Store, array: np.ndarray) -> Artefact:
    """Keep an array and return its record."""
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=False)
    content = buffer.getvalue()
    digest = hashlib.sha256(content).hexdigest()
    path = f"{FOLDER}/{digest}.npy"
    store.write(path, content)
    return Artefact(path=path, sha256=digest, shape=array.shape, dtype=str(array.dtype))


def get(store: Store, artefact: Artefact) -> np.ndarray:
    """Return an array; raise TamperedError if its bytes are not those that were recorded."""
    content = get_bytes(store, artefact)
    array: np.ndarray = np.load(io.BytesIO(content), allow_pickle=False)
    return array


def put_rows(store: Store, rows: Iterable[Mapping[str, Any]]) -> Artefact:
    """Keep rows, a line of JSON each, and return their record."""
    lines = [json.dumps(row, allow_nan=False) for row in rows]
    content = "".join(f"{line}\n" for line in lines).encode()
    digest = hashlib.sha256(content).hexdigest()
    path = f"{FOLDER}/{digest}.jsonl"
    store.write(path, content)
    return Artefact(path=path, sha256=digest, shape=(len(lines),), dtype=ROWS)


BYTES = "bytes of "  # what an artefact's dtype begins with that is of a format of its own


def put_bytes(store: Store, content: bytes, suffix: str) -> Artefact:
    """Keep bytes of a format of their own, named by its suffix ("json"), and return their record."""
    digest = hashlib.sha256(content).hexdigest()
    path = f"{FOLDER}/{digest}.{suffix}"
    store.write(path, content)
    return Artefact(path=path, sha256=digest, shape=(len(content),), dtype=f"{BYTES}{suffix}")


def put_named(store: Store, content: bytes, name: str) -> Artefact:
    """Keep bytes under a name that users know, one of NAMED, and return their record."""
    assert name in NAMED
    store.write(name, content)
    digest = hashlib.sha256(content).hexdigest()
    return Artefact(path=name, sha256=digest, shape=(len(content),), dtype=f"{BYTES}{Path(name).suffix[1:]}")


def get_bytes(store: Store, artefact: Artefact) -> bytes:
    """Return bytes that were kept; raise TamperedError if they are not those that were recorded."""
    content = store.read(artefact.path)
    if hashlib.sha256(content).hexdigest() != artefact.sha256:
        raise TamperedError(f"artefact {artefact.path} was changed after the run: its sha256 differs from the record's")
    return content


def get_rows(store: Store, artefact: Artefact) -> Iterator[dict[str, Any]]:
    """Yield rows that were kept; raise TamperedError if their bytes are not those that were recorded."""
    yield from (json.loads(line) for line in get_bytes(store, artefact).splitlines())
