"""Every operator of the table gives what onnxruntime gives, by the operator set of its time."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper

from xai.errors import RefusedFileError
from xai.models.onnx.operators.base import UnsupportedError, table
from xai.models.onnx.program import OnnxProgram
from xai.models.onnx.reading import read
from xai.models.onnx.runtime import Runner


@dataclass
class Case:
    """One node: its attributes, its inputs behind the first, and the shape of the first."""

    kind: str
    shape: tuple[int, ...] = (2, 4, 6, 6)
    rest: list[Any] = field(default_factory=list)
    opset: int = 20
    outputs: int = 1
    positive: bool = False
    domain: str = ""
    name: str = ""
    how: dict[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        shown = ",".join(f"{key}={value}" for key, value in self.how.items() if not isinstance(value, np.ndarray))
        return f"{self.kind}-{self.opset}-{self.name or shown[:50]}"


def case(kind: str, *rest: Any, shape: tuple[int, ...] = (2, 4, 6, 6), opset: int = 20, **how: Any) -> Case:
    special = {key: how.pop(key) for key in ("outputs", "positive", "domain", "name") if key in how}
    return Case(kind, shape, list(rest), opset, how=how, **special)


def r(*shape: int, seed: int = 1) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def i(*values: int) -> np.ndarray:
    return np.array(values, dtype=np.int64)


SIMPLE = "Abs Atan Ceil Cos Cosh Elu Erf Exp Floor HardSigmoid HardSwish Identity LeakyRelu Mish Neg Relu Round Selu"
SIMPLE += " Sigmoid Sign Sin Sinh Softplus Softsign Tan Tanh Asinh ThresholdedRelu Celu Gelu"
REDUCTIONS = "L1 L2 Max Mean Min Prod Sum SumSquare LogSumExp"
BINARY = "Add Sub Mul Div Max Min Sum Mean"
CASES = [
    *(case(kind) for kind in SIMPLE.split()),
    *(
        case(kind, positive=True)
        for kind in ["Log", "Sqrt", "Reciprocal", "Acos", "Asin", "Atanh", "Pow"]
        if kind != "Pow"
    ),
    case("Acosh", positive=True, name="above-one"),
    *(case(kind, r(4, 1, 6)) for kind in BINARY.split()),
    *(case(kind, r(6), opset=8) for kind in BINARY.split()),
    case("Pow", np.float32(3.0)),
    case("Pow", i(2), positive=True),
    case("PRelu", r(4, 1, 1)),
    case("PRelu", r(1)),
    case("PRelu", r(6)),
    case("PRelu", r(4), shape=(2, 4)),
    case("Elu", alpha=0.3),
    case("LeakyRelu", alpha=0.2),
    case("Celu", alpha=0.5),
    case("Gelu", approximate="tanh"),
    case("HardSigmoid", alpha=1 / 6, beta=0.5),
    case("HardSigmoid", alpha=0.1, beta=0.3),
    case("Clip", np.float32(-0.5), np.float32(0.5)),
    case("Clip", np.float32(-0.5)),
    case("Clip", opset=6, min=-0.3, max=0.7),
    case("Clip", opset=6, max=0.7),
    case("Dropout", opset=10, ratio=0.5),
    case("Dropout", np.float32(0.5)),
    case("Softmax", axis=1),
    case("Softmax"),
    case("Softmax", opset=11, axis=1),
    case("Softmax", opset=11, axis=2),
    case("Softmax", opset=11),
    case("LogSoftmax", axis=1),
    case("LogSoftmax", opset=9, axis=1),
    case("Conv", r(8, 4, 3, 3), r(8), pads=[1, 1, 1, 1]),
    case("Conv", r(8, 4, 3, 3), strides=[2, 1], dilations=[1, 2], pads=[0, 2, 1, 0]),
    case("Conv", r(8, 2, 3, 3), group=2),
    case("Conv", r(8, 4, 3, 2), auto_pad="SAME_UPPER", strides=[2, 2]),
    case("Conv", r(8, 4, 3, 2), auto_pad="SAME_LOWER", strides=[2, 2]),
    case("Conv", r(8, 4, 3, 2), auto_pad="VALID"),
    case("Conv", r(8, 4, 5), shape=(2, 4, 20), pads=[2, 2]),
    case("Conv", r(8, 2, 3, 3, 3), shape=(1, 2, 5, 5, 5)),
    case("ConvTranspose", r(4, 3, 3, 3), r(3), strides=[2, 2], pads=[1, 1, 1, 1], output_padding=[1, 1]),
    case("ConvTranspose", r(4, 3, 3, 3), strides=[2, 2], pads=[0, 1, 1, 0]),
    case("ConvTranspose", r(4, 2, 3, 3), group=2, dilations=[2, 2]),
    case("ConvTranspose", r(4, 3, 3, 3), strides=[2, 2], auto_pad="SAME_UPPER"),
    case("ConvTranspose", r(4, 3, 3, 3), strides=[2, 2], auto_pad="SAME_LOWER"),
    case("ConvTranspose", r(4, 3, 3, 3), strides=[2, 2], output_shape=[13, 12]),
    case("Gemm", r(6, 5), r(5), shape=(3, 6)),
    case("Gemm", r(5, 6), shape=(3, 6), transB=1, alpha=0.5),
    case("Gemm", r(5, 6), r(3, 1), shape=(3, 6), transB=1, beta=2.0),
    case("Gemm", r(6, 5), r(5), shape=(6, 3), transA=1, opset=7),
    case("MatMul", r(6, 3)),
    case("MatMul", r(2, 4, 6, 3)),
    case("Einsum", r(6, 3), equation="bchw,wk->bchk"),
    case("MaxPool", kernel_shape=[2, 2], strides=[2, 2]),
    case("MaxPool", kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1], ceil_mode=1),
    case("MaxPool", kernel_shape=[3, 3], pads=[0, 1, 2, 0]),
    case("MaxPool", kernel_shape=[2, 2], dilations=[2, 2]),
    case("MaxPool", kernel_shape=[3, 3], strides=[2, 2], auto_pad="SAME_UPPER"),
    case("MaxPool", kernel_shape=[3], shape=(2, 3, 11), strides=[2], opset=8),
    case("AveragePool", kernel_shape=[2, 2], strides=[2, 2]),
    case("AveragePool", kernel_shape=[3, 3], pads=[1, 1, 1, 1]),
    case("AveragePool", kernel_shape=[3, 3], pads=[1, 1, 1, 1], count_include_pad=1),
    case("AveragePool", kernel_shape=[3, 3], pads=[0, 1, 2, 0]),
    case("AveragePool", kernel_shape=[3, 3], pads=[0, 1, 2, 0], count_include_pad=1),
    case("AveragePool", kernel_shape=[3, 3], strides=[2, 2], auto_pad="SAME_LOWER", opset=9),
    case("GlobalAveragePool"),
    case("GlobalMaxPool"),
    case("Flatten"),
    case("Flatten", axis=0),
    case("Flatten", axis=2, opset=9),
    case("Flatten", axis=-1),
    case("Reshape", i(0, -1)),
    case("Reshape", i(2, 2, -1, 0)),
    case("Transpose", perm=[0, 2, 3, 1]),
    case("Transpose"),
    case("Squeeze", i(1, -1), shape=(3, 1, 5, 1)),
    case("Squeeze", shape=(3, 1, 5, 1)),
    case("Squeeze", shape=(3, 1, 5, 1), opset=11, axes=[1]),
    case("Unsqueeze", i(0, 3), shape=(3, 5)),
    case("Unsqueeze", shape=(3, 5), opset=11, axes=[1, 2]),
    case("Unsqueeze", i(-1), shape=(3, 5)),
    case("Concat", r(2, 3, 6, 6), axis=1),
    case("Concat", r(2, 4, 6, 6), axis=-1),
    case("Split", i(1, 3), axis=1, outputs=2),
    case("Split", axis=1, outputs=2, opset=11),
    case("Split", axis=1, outputs=2, opset=11, split=[3, 1]),
    case("Split", axis=1, outputs=3, num_outputs=3, shape=(2, 8)),
    case("Slice", i(1), i(5), i(2), i(2)),
    case("Slice", i(-3, 0), i(9223372036854775807, 2), i(3, 1)),
    case("Slice", i(5), i(-7), i(3), i(-2)),
    case("Slice", i(-1), i(-9223372036854775807), i(1), i(-1)),
    case("Slice", opset=9, starts=[1, 0], ends=[3, 100], axes=[1, 2]),
    case("Slice", i(0, 1), i(1, 3)),
    case("Gather", i(0, -1, 2), axis=1),
    case("Gather", np.array(1, dtype=np.int64), axis=2),
    case("Gather", np.array([[0, 1], [2, -3]], dtype=np.int64), axis=3),
    case("GatherElements", np.zeros((2, 4, 6, 6), dtype=np.int64) - 1, axis=3),
    case("GatherND", np.array([[0, 1], [1, 3]], dtype=np.int64)),
    case("ScatterND", np.array([[0, 1], [1, 3]], dtype=np.int64), r(2, 6, 6)),
    case("Expand", i(3, 1, 1, 4, 1), shape=(2, 1, 6)),
    case("Expand", i(2, 5, 1), shape=(1, 5, 4)),
    case("Tile", i(1, 2, 1, 3)),
    case("Pad", i(0, 0, 1, 2, 0, 0, 3, 0), np.float32(1.5)),
    case("Pad", i(0, 1, 1, 0, 0, 0, 2, 1)),
    case("Pad", i(0, 0, -1, 0, 0, 0, 1, -2)),
    case("Pad", i(0, 0, 1, 2, 0, 0, 3, 0), mode="reflect"),
    case("Pad", i(0, 0, 1, 2, 0, 0, 3, 0), mode="edge"),
    case("Pad", i(1, 2), np.float32(0), i(3), name="axes"),
    case("Pad", opset=10, pads=[0, 0, 1, 1, 0, 0, 2, 2], value=0.5),
    case("DepthToSpace", blocksize=2),
    case("DepthToSpace", blocksize=2, mode="CRD"),
    case("SpaceToDepth", blocksize=2),
    case("Trilu", upper=0),
    case("Trilu", np.array(1, dtype=np.int64)),
    case("EyeLike", shape=(4, 6), k=1),
    case("Resize", np.zeros(0, "f4"), np.array([1, 1, 2, 2], "f4")),
    case(
        "Resize",
        np.zeros(0, "f4"),
        np.array([1, 1, 2, 3], "f4"),
        nearest_mode="floor",
        coordinate_transformation_mode="asymmetric",
    ),
    case("Resize", np.zeros(0, "f4"), np.array([1, 1, 1.5, 0.5], "f4"), mode="linear"),
    case(
        "Resize",
        np.zeros(0, "f4"),
        np.zeros(0, "f4"),
        i(2, 4, 9, 13),
        mode="linear",
        coordinate_transformation_mode="pytorch_half_pixel",
    ),
    case(
        "Resize",
        np.zeros(0, "f4"),
        np.zeros(0, "f4"),
        i(2, 4, 9, 13),
        mode="linear",
        coordinate_transformation_mode="align_corners",
    ),
    case("Resize", np.zeros(0, "f4"), np.array([1, 1, 2, 2], "f4"), mode="cubic", opset=13),
    case("Resize", np.array([1, 1, 2, 2], "f4"), opset=10),
    case("Upsample", np.array([1, 1, 2, 2], "f4"), opset=9),
    case("Upsample", opset=7, scales=[1.0, 1.0, 2.0, 3.0]),
    *(case(f"Reduce{kind}", i(1, 3)) for kind in REDUCTIONS.split()),
    *(case(f"Reduce{kind}", opset=9, axes=[2], keepdims=0) for kind in REDUCTIONS.split()),
    case("ReduceMean", keepdims=0),
    case("ReduceLogSum", i(-1), positive=True),
    case("ReduceSum", noop_with_empty_axes=1),
    case("ArgMax", axis=1),
    case("ArgMin", axis=-1, keepdims=0),
    case("TopK", i(3), axis=-1, outputs=2),
    case("CumSum", np.array(1, dtype=np.int64)),
    case("BatchNormalization", r(4), r(4), r(4), np.abs(r(4)), epsilon=1e-3),
    case("BatchNormalization", r(4), r(4), r(4), np.abs(r(4)), opset=7),
    case("LayerNormalization", r(6), r(6)),
    case("LayerNormalization", r(6, 6), axis=2, epsilon=1e-3),
    case("LayerNormalization", r(6), r(1), name="broadcast bias"),
    case("RMSNormalization", r(6), opset=23),
    case("InstanceNormalization", r(4), r(4)),
    case("GroupNormalization", r(2), r(2), num_groups=2, opset=18),
    case("GroupNormalization", r(4), r(4), num_groups=2, opset=21),
    case("LpNormalization", p=1, axis=1),
    case("LpNormalization"),
    case("LpNormalization", shape=(2, 4), name="zeros"),
    case("MeanVarianceNormalization"),
    case("LRN", size=3, alpha=0.1, beta=0.6, bias=1.5),
    case("LSTM", r(1, 20, 3), r(1, 20, 5), r(1, 40), shape=(7, 2, 3), hidden_size=5, outputs=3),
    case("LSTM", r(2, 20, 3), r(2, 20, 5), shape=(7, 2, 3), hidden_size=5, direction="bidirectional", opset=9),
    case(
        "LSTM",
        r(1, 20, 3),
        r(1, 20, 5),
        r(1, 40),
        np.zeros(0, "i4"),
        r(1, 2, 5),
        r(1, 2, 5),
        shape=(7, 2, 3),
        hidden_size=5,
    ),
    case("GRU", r(1, 15, 3), r(1, 15, 5), r(1, 30), shape=(7, 2, 3), hidden_size=5, linear_before_reset=1, outputs=2),
    case(
        "GRU",
        r(2, 15, 3),
        r(2, 15, 5),
        shape=(7, 2, 3),
        hidden_size=5,
        linear_before_reset=1,
        direction="bidirectional",
    ),
    case("RNN", r(1, 5, 3), r(1, 5, 5), r(1, 10), shape=(7, 2, 3), hidden_size=5),
    case(
        "Scaler", shape=(3, 4), domain="ai.onnx.ml", offset=[0.1, 0.2, 0.3, 0.4], scale=[1.0, 2.0, 3.0, 4.0], opset=15
    ),
    case("Normalizer", shape=(3, 4), domain="ai.onnx.ml", norm="L2", opset=15),
    case("Mod", np.float32(0.7), fmod=1),
    case("IsNaN"),
    case("CastLike", np.zeros(1, np.int64)),
    case("Cast", to=TensorProto.INT32),
    case("Cast", to=TensorProto.FLOAT16),
    case("Where", r(6), r(6), name="condition"),
    case("Swish", opset=24, name="silu"),
    case("Size"),
    case("Shape"),
    case("Shape", start=1, end=-1),
    *(case(kind, r(6)) for kind in ["Equal", "Greater", "Less", "GreaterOrEqual", "LessOrEqual", "And", "Or", "Xor"]),
    case("Not"),
]
BOOLEAN = frozenset(["And", "Or", "Xor", "Not"])


def written(one: Case, path: Path) -> Path:
    """Write a model whose only node of note is the case's."""
    names, constants, before = ["x"], [], []
    for place, value in enumerate(one.rest):
        if isinstance(value, np.ndarray) and value.size == 0:
            names.append("")
            continue
        array = np.asarray(value)
        if one.kind in BOOLEAN:
            array = array > 0
        names.append(f"c{place}")
        constants.append(numpy_helper.from_array(array, f"c{place}"))
    if one.kind in BOOLEAN or one.name == "condition":
        constants.append(numpy_helper.from_array(np.float32(0), "zero"))
        before.append(helper.make_node("Greater", ["x", "zero"], ["positive"]))
        names[0] = "positive"
    outputs = [f"y{place}" for place in range(one.outputs)]
    node = helper.make_node(one.kind, names, outputs, name="it", domain=one.domain, **one.how)
    after = [helper.make_node("Cast", [name], [f"{name}f"], to=TensorProto.FLOAT) for name in outputs[-1:]]
    if one.kind in ("Shape", "Size"):  # sizes alone are no output of a network
        after[-1] = helper.make_node("Cast", outputs[-1:], ["sizes"], to=TensorProto.FLOAT)
        after.append(helper.make_node("ReduceMin", ["x"], ["lowest"], keepdims=0))
        after.append(helper.make_node("Mul", ["lowest", "sizes"], [f"{outputs[-1]}f"]))
    graph = helper.make_graph(
        [*before, node, *after],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, one.shape)],
        [helper.make_tensor_value_info(f"{outputs[-1]}f", TensorProto.FLOAT, None)],
        constants,
    )
    domains = [helper.make_opsetid("", 20 if one.domain else one.opset)]
    domains += [helper.make_opsetid(one.domain, 3)] if one.domain else []
    model = helper.make_model(graph, opset_imports=domains)
    model.ir_version = min(model.ir_version, 10)
    onnx.save(model, path)
    return path


