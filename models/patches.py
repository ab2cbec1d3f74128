"""A value of which copies of one picture share the most: the part that differs, and how operators carry it along."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from operator import getitem
from typing import Any

import torch
from torch.nn import functional as F

aten = torch.ops.aten
Shape = tuple[int, int]  # rows and columns
Sides = tuple[int, int, int, int]  # left, right, above, below
Numbers = int | Sequence[int]  # one for both axes, or one for each
Corner = tuple[int, int]  # row and column of a part's first place
NOTHING: Sides = (0, 0, 0, 0)


class Whole:
    """A value for the picture as it is, (1, channels, rows, columns)."""

    def __init__(self, value: torch.Tensor) -> None:
        self.value = value
        self._padded: dict[tuple[Sides, float], torch.Tensor] = {}

    @property
    def shape(self) -> Shape:
        """Rows and columns."""
        return self.value.shape[-2], self.value.shape[-1]

    def padded(self, around: Sides, fill: float) -> torch.Tensor:
        """Return it as (rows, columns, channels) with places around it that hold a number."""
        key = (around, fill)
        if key not in self._padded:
            self._padded[key] = F.pad(self.value, around, value=fill)[0].permute(1, 2, 0).contiguous()
        return self._padded[key]


@dataclass(frozen=True)
class Patch:
    """Where copies may differ from the picture as it is.

    Args:
        value: (copies, channels, rows, columns) of that part.
        corners: where it begins, for each copy.
        whole: the rest.
    """

    value: torch.Tensor
    corners: Sequence[Corner]
    whole: Whole

    @property
    def shape(self) -> Shape:
        """Rows and columns of the part."""
        return self.value.shape[-2], self.value.shape[-1]

    def cut(self, corners: Sequence[Corner], shape: Shape, around: Sides = NOTHING, fill: float = 0.0) -> torch.Tensor:
        """Return parts (copies, channels, *shape) of the copies' padded values, each from a corner on."""
        rows, columns = shape
        below = self.whole.padded(around, fill)
        parts = torch.stack([below[top : top + rows, left : left + columns] for top, left in corners])
        parts = parts.permute(0, 3, 1, 2)
        for part, own, (top, left), (row, column) in zip(parts, self.value, self.corners, corners, strict=True):
            to_rows, from_rows = _overlap(top + around[2] - row, own.shape[-2], rows)
            to_columns, from_columns = _overlap(left + around[0] - column, own.shape[-1], columns)
            part[:, to_rows, to_columns] = own[:, from_rows, from_columns]
        return parts

    def everywhere(self) -> torch.Tensor:
        """Return the copies' values (copies, channels, rows, columns)."""
        return self.value if self.is_whole else self.cut([(0, 0)] * len(self.corners), self.whole.shape)

    @property
    def is_whole(self) -> bool:
        """Whether every place may differ."""
        return self.shape == self.whole.shape


def _overlap(start: int, size: int, limit: int) -> tuple[slice, slice]:
    """Return which places, of `limit`, a part covers that begins at `start`, and which of its own these are."""
    first, last = min(max(start, 0), limit), min(max(start + size, 0), limit)
    return slice(first, last), slice(first - start, last - start)


Found = tuple[torch.Tensor, Sequence[Corner]] | None  # a part of the result and its corners; None: all of it may differ
Rule = Callable[..., Found]


