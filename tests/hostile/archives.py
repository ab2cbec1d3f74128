"""Archives, tables of tensors and other files that are not what they say."""

from __future__ import annotations

import io
import json
import struct
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from tests.hostile.base import Maker, cases, written, zipped


def claimed(size: int) -> bytes:
    """Return an archive that claims another size for its entry."""
    content = zipped({"a/data.pkl": b"0" * 100})
    place = content.index(b"PK\x01\x02") + 24
    return content[:place] + struct.pack("<I", size) + content[place + 4 :]


def two_directories() -> bytes:
    """Return an archive that torch and Python read differently: other entries lie before it."""
    return b"PK\x03\x04" + zipped({"a/data.pkl": b"1"}) + zipped({"a/data.pkl": b"2"})


def twice(first: str, second: str) -> bytes:
    content = zipped({first: b"1", second: b"2"})
    return content.replace(second.encode(), first.encode())


def tarred() -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        archive.addfile(tarfile.TarInfo("pickle"), io.BytesIO())
    return buffer.getvalue()


def package(path: Path) -> None:
    with torch.package.PackageExporter(path) as exporter:
        exporter.extern("**")
        exporter.save_pickle("model", "model.pkl", nn.ReLU())


def arrays(path: Path) -> None:
    with path.open("wb") as file:
        np.savez(file, weight=np.ones(3))


def header(fields: dict[str, Any], data: bytes = b"", length: int | None = None) -> bytes:
    text = json.dumps(fields).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + data


def tensor(shape: list[int], start: int, end: int) -> dict[str, Any]:
    return {"dtype": "F32", "shape": shape, "data_offsets": [start, end]}


FILES: dict[str, tuple[Callable[[], bytes], str]] = {
    "a bomb that says so": (lambda: claimed(4_000_000_000), "would unpack from"),
    "a bomb": (lambda: zipped({"a/data.pkl": bytes(200 * 2**20)}, zipfile.ZIP_DEFLATED), "would unpack from"),
    "a name that stands twice": (lambda: twice("a/data.pkl", "a/data.pkx"), "a name stands twice"),
    "a name outside": (lambda: zipped({"a/data.pkl": b"", "a/../../../marker": b"x"}), "a place outside itself"),
    "two directories": (two_directories, "different programs would read differently"),
    "an archive in an archive": (
        lambda: zipped({"model.pt": zipped({"a/data.pkl": b"1"})}),
        "holds model.pt: unpack it",
    ),
    "an empty archive": (lambda: zipped({}), "expected one of"),
    "a tar archive": (tarred, "a tar archive: unpack it"),
    "a Keras file": (
        lambda: zipped({"config.json": b"{}", "model.weights.h5": b""}),
        "a Keras file: convert it to ONNX",
    ),
    "an HDF5 file": (lambda: b"\x89HDF\r\n\x1a\n" + bytes(99), "an HDF5 file (Keras): convert it"),
    "a GGUF file": (lambda: b"GGUF" + bytes(99), "a GGUF file"),
    "a TorchServe archive": (
        lambda: zipped({"MAR-INF/MANIFEST.json": b"{}", "handler.py": b"", "model.pt": b""}),
        "a TorchServe archive (.mar): unpack it and give model.pt",
    ),
    "a compressed file": (lambda: b"\x1f\x8b\x08" + bytes(99), "compressed (gzip): unpack it"),
    "a TensorFlow Lite file": (lambda: b"\0\0\0\0TFL3" + bytes(99), "TensorFlow Lite"),
    "a header too long": (lambda: header({}, length=10**15), "of an unknown kind"),
    "a header longer than the file": (lambda: header({}, length=10**7), "damaged or cut short"),
    "a tensor of 10^15 numbers": (lambda: header({"a": tensor([10**15], 0, 4 * 10**15)}), "damaged or cut short"),
    "tensors that overlap": (
        lambda: header({"a": tensor([2], 0, 8), "b": tensor([2], 4, 12)}, bytes(12)),
        "damaged or cut short",
    ),
    "a tensor with another size": (lambda: header({"a": tensor([3], 0, 8)}, bytes(8)), "damaged or cut short"),
}

TABLE: dict[str, tuple[Maker, str]] = {
    **{attack: (written(make), words) for attack, (make, words) in FILES.items()},
    "a package": (package, "a torch.package archive, which is code"),
    "arrays": (arrays, "a file of NumPy arrays"),
}
ARCHIVES = cases("archive, other file", TABLE, "model.bin")
