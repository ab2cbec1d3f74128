"""Tables of inputs: as spreadsheets, pandas and scripts write them."""

from __future__ import annotations

import codecs
import csv
import io
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.networks import Linear
from xai.api import load
from xai.data.dataset import open_data
from xai.errors import RefusedFileError, UsageError, XaiError
from xai.models.model import Model

ROWS = [
    {"path": "in, side/käse.png", "label": "dog", "group": "site 1", "mask": "masks/käse.png"},
    {"path": "b.png", "label": "2", "group": "", "mask": ""},
    {"path": "c.png", "label": "", "group": "7", "mask": ""},
]


@pytest.fixture(scope="module")
def model() -> Model:
    return load(Linear((3, 12, 10)), shape=(3, 12, 10), classes=("cat", "dog", "cow"))


@pytest.fixture
def place(tmp_path: Path) -> Path:
    (tmp_path / "masks").mkdir()
    (tmp_path / "in, side").mkdir()
    for row in ROWS:
        Image.fromarray(np.full((12, 10, 3), 99, dtype=np.uint8)).save(tmp_path / row["path"])
    mask = np.zeros((12, 10), dtype=np.uint8)
    mask[2:5] = 255
    Image.fromarray(mask).save(tmp_path / "masks" / "käse.png")
    return tmp_path


def table(separator: str = ",", end: str = "\r\n") -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, ["", "Label", "path", "mask", "group"], delimiter=separator, lineterminator=end)
    writer.writeheader()
    for number, row in enumerate(ROWS):
        writer.writerow({"": number, "Label": row["label"], **{key: row[key] for key in ("path", "mask", "group")}})
    return text.getvalue()


@pytest.mark.parametrize(
    "content",
    [
        table().encode(),
        codecs.BOM_UTF8 + table(";").encode(),
        table("\t").encode("utf-16"),
        ("\n" + table(end="\n") + "\n,,,,\n").encode(),
        json.dumps(ROWS).encode(),
        codecs.BOM_UTF8 + json.dumps(ROWS, indent=1, ensure_ascii=False).encode(),
        "\n".join(json.dumps(row) for row in ROWS).encode(),
        json.dumps([{key: value or None for key, value in row.items()} for row in ROWS]).encode(),
        json.dumps([{**ROWS[0], "label": 1}, {**ROWS[1], "label": 2}, {**ROWS[2], "group": 7}]).encode(),
    ],
)
def test_every_way_to_write_a_table_gives_the_same_samples(content: bytes, place: Path, model: Model) -> None:
    (place / "any.name").write_bytes(content)
    data = open_data(place / "any.name", model)
    assert data.kind == "manifest"
    shard = data.read_many(range(3))
    assert [sample.id for sample in shard.samples] == ["in, side/käse", "b", "c"]
    assert shard.labels == (1, 2, None)
    assert [sample.group for sample in shard.samples] == ["site 1", None, "7"]
    first, *others = (sample.mask for sample in shard.samples)
    assert first is not None
    assert np.flatnonzero(first.all(axis=1)).tolist() == [2, 3, 4]
    assert others == [None, None]


def test_only_the_path_is_needed(place: Path, model: Model) -> None:
    (place / "t.csv").write_text("path\nb.png\nc.png\n")
    data = open_data(place / "t.csv", model)
    assert data.read_many(range(2)).labels == (None, None)
    with pytest.raises(UsageError, match="labels are needed, and the entries of"):
        data.require_labels()


@pytest.mark.parametrize(
    "column", ["class", "labels", "Class", "Labels", "target", "y", "lable", "class_name", "label "]
)
@pytest.mark.parametrize("form", ["csv", "json", "lines"])
def test_labels_under_another_name_are_refused_and_never_lost(
    column: str, form: str, place: Path, model: Model
) -> None:
    row = {"path": "b.png", column: "cat"}
    content = {"csv": f"path,{column}\nb.png,cat\n", "json": json.dumps([row]), "lines": json.dumps(row)}[form]
    (place / "t").write_text(content)
    if column.strip() == "label":
        assert open_data(place / "t", model).read(0).label == 0
        return
    with pytest.raises(
        RefusedFileError, match=rf"expected labels in a column 'label', received a column '(?i:{column})'"
    ):
        open_data(place / "t", model)


@pytest.mark.parametrize("form", ["csv", "json"])
def test_columns_that_are_not_read_are_named_once(form: str, place: Path, model: Model) -> None:
    rows = [{"path": f"{name}.png", "Label": "cat", "class": "x", "score": "1"} for name in "bc"]
    text = "path,Label,class,score,\nb.png,cat,x,1,5\nc.png,cat\n" if form == "csv" else json.dumps(rows)
    (place / "t").write_text(text)
    data = open_data(place / "t", model)
    assert data.read_many(range(2)).labels == (0, 0)
    unnamed = ", one without a name" if form == "csv" else ""
    assert data.notes == (
        f"columns that are not read: 'class', 'score'{unnamed}; those that are: path, label, group, mask",
    )
    (place / "all").write_text("path,label\nb.png,cat\n")
    assert open_data(place / "all", model).notes == ()


def test_a_field_of_json_that_stands_twice_is_refused(place: Path, model: Model) -> None:
    (place / "t").write_text(json.dumps([{"path": "b.png", "label": "cat", "Label": "dog"}]))
    with pytest.raises(RefusedFileError, match="column 'label' stands there twice"):
        open_data(place / "t", model)


def test_paths_are_relative_to_the_table_and_may_lead_out(place: Path, model: Model) -> None:
    (place / "tables").mkdir()
    (place / "tables" / "t.csv").write_text(f"path\n../b.png\n{place / 'c.png'}\nb.png\n")
    shard = open_data(place / "tables" / "t.csv", model).read_many(range(3))
    assert shard.indices == (0, 1)
    assert "does not exist" in shard.skipped[0].reason
    assert not any(
        ".." in name or name.startswith("/") for name in [*(one.id for one in shard.samples), shard.skipped[0].id]
    )


def test_a_broken_or_missing_mask_skips_its_row(place: Path, model: Model) -> None:
    (place / "masks" / "käse.png").write_bytes(b"\x89PNG")
    (place / "t.csv").write_text("path,mask\nb.png,masks/käse.png\nc.png,masks/none.png\n")
    assert [one.index for one in open_data(place / "t.csv", model).read_many(range(2)).skipped] == [0, 1]


@pytest.mark.parametrize("content", ["path,label\n", "path\n\n\n", "[]", "\n"])
def test_a_table_without_rows_is_told(content: str, place: Path, model: Model) -> None:
    (place / "t").write_text(content)
    with pytest.raises(XaiError, match=r"has no rows|expected a column 'path'"):
        open_data(place / "t", model)


def test_text_that_is_named_as_a_picture_is_no_table(place: Path, model: Model) -> None:
    (place / "bad.PNG").write_text("this is no picture")
    with pytest.raises(RefusedFileError, match=r"bad.PNG are of no kind that is read here; expected .*a picture"):
        open_data(place / "bad.PNG", model)


def test_a_wrong_label_is_told_at_once(place: Path, model: Model) -> None:
    (place / "t.csv").write_text("path,label\nb.png,cat\nc.png,dgo\n")
    with pytest.raises(UsageError, match=r"labels of .*t.csv: there is no class 'dgo'; did you mean 'dog'"):
        open_data(place / "t.csv", model)
