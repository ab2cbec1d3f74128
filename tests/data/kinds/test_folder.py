"""Folders: flat, or a sub-folder a class; what is not taken is told."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.networks import Linear
from xai.api import load
from xai.data.dataset import DataSet, open_data
from xai.data.samples import SUFFIXES, left_out, list_pictures
from xai.errors import UsageError
from xai.models.model import Model


@pytest.fixture(scope="module")
def model() -> Model:
    return load(Linear((3, 12, 10)), shape=(3, 12, 10), classes=("cat", "dog", "cow"))


def draw(*paths: Path) -> None:
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((12, 10, 3), 99, dtype=np.uint8)).save(path)


def ids(data: DataSet) -> list[str]:
    return [data.id(index) for index in range(len(data))]


def test_a_flat_folder_gives_what_explain_reads_and_tells_what_it_leaves_out(tmp_path: Path, model: Model) -> None:
    draw(tmp_path / "b.png", tmp_path / "a.jpg", tmp_path / "cat" / "c.png", tmp_path / ".hidden.PNG")
    (tmp_path / "notes.txt").write_text("notes")
    data = open_data(tmp_path, model)
    assert [data.read(index).source for index in range(len(data))] == [str(path) for path in list_pictures(tmp_path)]
    assert list(data.notes) == left_out(tmp_path)
    assert data.notes == (f"left out of folder {tmp_path}, since they are no {', '.join(SUFFIXES)}: cat, notes.txt",)
    assert data.read_many(range(3)).labels == (None, None, None)


def test_names_that_differ_in_their_suffix_alone_stay_apart(tmp_path: Path, model: Model) -> None:
    draw(*(tmp_path / name for name in ("1.png", "1.jpg", "1.png.jpg", "1.jpg.png", "2.png", "1.png-2.bmp")))
    found = ids(open_data(tmp_path, model))
    assert len(set(found)) == 6
    assert {"1.png", "1.jpg", "2", "1.png-2"} <= set(found)


def test_a_class_is_a_folder_by_name_or_number(tmp_path: Path, model: Model) -> None:
    draw(tmp_path / "a" / "cow" / "x.png", tmp_path / "a" / "cat" / "x.png", tmp_path / "a" / "cat" / "w.png")
    draw(tmp_path / "b" / "00000" / "x.png", tmp_path / "b" / "2" / "x.png")
    (tmp_path / "a" / "dgo").mkdir()
    (tmp_path / "a" / "cow" / "deeper").mkdir()
    named, numbered = open_data(tmp_path / "a", model), open_data(tmp_path / "b", model)
    assert ids(named) == ["cat/w", "cat/x", "cow/x"]
    assert named.read_many(range(3)).labels == (0, 0, 2)
    assert numbered.read_many(range(2)).labels == (0, 2)
    assert named.notes == (
        f"left out of folder {tmp_path / 'a' / 'cow'}, since they are no {', '.join(SUFFIXES)}: deeper",
        f"folder {tmp_path / 'a' / 'dgo'} holds no picture",
    )
    draw(tmp_path / "a" / "dgo" / "x.png")
    with pytest.raises(UsageError, match="there is no class 'dgo'; did you mean 'dog'"):
        open_data(tmp_path / "a", model)


def test_folders_without_pictures_are_told(tmp_path: Path, model: Model) -> None:
    (tmp_path / "cat").mkdir()
    for folder in (tmp_path, tmp_path / "cat"):
        with pytest.raises(UsageError, match="holds no picture"):
            open_data(folder, model)
    draw(tmp_path / "cat" / "x.png")
    with pytest.raises(UsageError, match=r"labels y.npy were named, and a folder takes none"):
        open_data(tmp_path, model, labels="y.npy")
