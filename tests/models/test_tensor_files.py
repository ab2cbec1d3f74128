"""Files of numbers: what they may hold, and that nothing in them is run, or believed about its size."""

from __future__ import annotations

import io
import pickle
import struct
import tracemalloc
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch

from xai.errors import RefusedFileError, UsageError
from xai.models.card import Input
from xai.models.images import prepare, prepare_mask

RNG = np.random.default_rng(0)
SPEC = Input(shape=(3, 4, 5))
X = RNG.random((3, 4, 5)).astype(np.float32)
BYTES = RNG.integers(0, 256, (8, 10, 3), dtype=np.uint8)
GIVEN = "used as given, in input units"


class Evil:
    """Leaves a marker if it is unpickled."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[object, ...]:
        return (Path.touch, (self.marker,))


def written(path: Path, array: np.ndarray) -> Path:
    """Write an array in the format that the suffix names."""
    if path.suffix == ".npy":
        np.save(path, array)
    elif path.suffix == ".npz":
        np.savez_compressed(path, array)
    else:
        torch.save(torch.from_numpy(array), path)
    return path


def header(path: Path, shape: str, dtype: str = "<f4", version: bytes = b"\x01\x00", body: bytes = b"") -> Path:
    """Write a .npy file of any header."""
    text = f"{{'descr': '{dtype}', 'fortran_order': False, 'shape': {shape}}}\n".encode()
    path.write_bytes(b"\x93NUMPY" + version + struct.pack("<H", len(text)) + text + body)
    return path


@pytest.mark.parametrize("name", ["x.npy", "x.npz", "x.pt"])
def test_what_is_the_models_input_already_is_used_as_given(tmp_path: Path, name: str) -> None:
    for array, notes in (
        (X, (GIVEN,)),
        (X[None], (GIVEN, "taken out of a batch of one")),
        (X.astype(np.float64), (GIVEN, "float64 converted to float32")),
        (X.astype(np.float16), (GIVEN, "float16 converted to float32")),
        (X > 0.5, (GIVEN, "bool converted to float32")),
    ):
        prepared = prepare(written(tmp_path / name, array), SPEC)
        expected = array.reshape(3, 4, 5).astype(np.float32)
        assert np.array_equal(prepared.tensor.numpy(), expected)
        assert prepared.tensor.dtype == torch.float32
        assert prepared.treatments == notes


@pytest.mark.parametrize("name", ["x.npy", "x.npz", "x.pt"])
def test_bytes_are_pixels(tmp_path: Path, name: str) -> None:
    prepared = prepare(written(tmp_path / name, BYTES), SPEC)
    assert torch.equal(prepared.tensor, prepare(BYTES, SPEC).tensor)
    assert prepared.treatments == (
        "uint8 (height, width, channels) taken as pixels from 0 to 255",
        "10 x 8 stretched to 5 x 4 (bilinear)",
    )


@pytest.mark.parametrize("name", ["x.npy", "x.npz", "x.pt"])
@pytest.mark.parametrize("shape", [(7,), (2, 9), (1, 2, 3, 4), (13, 4, 5), (16, 4, 5)])
def test_inputs_of_any_shape_come_from_files(tmp_path: Path, name: str, shape: tuple[int, ...]) -> None:
    x = RNG.standard_normal(shape).astype(np.float32)
    spec = Input(shape=shape, range=(-9, 9))
    assert np.array_equal(prepare(written(tmp_path / name, x), spec).tensor.numpy(), x)


def test_layouts_of_numpy(tmp_path: Path) -> None:
    for array in (np.asfortranarray(X), X.astype(">f4"), X.astype(">f8")):
        np.save(tmp_path / "x.npy", array)
        assert np.array_equal(prepare(tmp_path / "x.npy", SPEC).tensor.numpy(), X)
    with (tmp_path / "x.npy").open("wb") as file:
        np.lib.format.write_array(file, X, version=(2, 0))
    assert np.array_equal(prepare(tmp_path / "x.npy", SPEC).tensor.numpy(), X)


def test_tensors_of_torch(tmp_path: Path) -> None:
    x = torch.from_numpy(X)
    views = (torch.nn.Parameter(x), x.repeat(2, 1, 1)[3:], x.transpose(0, 2).contiguous().transpose(0, 2), x.bfloat16())
    for tensor in views:
        torch.save(tensor, tmp_path / "x.pt")
        prepared = prepare(tmp_path / "x.pt", SPEC).tensor
        assert torch.equal(prepared, tensor.detach().float())
        assert not prepared.requires_grad


def test_the_kind_is_told_from_the_bytes(tmp_path: Path) -> None:
    written(tmp_path / "x.npy", X).rename(tmp_path / "x.png")
    assert np.array_equal(prepare(tmp_path / "x.png", SPEC).tensor.numpy(), X)


@pytest.mark.parametrize("name", ["x.npy", "x.npz", "x.pt"])
@pytest.mark.parametrize(
    ("array", "words"),
    [
        (X[:2], r"x\.\w+: the model takes inputs of shape \(3, 4, 5\), received a tensor of \(2, 4, 5\)"),
        (X - 2, r"x\.\w+: the model takes values in \[0, 1\], received \[-"),
        (np.where(X > 0.5, np.nan, X), "the input tensor holds NaN or infinite values"),
        (np.full((3, 4, 5), 1e300), "the input tensor holds NaN or infinite values"),
        (X.astype(np.complex64), "expected (numbers|a dense tensor)"),
        (np.zeros((5, 6, 7), dtype=np.uint8), r"received \(5, 6, 7\)"),
        (np.zeros((0, 5), dtype=np.uint8), "is no picture"),
    ],
)
def test_numbers_that_do_not_fit_are_refused(tmp_path: Path, name: str, array: np.ndarray, words: str) -> None:
    with pytest.raises(RefusedFileError, match=words):
        prepare(written(tmp_path / name, array), SPEC)


@pytest.mark.parametrize("array", [np.array(["a"]), np.array([(1, 2.0)], dtype="i4,f8"), np.array(["2020"], "M8[D]")])
def test_what_is_no_numbers_is_refused(tmp_path: Path, array: np.ndarray) -> None:
    np.save(tmp_path / "x.npy", array)
    with pytest.raises(RefusedFileError, match="expected numbers, received dtype"):
        prepare(tmp_path / "x.npy", SPEC)


def test_objects_are_refused_unopened(tmp_path: Path) -> None:
    evil = np.array([Evil(tmp_path / "marker")], dtype=object)
    np.save(tmp_path / "x.npy", evil, allow_pickle=True)
    np.savez(tmp_path / "x.npz", evil, allow_pickle=True)
    for name in ("x.npy", "x.npz"):
        with pytest.raises(RefusedFileError, match="and opening them could run code"):
            prepare(tmp_path / name, SPEC)
        with pytest.raises(RefusedFileError, match="expected a mask of numbers"):
            prepare_mask(tmp_path / name, SPEC)
    assert not (tmp_path / "marker").exists()


@pytest.mark.parametrize("legacy", [False, True])
def test_a_pickle_that_would_run_code_is_refused_unopened(tmp_path: Path, legacy: bool) -> None:
    evil = Evil(tmp_path / "marker")
    for content in (evil, {"x": evil}, [torch.zeros(3, 4, 5), evil]):
        torch.save(content, tmp_path / "x.pt", _use_new_zipfile_serialization=not legacy)
        with pytest.raises(
            RefusedFileError, match="is not a picture" if legacy else "holds Python objects besides tensors"
        ):
            prepare(tmp_path / "x.pt", SPEC)
    (tmp_path / "x.pt").write_bytes(pickle.dumps(evil))
    with pytest.raises(RefusedFileError, match="is not a picture"):
        prepare(tmp_path / "x.pt", SPEC)
    assert not (tmp_path / "marker").exists()
    pickle.loads(pickle.dumps(evil))
    assert (tmp_path / "marker").exists(), "the exploit itself works"


def test_what_is_not_one_plain_tensor_is_refused(tmp_path: Path) -> None:
    x = torch.from_numpy(X)
    for content, words in (
        ({"x": x}, "expected one tensor, as torch.save writes it, received dict"),
        ([x, x], "received list"),
        (x.to_sparse(), "expected a dense tensor"),
        (x.to("meta"), "expected a dense tensor"),
    ):
        torch.save(content, tmp_path / "x.pt")
        with pytest.raises(RefusedFileError, match=words):
            prepare(tmp_path / "x.pt", SPEC)


def test_a_program_is_no_tensor(tmp_path: Path) -> None:
    torch.jit.save(torch.jit.trace(torch.nn.ReLU(), torch.rand(1)), tmp_path / "x.pt")
    with pytest.raises(RefusedFileError, match="it is a TorchScript program"):
        prepare(tmp_path / "x.pt", SPEC)


def test_an_archive_of_several_arrays_names_them(tmp_path: Path) -> None:
    np.savez(tmp_path / "x.npz", image=X, label=np.zeros(1))
    with pytest.raises(RefusedFileError, match="expected one array, received 2: image, label"):
        prepare(tmp_path / "x.npz", SPEC)


def test_archives_within_archives_and_of_other_things_are_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "inner.npz", X)
    for path, names in ((tmp_path / "x.npz", ["inner.npz"]), (tmp_path / "y.npz", [])):
        with zipfile.ZipFile(path, "w") as archive:
            for name in names:
                archive.write(tmp_path / name, name)
        with pytest.raises(RefusedFileError, match="is a zip archive that holds no array"):
            prepare(path, SPEC)


def test_a_name_that_stands_twice_is_refused(tmp_path: Path) -> None:
    inner = io.BytesIO()
    np.save(inner, X)
    with zipfile.ZipFile(tmp_path / "x.npz", "w") as archive:
        archive.writestr("x.npy", inner.getvalue())
        with pytest.warns(UserWarning, match="Duplicate"):
            archive.writestr("x.npy", inner.getvalue())
    with pytest.raises(RefusedFileError, match=r"image .*x.npz is an archive in which a name stands twice"):
        prepare(tmp_path / "x.npz", SPEC)


def test_other_compressions_are_refused(tmp_path: Path) -> None:
    inner = io.BytesIO()
    np.save(inner, X)
    with zipfile.ZipFile(tmp_path / "x.npz", "w", zipfile.ZIP_LZMA) as archive:
        archive.writestr("x.npy", inner.getvalue())
    with pytest.raises(RefusedFileError, match="compressed in another way than numpy does"):
        prepare(tmp_path / "x.npz", SPEC)
    torch.save(torch.from_numpy(X), tmp_path / "stored.pt")
    with (
        zipfile.ZipFile(tmp_path / "stored.pt") as stored,
        zipfile.ZipFile(tmp_path / "x.pt", "w", zipfile.ZIP_DEFLATED) as packed,
    ):
        for entry in stored.infolist():
            packed.writestr(entry.filename, stored.read(entry))
    with pytest.raises(RefusedFileError, match="it is compressed, which torch"):
        prepare(tmp_path / "x.pt", SPEC)


@pytest.mark.parametrize(
    ("shape", "dtype", "words"),
    [
        ("(1000000, 1000000)", "<f4", "received a tensor of"),
        ("(1000000, 1000000)", "|u1", "is no picture; expected up to"),
        ("(1000000, 1000000, 0)", "|u1", "is no picture"),
        ("(-3, -4, 5)", "|u1", "expected sizes"),
        ("(3, 4, 5)", "<f4", "expected 240 bytes for float32 of .* received 0"),
        ("(3, 4, 5)", "|V99999999999", "expected numbers|damaged"),
        ("(3, 4, 5)", "|O", "holds Python objects"),
        ("(" * 200 + ")" * 200, "<f4", "damaged"),
        ("__import__('os')", "<f4", "damaged"),
    ],
)
def test_headers_are_not_believed(tmp_path: Path, shape: str, dtype: str, words: str) -> None:
    header(tmp_path / "x.npy", shape, dtype)
    with zipfile.ZipFile(tmp_path / "x.npz", "w") as archive:
        archive.write(tmp_path / "x.npy", "x.npy")
    tracemalloc.start()
    for name in ("x.npy", "x.npz"):
        with pytest.raises(RefusedFileError, match=words):
            prepare(tmp_path / name, SPEC)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 10 * 2**20


def test_later_versions_of_the_format_are_refused(tmp_path: Path) -> None:
    with pytest.raises(RefusedFileError, match=r"expected version 1.0 or 2.0 of the .npy format, received 3.0"):
        prepare(header(tmp_path / "x.npy", "(3, 4, 5)", version=b"\x03\x00"), SPEC)


def test_too_many_bytes_are_refused_as_too_few_are(tmp_path: Path) -> None:
    for size in (239, 241):
        with pytest.raises(RefusedFileError, match="expected 240 bytes"):
            prepare(header(tmp_path / "x.npy", "(3, 4, 5)", body=bytes(size)), SPEC)


def test_a_tensor_that_claims_more_than_it_stores_is_refused_unfilled(tmp_path: Path) -> None:
    """Strides of zero make any shape of one number."""
    torch.save(torch.zeros(1, dtype=torch.float64).expand(10**6, 10**6), tmp_path / "x.pt")
    for call in (lambda: prepare(tmp_path / "x.pt", SPEC), lambda: prepare_mask(tmp_path / "x.pt", SPEC)):
        with pytest.raises(RefusedFileError, match=r"received a tensor of \(1000000|the mask is too large"):
            call()


def test_a_live_tensor_that_does_not_fit_is_the_callers_fault() -> None:
    for tensor in (torch.from_numpy(X).to_sparse(), torch.from_numpy(X).to("meta"), torch.zeros(3, 4, 5) * 1j):
        with pytest.raises(UsageError, match="expected a dense tensor"):
            prepare(tensor, SPEC)
    with pytest.raises(UsageError, match="expected numbers"):
        prepare(X * 1j, SPEC)
    with pytest.raises(UsageError, match="Python objects"):
        prepare(np.array([None]), SPEC)


@pytest.mark.parametrize("name", ["x.npy", "x.npz", "x.pt"])
def test_files_that_are_cut_short_are_refused(tmp_path: Path, name: str) -> None:
    content = written(tmp_path / name, X).read_bytes()
    for size in (1, 7, 12, len(content) // 2, len(content) - 1):
        (tmp_path / name).write_bytes(content[:size])
        with pytest.raises(RefusedFileError):
            prepare(tmp_path / name, SPEC)
