"""Hostile ONNX files: nothing outside of the folder is read, nothing absurd is computed, and one line says why."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from tests.models.onnx.test_networks import saved
from xai.api import load
from xai.errors import RefusedFileError
from xai.models.onnx import runtime

SECRET = np.arange(12, dtype=np.float32)


def pointing(path: Path, location: str, **more: str) -> Path:
    """Write a model whose weight lies elsewhere."""
    weight = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[4, 3], data_location=TensorProto.EXTERNAL)
    for key, value in {"location": location, **more}.items():
        weight.external_data.add(key=key, value=value)
    return saved([helper.make_node("MatMul", ["x", "w"], ["y"])], path, [1, 4], [weight])


def outside(folder: Path) -> Path:
    path = folder.parent / "secret.bin"
    path.write_bytes(SECRET.tobytes())
    return path


def by_link(folder: Path) -> str:
    (folder / "link.bin").symlink_to(outside(folder))
    return "link.bin"


def by_hard_link(folder: Path) -> str:
    os.link(outside(folder), folder / "hard.bin")
    return "hard.bin"


def by_folder_link(folder: Path) -> str:
    outside(folder)
    (folder / "inner").symlink_to(folder.parent)
    return "inner/secret.bin"


def fifo(folder: Path) -> str:
    os.mkfifo(folder / "pipe")
    return "pipe"


PLACES: dict[str, tuple[Callable[[Path], str], str]] = {
    "above": (lambda folder: f"../{outside(folder).name}", "outside of its folder"),
    "absolute": (lambda folder: str(outside(folder)), "outside of its folder"),
    "link": (by_link, "outside of its folder"),
    "folder link": (by_folder_link, "outside of its folder"),
    "hard link": (by_hard_link, "several names"),
    "fifo": (fifo, "missing, or no file"),
    "folder": (lambda folder: ".", "missing, or no file"),
    "nowhere": (lambda folder: "", "outside of its folder"),
    "null": (lambda folder: "a\0b", "outside of its folder"),
}


@pytest.mark.parametrize("name", PLACES)
def test_data_outside_of_the_folder_are_not_read(tmp_path: Path, name: str) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    make, words = PLACES[name]
    with pytest.raises(RefusedFileError, match=words):
        load(pointing(folder / "net.onnx", make(folder)))


@pytest.mark.parametrize(
    "more", [{"offset": "-4"}, {"offset": "99"}, {"length": "1"}, {"length": str(2**60)}, {"offset": "x"}]
)
def test_data_beyond_the_file_are_not_read(tmp_path: Path, more: dict[str, str]) -> None:
    (tmp_path / "d.bin").write_bytes(SECRET.tobytes())
    assert load(pointing(tmp_path / "good.onnx", "d.bin")).graph is not None
    with pytest.raises(RefusedFileError, match=r"does not hold|is no number"):
        load(pointing(tmp_path / "net.onnx", "d.bin", **more))


def constant(name: str, *values: int) -> TensorProto:
    return numpy_helper.from_array(np.array(values, dtype=np.int64), name)


def doubling(times: int, first: str) -> list[onnx.NodeProto]:
    names = [first, *(f"d{i}" for i in range(times))]
    return [helper.make_node("Concat", [a, a], [b], axis=1) for a, b in pairwise(names)]


def product(kind: str) -> list[onnx.NodeProto]:
    return [
        helper.make_node("Transpose", ["row"], ["t"]),
        helper.make_node(kind, ["t", "row"], ["o"]),
        helper.make_node("ReduceSum", ["o"], ["r"], keepdims=0),
        helper.make_node("Add", ["x", "r"], ["y"]),
    ]


ROW = numpy_helper.from_array(np.ones((1, 200_000), dtype=np.float32), "row")
ABSURD: dict[str, tuple[list[onnx.NodeProto], list[TensorProto]]] = {
    "shape": (
        [helper.make_node("ConstantOfShape", ["s"], ["c"]), helper.make_node("Add", ["x", "c"], ["y"])],
        [constant("s", 10**6, 10**6)],
    ),
    "expand": ([helper.make_node("Expand", ["x", "s"], ["y"])], [constant("s", 10**9, 4)]),
    "tile": ([helper.make_node("Tile", ["x", "s"], ["y"])], [constant("s", 1, 10**10)]),
    "range": (
        [
            helper.make_node("Range", ["a", "b", "c"], ["r"]),
            helper.make_node("Cast", ["r"], ["f"], to=1),
            helper.make_node("Add", ["x", "f"], ["y"]),
        ],
        [numpy_helper.from_array(np.int64(v), n) for n, v in (("a", 0), ("b", 10**15), ("c", 1))],
    ),
    "pad": ([helper.make_node("Pad", ["x", "s"], ["y"])], [constant("s", 0, 0, 0, 10**12)]),
    "doubled input": ([*doubling(40, "x"), helper.make_node("Identity", ["d39"], ["y"])], []),
    "doubled constant": ([*doubling(40, "row"), helper.make_node("MatMul", ["x", "d39"], ["y"])], [ROW]),
    "outer product": (
        product("MatMul"),
        [ROW],
    ),
    "broadcast": (
        product("Mul"),
        [ROW],
    ),
    "claimed size": (
        [helper.make_node("MatMul", ["x", "w"], ["y"])],
        [TensorProto(name="w", data_type=1, dims=[4, 10**12], raw_data=b"1234")],
    ),
    "negative size": (
        [helper.make_node("MatMul", ["x", "w"], ["y"])],
        [TensorProto(name="w", data_type=1, dims=[-1, -4], raw_data=b"1234" * 4)],
    ),
}


@pytest.mark.parametrize("name", ABSURD)
def test_absurd_sizes_are_refused_before_they_are_made(tmp_path: Path, name: str) -> None:
    nodes, constants = ABSURD[name]
    begun = time.perf_counter()
    with pytest.raises(RefusedFileError, match=r"more than|should have|negative size|GiB|does not take it"):
        load(saved(nodes, tmp_path / "net.onnx", [1, 4], constants))
    assert time.perf_counter() - begun < 30


@pytest.mark.parametrize("state", [(3, 3, 9), (1, 7, 8), (2, 7, 9)])
def test_a_recurrent_layer_of_constants_is_not_computed(tmp_path: Path, state: tuple[int, int, int]) -> None:
    shapes = {"i": (5, 7, 6), "w": (1, 36, 6), "r": (1, 36, 9), "h": state, "c": state}
    constants = [numpy_helper.from_array(np.ones(shape, dtype=np.float32), name) for name, shape in shapes.items()]
    nodes = [
        helper.make_node("LSTM", ["i", "w", "r", "", "", "h", "c"], ["", "", "l"], hidden_size=9),
        helper.make_node("ReduceSum", ["l"], ["s"], keepdims=0),
        helper.make_node("Add", ["x", "s"], ["y"]),
    ]
    with pytest.raises(RefusedFileError):
        load(saved(nodes, tmp_path / "net.onnx", [1, 4], constants))


@pytest.mark.parametrize("weight", [(1, 36, 5), (1, 35, 6), (2, 36, 6)])
def test_a_recurrent_layer_of_wrong_weights_does_not_run(tmp_path: Path, weight: tuple[int, int, int]) -> None:
    shapes = {"w": weight, "r": (1, 36, 9)}
    constants = [numpy_helper.from_array(np.ones(shape, dtype=np.float32), name) for name, shape in shapes.items()]
    nodes = [
        helper.make_node("LSTM", ["x", "w", "r"], ["", "l"], hidden_size=9),
        helper.make_node("Squeeze", ["l", "first"], ["y"]),
    ]
    constants.append(constant("first", 0))
    with pytest.raises(RefusedFileError):
        load(saved(nodes, tmp_path / "net.onnx", [5, 1, 6], constants))


def test_functions_that_unfold_without_end_are_refused(tmp_path: Path) -> None:
    path = saved([helper.make_node("F0", ["x"], ["y"], domain="f")], tmp_path / "net.onnx", [1, 4], domains=("f",))
    model = onnx.load(path)
    for level in range(12):
        inner = ("Relu", "") if level == 11 else (f"F{level + 1}", "f")
        chain = ["a", *(f"v{i}" for i in range(9)), "b"]
        nodes = [helper.make_node(inner[0], [one], [two], domain=inner[1]) for one, two in pairwise(chain)]
        sets = [helper.make_opsetid("", 20), helper.make_opsetid("f", 1)]
        model.functions.append(helper.make_function("f", f"F{level}", ["a"], ["b"], nodes, sets))
    onnx.save(model, path)
    with pytest.raises(RefusedFileError, match="unfold to 1000000000000 nodes"):
        load(path)


def test_sparse_data_outside_of_the_folder_are_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """onnxruntime would look for them where the program was started."""
    (tmp_path / "secret.bin").write_bytes(SECRET.tobytes())
    (tmp_path / "inner").mkdir()
    monkeypatch.chdir(tmp_path)
    path = saved([helper.make_node("MatMul", ["x", "w"], ["y"])], tmp_path / "inner" / "net.onnx", [1, 4])
    model = onnx.load(path)
    values = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[12], data_location=TensorProto.EXTERNAL)
    values.external_data.add(key="location", value="secret.bin")
    indices = numpy_helper.from_array(np.arange(12), "i")
    model.graph.sparse_initializer.append(helper.make_sparse_tensor(values, indices, [4, 3]))
    onnx.save(model, path)
    with pytest.raises(RefusedFileError, match=r"'secret.bin' is missing"):
        load(path)


def test_a_fixed_batch_may_not_be_huge(tmp_path: Path) -> None:
    with pytest.raises(RefusedFileError, match="its batch is fixed at 1048576"):
        load(saved([helper.make_node("Relu", ["x"], ["y"])], tmp_path / "net.onnx", [2**20, 4]))


def test_an_output_without_columns_is_refused(tmp_path: Path) -> None:
    nodes = [helper.make_node("Slice", ["x", "none", "none", "axis"], ["y"])]
    with pytest.raises(RefusedFileError, match="expected a row of scores"):
        load(saved(nodes, tmp_path / "net.onnx", [1, 4], [constant("none", 0), constant("axis", 1)]))


def test_a_loop_without_end_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runtime, "SECONDS", 1)
    body = helper.make_graph(
        [helper.make_node("Identity", ["c"], ["c2"]), helper.make_node("Mul", ["v", "one"], ["v2"])],
        "body",
        [
            helper.make_tensor_value_info("i", TensorProto.INT64, []),
            helper.make_tensor_value_info("c", TensorProto.BOOL, []),
            helper.make_tensor_value_info("v", TensorProto.FLOAT, [1, 4]),
        ],
        [
            helper.make_tensor_value_info("c2", TensorProto.BOOL, []),
            helper.make_tensor_value_info("v2", TensorProto.FLOAT, [1, 4]),
        ],
        [numpy_helper.from_array(np.float32(1), "one")],
    )
    node = helper.make_node("Loop", ["times", "yes", "x"], ["y"], body=body)
    constants = [numpy_helper.from_array(np.int64(10**15), "times"), numpy_helper.from_array(np.array(True), "yes")]
    begun = time.perf_counter()
    with pytest.raises(RefusedFileError, match=r"terminate|does not take inputs|does not run"):
        load(saved([node], tmp_path / "net.onnx", [1, 4], constants))
    assert time.perf_counter() - begun < 30


def test_a_file_of_an_input_that_nothing_makes_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RefusedFileError, match="does not take it"):
        load(saved([helper.make_node("Add", ["x", "nothing"], ["y"])], tmp_path / "net.onnx", [1, 4]))


@pytest.mark.parametrize(
    ("inputs", "outputs", "words"),
    [(2, 1, r"takes 2 inputs \('x', 'z'\)"), (1, 2, r"returns 2 tensors of scores \('y', 'y2'\)")],
)
def test_one_input_and_one_output_are_expected(tmp_path: Path, inputs: int, outputs: int, words: str) -> None:
    path = saved(
        [helper.make_node("Relu", ["x"], ["y"]), helper.make_node("Abs", ["x"], ["y2"])],
        tmp_path / "net.onnx",
        [1, 4],
        outputs=("y", "y2")[:outputs],
    )
    model = onnx.load(path)
    if inputs == 2:
        model.graph.input.add().CopyFrom(helper.make_tensor_value_info("z", TensorProto.FLOAT, [1]))
    onnx.save(model, path)
    with pytest.raises(RefusedFileError, match=words):
        load(path)
