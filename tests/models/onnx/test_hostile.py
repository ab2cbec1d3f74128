"""Hostile ONNX files: nothing outside of the folder is read, nothing absurd is computed, and one line says why."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper

from tests.hostile import GRAPHS, GROWING
from tests.hostile.base import Case
from tests.hostile.graphs import SECRET, pointing
from tests.models.onnx.test_networks import saved
from xai.api import load
from xai.errors import RefusedFileError
from xai.models import opening
from xai.models.onnx import program, runtime
from xai.models.onnx.naming import places
from xai.models.onnx.reading import read

Refused = Callable[[Case], str]


@pytest.mark.parametrize("case", GRAPHS, ids=str)
def test_a_hostile_graph_is_refused_before_it_is_computed(refused: Refused, case: Case) -> None:
    begun = time.perf_counter()
    assert case.words in refused(case)
    assert time.perf_counter() - begun < 30


def test_data_in_the_right_place_are_read(tmp_path: Path) -> None:
    (tmp_path / "d.bin").write_bytes(SECRET.tobytes())
    assert load(pointing(tmp_path / "good.onnx", "d.bin")).graph is not None


def test_folding_that_takes_too_long_is_ended(refused: Refused, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(program, "SECONDS", 0)
    monkeypatch.setattr(program, "MAX_FOLDED", 2**40)
    case = next(case for case in GROWING if case.attack == "growing: many tiled")
    assert "more than 0 s to compute" in refused(case)


def constant(name: str, *values: int) -> TensorProto:
    return numpy_helper.from_array(np.array(values, dtype=np.int64), name)


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
    run = runtime.Runner(read(saved(nodes, tmp_path / "net.onnx", ["b", 4], [constant("n", 1, 2**22)], 17)))
    x = torch.rand(9, 4)
    assert torch.equal(run(x), x.amax(dim=1, keepdim=True))


def test_the_process_of_a_model_ends_with_it(tmp_path: Path) -> None:
    run = runtime.Runner(read(saved([helper.make_node("Relu", ["x"], ["y"])], tmp_path / "net.onnx", ["b", 4])))
    assert run(torch.ones(2, 4)).shape == (2, 4)
    process = run._process._process
    assert process is not None
    assert process.poll() is None
    del run
    gc.collect()
    assert process.poll() is not None


def test_a_program_at_rest_keeps_no_process_and_answers_again(tmp_path: Path) -> None:
    run = runtime.Runner(read(saved([helper.make_node("Relu", ["x"], ["y"])], tmp_path / "net.onnx", ["b", 4])))
    first = run._process._process
    run.rest()
    assert first is not None
    assert first.poll() is not None
    run.rest()
    assert run(torch.ones(2, 4)).shape == (2, 4)
    assert run._process._process is not first


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
