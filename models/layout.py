"""Where a picture's height and width are in a tensor of the graph.

Every axis is followed from the input through the graph's operators as a product of factors: rows of a picture are one
factor, cutting them into windows splits it into two, attention within windows moves the parts about, and undoing that
joins them again. A flatten joins rows and columns into tokens, a class token is put before them, a permute moves them.
So tokens are put back on their grid without knowing the architecture.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import fx

Shape = tuple[int, ...]


@dataclass(frozen=True)
class Factor:
    """A part of an axis.

    Args:
        label: "h" (rows), "w" (columns), or "" for anything else.
        size: how many places it has.
        step: how many rows or columns lie between two of its places.
    """

    label: str
    size: int
    step: int = 1


Axis = tuple[Factor, ...]


@dataclass(frozen=True)
class Layout:
    """The meaning of a tensor's axes.

    Args:
        axes: each as a product of factors, the slowest first.
        grid: rows and columns.
        prefix: tokens before the grid's (class and register tokens), on the axis that holds the grid.
    """

    axes: tuple[Axis, ...]
    grid: tuple[int, int]
    prefix: int = 0

    @property
    def names(self) -> tuple[str, ...]:
        """For each axis "h" (all rows), "w" (all columns), "t" (rows and columns as tokens), "?" (parts) or ""."""
        return tuple(self._name(axis) for axis in self.axes)

    @property
    def is_feature_map(self) -> bool:
        """Whether the axes are batch, channels and the grid, in some order that begins with the batch."""
        return sorted(self.names) in (["", "", "h", "w"], ["", "", "t"]) and self.names[0] == ""

    def to_grid(self, tensor: torch.Tensor) -> torch.Tensor:
        """Return a feature map as (batch, channels, rows, columns); class and register tokens are left out."""
        rows, columns = self.grid
        if "t" in self.names:
            tokens = tensor.movedim(self.names.index("t"), -1)[..., self.prefix : self.prefix + rows * columns]
            return tokens.reshape(*tokens.shape[:-1], rows, columns)
        return tensor.movedim((self.names.index("h"), self.names.index("w")), (-2, -1))

    def _name(self, axis: Axis) -> str:
        rows, columns = Factor("h", self.grid[0]), Factor("w", self.grid[1])
        spatial = tuple(factor for factor in axis if factor.label)
        if not spatial:
            return ""
        return {(rows,): "h", (columns,): "w", (rows, columns): "t"}.get(axis, "?")


def shape_of(node: fx.Node) -> Shape:
    """Return the node's shape for the example batch (of a tuple: its first tensor's); () if it is no tensor."""
    value = node.meta.get("val")
    if isinstance(value, list | tuple) and value:
        value = value[0]
    if not isinstance(value, torch.Tensor):
        return ()
    return tuple(int(size.node.hint) if isinstance(size, torch.SymInt) else int(size) for size in value.shape)


def layouts(graph: fx.Graph) -> dict[fx.Node, Layout]:
    """Return the layout of every node in which the picture's rows and columns can still be told apart."""
    found: dict[fx.Node, Layout] = {}
    for node in graph.nodes:
        shape = shape_of(node)
        if node.op == "placeholder" and len(shape) == 4:
            found[node] = _grid(shape, ("", "", "h", "w"))
        elif node.op == "call_function" and shape:
            layout = _RULES.get(operator(node), _same_axes)(node, shape, found)
            if layout is not None:
                found[node] = layout
    return found


def operator(node: fx.Node) -> str:
    """Return the operator's name without namespace and overload: "conv2d"."""
    target = node.target
    return target._schema.name.split("::")[-1] if isinstance(target, torch._ops.OpOverload) else str(target)


def _grid(shape: Shape, names: tuple[str, ...]) -> Layout:
    """Return the layout of a tensor with whole axes of rows and columns, and no other part of them anywhere."""
    axes = tuple((Factor(name, size),) for name, size in zip(names, shape, strict=True))
    return Layout(axes, (shape[names.index("h")], shape[names.index("w")]))


Rule = Callable[[fx.Node, Shape, dict[fx.Node, Layout]], Layout | None]


def _spatial(node: fx.Node, shape: Shape, found: dict[fx.Node, Layout]) -> Layout | None:
    """Apply to convolutions, pooling, padding and resampling: they keep the order of rows and columns."""
    source = node.all_input_nodes[0]
    layout = found.get(source)
    if layout is None or shape_of(source) == shape:
        return layout
    names = layout.names
    return _grid(shape, names) if len(shape) == 4 and set(names[2:]) == {"h", "w"} else None


def _same_axes(node: fx.Node, shape: Shape, found: dict[fx.Node, Layout]) -> Layout | None:
    """Apply to everything that works at each place alike: axes of the same size keep their meaning."""
    for source in node.all_input_nodes:
        layout = found.get(source)
        before = shape_of(source)
        if layout is None or len(before) != len(shape):
            continue
        kept = [
            axis if old == new else (Factor("", new),)
            for axis, old, new in zip(layout.axes, before, shape, strict=True)
        ]
        lost = [axis for axis, old, new in zip(layout.axes, before, shape, strict=True) if old != new]
        if not any(_is_place(axis, layout) for axis in lost):
            return _coarse(replace(layout, axes=tuple(kept)), last_mixes=before[-1:] != shape[-1:])
    return None


def _is_place(axis: Axis, layout: Layout) -> bool:
    """Say whether an axis tells places apart: parts that were folded into the channels do not any more."""
    outer = {("h", layout.grid[0]), ("w", layout.grid[1])}
    return any((factor.label, factor.size * factor.step) in outer for factor in axis)


