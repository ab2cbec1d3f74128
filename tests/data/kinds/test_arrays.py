"""Arrays of many inputs: .npy, .npz, idx and live ones give the same samples."""

from __future__ import annotations

import gzip
import struct
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.networks import Linear, Mlp
from xai.api import load
from xai.data.dataset import open_data
from xai.errors import RefusedFileError, UsageError
from xai.models.model import Model

RANDOM = np.random.default_rng(0)
IMAGES = RANDOM.integers(0, 256, (6, 12, 10), dtype=np.uint8)
LABELS = np.array([0, 1, 2, 0, 1, 2])
EXPECTED = torch.from_numpy(IMAGES.astype(np.float32) / np.float32(255))[:, None]


@pytest.fixture(scope="module")
def model() -> Model:
    return load(Linear((1, 12, 10)), shape=(1, 12, 10), classes=("cat", "dog", "cow"))


def idx(array: np.ndarray) -> bytes:
    return bytes([0, 0, 8, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape) + array.astype("u1").tobytes()


def write(kind: str, place: Path) -> Path:
    """Write images and labels; return what is opened."""
    if kind == "npy":
        np.save(place / "test_X.npy", IMAGES)
        np.save(place / "test_y.npy", LABELS)
        return place / "test_X.npy"
    if kind == "fortran npy":
        np.save(place / "photos.npy", np.asfortranarray(IMAGES))
        np.save(place / "photos_labels.npy", LABELS[:, None].astype(float))
        return place / "photos.npy"
    if kind == "npz":
        np.savez_compressed(place / "d.npz", other=IMAGES, X=IMAGES, y=np.array(["cat", "dog", "cow"])[LABELS])
        return place / "d.npz"
    packed = gzip.compress if kind == "idx.gz" else bytes
    suffix = ".gz" if kind == "idx.gz" else ""
    (place / f"t10k-images-idx3-ubyte{suffix}").write_bytes(packed(idx(IMAGES)))
    (place / f"t10k-labels-idx1-ubyte{suffix}").write_bytes(packed(idx(LABELS)))
    return place if kind == "folder of idx" else place / f"t10k-images-idx3-ubyte{suffix}"


@pytest.mark.parametrize("kind", ["npy", "fortran npy", "npz", "idx", "idx.gz", "folder of idx"])
def test_every_kind_of_file_gives_the_same_inputs_and_labels(kind: str, tmp_path: Path, model: Model) -> None:
    path = write(kind, tmp_path)
    data = open_data(path, model)
    shard = data.read_many(range(6))
    assert torch.equal(shard.inputs, EXPECTED)
    assert shard.labels == tuple(LABELS)
    assert torch.equal(data.read(4).input, EXPECTED[4])
    assert torch.equal(data.read_many([5, 0]).inputs, EXPECTED[[5, 0]])
    beside = any("which lies beside it" in note for note in data.notes)
    assert beside == (kind != "npz")  # that a file nobody named was used is said


def test_labels_may_be_named(tmp_path: Path, model: Model) -> None:
    np.save(tmp_path / "a.npy", IMAGES)
    np.savez(tmp_path / "b.npz", IMAGES)
    (tmp_path / "c").write_bytes(idx(IMAGES))
    (tmp_path / "labels").write_bytes(idx(LABELS[::-1]))
    np.save(tmp_path / "labels.npy", LABELS[::-1])
    for name in ("a.npy", "b.npz", "c"):
        assert open_data(tmp_path / name, model).labels is None
        for labels in ("labels", "labels.npy"):
            data = open_data(tmp_path / name, model, labels=tmp_path / labels)
            assert data.read_many(range(6)).labels == tuple(LABELS[::-1])
    live = open_data(IMAGES, model, labels=tmp_path / "labels")
    assert live.read_many(range(6)).labels == tuple(LABELS[::-1])
    with pytest.raises(UsageError, match="gone does not exist"):
        open_data(tmp_path / "a.npy", model, labels=tmp_path / "gone")
    with pytest.raises(RefusedFileError, match=r"expected labels \(n,\), indices or names of classes, received uint8"):
        open_data(tmp_path / "a.npy", model, labels=tmp_path / "c")
    with pytest.raises(UsageError, match="are labels; name the idx file of the pictures"):
        open_data(tmp_path / "labels", model)


def test_floats_are_in_input_units_with_channels_first_or_last() -> None:
    taker = load(Linear((3, 12, 10)), shape=(3, 12, 10))
    first = RANDOM.random((4, 3, 12, 10)).astype(np.float32)
    for images, note in ((first, ()), (first.transpose(0, 2, 3, 1), ("channels brought from last to first",))):
        shard = open_data((images, None), taker).read_many(range(4))
        assert np.array_equal(shard.inputs.numpy(), first)
        assert shard.samples[2].treatments == (*note, "used as given, in input units")
    for tensor in (torch.from_numpy(first).requires_grad_(), torch.from_numpy(first).bfloat16()):
        assert torch.equal(open_data(tensor, taker).read_many(range(4)).inputs, tensor.detach().float())


def test_what_is_no_picture_is_taken_by_its_shape() -> None:
    taker = load(torch.nn.Linear(7, 3), shape=(7,))
    table = RANDOM.normal(size=(5, 7)).astype(np.float32)
    shard = open_data((table, [0, 1, 2, 1, 0]), taker).read_many(range(5))
    assert np.array_equal(shard.inputs.numpy(), table)
    assert len(open_data(table[0], taker)) == 1
    with pytest.raises(UsageError, match=r"expected \(n, 7\), received \(5, 6\)"):
        open_data(table[:, :6], taker)


def test_an_array_that_can_be_one_input_is_one_unless_labels_count_it(tmp_path: Path) -> None:
    taker = load(Mlp(), shape=(3, 12, 10))
    pixels = RANDOM.integers(0, 256, (3, 12, 10), dtype=np.uint8)
    np.save(tmp_path / "one.npy", pixels)
    np.savez(tmp_path / "one.npz", pixels)
    for data in (tmp_path / "one.npy", tmp_path / "one.npz", pixels):
        assert len(open_data(data, taker)) == 1
        assert torch.equal(open_data(data, taker).read(0).input, taker.prepare(pixels).tensor)
    np.save(tmp_path / "one_y.npy", np.array([0, 1, 2]))
    assert len(open_data(tmp_path / "one.npy", taker)) == 3
    assert len(open_data((pixels, [0, 1, 2]), taker)) == 3


@pytest.mark.parametrize("count", [1, 2, 3, 4, 5])
def test_few_pictures_of_one_channel_stay_pictures(count: int, tmp_path: Path, model: Model) -> None:
    np.save(tmp_path / "few.npy", IMAGES[:count])
    np.savez(tmp_path / "few.npz", x=IMAGES[:count])
    for source in (tmp_path / "few.npy", tmp_path / "few.npz", IMAGES[:count]):
        data = open_data(source, model)
        assert len(data) == count
        assert torch.equal(data.read_many(range(count)).inputs, EXPECTED[:count])
        read = f"an array of ({count}, 12, 10) was read as {count} pictures of one channel"
        told = [f"{read}; if it is one picture of {count} channels, give (12, 10, {count})"]
        assert list(data.notes) == (told if count in (2, 3, 4) else [])


def test_one_coloured_picture_stays_one_where_it_is_no_stack_of_the_models_size(tmp_path: Path, model: Model) -> None:
    last, first = (RANDOM.integers(0, 256, shape, dtype=np.uint8) for shape in ((12, 10, 3), (3, 24, 20)))
    for name, pixels, expected in (
        ("last", last, ()),
        (
            "first",
            first,
            (
                "an array of (3, 24, 20) was read as one picture of 3 channels; if it holds 3 pictures of one "
                "channel, give (3, 24, 20, 1)",
            ),
        ),
    ):
        np.save(tmp_path / f"{name}.npy", pixels)
        np.savez(tmp_path / f"{name}.npz", x=pixels)
        for source in (pixels, tmp_path / f"{name}.npy", tmp_path / f"{name}.npz"):
            data = open_data(source, model)
            assert (len(data), data.notes) == (1, expected)
            assert torch.equal(data.read(0).input, model.prepare(pixels).tensor)
    assert len(open_data(first[..., None], model)) == 3


def test_pictures_of_another_size_are_fitted_and_it_is_recorded(model: Model) -> None:
    large = RANDOM.integers(0, 256, (3, 30, 40, 3), dtype=np.uint8)
    shard = open_data((large, [0, 1, 2]), model).read_many(range(3))
    for image, sample in zip(large, shard.samples, strict=True):
        expected = model.prepare(image)
        assert torch.equal(sample.input, expected.tensor)
        assert sample.treatments == expected.treatments
    assert "40 x 30 stretched to 10 x 12 (bilinear)" in shard.samples[0].treatments


def test_several_idx_files_in_a_folder_are_not_chosen_from(tmp_path: Path, model: Model) -> None:
    for name in ("train-images-idx3-ubyte", "t10k-images-idx3-ubyte"):
        (tmp_path / name).write_bytes(idx(IMAGES))
    with pytest.raises(UsageError, match=r"holds 2 idx files of pictures, t10k-.* and train-.*; name one of them"):
        open_data(tmp_path, model)


def test_an_npz_of_unknown_names_is_refused(tmp_path: Path, model: Model) -> None:
    np.savez(tmp_path / "d.npz", a=IMAGES, b=IMAGES)
    with pytest.raises(RefusedFileError, match=r"hold a, b; expected arrays x \(inputs\) and y \(labels\)"):
        open_data(tmp_path / "d.npz", model)


def test_files_are_mapped_and_not_held(tmp_path: Path, model: Model) -> None:
    path = write("npy", tmp_path)
    data = open_data(path, model)
    assert isinstance(data.content._array, np.memmap)  # type: ignore[attr-defined]
    (tmp_path / "images-idx3-ubyte").write_bytes(idx(IMAGES))
    assert isinstance(open_data(tmp_path / "images-idx3-ubyte", model).content._array, np.memmap)  # type: ignore[attr-defined]
