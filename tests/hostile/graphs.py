"""ONNX files that point elsewhere, or ask for what is absurd."""

from __future__ import annotations

import os
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from tests.hostile.base import Maker, cases
from tests.models.onnx.test_networks import saved

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


OUTSIDE = "outside of its folder"
PLACES: dict[str, tuple[Callable[[Path], str], str]] = {
    "above the folder": (lambda folder: f"../{outside(folder).name}", OUTSIDE),
    "at an absolute path": (lambda folder: str(outside(folder)), OUTSIDE),
    "behind a link": (by_link, OUTSIDE),
    "in a linked folder": (by_folder_link, OUTSIDE),
    "under a hard link": (by_hard_link, "several names"),
    "in a pipe": (fifo, "missing, or no file"),
    "in a folder": (lambda folder: ".", "missing, or no file"),
    "nowhere": (lambda folder: "", OUTSIDE),
    "at a name with a null": (lambda folder: "a\0b", OUTSIDE),
}
BEYOND: dict[str, tuple[dict[str, str], str]] = {
    "before the file's start": ({"offset": "-4"}, "does not hold"),
    "beyond the file's end": ({"offset": "99"}, "does not hold"),
    "in fewer bytes than they take": ({"length": "1"}, "does not hold"),
    "in 2^60 bytes": ({"length": str(2**60)}, "does not hold"),
    "at an offset that is no number": ({"offset": "x"}, "is no number"),
}


def placed(place: Callable[[Path], str]) -> Maker:
    return lambda path: pointing(path, place(path.parent))


def within(more: dict[str, str]) -> Maker:
    """Write a model whose weight lies in the right file, at the wrong place."""

    def make(path: Path) -> None:
        path.with_name("d.bin").write_bytes(SECRET.tobytes())
        pointing(path, "d.bin", **more)

    return make


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


def summed(names: list[str]) -> list[onnx.NodeProto]:
    """Add the sum of each value to the input."""
    sums = [helper.make_node("ReduceSum", [name], [f"sum {name}"], keepdims=0) for name in names]
    chain = ["x", *(f"with {name}" for name in names[:-1]), "y"]
    return [
        *sums,
        *(
            helper.make_node("Add", [one, f"sum {name}"], [two])
            for name, (one, two) in zip(names, pairwise(chain), strict=True)
        ),
    ]


def many(kind: str, inputs: list[str], times: int = 60) -> list[onnx.NodeProto]:
    """Ask for many values, each just small enough."""
    names = [f"{kind} {i}" for i in range(times)]
    return [*(helper.make_node(kind, inputs, [name]) for name in names), *summed(names)]


FROM_INPUT = [
    helper.make_node("Shape", ["x"], ["rows and columns"]),
    helper.make_node("Gather", ["rows and columns", "one"], ["columns"]),
]
ONE = numpy_helper.from_array(np.float32(1), "item")
HUGE = constant("huge", 10**6)
SMALL_EACH: dict[str, tuple[list[onnx.NodeProto], list[TensorProto]]] = {
    "many filled": (many("ConstantOfShape", ["s"]), [constant("s", 2**25)]),
    "many expanded": (many("Expand", ["item", "s"]), [ONE, constant("s", 2**25)]),
    "many tiled": (many("Tile", ["row", "s"]), [ROW, constant("s", 1, 150)]),
    "many padded": (many("Pad", ["row", "s"]), [ROW, constant("s", 0, 0, 0, 2**25)]),
    "padded by the input's size": (
        [
            *FROM_INPUT,
            helper.make_node("Mul", ["columns", "huge"], ["far"]),
            helper.make_node("Mul", ["far", "huge"], ["farther"]),
            helper.make_node("Concat", ["zeros", "farther"], ["pads"], axis=0),
            helper.make_node("Pad", ["x", "pads"], ["y"]),
        ],
        [constant("one", 1), HUGE, constant("zeros", 0, 0, 0)],
    ),
    "an outer product of the input's size": (
        [
            *FROM_INPUT,
            helper.make_node("Mul", ["columns", "huge"], ["end"]),
            helper.make_node("Squeeze", ["end"], ["limit"]),
            helper.make_node("Range", ["from", "limit", "step"], ["r"]),
            helper.make_node("Unsqueeze", ["r", "zero"], ["wide"]),
            helper.make_node("Unsqueeze", ["r", "one"], ["tall"]),
            helper.make_node("Mul", ["wide", "tall"], ["o"]),
            helper.make_node("Cast", ["o"], ["f"], to=1),
            *summed(["f"]),
        ],
        [
            constant("one", 1),
            constant("zero", 0),
            HUGE,
            numpy_helper.from_array(np.int64(0), "from"),
            numpy_helper.from_array(np.int64(1), "step"),
        ],
    ),
    "resized": (
        [
            helper.make_node("Resize", ["x", "", "scales"], ["wide"]),
            helper.make_node("ReduceMean", ["wide"], ["y"], keepdims=1),
        ],
        [numpy_helper.from_array(np.array([1, 1e12], dtype=np.float32), "scales")],
    ),
}


