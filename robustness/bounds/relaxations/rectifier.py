"""Rectifiers: straight on both sides of zero, and free below."""

from __future__ import annotations

import torch

from xai.robustness.bounds.elementwise import Rectifier
from xai.robustness.bounds.relaxations.base import About, Call, Made, Rule


class RectifierRule(Rule):
    """ReLU, leaky ReLU, PReLU."""

    about = About(
        name="rectifier",
        operators=("relu", "leaky_relu", "rrelu", "prelu", "_prelu_kernel"),
        interval="exact",
        linear="the chord above; below a line through 0, its slope free",
        rounding="none for ReLU; two for a slope other than 0",
    )

    def lower(self, call: Call) -> Made:
        """Add one step."""
        x = call.value("self")
        if "prelu" in call.operator:
            slope = call.constant("weight")
            if call.operator == "prelu" and slope.numel() > 1:
                slope = slope.reshape(1, -1, *(1,) * (len(x.shape) - 2))
        elif call.operator == "rrelu":
            if call["training"]:
                raise call.refused("it draws random numbers")
            slope = torch.tensor((float(call["lower"]) + float(call["upper"])) / 2, dtype=torch.float64)
        else:
            slope = torch.tensor(float(call.arguments.get("negative_slope", 0.0)), dtype=torch.float64)
        if bool((slope > 1).any()):
            raise call.refused("a slope above 1")
        return call.build.add(Rectifier(slope), x)
