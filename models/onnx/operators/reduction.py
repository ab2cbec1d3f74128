"""Operators that make one number of many, and normalisations."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from xai.errors import RefusedFileError
from xai.models.onnx.operators.base import Dims, Node, UnsupportedError, axes_of, axis_of, ints, operator

_REDUCE: dict[str, Callable[[Tensor, list[int], bool], Tensor]] = {
    "ReduceL1": lambda x, axes, keep: x.abs().sum(axes, keepdim=keep),
    "ReduceL2": lambda x, axes, keep: x.square().sum(axes, keepdim=keep).sqrt(),
    "ReduceLogSum": lambda x, axes, keep: x.sum(axes, keepdim=keep).log(),
    "ReduceLogSumExp": lambda x, axes, keep: x.logsumexp(axes, keepdim=keep),
    "ReduceMax": lambda x, axes, keep: x.amax(axes, keepdim=keep),
    "ReduceMean": lambda x, axes, keep: x.mean(axes, keepdim=keep),
    "ReduceMin": lambda x, axes, keep: x.amin(axes, keepdim=keep),
    "ReduceSum": lambda x, axes, keep: x.sum(axes, keepdim=keep),
    "ReduceSumSquare": lambda x, axes, keep: x.square().sum(axes, keepdim=keep),
}


@operator(*_REDUCE, how=(1,))
def reduce(node: Node, x: Tensor, axes: Dims | None = None) -> Tensor:
    """Over the named axes, or over all."""
    named = axes_of(node, axes, x.ndim)
    if not named:
        if node.get("noop_with_empty_axes", 0):
            return x
        named = list(range(x.ndim))
    return _REDUCE[node.kind](x, named, bool(node.get("keepdims", 1)))


@operator("ReduceProd", how=(1,))
def reduce_prod(node: Node, x: Tensor, axes: Dims | None = None) -> Tensor:
    """A product over the named axes, or over all."""
    named = axes_of(node, axes, x.ndim)
    for axis in sorted(named or range(x.ndim), reverse=True):
        x = x.prod(axis, keepdim=bool(node.get("keepdims", 1)))
    return x


@operator("ArgMax", "ArgMin")
def arg_extreme(node: Node, x: Tensor) -> Tensor:
    """Where the highest or lowest number is."""
    if node.get("select_last_index", 0):
        raise UnsupportedError("select_last_index")
    function = torch.argmax if node.kind == "ArgMax" else torch.argmin
    return function(x, dim=axis_of(node.get("axis", 0), x.ndim), keepdim=bool(node.get("keepdims", 1)))


@operator("TopK", how=(1,))
def top_k(node: Node, x: Tensor, count: Dims | None = None) -> tuple[Tensor, Tensor]:
    """The highest or lowest numbers and where they are."""
    k = node["k"] if count is None else ints(count)[0]
    found = torch.topk(x, k, dim=node.get("axis", -1), largest=bool(node.get("largest", 1)))
    return found.values, found.indices


@operator("CumSum", how=(1,))
def cumulative_sum(node: Node, x: Tensor, axis: Dims) -> Tensor:
    """Sums up to each place."""
    if node.get("exclusive", 0) or node.get("reverse", 0):
        raise UnsupportedError("exclusive or reverse")
    return x.cumsum(ints(axis)[0])


@operator("BatchNormalization")
def batch_normalization(node: Node, x: Tensor, scale: Tensor, bias: Tensor, mean: Tensor, variance: Tensor) -> Tensor:
    """By the statistics of training."""
    if node.get("training_mode", 0) or not node.get("is_test", 1):
        raise RefusedFileError("exported in training mode: call net.eval() before the export")
    if not node.get("spatial", 1):
        raise UnsupportedError("statistics for each place")
    return F.batch_norm(x, mean, variance, scale, bias, training=False, eps=node.get("epsilon", 1e-5))


@operator("LayerNormalization")
def layer_normalization(node: Node, x: Tensor, scale: Tensor, bias: Tensor | None = None) -> Tensor:
    """Over the axes from one on."""
    shape = list(x.shape[axis_of(node.get("axis", -1), x.ndim) :])
    epsilon = node.get("epsilon", 1e-5)
    if list(scale.shape) == shape and (bias is None or list(bias.shape) == shape):
        return F.layer_norm(x, shape, scale, bias, epsilon)
    normal = F.layer_norm(x, shape, None, None, epsilon) * scale
    return normal if bias is None else normal + bias


@operator("RMSNormalization")
def rms_normalization(node: Node, x: Tensor, scale: Tensor) -> Tensor:
    """Over the axes from one on, without a mean."""
    axes = list(range(axis_of(node.get("axis", -1), x.ndim), x.ndim))
    return x * torch.rsqrt(x.square().mean(axes, keepdim=True) + node.get("epsilon", 1e-5)) * scale


@operator("InstanceNormalization")
def instance_normalization(node: Node, x: Tensor, scale: Tensor, bias: Tensor) -> Tensor:
    """By the statistics of each picture and channel."""
    return F.instance_norm(x, weight=scale, bias=bias, use_input_stats=True, eps=node.get("epsilon", 1e-5))


@operator("GroupNormalization")
def group_normalization(node: Node, x: Tensor, scale: Tensor, bias: Tensor) -> Tensor:
    """By the statistics of each picture and group; scale and bias are a group's before opset 21."""
    groups = node["num_groups"]
    if scale.shape[0] != x.shape[1]:
        scale, bias = (value.repeat_interleave(x.shape[1] // groups) for value in (scale, bias))
    return F.group_norm(x, groups, scale, bias, node.get("epsilon", 1e-5))


@operator("LpNormalization")
def lp_normalization(node: Node, x: Tensor) -> Tensor:
    """By a norm along an axis."""
    length: Tensor = torch.linalg.vector_norm(x, node.get("p", 2), dim=node.get("axis", -1), keepdim=True)
    return torch.where(length == 0, torch.zeros_like(x), x / length.clamp(min=torch.finfo(x.dtype).tiny))


@operator("MeanVarianceNormalization")
def mean_variance_normalization(node: Node, x: Tensor) -> Tensor:
    """By mean and deviation over some axes."""
    axes = node.get("axes", [0, 2, 3])
    centred = x - x.mean(axes, keepdim=True)
    return centred / (centred.square().mean(axes, keepdim=True).sqrt() + 1e-9)


@operator("LRN")
def local_response_normalization(node: Node, x: Tensor) -> Tensor:
    """By the neighbouring channels."""
    size = node["size"]
    if size % 2 == 0:
        raise UnsupportedError(f"an even size, {size}")
    return F.local_response_norm(x, size, node.get("alpha", 1e-4), node.get("beta", 0.75), node.get("bias", 1.0))


@operator("Scaler", domain="ai.onnx.ml")
def scaler(node: Node, x: Tensor) -> Tensor:
    """Subtract an offset from each feature and scale it."""
    offset, scale = (torch.tensor(node[name], dtype=x.dtype) for name in ("offset", "scale"))
    return (x - offset) * scale


@operator("Normalizer", domain="ai.onnx.ml")
def normalizer(node: Node, x: Tensor) -> Tensor:
    """Scale each row to a norm of one."""
    orders = {"L1": 1.0, "L2": 2.0}
    if node.get("norm", "MAX") not in orders:
        raise UnsupportedError("norm MAX divides by the largest number, whatever its sign")
    return F.normalize(x, p=orders[node["norm"]], dim=-1)
