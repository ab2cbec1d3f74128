"""Where a picture's height and width are in a tensor of the graph.

Every tensor's axes are followed from the input through the graph's operators: convolutions keep rows and columns,
a flatten joins them into tokens, a class token is put before them, a permute moves them. So the tokens of a
transformer are put back on their grid without knowing the architecture.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import fx

Shape = tuple[int, ...]


@dataclass(frozen=True)
class Layout:
    """The meaning of a tensor's axes.

    Args:
        axes: for each dimension "h" (rows), "w" (columns), "t" (rows and columns flattened to tokens) or "".
        grid: rows and columns.
        prefix: tokens before the grid's (class and register tokens).
    """

    axes: tuple[str, ...]
    grid: tuple[int, int]
    prefix: int = 0

    @property
    def is_feature_map(self) -> bool:
        """Whether the axes are batch, channels and the grid, in some order that begins with the batch."""
        return sorted(self.axes) in (["", "", "h", "w"], ["", "", "t"]) and self.axes[0] == ""

    def to_grid(self, tensor: torch.Tensor) -> torch.Tensor:
        """Return a feature map as (batch, channels, rows, columns); class and register tokens are left out."""
        if "t" in self.axes:
            rows, columns = self.grid
            tokens = tensor.movedim(self.axes.index("t"), -1)[..., self.prefix : self.prefix + rows * columns]
            return tokens.reshape(*tokens.shape[:-1], rows, columns)
        return tensor.movedim((self.axes.index("h"), self.axes.index("w")), (-2, -1))


def shape_of(node: fx.Node) -> Shape:
    """Return the node's shape for the example batch (of a tuple: its first tensor's); () if it is no tensor."""
    value = node.meta.get("val")
    if isinstance(value, list | tuple) and value:
        value = value[0]
    if not isinstance(value, torch.Tensor):
        return ()
    return tuple(int(size.node.hint) if isinstance(size, torch.SymInt) else int(size) for size in value.shape)


def layouts(graph: fx.Graph) -> dict[fx.Node, Layout]:
    """Return the layout of every node where the picture's rows and columns can still be told apart."""
    found: dict[fx.Node, Layout] = {}
    for node in graph.nodes:
        shape = shape_of(node)
        if node.op == "placeholder" and len(shape) == 4:
            found[node] = _picture(shape)
        elif node.op == "call_function" and shape:
            layout = _RULES.get(_operator(node), _same_axes)(node, shape, found)
            if layout is not None:
                found[node] = layout
    return found


def _operator(node: fx.Node) -> str:
    """Return the operator's name without namespace and overload: "conv2d"."""
    target = node.target
    return target._schema.name.split("::")[-1] if isinstance(target, torch._ops.OpOverload) else str(target)


def _picture(shape: Shape) -> Layout:
    return Layout(("", "", "h", "w"), (shape[2], shape[3]))


Rule = Callable[[fx.Node, Shape, dict[fx.Node, Layout]], Layout | None]


def _spatial(node: fx.Node, shape: Shape, found: dict[fx.Node, Layout]) -> Layout | None:
    """Apply to convolutions, pooling and resampling: the result is (batch, channels, rows, columns)."""
    source = node.all_input_nodes[0]
    if (layout := found.get(source)) is None or shape_of(source) == shape:
        return layout
    return _picture(shape) if len(shape) == 4 and layout.axes[2:] == ("h", "w") else None


def _same_axes(node: fx.Node, shape: Shape, found: dict[fx.Node, Layout]) -> Layout | None:
    """Apply to everything that works at each place alike: axes of the same size keep their meaning."""
    for source in node.all_input_nodes:
        layout = found.get(source)
        before = shape_of(source)
        if layout and len(before) == len(shape):
            marked = [i for i, axis in enumerate(layout.axes) if axis]
            if all(before[i] == shape[i] for i in marked):
                return layout
    return None


def _permute(node: fx.Node, shape: Shape, found: dict[fx.Node, Layout]) -> Layout | None:
    source = node.all_input_nodes[0]
    if (layout := found.get(source)) is None:
        return None
    order: Any = node.args[1] if _operator(node) == "permute" else None
    if order is None:
        order = list(range(len(shape)))
        first, second = (int(str(arg)) for arg in node.args[1:3])
        order[first], order[second] = order[second], order[first]
    return replace(layout, axes=tuple(layout.axes[i] for i in order))


def _reshape(node: fx.Node, shape: Shape, found: dict[fx.Node, Layout]) -> Layout | None:
    source = node.all_input_nodes[0]
    layout = found.get(source)
    if layout is None:
        return None
    before = shape_of(source)
    axes = [""] * len(shape)
    for old, new in _groups(before, shape):
        for place, axis in zip(
            new, _regroup(layout, [layout.axes[i] for i in old], [shape[j] for j in new]), strict=True
        ):
            axes[place] = axis
    if sorted(filter(None, axes)) not in (["h", "w"], ["t"]):
        return None
    grid = layout.grid if "t" in axes else (shape[axes.index("h")], shape[axes.index("w")])
    return replace(layout, axes=tuple(axes), grid=grid)


