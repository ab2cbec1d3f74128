"""Convolutions and their transposes, over any number of axes."""

from __future__ import annotations

from typing import Any

import torch

from xai.robustness.bounds.affine import Convolution
from xai.robustness.bounds.relaxations.base import About, Call, Made, Rule


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
        padding = call["padding"]
        if isinstance(padding, str):
            raise call.refused(f"padding {padding!r}")
        options = (
            _each(call["stride"], axes),
            _each(padding, axes),
            _each(call["dilation"], axes),
            transposed,
            _each(call.arguments.get("output_padding", 0), axes),
            call["groups"],
        )
        bias: torch.Tensor | None = call["bias"]
        return call.build.add(Convolution(weight, bias, x.shape, options), x)


def _each(number: Any, axes: int) -> list[int]:
    numbers = list(number) if isinstance(number, list | tuple) else [number]
    return [int(part) for part in (numbers * axes if len(numbers) == 1 else numbers)]