SAID = {  # of the absurd sizes that are not found where a value is made
    "doubled input": "GiB for one input",
    "broadcast": "more than 2 GiB",
    "claimed size": "should have 16000000000000 bytes",
    "negative size": "has a negative size",
}


def graph(nodes: list[onnx.NodeProto], constants: list[TensorProto], shape: tuple[int, ...] = (1, 4)) -> Maker:
    return lambda path: saved(nodes, path, list(shape), constants)


def ones(shapes: dict[str, tuple[int, ...]]) -> list[TensorProto]:
    return [numpy_helper.from_array(np.ones(shape, dtype=np.float32), name) for name, shape in shapes.items()]


def recurrent_constants(state: tuple[int, int, int]) -> Maker:
    """Write a recurrent layer of constants, its first state of a wrong shape."""
    nodes = [
        helper.make_node("LSTM", ["i", "w", "r", "", "", "h", "c"], ["", "", "l"], hidden_size=9),
        helper.make_node("ReduceSum", ["l"], ["s"], keepdims=0),
        helper.make_node("Add", ["x", "s"], ["y"]),
    ]
    return graph(nodes, ones({"i": (5, 7, 6), "w": (1, 36, 6), "r": (1, 36, 9), "h": state, "c": state}))


def recurrent_weights(weight: tuple[int, int, int]) -> Maker:
    nodes = [
        helper.make_node("LSTM", ["x", "w", "r"], ["", "l"], hidden_size=9),
        helper.make_node("Squeeze", ["l", "first"], ["y"]),
    ]
    return graph(nodes, [*ones({"w": weight, "r": (1, 36, 9)}), constant("first", 0)], (5, 1, 6))


def unfolding(path: Path) -> None:
    """Write functions that call the next nine times."""
    saved([helper.make_node("F0", ["x"], ["y"], domain="f")], path, [1, 4], domains=("f",))
    model = onnx.load(path)
    for level in range(12):
        inner = ("Relu", "") if level == 11 else (f"F{level + 1}", "f")
        chain = ["a", *(f"v{i}" for i in range(9)), "b"]
        nodes = [helper.make_node(inner[0], [one], [two], domain=inner[1]) for one, two in pairwise(chain)]
        sets = [helper.make_opsetid("", 20), helper.make_opsetid("f", 1)]
        model.functions.append(helper.make_function("f", f"F{level}", ["a"], ["b"], nodes, sets))
    onnx.save(model, path)


def sparse(path: Path) -> None:
    """Write sparse data that onnxruntime would look for where the program was started."""
    path.parent.with_name("secret.bin").write_bytes(SECRET.tobytes())
    saved([helper.make_node("MatMul", ["x", "w"], ["y"])], path, [1, 4])
    model = onnx.load(path)
    values = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[12], data_location=TensorProto.EXTERNAL)
    values.external_data.add(key="location", value="secret.bin")
    indices = numpy_helper.from_array(np.arange(12), "i")
    model.graph.sparse_initializer.append(helper.make_sparse_tensor(values, indices, [4, 3]))
    onnx.save(model, path)