def _groups(before: Shape, after: Shape) -> Iterator[tuple[list[int], list[int]]]:
    """Pair the dimensions of a reshape: the smallest runs with equal products."""
    i = j = 0
    while i < len(before) and j < len(after):
        old, new = [i], [j]
        while (left := math.prod(before[k] for k in old)) != (right := math.prod(after[k] for k in new)):
            grow, limit = (old, len(before)) if left < right else (new, len(after))
            if grow[-1] + 1 >= limit:
                return
            grow.append(grow[-1] + 1)
        yield old, new
        i, j = old[-1] + 1, new[-1] + 1


def _regroup(layout: Layout, old: Sequence[str], sizes: Sequence[int]) -> list[str]:
    """Return the meaning of the new axes of one run."""
    marks = [axis for axis in old if axis]
    lost = [""] * len(sizes)
    if not marks:
        return lost
    if len(old) == len(sizes) == 1:
        return list(old)
    if marks == ["h", "w"] == list(old) and len(sizes) == 1:
        return ["t"]
    if marks == ["t"] == list(old) and layout.prefix == 0 and tuple(sizes) == layout.grid:
        return ["h", "w"]
    if len(old) == 1 and marks[0] in "hw":  # rows split into coarse rows and a place within: patch merging, windows
        return [marks[0], *lost[1:]]
    return lost


def _cat(node: fx.Node, shape: Shape, found: dict[fx.Node, Layout]) -> Layout | None:
    dim = int(str(node.args[1])) % len(shape) if len(node.args) > 1 else 0
    before = 0
    for source in node.all_input_nodes:
        layout = found.get(source)
        if layout is not None:
            return {"": layout, "t": replace(layout, prefix=layout.prefix + before)}.get(layout.axes[dim])
        before += shape_of(source)[dim]
    return None


def _slice(node: fx.Node, shape: Shape, found: dict[fx.Node, Layout]) -> Layout | None:
    source = node.all_input_nodes[0]
    if (layout := found.get(source)) is None:
        return None
    args = list(node.args[1:]) + [None] * 4
    dim = int(str(args[0] or 0)) % len(shape)
    size, start, step = shape_of(source)[dim], args[1] or 0, args[3] or 1
    axis = layout.axes[dim]
    if not axis or size == shape[dim]:
        return layout
    if not isinstance(start, int) or not isinstance(step, int):
        return None
    start %= size
    reaches_end = shape[dim] == -(-(size - start) // step)
    if axis == "t":
        return (
            replace(layout, prefix=layout.prefix - start)
            if start <= layout.prefix and step == 1 and reaches_end
            else None
        )
    if step > 1 and start < step and reaches_end:
        places = dict(zip("hw", layout.grid, strict=True)) | {axis: shape[dim]}
        return replace(layout, grid=(places["h"], places["w"]))
    return None


def _drop_axis(node: fx.Node, shape: Shape, found: dict[fx.Node, Layout]) -> Layout | None:
    """Apply to select and unbind: one axis goes."""
    source = node.all_input_nodes[0]
    if (layout := found.get(source)) is None:
        return None
    dim = int(str(node.args[1])) % len(layout.axes) if len(node.args) > 1 else 0
    rest = layout.axes[:dim] + layout.axes[dim + 1 :]
    return replace(layout, axes=rest) if not layout.axes[dim] and len(rest) == len(shape) else None


def _lost(*_: object) -> None:
    """Apply to what moves contents along an axis."""
    return


_RULES: dict[str, Rule] = {
    **dict.fromkeys(("conv2d", "convolution", "conv_transpose2d", "max_pool2d", "max_pool2d_with_indices"), _spatial),
    **dict.fromkeys(("avg_pool2d", "adaptive_avg_pool2d", "_adaptive_avg_pool2d", "adaptive_max_pool2d"), _spatial),
    **dict.fromkeys(("upsample_bilinear2d", "upsample_nearest2d", "upsample_bicubic2d", "pixel_shuffle"), _spatial),
    **dict.fromkeys(("constant_pad_nd", "pad", "reflection_pad2d", "replication_pad2d"), _spatial),
    **dict.fromkeys(("permute", "transpose"), _permute),
    **dict.fromkeys(("view", "reshape", "_unsafe_view", "flatten", "unflatten", "squeeze", "unsqueeze"), _reshape),
    "cat": _cat,
    "slice": _slice,
    **dict.fromkeys(("select", "unbind"), _drop_axis),
    **dict.fromkeys(("roll", "flip", "index", "gather"), _lost),
}
