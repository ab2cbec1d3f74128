"""Files of inputs that no library writes on request: bare PNG chunks, small DICOM images."""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path

import numpy as np
from PIL import Image


def png(path: Path, samples: np.ndarray, bits: int, kind: int, **chunks: bytes) -> Path:
    """Write samples (height, width, channels) of 1 to 16 bits as a PNG of a colour type, after other chunks."""
    height, width, channels = samples.shape
    ones = np.unpackbits(samples.astype(">u2").view(np.uint8).reshape(height, -1, 2), axis=-1)[..., 16 - bits :]
    rows = np.packbits(ones.reshape(height, width * channels * bits), axis=-1)
    data = b"".join(b"\0" + row.tobytes() for row in rows)
    return framed(path, struct.pack(">IIBBBBB", width, height, bits, kind, 0, 0, 0), data, **chunks)


def framed(path: Path, header: bytes, data: bytes, **chunks: bytes) -> Path:
    """Write a PNG of a header and filtered rows."""
    parts = [("IHDR", header), *chunks.items(), ("IDAT", zlib.compress(data, 9)), ("IEND", b"")]
    content = b"".join(
        struct.pack(">I", len(body)) + name.encode() + body + struct.pack(">I", zlib.crc32(name.encode() + body))
        for name, body in parts
    )
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + content)
    return path


def wide_webp(path: Path, side: int) -> Path:
    """Write an animation of two small frames that claims a canvas of that side."""
    frames = [Image.new("RGBA", (64, 64), colour) for colour in ("blue", "red")]
    buffer = io.BytesIO()
    frames[0].save(buffer, "WEBP", save_all=True, append_images=frames[1:])
    content = bytearray(buffer.getvalue())
    start = content.find(b"VP8X") + 12
    content[start : start + 6] = (side - 1).to_bytes(3, "little") * 2
    path.write_bytes(content)
    return path


def dicom(path: Path, pixels: np.ndarray, **tags: object) -> Path:
    """Write stored values (frames?, height, width) as an uncompressed DICOM image with other tags."""
    from pydicom import dcmwrite
    from pydicom.dataset import Dataset, FileMetaDataset
    from pydicom.uid import ExplicitVRLittleEndian

    bits = pixels.dtype.itemsize * 8
    data = Dataset()
    data.file_meta = FileMetaDataset()
    data.file_meta.TransferSyntaxUID = tags.pop("TransferSyntaxUID", ExplicitVRLittleEndian)
    data.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.2"
    data.file_meta.MediaStorageSOPInstanceUID = "1.2.3"
    usual = {
        "PatientName": "Doe^Jane",
        "PatientID": "SECRET-4711",
        "PatientBirthDate": "19700101",
        "InstitutionName": "Saint Elsewhere",
        "PhotometricInterpretation": "MONOCHROME2",
        "SamplesPerPixel": 1,
        "Rows": pixels.shape[-2],
        "Columns": pixels.shape[-1],
        "BitsAllocated": bits,
        "BitsStored": bits,
        "HighBit": bits - 1,
        "PixelRepresentation": int(pixels.dtype.kind == "i"),
        "PixelData": pixels.tobytes() + b"\0" * (pixels.nbytes % 2),
    }
    for name, value in (usual | tags).items():
        if value is not None:
            setattr(data, name, value)
    data["PixelData"].VR = "OW" if bits > 8 else "OB"
    buffer = io.BytesIO()
    dcmwrite(buffer, data, enforce_file_format=True)
    path.write_bytes(buffer.getvalue())
    return path
