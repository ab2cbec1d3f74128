"""Numbers that are cut off at constants."""

from __future__ import annotations

import math
from typing import Any

import torch

from xai.robustness.bounds.affine import Scale
from xai.robustness.bounds.elementwise import Elementwise, Rectifier
from xai.robustness.bounds.functions import cut
from xai.robustness.bounds.operation import Part
from xai.robustness.bounds.relaxations.base import About, Call, Made, Rule, Value

ENDS = {"hardtanh": ("min_val", "max_val"), "threshold": ("threshold", "")}


class CutRule(Rule):
    """Clamps, with constants on both sides or one."""

    about = About(
        name="clamp",
        operators=("clamp", "clamp_min", "clamp_max", "hardtanh", "relu6", "threshold"),
        interval="exact",
        linear="chords between the ends and the corners, those nearest in the middle",
        rounding="none; one where a constant is not a float32 number",
    )

    def lower(self, call: Call) -> Made:
        """Add one step, or three for each constant that is a tensor."""
        if call.operator == "threshold" and call["threshold"] != call["value"]:
            raise call.refused("a function that jumps")
        low, high = (call.arguments.get(name) for name in ENDS.get(call.operator, ("min", "max")))
        if call.operator == "relu6":
            low, high = 0.0, 6.0
        value = call.value("self")
        if isinstance(low, torch.Tensor) or isinstance(high, torch.Tensor):
            value = value if low is None else _at_least(call, value, low, 1)
            return value if high is None else _at_least(call, value, high, -1)
        if isinstance(low, Value) or isinstance(high, Value):
            raise call.refused("ends that depend on the input")
        ends = -math.inf if low is None else float(low), math.inf if high is None else float(high)
        if not ends[0] <= ends[1]:
            raise call.refused("a lower end above the upper")
        return call.build.add(Elementwise(cut(*ends)), value)


def _at_least(call: Call, value: Value, constant: Any, sign: int) -> Value:
    """Return sign times the larger of sign times the value and sign times a constant: c + relu(x - c)."""
    if not isinstance(constant, torch.Tensor):
        raise call.refused("ends that depend on the input")
    shape = torch.broadcast_shapes(value.shape, constant.shape)
    value = call.build.arrange(lambda x: x.expand(shape), value, alone=True)
    above = call.build.add(Part(Scale(torch.tensor(float(sign)), -sign * constant)), value)
    excess = call.build.add(Rectifier(torch.tensor(0.0)), above)
    return call.build.add(Part(Scale(torch.tensor(float(sign)), constant)), excess)
