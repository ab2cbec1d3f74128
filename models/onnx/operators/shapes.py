"""Operators that move numbers about: shapes, parts, copies."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from xai.models.onnx.operators.base import (
    Dims,
    Node,
    UnsupportedError,
    axes_of,
    axis_of,
    check_size,
    ints,
    number,
    operator,
)
from xai.models.onnx.operators.elementwise import DTYPES


@operator("Shape")
def shape(node: Node, x: Tensor) -> Dims:
    """Sizes of an input; those that follow the batch are symbolic."""
    first, last = node.get("start", 0), node.get("end", x.ndim)
    return sizes(list(x.shape)[first:last])


def sizes(values: list[Any]) -> Dims:
    """Return sizes as an array, of objects only if one is symbolic."""
    plain = all(isinstance(value, int) for value in values)
    found = np.empty(len(values), dtype=np.int64 if plain else object)
    found[:] = values
    return found


@operator("Size")
def size(node: Node, x: Tensor) -> Dims:
    """How many numbers there are."""
    count = x.numel()
    return np.array(count, dtype=np.int64 if isinstance(count, int) else object)


@operator("Reshape", how=(1,))
def reshape(node: Node, x: Tensor, wanted: Dims | None = None) -> Tensor:
    """0 keeps a size, unless allowzero is set; -1 is what is left."""
    new = node.get("shape") if wanted is None else ints(wanted)
    if new is None:
        raise UnsupportedError("no shape is given")
    if not node.get("allowzero", 0):
        new = [x.shape[i] if isinstance(n, int) and n == 0 and i < x.ndim else n for i, n in enumerate(new)]
    return x.reshape(new)


@operator("Flatten")
def flatten(node: Node, x: Tensor) -> Tensor:
    """Two axes are left."""
    axis = node.get("axis", 1)
    axis = axis + x.ndim if axis < 0 else axis
    if axis == 1 and x.ndim > 1:
        return x.flatten(1)
    return x.reshape(math.prod(x.shape[:axis]), -1) if axis else x.reshape(1, -1)


@operator("Transpose")
def transpose(node: Node, x: Tensor) -> Tensor:
    """Axes in another order."""
    return x.permute(node.get("perm", list(reversed(range(x.ndim)))))


@operator("Squeeze", how=(1,))
def squeeze(node: Node, x: Tensor, axes: Dims | None = None) -> Tensor:
    """Axes of size one go."""
    named = axes_of(node, axes, x.ndim)
    if named is None:
        named = [axis for axis, length in enumerate(x.shape) if isinstance(length, int) and length == 1]
    for axis in sorted(named, reverse=True):
        x = x.squeeze(axis)
    return x


@operator("Unsqueeze", how=(1,))
def unsqueeze(node: Node, x: Tensor, axes: Dims | None = None) -> Tensor:
    """Axes of size one come."""
    named = node.get("axes") if axes is None else ints(axes)
    if not named:
        raise UnsupportedError("no axes are given")
    for axis in sorted(axis_of(axis, x.ndim + len(named)) for axis in named):
        x = x.unsqueeze(axis)
    return x


@operator("Concat")
def concat(node: Node, *parts: Tensor) -> Tensor:
    """Side by side along an axis; a constant that was baked for a batch of one is repeated for each input."""
    axis = axis_of(node.get("axis", 1), parts[0].ndim)
    check_size([*parts[0].shape[:axis], *parts[0].shape[axis + 1 :], len(parts)])
    if axis != 0:
        batch = next((part.shape[0] for part in parts if isinstance(part.shape[0], torch.SymInt)), None)
        if batch is not None:
            parts = tuple(
                part.expand(batch, *part.shape[1:]) if isinstance(part.shape[0], int) and part.shape[0] == 1 else part
                for part in parts
            )
    return torch.cat(parts, dim=axis)


@operator("Split", how=(1,))
def split(node: Node, x: Tensor, lengths: Dims | None = None) -> tuple[Tensor, ...]:
    """Cut along an axis, evenly if no lengths are given."""
    axis = axis_of(node.get("axis", 0), x.ndim)
    named = node.get("split") if lengths is None else ints(lengths)
    if named is None:
        count = node.get("num_outputs", len(node.outputs))
        return torch.split(x, -(-x.shape[axis] // count), dim=axis)
    return torch.split(x, named, dim=axis)


@operator("Slice", how=(1, 2, 3, 4))
def slice_(
    node: Node,
    x: Tensor,
    starts: Dims | None = None,
    ends: Dims | None = None,
    axes: Dims | None = None,
    steps: Dims | None = None,
) -> Tensor:
    """A part of each named axis."""
    first = node.get("starts") if starts is None else ints(starts)
    last = node.get("ends") if ends is None else ints(ends)
    if first is None or last is None:
        raise UnsupportedError("its starts or ends are missing")
    along = axes_of(node, axes, x.ndim) or list(range(len(first)))
    by = [1] * len(first) if steps is None else ints(steps)
    for axis, begin, end, step in zip(along, first, last, by, strict=True):
        x = _sliced(x, axis, begin, end, step)
    return x


def _sliced(x: Tensor, axis: int, begin: int, end: int, step: int) -> Tensor:
    if step > 0:
        place: list[Any] = [slice(None)] * x.ndim
        place[axis] = slice(begin, end if end < 2**31 - 1 else None, step)
        return x[tuple(place)]
    length = x.shape[axis]
    if step == 0 or not isinstance(length, int):
        raise UnsupportedError(f"a slice of step {step} along axis {axis}")
    kept = range(length)[begin if begin < length else None : end if end >= -length else None : step]
    return x.index_select(axis, torch.tensor(list(kept), dtype=torch.int64, device=x.device))


@operator("Gather", how=(1,))
def gather(node: Node, x: Tensor, indices: Tensor | Dims) -> Tensor:
    """Entries of an axis, by index; negative ones count from the end."""
    axis = axis_of(node.get("axis", 0), x.ndim)
    if isinstance(indices, np.ndarray):
        if indices.ndim == 0:
            return x.select(axis, int(indices))
        indices = torch.as_tensor(indices.astype(np.int64), device=x.device)
    places = torch.where(indices < 0, indices + x.shape[axis], indices).long()
    return x.index_select(axis, places.reshape(-1)).reshape(*x.shape[:axis], *places.shape, *x.shape[axis + 1 :])


@operator("GatherElements")
def gather_elements(node: Node, x: Tensor, indices: Tensor) -> Tensor:
    """One entry of an axis for each place."""
    axis = axis_of(node.get("axis", 0), x.ndim)
    return x.gather(axis, torch.where(indices < 0, indices + x.shape[axis], indices).long())


@operator("GatherND")
def gather_nd(node: Node, x: Tensor, indices: Tensor) -> Tensor:
    """Parts by several indices at once."""
    if node.get("batch_dims", 0):
        raise UnsupportedError("batch_dims")
    return x[tuple(indices.long().unbind(-1))]


@operator("ScatterND")
def scatter_nd(node: Node, x: Tensor, indices: Tensor, updates: Tensor) -> Tensor:
    """A copy in which the parts at some indices are others."""
    if node.get("reduction", "none") != "none":
        raise UnsupportedError(f"reduction {node['reduction']}")
    return x.index_put(tuple(indices.long().unbind(-1)), updates)


@operator("Expand", how=(1,))
def expand(node: Node, x: Tensor, wanted: Dims) -> Tensor:
    """Repeat axes of size one; sizes are broadcast in both directions."""
    new = ints(wanted)
    rank = max(x.ndim, len(new))
    have = [1] * (rank - x.ndim) + list(x.shape)
    want = [1] * (rank - len(new)) + new
    both = [w if _is_one(h) else h for h, w in zip(have, want, strict=True)]
    check_size(both)
    return x.expand(both)


def _is_one(length: Any) -> bool:
    return isinstance(length, int) and length == 1


@operator("Tile", how=(1,))
def tile(node: Node, x: Tensor, repeats: Dims) -> Tensor:
    """Repeat along each axis."""
    times = ints(repeats)
    check_size([*x.shape, *times])
    return x.repeat(times)


@operator("ConstantOfShape", how=(0,))
def constant_of_shape(node: Node, wanted: Dims) -> Tensor:
    """One number everywhere."""
    new = ints(wanted)
    check_size(new)
    value = torch.from_numpy(np.asarray(node.get("value", np.zeros(1, dtype=np.float32))).copy()).reshape(-1)
    return torch.full(new, value[0].item(), dtype=value.dtype)


@operator("Range", how=(0, 1, 2))
def range_(node: Node, start: Dims, limit: Dims, delta: Dims) -> Tensor:
    """Numbers in a row."""
    low, high, step = (np.asarray(value).reshape(-1)[0] for value in (start, limit, delta))
    if any(isinstance(value, torch.SymInt) for value in (low, high, step)):
        return torch.arange(*ints(np.array([low, high, step], dtype=object)))
    if step == 0:
        raise UnsupportedError("a range of step 0")
    check_size([max(0, math.ceil((high - low) / step))])
    return torch.from_numpy(np.arange(low, high, step))


@operator("Pad", how=(1, 2, 3))
def pad(node: Node, x: Tensor, pads: Dims | None = None, value: Dims | None = None, axes: Dims | None = None) -> Tensor:
    """More at the edges; less where a pad is negative."""
    given = node.get("pads", node.get("paddings")) if pads is None else ints(pads)
    if given is None:
        raise UnsupportedError("its pads are missing")
    along = list(range(x.ndim)) if axes is None else [axis_of(axis, x.ndim) for axis in ints(axes)]
    count = len(along)
    both = [(0, 0)] * x.ndim
    for place, axis in enumerate(along):
        both[axis] = (given[place], given[count + place])
    check_size(
        [length + sum(ends) if isinstance(length, int) else 1 for length, ends in zip(x.shape, both, strict=True)]
    )
    mode = {"constant": "constant", "reflect": "reflect", "edge": "replicate", "wrap": "circular"}[
        node.get("mode", "constant")
    ]
    if mode == "constant":
        flat = [pad for ends in reversed(both) for pad in ends]
        return F.pad(x, flat, value=number(value, node.get("value", 0.0)))
    return _padded_like(x, both, mode)


def _padded_like(x: Tensor, both: list[tuple[int, int]], mode: str) -> Tensor:
    """Pad with the input's own numbers; torch does so behind the first two axes only."""
    if any(ends != (0, 0) for ends in both[:2]) or not 3 <= x.ndim <= 5:
        raise UnsupportedError(f"mode {mode} at the first two axes")
    return F.pad(x, [pad for ends in reversed(both[2:]) for pad in ends], mode=mode)