def endless(path: Path) -> None:
    """Write a loop of 10^15 turns."""
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
    graph([node], constants)(path)


def ports(inputs: int, outputs: int) -> Maker:
    """Write a model of several inputs or outputs."""

    def make(path: Path) -> None:
        nodes = [helper.make_node("Relu", ["x"], ["y"]), helper.make_node("Abs", ["x"], ["y2"])]
        saved(nodes, path, [1, 4], outputs=("y", "y2")[:outputs])
        model = onnx.load(path)
        if inputs == 2:
            model.graph.input.add().CopyFrom(helper.make_tensor_value_info("z", TensorProto.FLOAT, [1]))
        onnx.save(model, path)

    return make


def misnamed(name: bytes) -> Maker:
    """Write a leaky ReLU in whose file a name is followed by bytes that are no UTF-8."""

    def make(path: Path) -> None:
        graph([helper.make_node("LeakyRelu", ["x"], ["y"], name="a node", alpha=0.1)], [])(path)
        path.write_bytes(path.read_bytes().replace(name, name[:-3] + b"\xff\xfe\x80"))

    return make


OTHERS: dict[str, tuple[Maker, str]] = {
    **{
        f"a recurrent layer of constants, its state {state}": (
            recurrent_constants(state),
            "does not take inputs of shape",
        )
        for state in ((3, 3, 9), (1, 7, 8), (2, 7, 9))
    },
    **{
        f"a recurrent layer of wrong weights {weight}": (recurrent_weights(weight), "does not take inputs of shape")
        for weight in ((1, 36, 5), (1, 35, 6), (2, 36, 6))
    },
    "functions that unfold to 10^12 nodes": (unfolding, "unfold to 1000000000000 nodes"),
    "a batch of a million": (
        graph([helper.make_node("Relu", ["x"], ["y"])], [], (2**20, 4)),
        "its batch is fixed at 1048576",
    ),
    "an output without columns": (
        graph(
            [helper.make_node("Slice", ["x", "none", "none", "axis"], ["y"])],
            [constant("none", 0), constant("axis", 1)],
        ),
        "expected a row of scores",
    ),
    "an input that nothing makes": (graph([helper.make_node("Add", ["x", "nothing"], ["y"])], []), "does not take it"),
    "an operator whose name is no UTF-8": (misnamed(b"LeakyRelu"), "operator LeakyR\\xff\\xfe\\x80 (node 'a node'"),
    "two inputs": (ports(2, 1), "takes 2 inputs ('x', 'z')"),
    "two outputs": (ports(1, 2), "returns 2 tensors of scores ('y', 'y2')"),
}
TABLE: dict[str, tuple[Maker, str]] = {
    **{f"data {attack}": (placed(place), words) for attack, (place, words) in PLACES.items()},
    **{f"data {attack}": (within(more), words) for attack, (more, words) in BEYOND.items()},
    "sparse data outside of the folder": (sparse, "'secret.bin' is missing"),
    **{
        f"absurd size: {attack}": (graph(nodes, constants), SAID.get(attack, "more than 67108864 numbers"))
        for attack, (nodes, constants) in ABSURD.items()
    },
    **OTHERS,
}
GRAPHS = cases("ONNX", TABLE, "in/model.onnx")
ENDLESS = cases("ONNX", {"a loop without end": (endless, "onnxruntime was not done after")}, "in/model.onnx")
GROWN = {
    "padded by the input's size": "more than 67108864 numbers",
    "an outer product of the input's size": "onnxruntime takes more than 2 GiB of memory",
    "resized": "more than 2 GiB",
}
GROWING = cases(
    "ONNX",
    {
        f"growing: {attack}": (graph(nodes, constants), GROWN.get(attack, "take more than 512 MiB"))
        for attack, (nodes, constants) in SMALL_EACH.items()
    },
    "in/model.onnx",
)