@dataclass(frozen=True)
class Sliding:
    """How a window moves over one axis.

    Args:
        kernel: places that it reads.
        stride: places from one to the next.
        padding: places before the first.
        dilation: places from one that it reads to the next.
    """

    kernel: int
    stride: int
    padding: int
    dilation: int

    @property
    def span(self) -> int:
        """Places from the first that it reads to the last, both counted."""
        return self.dilation * (self.kernel - 1) + 1

    def reached(self, starts: Sequence[int], size: int, results: int) -> tuple[list[int], int]:
        """Return where parts of the results begin that read parts of the input, and how long they are.

        Args:
            starts: of the parts of the input.
            size: of each of them.
            results: how many places the result has.
        """
        first = [max(0, -(-(start + self.padding - self.span + 1) // self.stride)) for start in starts]
        last = [min(results - 1, (start + size - 1 + self.padding) // self.stride) for start in starts]
        length = max(1, *(end - begin + 1 for begin, end in zip(first, last, strict=True)))
        return [min(begin, results - length) for begin in first], length

    def read(self, results: int) -> int:
        """Return how many places that many results read."""
        return (results - 1) * self.stride + self.span

    def after(self, size: int, results: int) -> int:
        """Return how many places have to be added behind an input for all results."""
        return max(0, self.read(results) - self.padding - size)


def _pair(value: Numbers, otherwise: Sequence[int] = (0, 0)) -> tuple[int, int]:
    if isinstance(value, int):
        return value, value
    given = value or otherwise
    return given[0], given[-1]


def _slid(
    compute: Callable[[torch.Tensor], torch.Tensor], result: Whole, x: Patch, axes: Sequence[Sliding], fill: float
) -> Found:
    """Return the part of a result whose windows read the patch."""
    (tops, rows), (lefts, columns) = (
        axis.reached([corner[number] for corner in x.corners], x.shape[number], result.shape[number])
        for number, axis in enumerate(axes)
    )
    down, across = axes
    around = (
        across.padding,
        across.after(x.whole.shape[1], result.shape[1]),
        down.padding,
        down.after(x.whole.shape[0], result.shape[0]),
    )
    begin = [(top * down.stride, left * across.stride) for top, left in zip(tops, lefts, strict=True)]
    read = x.cut(begin, (down.read(rows), across.read(columns)), around, fill)
    return compute(read), list(zip(tops, lefts, strict=True))


def _axes(kernel: Numbers, stride: Numbers, padding: Numbers, dilation: Numbers) -> list[Sliding]:
    size = _pair(kernel)
    each = zip(size, _pair(stride, size), _pair(padding), _pair(dilation), strict=True)
    return [Sliding(*numbers) for numbers in each]


def convolution(
    result: Whole,
    x: Patch,
    weight: torch.Tensor,
    bias: torch.Tensor | None = None,
    stride: Sequence[int] = (1, 1),
    padding: Sequence[int] = (0, 0),
    dilation: Sequence[int] = (1, 1),
    groups: int = 1,
) -> Found:
    """Convolve what the patch reaches."""
    if weight.ndim != 4:
        return None
    axes = _axes(list(weight.shape[2:]), stride, padding, dilation)
    return _slid(lambda read: F.conv2d(read, weight, bias, stride, 0, dilation, groups), result, x, axes, 0.0)


def max_pool(
    result: Whole,
    x: Patch,
    kernel: Sequence[int],
    stride: Sequence[int] = (),
    padding: Sequence[int] = (0, 0),
    dilation: Sequence[int] = (1, 1),
    ceil_mode: bool = False,  # noqa: ARG001  # the result's shape says it; as the operator has it
) -> Found:
    """Pool what the patch reaches."""
    axes = _axes(kernel, stride, padding, dilation)
    steps = [axis.stride for axis in axes]
    pooled = partial(F.max_pool2d, kernel_size=_pair(kernel), stride=steps, dilation=_pair(dilation))
    return _slid(pooled, result, x, axes, -torch.inf)


def avg_pool(
    result: Whole,
    x: Patch,
    kernel: Sequence[int],
    stride: Sequence[int] = (),
    padding: Sequence[int] = (0, 0),
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor: int | None = None,
) -> Found:
    """Average what the patch reaches, where every window counts as many places."""
    if ceil_mode or divisor is not None or (any(_pair(padding)) and not count_include_pad):
        return None
    axes = _axes(kernel, stride, padding, (1, 1))
    steps = [axis.stride for axis in axes]
    return _slid(partial(F.avg_pool2d, kernel_size=_pair(kernel), stride=steps), result, x, axes, 0.0)


def pointwise(function: Callable[..., torch.Tensor], result: Whole, *arguments: Any, **named: Any) -> Found:
    """Apply a function of single places to patches, brought to one part, and to numbers that all places share."""
    if not all(isinstance(one, Patch) or _is_shared(one, result) for one in arguments):
        return None
    patches = [one for one in arguments if isinstance(one, Patch)]
    if any(one.whole.shape != result.shape for one in patches):
        return None
    corners, shape = _union(patches)
    values = [
        one.cut(corners, shape) if isinstance(one, Patch) and len(patches) > 1 else getattr(one, "value", one)
        for one in arguments
    ]
    return function(*values, **named), corners


def _is_shared(argument: Any, result: Whole) -> bool:
    """Say whether an argument is the same at all places of a map."""
    if not isinstance(argument, torch.Tensor):
        return True
    if argument.numel() == 1:
        return argument.ndim <= result.value.ndim
    return argument.ndim in (3, 4) and argument.shape[-2:] == (1, 1)


def _union(patches: Sequence[Patch]) -> tuple[Sequence[Corner], Shape]:
    """Return the corners and shape of parts that hold the patches of each copy."""
    if len(patches) == 1:
        return patches[0].corners, patches[0].shape
    starts, sizes = [], []
    for axis in (0, 1):
        begins = [[corner[axis] for corner in one.corners] for one in patches]
        ends = [[corner[axis] + one.shape[axis] for corner in one.corners] for one in patches]
        first = [min(each) for each in zip(*begins, strict=True)]
        last = [max(each) for each in zip(*ends, strict=True)]
        limit = patches[0].whole.shape[axis]
        size = max(end - begin for begin, end in zip(first, last, strict=True))
        starts.append([min(begin, limit - size) for begin in first])
        sizes.append(size)
    return list(zip(*starts, strict=True)), (sizes[0], sizes[1])


def by_channel(function: Callable[..., Any], result: Whole, x: Patch, *arguments: Any) -> Found:  # noqa: ARG001  # its shape is the patch's whole's
    """Apply a function that treats each channel in its own way."""
    value = function(x.value, *arguments)
    return (value[0] if isinstance(value, tuple) else value), x.corners


def concatenation(result: Whole, patches: Sequence[Patch], axis: int = 0) -> Found:  # noqa: ARG001  # as above
    """Put channels beside one another."""
    if axis not in (1, -3) or not all(isinstance(one, Patch) for one in patches):
        return None
    corners, shape = _union(patches)
    return torch.cat([one.cut(corners, shape) for one in patches], 1), corners


def padding(result: Whole, x: Patch, sides: Sequence[int], fill: float = 0.0) -> Found:  # noqa: ARG001  # the rest is in the result
    """Move the patch by what is added before it."""
    if len(sides) > 4 or min(sides) < 0:
        return None
    left, above = sides[0], sides[2] if len(sides) > 2 else 0
    return x.value, [(top + above, column + left) for top, column in x.corners]


def first_of(result: Whole, x: Patch, index: int) -> Found:  # noqa: ARG001  # it is the same
    """Return the patch itself: of several values only the first is ever one."""
    return (x.value, x.corners) if index == 0 else None


def channels(result: Whole, x: Patch, axis: int = 0, *bounds: int | None) -> Found:  # noqa: ARG001  # as above
    """Take some channels."""
    return (aten.slice.Tensor(x.value, axis, *bounds), x.corners) if axis in (1, -3) else None


_POINTWISE = (
    aten.relu.default, aten.relu6.default, aten.hardtanh.default, aten.clamp.default, aten.clamp_min.default,
    aten.clamp_max.default, aten.gelu.default, aten.silu.default, aten.mish.default, aten.sigmoid.default,
    aten.tanh.default, aten.hardswish.default, aten.hardsigmoid.default, aten.leaky_relu.default, aten.elu.default,
    aten.softplus.default, aten.neg.default, aten.abs.default, aten.exp.default, aten.sqrt.default, aten.clone.default,
    aten.pow.Tensor_Scalar, aten.add.Tensor, aten.sub.Tensor, aten.mul.Tensor, aten.div.Tensor, aten.add.Scalar,
    aten.sub.Scalar, aten.mul.Scalar, aten.div.Scalar, aten.maximum.default, aten.minimum.default,
)  # fmt: skip  # a list reads better in rows
RULES: dict[Any, Rule] = {
    aten.conv2d.default: convolution,
    aten.max_pool2d.default: max_pool,
    aten.avg_pool2d.default: avg_pool,
    aten._native_batch_norm_legit_no_training.default: partial(
        by_channel, aten._native_batch_norm_legit_no_training.default
    ),
    aten.prelu.default: partial(by_channel, aten.prelu.default),
    aten.cat.default: concatenation,
    aten.constant_pad_nd.default: padding,
    aten.slice.Tensor: channels,
    getitem: first_of,
    **{function: partial(pointwise, function) for function in _POINTWISE},
}
