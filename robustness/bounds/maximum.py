"""The largest of several numbers."""

from __future__ import annotations

from collections.abc import Callable
from copy import copy
from dataclasses import dataclass

import torch

from xai.robustness.bounds.interval import Interval
from xai.robustness.bounds.operation import Operation, Pulled, Relaxation, total
from xai.robustness.bounds.rounding import Rounding

Gather = Callable[[torch.Tensor], torch.Tensor]


class Maximum(Operation):
    """The largest number of each window.

    Args:
        gather: from a value for a batch of one, the input number at each place of each window: (..., places); not
            above 0 where a place lies outside.
        shape: of the value for a batch of one.
        function: what gives the same maxima, whatever the size of the first axis, if there is a faster way than to
            gather.
    """

    def __init__(self, gather: Gather, shape: tuple[int, ...], function: Gather | None = None) -> None:
        numbers = torch.arange(1, 1 + torch.Size(shape).numel(), dtype=torch.float64).reshape(shape)
        places = gather(numbers)
        self._index = torch.where(places > 0, places - 1, -1).long()
        self._shape = shape
        self._function = function

    def value(self, *x: torch.Tensor) -> torch.Tensor:
        """Return the output."""
        if self._function is None:
            return self._windows(x[0]).amax(-1)
        found: torch.Tensor = self._function(_laid_out(x[0].flatten(0, 1))).unflatten(0, x[0].shape[:2])
        return found

    def interval(self, rounding: Rounding, *boxes: Interval) -> Interval:  # noqa: ARG002  # a maximum is not rounded
        """Return the largest of the lower ends, and of the upper ends."""
        return Interval(self.value(boxes[0].lower), self.value(boxes[0].upper))

    def relax(self, *boxes: Interval) -> Relaxation:
        """Return below the number with the highest lower end; above, the nearer at the middle of two planes.

        The largest number is at most t plus what each exceeds t by, where t is the highest lower end, and each excess
        lies below its chord. Else it is at most the highest upper end.
        """
        lower, upper = self._windows(boxes[0].lower), self._windows(boxes[0].upper)
        threshold, chosen = lower.max(-1, keepdim=True)
        above = upper > threshold
        none = torch.zeros_like(upper)
        width = torch.where(above, upper - lower, torch.ones_like(upper))  # a gradient of 0 / 0 is lost
        slope = torch.where(above, (upper - threshold) / width, none)
        constant = threshold.squeeze(-1) - (slope * torch.where(above, lower, none)).sum(-1)
        planes = (slope * torch.where(above, (lower + upper) / 2, none)).sum(-1) + constant
        top = upper.amax(-1)
        flat = top < planes
        slope = torch.where(flat[..., None], none, slope)
        sizes = self._windows(boxes[0].magnitude, 0.0).amax(-1)
        return Highest(self, chosen.squeeze(-1), slope, torch.where(flat, top, constant), sizes)

    def wanted(self, box: Interval) -> torch.Tensor:
        """Say which numbers could be the largest of a window in which another could be, too."""
        lower, upper = self._windows(box.lower), self._windows(box.upper)
        could = upper >= lower.amax(-1, keepdim=True)
        open_ = could & (could.sum(-1, keepdim=True) > 1)
        return self.scatter(open_.double()) > 0

    def scatter(self, values: torch.Tensor) -> torch.Tensor:
        """Return values (..., windows, places) added up at the input numbers (..., shape) that they stand for."""
        lead = values.shape[: values.ndim - self._index.ndim]
        flat = values.flatten(len(lead)) if lead else values.flatten()
        index = self._index.flatten()
        inside = index >= 0
        found = values.new_zeros((*lead, torch.Size(self._shape).numel()))
        found.index_add_(len(lead), index[inside], flat[..., inside])
        return found.reshape(*lead, *self._shape)

    @property
    def is_plain(self) -> bool:
        """Whether it takes a map (1, channels, rows, columns) to another."""
        return len(self._shape) == 4 and self._index.ndim == 5

    def cropped(self, top: int, bottom: int, left: int, right: int) -> tuple[Maximum, tuple[int, int, int, int]]:
        """Return the step for a window of its output, and the window (top, bottom, left, right) of its input."""
        height, width = self._shape[-2:]
        index = self._index[:, :, top:bottom, left:right]
        rows, columns = index // width % height, index % width
        inside = index >= 0
        first, last = int(rows[inside].min()), int(rows[inside].max()) + 1
        begin, end = int(columns[inside].min()), int(columns[inside].max()) + 1
        channel = index // (height * width)
        local = (channel * (last - first) + rows - first) * (end - begin) + columns - begin
        part = copy(self)
        part._index = torch.where(inside, local, -1)
        part._shape = (*self._shape[:2], last - first, end - begin)
        return part, (first, last, begin, end)

    def _windows(self, x: torch.Tensor, outside: float = -torch.inf) -> torch.Tensor:
        flat = x.flatten(1)[:, self._index.clamp(min=0)]
        return torch.where(self._index >= 0, flat, torch.full_like(flat, outside))


def _laid_out(x: torch.Tensor) -> torch.Tensor:
    """Return a batch of one with the first stride of a larger one: kernels tell by it that channels lie last."""
    return x.as_strided(x.shape, (x.numel(), *x.stride()[1:])) if len(x) == 1 else x


@dataclass(frozen=True)
class Highest(Relaxation):
    """Below one number of each window; above a plane.

    Args:
        step: the maximum.
        chosen: (batch, windows) which place counts below.
        slope: (batch, windows, places) above.
        constant: (batch, windows) above.
        largest: (batch, windows) the largest size of a number.
    """

    step: Maximum
    chosen: torch.Tensor
    slope: torch.Tensor
    constant: torch.Tensor
    largest: torch.Tensor

    def pull(self, rows: torch.Tensor) -> Pulled:
        """Return rows at the chosen numbers where they are positive, on the planes where they are negative."""
        positive, negative = rows.clamp(min=0), rows.clamp(max=0)
        places = negative[..., None] * self.slope.to(rows.dtype)
        chosen = self.chosen.expand(rows.shape)[..., None]
        places = places.scatter_add(-1, chosen, positive[..., None])
        return [self.step.scatter(places)], total(negative, self.constant)

    def sizes(self) -> torch.Tensor:
        """Return those of the chosen number or the plane."""
        return self.largest * (2 + self.slope.abs().sum(-1)) + self.constant.abs()

    def network_sizes(self) -> torch.Tensor:
        """Return the largest size."""
        return self.largest
