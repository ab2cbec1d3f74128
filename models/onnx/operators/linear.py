"""Convolutions, products of matrices, and pooling."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from xai.models.onnx.operators.base import Node, UnsupportedError, operator


@operator("Conv")
def conv(node: Node, x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """Over one, two or three axes."""
    places = weight.ndim - 2
    if not 1 <= places <= 3 or x.ndim != weight.ndim:
        raise UnsupportedError(f"a convolution over {places} axes of an input of {x.ndim}")
    stride, dilation = _each(node, "strides", places), _each(node, "dilations", places)
    x, padding = _padded(node, x, weight.shape[2:], stride, dilation)
    function = (F.conv1d, F.conv2d, F.conv3d)[places - 1]
    return function(x, weight, bias, stride, padding, dilation, node.get("group", 1))


@operator("ConvTranspose")
def conv_transpose(node: Node, x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """Over one, two or three axes."""
    places = weight.ndim - 2
    if not 1 <= places <= 3 or x.ndim != weight.ndim:
        raise UnsupportedError(f"a transposed convolution over {places} axes of an input of {x.ndim}")
    stride, dilation = _each(node, "strides", places), _each(node, "dilations", places)
    extra = node.get("output_padding", [0] * places)
    pads = _pads(node, places)
    kernel = weight.shape[2:]
    full = [(x.shape[2 + i] - 1) * stride[i] + dilation[i] * (kernel[i] - 1) + 1 + extra[i] for i in range(places)]
    wanted = node.get("output_shape") or _same_transposed(node, x, stride)
    if wanted:
        total = [max(have - want, 0) for have, want in zip(full, wanted, strict=True)]
        upper = node.get("auto_pad") == "SAME_UPPER"
        low = [size // 2 if upper else size - size // 2 for size in total]
        pads = [*low, *(size - first for size, first in zip(total, low, strict=True))]
    function: Callable[..., Tensor] = (F.conv_transpose1d, F.conv_transpose2d, F.conv_transpose3d)[places - 1]
    if pads[:places] == pads[places:]:
        return function(x, weight, bias, stride, pads[:places], extra, node.get("group", 1), dilation)
    whole = function(x, weight, bias, stride, 0, extra, node.get("group", 1), dilation)
    for axis in range(places):
        whole = whole.narrow(2 + axis, pads[axis], whole.shape[2 + axis] - pads[axis] - pads[places + axis])
    return whole


def _same_transposed(node: Node, x: Tensor, stride: Sequence[int]) -> list[int] | None:
    same = node.get("auto_pad", "NOTSET") in ("SAME_UPPER", "SAME_LOWER")
    return [size * step for size, step in zip(x.shape[2:], stride, strict=True)] if same else None


@operator("Gemm")
def gemm(node: Node, a: Tensor, b: Tensor, c: Tensor | None = None) -> Tensor:
    """A product of two matrices, scaled, and a third added."""
    a = a.T if node.get("transA", 0) else a
    alpha, beta = float(node.get("alpha", 1.0)), float(node.get("beta", 1.0))
    weight = b if node.get("transB", 0) else b.T
    if alpha == 1 and (c is None or (beta == 1 and c.ndim == 1 and c.shape[0] == weight.shape[0])):
        return F.linear(a, weight, c)
    product = alpha * F.linear(a, weight)
    return product if c is None else product + beta * c


@operator("MatMul")
def matmul(node: Node, a: Tensor, b: Tensor) -> Tensor:
    """A product of matrices, batched."""
    return torch.matmul(a, b)


@operator("Einsum")
def einsum(node: Node, *inputs: Tensor) -> Tensor:
    """Einstein's summation."""
    return torch.einsum(node["equation"], *inputs)


@operator("MaxPool")
def max_pool(node: Node, x: Tensor) -> Tensor:
    """The highest value under a window; padding never wins."""
    if len(node.outputs) > 1 and node.outputs[1]:
        raise UnsupportedError("the places of its maxima are asked for")
    kernel = node["kernel_shape"]
    places = len(kernel)
    stride, dilation = _each(node, "strides", places), _each(node, "dilations", places)
    ceil = bool(node.get("ceil_mode", 0))
    x, padding = _padded(node, x, kernel, stride, dilation, value=-math.inf, halved=True)
    function: Callable[..., Tensor] = (F.max_pool1d, F.max_pool2d, F.max_pool3d)[_check_places(places, x) - 1]
    return function(x, kernel, stride, padding, dilation, ceil)


