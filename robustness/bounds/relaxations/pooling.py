"""Pooling over windows: the largest number or the average."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from xai.robustness.bounds.maximum import Gather, Maximum
from xai.robustness.bounds.relaxations.base import About, Call, Made, Rule, Unbounded

OUTSIDE = -1


class MaxPoolRule(Rule):
    """Max-pooling over windows of any size, stride, padding and dilation, or as many as there are outputs."""

    about = About(
        name="max-pooling",
        operators=(
            *(f"max_pool{axes}d{ending}" for axes in (1, 2, 3) for ending in ("", "_with_indices")),
            *(f"adaptive_max_pool{axes}d" for axes in (1, 2, 3)),
        ),
        interval="exact",
        linear="below the number of the highest lower end; above the chords of what each exceeds that end by, or the "
        "highest upper end; exact where one number is always the largest",
        rounding="none",
    )

    def lower(self, call: Call) -> Made:
        """Add one step; indices, if there are any, are not bounded."""
        x = call.value("self")

        def pooled(value: torch.Tensor) -> torch.Tensor:
            found = call.run({"self": value})
            first: torch.Tensor = found[0] if isinstance(found, tuple) else found
            return first

        shape = pooled(torch.zeros(x.shape)).shape
        gather = _windows(self._places(call, x.shape, shape))
        value = call.build.add(Maximum(gather, x.shape, pooled), x)
        return (value, Unbounded()) if "indices" in call.operator or "adaptive" in call.operator else value

    def _places(self, call: Call, shape: Sequence[int], pooled: Sequence[int]) -> list[torch.Tensor]:
        """Return, for each axis that is pooled, which places (outputs, places) each output looks at."""
        axes = int(call.operator[call.operator.index("pool") + 4])
        sizes = list(zip(shape[-axes:], pooled[-axes:], strict=True))
        if "adaptive" in call.operator:
            return [_adaptive(*size) for size in sizes]
        kernel, stride, padding, dilation = (
            _each(call[name], axes) for name in ("kernel_size", "stride", "padding", "dilation")
        )
        return [
            _strided(*size, *options)
            for size, options in zip(sizes, zip(kernel, stride or kernel, padding, dilation, strict=True), strict=True)
        ]


class AveragePoolRule(Rule):
    """Averages over windows of any size, stride and padding, or as many as there are outputs."""

    about = About(
        name="average pooling",
        operators=(
            *(f"avg_pool{axes}d" for axes in (1, 2, 3)),
            *(f"adaptive_avg_pool{axes}d" for axes in (1, 2, 3)),
            *(f"_adaptive_avg_pool{axes}d" for axes in (2, 3)),
        ),
        interval="exact",
        linear="exact",
        rounding="as many as the window has places, and two",
    )

    def lower(self, call: Call) -> Made:
        """Add one step."""
        if (call.arguments.get("divisor_override") or 1) < 1:
            raise call.refused("a divisor that is not positive")
        x = call.value("self")
        axes = int(call.operator[call.operator.index("pool") + 4])
        if "adaptive" in call.operator:
            pooled = call.run({"self": torch.zeros(x.shape)}).shape
            widths = [_adaptive(*size).shape[1] for size in zip(x.shape[-axes:], pooled[-axes:], strict=True)]
        else:
            widths = _each(call["kernel_size"], axes)
        places = int(torch.tensor(widths).prod())
        return call.build.arrange(
            lambda value: call.run({"self": value}), x, terms=places + 2, batched=len(x.shape) == axes + 2
        )


def _each(number: Any, axes: int) -> list[int]:
    numbers = list(number) if isinstance(number, list | tuple) else [number]
    return [int(part) for part in (numbers * axes if len(numbers) == 1 else numbers)]


def _strided(size: int, pooled: int, kernel: int, stride: int, padding: int, dilation: int) -> torch.Tensor:
    places = torch.arange(pooled)[:, None] * stride + torch.arange(kernel) * dilation - padding
    return torch.where((places >= 0) & (places < size), places, OUTSIDE)


def _adaptive(size: int, pooled: int) -> torch.Tensor:
    starts = torch.arange(pooled) * size // pooled
    ends = -(-(torch.arange(pooled) + 1) * size // pooled)
    places = starts[:, None] + torch.arange(int((ends - starts).max()))
    return torch.where(places < ends[:, None], places, OUTSIDE)


def _windows(places: Sequence[torch.Tensor]) -> Gather:
    """Return what gives the numbers (..., outputs, places) of each window over the last axes, 0 outside."""

    def gather(numbers: torch.Tensor) -> torch.Tensor:
        first = numbers.ndim - len(places)
        for axis, table in enumerate(places):
            at = first + 2 * axis
            taken = numbers.index_select(at, table.clamp(min=0).flatten()).unflatten(at, table.shape)
            inside = (table >= 0).reshape(*table.shape, *(1,) * (taken.ndim - at - 2))
            numbers = torch.where(inside, taken, torch.zeros_like(taken))
        order = [*range(first), *(first + 2 * axis for axis in range(len(places)))]
        order += [first + 2 * axis + 1 for axis in range(len(places))]
        return numbers.permute(order).flatten(first + len(places))

    return gather
