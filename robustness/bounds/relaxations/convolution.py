"""Convolutions and their transposes, over any number of axes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch.nn import functional as F

from xai.robustness.bounds.affine import Convolution
from xai.robustness.bounds.relaxations.base import About, Call, Made, Rule, Value


class ConvolutionRule(Rule):
    """Convolutions."""

    about = About(
        name="convolution",
        operators=(
            "conv1d",
            "conv2d",
            "conv3d",
            "conv_transpose1d",
            "conv_transpose2d",
            "conv_transpose3d",
            "convolution",
        ),
        interval="middle and radius, the radius with the weights' sizes",
        linear="exact, as a transposed convolution",
        rounding="a sum of as many products as the window holds, in any order; not for Winograd's or Fourier's ways",
    )

    def lower(self, call: Call) -> Made:
        """Add one step."""
        x, weight = call.value("input"), call.constant("weight")
        axes = weight.ndim - 2
        if len(x.shape) != weight.ndim:
            raise call.refused("an input without a batch")
        transposed = bool(call.arguments.get("transposed", "transpose" in call.operator))
        padding, dilation = call["padding"], _each(call["dilation"], axes)
        if isinstance(padding, str):
            x, padding = _same(call, x, weight.shape[2:], dilation) if padding == "same" else (x, 0)
        options = (
            _each(call["stride"], axes),
            _each(padding, axes),
            dilation,
            transposed,
            _each(call.arguments.get("output_padding", 0), axes),
            call["groups"],
        )
        bias: torch.Tensor | None = call["bias"]
        return call.build.add(Convolution(weight, bias, x.shape, options), x)


def _same(call: Call, x: Value, kernel: Sequence[int], dilation: Sequence[int]) -> tuple[Value, list[int]]:
    """Return the input and the padding that give an output of the input's size; what is odd goes to the right."""
    needed = [step * (size - 1) for step, size in zip(dilation, kernel, strict=True)]
    odd = [part for room in reversed(needed) for part in (0, room % 2)]
    if any(odd):
        x = call.build.arrange(lambda value: F.pad(value, odd), x, alone=True)
    return x, [room // 2 for room in needed]


def _each(number: Any, axes: int) -> list[int]:
    numbers = list(number) if isinstance(number, list | tuple) else [number]
    return [int(part) for part in (numbers * axes if len(numbers) == 1 else numbers)]
