"""Operators that work number by number."""

from __future__ import annotations

from collections.abc import Callable
from functools import reduce

import torch
import torch.nn.functional as F
from torch import Tensor

from xai.errors import RefusedFileError
from xai.models.onnx.operators.base import Dims, Node, UnsupportedError, number, operator

_UNARY: dict[str, Callable[[Tensor], Tensor]] = {
    "Abs": torch.abs,
    "Acos": torch.acos,
    "Acosh": torch.acosh,
    "Asin": torch.asin,
    "Asinh": torch.asinh,
    "Atan": torch.atan,
    "Atanh": torch.atanh,
    "Ceil": torch.ceil,
    "Cos": torch.cos,
    "Cosh": torch.cosh,
    "Erf": torch.erf,
    "Exp": torch.exp,
    "Floor": torch.floor,
    "HardSwish": F.hardswish,
    "Identity": lambda x: x,
    "IsNaN": torch.isnan,
    "Log": torch.log,
    "Mish": F.mish,
    "Neg": torch.neg,
    "Not": torch.logical_not,
    "Reciprocal": torch.reciprocal,
    "Relu": torch.relu,
    "Round": torch.round,
    "Sigmoid": torch.sigmoid,
    "Sign": torch.sign,
    "Sin": torch.sin,
    "Sinh": torch.sinh,
    "Softplus": F.softplus,
    "Softsign": F.softsign,
    "Sqrt": torch.sqrt,
    "Tan": torch.tan,
    "Tanh": torch.tanh,
}
_BINARY: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "Add": torch.add,
    "And": torch.logical_and,
    "Equal": torch.eq,
    "Greater": torch.gt,
    "GreaterOrEqual": torch.ge,
    "Less": torch.lt,
    "LessOrEqual": torch.le,
    "Mul": torch.mul,
    "Or": torch.logical_or,
    "Pow": lambda x, y: torch.pow(x, y).to(x.dtype),
    "Sub": torch.sub,
    "Xor": torch.logical_xor,
}
_VARIADIC: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "Max": torch.maximum,
    "Min": torch.minimum,
    "Sum": torch.add,
    "Mean": torch.add,
}
DTYPES = {
    1: torch.float32,
    2: torch.uint8,
    3: torch.int8,
    5: torch.int16,
    6: torch.int32,
    7: torch.int64,
    9: torch.bool,
    10: torch.float16,
    11: torch.float64,
    16: torch.bfloat16,
}  # onnx.TensorProto.DataType


@operator(*_UNARY)
def unary(node: Node, x: Tensor) -> Tensor:
    """One input."""
    return _UNARY[node.kind](x)


@operator(*_BINARY)
def binary(node: Node, x: Tensor, y: Tensor) -> Tensor:
    """Two inputs that are broadcast; before opset 7 the second one was laid at an axis of the first."""
    if node.opset < 7 and node.get("broadcast", 0) and "axis" in node.attributes:
        y = y.reshape(*y.shape, *[1] * (x.ndim - y.ndim - node["axis"] % x.ndim))
    return _BINARY[node.kind](x, y)


@operator("Div")
def div(node: Node, x: Tensor, y: Tensor) -> Tensor:
    """Whole numbers are cut towards zero."""
    return torch.div(x, y) if x.is_floating_point() else torch.div(x, y, rounding_mode="trunc")


@operator("Mod")
def mod(node: Node, x: Tensor, y: Tensor) -> Tensor:
    """The sign is the divisor's; with fmod the dividend's."""
    return torch.fmod(x, y) if node.get("fmod", 0) else torch.remainder(x, y)


@operator(*_VARIADIC)
def variadic(node: Node, *inputs: Tensor) -> Tensor:
    """Any number of inputs."""
    found = reduce(_VARIADIC[node.kind], inputs)
    return found / len(inputs) if node.kind == "Mean" else found


@operator("Where")
def where(node: Node, condition: Tensor, x: Tensor, y: Tensor) -> Tensor:
    """Choose between two inputs."""
    return torch.where(condition, x, y)


