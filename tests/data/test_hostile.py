"""Data from elsewhere: bombs, liars, code and links are refused before they take memory, or a row alone is skipped."""

from __future__ import annotations

import gzip
import io
import os
import pickle
import struct
import tracemalloc
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.networks import Linear
from xai.api import load
from xai.data.dataset import open_data
from xai.errors import RefusedFileError, UsageError
from xai.models.model import Model

PIXELS = np.random.default_rng(0).integers(0, 256, (5, 12, 10), dtype=np.uint8)


class Code:
    """Makes a file when it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[object, ...]:
        return os.mkdir, (str(self.mark),)


@pytest.fixture(scope="module")
def model() -> Model:
    return load(Linear((1, 12, 10)), shape=(1, 12, 10), classes=("cat", "dog", "cow"))


def idx(*sizes: int, kind: int = 8, content: bytes = b"") -> bytes:
    return bytes([0, 0, kind, len(sizes)]) + struct.pack(f">{len(sizes)}I", *sizes) + content


def refused(path: Path, model: Model, reason: str) -> None:
    """See that a file is refused for that reason, and for little memory."""
    tracemalloc.start()
    try:
        with pytest.raises(RefusedFileError, match=reason) as caught:
            open_data(path, model)
        assert tracemalloc.get_traced_memory()[1] < 40 * 2**20
    finally:
        tracemalloc.stop()
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def zeros_npz(path: Path, declared: int) -> None:
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "|u1", "fortran_order": False, "shape": (declared, 12, 10)})
    with (
        zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive,
        archive.open("x.npy", "w", force_zip64=True) as file,
    ):
        file.write(header.getvalue())
        for _ in range(declared * 120 // 2**20):
            file.write(bytes(2**20))


def test_a_gzip_bomb_is_refused_by_what_its_header_asks_for(tmp_path: Path, model: Model) -> None:
    bomb = gzip.compress(idx(2_000_000, 12, 10, content=bytes(2**20)), 9)
    (tmp_path / "t10k-images-idx3-ubyte.gz").write_bytes(bomb)
    refused(tmp_path / "t10k-images-idx3-ubyte.gz", model, r"would unpack from \d+ to 240000000 bytes")


def test_gzip_that_goes_on_after_its_array_is_not_unpacked_further(tmp_path: Path, model: Model) -> None:
    packed = gzip.compress(idx(5, 12, 10, content=bytes(200 * 2**20)), 9)
    (tmp_path / "images-idx3-ubyte.gz").write_bytes(packed)
    refused(tmp_path / "images-idx3-ubyte.gz", model, "expected 600 bytes for uint8 of .*, received more")


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (idx(5, 12, 10, content=bytes(599)), "expected 600 bytes for uint8 of .*, received 599"),
        (idx(5, 12, 10, content=bytes(601)), "expected 600 bytes for uint8 of .*, received (more|601)"),
        (idx(2**32 - 1, 2**32 - 1, 2**32 - 1), "too large|would unpack|expected pictures|expected 79228162"),
        (idx(0, 12, 10), "expected inputs along the first dimension, received an array of"),
        (idx(5, 12, 10)[:9], "its header is that of no idx file"),
        (idx(*[1] * 200), "its header is that of no idx file"),
        (idx(5, 12, 10, kind=13, content=bytes(2400)), None),
    ],
)
def test_idx_headers_that_lie_are_refused(
    packed: bool, content: bytes, reason: str | None, tmp_path: Path, model: Model
) -> None:
    path = tmp_path / "images-idx3-ubyte"
    path.write_bytes(gzip.compress(content) if packed else content)
    if reason is None:  # floats are in input units
        assert len(open_data(path, model)) == 5
    else:
        refused(path, model, reason)


def test_gzip_that_is_cut_short_or_no_idx_is_refused(tmp_path: Path, model: Model) -> None:
    path = tmp_path / "t10k-images-idx3-ubyte.gz"
    path.write_bytes(gzip.compress(idx(5, 12, 10, content=PIXELS.tobytes()))[:-60])
    refused(path, model, "damaged or cut short")
    path.write_bytes(gzip.compress(b"something else"))
    refused(path, model, "of no kind that is read here")
    path.write_bytes(gzip.compress(idx(5, 12, 10, content=PIXELS.tobytes()))[:-8] + bytes(8))  # its sum is wrong
    refused(path, model, "damaged or cut short")


def test_an_npz_of_objects_is_refused_and_runs_nothing(tmp_path: Path, model: Model) -> None:
    objects = np.array([Code(tmp_path / "ran")], dtype=object)
    for names in ({"x": objects}, {"x": PIXELS, "y": objects}):
        np.savez(tmp_path / "data.npz", **names)
        refused(tmp_path / "data.npz", model, "objects|dtype object|received object")
    np.save(tmp_path / "data.npy", objects)
    refused(tmp_path / "data.npy", model, "Python objects")
    np.save(tmp_path / "x.npy", PIXELS)
    np.save(tmp_path / "y.npy", objects)
    with pytest.raises(RefusedFileError, match="received object"):
        open_data(tmp_path / "x.npy", model)
    (tmp_path / "pickled.pkl").write_bytes(pickle.dumps(Code(tmp_path / "ran")))
    refused(tmp_path / "pickled.pkl", model, "of no kind that is read here")
    assert not (tmp_path / "ran").exists()


def test_an_npz_bomb_is_refused(tmp_path: Path, model: Model) -> None:
    zeros_npz(tmp_path / "bomb.npz", 2_000_000)
    refused(tmp_path / "bomb.npz", model, "would unpack from")


def test_npz_headers_that_lie_are_refused(tmp_path: Path, model: Model) -> None:
    for shape, reason in (((10**9, 12, 10), "expected 120000000000 bytes"), ((4, 12, 10), "expected 480 bytes")):
        header = io.BytesIO()
        np.lib.format.write_array_header_1_0(header, {"descr": "|u1", "fortran_order": False, "shape": shape})
        with zipfile.ZipFile(tmp_path / "data.npz", "w") as archive:
            archive.writestr("x.npy", header.getvalue() + PIXELS.tobytes())
            archive.writestr("y.npy", b"not an array")
        refused(tmp_path / "data.npz", model, f"{reason}|magic string")
        (tmp_path / "data.npy").write_bytes(header.getvalue() + PIXELS.tobytes())
        refused(tmp_path / "data.npy", model, reason)


def test_a_table_is_text_and_formulas_in_it_are_only_names(tmp_path: Path, model: Model) -> None:
    name = "=HYPERLINK('a')"
    Image.fromarray(PIXELS[0]).save(tmp_path / f"{name}.png")
    (tmp_path / "t.csv").write_text(f'path,label\n"{name}.png",cat\n"=cmd|\' /C calc\'!A0",dog\n')
    shard = open_data(tmp_path / "t.csv", model).read_many(range(2))
    assert [sample.id for sample in shard.samples] == [name]
    assert [skipped.id for skipped in shard.skipped] == ["=cmd|' /C calc'!A0"]


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"path,label\n\xe4.png,cat\n", "is not UTF-8 text; save it as UTF-8"),
        (b"file,label\na.png,cat\n", "expected a column 'path' in its first line, received 'file,label'"),
        (b"path,label,label\na.png,cat,dog\n", "column 'label' stands there twice"),
        (b"path,label\na,b.png,cat\n", "row 2 has 3 fields and the first line 2; put quotes around"),
        (b"path,label\n,cat\n", "row 2 has no path"),
        (b"path\na.png\nb.png\n./a.png\n", "rows 2 and 4 name the same file, './a.png'; remove one"),
        (b"path\n" + b"x" * 200_000, "field larger than field limit"),
        (b"[" * 200_000, "cannot be read"),
        (b'[{"path": "a.png"}, {"label": 1}]', "expected objects such as"),
        (b'{"path": "a.png", "label": 1.5}\n', "row 1: expected a text as label, received '1.5'"),
        (b'{"path": ["a.png"]}\n', "row 1: expected a text as path"),
        (b'{"path": "a.png"\n', "cannot be read"),
        (b'[{"path": "a.png", "label": ' + b"9" * 10_000 + b"}]", "cannot be read"),
    ],
)
def test_broken_tables_are_refused(content: bytes, reason: str, tmp_path: Path, model: Model) -> None:
    (tmp_path / "t.csv").write_bytes(content)
    refused(tmp_path / "t.csv", model, reason)


def test_a_row_is_skipped_that_leaves_the_folder_by_a_link_or_names_no_file(tmp_path: Path, model: Model) -> None:
    inside, outside = tmp_path / "inside", tmp_path / "outside"
    for folder in (inside, outside):
        folder.mkdir()
        Image.fromarray(PIXELS[0]).save(folder / "a.png")
    (inside / "link.png").symlink_to(outside / "a.png")
    (inside / "links").symlink_to(outside)
    (inside / "within.png").symlink_to(inside / "a.png")
    os.mkfifo(inside / "pipe.png")
    names = [
        "a.png",
        "within.png",
        "../outside/a.png",
        "link.png",
        "links/a.png",
        "pipe.png",
        ".",
        "x" * 5000,
        "no.png",
    ]
    (inside / "t.csv").write_text("path\n" + "\n".join(names))
    shard = open_data(inside / "t.csv", model).read_many(range(len(names)))
    assert shard.indices == (0, 1, 2)  # the third is outside because the user wrote so
    assert [skipped.reason for skipped in shard.skipped][:2] == [
        f"{inside / name} leads out of its folder by a link; write the path that it leads to"
        for name in ("link.png", "links/a.png")
    ]
    assert len({sample.id for sample in shard.samples} | {skipped.id for skipped in shard.skipped}) == len(names)


def test_folders_and_classes_that_are_links_out_are_left_out(tmp_path: Path, model: Model) -> None:
    secret, pets = tmp_path / "secret", tmp_path / "pets"
    for folder in (secret, pets / "cat"):
        folder.mkdir(parents=True)
        Image.fromarray(PIXELS[0]).save(folder / "a.png")
    (pets / "dog").symlink_to(secret)
    (pets / "cat" / "b.png").symlink_to(secret / "a.png")
    (pets / "cat" / "round.png").symlink_to(pets / "cat" / "round.png")
    (pets / "cow").symlink_to(pets / "cat")
    data = open_data(pets, model)
    assert [data.id(index) for index in range(len(data))] == ["cat/a", "cow/a"]
    assert [note.rpartition(": ")[2] for note in data.notes] == ["dog", "round.png", "b.png", "round.png", "b.png"]


def test_a_device_is_no_data(model: Model) -> None:
    with pytest.raises(UsageError, match="neither a file nor a folder"):
        open_data("/dev/zero", model)
