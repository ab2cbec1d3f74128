"""Bytes of every format, changed at random: an input or a clear refusal comes out, and never anything else."""

from __future__ import annotations

import io
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import TypeVar

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from tests.models.files import dicom
from xai.errors import RefusedFileError
from xai.models.card import Input
from xai.models.images import prepare, prepare_mask

T = TypeVar("T")
PIXELS = np.random.default_rng(0).integers(0, 256, (9, 7, 3), dtype=np.uint8)
PICTURE = Image.fromarray(PIXELS)
FLOATS = PIXELS.transpose(2, 0, 1).astype(np.float32) / 255
EXIF = Image.Exif()
EXIF[0x0112] = 6
COLOUR, GREY = Input(shape=(3, 9, 7)), Input(shape=(1, 5, 5))
BOUNDARIES = (b"\0", b"\xff", b"\0\0\0\0", b"\xff\xff\xff\xff", b"\x7f\xff\xff\xff", b"\xff\xff\xff\x7f", b"\x01\0\0\0")


def _picture(image: Image.Image, kind: str, **options: object) -> Callable[[Path], object]:
    return lambda path: image.save(path, kind, **options)


def _stream(save: Callable[[io.BytesIO], object]) -> Callable[[Path], object]:
    def write(path: Path) -> None:
        buffer = io.BytesIO()
        save(buffer)
        path.write_bytes(buffer.getvalue())

    return write


WRITERS: dict[str, Callable[[Path], object]] = {
    "png": _picture(PICTURE, "PNG", exif=EXIF),
    "palette": _picture(PICTURE.convert("P"), "PNG", transparency=3),
    "deep": _picture(Image.fromarray(PIXELS[..., 0].astype(np.uint16)), "PNG"),
    "jpeg": _picture(PICTURE, "JPEG", exif=EXIF),
    "progressive": _picture(PICTURE, "JPEG", progressive=True),
    "cmyk": _picture(PICTURE.convert("CMYK"), "JPEG"),
    "webp": _picture(PICTURE, "WEBP", exif=EXIF),
    "film": _picture(PICTURE, "WEBP", save_all=True, append_images=[PICTURE.rotate(180)], lossless=True),
    "bmp": _picture(PICTURE, "BMP"),
    "tiff": _picture(PICTURE, "TIFF"),
    "packed": _picture(PICTURE, "TIFF", compression="tiff_lzw", exif=EXIF),
    "fax": _picture(PICTURE.convert("1"), "TIFF", compression="group4"),
    "lab": _picture(Image.frombytes("LAB", (7, 9), PIXELS.tobytes()), "TIFF"),
    "float": _picture(Image.fromarray(FLOATS[0]), "TIFF"),
    "npy": _stream(lambda file: np.save(file, FLOATS)),
    "bytes": _stream(lambda file: np.save(file, PIXELS)),
    "npz": _stream(lambda file: np.savez_compressed(file, FLOATS)),
    "pt": _stream(lambda file: torch.save(torch.from_numpy(FLOATS), file)),
    "dicom": lambda path: dicom(path, PIXELS[..., 0].astype(np.uint16), WindowCenter=40, WindowWidth=400),
}


@cache
def whole(name: str, folder: Path) -> bytes:
    WRITERS[name](folder / "whole")
    return (folder / "whole").read_bytes()


@st.composite
def changes(draw: st.DrawFn) -> list[tuple[str, float, bytes]]:
    """What to do, where (a share of the length; heads are hit half of the time), and with which bytes."""
    kinds = st.sampled_from(("flip", "flip", "overwrite", "insert", "delete", "cut"))
    places = st.one_of(st.floats(0, 1, exclude_max=True), st.floats(0, 0.1))
    new = st.one_of(st.sampled_from(BOUNDARIES), st.binary(min_size=1, max_size=8))
    return draw(st.lists(st.tuples(kinds, places, new), min_size=1, max_size=8))


def changed(content: bytes, todo: list[tuple[str, float, bytes]]) -> bytes:
    data = bytearray(content)
    for what, place, new in todo:
        at = int(place * len(data))
        if what == "flip" and data:
            data[at] ^= 1 << (new[0] % 8)
        elif what == "overwrite":
            data[at : at + len(new)] = new
        elif what == "insert":
            data[at:at] = new
        elif what == "delete":
            del data[at : at + new[0]]
        elif what == "cut":
            del data[at:]
    return bytes(data)


def unless_refused(call: Callable[[], T]) -> T | None:
    """Return what comes out; None for a refusal, which must be one line."""
    try:
        return call()
    except RefusedFileError as error:
        words = str(error)
    assert len(words.splitlines()) == 1
    return None


@pytest.mark.parametrize("name", WRITERS)
def test_whatever_is_broken_is_read_or_refused(
    name: str, tmp_path_factory: pytest.TempPathFactory, capfd: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path_factory.mktemp(name)
    path = folder / "broken"

    @settings(
        max_examples=40, deadline=20_000, derandomize=True, suppress_health_check=[HealthCheck.too_slow], database=None
    )
    @given(changes())
    def read(todo: list[tuple[str, float, bytes]]) -> None:
        path.write_bytes(changed(whole(name, folder), todo))
        for spec in (COLOUR, GREY):
            prepared = unless_refused(lambda spec=spec: prepare(path, spec))
            if prepared is not None:
                assert tuple(prepared.tensor.shape) == spec.shape
                assert torch.isfinite(prepared.tensor).all()
                assert prepared.tensor.min() >= 0
                assert prepared.tensor.max() <= 1
        mask = unless_refused(lambda: prepare_mask(path, GREY))
        assert mask is None or mask.shape == (5, 5)

    read()
    assert capfd.readouterr() == ("", "")