@operator("DepthToSpace")
def depth_to_space(node: Node, x: Tensor) -> Tensor:
    """Channels become rows and columns."""
    block = node["blocksize"]
    if node.get("mode", "DCR") == "CRD":
        return F.pixel_shuffle(x, block)
    count, channels, height, width = x.shape
    parts = x.reshape(count, block, block, channels // block**2, height, width).permute(0, 3, 4, 1, 5, 2)
    return parts.reshape(count, channels // block**2, height * block, width * block)


@operator("SpaceToDepth")
def space_to_depth(node: Node, x: Tensor) -> Tensor:
    """Rows and columns become channels."""
    block = node["blocksize"]
    count, channels, height, width = x.shape
    parts = x.reshape(count, channels, height // block, block, width // block, block).permute(0, 3, 5, 1, 2, 4)
    return parts.reshape(count, channels * block**2, height // block, width // block)


@operator("Trilu", how=(1,))
def trilu(node: Node, x: Tensor, diagonal: Dims | None = None) -> Tensor:
    """One triangle of the last two axes."""
    k = int(number(diagonal, 0))
    return torch.triu(x, k) if node.get("upper", 1) else torch.tril(x, k)


@operator("EyeLike")
def eye_like(node: Node, x: Tensor) -> Tensor:
    """Ones on a diagonal."""
    dtype = DTYPES[node["dtype"]] if "dtype" in node.attributes else x.dtype
    rows, columns = x.shape
    k = node.get("k", 0)
    return torch.diagflat(torch.ones(rows + columns + abs(k), dtype=dtype), k)[:rows, :columns]