@pytest.mark.parametrize("one", CASES, ids=str)
def test_an_operator_gives_what_onnxruntime_gives(tmp_path: Path, one: Case) -> None:
    file = read(written(one, tmp_path / "one.onnx"))
    x = torch.from_numpy(r(*one.shape, seed=0))
    if one.name == "zeros":
        x[0] = 0
    if one.positive:
        x = x.abs().clamp(0.01, 0.99) + (1 if one.kind == "Acosh" else 0)
    found, wanted = OnnxProgram(file)(x), Runner(file)(x)
    assert found.shape == wanted.shape
    torch.testing.assert_close(found, wanted, atol=2e-5, rtol=2e-5)


@pytest.mark.parametrize(
    "one",
    [
        case("Tile", i(1, 10**4, 10**4, 10**4)),
        case("Expand", i(10**6, 10**6, 1, 1), shape=(1, 1, 6, 6)),
        case("Pad", i(0, 0, 0, 0, 0, 0, 0, 10**9)),
        case("Resize", np.zeros(0, "f4"), np.array([1, 1, 2**15, 2**15], "f4")),
    ],
    ids=str,
)
def test_a_value_that_would_be_absurdly_large_is_refused(tmp_path: Path, one: Case) -> None:
    program = OnnxProgram(read(written(one, tmp_path / "one.onnx")))
    with pytest.raises(RefusedFileError, match=r"node 'it' .*more than"):
        program(torch.from_numpy(r(*one.shape)))


