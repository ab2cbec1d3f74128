"""What a file of an input is, told from its bytes, before anything reads it."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from xai.errors import RefusedFileError, UsageError
from xai.models.safety import peek

Kind = Literal["picture", "npy", "npz", "pt", "dicom"]
EXPECTED = "PNG, JPEG, WEBP, BMP, TIFF, .npy, .npz, a tensor of torch.save, or DICOM"
MAX_BYTES = 2**30


def kind_of(path: Path) -> Kind:
    """Return what a file is; what is none of the others, Pillow is asked about.

    Raises:
        UsageError: there is no such file, or it is a folder or a device.
        RefusedFileError: it is empty, cannot be read, is too large, or is an archive of something else.
    """
    if not path.is_file():
        raise UsageError(f"image {path} does not exist, or is no file")
    file = peek(path, "image")
    if file.size > MAX_BYTES:
        raise RefusedFileError(f"image {path} is too large: {file.size} bytes; expected at most {MAX_BYTES}")
    if file.head[128:132] == b"DICM":
        return "dicom"
    if file.head.startswith(b"\x93NUMPY"):
        return "npy"
    if not file.head.startswith(b"PK"):
        return "picture"
    if "data.pkl" in file.names:
        return "pt"
    if any(name.endswith(".npy") for name in file.names):
        return "npz"
    raise RefusedFileError(f"image {path} is a zip archive that holds no array; expected {EXPECTED}")