@operator("AveragePool")
def average_pool(node: Node, x: Tensor) -> Tensor:
    """The mean under a window, of what lies within the input or, if asked, of its padding too."""
    kernel = node["kernel_shape"]
    places = _check_places(len(kernel), x)
    stride, dilation = _each(node, "strides", places), _each(node, "dilations", places)
    if any(step != 1 for step in dilation):
        raise UnsupportedError("an average pool with dilation")
    whole, ceil = bool(node.get("count_include_pad", 0)), bool(node.get("ceil_mode", 0))
    pads = _pads_of(node, x, kernel, stride, dilation)
    function: Callable[..., Tensor] = (F.avg_pool1d, F.avg_pool2d, F.avg_pool3d)[places - 1]
    even = pads[:places] == pads[places:] and all(2 * p <= k for p, k in zip(pads, kernel, strict=False))
    if even:
        return function(x, kernel, stride, pads[:places], ceil, whole)
    if ceil:
        raise UnsupportedError("an average pool with uneven padding and ceil_mode")
    padded = function(F.pad(x, _torch_pads(pads)), kernel, stride)
    if whole:
        return padded
    inside = torch.ones((1, 1, *x.shape[2:]), dtype=x.dtype, device=x.device)
    return padded / function(F.pad(inside, _torch_pads(pads)), kernel, stride)


@operator("GlobalAveragePool", "GlobalMaxPool")
def global_pool(node: Node, x: Tensor) -> Tensor:
    """One value a channel."""
    axes = list(range(2, x.ndim))
    return x.mean(axes, keepdim=True) if node.kind == "GlobalAveragePool" else x.amax(axes, keepdim=True)


def _check_places(places: int, x: Tensor) -> int:
    if not 1 <= places <= 3 or x.ndim != places + 2:
        raise UnsupportedError(f"a pool over {places} axes of an input of {x.ndim}")
    return places


def _each(node: Node, name: str, places: int) -> list[int]:
    found = list(node.get(name, [1] * places))
    if len(found) != places or min(found) < 1:
        raise UnsupportedError(f"its {name} are {found}")
    return found


def _pads(node: Node, places: int) -> list[int]:
    found = list(node.get("pads", [0] * (2 * places)))
    if len(found) != 2 * places:
        raise UnsupportedError(f"its pads are {found}")
    return found


def _pads_of(node: Node, x: Tensor, kernel: Sequence[int], stride: Sequence[int], dilation: Sequence[int]) -> list[int]:
    """Return the padding before each axis, then after each."""
    places = len(kernel)
    auto = node.get("auto_pad", "NOTSET")
    if auto in ("NOTSET", ""):
        return _pads(node, places)
    if auto == "VALID":
        return [0] * (2 * places)
    before, after = [], []
    for axis in range(places):
        size, step = x.shape[2 + axis], stride[axis]
        total = max((-(-size // step) - 1) * step + (kernel[axis] - 1) * dilation[axis] + 1 - size, 0)
        first = total // 2 if auto == "SAME_UPPER" else total - total // 2
        before.append(first)
        after.append(total - first)
    return [*before, *after]


def _padded(
    node: Node,
    x: Tensor,
    kernel: Sequence[int],
    stride: Sequence[int],
    dilation: Sequence[int],
    value: float = 0.0,
    halved: bool = False,
) -> tuple[Tensor, list[int]]:
    """Return the input, padded where torch's operator cannot pad itself, and the padding that is left to it."""
    places = len(kernel)
    pads = _pads_of(node, x, kernel, stride, dilation)
    even = pads[:places] == pads[places:]
    if even and not (halved and any(2 * pad > size for pad, size in zip(pads, kernel, strict=False))):
        return x, pads[:places]
    return F.pad(x, _torch_pads(pads), value=value), [0] * places


def _torch_pads(pads: Sequence[int]) -> list[int]:
    """Return ONNX's pads in torch's order: last axis first, before and after side by side."""
    places = len(pads) // 2
    return [pad for axis in reversed(range(places)) for pad in (pads[axis], pads[places + axis])]
