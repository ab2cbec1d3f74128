"""Samples: what a folder holds is read or said, and links do not lead out of it."""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from tests.networks import Linear
from xai.api import load
from xai.data.samples import SUFFIXES, left_out, list_pictures, read_samples
from xai.errors import RefusedFileError, UsageError
from xai.models.model import Model

PIXELS = np.random.default_rng(0).integers(0, 256, (12, 10, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def model() -> Model:
    return load(Linear(), shape=(3, 12, 10))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Pictures and arrays of every kind that a folder is searched for, and a model beside them."""
    place = tmp_path / "scans"
    place.mkdir()
    for suffix in ("png", "jpg", "webp", "bmp", "tif"):
        Image.fromarray(PIXELS).save(place / f"{suffix}.{suffix}")
    np.save(place / "npy.npy", PIXELS)
    np.savez(place / "npz.npz", PIXELS)
    torch.save(Linear().state_dict(), place / "model.pt")
    return place


def test_a_folder_gives_pictures_and_arrays_and_leaves_the_model_out(folder: Path, model: Model) -> None:
    samples = list(read_samples(folder, model))
    assert [sample.id for sample in samples] == ["bmp", "jpg", "npy", "npz", "png", "tif", "webp"]
    for sample in samples:
        assert sample.digest == hashlib.sha256(Path(sample.source).read_bytes()).hexdigest()
        assert sample.input.shape == (3, 12, 10)
    assert left_out(folder) == [f"left out of folder {folder}, since they are no {', '.join(SUFFIXES)}: model.pt"]


def test_a_tensor_of_torch_is_read_where_it_is_named(folder: Path, model: Model) -> None:
    torch.save(torch.rand(3, 12, 10), folder / "x.pt")
    (sample,) = read_samples(folder / "x.pt", model)
    assert sample.treatments == ("used as given, in input units",)
    with pytest.raises(RefusedFileError, match=r"expected one tensor, as .* received OrderedDict"):
        list(read_samples(folder / "model.pt", model))


def test_links_that_lead_out_of_a_folder_are_left_out_and_it_is_said(folder: Path, model: Model) -> None:
    inside = len(list(list_pictures(folder)))
    secret = folder.parent / "secret.png"
    Image.fromarray(PIXELS).save(secret)
    (folder / "out.png").symlink_to(secret)
    (folder / "within.png").symlink_to(folder / "png.png")
    (folder / "dangling.png").symlink_to(folder / "gone.png")
    (folder / "round.png").symlink_to(folder / "round.png")
    names = [Path(str(path)).name for path in list_pictures(folder)]
    assert len(names) == inside + 1
    assert "within.png" in names
    foreign, outside = left_out(folder)
    assert foreign.endswith(": dangling.png, model.pt, round.png")
    assert outside == f"left out of folder {folder}, since they are links that lead out of it: out.png"
    (named,) = read_samples(folder / "out.png", model)  # what is named itself is followed
    assert named.id == "out"


def test_a_folder_that_is_a_link_itself_is_read(folder: Path, model: Model) -> None:
    (folder.parent / "link").symlink_to(folder)
    assert len(list(read_samples(folder.parent / "link", model))) == 7


def test_masks_may_be_arrays_and_do_not_lead_out(folder: Path, model: Model, tmp_path: Path) -> None:
    masks = tmp_path / "masks"
    masks.mkdir()
    where = np.zeros((12, 10), dtype=bool)
    where[2:5] = True
    np.save(masks / "png.npy", where)
    (sample,) = read_samples(folder / "png.png", model, masks)
    assert sample.mask is not None
    assert np.array_equal(sample.mask, where)
    shutil.move(masks / "png.npy", tmp_path / "png.npy")
    (masks / "png.npy").symlink_to(tmp_path / "png.npy")
    with pytest.raises(RefusedFileError, match="is a link that leads out of its folder"):
        list(read_samples(folder / "png.png", model, masks))


def test_a_folder_of_nothing_else_holds_no_picture(tmp_path: Path) -> None:
    Image.fromarray(PIXELS).save(tmp_path / "a.png")
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "a.png").symlink_to(tmp_path / "a.png")
    with pytest.raises(UsageError, match=r"holds no picture \(\.png, .*\.dcm\)"):
        list(list_pictures(tmp_path / "folder"))


def test_a_part_of_a_samples_data_is_no_single_pictures() -> None:
    with pytest.raises(UsageError, match="its single pictures are sample:shapes"):
        list(list_pictures("sample:shapes:0-3"))