@operator("Clip", how=(1, 2))
def clip(node: Node, x: Tensor, low: Dims | None = None, high: Dims | None = None) -> Tensor:
    """Bounds are inputs since opset 11."""
    infinite = float("inf")
    bottom = number(low, node.get("min", -infinite))
    top = number(high, node.get("max", infinite))
    if not x.is_floating_point():
        return torch.clamp(x, *(None if abs(bound) == infinite else int(bound) for bound in (bottom, top)))
    return x if (bottom, top) == (-infinite, infinite) else torch.clamp(x, bottom, top)


@operator("LeakyRelu")
def leaky_relu(node: Node, x: Tensor) -> Tensor:
    """ReLU with a slope below zero."""
    return F.leaky_relu(x, node.get("alpha", 0.01))


@operator("PRelu")
def prelu(node: Node, x: Tensor, slope: Tensor) -> Tensor:
    """ReLU with trained slopes, broadcast to the input."""
    channels = slope.numel() == slope.shape[0] if slope.ndim and x.ndim > 1 else False
    if slope.numel() == 1:
        return F.prelu(x, slope.reshape(1))
    if channels and slope.ndim == x.ndim - 1 and slope.shape[0] == x.shape[1]:
        return F.prelu(x, slope.reshape(-1))
    return torch.where(x < 0, x * slope, x)


@operator("Elu", "Celu")
def elu(node: Node, x: Tensor) -> Tensor:
    """Exponential below zero."""
    return (F.elu if node.kind == "Elu" else F.celu)(x, node.get("alpha", 1.0))


@operator("Selu")
def selu(node: Node, x: Tensor) -> Tensor:
    """A scaled ELU."""
    alpha, gamma = node.get("alpha", 1.67326319217681884765625), node.get("gamma", 1.05070102214813232421875)
    return torch.mul(F.elu(x, alpha), gamma)


@operator("Gelu")
def gelu(node: Node, x: Tensor) -> Tensor:
    """Exact, or by tanh."""
    return F.gelu(x, approximate=node.get("approximate", "none"))


@operator("Swish")
def swish(node: Node, x: Tensor) -> Tensor:
    """Also known as SiLU."""
    alpha = node.get("alpha", 1.0)
    return F.silu(x) if alpha == 1 else x * torch.sigmoid(alpha * x)


@operator("HardSigmoid")
def hard_sigmoid(node: Node, x: Tensor) -> Tensor:
    """A line, cut at 0 and 1."""
    alpha, beta = node.get("alpha", 0.2), node.get("beta", 0.5)
    return F.hardsigmoid(x) if abs(alpha - 1 / 6) < 1e-6 and beta == 0.5 else torch.clamp(alpha * x + beta, 0, 1)


@operator("ThresholdedRelu")
def thresholded_relu(node: Node, x: Tensor) -> Tensor:
    """Zero up to a threshold."""
    return torch.where(x > node.get("alpha", 1.0), x, torch.zeros_like(x))


@operator("Softmax", "LogSoftmax")
def softmax(node: Node, x: Tensor) -> Tensor:
    """Over one axis; before opset 13 over all axes from that one on."""
    function: Callable[..., Tensor] = F.softmax if node.kind == "Softmax" else F.log_softmax
    if node.opset >= 13:
        return function(x, dim=node.get("axis", -1))
    axis = node.get("axis", 1) % max(x.ndim, 1)
    return function(x, dim=axis) if axis == x.ndim - 1 else function(x.flatten(axis), dim=-1).reshape(x.shape)


@operator("Cast")
def cast(node: Node, x: Tensor) -> Tensor:
    """Another type of number."""
    if node["to"] not in DTYPES:
        raise UnsupportedError(f"it casts to type {node['to']}, which is unknown here")
    return x.to(DTYPES[node["to"]])


@operator("CastLike")
def cast_like(node: Node, x: Tensor, like: Tensor) -> Tensor:
    """The type of another value."""
    return x.to(like.dtype)


@operator("Dropout", how=(1, 2))
def dropout(node: Node, x: Tensor, ratio: Dims | None = None, training: Dims | None = None) -> Tensor:
    """Nothing happens outside of training; whether it is training is an input since opset 12, and was a switch."""
    learning = number(training, 0) or (node.opset < 7 and not node.get("is_test", 0))
    if learning and number(ratio, node.get("ratio", 0.5)):
        raise RefusedFileError("exported in training mode: call net.eval() before the export")
    return x
