"""Problems in files: a network of one ReLU layer in ONNX, and properties of it in VNN-LIB."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper


def write_net(path: Path, inputs: int = 2, hidden: int = 0, seed: int = 0) -> Path:
    """Write y = (sum |x|, -sum |x|), or a random network with so many hidden numbers."""
    if hidden:
        rng = np.random.default_rng(seed)
        sizes = [(hidden, inputs), (hidden, hidden), (hidden, hidden), (2, hidden)]
        weights = [rng.standard_normal(size).astype(np.float32) / size[1] ** 0.5 for size in sizes]
    else:
        eye = np.eye(inputs, dtype=np.float32)
        weights = [np.concatenate([eye, -eye]), np.array([[1.0] * 2 * inputs, [-1.0] * 2 * inputs], dtype=np.float32)]
    nodes, name = [], "x"
    for place, _ in enumerate(weights):
        nodes.append(helper.make_node("Gemm", [name, f"w{place}"], [f"z{place}"], transB=1))
        name = f"z{place}"
        if place + 1 < len(weights):
            nodes.append(helper.make_node("Relu", [name], [f"a{place}"]))
            name = f"a{place}"
    graph = helper.make_graph(
        nodes,
        "net",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, inputs])],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 2])],
        [numpy_helper.from_array(weight, f"w{place}") for place, weight in enumerate(weights)],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8), path)
    return path


def write_property(path: Path, limit: float | str, inputs: int = 2, reach: float = 1.0) -> Path:
    """Write: unsafe where the first output is at least a limit, for inputs of size up to reach."""
    lines = [f"(declare-const X_{i} Real)" for i in range(inputs)] + [f"(declare-const Y_{i} Real)" for i in range(2)]
    lines += [f"(assert (<= X_{i} {reach}))\n(assert (>= X_{i} -{reach}))" for i in range(inputs)]
    path.write_text("\n".join([*lines, f"(assert (>= Y_0 {limit}))"]) + "\n")
    return path