def test_every_operator_of_the_table_has_a_case() -> None:
    assert {kind for _, kind in table()} - {one.kind for one in CASES} == {"ConstantOfShape", "Range"}


@pytest.mark.parametrize(
    ("one", "reason"),
    [
        (case("MaxPool", kernel_shape=[2, 2], outputs=2), "places of its maxima"),
        (case("LSTM", r(1, 20, 3), r(1, 20, 5), shape=(7, 2, 3), hidden_size=5, direction="reverse"), "reverse"),
        (case("GRU", r(1, 15, 3), r(1, 15, 5), shape=(7, 2, 3), hidden_size=5), "linear_before_reset"),
        (case("Resize", np.zeros(0, "f4"), np.array([1, 1, 2, 2], "f4"), mode="linear", antialias=1), "antialias"),
        (case("Resize", np.zeros(0, "f4"), np.array([1, 1, 1.5, 2], "f4")), "nearest neighbours"),
        (case("AveragePool", kernel_shape=[2, 2], dilations=[2, 2]), "dilation"),
    ],
    ids=str,
)
def test_what_an_operator_cannot_do_is_said_with_its_node(tmp_path: Path, one: Case, reason: str) -> None:
    program = OnnxProgram(read(written(one, tmp_path / "one.onnx")))
    with pytest.raises(UnsupportedError, match=f"node 'it' .*{reason}"):
        program(torch.from_numpy(r(*one.shape)))