def _coarse(layout: Layout, *, last_mixes: bool) -> Layout:
    """Take a grid of whole patches for the grid, once a layer has mixed the places within a patch: patch merging."""
    if not last_mixes or any(factor.label for axis in layout.axes for factor in axis if not _is_place(axis, layout)):
        return layout
    parts = {factor.label: factor for axis in layout.axes for factor in axis if factor.label}
    if {name: part.size * part.step for name, part in parts.items()} != dict(zip("hw", layout.grid, strict=True)):
        return layout
    axes = tuple(tuple(replace(factor, step=1) if factor.label else factor for factor in axis) for axis in layout.axes)
    return replace(layout, axes=axes, grid=(parts["h"].size, parts["w"].size))


def _permute(node: fx.Node, shape: Shape, found: dict[fx.Node, Layout]) -> Layout | None:
    source = node.all_input_nodes[0]
    if (layout := found.get(source)) is None:
        return None
    order: Any = node.args[1] if operator(node) == "permute" else None
    if order is None:
        order = list(range(len(shape)))
        first, second = (int(str(arg)) for arg in node.args[1:3])
        order[first], order[second] = order[second], order[first]
    return replace(layout, axes=tuple(layout.axes[i] for i in order))


def _reshape(node: fx.Node, shape: Shape, found: dict[fx.Node, Layout]) -> Layout | None:
    """Write the axes as one row of factors and deal it out to the new axes."""
    source = node.all_input_nodes[0]
    if (layout := found.get(source)) is None:
        return None
    if layout.prefix:  # an axis of tokens behind others is no product: it stays as it is, or is lost
        return _around_tokens(layout, shape_of(source), shape)
    left = [factor for axis in layout.axes for factor in axis if factor.size != 1]
    axes = []
    for size in shape:
        if (axis := _take(left, size)) is None:
            return None
        axes.append(_joined(axis))
    return replace(layout, axes=tuple(axes))


def _take(left: list[Factor], size: int) -> Axis | None:
    """Take factors with that product from the front, splitting the last one if it must be; None if that cannot be."""
    taken: list[Factor] = []
    while size > 1:
        if not left:
            return None
        first = left.pop(0)
        if size % first.size == 0:
            taken.append(first)
            size //= first.size
        elif first.size % size == 0:
            inner = first.size // size
            taken.append(Factor(first.label, size, first.step * inner))
            left.insert(0, Factor(first.label, inner, first.step))
            size = 1
        else:
            return None
    return tuple(taken) or (Factor("", 1),)


def _joined(axis: Axis) -> Axis:
    """Join neighbours that are the coarse and the fine part of the same rows or columns."""
    done: list[Factor] = []
    for factor in axis:
        last = done[-1] if done else None
        if last and last.label == factor.label and (not factor.label or last.step == factor.step * factor.size):
            done[-1] = Factor(factor.label, last.size * factor.size, factor.step)
        else:
            done.append(factor)
    return tuple(done)


def _around_tokens(layout: Layout, before: Shape, after: Shape) -> Layout | None:
    place = layout.names.index("t")
    head, size, tail = math.prod(before[:place]), before[place], math.prod(before[place + 1 :])
    for index, new in enumerate(after):
        if new == size and math.prod(after[:index]) == head and math.prod(after[index + 1 :]) == tail:
            axes: list[Axis] = [(Factor("", other),) for other in after]
            axes[index] = layout.axes[place]
            return replace(layout, axes=tuple(axes))
    return None


def _cat(node: fx.Node, shape: Shape, found: dict[fx.Node, Layout]) -> Layout | None:
    dim = int(str(node.args[1])) % len(shape) if len(node.args) > 1 else 0
    before = 0
    for source in node.all_input_nodes:
        layout = found.get(source)
        if layout is not None:
            name = layout.names[dim]
            if name == "":
                axes = list(layout.axes)
                axes[dim] = (Factor("", shape[dim]),)
                return replace(layout, axes=tuple(axes))
            return replace(layout, prefix=layout.prefix + before) if name == "t" else None
        before += shape_of(source)[dim]
    return None


def _slice(node: fx.Node, shape: Shape, found: dict[fx.Node, Layout]) -> Layout | None:
    source = node.all_input_nodes[0]
    if (layout := found.get(source)) is None:
        return None
    args = [*node.args[1:], None, None, None, None]
    dim = int(str(args[0] or 0)) % len(shape)
    size, start, step = shape_of(source)[dim], args[1] or 0, args[3] or 1
    name = layout.names[dim]
    if size == shape[dim]:
        return layout
    if not isinstance(start, int) or not isinstance(step, int):
        return None
    start %= size
    reaches_end = shape[dim] == -(-(size - start) // step)
    if name == "":
        axes = list(layout.axes)
        axes[dim] = (Factor("", shape[dim]),)
        return replace(layout, axes=tuple(axes))
    if name == "t" and step == 1 and reaches_end and start <= layout.prefix:
        return replace(layout, prefix=layout.prefix - start)
    if name in ("h", "w") and len(shape) == 4 and step > 1 and start < step and reaches_end:
        return _grid(shape, layout.names)
    return None


def _drop_axis(node: fx.Node, shape: Shape, found: dict[fx.Node, Layout]) -> Layout | None:
    """Apply to select and unbind: one axis goes."""
    source = node.all_input_nodes[0]
    if (layout := found.get(source)) is None:
        return None
    dim = int(str(node.args[1])) % len(layout.axes) if len(node.args) > 1 else 0
    rest = layout.axes[:dim] + layout.axes[dim + 1 :]
    return replace(layout, axes=rest) if not layout.names[dim] and len(rest) == len(shape) else None


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
    **dict.fromkeys(("roll", "flip", "index", "gather", "index_select", "grid_sampler", "grid_sampler_2d"), _lost),
    **dict.fromkeys(("sort", "topk", "fft_fft2", "cumsum"), _lost),
}
