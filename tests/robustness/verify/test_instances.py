"""Lists of problems: what a row says, and what is refused with its row."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from xai.errors import RefusedFileError, UsageError, XaiError
from xai.robustness.verify.instances import Instance, read_instances


def listed(text: str, folder: Path) -> Path:
    for name in ("a.onnx", "b.vnnlib", "c.vnnlib.gz"):
        (folder / name).touch()
    path = folder / "instances.csv"
    path.write_text(text)
    return path


def test_a_list_without_names_has_network_property_and_timeout(tmp_path: Path) -> None:
    rows = read_instances(listed("./a.onnx,b.vnnlib,116\n\na.onnx,c.vnnlib,0.5\na.onnx,b.vnnlib\n", tmp_path))
    a, b, c = tmp_path / "a.onnx", tmp_path / "b.vnnlib", tmp_path / "c.vnnlib.gz"
    assert rows == [Instance(1, a, b, 116.0), Instance(3, a, c, 0.5), Instance(4, a, b)]


def test_names_of_columns_are_followed(tmp_path: Path) -> None:
    text = "expected,Vnnlib, onnx ,note,competition_timeout_s\nsat,b.vnnlib,a.onnx,x,3\n,b.vnnlib,a.onnx,,\n"
    first, second = read_instances(listed(text, tmp_path))
    assert first == Instance(2, tmp_path / "a.onnx", tmp_path / "b.vnnlib", 3.0, "sat")
    assert (second.timeout, second.expected) == (None, "")


@pytest.mark.parametrize(
    ("text", "words", "kind"),
    [
        ("", "an empty list", RefusedFileError),
        ("onnx,vnnlib\n", "names of columns only", RefusedFileError),
        ("a.onnx\n", "row 1: expected onnx, vnnlib and timeout, received 'a.onnx'", RefusedFileError),
        ("a.onnx,b.vnnlib,3\na.onnx,d.vnnlib,3\n", "row 2: .*d.vnnlib does not exist", UsageError),
        ("a.onnx,b.vnnlib,-3\n", "row 1: expected a timeout in seconds above 0, received '-3'", RefusedFileError),
        ("a.onnx,b.vnnlib,nan\n", "received 'nan'", RefusedFileError),
        ("a.onnx,b.vnnlib,soon\n", "received 'soon'", RefusedFileError),
        ("onnx,vnnlib,expected\na.onnx,b.vnnlib,holds\n", "row 2: expected sat, unsat, unknown", RefusedFileError),
        ('a.onnx,"b\n', "expected a list in CSV", RefusedFileError),
        ("\0", "row 1", RefusedFileError),
    ],
)
def test_faults_name_the_row(text: str, words: str, kind: type[XaiError], tmp_path: Path) -> None:
    with pytest.raises(kind, match=words):
        read_instances(listed(text, tmp_path))


def test_a_list_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="does not exist"):
        read_instances(tmp_path / "none.csv")
    (tmp_path / "bytes.csv").write_bytes(b"\xff\xfe")
    with pytest.raises(RefusedFileError, match="UTF-8"):
        read_instances(tmp_path / "bytes.csv")


def test_the_lists_of_the_benchmarks_are_read(data: Path) -> None:
    found = {
        path.parent.name: Counter(row.expected for row in read_instances(path))
        for path in (data / "verification").glob("*/instances.csv")
    }
    assert found == {
        "acasxu": {"unsat": 83, "sat": 30},
        "cifar10_resnet2b": {"unsat": 8, "unknown": 2},
        "mnist_conv_avgpool": {"unsat": 34, "sat": 6},
        "mnist_fc": {"unsat": 34, "sat": 18, "unknown": 8},
        "oval21_base": {"unsat": 5, "sat": 2, "unknown": 3},
    }
