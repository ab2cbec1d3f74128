"""Pictures and arrays that would run code, or fill the memory."""

from __future__ import annotations

import io
import pickle
import struct
import zipfile
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from tests.hostile.base import Case, Evil, Maker, saved, written
from tests.models.files import dicom, framed, wide_webp


def wide_tiff(path: Path, side: int) -> Path:
    """Write a compressed TIFF that claims a picture of that side."""
    buffer = io.BytesIO()
    Image.new("L", (64, 64)).save(buffer, "TIFF", compression="tiff_adobe_deflate")
    content = buffer.getvalue()
    for tag in (256, 257, 278):  # width, length, rows of a strip
        for kind in (3, 4):
            content = content.replace(struct.pack("<HHII", tag, kind, 1, 64), struct.pack("<HHII", tag, 4, 1, side))
    path.write_bytes(content)
    return path


def bombs(place: Path) -> dict[str, str]:
    """Write the bombs; return what is said of each."""


def wide_png(path: Path) -> None:
    framed(path, struct.pack(">IIBBBBB", 40000, 40000, 8, 2, 0, 0, 0), bytes(10**6))


def wide_bmp(path: Path) -> None:
    Image.new("L", (64, 64)).save(path, "BMP")
    content = path.read_bytes()
    path.write_bytes(content[:18] + struct.pack("<ii", 10**5, 10**5) + content[26:])


def huge_array() -> bytes:
    text = b"{'descr': '<f4', 'fortran_order': False, 'shape': (3, 1000000, 1000000)}\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text


def zipped_zeros(path: Path) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive, archive.open("x.npy", "w") as file:
        for _ in range(300):
            file.write(bytes(2**20))


def objects(path: Path) -> None:
    evil = np.array([Evil()], dtype=object)
    with path.open("wb") as file:
        (np.savez if path.suffix == ".npz" else np.save)(file, evil, allow_pickle=True)


def cut(path: Path) -> None:
    Image.effect_noise((64, 64), 50).save(path, "PNG")
    path.write_bytes(path.read_bytes()[:500])


def eps(path: Path) -> None:
    """Write what Pillow would hand to Ghostscript."""
    Image.new("L", (8, 8)).save(path, "EPS")


FILES: dict[str, dict[str, tuple[Maker, str]]] = {
    "x.npy": {"objects": (objects, "opening them could run code")},
    "x.npz": {"objects": (objects, "opening them could run code")},
    "x.pt": {
        "an object": (saved(Evil()), "holds Python objects besides tensors"),
        "an object in the old form": (saved(Evil(), _use_new_zipfile_serialization=False), "is not a picture"),
        "an object in a plain pickle": (written(lambda: pickle.dumps(Evil())), "is not a picture"),
        "10^12 numbers of one stored": (
            saved(torch.zeros(1, dtype=torch.float64).expand(10**6, 10**6)),
            "received a tensor of (1000000",
        ),
    },
    "x.png": {
        "cut short": (cut, "damaged or cut short"),
        "a program for a printer (EPS)": (eps, "is not a picture that is read here"),
    },
}
WIDE: dict[str, tuple[Maker, str]] = {
    "a.png": (wide_png, "too large"),
    "b.tif": (lambda path: wide_tiff(path, 60000), "too large"),
    "c.webp": (lambda path: wide_webp(path, 16383), "too large"),
    "d.bmp": (wide_bmp, "too large"),
    "e.npy": (written(huge_array), "received a tensor of (3, 1000000, 1000000)"),
    "f.npz": (zipped_zeros, "would unpack from"),
    "g.dcm": (
        lambda path: dicom(path, np.zeros((64, 64), dtype=np.uint16), Rows=60000, Columns=60000),
        "60000 x 60000",
    ),
}
INPUTS = tuple(
    Case(f"input {Path(file).suffix}", attack, make, words, file, is_input=True)
    for file, table in FILES.items()
    for attack, (make, words) in table.items()
)
BOMBS = tuple(
    Case(f"input {Path(file).suffix}", "a bomb", make, words, file, is_input=True)
    for file, (make, words) in WIDE.items()
)
