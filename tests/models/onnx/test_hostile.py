"""Hostile ONNX files: nothing outside of the folder is read, nothing absurd is computed, and one line says why."""

from __future__ import annotations

import gc
import os
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper

from tests.models.onnx.test_networks import saved
from xai.api import load
from xai.errors import RefusedFileError
from xai.models import opening
from xai.models.onnx import runtime
from xai.models.onnx.naming import places
from xai.models.onnx.reading import read

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


def loop(times: int, made: onnx.NodeProto, sizes: list[int] | None) -> tuple[list[onnx.NodeProto], list[TensorProto]]:
    """Return a graph that gives the input's values to a node, and what comes out to it again, so many times."""
    body = helper.make_graph(
        [helper.make_node("Identity", ["c"], ["c2"]), made],
        "body",
        [
            helper.make_tensor_value_info("i", TensorProto.INT64, []),
            helper.make_tensor_value_info("c", TensorProto.BOOL, []),
            helper.make_tensor_value_info("v", TensorProto.FLOAT, sizes),
        ],
        [
            helper.make_tensor_value_info("c2", TensorProto.BOOL, []),
            helper.make_tensor_value_info("v2", TensorProto.FLOAT, sizes),
        ],
        [numpy_helper.from_array(np.float32(1), "one")],
    )
    constants = [numpy_helper.from_array(np.int64(times), "times"), numpy_helper.from_array(np.array(True), "yes")]
    return [helper.make_node("Loop", ["times", "yes", "x"], ["l"], body=body)], constants


@pytest.mark.parametrize(("an_input", "in_all"), [(1, 60), (60, 2)])
def test_a_loop_without_end_is_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, an_input: float, in_all: float
) -> None:
    """What opening may wait for is one sum, however many inputs it tries."""
    monkeypatch.setattr(runtime, "SECONDS", an_input)
    monkeypatch.setattr(opening, "SECONDS", in_all)
    nodes, constants = loop(10**15, helper.make_node("Mul", ["v", "one"], ["v2"]), [1, 4])
    nodes.append(helper.make_node("Identity", ["l"], ["y"]))
    begun = time.perf_counter()
    with pytest.raises(
        RefusedFileError, match=r"onnxruntime was not done after [123] s, the most it may take; .*export"
    ):
        load(saved(nodes, tmp_path / "net.onnx", [1, 4], constants))
    assert time.perf_counter() - begun < 30


def filling(numbers: str) -> list[onnx.NodeProto]:
    """Return nodes that make so many numbers and add their mean to the input."""
    one = helper.make_tensor("v", TensorProto.FLOAT, [1], [1.0])
    return [
        helper.make_node("ConstantOfShape", [numbers], ["t"], value=one),
        helper.make_node("ReduceMean", ["t"], ["r"], keepdims=0),
        helper.make_node("Add", ["x", "r"], ["y"]),
    ]


def branch(nodes: list[onnx.NodeProto]) -> onnx.GraphProto:
    return helper.make_graph(nodes, "branch", [], [helper.make_tensor_value_info(nodes[-1].output[0], 1, None)])


def filling_loop() -> tuple[list[onnx.NodeProto], list[TensorProto]]:
    nodes, constants = loop(25, helper.make_node("Concat", ["v", "v"], ["v2"], axis=1), None)
    return [
        *nodes,
        helper.make_node("ReduceMax", ["l"], ["m"], keepdims=1),
        helper.make_node("Mul", ["x", "m"], ["y"]),
    ], constants


def filling_branch() -> tuple[list[onnx.NodeProto], list[TensorProto]]:
    nodes = [
        helper.make_node("ReduceSum", ["x"], ["s"], keepdims=0),
        helper.make_node("Less", ["s", "k"], ["c"]),
        helper.make_node(
            "If",
            ["c"],
            ["y"],
            then_branch=branch(filling("n")),
            else_branch=branch([helper.make_node("Abs", ["x"], ["a"])]),
        ),
    ]
    return nodes, [constant("n", 10**8), numpy_helper.from_array(np.float32(1e9), "k")]


def filling_by_the_input() -> tuple[list[onnx.NodeProto], list[TensorProto]]:
    nodes = [
        helper.make_node("ReduceSum", ["x"], ["s"], keepdims=0),
        helper.make_node("Mul", ["s", "none"], ["z"]),
        helper.make_node("Add", ["z", "n"], ["f"]),
        helper.make_node("Cast", ["f"], ["i"], to=TensorProto.INT64),
        helper.make_node("Reshape", ["i", "one"], ["j"]),
        *filling("j"),
    ]
    return nodes, [
        numpy_helper.from_array(np.float32(0), "none"),
        numpy_helper.from_array(np.float32(1e8), "n"),
        constant("one", 1),
    ]


FILLING = {"loop": filling_loop, "branch": filling_branch, "size by the input": filling_by_the_input}


@pytest.mark.parametrize("name", FILLING)
def test_what_only_a_run_shows_to_be_absurd_fills_no_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setattr(runtime, "MAX_BYTES", 2**28, raising=False)
    nodes, constants = FILLING[name]()
    with pytest.raises(RefusedFileError, match=r"takes more than 0\.25 GiB of memory, the most it may; .*export"):
        load(saved(nodes, tmp_path / "net.onnx", [1, 4], constants))


def test_a_batch_beyond_the_memory_is_run_in_parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runtime, "MAX_BYTES", 2**28)
    nodes = [helper.make_node("Tile", ["x", "n"], ["t"]), helper.make_node("ReduceMax", ["t"], ["y"], axes=[1])]
    run = runtime.runner(read(saved(nodes, tmp_path / "net.onnx", ["b", 4], [constant("n", 1, 2**22)], 17)))
    x = torch.rand(9, 4)
    assert torch.equal(run(x), x.amax(dim=1, keepdim=True))


def test_the_process_of_a_model_ends_with_it(tmp_path: Path) -> None:
    run = runtime.runner(read(saved([helper.make_node("Relu", ["x"], ["y"])], tmp_path / "net.onnx", ["b", 4])))
    assert run(torch.ones(2, 4)).shape == (2, 4)
    (process,) = (
        cell.cell_contents._process for cell in run.__closure__ or () if hasattr(cell.cell_contents, "_process")
    )
    assert process.poll() is None
    del run
    gc.collect()
    assert process.poll() is not None


def test_a_file_of_an_input_that_nothing_makes_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RefusedFileError, match="does not take it"):
        load(saved([helper.make_node("Add", ["x", "nothing"], ["y"])], tmp_path / "net.onnx", [1, 4]))


@pytest.mark.parametrize(
    ("inputs", "outputs", "words"),
    [
        (2, 1, r"takes 2 inputs \('x', 'z'\); expected one: export"),
        (1, 2, r"returns 2 tensors of scores \('y', 'y2'\); expected one: export"),
    ],
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


def test_a_name_of_many_modules_fills_no_memory() -> None:
    """Every module on the way is known by its full name, so the names of a deep one fill the square of its length."""
    deep = helper.make_node("Relu", ["x"], ["y"], name="/a" * 4000 + "/Relu")
    honest = helper.make_node("Conv", ["x"], ["y"], name="/layer1/layer1.0/conv1/Conv")
    found = places([deep, honest])
    assert sum(len(name) for place in found for name, _ in place) < 10 * len(deep.name)
    assert [name for name, _ in found[1]] == ["layer1", "layer1.0", "layer1.0.conv1"]
